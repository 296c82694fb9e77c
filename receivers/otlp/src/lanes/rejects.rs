//! Requests that cannot be decoded: told to their clients, counted, logged at a limited rate, and kept as
//! dead letters.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use weir_component::{Context, LogLimit, Rejects};
use weir_pdata::Encoded;

use super::batch::Answers;
use crate::metrics::LaneMetrics;

/// Where requests of one lane are rejected.
pub(crate) struct LaneRejects {
    context: Context,
    metrics: LaneMetrics,
    /// Who waits for the batch that is on the lane now.
    current: Mutex<Option<Arc<Answers>>>,
    log: LogLimit,
}

impl LaneRejects {
    pub(crate) fn new(context: Context, metrics: LaneMetrics) -> LaneRejects {
        LaneRejects { context, metrics, current: Mutex::default(), log: LogLimit::every_ms(10_000) }
    }

    /// This batch goes down the lane now; `None`: it is through.
    pub(super) fn sending(&self, answers: Option<Arc<Answers>>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    fn current(&self) -> Option<Arc<Answers>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LaneRejects {
    /// Keeps a request as a dead letter; `items`: how many of its items are the reason, if not all.
    fn keep(&self, encoded: &Encoded, index: usize, items: Option<usize>, reason: &str) {
        let record = encoded.records.get(index).and_then(|range| {
            let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
            encoded.arena.get(start..end)
        });
        let mut fields = Map::new();
        fields.insert("signal".to_owned(), encoded.format.signal().name().into());
        fields.extend(items.map(|items| ("rejected_items".to_owned(), items.into())));
        fields.insert("data".to_owned(), STANDARD.encode(record.unwrap_or_default()).into());
        self.context.dead_letters.write(&self.context.id, reason, fields);
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, items) = (&self.context.id, items.unwrap_or_default());
            tracing::warn!(
                %receiver, items, reason, suppressed,
                "a request, or some of its items, was refused; it is kept in the dead letters"
            );
        }
    }
}

impl Rejects for LaneRejects {
    fn reject(&self, encoded: &Encoded, index: usize, _: i64, reason: &str) {
        self.metrics.rejected.inc();
        if let Some(answers) = self.current() {
            answers.refuse(index, reason);
        }
        self.keep(encoded, index, None, reason);
    }

    fn reject_items(&self, encoded: &Encoded, index: usize, _: i64, items: usize, reason: &str) {
        self.metrics.rejected_items.inc_by(items as u64);
        if let Some(answers) = self.current() {
            answers.leave_out(index, items as u64, reason);
        }
        self.keep(encoded, index, Some(items), reason);
    }

    fn escaped(&self, _: &Encoded, _: usize, _: i64, key: &str) {
        self.metrics.escaped.inc();
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let receiver = &self.context.id;
            tracing::warn!(
                %receiver, key, suppressed,
                "a text is not UTF-8: it is stored with the bytes in question escaped (\\xHH)"
            );
        }
    }

    fn empty(&self, count: usize) {
        self.metrics.empty.inc_by(count as u64);
    }
}
