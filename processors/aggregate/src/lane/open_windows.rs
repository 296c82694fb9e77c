//! What a lane has gathered and not sent yet, whatever the kind of window.

use weir_component::Watermark;

use crate::lane::input::{Input, Leaving, Verdict};
use crate::lane::session::OpenSessions;
use crate::lane::tumbling_sliding::OpenSlices;
use crate::operator::Operator;
use crate::window::{Cells, Windows};

/// What is gathered, by kind of window.
pub enum Open {
    /// Windows at fixed places.
    Slices(OpenSlices),
    /// Sessions.
    Sessions(OpenSessions),
}

impl Open {
    /// Nothing yet.
    pub fn new(operator: &Operator) -> Open {
        match &operator.window {
            Windows::Event(slices) | Windows::Processing(slices) => {
                Open::Slices(OpenSlices::new(slices.clone(), operator.allowed_lateness))
            }
            Windows::Session { gap, longest } => {
                Open::Sessions(OpenSessions::new(*gap, operator.allowed_lateness, Cells::new(*longest)))
            }
        }
    }

    /// The next events are of another batch.
    pub fn begin(&mut self) {
        if let Open::Slices(slices) = self {
            slices.begin();
        }
    }

    /// What becomes of an event at `time` (milliseconds) when the lane has come to this watermark.
    pub fn judge(&mut self, time: i64, watermark: Watermark) -> Verdict {
        match self {
            Open::Slices(slices) => slices.judge(time, watermark),
            Open::Sessions(sessions) => sessions.judge(time, watermark),
        }
    }

    /// Adds the row that was judged last, when it is [`Verdict::Taken`]. Whether it went into the overflow group.
    pub fn add(&mut self, input: &Input<'_>, row: usize, time: i64, nanos: i64) -> bool {
        match self {
            Open::Slices(slices) => slices.add(input, row, nanos),
            Open::Sessions(sessions) => sessions.add(input, row, time, nanos),
        }
    }

    /// Takes what the trunk must have before this watermark of the lane.
    pub fn leave(&mut self, watermark: Watermark, keys: usize) -> Vec<Leaving> {
        match self {
            Open::Slices(slices) => slices.leave(watermark, keys),
            Open::Sessions(sessions) => sessions.leave(watermark, keys).into_iter().collect(),
        }
    }

    /// How many groups are held, counted once for each slice or session.
    pub fn groups(&self) -> usize {
        match self {
            Open::Slices(slices) => slices.groups(),
            Open::Sessions(sessions) => sessions.fragments(),
        }
    }
}
