//! A partial result as a batch, on its way from a lane to the trunk.
//!
//! One batch is one slice of one lane with one row per group, or some fragments of sessions, one a row.
//! Columns, in this order:
//!
//! | column | type | content |
//! |---|---|---|
//! | `start`, `end` | timestamp | the slice, the same in every row; or the fragment of a session |
//! | `key.0`, `key.1`, … | text, nullable | the group-by columns, in the order of the configuration |
//! | `count`, `with_outcome`, `errors`, `durations` | int64 | see [`GroupState`] |
//! | `duration_sum` | decimal128(38, 0) | nanoseconds |
//! | `duration_min`, `duration_max` | int64, nullable | nanoseconds |
//! | `histogram` | binary | see [`histogram`](crate::state::histogram) |
//! | `measures` | binary | the states of the named measures, one after the other |
//!
//! The metadata of the schema have `weir.partial` = `2`. For events beyond the bound they have `weir.from`,
//! too: the slice counts only in windows that end then (milliseconds) or later, because the lane's watermark
//! had closed the earlier ones.
//!
//! Reading checks everything and never panics.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Decimal128Array, Int64Array, RecordBatch,
    StringViewBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, TimestampNanosecondType};
use arrow::error::ArrowError;
use weir_pdata::schema;

use crate::group::key::Key;
use crate::state::GroupState;
use crate::state::codec::{Malformed, Reader};
use crate::state::histogram::Histogram;
use crate::window::{NANOS, Span, floor_ms};

const VERSION_KEY: &str = "weir.partial";
const VERSION: &str = "2";
const FROM_KEY: &str = "weir.from";
/// A sum of 2^63 durations has 38 digits.
const SUM: DataType = DataType::Decimal128(38, 0);
/// Columns before and after the keys.
const BOUNDS: usize = 2;
const STATES: usize = 9;

/// Writes rows whose keys have this many columns.
///
/// # Errors
/// When Arrow does not take the columns: more than 2 GiB of state.
pub(crate) fn write<'a>(
    keys: usize,
    groups: &(impl ExactSizeIterator<Item = (Span, &'a Key, &'a GroupState)> + Clone),
) -> Result<RecordBatch, ArrowError> {
    let rows = groups.len();
    let mut texts: Vec<StringViewBuilder> =
        (0..keys).map(|_| StringViewBuilder::with_capacity(rows)).collect();
    let (mut histograms, mut measures) = (BinaryBuilder::new(), BinaryBuilder::new());
    let (mut written, mut written_all) = (Vec::new(), 0);
    for (_, key, state) in groups.clone() {
        for (text, part) in texts.iter_mut().zip(key.parts()) {
            text.append_option(part);
        }
        written.clear();
        state.durations.histogram.write(&mut written);
        written_all += written.len();
        histograms.append_value(&written);
        written.clear();
        state.measures.iter().for_each(|measure| measure.write(&mut written));
        written_all += written.len();
        if written_all > i32::MAX as usize {
            return Err(ArrowError::OffsetOverflowError(written_all));
        }
        measures.append_value(&written);
    }
    let states = || groups.clone().map(|(_, _, state)| state);
    let integers = |of: fn(&GroupState) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            states().map(|state| i64::try_from(of(state)).unwrap_or(i64::MAX)),
        ))
    };
    let times = |of: fn(Span) -> i64| -> ArrayRef {
        let times = groups.clone().map(|(span, ..)| of(span).saturating_mul(NANOS));
        Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let mut columns: Vec<ArrayRef> = vec![times(|span| span.start), times(|span| span.end)];
    columns.extend(texts.into_iter().map(|mut text| Arc::new(text.finish()) as ArrayRef));
    columns.push(integers(|state| state.count));
    columns.push(integers(|state| state.with_outcome));
    columns.push(integers(|state| state.errors));
    columns.push(integers(|state| state.durations.count));
    let sums = Decimal128Array::from_iter_values(states().map(|state| state.durations.sum));
    columns.push(Arc::new(sums.with_data_type(SUM)));
    let range = |of: fn((i64, i64)) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter(states().map(|state| state.durations.range.map(of))))
    };
    columns.push(range(|range| range.0));
    columns.push(range(|range| range.1));
    columns.push(Arc::new(histograms.finish()));
    columns.push(Arc::new(measures.finish()));
    RecordBatch::try_new(Arc::new(layout(keys)), columns)
}

