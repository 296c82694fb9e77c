//! Requests of both protocols, on their way to the [`lanes`](crate::lanes).

mod desk;
mod grpc;
mod http;

pub(crate) use desk::{Desk, Limits};
