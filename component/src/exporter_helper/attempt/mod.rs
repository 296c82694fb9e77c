//! Delivering one group of batches: retry, split, dead-letter.

mod backoff;
mod dead_letters;
pub mod isolation;
mod rows;
mod tries;
mod verdict;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_pdata::{EventBatch, Signal};

pub use backoff::Backoff;

use super::config::HelperConfig;
use super::metrics::HelperMetrics;
use super::queue::delay::PendingDelay;
use super::queue::{Queued, Route};
use super::unfinished::Condition;
use crate::delivery::Split;
use crate::{Context, Exporter, LogLimit, Outgoing, failpoint};
use isolation::{Refusal, RowIsolation, Step};
use rows::{name_part, pick};
use verdict::Verdict;

/// The parts that all exports of one exporter share.
pub(crate) struct ExportRunner {
    pub exporter: Arc<dyn Exporter>,
    pub config: HelperConfig,
    pub context: Context,
    pub metrics: HelperMetrics,
    /// Cancelled when unfinished exports must be given up.
    pub abort: CancellationToken,
    /// Cancelled when nothing more is taken from pipelines, even to be given up.
    pub closed: CancellationToken,
    pub condition: Condition,
    pub log: LogLimit,
    /// Seeds the jitter of the next export.
    pub seed: AtomicU64,
}

/// The exporter was told to give up, or what it exports has another owner: what is not delivered.
struct Aborted(Vec<Outgoing>);

/// Rows of a range that is exported, by their numbers in the range.
struct RangeRows<'a> {
    route: &'a Route,
    /// The numbers of the rows.
    rows: Range<usize>,
    /// How many rows the range has.
    of: usize,
    /// The part that an earlier owner was about to export, if it exported them in parts.
    resumed: Option<Split>,
}

impl ExportRunner {
    /// Delivers the group and acknowledges it, or fails it when aborted.
    pub(super) async fn run(self: Arc<Self>, group: Vec<Queued>) {
        // A batch behind a closed fence is also computed by another owner: it is not exported, and dropping
        // it fails its inputs.
        let group: Vec<Queued> =
            group.into_iter().filter(|queued| !queued.batch.origin.is_fenced()).collect();
        if group.is_empty() {
            return;
        }
        let rows: usize = group.iter().map(|queued| queued.batch.len()).sum();
        let (mut batches, mut rest) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        let mut delays = Vec::new();
        let (mut since, mut on_disk) = (None, false);
        for Queued { batch, held, slot, route, delay, since: queued, on_disk: kept, .. } in group {
            on_disk |= kept;
            if self.config.detached {
                since = Some(since.map_or(queued, |since: Instant| since.min(queued)));
            }
            rest.push((held, slot, route.map(|route| (route, batch.origin.positions.clone()))));
            delays.extend(delay);
            batches.push(batch);
        }
        let windows = batches.iter().any(|batch| batch.signal == Signal::Windows);
        if let Err(Aborted(left)) = self.deliver(batches, None, since).await {
            self.metrics.abandoned.inc_by(rows as u64);
            if !on_disk {
                self.abandon(left, rest.into_iter().map(|(held, ..)| held).collect());
            }
            return; // dropping what is held leaves on disk what is there
        }
        self.observe_delays(delays);
        if windows {
            failpoint::reach("after-window");
        }
        for (held, _slot, route) in rest {
            if let Some((route, positions)) = route {
                route.ledger.finish_waiting(&route.sink, &positions);
            }
            drop(held.release());
        }
    }

