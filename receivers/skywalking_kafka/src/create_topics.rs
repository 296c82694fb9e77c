//! Makes the topics that agents look for.
//!
//! The Java agent sends nothing before every topic that it knows exists. What exists stays as it is. A topic
//! that is made here is read from its beginning: its first records may be there before the receiver sees it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use tokio_util::sync::CancellationToken;
use weir_component::Context;

use crate::config::{Config, NewTopics};

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time between two attempts.
const RETRY: Duration = Duration::from_secs(10);

/// The topics that this receiver has made. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct CreatedTopics(Arc<Mutex<BTreeSet<String>>>);

impl CreatedTopics {
    /// Whether this topic was made here.
    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    fn add(&self, topic: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
    }
}

/// The topics that have to be made.
pub(crate) struct Creation {
    how: NewTopics,
    missing: Vec<String>,
    client: ClientConfig,
    context: Context,
    made: CreatedTopics,
}

impl Creation {
    /// `None`: the receiver does not make any. Those that it makes are entered in `made`.
    pub(crate) fn new(config: &Config, context: &Context, made: CreatedTopics) -> Option<Creation> {
        let how = config.create_topics.wanted()?;
        let mut client = ClientConfig::new();
        config.properties.apply(&mut client);
        client.set("bootstrap.servers", config.brokers.join(",")).set("client.id", &config.client_id);
        config.security().apply(&mut client);
        Some(Creation { how, missing: config.topics_to_create(), client, context: context.clone(), made })
    }

    /// Tries once. To be done before the first look at the topics: so it is known which of them had no
    /// records then. Whether each topic exists now. A topic that Kafka refuses is a warning each time.
    pub(crate) async fn try_once(&mut self) -> bool {
        let Creation { how, missing, client, context, made } = self;
        let (how, receiver) = (*how, &context.id);
        let answers = match client.create::<AdminClient<DefaultClientContext>>() {
            Ok(admin) => {
                let topics: Vec<NewTopic<'_>> = missing.iter().map(|name| new_topic(name, how)).collect();
                let options = AdminOptions::new().request_timeout(Some(PATIENCE));
                admin.create_topics(&topics, &options).await
            }
            Err(error) => Err(error),
        };
        match answers {
            Ok(answers) => {
                for answer in answers {
                    match answer {
                        Ok(topic) => {
                            tracing::info!(%receiver, topic, partitions = how.partitions, "topic created");
                            made.add(&topic);
                            missing.retain(|name| *name != topic);
                        }
                        Err((topic, RDKafkaErrorCode::TopicAlreadyExists)) => {
                            missing.retain(|name| *name != topic);
                        }
                        Err((topic, error)) => {
                            tracing::warn!(%receiver, topic, %error, "the topic could not be created: trying again");
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(%receiver, %error, "topics could not be created: trying again"),
        }
        missing.is_empty()
    }

    /// Tries again until every topic exists, or until `stop`.
    pub(crate) async fn go_on(mut self, stop: CancellationToken) {
        while tokio::time::timeout(RETRY, stop.cancelled()).await.is_err() && !self.try_once().await {}
    }
}

fn new_topic(name: &str, how: NewTopics) -> NewTopic<'_> {
    // -1 is the brokers' default.
    NewTopic::new(name, how.partitions, TopicReplication::Fixed(how.replication.unwrap_or(-1)))
}
