//! Open slices on a lane: of tumbling and sliding windows, in event time and in the time of arrival.
//!
//! Mostly no event of a batch can be late for any of its windows: then rows are added without a look at the
//! watermark ([`OpenSlices::add_in_time`]).

use arrow::array::Array;
use arrow::array::TimestampNanosecondArray;
use weir_component::Watermark;
use weir_pdata::Held;

use crate::group::groups::{GroupLimit, Groups, Slot};
use crate::lane::input::{Assignment, BatchInput, PartialResult};
use crate::partial;
use crate::state::GroupState;
use crate::window::{NANOS, SliceAt, Slices, Span, floor_ms};

/// Open slices, in rising order of start. Few: what `out_of_orderness` spans, and one or two.
pub(crate) struct OpenSlices {
    slices: Slices,
    lateness: i64,
    open: Vec<OpenSlice>,
    /// Groups in all of them.
    groups: usize,
    /// The slice of the latest event of this batch.
    cursor: Option<Cursor>,
    /// Slices that have rows of this batch, when all of it is in time.
    touched: Vec<Touched>,
}

/// An open slice: its bounds in nanoseconds, and its index.
#[derive(Clone, Copy)]
struct Touched {
    start: i64,
    end: i64,
    at: usize,
}

struct OpenSlice {
    span: Span,
    /// Its events count in windows that end here or later. `i64::MIN`: in all.
    from: i64,
    groups: Groups<GroupState>,
    inputs: Held,
}

#[derive(Clone, Copy)]
struct Cursor {
    span: Span,
    /// The last window that it belongs to.
    last: Option<Span>,
    /// Its first window is closed for good at this watermark.
    closes_at: i64,
    /// See [`OpenSlice::from`].
    from: i64,
    /// Its index, once it has a row of this batch.
    at: Option<usize>,
}

impl OpenSlices {
    /// None yet. A window takes late events for `lateness` milliseconds after its end.
    pub(crate) fn new(slices: Slices, lateness: i64) -> OpenSlices {
        OpenSlices { slices, lateness, open: Vec::new(), groups: 0, cursor: None, touched: Vec::new() }
    }

    /// Groups in all slices.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// The next events are of another batch.
    pub(crate) fn start_batch(&mut self) {
        self.cursor = None;
    }

    /// Where an event at `time` goes when the lane has come to this watermark.
    pub(crate) fn assign(&mut self, time: i64, watermark: Watermark) -> Assignment {
        if let Some(cursor) = &self.cursor
            && cursor.closes_at > watermark.0
            && cursor.span.holds(time)
        {
            return Assignment::InWindow;
        }
        let mut cursor = match self.cursor.filter(|cursor| cursor.span.holds(time)) {
            Some(cursor) => cursor,
            None => match self.slices.slice_at(time) {
                SliceAt::Slice(span) => self.point_to(span),
                SliceAt::Gap => return Assignment::Gap,
                SliceAt::OutOfRange => return Assignment::OutOfRange,
            },
        };
        let is_closed = |end: i64| Span { start: end, end }.is_closed(self.lateness, watermark);
        if cursor.closes_at <= watermark.0 {
            // Rare: it is further behind than the bound.
            if let Some(last) = cursor.last.filter(|last| is_closed(last.end)) {
                self.cursor = Some(cursor);
                return Assignment::Late(last);
            }
            let mut left = self.slices.windows(cursor.span).skip_while(|window| is_closed(window.end));
            let from = left.next().map_or(i64::MIN, |window| window.end);
            if from != cursor.from {
                cursor = Cursor { from, at: None, ..cursor };
            }
        }
        self.cursor = Some(cursor);
        Assignment::InWindow
    }

    /// Whether events from `earliest` to `latest` are in time for all of their windows when the lane has come
    /// to this watermark. Later slices have later windows.
    pub(crate) fn are_in_time(&self, earliest: i64, latest: i64, watermark: Watermark) -> bool {
        let in_range = self.slices.slice_at(latest) != SliceAt::OutOfRange;
        match self.slices.slice_at(earliest) {
            SliceAt::Slice(first) => in_range && self.point_to(first).closes_at > watermark.0,
            SliceAt::Gap | SliceAt::OutOfRange => false,
        }
    }

