use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, Int32Array, Int64Array, ListArray, MapArray,
    RecordBatch, StringViewArray, StructArray, TimestampNanosecondArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_component::clock::ManualClock;
use weir_component::testkit::{check_exporter, check_exporter_contract, context};
use weir_component::{Context, Exporter};
use weir_pdata::attributes::ValueType;
use weir_pdata::json::JsonLines;
use weir_pdata::{Ack, Demand, EventBatch, Origin, Outcome, Projection, Signal, schema};

use crate::config::Config;
use crate::exporter::LocalExporter;
use crate::flatten::Layout;

const HOUR: i64 = 3_600_000_000_000;
/// 2025-06-05T01:58:25Z
const TIME: i64 = 1_749_088_705_000_000_000;

type Entry<'a> = (&'a str, ValueType, Vec<u8>);

fn tag<'a>(key: &'a str, value: &str) -> Entry<'a> {
    (key, ValueType::String, value.as_bytes().to_vec())
}

fn attribute_lists(rows: &[Vec<Entry<'_>>]) -> ArrayRef {
    let entries: Vec<&Entry<'_>> = rows.iter().flatten().collect();
    let keys = StringViewArray::from_iter_values(entries.iter().map(|entry| entry.0));
    let indices = Int32Array::from_iter_values(0..entries.len() as i32);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::new(indices, Arc::new(keys))),
        Arc::new(UInt8Array::from_iter_values(entries.iter().map(|entry| entry.1 as u8))),
        Arc::new(BinaryViewArray::from_iter_values(entries.iter().map(|entry| &entry.2))),
    ];
    let entries = StructArray::new(schema::attribute_entry(), columns, None);
    let DataType::List(item) = schema::attribute_list() else { unreachable!() };
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    Arc::new(ListArray::new(item, offsets, Arc::new(entries), None))
}

fn times(times: &[Option<i64>]) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC"))
}

fn views(texts: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(texts.to_vec()))
}

fn dictionary(texts: &[&str]) -> ArrayRef {
    let keys = Int32Array::from_iter_values(0..texts.len() as i32);
    Arc::new(DictionaryArray::new(keys, Arc::new(StringViewArray::from(texts.to_vec()))))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Three spans, with what can be odd about attributes.
fn spans(start: i64) -> RecordBatch {
    let attributes = attribute_lists(&[
        vec![
            tag("http.method", "GET"),
            tag("rare", "1"),
            tag("http.method", "HEAD"),
            tag("http.method", "PUT"),
        ],
        vec![
            tag("http.method", "POST"),
            tag("status", "fine"),
            ("n", ValueType::Int64, 7_i64.to_le_bytes().to_vec()),
        ],
        vec![
            ("f", ValueType::Float64, 0.5_f64.to_le_bytes().to_vec()),
            ("b", ValueType::Bytes, vec![0xab, 1]),
        ],
    ]);
    let resources =
        attribute_lists(&[vec![tag("host.name", "h1")], vec![tag("host.name", "h2"), tag("os", "linux")]]);
    let resource = DictionaryArray::new(Int32Array::from(vec![Some(1), Some(0), None]), resources);
    batch(vec![
        ("time", times(&[Some(start), Some(start + 1), Some(start + 2)])),
        ("service", dictionary(&["pay", "order", "stock"])),
        ("operation", views(&[Some("/pay"), None, Some("a text that is longer than twelve bytes")])),
        ("duration_ns", Arc::new(Int64Array::from(vec![Some(5), None, Some(7)]))),
        ("resource", Arc::new(resource)),
        ("attributes", attributes),
    ])
}

fn event(signal: Signal, columns: RecordBatch) -> EventBatch {
    EventBatch::columns(signal, columns, Origin::default(), Ack::none())
}

fn exporter(directory: &Path) -> (LocalExporter, Context) {
    exporter_with(Config { directory: directory.to_owned(), ..Config::default() })
}

fn exporter_with(config: Config) -> (LocalExporter, Context) {
    let context = context("local", &config.directory);
    (LocalExporter::new(config, context.clone()), context)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".lock") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let array =
        batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}: {:?}", batch.schema()));
    let array = arrow::compute::cast(array, &DataType::Utf8).unwrap();
    array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect()
}

