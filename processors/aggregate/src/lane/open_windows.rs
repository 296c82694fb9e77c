//! The groups that a lane has gathered and not yet sent, for every kind of window.

use arrow::array::TimestampNanosecondArray;
use weir_component::Watermark;

use crate::lane::input::{Assignment, BatchInput, PartialResult};
use crate::lane::session::OpenSessions;
use crate::lane::tumbling_sliding::OpenSlices;
use crate::operator::Operator;
use crate::window::{Cells, Windows};

/// The windows of a lane, by kind.
pub(crate) enum OpenWindows {
    /// Windows at fixed places.
    Slices(OpenSlices),
    /// Sessions.
    Sessions(OpenSessions),
}

impl OpenWindows {
    /// Nothing yet.
    pub(crate) fn new(operator: &Operator) -> OpenWindows {
        match &operator.window {
            Windows::Event(slices) | Windows::Processing(slices) => {
                OpenWindows::Slices(OpenSlices::new(slices.clone(), operator.allowed_lateness))
            }
            Windows::Session { gap, longest } => OpenWindows::Sessions(OpenSessions::new(
                *gap,
                operator.allowed_lateness,
                Cells::new(*longest),
            )),
        }
    }

    /// The next events are of another batch.
    pub(crate) fn start_batch(&mut self) {
        if let OpenWindows::Slices(slices) = self {
            slices.start_batch();
        }
    }

    /// Where an event at `time` (milliseconds) goes when the lane has come to this watermark.
    pub(crate) fn assign(&mut self, time: i64, watermark: Watermark) -> Assignment {
        match self {
            OpenWindows::Slices(slices) => slices.assign(time, watermark),
            OpenWindows::Sessions(sessions) => sessions.assign(time, watermark),
        }
    }

    /// Adds the row that was assigned last, when it is [`Assignment::InWindow`]. Whether it went into the
    /// overflow group.
    pub(crate) fn add(&mut self, input: &BatchInput<'_>, row: usize, time: i64, nanos: i64) -> bool {
        match self {
            OpenWindows::Slices(slices) => slices.add(input, row, nanos),
            OpenWindows::Sessions(sessions) => sessions.add(input, row, time, nanos),
        }
    }

    /// Whether events from `earliest` to `latest` are in time for all of their windows when the lane has come
    /// to this watermark. `false`: each has to be looked at.
    pub(crate) fn are_in_time(&self, earliest: i64, latest: i64, watermark: Watermark) -> bool {
        match self {
            OpenWindows::Slices(slices) => slices.are_in_time(earliest, latest, watermark),
            OpenWindows::Sessions(_) => false,
        }
    }

    /// Adds the selected rows of a batch that is [in time](Self::are_in_time). How many went into the
    /// overflow group.
    pub(crate) fn add_in_time(&mut self, input: &BatchInput<'_>, times: &TimestampNanosecondArray) -> u64 {
        match self {
            OpenWindows::Slices(slices) => slices.add_in_time(input, times),
            OpenWindows::Sessions(_) => 0,
        }
    }

    /// Takes what the trunk must have before this watermark of the lane.
    pub(crate) fn take_due(&mut self, watermark: Watermark, keys: usize) -> Vec<PartialResult> {
        match self {
            OpenWindows::Slices(slices) => slices.take_due(watermark, keys),
            OpenWindows::Sessions(sessions) => sessions.take_due(watermark, keys).into_iter().collect(),
        }
    }

    /// How many groups are held, counted once for each slice or session.
    pub(crate) fn groups(&self) -> usize {
        match self {
            OpenWindows::Slices(slices) => slices.groups(),
            OpenWindows::Sessions(sessions) => sessions.fragments(),
        }
    }
}
