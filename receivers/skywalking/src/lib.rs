//! The `skywalking` receiver: what SkyWalking agents send over gRPC and HTTP.
//!
//! Guaranteed: a report is answered with success when its data is safe; memory is bounded whatever clients
//! send. Not guaranteed: that data comes only once. An agent that got no answer may send it again.
//!
//! The way of a message: [`grpc`] and [`http`] speak the protocols, [`messages`] reads the frames of gRPC,
//! [`method`] says what a message is, [`meters`] makes records of a stream of meters, and [`intake`] takes
//! them to a [`lane`] and waits until they are delivered.

mod config;
mod grpc;
mod held;
mod http;
mod intake;
mod lane;
mod messages;
mod meters;
mod method;
mod metrics;
mod receiver;
mod segments;

use weir_component::factory::{Info, ReceiverFactory};

/// Makes `skywalking` receivers.
pub const FACTORY: ReceiverFactory = ReceiverFactory {
    info: Info { kind: "skywalking", summary: "SkyWalking agents over gRPC and HTTP", metrics: metrics::ALL },
    create: |settings, context| {
        let settings = config::read(settings)?;
        Ok(Box::new(receiver::SkyWalking::new(settings, context)))
    },
};
