//! Requests that cannot be decoded: told to their clients, counted, logged at a limited rate, and kept as
//! dead letters.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Map;
use weir_component::{Context, RejectedRecords, Rejects};
use weir_pdata::Encoded;

use super::batch::Answers;
use crate::metrics::LaneMetrics;

/// Where requests of one lane are rejected.
pub(crate) struct LaneRejects {
    records: RejectedRecords,
    metrics: LaneMetrics,
    /// Who waits for the batch that is on the lane now.
    current: Mutex<Option<Arc<Answers>>>,
}

impl LaneRejects {
    pub(crate) fn new(context: Context, metrics: LaneMetrics) -> LaneRejects {
        LaneRejects { records: RejectedRecords::new(context), metrics, current: Mutex::default() }
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
        let mut fields = Map::new();
        fields.insert("signal".to_owned(), encoded.format.signal().name().into());
        fields.extend(items.map(|items| ("rejected_items".to_owned(), items.into())));
        self.records.keep(encoded, index, reason, fields);
    }
}

impl Rejects for LaneRejects {
    fn reject(&self, encoded: &Encoded, index: usize, _: i64, reason: &str) {
        self.metrics.of_records.rejected.inc();
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
        self.metrics.of_records.escaped.inc();
        self.records.escaped(key);
    }

    fn empty(&self, count: usize) {
        self.metrics.of_records.empty.inc_by(count as u64);
    }
}
