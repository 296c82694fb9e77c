//! What makes delivery exact across a crash: what has left is written down with the input's position.
//!
//! * [`Ledger`]: one ownership of one lane. Per sink (pipeline and exporter) the position up to which events were exported,
//!   and the *pending range* that is about to be. A range is written down before it is sent, so that whoever reads the
//!   lane next sends the same range under the same identity, and the destination drops the repeat. When the destination takes it
//!   in parts only, so is each part ([`Split`]).
//! * [`Lease`]: until when an owner that hears nothing may believe that it is one.
//! * [`Marks`]: per operator and shard of one pipeline, the watermark up to which its windows are delivered.
//! * [`Metadata`]: both, as the text that travels with the position (Kafka: the metadata of an offset commit).
//! * [`positions`]: what to write down for several lanes at one moment, so that they agree.
//!
//! Sans-IO but for [`Ledger::written`], which waits. Protocol and proof obligations: `docs/semantics.md` §2.1.

mod lease;
mod ledger;
mod marks;
mod metadata;
pub mod offsets;
mod shard;
mod split;
mod start;

pub use lease::Lease;
pub use ledger::{Attachment, Closed, InFlight, Ledger, LedgerSpec, Position, positions};
pub use marks::Marks;
pub use metadata::{MAX_BYTES, Metadata, Rewritten, Unreadable};
pub use shard::Shard;
pub use split::Split;
pub use start::{LaneStart, TrunkStart};