fn rest(batch: &RecordBatch) -> Vec<Vec<(String, String)>> {
    let map: &MapArray = batch.column_by_name("attributes").unwrap().as_map();
    let row = |row| {
        let entries = map.value(row);
        let pair = |at| {
            (
                entries.column(0).as_string::<i32>().value(at).to_owned(),
                entries.column(1).as_string::<i32>().value(at).to_owned(),
            )
        };
        (0..entries.len()).map(pair).collect()
    };
    (0..map.len()).map(row).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn spans_come_back_with_every_value() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    exporter.start().await.unwrap();
    exporter.export(&[event(Signal::Traces, spans(TIME))]).await.unwrap();
    let files = files(directory.path());
    assert_eq!(files.len(), 1);
    assert!(files[0].starts_with(directory.path().join("traces/2025-06-05/01")), "{files:?}");
    let stored = &read(&files[0])[0];
    assert_eq!(stored.schema().field_with_name("time").unwrap().data_type(), &schema::timestamp());
    assert_eq!(texts(stored, "service"), some(&["pay", "order", "stock"]));
    assert_eq!(texts(stored, "operation"), some(&["/pay", "", "a text that is longer than twelve bytes"]));
    let durations = stored.column_by_name("duration_ns").unwrap().as_primitive::<Int64Type>();
    assert_eq!(durations, &Int64Array::from(vec![Some(5), None, Some(7)]));
    assert_eq!(texts(stored, "http.method"), some(&["GET", "POST", ""]));
    assert_eq!(texts(stored, "attr.status"), some(&["", "fine", ""]));
    assert_eq!(texts(stored, "n"), some(&["", "7", ""]));
    assert_eq!(texts(stored, "f"), some(&["", "", "0.5"]));
    assert_eq!(texts(stored, "b"), some(&["", "", "ab01"]));
    assert_eq!(texts(stored, "resource.host.name"), some(&["h2", "h1", ""]));
    assert_eq!(texts(stored, "resource.os"), some(&["linux", "", ""]));
    let repeated = pairs(&[("http.method#2", "HEAD"), ("http.method#3", "PUT")]);
    assert_eq!(rest(stored), [repeated, vec![], vec![]]);
}

#[test]
fn keys_beyond_the_limit_go_into_the_map() {
    let batch = spans(TIME);
    let layout = Layout::of(Signal::Traces, std::slice::from_ref(&batch), 1);
    let stored = layout.flatten(&batch).unwrap();
    assert_eq!(texts(&stored, "http.method"), some(&["GET", "POST", ""]));
    assert_eq!(texts(&stored, "resource.host.name"), some(&["h2", "h1", ""]));
    assert!(stored.column_by_name("rare").is_none() && stored.column_by_name("resource.os").is_none());
    let expected = [
        pairs(&[
            ("resource.os", "linux"),
            ("rare", "1"),
            ("http.method#2", "HEAD"),
            ("http.method#3", "PUT"),
        ]),
        pairs(&[("status", "fine"), ("n", "7")]),
        pairs(&[("f", "0.5"), ("b", "ab01")]),
    ];
    assert_eq!(rest(&stored), expected);
    let none = Layout::of(Signal::Traces, std::slice::from_ref(&batch), 0).flatten(&batch).unwrap();
    assert_eq!(
        rest(&none)[0][2..],
        pairs(&[("http.method", "GET"), ("rare", "1"), ("http.method#2", "HEAD"), ("http.method#3", "PUT")])
            [..]
    );
}

#[test]
fn ten_thousand_keys_make_no_more_than_the_limit_of_columns() {
    let keys: Vec<String> = (0..10_000).map(|key| format!("key.{key:05}")).collect();
    let row: Vec<Entry<'_>> = keys.iter().map(|key| tag(key, "x")).collect();
    let batch = batch(vec![("time", times(&[Some(TIME)])), ("attributes", attribute_lists(&[row]))]);
    let stored = Layout::of(Signal::Traces, std::slice::from_ref(&batch), 200).flatten(&batch).unwrap();
    assert_eq!((stored.num_columns(), rest(&stored)[0].len()), (202, 9_800));
}

