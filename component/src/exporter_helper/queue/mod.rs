//! The bounded queue in front of an exporter.

pub(crate) mod capacity;
pub(crate) mod delay;
pub(crate) mod disk;
mod disk_record;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_pdata::{Demand, EventBatch, Format, Held, SignalSet};

use super::metrics::HelperMetrics;
use super::schedule::ranges::{Amount, RangeBatch};
use crate::delivery::{InFlight, Ledger};
use crate::{Context, Exporter, LaneClosed, Outgoing};
use capacity::{QueueCapacity, QueuePermit};
use delay::{Delays, PendingDelay};

/// The sending side of an exporter's queue. Cheap to clone. The exporter ends when every clone is dropped.
#[derive(Clone)]
pub struct Queue {
    pub(crate) id: Arc<str>,
    /// Prepares batches before they wait.
    pub(crate) prepares: Option<Arc<dyn Exporter>>,
    pub(crate) signals: SignalSet,
    pub(crate) demand: Demand,
    /// Ranges of lanes are written down before they are exported.
    pub(crate) exact: bool,
    pub(crate) sender: mpsc::UnboundedSender<Item>,
    /// Bounds the unbounded channel.
    pub(crate) capacity: QueueCapacity,
    /// Senders do not wait for room.
    pub(crate) detached: bool,
    pub(crate) metrics: HelperMetrics,
    pub(crate) context: Context,
    pub(crate) next_route: Arc<AtomicU64>,
}

/// The queue as one lane of one pipeline sees it.
#[derive(Clone)]
pub struct LaneQueue {
    queue: Queue,
    route_guard: Option<Arc<RouteGuard>>,
    delays: Delays,
}

/// A lane that is open.
struct RouteGuard {
    route: Arc<Route>,
    sender: mpsc::UnboundedSender<Item>,
}

impl Drop for RouteGuard {
    fn drop(&mut self) {
        if self.route.exact {
            // When the exporter has ended nothing waits there any more.
            let _ = self.sender.send(Item::Ended(self.route.id));
        }
    }
}

/// From one lane of one pipeline to one exporter.
pub(crate) struct Route {
    /// Unique in this process.
    pub id: u64,
    /// Pipeline and exporter, as the ledger knows them.
    pub sink: Arc<str>,
    pub ledger: Ledger,
    /// Ranges are written down before they are exported.
    pub exact: bool,
    /// Where an earlier owner's exports ended.
    pub exported: Option<i64>,
    /// The range that it had begun.
    pub unfinished: Option<Range<i64>>,
}

/// A message to the exporter.
pub(crate) enum Item {
    Batch(Box<Queued>),
    /// A sender waits for room.
    Full,
    /// The lane with this route has ended: no more of it comes.
    Ended(u64),
}

/// A batch that waits. Its ack is held: dropping it fails the inputs.
pub(crate) struct Queued {
    pub batch: Outgoing,
    pub held: Held,
    pub slot: QueueSlot,
    pub route: Option<Arc<Route>>,
    /// Unknown for batches that were on disk.
    pub delay: Option<PendingDelay>,
    /// When it was queued first, by whichever process.
    pub since: Instant,
    /// There was no space for it, and its sender does not wait.
    pub refused: bool,
    /// It is on disk, where the next start finds it.
    pub on_disk: bool,
}

impl RangeBatch for Queued {
    fn positions(&self) -> Range<i64> {
        self.batch.origin.positions.clone()
    }

    fn rows(&self) -> usize {
        self.batch.len()
    }

    fn bytes(&self) -> u64 {
        self.slot.bytes()
    }
}

/// The bytes of the queue that a batch occupies until it is delivered.
pub(crate) struct QueueSlot {
    bytes: i64,
    metrics: HelperMetrics,
    _permit: Option<QueuePermit>,
    /// An ending lane waits for it, even after its input failed: an open window may hold the inputs before
    /// it.
    _in_flight: Option<InFlight>,
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.metrics.change_queue(-self.bytes);
    }
}

impl QueueSlot {
    /// `permit`: `None` for a batch that must not wait. `ledger`: of the lane that it is of.
    pub(crate) fn new(
        bytes: usize,
        metrics: &HelperMetrics,
        permit: Option<QueuePermit>,
        ledger: Option<&Ledger>,
    ) -> QueueSlot {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.change_queue(bytes);
        let in_flight = ledger.map(Ledger::in_flight);
        QueueSlot { bytes, metrics: metrics.clone(), _permit: permit, _in_flight: in_flight }
    }

    /// How many bytes the batch occupies.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.unsigned_abs()
    }
}

