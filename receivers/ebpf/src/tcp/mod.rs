//! Figures of TCP connections, added up for each process and peer.

mod peers;
mod points;

pub(crate) use peers::{Peer, Peers};
pub(crate) use points::{Point, PointKind, SECONDS};
