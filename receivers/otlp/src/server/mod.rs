//! The network side: connections, requests, bodies. What is received goes to the [`lanes`](crate::lanes).

mod body;
mod connection;
mod desk;
mod grpc;
mod http;
mod listener;
mod protocol;
mod room;

pub(crate) use connection::{Connections, Lifetime};
pub(crate) use desk::{Desk, Limits};
pub(crate) use listener::Listener;
pub(crate) use protocol::Protocol;
pub(crate) use room::{Intake, Room};
