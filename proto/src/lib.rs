//! SkyWalking's protobuf types, OTLP's answers, and a reader and a writer of protobuf.
//!
//! * [`skywalking`]: the messages as Rust structs. They are what the generator encodes and what tests compare
//!   with.
//! * [`otlp`]: the answers of OTLP, which a receiver writes and an exporter reads.
//! * [`wire`]: a reader that walks protobuf bytes in place. It is what decoders use.
//! * [`write`](mod@write): writes protobuf bytes. It is what encoders use.

pub mod otlp;
pub mod wire;
pub mod write;

/// The messages of SkyWalking's data collect protocol, package `skywalking.v3`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod skywalking {
    include!(concat!(env!("OUT_DIR"), "/skywalking.v3.rs"));
}
