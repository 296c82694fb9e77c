//! Writes generated segments into a Kafka topic, for measurements.
//!
//! `produce_segments <brokers> <topic> <partitions> <count>`: the `generator` receiver's default shape, one segment a
//! record, spread over the partitions in turn. Prints how many segments and bytes it wrote.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tokio_util::sync::CancellationToken;
use weir_component::{
    Context, DeadLetters, Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes, ReceiverHost,
    Settings, Telemetry,
};
use weir_config::{Document, Source, Topology};
use weir_pdata::{Demand, Payload, SharedProjection};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, partitions, count] = arguments.as_slice() else {
        bail!("usage: produce_segments <brokers> <topic> <partitions> <count>");
    };
    let (partitions, count): (i32, u64) = (partitions.parse()?, count.parse()?);
    let text = format!(
        "receivers: {{generator: {{rate: unlimited, count: {count}, seed: 1}}}}\nexporters: {{nop: }}\n\
         service: {{pipelines: {{main: {{receivers: [generator], exporters: [nop]}}}}}}\n"
    );
    let document = Document::load(vec![Source::new("generator", text)], &[], &|_| None)
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let topology = Topology::read(&document).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let section = topology.receivers.first().context("a receiver")?;
    let telemetry = Telemetry::default();
    let context = Context::new(
        section.id.clone(),
        telemetry.clone(),
        DeadLetters::new("dead-letter", 1 << 20, telemetry),
    );
    let create = weir_receiver_generator::FACTORY.create;
    let receiver = create(Settings::new(&document, section), context.clone())
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;

    let producer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "262144")
        .create()?;
    let sink = Arc::new(Topic {
        producer,
        name: topic.clone(),
        partitions,
        written: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        failure: Mutex::new(None),
    });
    let host = ReceiverHost {
        context,
        projection: SharedProjection::new(Demand::nothing()),
        lanes: Arc::new(ToTopic(sink.clone())),
    };
    receiver.run(host, CancellationToken::new()).await?;
    if let Some(error) = sink.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bail!("cannot produce: {error}");
    }
    sink.producer.flush(Duration::from_secs(120))?;
    let (written, bytes) = (sink.written.load(Ordering::Relaxed), sink.bytes.load(Ordering::Relaxed));
    writeln!(std::io::stdout(), "{{\"segments\": {written}, \"bytes\": {bytes}}}")?;
    Ok(())
}

/// The topic to write to.
struct Topic {
    producer: ThreadedProducer<DefaultProducerContext>,
    name: String,
    partitions: i32,
    written: AtomicU64,
    bytes: AtomicU64,
    /// Why nothing more can be written.
    failure: Mutex<Option<KafkaError>>,
}

/// Opens lanes that end in the topic.
struct ToTopic(Arc<Topic>);

impl Lanes for ToTopic {
    fn open(&self, _spec: LaneSpec) -> Lane {
        Lane::new(LaneId(1), Box::new(TopicLane(self.0.clone())))
    }
}

struct TopicLane(Arc<Topic>);

#[async_trait]
impl LaneSink for TopicLane {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        let LaneMessage::Batch(batch) = message else { return Ok(()) };
        let Payload::Encoded(encoded) = &batch.payload else { return Ok(()) };
        for range in encoded.records.iter() {
            let value = &encoded.arena[range.start as usize..range.end as usize];
            let number = self.0.written.fetch_add(1, Ordering::Relaxed);
            self.0.bytes.fetch_add(value.len() as u64, Ordering::Relaxed);
            let partition =
                i32::try_from(number % self.0.partitions.unsigned_abs() as u64).unwrap_or_default();
            let mut record = BaseRecord::<(), [u8]>::to(&self.0.name).partition(partition).payload(value);
            loop {
                match self.0.producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                        record = back;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err((error, _)) => {
                        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return Err(LaneClosed);
                    }
                }
            }
        }
        Ok(())
    }
}
