//! One configured `pattern`: what both halves share.

use std::sync::Arc;
use std::time::Duration;

use weir_alarms::{Compared, Message, Severity};
use weir_component::event_clocks::EventClocks;
use weir_component::{Clock, LogLimit, ShardWatermarks, Watermark};
use weir_pdata::Signal;
use weir_pdata::expr::{Expr, ExprError, Failures};
use weir_pdata::late::LatePolicy;

use crate::keys::Limits;
use crate::metrics::Metrics;
use crate::nfa::{Contiguity, Sequence};

/// Milliseconds between log lines about the same trouble.
const LOG_INTERVAL: i64 = 10_000;

/// A checked configuration with its services. Shared by all stages of one processor.
pub(crate) struct Operator {
    pub(crate) id: Arc<str>,
    /// The signal that is read.
    pub(crate) input: Signal,
    /// Only windows of this operator.
    pub(crate) only: Option<String>,
    /// The column of event times; of windows that of their ends.
    pub(crate) time: String,
    /// Columns whose values make a key.
    pub(crate) key: Vec<Arc<str>>,
    /// `where`.
    pub(crate) condition: Option<Expr>,
    /// One per step.
    pub(crate) conditions: Vec<Expr>,
    pub(crate) sequence: Arc<Sequence>,
    /// Columns whose values are kept of events.
    pub(crate) kept: Vec<String>,
    pub(crate) alarm: AlarmTemplate,
    /// The treatment of late events.
    pub(crate) late: LatePolicy,
    /// Milliseconds. Of lanes only: what comes from a stage before on the trunk has its watermark.
    pub(crate) out_of_orderness: i64,
    pub(crate) idle_timeout: Duration,
    /// The treatment of events that are ahead of their arrival.
    pub(crate) clocks: EventClocks,
    pub(crate) limits: Limits,
    /// How far the lanes have come, of all shards together.
    pub(crate) watermarks: ShardWatermarks,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) logs: Logs,
}

/// The common part of the alarms of one pattern.
pub(crate) struct AlarmTemplate {
    /// The column `rule`.
    pub(crate) name: Arc<str>,
    pub(crate) severity: Severity,
    /// Of the last step.
    pub(crate) compared: Compared,
    pub(crate) message: Message,
    /// The names of the steps.
    pub(crate) steps: Vec<String>,
}

/// Limits of log lines, for each kind of trouble.
pub(crate) struct Logs {
    pub(crate) late: LogLimit,
    pub(crate) timeless: LogLimit,
    pub(crate) refused: LogLimit,
    pub(crate) dropped: LogLimit,
    pub(crate) failed: LogLimit,
    pub(crate) templates: LogLimit,
}

impl Default for Logs {
    fn default() -> Logs {
        let limit = || LogLimit::every_ms(LOG_INTERVAL);
        Logs {
            late: limit(),
            timeless: limit(),
            refused: limit(),
            dropped: limit(),
            failed: limit(),
            templates: limit(),
        }
    }
}

impl Operator {
    /// Whether the input is made on the trunk: windows and alarms pass through it, events of receivers do
    /// not.
    pub(crate) fn reads_derived(&self) -> bool {
        matches!(self.input, Signal::Windows | Signal::Alarms)
    }

    /// Whether a lane of this signal may bring input.
    pub(crate) fn takes(&self, signal: Option<Signal>) -> bool {
        signal.is_none_or(|signal| signal == self.input)
    }

    /// Whether an event that fits no step can still matter: it comes between two that must follow directly.
    pub(crate) fn is_strict(&self) -> bool {
        self.sequence.steps.iter().enumerate().any(|(at, step)| {
            (at > 0 && step.join == Contiguity::Strict) || (step.max > 1 && step.inner == Contiguity::Strict)
        })
    }

    /// The columns that the trunk reads of events.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        let conditions = self.conditions.iter().flat_map(Expr::names);
        std::iter::once(self.time.as_str())
            .chain(self.key.iter().map(|name| &**name))
            .chain(conditions.map(String::as_str))
            .chain(self.kept.iter().map(String::as_str))
    }

    /// Events were left out because they came after their time had passed.
    pub(crate) fn note_late(&self, events: usize, watermark: Watermark) {
        self.metrics.late.inc_by(events as u64);
        if events > 0
            && let Some(suppressed) = self.logs.late.allow(self.clock.now_ms())
        {
            tracing::warn!(
                processor = %self.id, events, %watermark, suppressed,
                "events came after their time had passed and are in no match"
            );
        }
    }

    /// Expressions failed on rows, for which they are NULL.
    pub(crate) fn note_failures(&self, failures: &Failures) {
        let Failures { rows: events, first: Some(error) } = failures else { return };
        self.metrics.failed.inc_by(*events as u64);
        if let Some(suppressed) = self.logs.failed.allow(self.clock.now_ms()) {
            tracing::error!(
                processor = %self.id, events, suppressed, "an expression failed on events, and is false for them: {error}"
            );
        }
    }

    /// `events` were left out because an expression does not fit their columns.
    pub(crate) fn note_failed(&self, events: usize, error: &ExprError) {
        self.metrics.failed.inc_by(events as u64);
        if let Some(suppressed) = self.logs.failed.allow(self.clock.now_ms()) {
            tracing::error!(
                processor = %self.id, events, suppressed, "an expression failed on a batch, which is left out: {error}"
            );
        }
    }
}