/// The same slice, which counts in windows that end at `from` or later. `i64::MIN`: in all.
///
/// # Errors
/// Never, for a batch keeps its columns.
pub(crate) fn restrict(columns: RecordBatch, from: i64) -> Result<RecordBatch, ArrowError> {
    if from == i64::MIN {
        return Ok(columns);
    }
    let mut metadata = columns.schema_ref().metadata().clone();
    metadata.insert(FROM_KEY.to_owned(), from.to_string());
    let schema = Schema::new_with_metadata(columns.schema_ref().fields().clone(), metadata);
    RecordBatch::try_new(Arc::new(schema), columns.columns().to_vec())
}

fn layout(keys: usize) -> Schema {
    let integer = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    let mut fields: Vec<Field> =
        ["start", "end"].map(|name| Field::new(name, schema::timestamp(), false)).into();
    fields.extend((0..keys).map(|key| Field::new(format!("key.{key}"), schema::text(), true)));
    fields.extend(["count", "with_outcome", "errors", "durations"].map(|name| integer(name, false)));
    fields.push(Field::new("duration_sum", SUM, false));
    fields.extend(["duration_min", "duration_max"].map(|name| integer(name, true)));
    fields.extend(["histogram", "measures"].map(|name| Field::new(name, DataType::Binary, false)));
    Schema::new_with_metadata(fields, HashMap::from([(VERSION_KEY.to_owned(), VERSION.to_owned())]))
}

