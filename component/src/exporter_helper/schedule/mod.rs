//! The task of an exporter: takes batches from the queue, groups them, starts exports.
//!
//! An [idempotent](crate::Exporter::is_idempotent) exporter gets each range of a lane, and each batch with an
//! identity, in an export of its own. All other batches are exported by signal. The oldest of those that are
//! due goes first.

mod pace;
pub mod ranges;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use weir_pdata::Signal;

use super::attempt::ExportRunner;
use super::config::BatchConfig;
use super::queue::capacity::QueueCapacity;
use super::queue::{Item, Queued, Route};
use pace::Pace;
use ranges::{Amount, RangeBatch as _, Ranges};

/// Batches of one signal that wait for more.
#[derive(Default)]
struct Group {
    batches: Vec<Queued>,
    amount: Amount,
    due: Option<Instant>,
}

impl Group {
    fn add(&mut self, queued: Queued, due: Instant, enough: Amount) {
        self.amount.rows += queued.batch.len();
        self.amount.bytes += queued.bytes();
        self.batches.push(queued);
        let due = if self.amount.reaches(enough) { Instant::now() } else { due };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }
}

/// The batches of one lane of one pipeline.
struct LaneGroup {
    route: Arc<Route>,
    signal: Signal,
    ranges: Ranges<Queued, Instant>,
}

/// The batches that can be exported next.
#[derive(Clone, Copy)]
enum Choice {
    Signal(usize),
    Alone,
    Lane(u64),
}

pub(crate) struct Worker {
    runner: Arc<ExportRunner>,
    signals: [Group; Signal::ALL.len()],
    /// Batches with an identity, each for an export of its own.
    alone: VecDeque<(Instant, Queued)>,
    lanes: BTreeMap<u64, LaneGroup>,
    pace: Pace,
    capacity: QueueCapacity,
    /// Each tells the lane that it was about, if any.
    exports: JoinSet<Option<u64>>,
}

impl Worker {
    pub(super) fn new(runner: Arc<ExportRunner>, capacity: QueueCapacity) -> Worker {
        let pace = Pace::new(runner.config.max_per_second, Instant::now());
        Worker {
            runner,
            signals: Default::default(),
            alone: VecDeque::new(),
            lanes: BTreeMap::new(),
            pace,
            capacity,
            exports: JoinSet::new(),
        }
    }

