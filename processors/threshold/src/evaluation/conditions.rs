//! Whether the conditions of a rule hold for windows.

use arrow::array::{Array, BooleanArray, Float64Array, RecordBatch};
use weir_alarms::{Compared, Severity};
use weir_pdata::expr::{ExprError, Failures};

use crate::evaluation::windows::{Window, WindowRows};
use crate::rule::comparison::Comparison;
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

/// For which rows the conditions of a rule hold, by severity.
pub(crate) enum Truth<'a> {
    /// By SQL.
    Rows(Box<PerSeverity<Option<BooleanArray>>>),
    /// Each condition compares one of these columns with a number. A missing column holds for no row.
    Compared(PerSeverity<Option<(&'a Comparison, &'a Float64Array)>>),
}

impl<'a> Truth<'a> {
    /// Without SQL, when all conditions of the rule are so simple and their columns are numbers.
    pub(crate) fn simple(rule: &'a InlineRule, windows: &'a WindowRows<'_>) -> Option<Truth<'a>> {
        let of = |severity: Severity| {
            let Some(clause) = rule.when.get(severity) else { return Some(None) };
            let comparison = clause.comparison.as_ref()?;
            let numbers = windows.numbers_of(&comparison.column).ok()?;
            Some(numbers.map(|numbers| (comparison, numbers)))
        };
        Some(Truth::Compared(PerSeverity {
            high: of(Severity::High)?,
            mid: of(Severity::Mid)?,
            low: of(Severity::Low)?,
        }))
    }

    /// The worst severity that holds for a row.
    pub(crate) fn worst(&self, row: usize) -> Option<Severity> {
        Severity::FROM_HIGH.into_iter().find(|severity| match self {
            Truth::Rows(truth) => truth.get(*severity).as_ref().is_some_and(|rows| rows.value(row)),
            Truth::Compared(columns) => columns.get(*severity).is_some_and(|(comparison, numbers)| {
                let value = (row < numbers.len() && numbers.is_valid(row)).then(|| numbers.value(row));
                value.is_some_and(|value| value.is_finite() && comparison.holds(value))
            }),
        })
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
