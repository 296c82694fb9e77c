//! The rows that leave: `Windows` batches as in the data model.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Float64Builder, Int32Array, Int32Builder, Int64Array,
    Int64Builder, RecordBatch, StringViewBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use foldhash::fast::RandomState;
use weir_component::delivery::Shard;
use weir_pdata::Held;
use weir_pdata::expr::Function;

use crate::group::key::Key;
use crate::operator::Operator;
use crate::state::measure::{MeasureState, Measured};
use crate::state::weight::Weight;
use crate::state::{GroupState, PERCENTILES};
use crate::trunk::firing::Firing;
use crate::window::{NANOS, Span};

/// The window of the rows of one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The window; of sessions that of the first row.
    pub(crate) span: Span,
    /// Which time it fires; of sessions that of the first row.
    pub(crate) firing: Firing,
    /// The shard, when it is what is left of a window that other lanes have delivered.
    pub(crate) apart: Option<Shard>,
}

/// Windows that fire now.
#[derive(Default)]
pub(crate) struct Fired {
    /// Their rows, ordered by window and key: a batch for each window at a fixed place, one for all sessions.
    pub(crate) batches: Vec<(Head, Result<RecordBatch, ArrowError>)>,
    /// The inputs that wait for them.
    pub(crate) inputs: Held,
}

/// The rows of one batch, written column by column as they come.
pub(crate) struct Rows<'a> {
    operator: &'a Operator,
    starts: Vec<i64>,
    ends: Vec<i64>,
    sizes: Vec<i64>,
    firings: Vec<i32>,
    keys: Vec<Texts<'a>>,
    count: Vec<i64>,
    errors: Int64Builder,
    success: Float64Builder,
    mean: Float64Builder,
    most: Int64Builder,
    least: Int64Builder,
    percentiles: [Int64Builder; PERCENTILES.len()],
    rate: Vec<f64>,
    named: Vec<(Function, MeasureColumn)>,
    /// Rows that have a quantile which is NULL because of points of different buckets.
    mixed: u64,
}

/// The column of a named measure.
enum MeasureColumn {
    Integers(Int64Builder),
    Floats(Float64Builder),
}

