//! Sends a dead-lettered record back to its topic.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Map, Value};
use weir_component::ReceiverError;

use crate::config::Config;

/// How long Kafka may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Produces the record of a letter again, with its key and its time. The header `weir-replay` says where it
/// was before.
pub(crate) async fn replay(config: &Config, letter: &Map<String, Value>) -> Result<(), ReceiverError> {
    let text = |name: &str| letter.get(name).and_then(Value::as_str);
    let (Some(topic), Some(data)) = (text("topic"), text("data")) else {
        return Err(ReceiverError::new(
            "the letter has no `topic` or no `data`: it is not one of this receiver",
        ));
    };
    let record = STANDARD.decode(data).map_err(|error| ReceiverError {
        message: "the letter's `data` is not base64".to_owned(),
        source: Some(Box::new(error)),
    })?;
    let key = text("key").map(|key| STANDARD.decode(key)).transpose().map_err(|error| ReceiverError {
        message: "the letter's `key` is not base64".to_owned(),
        source: Some(Box::new(error)),
    })?;
    let mut client = ClientConfig::new();
    config.properties.apply(&mut client);
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", &config.client_id)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set(
            "message.max.bytes",
            config.max_record_bytes.get().saturating_add(1 << 20).min(1_000_000_000).to_string(),
        );
    config.security().apply(&mut client);
    let failed = |error: rdkafka::error::KafkaError| ReceiverError {
        message: format!("the record could not be produced to `{topic}`: {error}"),
        source: Some(Box::new(error)),
    };
    let producer: FutureProducer = client.create().map_err(failed)?;
    let number = |name: &str| letter.get(name).and_then(Value::as_i64).unwrap_or(-1);
    let origin = format!("{}/{}", number("partition"), number("offset"));
    let headers = OwnedHeaders::new().insert(Header { key: "weir-replay", value: Some(&origin) });
    let mut produced = FutureRecord::<[u8], [u8]>::to(topic).payload(&record).headers(headers);
    (produced.key, produced.timestamp) = (key.as_deref(), letter.get("timestamp").and_then(Value::as_i64));
    producer.send(produced, PATIENCE).await.map(drop).map_err(|(error, _)| failed(error))
}