/// Reads a partial result row by row.
pub(crate) struct Partial<'a> {
    batch: &'a RecordBatch,
    keys: usize,
    bounds: [&'a TimestampNanosecondArray; BOUNDS],
    integers: [&'a Int64Array; 6],
    sums: &'a Decimal128Array,
    histograms: &'a BinaryArray,
    measures: &'a BinaryArray,
}

impl<'a> Partial<'a> {
    /// Opens a batch with this many key columns. `None` when it has no rows.
    pub(crate) fn open(batch: &'a RecordBatch, keys: usize) -> Result<Option<Partial<'a>>, Malformed> {
        let wrong = Malformed("its columns are not those of a partial result of this operator and version");
        let version = batch.schema_ref().metadata().get(VERSION_KEY).map(String::as_str);
        if version != Some(VERSION) || batch.num_columns() != BOUNDS + keys + STATES {
            return Err(wrong);
        }
        let states = &batch.columns()[BOUNDS + keys..];
        let nullable = [5, 6];
        if states.iter().enumerate().any(|(at, column)| !nullable.contains(&at) && column.null_count() > 0) {
            return Err(wrong);
        }
        let integer = |at: usize| states[at].as_primitive_opt::<Int64Type>().ok_or(wrong);
        let binary = |at: usize| states[at].as_binary_opt::<i32>().ok_or(wrong);
        let times = |at: usize| {
            let column = batch.column(at).as_primitive_opt::<TimestampNanosecondType>();
            column.filter(|times| times.null_count() == 0).ok_or(wrong)
        };
        let bounds = [times(0)?, times(1)?];
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        if bounds[0].values().iter().zip(bounds[1].values()).any(|(start, end)| start >= end) {
            return Err(Malformed("a window ends before it starts"));
        }
        Ok(Some(Partial {
            batch,
            keys,
            bounds,
            integers: [integer(0)?, integer(1)?, integer(2)?, integer(3)?, integer(5)?, integer(6)?],
            sums: states[4].as_primitive_opt::<Decimal128Type>().ok_or(wrong)?,
            histograms: binary(7)?,
            measures: binary(8)?,
        }))
    }

    /// The slice or the fragment of a row.
    pub(crate) fn span(&self, row: usize) -> Span {
        Span { start: floor_ms(self.bounds[0].value(row)), end: floor_ms(self.bounds[1].value(row)) }
    }

    /// The slice that all rows are of.
    ///
    /// # Errors
    /// When they are of several.
    pub(crate) fn slice(&self) -> Result<Span, Malformed> {
        let first = self.span(0);
        if (1..self.rows()).any(|row| self.span(row) != first) {
            return Err(Malformed("it holds more than one slice"));
        }
        Ok(first)
    }

    /// It counts in windows that end here or later.
    ///
    /// # Errors
    /// When that is no time.
    pub(crate) fn from(&self) -> Result<i64, Malformed> {
        let Some(text) = self.batch.schema_ref().metadata().get(FROM_KEY) else { return Ok(i64::MIN) };
        text.parse().map_err(|_| Malformed("the first window that it counts in is no time"))
    }

    /// The number of groups.
    pub(crate) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The key columns.
    pub(crate) fn keys(&self) -> Vec<Option<ArrayRef>> {
        self.batch.columns()[BOUNDS..BOUNDS + self.keys].iter().cloned().map(Some).collect()
    }

    /// The number of events of a row.
    pub(crate) fn count(&self, row: usize) -> u64 {
        self.unsigned(0, row)
    }

    /// Reads all rows. `new` makes the state of a new group.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub(crate) fn states(&self, new: &dyn Fn() -> GroupState) -> Result<Vec<GroupState>, Malformed> {
        (0..self.rows()).map(|row| self.state(row, new())).collect()
    }

    /// Reads a row. `state` is that of a new group.
    pub(crate) fn state(&self, row: usize, mut state: GroupState) -> Result<GroupState, Malformed> {
        state.count = self.count(row);
        state.with_outcome = self.unsigned(1, row);
        state.errors = self.unsigned(2, row);
        state.durations.count = self.unsigned(3, row);
        state.durations.sum = self.sums.value(row);
        let bound = |at: usize| self.integers[at].is_valid(row).then(|| self.integers[at].value(row));
        state.durations.range = bound(4).zip(bound(5));
        if state.durations.range.is_some_and(|(least, most)| least > most) {
            return Err(Malformed("a range is upside down"));
        }
        let mut reader = Reader::new(self.histograms.value(row));
        state.durations.histogram = Histogram::read(&mut reader)?;
        reader.end()?;
        let mut reader = Reader::new(self.measures.value(row));
        state.measures.iter_mut().try_for_each(|measure| measure.read(&mut reader))?;
        reader.end()?;
        Ok(state)
    }

    fn unsigned(&self, column: usize, row: usize) -> u64 {
        u64::try_from(self.integers[column].value(row)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;
    use proptest::prelude::*;
    use weir_pdata::expr::Function;

    use crate::group::groups::{GroupLimit, Groups, Slot};
    use crate::group::key::{KeyHasher, KeyRows};
    use crate::state::measure::{MeasureState, Value};
    use crate::state::weight::Weight;

    fn new_state() -> GroupState {
        let measures =
            [MeasureState::new(Function::Sum, true), MeasureState::new(Function::Quantile(0.5), true)];
        GroupState { measures: measures.into(), ..GroupState::default() }
    }

    /// A group of each service, with these durations.
    fn groups(events: &[(Option<String>, i64)]) -> Groups<GroupState> {
        let services: ArrayRef =
            Arc::new(StringArray::from_iter(events.iter().map(|(service, _)| service.as_deref())));
        let columns = [Some(services)];
        let hasher = KeyHasher::default();
        let rows = KeyRows::new(&columns, &hasher, events.len());
        let mut groups = Groups::default();
        for (row, (_, duration)) in events.iter().enumerate() {
            let slot = groups.slot(&rows, row, &hasher, GroupLimit::Below, new_state);
            let (Slot::Existing(group) | Slot::New(group) | Slot::Overflow(group)) = slot;
            let state: &mut GroupState = groups.state(group).unwrap();
            state.count += 1;
            state.with_outcome += 1;
            state.errors += u64::from(*duration < 0);
            state.durations.add(*duration, 1);
            state
                .measures
                .iter_mut()
                .for_each(|measure| measure.add(0, Value::Number(*duration as f64 / 3.0), Weight::ONE));
        }
        groups
    }

    /// A slice of 7 s.
    fn batch_of(start: i64, groups: &Groups<GroupState>) -> RecordBatch {
        let span = Span { start, end: start + 7000 };
        write(1, &groups.iter().map(|(key, state)| (span, key, state))).unwrap()
    }

    fn event() -> impl Strategy<Value = (Option<String>, i64)> {
        (prop::option::of("[a-c]{0,2}"), any::<i64>())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(events in prop::collection::vec(event(), 1..40)) {
            let groups = groups(&events);
            let batch = batch_of(-7000, &groups);
            let partial = Partial::open(&batch, 1).unwrap().unwrap();
            prop_assert_eq!(partial.slice(), Ok(Span { start: -7000, end: 0 }));
            let counted: u64 = (0..partial.rows()).map(|row| partial.count(row)).sum();
            prop_assert_eq!((partial.rows(), counted), (groups.len(), events.len() as u64));
            prop_assert_eq!(partial.from(), Ok(i64::MIN));
            let later = restrict(batch.clone(), 7_000).unwrap();
            prop_assert_eq!(Partial::open(&later, 1).unwrap().unwrap().from(), Ok(7_000));
            let keys = partial.keys();
            let hasher = KeyHasher::default();
            let rows = KeyRows::new(&keys, &hasher, partial.rows());
            for (row, (key, state)) in groups.iter().enumerate() {
                let read = partial.state(row, new_state()).unwrap();
                prop_assert!(rows.matches(row, key));
                prop_assert_eq!(
                    (read.count, read.with_outcome, read.errors),
                    (state.count, state.with_outcome, state.errors)
                );
                prop_assert_eq!(&read.durations, &state.durations);
                for (read, state) in read.measures.iter().zip(&state.measures) {
                    prop_assert_eq!(read.result(Function::Sum, 1.0, 1), state.result(Function::Sum, 1.0, 1));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(
            histogram in prop::collection::vec(any::<u8>(), 0..40),
            measures in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let batch = batch_of(0, &groups(&[(None, 1)]));
            let mut columns = batch.columns().to_vec();
            let last = columns.len() - 1;
            columns[last - 1] = Arc::new(BinaryArray::from_vec(vec![&histogram]));
            columns[last] = Arc::new(BinaryArray::from_vec(vec![&measures]));
            let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
            let partial = Partial::open(&batch, 1).unwrap().unwrap();
            if let Ok(state) = partial.state(0, new_state()) {
                let _ = state.durations.percentiles();
                let _ = state.measures[1].result(Function::Quantile(0.5), 1.0, 1);
            }
        }
    }

    #[test]
    fn a_batch_of_other_columns_or_another_version_is_malformed() {
        let batch = batch_of(0, &groups(&[(None, 1)]));
        assert!(Partial::open(&batch, 2).is_err(), "another number of keys");
        let unmarked = Arc::new(Schema::new(batch.schema().fields().clone()));
        assert!(
            Partial::open(&RecordBatch::try_new(unmarked, batch.columns().to_vec()).unwrap(), 1).is_err()
        );
        assert!(Partial::open(&batch.slice(0, 0), 1).unwrap().is_none());
        let other = batch_of(7000, &groups(&[(None, 1)]));
        let two = arrow::compute::concat_batches(&batch.schema(), [&batch, &other]).unwrap();
        assert!(Partial::open(&two, 1).unwrap().unwrap().slice().is_err(), "two slices");
    }
}
