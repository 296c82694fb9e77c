//! What is known of a lane's earlier owners when it begins.

use weir_component::Watermark;
use weir_component::delivery::Shard;

use crate::window::Span;

/// How a lane begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Its share of windows that are over at this watermark has been delivered.
    pub delivered: Watermark,
    /// It was delivered with another configuration: what it had of windows that began until then may not come again.
    pub cut: Option<Watermark>,
    /// How many owners it has had before.
    pub generation: u32,
    /// The shard of its share in windows that others have delivered without it.
    pub own: Shard,
}

impl Begin {
    /// How many owners may have let this window fire before, each with other contents. None, when it fires once: whoever
    /// computes it has the same.
    pub fn owners(self, window: Span, lateness: i64) -> u32 {
        if lateness > 0 || window.is_over(self.delivered) { self.generation } else { 0 }
    }
}
