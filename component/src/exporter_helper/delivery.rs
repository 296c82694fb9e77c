//! Delivering one group of batches: retry, split, dead-letter.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arrow::array::RecordBatch;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use weir_pdata::{EventBatch, Payload, Signal};

use super::Backoff;
use super::config::HelperConfig;
use super::delay::Sending;
use super::metrics::HelperMetrics;
use super::queue::{Queued, Route};
use crate::{Context, ExportError, Exporter, LogLimit, failpoint};

/// What exports of one exporter share.
pub(super) struct Delivery {
    pub exporter: Arc<dyn Exporter>,
    pub config: HelperConfig,
    pub context: Context,
    pub metrics: HelperMetrics,
    /// Cancelled when unfinished exports must be given up.
    pub abort: CancellationToken,
    pub log: LogLimit,
    /// Seeds the jitter of the next export.
    pub seed: AtomicU64,
}

/// The exporter was told to give up.
struct Aborted;

impl Delivery {
    /// Delivers the group and acknowledges it, or fails it when aborted.
    pub async fn run(self: Arc<Self>, group: Vec<Queued>) {
        let rows: usize = group.iter().map(|queued| queued.batch.len()).sum();
        let (mut batches, mut rest) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        let mut sending = Vec::new();
        for Queued { batch, held, room, route, sending: of_batch } in group {
            rest.push((held, room, route.map(|route| (route, batch.origin.positions.clone()))));
            sending.extend(of_batch);
            batches.push(batch);
        }
        if self.deliver(batches).await.is_err() {
            self.metrics.abandoned.inc_by(rows as u64);
            return; // dropping what is held fails the inputs
        }
        self.arrived(sending);
        for (held, _room, route) in rest {
            if let Some((route, positions)) = route {
                route.ledger.finish(&route.sink, &positions);
            }
            drop(held.release());
        }
    }

    /// Delivers a range of a lane, one export for each signal in it, under an identity that the lane's next owner would
    /// give it too; then acknowledges it. Fails it when aborted, or when the lane has another owner.
    pub async fn run_range(self: Arc<Self>, route: Arc<Route>, range: Range<i64>, group: Vec<Queued>) {
        let rows: usize = group.iter().map(|queued| queued.batch.len()).sum();
        let identity: Arc<str> =
            Arc::from(format!("{}/{}-{}/{}", route.ledger.identity(), range.start, range.end, route.sink));
        let mut by_signal: [Vec<EventBatch>; Signal::ALL.len()] = Default::default();
        let mut rest = Vec::with_capacity(group.len());
        let mut sending = Vec::new();
        for Queued { mut batch, held, room, sending: of_batch, .. } in group {
            sending.extend(of_batch);
            if !batch.is_empty() {
                batch.origin.identity = Some(Arc::clone(&identity));
                by_signal[batch.signal as usize].push(batch);
            }
            rest.push((held, room));
        }
        if rows > 0 && self.deliver_range(&route, &range, by_signal).await.is_err() {
            self.metrics.abandoned.inc_by(rows as u64);
            return; // dropping what is held fails the inputs
        }
        self.arrived(sending);
        route.ledger.done(&route.sink, &range);
        failpoint::reach("after-export");
        for (held, _room) in rest {
            drop(held.release());
        }
    }

    async fn deliver_range(
        &self,
        route: &Route,
        range: &Range<i64>,
        by_signal: [Vec<EventBatch>; Signal::ALL.len()],
    ) -> Result<(), Aborted> {
        let version = route.ledger.begin(&route.sink, range);
        tokio::select! {
            biased;
            () = self.abort.cancelled() => return Err(Aborted),
            written = route.ledger.until_written(version) => written.map_err(|_| Aborted)?,
        }
        failpoint::reach("before-export");
        for batches in by_signal.into_iter().filter(|batches| !batches.is_empty()) {
            self.deliver(batches).await?;
        }
        Ok(())
    }

    fn arrived(&self, sending: Vec<Sending>) {
        let now = self.context.clock.now_ms();
        sending.into_iter().for_each(|batch| batch.arrived(now));
    }

    /// Delivers batches, halving them while the destination rejects their data.
    async fn deliver(&self, batches: Vec<EventBatch>) -> Result<(), Aborted> {
        let mut todo = vec![batches];
        while let Some(batches) = todo.pop() {
            let rows: usize = batches.iter().map(EventBatch::len).sum();
            match self.attempt(&batches).await? {
                Ok(()) => {
                    self.metrics.sent.inc_by(rows as u64);
                }
                Err(reason) if rows <= 1 => self.bury(&self.restored(batches, &reason), &reason),
                Err(reason) => {
                    let (mut first, mut second) = halves(self.restored(batches, &reason));
                    // Whoever repeats the export splits it in the same way.
                    name_part(&mut first, "a");
                    name_part(&mut second, "b");
                    todo.extend([second, first].into_iter().filter(|batches| !batches.is_empty()));
                }
            }
        }
        Ok(())
    }

