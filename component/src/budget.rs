//! How many bytes of events may be in memory at once, in the whole program.
//!
//! A lane takes a [`MemoryPermit`] for each batch before it sends it on, and waits while the budget is used
//! up. This back-pressure bounds memory, however large the exporters' queues are. The permit travels with the
//! batch and is released with its last clone. It does not travel with the ack: an open window keeps acks long
//! after the bytes are gone.
//!
//! The state of windows is not part of it: `max_groups` bounds that.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_pdata::MemoryPermit;

use crate::Telemetry;
use crate::telemetry::{Metric, MetricKind};

const LIMIT: Metric = Metric {
    name: "weir_memory_limit_bytes",
    help: "Bytes of events that may be in memory at once: service.memory.limit less what receivers may keep for themselves.",
    kind: MetricKind::Gauge,
    labels: &[],
};
const USED: Metric = Metric {
    name: "weir_memory_used_bytes",
    help: "Bytes of events that are in memory between their receiver and their last destination.",
    kind: MetricKind::Gauge,
    labels: &[],
};
const WAITS: Metric = Metric {
    name: "weir_memory_waits",
    help: "Batches that waited because service.memory.limit was reached.",
    kind: MetricKind::Counter,
    labels: &[],
};

/// The declarations, for the reference.
pub const METRICS: &[Metric] = &[LIMIT, USED, WAITS];

/// Bytes per permit, so that large budgets fit a semaphore's count.
const UNIT: u64 = 1024;

/// The budget. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    /// Permits in all.
    capacity: u32,
    used: Gauge,
    waits: Counter,
}

struct TakenBytes {
    bytes: i64,
    used: Gauge,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for TakenBytes {
    fn drop(&mut self) {
        self.used.dec_by(self.bytes);
    }
}

impl MemoryBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(bytes: u64, telemetry: &Telemetry) -> MemoryBudget {
        telemetry.gauge(&LIMIT, &[]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let capacity = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, most);
        MemoryBudget {
            free: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            used: telemetry.gauge(&USED, &[]),
            waits: telemetry.counter(&WAITS, &[]),
        }
    }

    /// Takes this many bytes; waits until they are free. A request for more than the budget waits until all
    /// of it is free.
    pub async fn take(&self, bytes: usize) -> MemoryPermit {
        let units = u32::try_from((bytes as u64).div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.capacity);
        let permit = match Arc::clone(&self.free).try_acquire_many_owned(units) {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.waits.inc();
                // The semaphore is never closed.
                Arc::clone(&self.free).acquire_many_owned(units).await.ok()
            }
        };
        self.permit(bytes, permit)
    }

    /// Counts this many bytes without waiting: for batches that must go on so that others can be released.
    #[must_use]
    pub fn exceed(&self, bytes: usize) -> MemoryPermit {
        self.permit(bytes, None)
    }

    fn permit(&self, bytes: usize, permit: Option<OwnedSemaphorePermit>) -> MemoryPermit {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.used.inc_by(bytes);
        MemoryPermit::new(TakenBytes { bytes, used: self.used.clone(), _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    /// Whether the budget has this many bytes now. Asking takes nothing.
    fn has(budget: &MemoryBudget, bytes: usize) -> bool {
        pin!(budget.take(bytes)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn what_is_used_up_is_waited_for() {
        let telemetry = Telemetry::default();
        let budget = MemoryBudget::new(10 * 1024, &telemetry);
        let first = budget.take(6 * 1024).await;
        let clone = first.clone();
        drop(first);
        assert!(!has(&budget, 6 * 1024), "a clone still holds it");
        assert!(telemetry.encode().contains("weir_memory_waits_total{} 1"));
        drop(clone);
        let _second = budget.take(6 * 1024).await;
        assert!(telemetry.encode().contains("weir_memory_used_bytes{} 6144"));
    }

    #[tokio::test]
    async fn more_than_all_of_it_waits_for_all_of_it_and_what_must_go_on_does() {
        let budget = MemoryBudget::new(10 * 1024, &Telemetry::default());
        let small = budget.take(1).await;
        assert!(!has(&budget, 1 << 30));
        let _over = budget.exceed(1 << 30);
        drop(small);
        let _all = budget.take(1 << 30).await;
    }
}
