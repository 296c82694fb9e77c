//! How far the trunk has come, for lanes to see which events are late for certain.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use weir_component::Watermark;
use weir_component::delivery::Shard;

/// The watermark of each shard. Lanes read their shard's without a lock.
#[derive(Default)]
pub struct Progress(Mutex<BTreeMap<Shard, Reached>>);

/// The watermark of one shard: at most what the trunk has. It only rises, until the shard begins anew.
#[derive(Clone)]
pub struct Reached(Arc<AtomicI64>);

impl Progress {
    /// The watermark of a shard, from now on.
    pub fn of(&self, shard: Shard) -> Reached {
        let mut shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = || Reached(Arc::new(AtomicI64::new(i64::MIN)));
        shards.entry(shard).or_insert_with(begin).clone()
    }
}

impl Reached {
    /// The watermark.
    pub fn get(&self) -> Watermark {
        Watermark(self.0.load(Ordering::Acquire))
    }

    /// The trunk has come to this watermark.
    pub fn rise(&self, to: Watermark) {
        self.0.fetch_max(to.0, Ordering::AcqRel);
    }

    /// The shard begins anew.
    pub fn restart(&self) {
        self.0.store(i64::MIN, Ordering::Release);
    }
}