#[test]
fn a_key_that_is_a_column_in_one_batch_and_listed_in_another_is_one_column() {
    let wanted = |name: &str, key: &str, level: &str, array: ArrayRef| {
        let field = Field::new(name, array.data_type().clone(), true)
            .with_metadata(schema::attribute_metadata(level, key));
        let schema = Schema::new(vec![Field::new("time", schema::timestamp(), true), field]);
        RecordBatch::try_new(Arc::new(schema), vec![times(&[Some(TIME)]), array]).unwrap()
    };
    let columns = wanted("http.method", "http.method", "span", views(&[Some("PATCH")]));
    let number = wanted("n", "n", "span", Arc::new(Int64Array::from(vec![8])));
    let host = wanted("resource.host.name", "host.name", "resource", views(&[Some("h9")]));
    let all = [columns, number, host, spans(TIME)];
    let layout = Layout::of(Signal::Traces, &all, 200);
    let stored: Vec<RecordBatch> = all.iter().map(|batch| layout.flatten(batch).unwrap()).collect();
    assert!(stored.iter().all(|batch| batch.schema() == layout.schema()));
    assert_eq!(texts(&stored[0], "http.method"), some(&["PATCH"]));
    assert_eq!(texts(&stored[3], "http.method"), some(&["GET", "POST", ""]));
    assert_eq!(texts(&stored[1], "n"), some(&["8"]));
    assert_eq!(
        stored[1].column_by_name("n").unwrap().data_type(),
        &DataType::Int64,
        "the typed column keeps its type"
    );
    assert_eq!(rest(&stored[3])[1], pairs(&[("n", "7")]), "text that has no typed column is in the map");
    assert_eq!(texts(&stored[2], "resource.host.name"), some(&["h9"]));
    assert_eq!(texts(&stored[3], "resource.host.name"), some(&["h2", "h1", ""]));
}

#[test]
fn links_and_events_are_json_text() {
    let links = StructArray::new(
        schema::link(),
        schema::link()
            .iter()
            .map(|field| match field.name().as_str() {
                "trace_id" => views(&[Some("t\"1")]),
                "ref_type" => views(&[Some("CrossProcess")]),
                _ => views(&[None]),
            })
            .collect(),
        None,
    );
    let logged = attribute_lists(&[vec![
        tag("message", "no\nfile"),
        ("n", ValueType::Int64, 3_i64.to_le_bytes().to_vec()),
        tag("message", "again"),
    ]]);
    let events = StructArray::new(
        schema::span_event(),
        vec![times(&[Some(TIME)]), views(&[Some("error")]), logged],
        None,
    );
    let list = |name: &str, values: StructArray, rows: &[usize]| -> ArrayRef {
        assert!(schema::fixed(Signal::Traces).find(name).is_some());
        Arc::new(ListArray::new(
            Arc::new(Field::new("item", values.data_type().clone(), true)),
            OffsetBuffer::from_lengths(rows.iter().copied()),
            Arc::new(values),
            None,
        ))
    };
    let batch = batch(vec![
        ("time", times(&[Some(TIME), Some(TIME)])),
        ("links", list("links", links, &[1, 0])),
        ("events", list("events", events, &[0, 1])),
    ]);
    let stored = Layout::of(Signal::Traces, std::slice::from_ref(&batch), 200).flatten(&batch).unwrap();
    assert_eq!(texts(&stored, "links"), some(&[r#"[{"ref_type":"CrossProcess","trace_id":"t\"1"}]"#, ""]));
    let event = r#"[{"attributes":{"message":"no\nfile","message#2":"again","n":3},"name":"error","time":"2025-06-05T01:58:25Z"}]"#;
    let mut found = texts(&stored, "events");
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(found.pop().flatten().map(|text| parse(&text)), Some(parse(event)));
    assert_eq!(found, some(&[""]));
}

#[tokio::test]
async fn rows_of_several_hours_and_batches_go_into_one_file_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    let mixed = batch(vec![
        ("time", times(&[Some(TIME + HOUR), None, Some(TIME)])),
        ("service", dictionary(&["late", "timeless", "early"])),
    ]);
    exporter.export(&[event(Signal::Traces, spans(TIME)), event(Signal::Traces, mixed)]).await.unwrap();
    let found: Vec<(String, usize)> = files(directory.path())
        .iter()
        .map(|path| {
            let folder = path.parent().unwrap().strip_prefix(directory.path()).unwrap();
            (folder.display().to_string(), read(path).iter().map(RecordBatch::num_rows).sum())
        })
        .collect();
    let expected = [("traces/2025-06-05/01", 4), ("traces/2025-06-05/02", 1), ("traces/other", 1)];
    assert_eq!(found, expected.map(|(folder, rows)| (folder.to_owned(), rows)));
}

#[tokio::test]
async fn windows_go_by_their_end_and_keep_every_measure() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    let windows = batch(vec![
        ("operator", dictionary(&["aggregate"])),
        ("window_start", times(&[Some(TIME)])),
        ("window_end", times(&[Some(TIME + HOUR)])),
        ("service", views(&[Some("pay")])),
        ("count", Arc::new(Int64Array::from(vec![3]))),
    ]);
    exporter.export(&[event(Signal::Windows, windows)]).await.unwrap();
    let files = files(&directory.path().join("windows/2025-06-05/02"));
    let stored = &read(&files[0])[0];
    assert_eq!(texts(stored, "count"), some(&["3"]));
    assert_eq!(texts(stored, "service"), some(&["pay"]));
    assert!(stored.column_by_name("attributes").is_none());
}

#[tokio::test]
async fn a_start_removes_unfinished_files_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = exporter(directory.path());
    first.start().await.unwrap();
    first.export(&[event(Signal::Traces, spans(TIME))]).await.unwrap();
    fs::write(directory.path().join(".writing/half.parquet"), b"PAR1").unwrap();
    drop(first);
    let (second, _) = exporter(directory.path());
    second.start().await.unwrap();
    assert_eq!(files(&directory.path().join(".writing")), Vec::<PathBuf>::new());
    assert_eq!(files(&directory.path().join("traces")).len(), 1);
}

