//! How far the trunk has come, for lanes to see which events are late for certain.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use weir_component::Watermark;
use weir_component::delivery::Shard;

/// The watermark of each shard. Lanes read their shard's without a lock.
///
/// A shard's watermark lives as long as one of its lanes: lanes that are opened after the last one was dropped begin with
/// a new one, even before the trunk has heard of either. Else they would take events for late that were not delivered.
#[derive(Default)]
pub struct Progress(Mutex<BTreeMap<Shard, Weak<AtomicI64>>>);

/// The watermark of one shard, for a lane: at most what the trunk has. It only rises.
#[derive(Clone)]
pub struct Reached(Arc<AtomicI64>);

/// The same for the trunk. When the last lane has gone nobody hears it any more.
pub struct Telling(Weak<AtomicI64>);

impl Progress {
    /// For a lane that is opened.
    pub fn reached(&self, shard: Shard) -> Reached {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shards.get(&shard).and_then(Weak::upgrade);
        Reached(known.unwrap_or_else(|| {
            let begin = Arc::new(AtomicI64::new(i64::MIN));
            shards.insert(shard, Arc::downgrade(&begin));
            begin
        }))
    }

    /// For the trunk, which has heard of the first lane of a shard.
    pub fn telling(&self, shard: Shard) -> Telling {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Telling(shards.get(&shard).cloned().unwrap_or_default())
    }
}

impl Reached {
    /// The watermark.
    pub fn get(&self) -> Watermark {
        Watermark(self.0.load(Ordering::Acquire))
    }
}

impl Telling {
    /// The trunk has come to this watermark.
    pub fn rise(&self, to: Watermark) {
        if let Some(reached) = self.0.upgrade() {
            reached.fetch_max(to.0, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_opened_after_the_last_one_was_dropped_begin_anew() {
        let (progress, shard) = (Progress::default(), Shard(0));
        let first = progress.reached(shard);
        let trunk = progress.telling(shard);
        trunk.rise(Watermark(10));
        assert_eq!((first.get(), progress.reached(shard).get()), (Watermark(10), Watermark(10)));
        drop(first);
        let next = progress.reached(shard);
        trunk.rise(Watermark(20));
        assert_eq!(next.get(), Watermark::MIN, "the trunk has not heard of the new lane yet");
        progress.telling(shard).rise(Watermark(30));
        assert_eq!(next.get(), Watermark(30));
    }
}
