//! The stage, the same on lanes and on the trunk.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use weir_component::{Context, LaneMessage, LogLimit, Outlet, Stage, TrunkMessage};
use weir_pdata::expr::Failures;
use weir_pdata::{EventBatch, Payload, Signal};

use crate::conditions::Conditions;
use crate::config::Checked;
use crate::metrics::Counters;

/// The work of the stages, shared by all of them.
pub(crate) struct Plan {
    /// By signal.
    rules: [Option<Rule>; Signal::ALL.len()],
    logs_failures: bool,
    context: Context,
    log: LogLimit,
}

/// The conditions of one signal.
struct Rule {
    conditions: Conditions,
    counters: Counters,
}

impl Plan {
    /// The checked settings.
    pub(crate) fn new(checked: Checked, context: &Context) -> Plan {
        let mut rules = [const { None }; Signal::ALL.len()];
        for (signal, conditions) in checked.signals {
            rules[signal as usize] = Some(Rule { conditions, counters: Counters::new(context, signal) });
        }
        let log = LogLimit::every_ms(10_000);
        Plan { rules, logs_failures: checked.logs_failures, context: context.clone(), log }
    }

    /// The signals that have conditions, with these.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (Signal, &Conditions)> {
        let rules = Signal::ALL.into_iter().zip(&self.rules);
        rules.filter_map(|(signal, rule)| Some((signal, &rule.as_ref()?.conditions)))
    }

    /// The batch with the rows that stay. `None` becomes of no batch: one without rows is left.
    fn filter(&self, batch: EventBatch) -> EventBatch {
        let Some(rule) = &self.rules[batch.signal as usize] else { return batch };
        let (rows, all) = (batch.len(), batch.as_columns());
        let columns = match all {
            Some(columns) => columns.clone(),
            // Records that nothing decodes: conditions that read nothing are the same for all of them.
            None if !rule.conditions.read_columns() => without_columns(rows),
            None => return batch,
        };
        let mut failures = Failures::default();
        let stays = rule.conditions.rows_that_stay(&columns, &mut failures);
        self.report(rule, &batch, &failures);
        let kept = stays.count_set_bits();
        rule.counters.kept.inc_by(kept as u64);
        rule.counters.dropped.inc_by((rows - kept) as u64);
        if kept == rows {
            return batch;
        }
        let filtered = match &batch.payload {
            Payload::Encoded(_) => Ok(without_columns(0)),
            Payload::Columns(columns) if kept == 0 => Ok(columns.slice(0, 0)),
            Payload::Columns(columns) => filter_record_batch(columns, &BooleanArray::new(stays, None)),
        };
        match filtered {
            Ok(columns) => batch.with_columns(columns),
            Err(error) => {
                // Columns of one batch are all of the same length, so that nothing can fail here.
                tracing::error!(processor = %self.context.id, "rows could not be dropped: {error}");
                batch
            }
        }
    }

    fn report(&self, rule: &Rule, batch: &EventBatch, failures: &Failures) {
        let Failures { rows, first: Some(error) } = failures else { return };
        rule.counters.failed.inc_by(*rows as u64);
        if self.logs_failures
            && let Some(suppressed) = self.log.allow(self.context.clock.now_ms())
        {
            tracing::error!(
                processor = %self.context.id, signal = batch.signal.name(), lane = %batch.origin.lane,
                positions = ?batch.origin.positions, rows, suppressed, "a condition failed on rows: {error}"
            );
        }
    }
}

fn without_columns(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// Filters the batches of one lane, or of the trunk.
pub(crate) struct FilterStage(pub(crate) Arc<Plan>);

impl Stage<LaneMessage> for FilterStage {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        out.forward(match message {
            LaneMessage::Batch(batch) => LaneMessage::Batch(self.0.filter(batch)),
            other => other,
        });
    }
}

impl Stage<TrunkMessage> for FilterStage {
    fn handle(&mut self, message: TrunkMessage, out: &mut Outlet) {
        let TrunkMessage::Derived(message) = message else { return };
        match message {
            LaneMessage::Batch(batch) => {
                let batch = self.0.filter(batch);
                // A derived batch has no positions: without rows it has nothing to say.
                if !batch.is_empty() {
                    out.forward(LaneMessage::Batch(batch));
                }
            }
            other => out.forward(other),
        }
    }
}
