//! The `skywalking_kafka` receiver: SkyWalking agents' Kafka topics, one message a record.
//!
//! * Each assigned partition of each topic is one lane, opened before anything is read from it.
//! * An offset is committed when everything before it is acknowledged. Nothing is committed past a failure.
//! * A slow pipeline pauses its partitions. The thread that polls Kafka never waits for a pipeline, so the
//!   group membership stays alive.
//! * A Kafka that cannot be reached is waited for, and so is a topic that does not exist.
//! * Records that cannot be decoded or are too large are counted and dead-lettered, never fatal.
//!
//! After a restart everything past the committed offset is read again. With an exporter that knows what it
//! has, nothing is stored twice: `docs/delivery.md`.
//!
//! The way of a record: [`consumer`] polls Kafka, [`partition`] makes batches and sends them down a lane, and
//! [`rebalance`] begins and ends lanes and commits their offsets.

mod config;
mod consumer;
mod create_topics;
mod health;
mod metrics;
mod partition;
mod rebalance;
mod receiver;
mod replay;
mod topics;

use weir_component::factory::{Info, ReceiverFactory};

/// Makes `skywalking_kafka` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info {
        kind: "skywalking_kafka",
        summary: "SkyWalking agents' Kafka topics: segments, metrics, meters, logs and more",
        metrics: metrics::ALL,
    },
    create: receiver::create,
};