impl Queue {
    /// The signals that the exporter takes.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        self.signals
    }

    /// The columns that the exporter reads.
    #[must_use]
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// The name of this exporter in a ledger, in this pipeline.
    #[must_use]
    pub fn sink(&self, pipeline: &str) -> Arc<str> {
        Arc::from(format!("{pipeline}/{}", self.id))
    }

    /// The queue for one lane of a pipeline. With a ledger, what has been exported already is left out, and
    /// what is exported is entered.
    #[must_use]
    pub fn for_lane(&self, pipeline: &str, ledger: Option<&Ledger>) -> LaneQueue {
        let route_guard = ledger.map(|ledger| {
            let sink = self.sink(pipeline);
            let route = Arc::new(Route {
                id: self.next_route.fetch_add(1, Ordering::Relaxed),
                exported: ledger.exported(&sink),
                unfinished: ledger.unfinished(&sink),
                sink,
                ledger: ledger.clone(),
                exact: self.exact,
            });
            Arc::new(RouteGuard { route, sender: self.sender.clone() })
        });
        LaneQueue { queue: self.clone(), route_guard, delays: Delays::new(&self.context, pipeline) }
    }

    /// Queues a batch; waits while the queue is full. A batch of a signal that the exporter does not take, or
    /// without rows, is acknowledged at once. A batch larger than the queue waits until the queue is empty.
    ///
    /// # Errors
    /// [`LaneClosed`] when the exporter has stopped; the batch's inputs have then failed.
    pub async fn send(&self, batch: EventBatch) -> Result<(), LaneClosed> {
        if !self.signals.contains(batch.signal) || batch.is_empty() {
            return Ok(());
        }
        self.push(batch, None, None, true).await
    }

    async fn push(
        &self,
        mut batch: EventBatch,
        route: Option<Arc<Route>>,
        delays: Option<&Delays>,
        bounded: bool,
    ) -> Result<(), LaneClosed> {
        // Read while there are columns.
        let delay = delays.and_then(|delays| delays.start(&batch));
        let held = Held::new(std::mem::take(&mut batch.ack));
        let batch = match self.prepares.as_ref().filter(|_| !batch.is_empty()) {
            Some(exporter) => exporter.prepare(batch),
            None => Outgoing::from(batch),
        };
        let bytes = batch.memory();
        let amount = Amount { rows: batch.len(), bytes: bytes as u64 };
        let lane = route.as_ref().filter(|route| route.exact).map(|route| route.id);
        let permit = if bounded && self.detached {
            self.capacity.try_acquire(lane, amount)
        } else if bounded {
            // Tells the exporter, whose batches may be waiting for more while they fill the queue. If it has
            // ended, this wait ends as well.
            let full = || drop(self.sender.send(Item::Full));
            Some(self.capacity.acquire(lane, amount, full).await.ok_or(LaneClosed)?)
        } else {
            None
        };
        let refused = bounded && permit.is_none();
        let slot = QueueSlot::new(bytes, &self.metrics, permit, route.as_ref().map(|route| &route.ledger));
        let queued =
            Queued { batch, held, slot, route, delay, since: Instant::now(), refused, on_disk: false };
        self.sender.send(Item::Batch(Box::new(queued))).map_err(|_| LaneClosed)
    }
}

impl LaneQueue {
    /// Queues a batch of the lane, as [`Queue::send`]. Batches come in the order of their positions.
    ///
    /// # Errors
    /// [`LaneClosed`] when the exporter has stopped; the batch's inputs have then failed.
    pub async fn send(&self, mut batch: EventBatch) -> Result<(), LaneClosed> {
        if !self.queue.signals.contains(batch.signal) {
            return Ok(());
        }
        let delays = Some(&self.delays);
        let Some(route) = self.route_guard.as_ref().map(|route_guard| &route_guard.route) else {
            if batch.is_empty() {
                return Ok(());
            }
            return self.queue.push(batch, None, delays, true).await;
        };
        let positions = batch.origin.positions.clone();
        batch.origin.source =
            Some(Arc::from(format!("{}/{}", route.ledger.identity(positions.end), route.sink)));
        if route.exported.is_some_and(|exported| positions.end <= exported) {
            self.queue.metrics.suppressed.inc_by(batch.len() as u64);
            return Ok(());
        }
        if !route.exact {
            if batch.is_empty() {
                return Ok(());
            }
            route.ledger.add_waiting(&route.sink, &positions);
        }
        // A range that an earlier owner began is exported once all of it is here, so it must not wait for
        // room. It did fit into one export of that owner.
        let repeated =
            route.exact && route.unfinished.as_ref().is_some_and(|range| positions.end <= range.end);
        // An empty batch still shows how far the lane has read.
        self.queue.push(batch, Some(Arc::clone(route)), delays, !repeated).await
    }

    /// The signals that the exporter takes.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        self.queue.signals
    }

    /// Whether records in this format have to be decoded for the exporter. `is_changed`: processors before it
    /// may change them.
    #[must_use]
    pub fn reads(&self, format: Format, is_changed: bool) -> bool {
        let Queue { signals, demand, prepares, .. } = &self.queue;
        // Ranges of lanes have numbered rows, and what is kept on disk has columns.
        let takes = self.route_guard.is_none()
            && prepares.as_ref().is_some_and(|exporter| exporter.takes_encoded(format));
        signals.contains(format.signal()) && *demand != Demand::nothing() && (is_changed || !takes)
    }
}
