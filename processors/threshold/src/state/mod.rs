//! The memory of series: after which windows, across failures, and across restarts.

pub(crate) mod checkpoint;
pub(crate) mod history;
pub(crate) mod journal;
pub(crate) mod remembered;
