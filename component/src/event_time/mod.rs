//! Event time: how far lanes have come, and what waits for it.

mod alignment;
pub mod event_clocks;
mod idle;
mod keys;
mod receiver_readiness;
mod shared_watermarks;
mod trunk;
pub mod watermark;

pub use alignment::{Aligned, Alignment, Alignments};
pub use idle::IdleDetector;
pub use keys::{EventTime, EventTimeKeys};
pub use receiver_readiness::ReceiverReadiness;
pub use shared_watermarks::{LaneWatermark, ShardWatermarks, SharedWatermarks};
pub use trunk::{ClosedLane, LanesHold, TrunkWatermark};
pub use watermark::Watermark;
