//! Shared parts of components that talk to Kafka: the settings `brokers`, `tls`, `sasl` and `properties`, and
//! librdkafka's log.
//!
//! * [`Security`] gives encryption and login to a client ([`Tls`](weir_config::Tls), [`Sasl`]).
//! * [`Properties`] checks librdkafka properties that the user gives, and sets them.
//! * [`broker_problems`] checks addresses of brokers.
//! * [`log()`] brings what librdkafka says into the program's log.
//!
//! Guaranteed: the same keys mean the same in every component; a message about a setting names its key and
//! shows neither passwords nor values of properties that may be one.
//!
//! Problems of settings are pairs: the key within the component's section, and the reason.

mod brokers;
mod log;
mod properties;
mod security;

pub use brokers::broker_problems;
pub use log::{log, log_level};
pub use properties::{Properties, problem};
pub use security::{Mechanism, Sasl, Security};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