    /// Delivers a range of a lane, one export for each signal in it, under an identity that the lane's next
    /// owner would give it too; then acknowledges it. Fails it when aborted, or when the lane has another
    /// owner.
    pub(super) async fn run_range(self: Arc<Self>, route: Arc<Route>, range: Range<i64>, group: Vec<Queued>) {
        let rows: usize = group.iter().map(|queued| queued.batch.len()).sum();
        let identity: Arc<str> = Arc::from(format!(
            "{}/{}-{}/{}",
            route.ledger.identity(range.end),
            range.start,
            range.end,
            route.sink
        ));
        let repeated = route.unfinished.as_ref() == Some(&range);
        let mut by_signal: [Vec<Outgoing>; Signal::ALL.len()] = Default::default();
        let mut rest = Vec::with_capacity(group.len());
        let mut delays = Vec::new();
        for Queued { mut batch, held, slot, delay, .. } in group {
            delays.extend(delay);
            if !batch.is_empty() {
                batch.origin.identity = Some(Arc::clone(&identity));
                batch.origin.repeated = repeated;
                by_signal[batch.signal as usize].push(batch);
            }
            rest.push((held, slot));
        }
        if rows > 0
            && let Err(Aborted(left)) = self.deliver_range(&route, &range, by_signal).await
        {
            self.metrics.abandoned.inc_by(rows as u64);
            // Another owner has a lost lane and delivers these rows; dropping the held acks fails the inputs.
            if !route.ledger.is_lost() {
                self.abandon(left, rest.into_iter().map(|(held, _)| held).collect());
            }
            return;
        }
        self.observe_delays(delays);
        route.ledger.record_exported(&route.sink, &range);
        failpoint::reach("after-export");
        for (held, _slot) in rest {
            drop(held.release());
        }
    }

    async fn deliver_range(
        &self,
        route: &Route,
        range: &Range<i64>,
        by_signal: [Vec<Outgoing>; Signal::ALL.len()],
    ) -> Result<(), Aborted> {
        if !self.written(route, route.ledger.record_pending(&route.sink, range)).await {
            return Err(Aborted(by_signal.into_iter().flatten().collect()));
        }
        failpoint::reach("before-export");
        let all: usize = by_signal.iter().flatten().map(Outgoing::len).sum();
        // Rows are known by their numbers. Where these are not valid any more, the whole range is repeated,
        // and the destination looks for the rows that it has.
        let split = route.ledger.split(&route.sink).filter(|split| {
            let first = by_signal.iter().flatten().map(|batch| batch.origin.positions.start).min();
            let is_cut = first.is_none_or(|first| first > range.start);
            split.of == all || (all < split.of && is_cut)
        });
        // Rows that have meanwhile expired from the lane were at its beginning.
        let lost = split.as_ref().map_or(0, |split| split.of.saturating_sub(all));
        let mut end = lost;
        let mut by_signal = by_signal.into_iter().filter(|batches| !batches.is_empty());
        while let Some(batches) = by_signal.next() {
            let start = end;
            end += batches.iter().map(Outgoing::len).sum::<usize>();
            let begun = split.as_ref().map(|split| split.rows.start);
            if begun.is_some_and(|begun| begun >= end) {
                continue; // an earlier owner has delivered them
            }
            let resumed = split.clone().filter(|split| split.rows.end > start);
            let in_range = RangeRows { route, rows: start..end, of: lost + all, resumed };
            if let Err(Aborted(mut left)) = self.deliver(batches, Some(in_range), None).await {
                left.extend(by_signal.flatten());
                return Err(Aborted(left));
            }
        }
        Ok(())
    }

    /// Waits until this version of the ledger is written down. Returns whether it is.
    async fn written(&self, route: &Route, version: u64) -> bool {
        tokio::select! {
            biased;
            () = self.abort.cancelled() => false,
            written = route.ledger.until_written(version) => written.is_ok(),
        }
    }

    /// The destination has taken these batches, all of one signal, but for so many items.
    fn note_delivered(&self, batches: &[Outgoing], refused: u64) {
        if let Some(first) = batches.first() {
            let sum = |of: fn(&Outgoing) -> usize| batches.iter().map(of).sum::<usize>() as u64;
            self.metrics.delivered(first.signal, sum(Outgoing::len), sum(Outgoing::items), refused);
        }
    }

    fn observe_delays(&self, delays: Vec<PendingDelay>) {
        let now = self.context.clock.now_ms();
        delays.into_iter().for_each(|delay| delay.observe(now));
    }

