//! The bounded queue in front of an exporter.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_pdata::{Demand, EventBatch, Held, SignalSet};

use super::capacity::{Part, Space};
use super::delay::{Delays, Sending};
use super::metrics::HelperMetrics;
use super::ranges::{Amount, Piece};
use crate::delivery::{Ledger, OnItsWay};
use crate::{Context, Exporter, LaneClosed};

/// The sending side of an exporter's queue. Cheap to clone. The exporter ends when every clone is dropped.
#[derive(Clone)]
pub struct Queue {
    pub(super) id: Arc<str>,
    /// Prepares batches before they wait.
    pub(super) prepares: Option<Arc<dyn Exporter>>,
    pub(super) signals: SignalSet,
    pub(super) demand: Demand,
    /// Ranges of lanes are written down before they are exported.
    pub(super) exact: bool,
    pub(super) sender: mpsc::UnboundedSender<Item>,
    /// What bounds the unbounded channel.
    pub(super) space: Space,
    /// Nobody waits for space.
    pub(super) detached: bool,
    pub(super) metrics: HelperMetrics,
    pub(super) context: Context,
    pub(super) next_route: Arc<AtomicU64>,
}

/// The queue as one lane of one pipeline sees it.
#[derive(Clone)]
pub struct LaneQueue {
    queue: Queue,
    lease: Option<Arc<Lease>>,
    delays: Delays,
}

/// A lane that is open.
struct Lease {
    route: Arc<Route>,
    sender: mpsc::UnboundedSender<Item>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.route.exact {
            // When the exporter has ended nothing waits there any more.
            let _ = self.sender.send(Item::Ended(self.route.id));
        }
    }
}

/// From one lane of one pipeline to one exporter.
pub(super) struct Route {
    /// Unique in this process.
    pub id: u64,
    /// Pipeline and exporter, as the ledger knows them.
    pub sink: Arc<str>,
    pub ledger: Ledger,
    /// Ranges are written down before they are exported.
    pub exact: bool,
    /// Where an earlier owner's exports ended.
    pub exported: Option<i64>,
    /// What it had begun.
    pub unfinished: Option<Range<i64>>,
}

/// What comes to the exporter.
pub(super) enum Item {
    Batch(Box<Queued>),
    /// Somebody waits for space.
    Full,
    /// The lane with this route has ended: no more of it comes.
    Ended(u64),
}

/// A batch that waits. Its ack is held: dropping it fails the inputs.
pub(super) struct Queued {
    pub batch: EventBatch,
    pub held: Held,
    pub room: Room,
    pub route: Option<Arc<Route>>,
    /// Nobody knows it of batches that were on disk.
    pub sending: Option<Sending>,
    /// When it was queued first, by whichever process.
    pub since: Instant,
    /// There was no space for it, and its sender does not wait.
    pub refused: bool,
    /// It is on disk, where the next start finds it.
    pub on_disk: bool,
}

impl Piece for Queued {
    fn positions(&self) -> Range<i64> {
        self.batch.origin.positions.clone()
    }

    fn rows(&self) -> usize {
        self.batch.len()
    }

    fn bytes(&self) -> u64 {
        self.room.bytes()
    }
}

/// The part of the queue's space that a batch occupies until it is delivered.
pub(super) struct Room {
    bytes: i64,
    metrics: HelperMetrics,
    _part: Option<Part>,
    /// The lane waits for it when it ends, also when its input failed: an open window has the inputs before it.
    _on_its_way: Option<OnItsWay>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.metrics.queue_bytes.dec_by(self.bytes);
    }
}

impl Room {
    /// `part`: `None` for a batch that must not wait. `ledger`: of the lane that it is of.
    pub fn new(bytes: usize, metrics: &HelperMetrics, part: Option<Part>, ledger: Option<&Ledger>) -> Room {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.queue_bytes.inc_by(bytes);
        let on_its_way = ledger.map(Ledger::on_its_way);
        Room { bytes, metrics: metrics.clone(), _part: part, _on_its_way: on_its_way }
    }

    /// How many bytes the batch occupies.
    pub fn bytes(&self) -> u64 {
        self.bytes.unsigned_abs()
    }
}

impl Queue {
    /// The signals that the exporter takes.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        self.signals
    }

    /// What the exporter reads.
    #[must_use]
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// What a ledger knows this exporter as, in this pipeline.
    #[must_use]
    pub fn sink(&self, pipeline: &str) -> Arc<str> {
        Arc::from(format!("{pipeline}/{}", self.id))
    }

    /// The queue for one lane of a pipeline. With a ledger, what has been exported already is left out, and what is
    /// exported is entered.
    #[must_use]
    pub fn for_lane(&self, pipeline: &str, ledger: Option<&Ledger>) -> LaneQueue {
        let lease = ledger.map(|ledger| {
            let sink = self.sink(pipeline);
            let route = Arc::new(Route {
                id: self.next_route.fetch_add(1, Ordering::Relaxed),
                exported: ledger.exported(&sink),
                unfinished: ledger.unfinished(&sink),
                sink,
                ledger: ledger.clone(),
                exact: self.exact,
            });
            Arc::new(Lease { route, sender: self.sender.clone() })
        });
        LaneQueue { queue: self.clone(), lease, delays: Delays::new(&self.context, pipeline) }
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
        let sending = delays.and_then(|delays| delays.sending(&batch));
        let held = Held::new(std::mem::take(&mut batch.ack));
        if let Some(exporter) = self.prepares.as_ref().filter(|_| !batch.is_empty()) {
            batch = exporter.prepare(batch);
        }
        let bytes = batch.memory();
        let amount = Amount { rows: batch.len(), bytes: bytes as u64 };
        let lane = route.as_ref().filter(|route| route.exact).map(|route| route.id);
        let part = if bounded && self.detached {
            self.space.try_take(lane, amount)
        } else if bounded {
            // The exporter must know: what fills the queue may wait for company. When it has ended, so has the wait.
            let full = || drop(self.sender.send(Item::Full));
            Some(self.space.take(lane, amount, full).await.ok_or(LaneClosed)?)
        } else {
            None
        };
        let refused = bounded && part.is_none();
        let room = Room::new(bytes, &self.metrics, part, route.as_ref().map(|route| &route.ledger));
        let queued =
            Queued { batch, held, room, route, sending, since: Instant::now(), refused, on_disk: false };
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
        let Some(route) = self.lease.as_ref().map(|lease| &lease.route) else {
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
            route.ledger.take(&route.sink, &positions);
        }
        // What an earlier owner had begun is exported when all of it is here, so it must not wait for room. It fitted
        // into an export of that owner.
        let repeated =
            route.exact && route.unfinished.as_ref().is_some_and(|range| positions.end <= range.end);
        // An empty batch still tells how far the lane has come.
        self.queue.push(batch, Some(Arc::clone(route)), delays, !repeated).await
    }

    /// The signals that the exporter takes.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        self.queue.signals
    }
}
