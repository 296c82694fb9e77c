//! The conversion of each kind of value. Rows are compared as text: `column=value`, in the order sent; a text
//! without a value is NULL.

use super::*;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    AsArray, BinaryViewBuilder, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array,
    ListArray, StringArray, StringViewArray, StructArray, TimestampNanosecondArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use weir_pdata::json::JsonLines;
use weir_pdata::{Demand, Projection};

use crate::native::block::{Body, block};
use crate::native::decode::{read, rows};
use crate::schema::ddl::columns_of;

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
    convert(signal, &batches.iter().collect::<Vec<_>>(), table, &mut Scratch::new(false)).unwrap()
}

fn body(converted: &InsertRows) -> Body {
    block(&[&converted.encoded], &mut Scratch::new(false))
}

fn read_back(converted: &InsertRows) -> RecordBatch {
    read(&body(converted), false).unwrap()
}

/// The rows as a server reads them.
fn shown(converted: &InsertRows) -> Vec<String> {
    rows(&[&converted.encoded])
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
        ("status_message", texts(&[None, Some("a.0")])),
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
            "time=1000 service=pay status_message=NULL \
             attributes={k: v, k: w, n: 42, status: paid, http.method: GET} resource={host.name: h1}",
            "time=2000 service=shop status_message=a.0 attributes={customer.id: 7} resource={host.name: h1}",
        ]
    );
    assert_eq!((sent.moved, sent.unplaced), (0, 0));
}

#[test]
fn an_attribute_named_like_a_part_of_a_span_id_makes_no_id() {
    let spans = batch(vec![
        ("time", times(&[1_000])),
        ("segment_id", texts(&[Some("s")])),
        ("attributes", attributes(&[&[("own_span_id", "x"), ("parent_segment_id", "y")]])),
    ]);
    let table = columns_of(Signal::Traces);
    let rows = super::own_columns::with_own_columns(Signal::Traces, spans, &table);
    let sent = converted(Signal::Traces, &[rows], &table);
    assert_eq!(shown(&sent), ["time=1000 segment_id=s attributes={own_span_id: x, parent_segment_id: y}"]);
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
    let columns = read_back(&sent);
    let kind = |name: &str| columns.column_by_name(name).unwrap().data_type().clone();
    assert_eq!(kind("time"), schema::timestamp());
    assert_eq!(kind("service"), schema::dictionary());
    assert_eq!(kind("operation"), DataType::Utf8View);
    assert_eq!(kind("attributes"), schema::attribute_list());
}

