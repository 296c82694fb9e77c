//! Typed event batches: what flows through a Weir pipeline.
//!
//! * [`EventBatch`]: a signal, a payload (wire bytes or Arrow columns), its origin and its [`Ack`].
//! * [`schema`]: the fixed columns of each signal, by the names of the data model.
//! * [`Projection`]: which columns and attribute keys something reads, so that decoders build only those.
//! * [`decode()`]: wire bytes ([`Encoded`]) to columns. Text columns are views into the received bytes.
//! * [`json`]: JSON lines to columns and back.
//! * [`otlp`]: columns to OTLP requests.
//! * [`text`] and [`attributes`]: readers over text columns of any encoding and over attribute lists.
//!
//! Decoding never panics and never reads out of bounds, whatever the bytes.

pub mod ack;
mod any_value;
mod arena;
mod arrivals;
mod attribute_copies;
pub mod attributes;
mod batch;
mod columns;
pub mod decode;
pub mod expr;
mod fence;
mod fnv;
mod item_count;
mod items;
pub mod json;
pub mod late;
mod memory;
pub mod otlp;
mod projection;
pub mod schema;
mod signal;
mod skywalking;
pub mod span_ids;
pub mod text;

pub use ack::{Ack, AckSink, Held, Outcome};
pub use arena::{ArenaTooLarge, MAX_ARENA};
pub use arrivals::Arrivals;
pub use batch::{Encoded, EventBatch, Format, MemoryPermit, Origin, Payload};
pub use decode::{DecodeError, Decoded, Escaped, Rejected, RejectedItems, decode};
pub use fence::Fence;
pub use fnv::Fnv;
pub use item_count::ItemCount;
pub use projection::{Demand, Level, Projection, SharedProjection, SpanIds, Wanted};
pub use signal::{Signal, SignalSet};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