    /// Delivers batches, in parts when the destination rejects some of their rows. `since`: the start of
    /// `retry.max_elapsed_time`; `None`: each attempt starts its own.
    async fn deliver(
        &self,
        mut batches: Vec<Outgoing>,
        in_range: Option<RangeRows<'_>>,
        since: Option<Instant>,
    ) -> Result<(), Aborted> {
        let ledger = in_range.as_ref().map(|in_range| &in_range.route.ledger);
        let count: usize = batches.iter().map(Outgoing::len).sum();
        let (rows, of) =
            in_range.as_ref().map_or((0..count, count), |in_range| (in_range.rows.clone(), in_range.of));
        let (batches, mut isolation) = match in_range.as_ref().and_then(|in_range| in_range.resumed.clone()) {
            Some(part) => {
                let reason = "part of it was rejected";
                let mut batches = self.restored(batches, reason);
                let left: usize = batches.iter().map(EventBatch::len).sum();
                if left == count {
                    (batches, RowIsolation::resumed(part, rows.clone()))
                } else {
                    // The numbers are of rows that are gone: what was delivered before is looked for instead.
                    batches.iter_mut().for_each(|batch| batch.origin.repeated = true);
                    let rows = rows.start..rows.start + left;
                    let refusal = Refusal { reason: reason.to_owned(), ..Refusal::default() };
                    (batches, RowIsolation::new(rows, of + left - count, &refusal))
                }
            }
            None => match self.attempt(&mut batches, since, ledger).await {
                None => return Err(Aborted(batches)),
                Some(Verdict::Taken(refused)) => {
                    self.note_delivered(&batches, refused);
                    return Ok(());
                }
                Some(Verdict::GivenUp(reason)) => {
                    self.dead_letter(&self.restored(batches, &reason), &reason);
                    return Ok(());
                }
                Some(Verdict::Rejected(mut refusal)) => {
                    let is_encoded = batches.iter().any(Outgoing::is_encoded);
                    let batches = self.restored(batches, &refusal.reason);
                    let left: usize = batches.iter().map(EventBatch::len).sum();
                    let (rows, of) = (rows.start..rows.start + left, of + left - count);
                    if is_encoded {
                        // Records that could not be decoded may have been the reason.
                        let all = Split { rows: rows.clone(), of, without: Vec::new() };
                        (batches, RowIsolation::resumed(all, rows))
                    } else {
                        if left < count {
                            // The numbers are of rows that are gone.
                            refusal.rejected.clear();
                        }
                        (batches, RowIsolation::new(rows, of, &refusal))
                    }
                }
            },
        };
        while let Some(step) = isolation.next() {
            let part = match step {
                Step::DeadLetter(refused, reason) => {
                    self.dead_letter(&pick(&batches, rows.start, &refused, &[]), &reason);
                    continue;
                }
                Step::Try(part) => part,
            };
            let mut tried = outgoing(pick(&batches, rows.start, &part.rows, &part.without));
            let count: usize = tried.iter().map(Outgoing::len).sum();
            let left = || pick(&batches, rows.start, &(part.rows.start..rows.end), &[]);
            if count > 0 {
                name_part(&mut tried, &part);
                if let Some(RangeRows { route, .. }) = in_range
                    && !self.written(route, route.ledger.record_pending_part(&route.sink, &part)).await
                {
                    return Err(Aborted(outgoing(left())));
                }
                failpoint::reach("before-part");
                match self.attempt(&mut tried, since, ledger).await {
                    None => return Err(Aborted(outgoing(left()))),
                    Some(Verdict::Taken(refused)) => {
                        self.note_delivered(&tried, refused);
                        failpoint::reach("after-part");
                    }
                    // The rows after it have waited equally long.
                    Some(Verdict::GivenUp(reason)) => {
                        self.dead_letter(&left(), &reason);
                        return Ok(());
                    }
                    Some(Verdict::Rejected(refusal)) => {
                        isolation.refused(&part, &refusal);
                        continue;
                    }
                }
            }
            isolation.taken(&part);
        }
        Ok(())
    }
}

fn outgoing(batches: Vec<EventBatch>) -> Vec<Outgoing> {
    batches.into_iter().map(Outgoing::from).collect()
}
