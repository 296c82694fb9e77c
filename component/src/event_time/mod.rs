//! Event time: how far lanes have come, and what waits for it.

mod alignment;
pub mod event_clocks;
pub mod progress;
mod receiver_readiness;
mod trunk;
pub mod watermark;

pub use alignment::{Aligned, Alignment, Alignments};
pub use receiver_readiness::ReceiverReadiness;
pub use trunk::{ClosedLane, LanesHold, TrunkWatermark};
pub use watermark::Watermark;
