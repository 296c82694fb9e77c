//! Whether the conditions of a rule hold for windows.

use weir_alarms::{Compared, Severity};

use crate::evaluation::windows::{Window, Windows};
use crate::rule::Classic;

impl Classic {
    /// The worst severity that holds: the longest or the mean duration is above its threshold.
    pub(crate) fn held(&self, windows: &Windows<'_>, window: &Window) -> Option<(Severity, Compared)> {
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
