//! What becomes of each kind of value. Rows are compared as text: `column=value`, in the order sent.

use super::*;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    BinaryViewBuilder, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    StringViewArray, StructArray, TimestampNanosecondArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type, Schema};

use crate::reading::{columns, rows};
use crate::tables::columns_of;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

fn words(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<DictionaryArray<Int32Type>>())
}

fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

fn numbers(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// Attribute lists of strings and one integer kind: values that parse as integers are integers.
fn attributes(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let (mut keys, mut types, mut values, mut offsets) =
        (Vec::new(), Vec::new(), BinaryViewBuilder::new(), vec![0]);
    for row in rows {
        for (key, value) in *row {
            keys.push(*key);
            if let Ok(number) = value.parse::<i64>() {
                types.push(1);
                values.append_value(number.to_le_bytes());
            } else {
                types.push(0);
                values.append_value(value);
            }
        }
        offsets.push(i32::try_from(keys.len()).unwrap());
    }
    let keys: DictionaryArray<Int32Type> = keys.into_iter().collect();
    let views: StringViewArray = keys.values().as_string::<i32>().iter().collect();
    let keys = DictionaryArray::new(keys.keys().clone(), Arc::new(views));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(keys), Arc::new(UInt8Array::from(types)), Arc::new(values.finish())];
    let entries = StructArray::new(schema::attribute_entry(), columns, None);
    let item = Arc::new(Field::new("item", entries.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::new(offsets.into()), Arc::new(entries), None))
}

/// A dictionary of attribute lists: row i has list `keys[i]`.
fn resources(keys: &[i32], lists: &[&[(&str, &str)]]) -> ArrayRef {
    Arc::new(DictionaryArray::new(Int32Array::from(keys.to_vec()), attributes(lists)))
}

fn converted(signal: Signal, batches: &[RecordBatch], table: &TableColumns) -> InsertRows {
    convert(signal, &batches.iter().collect::<Vec<_>>(), table, false).unwrap()
}

/// The rows as a server reads them.
fn shown(converted: &InsertRows) -> Vec<String> {
    rows(&converted.body)
}

/// A table with these columns and types.
fn table(columns: &[(&str, &str)]) -> TableColumns {
    let lines =
        columns.iter().map(|(name, kind)| serde_json::json!({"name": name, "type": kind}).to_string());
    TableColumns::parse(lines.collect::<Vec<_>>().join("\n").as_bytes()).unwrap()
}

#[test]
fn spans_keep_their_columns_and_the_rest_is_in_the_maps() {
    let spans = batch(vec![
        ("time", times(&[1_000, 2_000])),
        ("service", words(&[Some("pay"), Some("shop")])),
        ("parent_span_id", texts(&[None, Some("a.0")])),
        ("trace_state", texts(&[None, None])),
        ("http.method", texts(&[Some("GET"), None])),
        ("customer.id", numbers(&[None, Some(7)])),
        ("attr.status", texts(&[Some("paid"), None])),
        ("resource", resources(&[0, 0], &[&[("host.name", "h1")]])),
        ("attributes", attributes(&[&[("k", "v"), ("k", "w"), ("n", "42")], &[]])),
    ]);
    let sent = converted(Signal::Traces, &[spans], &columns_of(Signal::Traces));
    assert_eq!(
        shown(&sent),
        [
            "time=1000 parent_span_id= service=pay \
             attributes={k: v, k: w, n: 42, status: paid, http.method: GET} resource={host.name: h1}",
            "time=2000 parent_span_id=a.0 service=shop attributes={customer.id: 7} resource={host.name: h1}",
        ]
    );
    assert_eq!((sent.moved, sent.unplaced), (0, 0));
}

#[test]
fn columns_have_the_types_of_their_values() {
    let spans = batch(vec![
        ("time", times(&[1])),
        ("service", words(&[Some("pay")])),
        ("operation", texts(&[Some("/a")])),
        ("http.method", words(&[Some("GET")])),
    ]);
    let sent = converted(Signal::Traces, &[spans], &columns_of(Signal::Traces));
    let types: Vec<_> = columns(&sent.body).into_iter().map(|(name, kind, _)| (name, kind)).collect();
    let expected = [
        ("time", "DateTime64(9, 'UTC')"),
        ("service", "LowCardinality(String)"),
        ("operation", "String"),
        ("attributes", "Map(LowCardinality(String), String)"),
    ];
    assert_eq!(types, expected.map(|(name, kind)| (name.into(), kind.into())));
}

#[test]
fn batches_with_different_columns_become_one() {
    let first = batch(vec![("service", words(&[Some("a")])), ("k", texts(&[Some("1")]))]);
    let second =
        batch(vec![("service", texts(&[Some("b"), Some("a")])), ("duration_ns", numbers(&[Some(5), None]))]);
    let sent = converted(Signal::Traces, &[first, second], &columns_of(Signal::Traces));
    assert_eq!(
        shown(&sent),
        [
            "duration_ns=0 service=a attributes={k: 1}",
            "duration_ns=5 service=b attributes={}",
            "duration_ns=0 service=a attributes={}"
        ]
    );
}