#[tokio::test]
async fn a_directory_belongs_to_one_running_program() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = exporter(directory.path());
    first.start().await.unwrap();
    let unfinished = directory.path().join(".writing/half.parquet");
    fs::write(&unfinished, b"PAR1").unwrap();
    let (second, _) = exporter(directory.path());
    let message = second.start().await.unwrap_err().to_string();
    assert!(message.contains(&directory.path().display().to_string()), "{message}");
    assert!(message.contains("stop that program, or give each its own `directory`"), "{message}");
    assert!(unfinished.exists(), "the first program's file is not touched");
    drop(first);
    second.start().await.unwrap();
    assert!(!unfinished.exists());
}

/// Values of an attribute by key, of the map and of the columns together, with what was named and what was
/// not.
async fn stored_attributes(lines: &str, names: &[&str]) -> Vec<std::collections::BTreeMap<String, String>> {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    let projection = Projection::of(&Demand::everything().and(Demand::names(names.iter().copied())));
    let lines = JsonLines::read(lines.lines().map(str::as_bytes), &projection);
    assert_eq!(lines.rejected, []);
    let batches: Vec<_> = lines.batches.into_iter().map(|(signal, batch)| event(signal, batch)).collect();
    exporter.export(&batches).await.unwrap();
    let mut rows = Vec::new();
    for batch in files(directory.path()).iter().flat_map(|path| read(path)) {
        for row in 0..batch.num_rows() {
            let shown = batch
                .schema_ref()
                .fields()
                .iter()
                .zip(batch.columns())
                .filter(|(_, column)| column.is_valid(row));
            let shown = shown.map(|(field, column)| {
                (field.name().clone(), arrow::util::display::array_value_to_string(column, row).unwrap())
            });
            rows.push(
                shown
                    .filter(|(name, _)| {
                        schema::fixed(Signal::Traces).find(name).is_none() || name == "attributes"
                    })
                    .collect(),
            );
        }
    }
    rows
}

#[tokio::test]
async fn naming_an_attribute_does_not_change_what_is_stored() {
    let lines = r#"{"signal":"traces","time":1,"attributes":{"n":7,"s":"x","m":"text","a":[1,2]},"resource":{"r":1.0}}
{"signal":"traces","time":2,"attributes":{"n":"8","m":true,"z":null,"f":1.0,"n":9}}
{"signal":"traces","time":3,"attributes":{"s":"y","n":1},"resource":{"r":"text"}}"#;
    let plain = stored_attributes(lines, &[]).await;
    assert_eq!(plain.len(), 3);
    assert_eq!(plain[0]["n"], "7");
    assert_eq!(stored_attributes(lines, &["n", "s", "m", "a", "z", "f", "resource.r"]).await, plain);
}

#[tokio::test]
async fn a_failed_export_leaves_no_file_and_can_be_retried() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    exporter.start().await.unwrap();
    // A file where the folder of the second hour should be.
    fs::create_dir_all(directory.path().join("traces/2025-06-05")).unwrap();
    fs::write(directory.path().join("traces/2025-06-05/02"), b"").unwrap();
    let batches = [event(Signal::Traces, spans(TIME)), event(Signal::Traces, spans(TIME + HOUR))];
    let error = exporter.export(&batches).await.unwrap_err();
    assert!(matches!(error, weir_component::ExportError::Retryable { .. }), "{error}");
    fs::remove_file(directory.path().join("traces/2025-06-05/02")).unwrap();
    assert_eq!(files(directory.path()), Vec::<PathBuf>::new());
    exporter.export(&batches).await.unwrap();
    assert_eq!(files(directory.path()).len(), 2);
}

