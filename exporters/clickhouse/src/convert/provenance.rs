//! Where rows came from, in two columns: `_source` is what the lane is, for every owner the same, and
//! `_offset` the position in it of the record. A table that lacks them does without.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{Field, Int32Type, Int64Type};
use weir_pdata::schema::{ARRIVAL, OFFSET, SOURCE};
use weir_pdata::{EventBatch, Signal};

use crate::schema::columns::TableColumns;

/// The signals whose tables say where rows came from. Others are derived from the rows of many lanes.
pub(crate) const LOCATED: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

/// The columns of a batch, with those of where its rows came from that the table has, and without those that
/// it lacks.
pub(crate) fn located(batch: &EventBatch, table: &TableColumns) -> Option<RecordBatch> {
    let rows = batch.as_columns()?;
    if !LOCATED.contains(&batch.signal) {
        return Some(rows.clone());
    }
    let (mut fields, mut columns) = (rows.schema_ref().fields().to_vec(), rows.columns().to_vec());
    let mut put = |name: &str, array: Option<ArrayRef>| {
        if let Some(at) = fields.iter().position(|field| field.name() == name) {
            fields.remove(at);
            columns.remove(at);
        }
        if let Some(array) = array.filter(|_| table.find(name).is_some()) {
            fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
            columns.push(array);
        }
    };
    put(SOURCE, source(batch, rows.num_rows()));
    put(OFFSET, Some(offsets(batch, rows)));
    // For windows.
    put(ARRIVAL, None);
    let schema = arrow::datatypes::Schema::new_with_metadata(fields, rows.schema_ref().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns).ok()
}

fn source(batch: &EventBatch, rows: usize) -> Option<ArrayRef> {
    let source = batch.origin.source.as_ref().unwrap_or(&batch.origin.lane);
    let dictionary: ArrayRef = Arc::new(StringViewArray::from_iter_values([source.as_ref()]));
    let numbers = Int32Array::from(vec![0; rows]);
    Some(Arc::new(DictionaryArray::try_new(numbers, dictionary).ok()?))
}

/// The positions of the rows' records; where they are not known, that of the first record of the batch.
fn offsets(batch: &EventBatch, rows: &RecordBatch) -> ArrayRef {
    let known = rows.column_by_name(OFFSET).and_then(|known| {
        if known.as_primitive_opt::<Int64Type>().is_some() {
            return Some(Arc::clone(known));
        }
        let dictionary = known.as_dictionary_opt::<Int32Type>().filter(|keys| keys.null_count() == 0)?;
        let values = dictionary.values().as_primitive_opt::<Int64Type>()?.values();
        let of = |key: &i32| usize::try_from(*key).ok().and_then(|key| values.get(key)).copied();
        let offsets: Option<Vec<i64>> = dictionary.keys().values().iter().map(of).collect();
        Some(Arc::new(Int64Array::from(offsets?)) as ArrayRef)
    });
    known.unwrap_or_else(|| Arc::new(Int64Array::from(vec![batch.origin.positions.start; rows.num_rows()])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_pdata::{Ack, Origin};

    fn table(columns: &[&str]) -> TableColumns {
        let line = |name: &&str| {
            let kind = if *name == OFFSET { "Int64" } else { "LowCardinality(String)" };
            format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}\n")
        };
        TableColumns::parse(columns.iter().map(line).collect::<String>().as_bytes()).unwrap()
    }

    fn batch(signal: Signal, offsets: Option<ArrayRef>) -> EventBatch {
        let names: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "c"]));
        let columns = [("service", names)].into_iter().chain(offsets.map(|offsets| (OFFSET, offsets)));
        let columns = RecordBatch::try_from_iter(columns).unwrap();
        let mut origin = Origin::lane("kafka/t/0".into(), 5..9);
        origin.source = Some("c/g/t/0/main/clickhouse".into());
        EventBatch::columns(signal, columns, origin, Ack::none())
    }

    fn names(rows: &RecordBatch) -> Vec<&str> {
        rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect()
    }

    fn exact() -> ArrayRef {
        let keys = Int32Array::from(vec![0, 0, 1]);
        Arc::new(DictionaryArray::new(keys, Arc::new(Int64Array::from(vec![5, 7]))))
    }

    #[test]
    fn a_table_with_the_columns_is_told_where_rows_came_from() {
        let rows =
            located(&batch(Signal::Traces, Some(exact())), &table(&["service", SOURCE, OFFSET])).unwrap();
        assert_eq!(names(&rows), ["service", SOURCE, OFFSET]);
        let source = crate::convert::cell::ColumnReader::new(rows.column(1));
        assert_eq!(source.cell(2).to_string(), "c/g/t/0/main/clickhouse");
        assert_eq!(rows.column(2).as_primitive::<Int64Type>().values().as_ref(), [5, 5, 7]);
        // What was read back of a block has them already.
        let again = batch(Signal::Traces, None).with_columns(rows.clone());
        assert_eq!(located(&again, &table(&["service", SOURCE, OFFSET])).unwrap(), rows);
    }

    #[test]
    fn without_the_records_positions_there_is_that_of_the_batch() {
        let rows = located(&batch(Signal::Logs, None), &table(&[OFFSET])).unwrap();
        assert_eq!(
            rows.column_by_name(OFFSET).unwrap().as_primitive::<Int64Type>().values().as_ref(),
            [5, 5, 5]
        );
    }

    #[test]
    fn append_times_are_no_attributes() {
        let rows = batch(Signal::Traces, Some(exact()));
        let (mut fields, mut columns) = {
            let rows = rows.as_columns().unwrap();
            (rows.schema_ref().fields().to_vec(), rows.columns().to_vec())
        };
        fields.push(weir_pdata::schema::arrival());
        columns.push(exact());
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let rows = rows.with_columns(RecordBatch::try_new(schema, columns).unwrap());
        let rows = located(&rows, &table(&["service"])).unwrap();
        assert_eq!(names(&rows), ["service"]);
    }

    #[test]
    fn a_table_without_the_columns_is_told_nothing() {
        let rows = located(&batch(Signal::Traces, Some(exact())), &table(&["service"])).unwrap();
        assert_eq!(names(&rows), ["service"], "positions are no attributes");
        let rows = located(&batch(Signal::Windows, None), &table(&["service", SOURCE, OFFSET])).unwrap();
        assert_eq!(names(&rows), ["service"]);
    }
}
