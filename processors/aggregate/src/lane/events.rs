//! The columns of a batch that `aggregate` reads, each evaluated once per batch.

use std::cell::Cell;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use weir_pdata::expr::{Expr, ExprError, Failures, Function, Measure};
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, schema};

use crate::lane::outcome::Outcomes;
use crate::lane::points::Points;
use crate::operator::Operator;
use crate::state::GroupState;
use crate::state::distinct;
use crate::state::measure::Value;
use crate::state::weight::Weight;
use crate::unmeasured::{Unmeasured, UnmeasuredCounts};

/// The rows of one batch, ready to be added to groups.
pub(crate) struct Events<'a> {
    times: Option<TimestampNanosecondArray>,
    /// The rows for which `where` holds. `None`: all.
    selected: Option<BooleanBuffer>,
    durations: Option<Int64Array>,
    outcomes: Outcomes<'a>,
    measures: Vec<MeasureInput>,
    /// The histogram points of the batch, when a measure is of them.
    points: Option<Points<'a>>,
    /// Points that are in no measure, as they are added.
    unmeasured: Cell<UnmeasuredCounts>,
    /// How often each event counts; `None`: once.
    weights: Option<Float64Array>,
    failures: Failures,
}

/// The input of a measure.
struct MeasureInput {
    condition: Option<BooleanArray>,
    values: Values,
}

enum Values {
    /// Every event gives [`Value::Present`].
    Events,
    /// Events with a value do.
    Present(Option<NullBuffer>),
    Numbers(Float64Array),
    Truth(BooleanArray, Option<NullBuffer>),
    Texts(ArrayRef),
    /// The histogram points of the batch.
    Points,
    /// The measure does not fit the columns, or reads nothing.
    Nothing,
}

impl<'a> Events<'a> {
    /// Reads a batch of `signal`.
    pub(crate) fn read(batch: &'a RecordBatch, signal: Signal, operator: &Operator) -> Events<'a> {
        let mut failures = Failures::default();
        let selected = operator.condition.as_ref().map(|condition| {
            // NULL is false there.
            condition.filter(batch, &mut failures).map(|rows| rows.values().clone()).unwrap_or_else(|error| {
                failures.add(batch.num_rows(), error);
                BooleanBuffer::new_unset(batch.num_rows())
            })
        });
        let any = selected.as_ref().is_none_or(|rows| rows.count_set_bits() > 0);
        let measures = operator.measures.iter().map(|(_, measure)| {
            let input = if any {
                MeasureInput::read(measure, batch, &mut failures)
            } else {
                Ok(MeasureInput::nothing())
            };
            input.unwrap_or_else(|error| {
                failures.add(batch.num_rows(), error);
                MeasureInput::nothing()
            })
        });
        let measures: Vec<MeasureInput> = measures.collect();
        let weights = operator.weight.as_ref().map(|weight| {
            weight.numbers(batch, &mut failures).unwrap_or_else(|error| {
                failures.add(batch.num_rows(), error);
                Float64Array::new_null(batch.num_rows())
            })
        });
        let outcomes = Outcomes::read(batch, signal, operator, &mut failures);
        let points = measures.iter().any(|measure| matches!(measure.values, Values::Points));
        let fixed = |name: &str| schema::is_fixed(signal, name).then(|| batch.column_by_name(name)).flatten();
        Events {
            times: batch.column_by_name(&operator.time).and_then(timestamps),
            selected,
            durations: fixed("duration_ns").and_then(integers),
            outcomes,
            measures,
            points: (points && signal == Signal::Metrics).then(|| Points::of(batch)),
            unmeasured: Cell::default(),
            weights,
            failures,
        }
    }

    /// The rows on which expressions failed.
    pub(crate) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The histogram points that are in no measure, of the rows added so far.
    pub(crate) fn unmeasured(&self) -> UnmeasuredCounts {
        self.unmeasured.get()
    }

    /// The time of a row in nanoseconds; `None` when NULL.
    pub(crate) fn time(&self, row: usize) -> Option<i64> {
        let times = self.times.as_ref()?;
        times.is_valid(row).then(|| times.value(row))
    }

    /// The times of all rows in nanoseconds, when the batch has them.
    pub(crate) fn times(&self) -> Option<&TimestampNanosecondArray> {
        self.times.as_ref()
    }

    /// Calls `each` with every row for which `where` holds, in order.
    pub(crate) fn for_each_selected(&self, rows: usize, each: impl FnMut(usize)) {
        match &self.selected {
            None => (0..rows).for_each(each),
            Some(selected) => selected.set_indices().for_each(each),
        }
    }

    /// Whether `where` holds for a row.
    pub(crate) fn is_selected(&self, row: usize) -> bool {
        self.selected.as_ref().is_none_or(|selected| selected.value(row))
    }

    /// Adds a row to its group. `time` is in nanoseconds.
    pub(crate) fn add(&self, row: usize, time: i64, state: &mut GroupState) {
        let weight = match &self.weights {
            None => Weight::ONE,
            Some(weights) => Weight::of(weights.is_valid(row).then(|| weights.value(row))),
        };
        state.count = state.count.saturating_add(weight.units);
        if let Some(failed) = self.outcomes.failed(row) {
            state.with_outcome = state.with_outcome.saturating_add(weight.units);
            let errors = if failed { weight.units } else { 0 };
            state.errors = state.errors.saturating_add(errors);
        }
        if let Some(durations) = &self.durations
            && durations.is_valid(row)
        {
            state.durations.add(durations.value(row), weight.units);
        }
        if let Some(points) = &self.points {
            self.add_point(points, row, weight, state);
        }
        for (measure, input) in state.measures.iter_mut().zip(&self.measures) {
            if let Some(value) = input.get(row) {
                measure.add(time, value, weight);
            }
        }
    }

    fn add_point(&self, points: &Points<'_>, row: usize, weight: Weight, state: &mut GroupState) {
        // Once for a point, however many measures are of it.
        let mut left_out = None;
        let mut point = None;
        for (measure, input) in state.measures.iter_mut().zip(&self.measures) {
            if !matches!(input.values, Values::Points) || !input.selects(row) {
                continue;
            }
            match point.get_or_insert_with(|| points.get(row)) {
                Some(Ok(point)) if measure.add_point(point, weight) => {}
                Some(Ok(_)) => left_out = Some(Unmeasured::Mixed),
                Some(Err(reason)) => left_out = Some(*reason),
                None => {}
            }
        }
        if let Some(reason) = left_out {
            let mut counts = self.unmeasured.get();
            counts[reason as usize] += 1;
            self.unmeasured.set(counts);
        }
    }
}

fn timestamps(array: &ArrayRef) -> Option<TimestampNanosecondArray> {
    if let Some(times) = array.as_primitive_opt() {
        return Some(times.clone());
    }
    let is_time = matches!(array.data_type(), DataType::Timestamp(..));
    let times = is_time.then(|| cast(array, &schema::timestamp()).ok()).flatten()?;
    times.as_primitive_opt().cloned()
}

fn integers(array: &ArrayRef) -> Option<Int64Array> {
    if let Some(integers) = array.as_primitive_opt() {
        return Some(integers.clone());
    }
    cast(array, &DataType::Int64).ok()?.as_primitive_opt().cloned()
}

impl MeasureInput {
    fn nothing() -> MeasureInput {
        MeasureInput { condition: None, values: Values::Nothing }
    }