#[test]
fn a_column_of_the_users_table_takes_its_key() {
    let own = table(&[
        ("service", "String"),
        ("http.method", "LowCardinality(String)"),
        ("customer.id", "Nullable(UInt32)"),
        ("attributes", "Map(String, String)"),
    ]);
    let spans = batch(vec![
        ("service", words(&[Some("a"), Some("b"), Some("c")])),
        ("http.method", texts(&[Some("GET"), None, None])),
        ("customer.id", texts(&[Some("7"), Some("seven"), Some("-1")])),
        ("time", times(&[1, 2, 3])),
    ]);
    let sent = converted(Signal::Traces, &[spans], &own);
    assert_eq!(
        shown(&sent),
        [
            "service=a http.method=GET customer.id=7 attributes={time: 1}",
            "service=b http.method= customer.id=NULL attributes={time: 2, customer.id: seven}",
            "service=c http.method= customer.id=NULL attributes={time: 3, customer.id: -1}",
        ]
    );
    assert_eq!((sent.moved, sent.unplaced), (2, 0));
}

#[test]
fn without_a_map_what_has_no_column_is_counted() {
    let own = table(&[("service", "String"), ("n", "UInt8")]);
    let spans = batch(vec![
        ("service", words(&[Some("a"), Some("b")])),
        ("n", numbers(&[Some(300), Some(3)])),
        ("x", texts(&[Some("1"), None])),
        ("attributes", attributes(&[&[("k", "v")], &[("k", "v"), ("l", "w")]])),
        ("resource", resources(&[0, 0], &[&[("host.name", "h1")]])),
    ]);
    let sent = converted(Signal::Traces, &[spans], &own);
    assert_eq!(shown(&sent), ["service=a n=0", "service=b n=3"]);
    assert_eq!((sent.moved, sent.unplaced), (0, 1 + 1 + 3 + 2));
}

#[test]
fn resource_keys_without_a_map_of_their_own_are_attributes() {
    let own = table(&[("attributes", "Map(String, String)")]);
    let level = |level: &str, key: &str| schema::attribute_metadata(level, key);
    let field = |name: &str, metadata: HashMap<String, String>| {
        Field::new(name, DataType::Utf8, true).with_metadata(metadata)
    };
    let fields = vec![
        field("resource.os", level("resource", "os")),
        field("scope.lib", level("scope", "lib")),
        Field::new("resource", schema::resource_dictionary(), true),
    ];
    let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let columns = vec![text("linux"), text("x"), resources(&[0], &[&[("host.name", "h1")]])];
    let spans = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let sent = converted(Signal::Traces, &[spans], &own);
    assert_eq!(shown(&sent), ["attributes={resource.host.name: h1, resource.os: linux, scope.lib: x}"]);
}

#[test]
fn an_absurd_time_is_clamped_and_its_value_kept() {
    let spans = batch(vec![("time", times(&[-5, 7])), ("service", words(&[Some("a"), Some("b")]))]);
    let sent = converted(Signal::Traces, &[spans], &columns_of(Signal::Traces));
    assert_eq!(shown(&sent), ["time=0 service=a attributes={time: -5}", "time=7 service=b attributes={}"]);
    assert_eq!(sent.moved, 1);
}

#[test]
fn windows_split_their_columns_into_labels_and_measures() {
    let windows = batch(vec![
        ("operator", words(&[Some("aggregate"), Some("aggregate")])),
        ("window_start", times(&[0, 7])),
        ("window_size_ms", numbers(&[Some(7_000), Some(7_000)])),
        ("firing", Arc::new(Int32Array::from(vec![0, 1]))),
        ("service", words(&[Some("pay"), None])),
        ("zone", words(&[Some("eu"), None])),
        ("app", words(&[Some("x"), Some("")])),
        ("count", numbers(&[Some(3), Some(4)])),
        ("success_rate", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("slow", numbers(&[Some(2), None])),
    ]);
    let sent = converted(Signal::Windows, &[windows], &columns_of(Signal::Windows));
    assert_eq!(
        shown(&sent),
        [
            "operator=aggregate window_start=0 window_size_ms=7000 service=pay firing=0 count=3 success_rate=0.5 \
             labels={app: x, zone: eu} measures={slow: 2}",
            "operator=aggregate window_start=7 window_size_ms=7000 service= firing=1 count=4 success_rate=NULL \
             labels={app: , service: NULL} measures={}",
        ]
    );
    assert_eq!((sent.moved, sent.unplaced), (0, 0));
}

#[test]
fn links_that_the_table_cannot_take_are_text_among_the_attributes() {
    let fields = schema::link();
    let columns: Vec<ArrayRef> = fields.iter().map(|field| texts(&[Some(field.name())])).collect();
    let entries = StructArray::new(fields, columns, None);
    let item = Arc::new(Field::new("item", entries.data_type().clone(), true));
    let links: ArrayRef =
        Arc::new(ListArray::new(item, OffsetBuffer::new(vec![0, 1].into()), Arc::new(entries), None));
    let spans = batch(vec![("links", links)]);

    let placed = converted(Signal::Traces, std::slice::from_ref(&spans), &columns_of(Signal::Traces));
    let link: Vec<_> = schema::link().iter().map(|field| format!("{0}: {0}", field.name())).collect();
    assert_eq!(shown(&placed), [format!("links=[({})]", link.join(", "))]);
    let own = table(&[("links", "Array(String)"), ("attributes", "Map(String, String)")]);
    let sent = converted(Signal::Traces, &[spans], &own);
    assert!(
        shown(&sent)[0].starts_with("attributes={links: [{trace_id: trace_id, span_id: span_id,"),
        "{:?}",
        shown(&sent)
    );
}

#[test]
fn a_table_of_something_else_is_not_written() {
    let spans = batch(vec![("service", words(&[Some("a")]))]);
    let error = convert(Signal::Traces, &[&spans], &table(&[("other", "String")]), false).unwrap_err();
    assert_eq!(error, NothingInCommon);
}