#[tokio::test]
async fn hours_older_than_the_retention_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let retention = Some(weir_config::Duration::from_secs(7_200));
    let (_, mut context) = exporter(directory.path());
    let clock = Arc::new(ManualClock::at(TIME / 1_000_000));
    context.clock = clock.clone();
    let config = Config { directory: directory.path().to_owned(), retention, ..Config::default() };
    let exporter = LocalExporter::new(config, context);
    for hours in [-5, -1, 0] {
        exporter.export(&[event(Signal::Traces, spans(TIME + hours * HOUR))]).await.unwrap();
    }
    let folders = || {
        files(&directory.path().join("traces"))
            .iter()
            .map(|path| path.parent().unwrap().strip_prefix(directory.path()).unwrap().display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(folders().len(), 3, "the next look is ten minutes after the first");
    clock.set((TIME + HOUR / 4) / 1_000_000);
    exporter.export(&[event(Signal::Traces, spans(TIME))]).await.unwrap();
    assert_eq!(folders(), ["traces/2025-06-05/00", "traces/2025-06-05/01", "traces/2025-06-05/01"]);
    assert!(!directory.path().join("traces/2025-06-04/20").exists());
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_a_start_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    let (exporter, _) = exporter_with(Config { directory: file.join("data"), ..Config::default() });
    let message = exporter.start().await.unwrap_err().to_string();
    assert!(message.contains("file/data") && message.contains("directory"), "{message}");
}

#[tokio::test]
async fn the_exporter_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    let batches: Vec<EventBatch> = Signal::ALL
        .into_iter()
        .map(|signal| {
            let column = crate::hours::time_column(signal);
            event(signal, batch(vec![(column, times(&[Some(TIME)])), ("service", views(&[Some("pay")]))]))
        })
        .collect();
    check_exporter_contract(Box::new(exporter), batches).await;
    assert_eq!(files(directory.path()).len(), 5);
}

#[tokio::test]
async fn input_is_acknowledged_only_when_its_file_is_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    exporter.start().await.unwrap();
    fs::write(directory.path().join("traces"), b"in the way").unwrap();
    let config = Config { directory: directory.path().to_owned(), ..Config::default() };
    check_exporter(
        Box::new(exporter),
        config.helper(),
        vec![event(Signal::Traces, spans(TIME))],
        Outcome::Failed,
    )
    .await;
}

#[tokio::test]
async fn small_batches_of_equal_columns_are_joined_without_loss() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    let batches: Vec<EventBatch> = (0..500).map(|at| event(Signal::Traces, spans(TIME + at))).collect();
    exporter.export(&batches).await.unwrap();
    let stored: Vec<RecordBatch> = files(directory.path()).iter().flat_map(|path| read(path)).collect();
    let methods: Vec<_> = stored.iter().flat_map(|batch| texts(batch, "http.method")).collect();
    assert_eq!(methods.len(), 1_500);
    assert_eq!(methods[1_497..], some(&["GET", "POST", ""])[..]);
    let hosts: Vec<_> = stored.iter().flat_map(|batch| texts(batch, "resource.host.name")).collect();
    assert_eq!(hosts[1_497..], some(&["h2", "h1", ""])[..]);
}

#[tokio::test]
async fn what_otlp_has_is_stored() {
    let points = r#"{"resourceMetrics":[{"scopeMetrics":[{"scope":{"name":"lib","attributes":[{"key":"short","value":{"boolValue":true}}]},"metrics":[{"name":"m","metadata":[{"key":"k","value":{"stringValue":"v"}}],"histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"5","count":"3","bucketCounts":["1","2"],"explicitBounds":[0.5],"exemplars":[{"asDouble":1.5,"traceId":"aa"}]}]}}]}]}]}"#;
    let directory = tempfile::tempdir().unwrap();
    let (exporter, _) = exporter(directory.path());
    let lines = JsonLines::read([points.as_bytes()], &Projection::everything());
    assert_eq!(lines.rejected, []);
    let batches: Vec<_> = lines.batches.into_iter().map(|(signal, batch)| event(signal, batch)).collect();
    exporter.export(&batches).await.unwrap();
    let files = files(directory.path());
    let batch = &read(&files[0])[0];
    let shown = |name: &str| {
        let column = batch.column_by_name(name).unwrap_or_else(|| panic!("{name}"));
        arrow::util::display::array_value_to_string(column, 0).unwrap()
    };
    assert_eq!((shown("metric"), shown("metric_type")), ("m".to_owned(), "histogram".to_owned()));
    assert_eq!((shown("count"), shown("bucket_counts")), ("3".to_owned(), "[1, 2]".to_owned()));
    assert_eq!(shown("exemplars"), r#"[{"attributes":{},"trace_id":"aa","value":1.5}]"#);
    assert_eq!(shown("attributes"), "{scope.short: true, metadata.k: v}");
}