impl<'a> Rows<'a> {
    /// Room for this many rows. `ordered`: they come ordered by key.
    pub(crate) fn new(operator: &'a Operator, ordered: bool, rows: usize) -> Rows<'a> {
        let integers = || Int64Builder::with_capacity(rows);
        let floats = || Float64Builder::with_capacity(rows);
        let named = operator.measures.iter().map(|(_, measure)| match measure.function {
            Function::Count => (Function::Count, MeasureColumn::Integers(integers())),
            other => (other, MeasureColumn::Floats(floats())),
        });
        Rows {
            operator,
            starts: Vec::with_capacity(rows),
            ends: Vec::with_capacity(rows),
            sizes: Vec::with_capacity(rows),
            firings: Vec::with_capacity(rows),
            keys: (0..operator.group_by.len()).map(|at| Texts::new(ordered && at == 0, rows)).collect(),
            count: Vec::with_capacity(rows),
            errors: integers(),
            success: floats(),
            mean: floats(),
            most: integers(),
            least: integers(),
            percentiles: PERCENTILES.map(|_| integers()),
            rate: Vec::with_capacity(rows),
            named: named.collect(),
            mixed: 0,
        }
    }

    /// Adds the row of a group.
    pub(crate) fn push(&mut self, span: Span, firing: Firing, key: &'a Key, state: &GroupState) {
        let seconds = span.millis() as f64 / 1000.0;
        let unit = self.operator.unit();
        let integer = |units: u64| i64::try_from(Weight::whole(units, unit)).unwrap_or(i64::MAX);
        let durations = &state.durations;
        let with_outcome = state.with_outcome > 0;
        self.starts.push(span.start.saturating_mul(NANOS));
        self.ends.push(span.end.saturating_mul(NANOS));
        self.sizes.push(span.millis());
        self.firings.push(firing.column());
        self.keys.iter_mut().zip(key.parts()).for_each(|(column, text)| column.push(text));
        self.count.push(integer(state.count));
        self.errors.append_option(with_outcome.then(|| integer(state.errors)));
        self.success.append_option(with_outcome.then(|| {
            // Not one minus the errors' share: 93 of 100 would be below 0.93.
            state.with_outcome.saturating_sub(state.errors) as f64 / state.with_outcome as f64
        }));
        self.mean.append_option(durations.mean());
        self.most.append_option(durations.range.map(|(_, most)| most));
        self.least.append_option(durations.range.map(|(least, _)| least));
        let percentiles = durations.percentiles();
        for (at, column) in self.percentiles.iter_mut().enumerate() {
            column.append_option(percentiles.map(|percentiles| percentiles[at]));
        }
        self.rate.push(state.count as f64 / unit as f64 / seconds);
        self.mixed += u64::from(state.measures.iter().any(MeasureState::is_mixed));
        for (at, (function, column)) in self.named.iter_mut().enumerate() {
            let measure = state.measures.get(at);
            let result =
                measure.map_or(Measured::Float(None), |measure| measure.result(*function, seconds, unit));
            match (column, result) {
                (MeasureColumn::Integers(column), Measured::Integer(integer)) => column.append_value(integer),
                (MeasureColumn::Integers(column), Measured::Float(_)) => column.append_null(),
                (MeasureColumn::Floats(column), Measured::Integer(integer)) => {
                    column.append_value(integer as f64);
                }
                (MeasureColumn::Floats(column), Measured::Float(float)) => column.append_option(float),
            }
        }
    }

    /// The batch.
    ///
    /// # Errors
    /// When Arrow does not take the columns: more than 2^31 rows.
    pub(crate) fn finish(self, layout: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        self.operator.note_mixed(self.mixed);
        let rows = self.count.len();
        let mut operator = Texts::new(true, rows);
        (0..rows).for_each(|_| operator.push(Some(&self.operator.id)));
        let times = |times: Vec<i64>| -> ArrayRef {
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC"))
        };
        let integers = |integers: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(integers)) };
        let mut columns =
            vec![operator.finish()?, times(self.starts), times(self.ends), integers(self.sizes)];
        for texts in self.keys {
            columns.push(texts.finish()?);
        }
        columns.push(Arc::new(Int32Array::from(self.firings)));
        columns.push(integers(self.count));
        let (mut errors, mut success, mut mean) = (self.errors, self.success, self.mean);
        columns.push(Arc::new(errors.finish()));
        columns.push(Arc::new(success.finish()));
        columns.push(Arc::new(mean.finish()));
        columns.extend([self.most, self.least].map(|mut column| Arc::new(column.finish()) as ArrayRef));
        columns.extend(self.percentiles.map(|mut column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(Float64Array::from(self.rate)));
        columns.extend(self.named.into_iter().map(|(_, column)| -> ArrayRef {
            match column {
                MeasureColumn::Integers(mut column) => Arc::new(column.finish()),
                MeasureColumn::Floats(mut column) => Arc::new(column.finish()),
            }
        }));
        RecordBatch::try_new(layout.clone(), columns)
    }
}

/// The same rows, with a column `shard` when their window is one of a part of the input.
///
/// # Errors
/// When Arrow does not take the columns.
pub(crate) fn with_shard(rows: &RecordBatch, shard: Shard) -> Result<RecordBatch, ArrowError> {
    if shard == Shard::default() {
        return Ok(rows.clone());
    }
    let (mut fields, mut columns) = (rows.schema().fields().to_vec(), rows.columns().to_vec());
    fields.push(Arc::new(Field::new("shard", DataType::Int64, false)));
    columns.push(Arc::new(Int64Array::from_value(i64::from(shard.0), rows.num_rows())));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A dictionary in which every text is once.
struct Texts<'a> {
    /// Equal texts follow each other.
    ordered: bool,
    known: HashMap<&'a str, i32, RandomState>,
    last: Option<(&'a str, i32)>,
    values: StringViewBuilder,
    different: usize,
    indices: Int32Builder,
}

impl<'a> Texts<'a> {
    fn new(ordered: bool, rows: usize) -> Texts<'a> {
        Texts {
            ordered,
            known: HashMap::default(),
            last: None,
            values: StringViewBuilder::new(),
            different: 0,
            indices: Int32Builder::with_capacity(rows),
        }
    }

    fn push(&mut self, text: Option<&'a str>) {
        let Some(text) = text else {
            self.indices.append_null();
            return;
        };
        let index = match self.last {
            Some((last, index)) if last == text => index,
            _ if self.ordered => self.add(text),
            _ => match self.known.get(text) {
                Some(index) => *index,
                None => {
                    let index = self.add(text);
                    self.known.insert(text, index);
                    index
                }
            },
        };
        self.last = Some((text, index));
        self.indices.append_value(index);
    }

    fn add(&mut self, text: &str) -> i32 {
        let index = i32::try_from(self.different).unwrap_or(i32::MAX);
        self.values.append_value(text);
        self.different += 1;
        index
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let values = Arc::new(self.values.finish());
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(self.indices.finish(), values)?))
    }
}