    fn read(
        measure: &Measure,
        batch: &RecordBatch,
        failures: &mut Failures,
    ) -> Result<MeasureInput, ExprError> {
        let condition =
            measure.condition.as_ref().map(|condition| condition.filter(batch, failures)).transpose()?;
        let values = match &measure.argument {
            None if measure.points => Values::Points,
            None => Values::Events,
            Some(argument) => Values::read(measure.function, argument, batch, failures)?,
        };
        Ok(MeasureInput { condition, values })
    }

    /// Whether the measure's own condition holds.
    fn selects(&self, row: usize) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.value(row))
    }

    fn get(&self, row: usize) -> Option<Value> {
        if !self.selects(row) {
            return None;
        }
        let there = |nulls: &Option<NullBuffer>| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        match &self.values {
            Values::Events => Some(Value::Present),
            Values::Present(nulls) => there(nulls).then_some(Value::Present),
            // Adding 0 makes -0 and 0 one value.
            Values::Numbers(numbers) => {
                numbers.is_valid(row).then(|| Value::Number(numbers.value(row) + 0.0))
            }
            Values::Truth(truth, nulls) => there(nulls).then(|| Value::Truth(truth.value(row))),
            Values::Texts(texts) => {
                TextColumn::new(texts)?.get(row).map(|text| Value::Hash(distinct::hash(text)))
            }
            Values::Points | Values::Nothing => None,
        }
    }
}

impl Values {
    fn read(
        function: Function,
        argument: &Expr,
        batch: &RecordBatch,
        failures: &mut Failures,
    ) -> Result<Values, ExprError> {
        Ok(match function {
            Function::Count => Values::Present(argument.evaluate(batch, failures)?.logical_nulls()),
            Function::Ratio => {
                let known = argument.evaluate(batch, failures)?.logical_nulls();
                // The same rows fail again.
                Values::Truth(argument.filter(batch, &mut Failures::default())?, known)
            }
            Function::Distinct => {
                let values = argument.evaluate(batch, failures)?;
                if TextColumn::new(&values).is_some() {
                    return Ok(Values::Texts(values));
                }
                // Lists and maps have no text; they are left out.
                cast(&values, &schema::text()).map_or(Values::Nothing, Values::Texts)
            }
            _ => Values::Numbers(argument.numbers(batch, failures)?),
        })
    }
}
