//! The `skywalking_kafka` receiver: SkyWalking segments from a Kafka topic, one `SegmentObject` a record.
//!
//! * Each assigned partition is one lane, opened before anything is read from it.
//! * An offset is committed only when everything before it is acknowledged; nothing is committed past a failure.
//! * A slow pipeline pauses its partitions. The thread that polls Kafka never waits for a pipeline, so the
//!   group membership stays alive.
//! * Kafka that cannot be reached, and a topic that does not exist, are waited for.
//! * Records that cannot be decoded or are too large are counted and dead-lettered, never fatal.
//!
//! After a restart everything past the committed offset is read again. With an exporter that knows what it has, nothing is
//! stored twice: `docs/delivery.md`.

mod config;
mod consumer;
mod health;
mod metrics;
mod partition;
mod rebalance;
mod receiver;
mod replay;

use weir_component::factory::{Info, ReceiverFactory};

/// Makes `skywalking_kafka` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info {
        kind: "skywalking_kafka",
        summary: "SkyWalking segments from a Kafka topic",
        metrics: metrics::ALL,
    },
    create: receiver::create,
};