/// A batch with values of every kind, and with what does not fit.
fn full_batch() -> RecordBatch {
    let fields = schema::link();
    let of_links = fields.iter().map(|field| texts(&[Some(field.name()), None, Some("")])).collect();
    let links = lists(&[1, 1, 3], StructArray::new(fields, of_links, None));
    let of_events: Vec<ArrayRef> = vec![
        times(&[-7, 5]),
        texts(&[Some("error"), None]),
        attributes(&[&[("kind", "e"), ("n", "42")], &[]]),
    ];
    let events = lists(&[0, 2, 2], StructArray::new(schema::span_event(), of_events, None));
    batch(vec![
        ("time", times(&[-5, 7, 8])),
        ("duration_ns", numbers(&[Some(1), None, Some(-3)])),
        ("component_id", Arc::new(Int32Array::from(vec![Some(5), None, Some(6)]))),
        ("flags", numbers(&[Some(-1), Some(2), None])),
        ("service", words(&[Some("pay"), None, Some("")])),
        ("operation", texts(&[Some("/a"), None, Some("/an operation of more than twelve bytes")])),
        ("size_limited", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("http.method", texts(&[Some("GET"), None, None])),
        ("links", links),
        ("events", events),
        ("resource", resources(&[0, 0, 0], &[&[("host.name", "h1")]])),
        ("attributes", attributes(&[&[("k", "v"), ("k", "w")], &[], &[("n", "42")]])),
    ])
}

fn lists(ends: &[i32], entries: StructArray) -> ArrayRef {
    let offsets = std::iter::once(0).chain(ends.iter().copied()).collect::<Vec<_>>();
    let item = Arc::new(Field::new("item", entries.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::new(offsets.into()), Arc::new(entries), None))
}

#[test]
fn what_is_read_back_makes_the_same_rows() {
    let table = columns_of(Signal::Traces);
    let first = converted(Signal::Traces, &[full_batch()], &table);
    assert_eq!((first.moved, first.unplaced), (2, 0));
    let again = converted(Signal::Traces, &[read_back(&first)], &table);
    assert_eq!(shown(&first), shown(&again));
    assert!(shown(&first)[1].contains(r#"events=[{"time":0,"name":"error","#), "{:?}", shown(&first)[1]);
    // Read by another table, what has no column there is among the attributes.
    let other = table_without(&["operation", "links"]);
    let moved = converted(Signal::Traces, &[read_back(&first)], &other);
    let direct = converted(Signal::Traces, &[full_batch()], &other);
    assert_eq!((moved.moved, moved.unplaced), (0, 0));
    let attributes = |rows: &InsertRows| {
        let of_row = |row: String| row.split("attributes={").last().unwrap().matches(": ").count();
        shown(rows).into_iter().map(of_row).collect::<Vec<_>>()
    };
    assert_eq!(attributes(&moved), attributes(&direct));
}

/// The block of rows that were encoded batch by batch is that of the batches together, whatever columns each
/// has.
#[test]
fn encoded_rows_make_the_block_that_their_batches_make() {
    let plain = batch(vec![
        ("service", texts(&[Some("b"), Some("a")])),
        ("duration_ns", numbers(&[Some(5), None])),
        ("customer.id", numbers(&[Some(1), None])),
    ]);
    let empty = batch(vec![("time", times(&[1]))]);
    let mut nullable = columns_of(Signal::Traces);
    nullable
        .0
        .iter_mut()
        .filter(|column| column.kind == Kind::Text)
        .for_each(|column| column.nullable = true);
    let mut plan = vec![full_batch(), plain, empty, full_batch().slice(1, 2)];
    for table in [columns_of(Signal::Traces), nullable] {
        for turn in 0..plan.len() {
            plan.rotate_left(1);
            let encoded: Vec<_> = plan
                .iter()
                .map(|batch| converted(Signal::Traces, std::slice::from_ref(batch), &table))
                .collect();
            let encoded: Vec<&EncodedRows> = encoded.iter().map(|rows| &rows.encoded).collect();
            let apart = read(&block(&encoded, &mut Scratch::new(false)), false).unwrap();
            let together = read_back(&converted(Signal::Traces, &plan, &table));
            assert_eq!(sorted(&apart), sorted(&together), "turn {turn}");
        }
    }
}

#[test]
fn what_one_insert_leaves_behind_does_not_reach_the_next() {
    let table = columns_of(Signal::Traces);
    for compressed in [false, true] {
        let mut scratch = Scratch::new(compressed);
        let mut first = None;
        for _ in 0..3 {
            let failed =
                convert(Signal::Traces, &[&full_batch()], &self::table(&[("other", "String")]), &mut scratch);
            assert_eq!(failed.unwrap_err(), NoMatchingColumn);
            let rows = convert(Signal::Traces, &[&full_batch()], &table, &mut scratch).unwrap();
            let body = block(&[&rows.encoded, &rows.encoded], &mut scratch);
            read(&body, compressed).unwrap();
            assert_eq!(*first.get_or_insert_with(|| body.chunks.clone()), body.chunks);
        }
    }
}

/// The rows, whose columns are in the order of their names.
fn sorted(rows: &RecordBatch) -> Vec<String> {
    let schema = rows.schema();
    let mut order: Vec<usize> = (0..rows.num_columns()).collect();
    order.sort_by_key(|at| schema.field(*at).name());
    crate::native::decode::shown(&rows.project(&order).unwrap())
}

#[test]
fn bytes_that_are_no_block_are_refused_and_never_panic() {
    let sent = body(&converted(Signal::Traces, &[full_batch()], &columns_of(Signal::Traces)));
    let bytes = sent.chunks.concat();
    let of = |bytes: &[u8]| Body { columns: sent.columns.clone(), chunks: vec![bytes.to_vec().into()] };
    assert!(read(&of(&bytes), false).is_ok());
    for at in 0..bytes.len() {
        assert!(read(&of(&bytes[..at]), false).is_err(), "cut at {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        let _ = read(&of(&flipped), false);
    }
}

/// The table of spans without these columns.
fn table_without(names: &[&str]) -> TableColumns {
    let mut columns = columns_of(Signal::Traces);
    columns.0.retain(|column| !names.contains(&&*column.name));
    columns
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
            "service=b http.method=NULL customer.id=NULL attributes={time: 2, customer.id: seven}",
            "service=c http.method=NULL customer.id=NULL attributes={time: 3, customer.id: -1}",
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

/// A table of before annotations: `labels` say what an alarm is about, and nothing else.
#[test]
fn what_people_read_of_an_alarm_does_not_go_into_its_labels() {
    let alarms = batch(vec![
        ("rule", words(&[Some("slow"), Some("slow")])),
        ("zone", words(&[Some("eu"), Some("us")])),
        ("annotations", texts(&[Some("{}"), None])),
        ("runbook", texts(&[Some("https://wiki"), None])),
    ]);
    let mut former = columns_of(Signal::Alarms);
    former.0.retain(|column| !matches!(&*column.name, "annotations" | "runbook"));
    let sent = converted(Signal::Alarms, &[alarms], &former);
    assert_eq!(shown(&sent), ["rule=slow labels={zone: eu}", "rule=slow labels={zone: us}"]);
    assert_eq!((sent.moved, sent.unplaced), (0, 2));
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
            "operator=aggregate window_start=7 window_size_ms=7000 service=NULL firing=1 count=4 success_rate=NULL \
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
    let link: Vec<_> = schema::link().iter().map(|field| format!("\"{0}\":\"{0}\"", field.name())).collect();
    assert_eq!(shown(&placed), [format!("links=[{{{}}}]", link.join(","))]);
    let own = table(&[("links", "Array(String)"), ("attributes", "Map(String, String)")]);
    let sent = converted(Signal::Traces, &[spans], &own);
    assert!(
        shown(&sent)[0].starts_with(r#"attributes={links: [{"trace_id":"trace_id","span_id":"span_id","#),
        "{:?}",
        shown(&sent)
    );
}

#[test]
fn a_table_of_something_else_is_not_written() {
    let spans = batch(vec![("service", words(&[Some("a")]))]);
    let error = convert(Signal::Traces, &[&spans], &table(&[("other", "String")]), &mut Scratch::new(false))
        .unwrap_err();
    assert_eq!(error, NoMatchingColumn);
}

/// Rows of JSON lines as a server reads them, the entries of their maps in any order, when these keys are
/// named.
fn stored(lines: &str, names: &[&str], table: &TableColumns) -> Vec<Vec<String>> {
    let demand = Demand::everything().and(Demand::names(names.iter().copied()));
    let lines = JsonLines::read(lines.lines().map(str::as_bytes), &Projection::of(&demand));
    assert_eq!(lines.rejected, []);
    let batches: Vec<RecordBatch> = lines.batches.into_iter().map(|(_, batch)| batch).collect();
    let words = |row: &String| {
        let mut words: Vec<String> = row.split(['{', '}', ',']).map(|word| word.trim().to_owned()).collect();
        words.sort();
        words
    };
    shown(&converted(Signal::Traces, &batches, table)).iter().map(words).collect()
}

#[test]
fn arrays_and_maps_are_stored_as_json() {
    let line = r#"{"signal":"traces","time":1,"attributes":{"a":[1,"x"],"m":{"k":[true,null]}},"resource":{"r":[]}}"#;
    let lines = JsonLines::read([line.as_bytes()], &Projection::of(&Demand::everything()));
    let batches: Vec<RecordBatch> = lines.batches.into_iter().map(|(_, batch)| batch).collect();
    let sent = converted(Signal::Traces, &batches, &columns_of(Signal::Traces));
    let row = shown(&sent).concat();
    assert!(row.contains(r#"attributes={a: [1,"x"], m: {"k":[true,null]}}"#), "{row}");
    assert!(row.contains("resource={r: []}"), "{row}");
}

#[test]
fn naming_an_attribute_does_not_change_what_is_stored() {
    let lines = r#"{"signal":"traces","time":1,"attributes":{"n":7,"s":"x","m":"text","a":[1]},"resource":{"r":1.0}}
{"signal":"traces","time":2,"attributes":{"n":"8","m":true,"z":null,"f":1.0,"n":9}}
{"signal":"traces","time":3,"attributes":{"s":"y","n":1},"resource":{"r":"text"}}"#;
    let maps = table(&[("attributes", "Map(String, String)"), ("resource", "Map(String, String)")]);
    let names = ["n", "s", "m", "a", "z", "f", "resource.r"];
    let plain = stored(lines, &[], &maps);
    assert!(plain[0].contains(&"n: 7".to_owned()) && plain[0].contains(&"s: x".to_owned()), "{plain:?}");
    assert_eq!(stored(lines, &names, &maps), plain);
    // A column of the table takes the value, once.
    let own = table(&[("attributes", "Map(String, String)"), ("n", "Int64")]);
    let sent = stored(lines, &["n"], &own);
    assert!(
        sent[0].iter().any(|word| word.starts_with("n=7 ")) && !sent[0].contains(&"n: 7".to_owned()),
        "{sent:?}"
    );
}

#[test]
fn what_only_otlp_has_is_among_the_attributes() {
    let spans = r#"{"resourceSpans":[{"schemaUrl":"r-url","resource":{"attributes":[{"key":"host.name","value":{"stringValue":"h1"}}]},"scopeSpans":[{"scope":{"name":"lib","attributes":[{"key":"short","value":{"boolValue":true}}]},"spans":[{"spanId":"0102","name":"/a","droppedEventsCount":3,"attributes":[{"key":"n","value":{"intValue":"7"}}],"links":[{"traceId":"aa","traceState":"t"}],"events":[{"name":"e","droppedAttributesCount":1}]},{}]}]}]}"#;
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"observedTimeUnixNano":"5","body":{"arrayValue":{"values":[{"intValue":1}]}}}]}]}]}"#;
    let read = |line: &str, signal| {
        let demand = Demand { id_parts: true, ..Demand::everything() };
        let lines = JsonLines::read([line.as_bytes()], &Projection::of(&demand));
        let batches: Vec<RecordBatch> = lines.batches.into_iter().map(|(_, batch)| batch).collect();
        let sent = converted(signal, &batches, &columns_of(signal));
        assert_eq!((sent.moved, sent.unplaced), (0, 0));
        shown(&sent)
    };
    let rows = read(spans, Signal::Traces);
    for expected in [
        "operation=/a",
        "scope_name=lib",
        r#"links=[{"trace_id":"aa"}]"#,
        r#"events=[{"time":0,"name":"e"}]"#,
        "resource={host.name: h1}",
        "n: 7",
        "scope.short: true",
        "dropped_events: 3",
        "resource_schema_url: r-url",
    ] {
        assert!(rows[0].contains(expected), "{expected}: {}", rows[0]);
    }
    assert!(!rows[1].contains("dropped_events"), "{}", rows[1]);
    let rows = read(logs, Signal::Logs);
    for expected in ["body=[1]", "body_type=array", "time_missing: true", "scope_name: lib"] {
        assert!(rows[0].contains(expected), "{expected}: {}", rows[0]);
    }
    assert!(!rows[0].contains("body_value"), "{}", rows[0]);
}
