//! HTTP/2 and gRPC as they go over a connection: pieces of two streams in, exchanges out. No I/O, no clock.
//!
//! The compression of headers has a state that both sides keep. A piece of it that was not seen ends what can
//! be said of the connection: nothing is told that may be wrong.

pub(crate) mod connection;
pub(crate) mod frames;
pub(crate) mod hpack;
mod tables;
