//! The known facts about the earlier owners of a lane.

use weir_component::Watermark;
use weir_component::delivery::Shard;

use crate::window::Span;

/// The windows that earlier owners of a lane have delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneHistory {
    /// Windows that are over at this watermark have been delivered with its events.
    pub(crate) delivered: Watermark,
    /// It was delivered with another configuration: what it had of windows that began until then may not come
    /// again.
    pub(crate) reconfigured_at: Option<Watermark>,
    /// How many owners it has had before.
    pub(crate) generation: u32,
    /// The shard for what it has in windows that other lanes have delivered without it.
    pub(crate) own_shard: Shard,
}

impl LaneHistory {
    /// How many owners may have let this window fire before, each with other contents. 0 for a window that
    /// fires once: every owner computes the same.
    pub(crate) fn owners_that_fired(self, window: Span, lateness: i64) -> u32 {
        if lateness > 0 || window.is_over(self.delivered) { self.generation } else { 0 }
    }
}
