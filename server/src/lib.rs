//! The network side of receivers that clients send to: sockets, encryption, connections, bodies and answers.
//!
//! * [`Listener`] accepts, [`Connections`] serves each connection and asks a [`Service`] for the answers.
//! * [`ServerTls`] and [`Auth`] are the keys `tls` and `auth`.
//! * [`Rooms`] bounds the bytes of requests that wait; [`body`] receives and unpacks within these bounds.
//! * [`Refusal`] is why a request is not taken, for gRPC and HTTP; [`grpc`] and [`http`] write it.
//! * [`ServerMetrics`] counts connections and answers.
//!
//! Guaranteed: memory is bounded whatever clients send, and an idle connection takes little of it; requests
//! that are being answered when the program ends are answered. Not here: what a request means.

mod answer;
mod auth;
pub mod body;
mod connection;
pub mod grpc;
pub mod http;
mod listener;
pub mod metrics;
mod protocol;
mod room;
mod tls;

pub use answer::{Reason, Refusal};
pub use auth::{Auth, AuthKeys, Digests};
pub use body::{Compression, ResponseBody};
pub use connection::{Connections, Lifetime, Service};
pub use http::Bounds;
pub use listener::Listener;
pub use metrics::{Begun, Outcome, ServerMetrics, waiting_bytes};
pub use protocol::Protocol;
pub use room::{Room, Rooms};
pub use tls::{ServerTls, TlsKeys};

/// What is wrong with settings: the key within the section, and why.
pub type Problem = (String, String);
