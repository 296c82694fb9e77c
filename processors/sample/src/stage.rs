//! The stage on a lane.

use std::sync::Arc;

use arrow::array::{
    BooleanArray, BooleanBufferBuilder, BooleanBuilder, Float64Builder, RecordBatch, StringViewBuilder,
};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use weir_component::{Context, LaneMessage, Outlet, Stage};
use weir_pdata::text::TextColumn;
use weir_pdata::{EventBatch, Signal, SignalSet};

use crate::columns::{self, RANDOMNESS, THRESHOLD, TRACE_ID, TRACE_STATE, Written};
use crate::config::Checked;
use crate::metrics::{Counters, Counts};
use crate::threshold::{Randomness, Source, Threshold};
use crate::trace_state::{self, Sampling};

/// The work of the stages, shared by all of them.
pub(crate) struct Plan {
    threshold: Threshold,
    /// The threshold, as it is written.
    digits: String,
    signals: SignalSet,
    traces: Counters,
    logs: Counters,
    context: Context,
}

impl Plan {
    /// The checked settings.
    pub(crate) fn new(checked: Checked, context: &Context) -> Plan {
        Plan {
            threshold: checked.threshold,
            digits: checked.threshold.digits(),
            signals: checked.signals,
            traces: Counters::new(context, Signal::Traces),
            logs: Counters::new(context, Signal::Logs),
            context: context.clone(),
        }
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Drop,
    /// It stays as it came: it is in no trace.
    Untraced,
    /// It stays as it came: it was sampled with this threshold, which is stricter.
    Stricter(Threshold),
    /// It stays, and says so. The randomness is written where the trace id alone does not give it.
    Keep(Option<Randomness>),
}

/// Samples the batches of one lane.
pub(crate) struct SampleStage {
    plan: Arc<Plan>,
    /// Room for the trace state and the randomness of a row.
    state: String,
    digits: String,
}

impl SampleStage {
    /// A stage that does what `plan` says.
    pub(crate) fn new(plan: Arc<Plan>) -> SampleStage {
        SampleStage { plan, state: String::new(), digits: String::new() }
    }

    fn decide(&self, id: Option<&str>, before: Sampling, counts: &mut Counts) -> Decision {
        let Some(source) = id.and_then(Randomness::of_trace_id) else {
            counts.untraced += 1;
            return Decision::Untraced;
        };
        let (randomness, written) = match (before.randomness, source) {
            (Some(explicit), _) => (explicit, Some(explicit)),
            (None, Source::TraceId(randomness)) => (randomness, None),
            (None, Source::Hash(randomness)) => (randomness, Some(randomness)),
        };
        let consistent = before.threshold.filter(|threshold| threshold.keeps(randomness));
        counts.inconsistent += u64::from(before.threshold.is_some() && consistent.is_none());
        match consistent {
            Some(before) if before > self.plan.threshold => {
                counts.stricter += 1;
                Decision::Stricter(before)
            }
            _ if self.plan.threshold.keeps(randomness) => Decision::Keep(written),
            _ => Decision::Drop,
        }
    }

    fn sample(&mut self, batch: &RecordBatch, signal: Signal) -> Result<(RecordBatch, Counts), ArrowError> {
        let batch = columns::owned(batch);
        let columns = [TRACE_ID, TRACE_STATE, THRESHOLD, RANDOMNESS].map(|name| columns::text(&batch, name));
        let [ids, states, thresholds, randomness] =
            [0, 1, 2, 3].map(|at| columns[at].as_ref().and_then(TextColumn::new));
        let (states, thresholds, randomness) = match signal {
            Signal::Traces => (states, None, None),
            _ => (None, thresholds, randomness),
        };
        let rows = batch.num_rows();
        let mut counts = Counts::default();
        let mut stays = BooleanBufferBuilder::new(rows);
        let (mut state_texts, mut randomness_texts) = (StringViewBuilder::new(), StringViewBuilder::new());
        let (mut adjusted, mut untraced) = (Float64Builder::new(), BooleanBuilder::new());
        for row in 0..rows {
            let value = |column: &Option<_>| text_of(column.as_ref(), row);
            let state = value(&states);
            let before = match signal {
                Signal::Traces => state.map(trace_state::read).unwrap_or_default(),
                _ => Sampling {
                    threshold: value(&thresholds).and_then(Threshold::parse),
                    randomness: value(&randomness).and_then(Randomness::parse),
                },
            };
            let decision = self.decide(value(&ids), before, &mut counts);
            stays.append(decision != Decision::Drop);
            match decision {
                Decision::Drop => continue,
                Decision::Untraced | Decision::Stricter(_) => {
                    state_texts.append_option(if signal == Signal::Traces {
                        state
                    } else {
                        value(&thresholds)
                    });
                    randomness_texts.append_option(value(&randomness));
                }
                Decision::Keep(written) => {
                    let digits = written.map(|written| {
                        written.write(&mut self.digits);
                        self.digits.as_str()
                    });
                    if signal == Signal::Traces {
                        let state = state.unwrap_or_default();
                        trace_state::write(state, &self.plan.digits, digits, &mut self.state);
                        state_texts.append_value(&self.state);
                    } else {
                        state_texts.append_value(&self.plan.digits);
                    }
                    randomness_texts.append_option(digits);
                }
            }
            untraced.append_value(decision == Decision::Untraced);
            match decision {
                Decision::Stricter(before) => adjusted.append_value(before.adjusted_count()),
                Decision::Keep(_) => adjusted.append_value(self.plan.threshold.adjusted_count()),
                Decision::Untraced | Decision::Drop => adjusted.append_null(),
            }
        }
        let stays = stays.finish();
        counts.kept = stays.count_set_bits() as u64;
        counts.dropped = rows as u64 - counts.kept;
        let kept = if counts.dropped == 0 {
            batch.into_owned()
        } else {
            filter_record_batch(&batch, &BooleanArray::new(stays, None))?
        };
        let written = Written {
            state: state_texts.finish(),
            randomness: (signal != Signal::Traces).then(|| randomness_texts.finish()),
            counts: adjusted.finish(),
            untraced: untraced.finish(),
        };
        Ok((columns::with(&kept, signal, written)?, counts))
    }

    fn batch(&mut self, batch: EventBatch) -> EventBatch {
        if !self.plan.signals.contains(batch.signal) {
            return batch;
        }
        let Some(columns) = batch.as_columns() else { return batch };
        match self.sample(columns, batch.signal) {
            Ok((columns, counts)) => {
                match batch.signal {
                    Signal::Traces => &self.plan.traces,
                    _ => &self.plan.logs,
                }
                .add(counts);
                batch.with_columns(columns)
            }
            Err(error) => {
                tracing::error!(processor = %self.plan.context.id, "a batch is not sampled: {error}");
                batch
            }
        }
    }
}

fn text_of<'a>(column: Option<&TextColumn<'a>>, row: usize) -> Option<&'a str> {
    column?.get(row)
}

impl Stage<LaneMessage> for SampleStage {
    fn handle(&mut self, message: LaneMessage, out: &mut Outlet) {
        out.forward(match message {
            LaneMessage::Batch(batch) => LaneMessage::Batch(self.batch(batch)),
            other => other,
        });
    }
}