    /// Tries until the destination has taken or rejected the batches. The inner error is why it rejected them.
    async fn attempt(&self, batches: &[EventBatch]) -> Result<Result<(), String>, Aborted> {
        let mut random = StdRng::seed_from_u64(self.seed.fetch_add(1, Ordering::Relaxed));
        let mut backoff = Backoff::new(self.config.retry);
        let began = Instant::now();
        loop {
            let timeout = self.config.timeout.get();
            let result = tokio::select! {
                biased;
                () = self.abort.cancelled() => return Err(Aborted),
                result = tokio::time::timeout(timeout, self.exporter.export(batches)) => result,
            };
            let (reason, after) = match result {
                Ok(Ok(())) => {
                    failpoint::reach("after-answer");
                    return Ok(Ok(()));
                }
                Ok(Err(ExportError::Permanent { reason })) => return Ok(Err(reason)),
                Ok(Err(ExportError::Retryable { reason, after })) => (reason, after),
                Err(_) => (format!("no answer within {}", self.config.timeout), None),
            };
            let max = self.config.retry.max_elapsed_time.get();
            if !max.is_zero() && began.elapsed() >= max {
                return Ok(Err(format!("given up after {}: {reason}", self.config.retry.max_elapsed_time)));
            }
            let wait = backoff.wait(after, &mut random);
            self.metrics.retries.inc();
            if let Some(more) = self.log.allow(self.context.clock.now_ms()) {
                let exporter = self.context.id.to_string();
                tracing::warn!(exporter, %reason, ?wait, more, "export failed, retrying");
            }
            tokio::select! {
                () = self.abort.cancelled() => return Err(Aborted),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The batches as columns. One whose rows cannot be read again goes to the dead letters without them.
    fn restored(&self, batches: Vec<EventBatch>, reason: &str) -> Vec<EventBatch> {
        let restored = |batch: EventBatch| match self.exporter.restore(&batch) {
            Ok(batch) => Some(batch),
            Err(error) => {
                self.bury(&[batch], &format!("{reason}; its rows cannot be read again: {error}"));
                None
            }
        };
        batches.into_iter().filter_map(restored).collect()
    }

    /// Puts rows that cannot be delivered into the dead letters; of a batch without columns, how many and where they came from.
    pub(super) fn bury(&self, batches: &[EventBatch], reason: &str) {
        for batch in batches {
            let Payload::Columns(columns) = &batch.payload else {
                let Range { start, end } = &batch.origin.positions;
                let what = [("positions", format!("{start}-{end}").into()), ("rows", batch.len().into())];
                self.dead_letter(batch, reason, what, batch.len());
                continue;
            };
            let mut lines = Vec::new();
            weir_pdata::json::write_rows(columns, batch.signal, &mut lines);
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                // As text: an object with a repeated attribute key would not survive being parsed.
                let row = String::from_utf8_lossy(line).into_owned();
                self.dead_letter(batch, reason, [("row", row.into())], 1);
            }
        }
        if let Some(more) = self.log.allow(self.context.clock.now_ms()) {
            let exporter = self.context.id.to_string();
            tracing::error!(exporter, reason, more, "a row was rejected and is in the dead letters");
        }
    }

    /// Writes one dead letter about so many rows of a batch.
    fn dead_letter<const N: usize>(
        &self,
        batch: &EventBatch,
        reason: &str,
        what: [(&str, Value); N],
        rows: usize,
    ) {
        let mut fields = Map::new();
        fields.insert("lane".into(), batch.origin.lane.as_ref().into());
        fields.extend(what.map(|(name, value)| (name.to_owned(), value)));
        self.context.dead_letters.write(&self.context.id, reason, fields);
        self.metrics.rejected.inc_by(rows as u64);
    }
}

/// Gives part of an export with an identity an identity of its own.
fn name_part(batches: &mut [EventBatch], part: &str) {
    for batch in batches {
        batch.origin.identity =
            batch.origin.identity.take().map(|identity| Arc::from(format!("{identity}.{part}")));
    }
}

/// Splits the rows of some batches into two halves, in order.
fn halves(batches: Vec<EventBatch>) -> (Vec<EventBatch>, Vec<EventBatch>) {
    let half = batches.iter().map(EventBatch::len).sum::<usize>().div_ceil(2);
    let (mut first, mut second, mut taken) = (Vec::new(), Vec::new(), 0);
    for batch in batches {
        let len = batch.len();
        let here = half.saturating_sub(taken).min(len);
        taken += here;
        match &batch.payload {
            Payload::Columns(columns) if here > 0 && here < len => {
                let part = |columns: RecordBatch| batch.clone().with_columns(columns);
                first.push(part(columns.slice(0, here)));
                second.push(part(columns.slice(here, len - here)));
            }
            _ if here > 0 => first.push(batch),
            _ => second.push(batch),
        }
    }
    (first, second)
}
