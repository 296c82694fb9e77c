//! Writes generated segments into a Kafka topic, for measurements.
//!
//! `produce_segments <brokers> <topic> <partitions> <count> [segments a second]`: one segment a record,
//! spread over the partitions in turn, as fast as it goes or at this rate, as they end. Prints how many
//! segments and bytes it wrote.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use weir_tests::{Pace, generate};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, partitions, count, rate @ ..] = arguments.as_slice() else {
        bail!("usage: produce_segments <brokers> <topic> <partitions> <count> [segments a second]");
    };
    let rate = rate.first().map(|rate| rate.parse()).transpose()?;
    let pace = rate.map_or(Pace::Unlimited, Pace::PerSecond);
    let producer: Arc<ThreadedProducer<DefaultProducerContext>> = Arc::new(
        ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("linger.ms", if rate.is_some() { "1" } else { "20" })
            .set("batch.size", "1000000")
            .set("queue.buffering.max.kbytes", "262144")
            .create()?,
    );
    let (written, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (topic, partitions) = (topic.clone(), partitions.parse::<u64>()?);
    let (sender, segments, size) = (producer.clone(), written.clone(), bytes.clone());
    generate(count.parse()?, pace, move |encoded| {
        for range in encoded.records.iter() {
            let value = &encoded.arena[range.start as usize..range.end as usize];
            let number = segments.fetch_add(1, Ordering::Relaxed);
            size.fetch_add(value.len() as u64, Ordering::Relaxed);
            let partition = i32::try_from(number % partitions)?;
            let mut record = BaseRecord::<(), [u8]>::to(&topic).partition(partition).payload(value);
            while let Err((error, back)) = sender.send(record) {
                if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                    return Err(error.into());
                }
                // The producer's own thread makes room.
                std::thread::sleep(Duration::from_millis(5));
                record = back;
            }
        }
        Ok(())
    })
    .await?;
    producer.flush(Duration::from_secs(120))?;
    let (written, bytes) = (written.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    writeln!(std::io::stdout(), "{{\"segments\": {written}, \"bytes\": {bytes}}}")?;
    Ok(())
}
