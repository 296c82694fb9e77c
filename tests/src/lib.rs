//! Whole-system tests on real parts: Apache Kafka, the ClickHouse engine, the SkyWalking agents, an alarm
//! recorder and the built `weir` program.
//!
//! Every server runs on a free port and in a temporary folder, and ends with the test process however that
//! ends, `kill -9` included. [`Kafka::shared`] and [`ClickHouse::shared`] start once per test binary; tests
//! keep apart by their own topics ([`unique`]) and databases ([`ClickHouse::database`]). A test that stops a
//! server or makes it fail starts one of its own.
//!
//! Nothing here sleeps in place of a condition: wait with [`wait_until`] or the `wait_…` functions.
//! `scripts/setup test` installs what these parts need; `cargo build -p weir` makes the program.

mod clickhouse;
mod generate;
mod kafka;
mod metrics;
mod otlp;
mod recorder;
mod replay;
mod segments;
mod server;
mod shop;
mod storing;
pub mod stream;
mod wait;
mod weir;

pub use clickhouse::{ClickHouse, Stats};
pub use generate::{Pace, generate};
pub use kafka::{Kafka, Record, Secure};
pub use metrics::{Metrics, Sample};
pub use otlp::{Collector, OtlpRecorder, send_with_sdk, telemetrygen};
pub use recorder::{Recorder, Request};
pub use replay::{decode_messages, decode_segments, recorded};
pub use segments::Entry;
pub use server::run_script;
pub use shop::{Sent, Shop};
pub use storing::{SHORT_SESSION, storing};
pub use wait::{free_port, unique, wait_until};
pub use weir::{Outcome, Weir};
