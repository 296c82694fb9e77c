//! Exact delivery across a crash: what was exported is written down with the input's position.
//!
//! * [`Ledger`]: one ownership of one lane. For each sink (pipeline and exporter) it has the position up to
//!   which events were exported, and the *pending range* that is about to be exported. A range is written
//!   down before it is sent. So the next owner of the lane sends the same range under the same identity, and
//!   the destination drops the repeat. When the destination takes a range only in parts, each part is written
//!   down as well ([`Split`]).
//! * [`Lease`]: how long an owner that is cut off may still act as the owner.
//! * [`Marks`]: for each operator and shard of one pipeline, the watermark up to which its windows are
//!   delivered.
//! * [`Metadata`]: both, as the text that travels with the position (Kafka: the metadata of an offset
//!   commit).
//! * [`positions`]: what to write down for several lanes at one moment, so that they agree.
//!
//! Sans-IO but for [`Ledger::written`], which waits. Protocol and proof obligations: `docs/semantics.md`
//! §2.1.

mod lease;
mod ledger;
mod marks;
mod metadata;
pub mod offsets;
mod rewritten;
mod shard;
mod split;
mod start;

pub use lease::Lease;
pub use ledger::{Attachment, Closed, InFlight, Ledger, LedgerSpec, Position, positions};
pub use marks::Marks;
pub use metadata::{MAX_BYTES, Metadata, Unreadable, had_a_share};
pub use rewritten::Rewritten;
pub use shard::Shard;
pub use split::Split;
pub use start::{LaneStart, TrunkStart};
