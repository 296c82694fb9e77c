//! Evaluation of rules on windows: from batches of windows to alarms.

pub(crate) mod alarm_state;
pub(crate) mod conditions;
mod deadlines;
mod earlier;
mod elapsing;
pub(crate) mod evaluator;
pub(crate) mod last_windows;
mod matches;
mod no_data;
pub(crate) mod past;
mod reports;
mod rows;
pub(crate) mod series;
pub(crate) mod series_table;
pub(crate) mod template_context;
mod texts;
pub(crate) mod told;
pub(crate) mod windows;
