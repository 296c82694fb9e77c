//! Whether the conditions of a rule hold for windows.

use arrow::array::{BooleanArray, RecordBatch};
use weir_alarms::{Compared, Severity};
use weir_pdata::expr::{ExprError, Failures};

use crate::evaluation::windows::{Window, WindowRows};
use crate::rule::{Classic, InlineRule, Limit, PerSeverity, Side};

impl InlineRule {
    /// For every severity, for which rows of the batch it holds. Rows on which a condition fails are in
    /// `failures`.
    ///
    /// # Errors
    /// When a condition does not fit the columns.
    pub(crate) fn held(
        &self,
        batch: &RecordBatch,
        failures: &mut Failures,
    ) -> Result<PerSeverity<Option<BooleanArray>>, ExprError> {
        let mut rows = |severity: Severity| {
            let clause = self.when.get(severity).as_ref();
            clause.map(|clause| clause.condition.filter(batch, failures)).transpose()
        };
        Ok(PerSeverity { high: rows(Severity::High)?, mid: rows(Severity::Mid)?, low: rows(Severity::Low)? })
    }
}

impl Classic {
    /// The worst severity that holds: a measure is beyond its threshold.
    pub(crate) fn held(&self, windows: &WindowRows<'_>, window: &Window) -> Option<(Severity, Compared)> {
        let beyond = |limit: &Limit, severity: Severity| {
            let threshold = (*limit.at.get(severity))?;
            let value = windows.number(limit.measure, window.row)?;
            let is_beyond = match limit.side {
                Side::Above => value > threshold,
                Side::Below => value < threshold,
            };
            is_beyond.then(|| Compared { measure: Some(limit.measure.into()), threshold: Some(threshold) })
        };
        Severity::FROM_HIGH.into_iter().find_map(|severity| {
            let compared = self.limits.iter().find_map(|limit| beyond(limit, severity))?;
            Some((severity, compared))
        })
    }
}
