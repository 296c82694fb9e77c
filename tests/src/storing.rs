//! The smallest configuration that stores segments.

use crate::{ClickHouse, Kafka};

/// From a topic of segments, from its beginning, to a database. `receiver` and `exporter` are further
/// settings of these two, in the form `key: value, …`.
#[must_use]
pub fn storing(
    (kafka, topic): (&Kafka, &str),
    (clickhouse, database): (&ClickHouse, &str),
    receiver: &str,
    exporter: &str,
) -> String {
    format!(
        "receivers:\n  skywalking_kafka: {{brokers: [\"{}\"], topics: {{segments: {topic}}}, group_id: {topic}, initial_offset: earliest, {receiver}}}\n\
         exporters:\n  clickhouse: {{endpoint: \"{}\", database: {database}, {exporter}}}\n\
         service:\n  telemetry: {{metrics: {{address: \"\"}}}}\n  pipelines:\n    main: {{receivers: [skywalking_kafka], exporters: [clickhouse]}}\n",
        kafka.bootstrap(),
        clickhouse.url(),
    )
}

/// Settings of the receiver with which Kafka soon notices that a gateway is gone.
pub const SHORT_SESSION: &str = "properties: {session.timeout.ms: \"2000\", heartbeat.interval.ms: \"300\"}";