    /// Adds the rows of a batch that `where` selects and that have a time; they [are in
    /// time](Self::are_in_time). How many went into the overflow group.
    pub(crate) fn add_in_time(&mut self, input: &BatchInput<'_>, times: &TimestampNanosecondArray) -> u64 {
        let most = input.operator.max_states();
        let nulls = times.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut overflow = 0;
        self.touched.clear();
        let mut current = Touched { start: 0, end: 0, at: 0 };
        input.events.for_each_selected(times.len(), |row| {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                return;
            }
            let nanos = times.value(row);
            if nanos < current.start || nanos >= current.end {
                match self.touch(nanos, input) {
                    Some(touched) => current = touched,
                    None => return,
                }
            }
            overflow += u64::from(self.add_to(current.at, input, row, nanos, most));
        });
        overflow
    }

    /// The slice of an event; `None` when it is between two windows.
    fn touch(&mut self, nanos: i64, input: &BatchInput<'_>) -> Option<Touched> {
        let holds = |touched: &&Touched| touched.start <= nanos && nanos < touched.end;
        if let Some(touched) = self.touched.iter().find(holds) {
            return Some(*touched);
        }
        let SliceAt::Slice(span) = self.slices.slice_at(floor_ms(nanos)) else { return None };
        let before = self.open.len();
        let at = self.open(span, i64::MIN);
        if self.open.len() > before {
            self.touched.iter_mut().filter(|touched| touched.at >= at).for_each(|touched| touched.at += 1);
        }
        self.open[at].inputs.add(input.ack.clone());
        let in_nanos = |time: i64| time.saturating_mul(NANOS);
        let touched = Touched { start: in_nanos(span.start), end: in_nanos(span.end), at };
        self.touched.push(touched);
        Some(touched)
    }

    fn point_to(&self, span: Span) -> Cursor {
        let first = self.slices.windows(span).next();
        let closes_at = first.map_or(i64::MAX, |window| window.last().saturating_add(self.lateness));
        Cursor { span, last: self.slices.last_window(span), closes_at, from: i64::MIN, at: None }
    }

    /// Adds the row that was assigned last. Whether it went into the overflow group.
    pub(crate) fn add(&mut self, input: &BatchInput<'_>, row: usize, nanos: i64) -> bool {
        let Some(cursor) = self.cursor else { return false };
        let at = cursor.at.unwrap_or_else(|| {
            let at = self.open(cursor.span, cursor.from);
            self.open[at].inputs.add(input.ack.clone());
            self.cursor = Some(Cursor { at: Some(at), ..cursor });
            at
        });
        self.add_to(at, input, row, nanos, input.operator.max_states())
    }

    /// Adds a row to the slice with this index. Whether it went into the overflow group. `most`: how many
    /// groups there may be.
    #[inline]
    fn add_to(&mut self, at: usize, input: &BatchInput<'_>, row: usize, nanos: i64, most: usize) -> bool {
        let operator = input.operator;
        let slice = &mut self.open[at];
        let before = slice.groups.len();
        let limit =
            if self.groups < most { GroupLimit::Below } else { GroupLimit::Reached(operator.group_by.len()) };
        let slot = slice.groups.slot(input.rows, row, input.hasher, limit, || operator.new_state());
        self.groups += slice.groups.len() - before;
        let (Slot::Existing(group) | Slot::New(group) | Slot::Overflow(group)) = slot;
        if let Some(state) = slice.groups.state(group) {
            input.events.add(row, nanos, state);
        }
        matches!(slot, Slot::Overflow(_))
    }

    /// The index of a slice; it is made when it is not there.
    fn open(&mut self, span: Span, from: i64) -> usize {
        match self.open.binary_search_by_key(&(span.start, from), |slice| (slice.span.start, slice.from)) {
            Ok(at) => at,
            Err(at) => {
                let slice = OpenSlice { span, from, groups: Groups::default(), inputs: Held::default() };
                self.open.insert(at, slice);
                at
            }
        }
    }

    /// Takes the slices that are over at this watermark.
    pub(crate) fn take_due(&mut self, watermark: Watermark, keys: usize) -> Vec<PartialResult> {
        self.cursor = None;
        let over = self.open.partition_point(|slice| slice.span.is_over(watermark));
        let partials = self.open.drain(..over).map(|slice| {
            self.groups = self.groups.saturating_sub(slice.groups.len());
            let rows = slice.groups.iter().map(|(key, state)| (slice.span, key, state));
            let written =
                partial::write(keys, &rows).and_then(|columns| partial::restrict(columns, slice.from));
            (written, slice.inputs)
        });
        partials.collect()
    }
}
