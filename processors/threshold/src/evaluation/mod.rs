//! Evaluation of rules on windows: from batches of windows to alarms.

pub(crate) mod alarm_state;
pub(crate) mod conditions;
pub(crate) mod evaluator;
pub(crate) mod last_windows;
mod reports;
pub(crate) mod series;
pub(crate) mod template_context;
pub(crate) mod windows;
