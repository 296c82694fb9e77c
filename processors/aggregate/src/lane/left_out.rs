//! Events that a lane leaves out of windows.

use crate::operator::Operator;
use crate::window::Span;

/// Events of one batch that are in no window, or not in their own group.
#[derive(Default)]
pub(super) struct LeftOut {
    pub(super) timeless: u64,
    pub(super) overflow: u64,
    /// Their windows were delivered before the lane began.
    pub(super) repeated: u64,
    /// The window of the first late event.
    pub(super) late: Option<Span>,
}

impl LeftOut {
    /// Counts them, and warns.
    pub(super) fn report(self, operator: &Operator, now: i64) {
        operator.note_overflow(self.overflow);
        operator.metrics.repeated.inc_by(self.repeated);
        if self.timeless > 0 {
            operator.metrics.timeless.inc_by(self.timeless);
            if let Some(suppressed) = operator.logs.timeless.allow(now) {
                tracing::warn!(
                    processor = %operator.id, events = self.timeless, column = %operator.time, suppressed,
                    "events without a usable time are kept out of windows"
                );
            }
        }
    }
}
