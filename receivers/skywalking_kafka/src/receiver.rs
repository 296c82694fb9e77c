//! The receiver: a thread of its own for Kafka, and a task per partition.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use weir_component::{Check, Context, Receiver, ReceiverError, ReceiverHost, Settings};
use weir_config::Diagnostics;

use crate::config::Config;
use crate::consumer::client::{LIBRDKAFKA_BYTES, client_config, session_timeout};
use crate::consumer::context::KafkaContext;
use crate::consumer::poll_loop::{PollEnd, PollLoop};
use crate::create_topics::{CreatedTopics, Creation};
use crate::metrics::Metrics;
use crate::partition::assignment::Assignment;
use crate::partition::batching::Limits;
use crate::partition::rejects::TopicRejects;
use crate::rebalance::committer::Committer;
use crate::rebalance::ownership::Ownership;
use crate::topics::Topic;

/// How long to wait before a Kafka client that failed for good is replaced.
const REPLACE_AFTER: Duration = Duration::from_secs(5);

/// Reads the settings and builds the receiver.
pub(crate) fn create(settings: Settings<'_>, context: Context) -> Result<Box<dyn Receiver>, Diagnostics> {
    let config: Config = settings.read()?;
    let mut check = Check::new(settings);
    let Context { clock, .. } = context;
    check.all(config.problems(clock.now_ms()));
    Ok(Box::new(SkyWalkingKafka { config: check.finish(config)? }))
}

struct SkyWalkingKafka {
    config: Config,
}

#[async_trait]
impl Receiver for SkyWalkingKafka {
    fn transport(&self) -> Option<&'static str> {
        Some("kafka")
    }

    fn reserve(&self) -> u64 {
        self.config.queue.max_bytes.get().saturating_add(LIBRDKAFKA_BYTES)
    }

    async fn replay(&self, letter: &Map<String, Value>) -> Result<(), ReceiverError> {
        crate::replay::replay(&self.config, letter).await
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let runtime = Handle::current();
        let (done, ended) = oneshot::channel();
        // The thread stops too when this future is dropped.
        let stop = stop.child_token();
        let _stop_with_me = stop.clone().drop_guard();
        let id = host.context.id.clone();
        let thread = std::thread::Builder::new().name("weir-kafka".to_owned());
        let spawned = thread.spawn(move || {
            // The future that waits for it may be gone.
            let _ = done.send(work(&self.config, &host, &runtime, &stop));
        });
        if let Err(error) = spawned {
            return Err(ReceiverError {
                message: format!("receiver `{id}`: the thread that polls Kafka could not be started"),
                source: Some(Box::new(error)),
            });
        }
        let stopped = || ReceiverError::new(format!("receiver `{id}`: the thread that polls Kafka panicked"));
        ended.await.map_err(|_| stopped())?
    }
}

/// Reads from Kafka until `stop`, with a new client whenever one fails for good.
fn work(
    config: &Config,
    host: &ReceiverHost,
    runtime: &Handle,
    stop: &CancellationToken,
) -> Result<(), ReceiverError> {
    let context = &host.context;
    let id = &context.id;
    let topics = config.topic_set();
    let metrics = Metrics::new(&context.telemetry, &id.to_string());
    let of_topic =
        |topic: &Topic| Arc::new(TopicRejects::new(context.clone(), topic.name.clone(), metrics.clone()));
    let rejects: Vec<Arc<TopicRejects>> = topics.iter().map(of_topic).collect();
    let created = CreatedTopics::default();
    if let Some(mut creation) = Creation::new(config, context, created.clone()) {
        let first = async {
            tokio::select! {
                done = creation.try_once() => done,
                () = stop.cancelled() => true,
            }
        };
        if !runtime.block_on(first) {
            runtime.spawn(creation.go_on(stop.clone()));
        }
    }
    let brokers = config.brokers.join(",");
    let limits = Limits {
        max_records: config.batch.max_records,
        max_bytes: config.batch.max_bytes.as_usize(),
        timeout: config.batch.timeout.get(),
    };
    while !stop.is_cancelled() {
        let kafka = KafkaContext::new(context.clone(), metrics.clone(), brokers.clone(), topics.clone());
        let client = client_config(config);
        let consumer: BaseConsumer<KafkaContext> =
            client.create_with_context(kafka).map_err(|error| ReceiverError {
                message: format!(
                    "receiver `{id}`: librdkafka does not accept the settings: {error}; check `tls`, `sasl` and `properties`"
                ),
                source: Some(Box::new(error)),
            })?;
        let names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        consumer.subscribe(&names).map_err(|error| ReceiverError {
            message: format!("receiver `{id}`: subscribing to {topics} failed: {error}"),
            source: Some(Box::new(error)),
        })?;
        let consumer = Arc::new(consumer);
        let (interval, session) = (config.commit_interval.get(), session_timeout(&client));
        let committer =
            Committer::start(&consumer, topics.clone(), context.clone(), metrics.clone(), interval, session);
        let committer = committer.map_err(|error| ReceiverError {
            message: format!("receiver `{id}`: the thread that commits offsets could not be started"),
            source: Some(Box::new(error)),
        })?;
        tracing::info!(receiver = %id, brokers, %topics, group = config.group_id, "reading from Kafka");
        let assignment = Assignment::new(
            host.clone(),
            runtime.clone(),
            rejects.clone(),
            topics.clone(),
            limits,
            config.queue.max_bytes.as_usize(),
        );
        let ownership =
            Ownership::new(&consumer, config, host, created.clone(), metrics.clone(), assignment, committer);
        let poll_loop = PollLoop::new(&consumer, config, host, topics.clone(), metrics.clone(), ownership);
        match poll_loop.run(stop) {
            PollEnd::Stopped => break,
            PollEnd::Failed(error) => return Err(error),
            PollEnd::Fatal(error) => {
                tracing::error!(receiver = %id, %topics, %error, "the Kafka client failed for good: starting a new one");
                drop(consumer);
                let _ =
                    runtime.block_on(async { tokio::time::timeout(REPLACE_AFTER, stop.cancelled()).await });
            }
        }
    }
    Ok(())
}
