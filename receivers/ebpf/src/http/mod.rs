//! HTTP/1 as it goes over a connection: pieces of two streams in, exchanges out. No I/O and no clock.
//!
//! Nothing here trusts its input: pieces may be missing, begin in the middle, or be of another protocol. An
//! exchange is told only of a request whose first line was seen whole.

pub(crate) mod context;
pub(crate) mod exchange;
pub(crate) mod head;
pub(crate) mod message;
pub(crate) mod stream;
pub(crate) mod template;