    pub(super) async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Item>) {
        let runner = self.runner.clone();
        let mut ended = false;
        loop {
            let wake = if self.exports.len() < runner.config.queue.concurrency {
                self.next_start(ended)
            } else {
                None
            };
            tokio::select! {
                biased;
                () = runner.abort.cancelled() => break,
                Some(done) = self.exports.join_next(), if !self.exports.is_empty() => self.exported(done),
                () = until(wake) => {}
                next = receiver.recv(), if !ended => match next {
                    Some(Item::Batch(queued)) => self.add(*queued),
                    // What that means is seen below.
                    Some(Item::Full) => {}
                    Some(Item::Ended(route)) => self.ended(route),
                    None => ended = true,
                },
            }
            self.start_exports(ended);
            if ended && self.exports.is_empty() && self.choose(true).is_none() {
                break;
            }
        }
        // Waiting batches are given up: all of them when aborted, else incomplete ranges.
        self.waiting().into_iter().for_each(|queued| runner.abandon_queued(queued));
        // Pipelines get rid of what they have in hand.
        while let Some(item) = tokio::select! {
            () = runner.closed.cancelled() => None,
            item = receiver.recv() => item,
        } {
            if let Item::Batch(queued) = item {
                runner.abandon_queued(*queued);
            }
        }
        receiver.close();
        while let Some(item) = receiver.recv().await {
            if let Item::Batch(queued) = item {
                runner.abandon_queued(*queued);
            }
        }
        while let Some(done) = self.exports.join_next().await {
            self.exported(done);
        }
        runner.exporter.stop().await;
    }

    /// Takes everything that waits.
    fn waiting(&mut self) -> Vec<Queued> {
        let signals = std::mem::take(&mut self.signals).into_iter().flat_map(|group| group.batches);
        let alone = std::mem::take(&mut self.alone).into_iter().map(|(_, queued)| queued);
        let lanes = std::mem::take(&mut self.lanes).into_values().flat_map(|lane| lane.ranges.into_batches());
        signals.chain(alone).chain(lanes).collect()
    }

    fn add(&mut self, queued: Queued) {
        if queued.refused {
            let trouble = self.runner.condition.trouble().unwrap_or_default();
            self.runner.dead_letter_queued(queued, &format!("the queue is full: {trouble}"));
            return;
        }
        let enough = self.enough();
        let now = Instant::now();
        let due = now + self.runner.config.batch.timeout.get();
        match &queued.route {
            Some(route) if route.exact => {
                if !self.lanes.contains_key(&route.id) {
                    // A lane begins, so others may have ended.
                    self.lanes
                        .retain(|_, lane| Arc::strong_count(&lane.route) > 1 || !lane.ranges.is_empty());
                }
                let lane = self.lanes.entry(route.id).or_insert_with(|| LaneGroup {
                    route: Arc::clone(route),
                    signal: queued.batch.signal,
                    ranges: Ranges::new(enough, route.exported, route.unfinished.clone()),
                });
                lane.ranges.add(queued, due);
            }
            _ if queued.batch.origin.identity.is_some() && self.runner.exporter.is_idempotent() => {
                self.alone.push_back((now, queued));
            }
            _ => self.signals[queued.batch.signal as usize].add(queued, due, enough),
        }
    }

    /// When an export of this signal may start. The pace does not apply while a sender waits for room, so
    /// that exports do not fall behind.
    fn paced(&self, signal: Signal, due: Instant) -> Instant {
        if self.capacity.has_waiters() { due } else { due.max(self.pace.next(signal)) }
    }

    /// While senders wait for room: the largest group that can be exported now, since the rows that would
    /// complete it have no room. While another export is in flight, which will release room, only a group of
    /// at least half an export.
    fn largest(&self) -> Option<(Choice, Signal)> {
        if !self.capacity.has_waiters() {
            return None;
        }
        let signals = self.signals.iter().zip(Signal::ALL).enumerate();
        let signals = signals.map(|(index, (group, signal))| (group.amount, Choice::Signal(index), signal));
        let lanes = self.lanes.iter().filter(|(_, lane)| lane.ranges.due().is_some());
        let lanes = lanes.map(|(id, lane)| (lane.ranges.open(), Choice::Lane(*id), lane.signal));
        let (amount, choice, signal) = signals.chain(lanes).max_by_key(|(amount, ..)| amount.bytes)?;
        let worth =
            if self.exports.is_empty() { amount.bytes > 0 } else { amount.reaches(self.enough().half()) };
        worth.then_some((choice, signal))
    }

    /// The batches that are exported together without waiting for more.
    fn enough(&self) -> Amount {
        let BatchConfig { max_rows, max_bytes, .. } = &self.runner.config.batch;
        Amount { rows: *max_rows, bytes: max_bytes.get() }
    }

    /// A lane has ended: its batches do not wait for more. An incomplete range that an earlier owner began
    /// fails: the lane's next owner repeats it.
    fn ended(&mut self, route: u64) {
        let Some(lane) = self.lanes.get_mut(&route) else { return };
        if lane.ranges.is_stuck() {
            self.lanes.remove(&route);
        } else {
            // The end of the lane waits for it.
            lane.ranges.ended(Instant::now());
        }
    }

    /// The next export and its time. `ended`: no batches come any more, so none waits for more.
    fn choose(&self, ended: bool) -> Option<(Instant, Choice, Signal)> {
        let at = |due: Instant| if ended { Instant::now().min(due) } else { due };
        let signals = self.signals.iter().zip(Signal::ALL).enumerate();
        let signals = signals
            .filter_map(|(index, (group, signal))| Some((at(group.due?), Choice::Signal(index), signal)));
        let alone = self.alone.front().map(|(due, queued)| (*due, Choice::Alone, queued.batch.signal));
        let lanes = self.lanes.iter().filter_map(|(id, lane)| {
            let due = lane.ranges.due()?;
            let due = if lane.ranges.is_ready() { due.min(Instant::now()) } else { at(due) };
            Some((due, Choice::Lane(*id), lane.signal))
        });
        signals.chain(alone).chain(lanes).min_by_key(|(due, _, signal)| self.paced(*signal, *due))
    }

    /// When the next export may start.
    fn next_start(&self, ended: bool) -> Option<Instant> {
        let (due, _, signal) = self.choose(ended)?;
        Some(self.paced(signal, due))
    }

    fn start_exports(&mut self, ended: bool) {
        while self.exports.len() < self.runner.config.queue.concurrency {
            let now = Instant::now();
            let due = self.choose(ended).filter(|(due, _, signal)| self.paced(*signal, *due) <= now);
            let largest = || self.largest().map(|(choice, signal)| (now, choice, signal));
            let Some((due, choice, signal)) = due.or_else(largest) else { return };
            self.start(choice, if ended { due.max(now) } else { now }, signal);
        }
    }

    fn start(&mut self, choice: Choice, now: Instant, signal: Signal) {
        let runner = self.runner.clone();
        match choice {
            Choice::Signal(index) => {
                let batches = std::mem::take(&mut self.signals[index]).batches;
                self.spawn(None, runner.run(batches));
            }
            Choice::Alone => {
                if let Some((_, queued)) = self.alone.pop_front() {
                    self.spawn(None, runner.run(vec![queued]));
                }
            }
            Choice::Lane(id) => {
                let Some(lane) = self.lanes.get_mut(&id) else { return };
                let last = lane.ranges.due().map_or(now, |due| due.max(now));
                let Some(cut) = lane.ranges.take(last) else { return };
                let route = Arc::clone(&lane.route);
                self.capacity.export_started(id, cut.amount);
                self.spawn(Some(id), runner.run_range(route, cut.range, cut.batches));
            }
        }
        self.pace.started(signal, now);
    }

    fn spawn(&mut self, lane: Option<u64>, export: impl Future<Output = ()> + Send + 'static) {
        self.exports.spawn(async move {
            export.await;
            lane
        });
    }

    fn exported(&mut self, done: Result<Option<u64>, JoinError>) {
        match done {
            Ok(Some(id)) => {
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.ranges.delivered();
                }
            }
            Ok(None) => {}
            // An export that panicked has failed its inputs, and its lane stays as it is; say so.
            Err(error) => {
                let exporter = &self.runner.context.id;
                tracing::error!(%exporter, %error, "an export ended abnormally; its input will be read again");
                self.runner.condition.set_broken(error.to_string());
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
