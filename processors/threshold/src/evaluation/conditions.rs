//! Whether the conditions of a rule hold for windows.

use arrow::array::{BooleanArray, RecordBatch};
use weir_alarms::{Compared, Severity};
use weir_pdata::expr::{ExprError, Failures};

use crate::evaluation::windows::{Window, WindowRows};
use crate::rule::{Classic, InlineRule, PerSeverity};

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
    /// The worst severity that holds: the longest or the mean duration is above its threshold.
    pub(crate) fn held(&self, windows: &WindowRows<'_>, window: &Window) -> Option<(Severity, Compared)> {
        let above = |measure: &str, threshold: Option<f64>| {
            let threshold =
                threshold.filter(|threshold| windows.number(measure, window.row) > Some(*threshold))?;
            Some(Compared { measure: Some(measure.into()), threshold: Some(threshold) })
        };
        Severity::FROM_HIGH.into_iter().find_map(|severity| {
            let compared = above("max_duration_ns", *self.max_ns.get(severity))
                .or_else(|| above("avg_duration_ns", *self.avg_ns.get(severity)))?;
            Some((severity, compared))
        })
    }
}
