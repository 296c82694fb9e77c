use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringViewArray, StructArray, TimestampNanosecondArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use clap::Parser;
use weir_component::{Context, DeadLetters, Exporter, Settings, Telemetry};
use weir_config::{Document, SourceText, Topology};
use weir_pdata::{Ack, EventBatch, Origin, Signal, schema};

use super::{OutputFormat, QueryArgs, run};

/// 2025-06-05T01:58:25Z
const TIME: i64 = 1_749_088_705_000_000_000;
const HOUR: i64 = 3_600_000_000_000;

fn exporter(directory: &Path) -> Box<dyn Exporter> {
    let text = format!(
        "receivers: {{nop: }}\nexporters: {{local: {{directory: '{}', max_columns: 1}}}}\nservice: {{pipelines: {{main: {{receivers: [nop], exporters: [local]}}}}}}\n",
        directory.display()
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let section = &topology.exporters[0];
    let telemetry = Telemetry::default();
    let context =
        Context::new(section.id.clone(), telemetry.clone(), DeadLetters::new(directory, 1 << 20, telemetry));
    (weir_exporter_local::FACTORY.create)(Settings::new(&document, section), context).unwrap().exporter
}

fn times(times: &[i64]) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(times.to_vec()).with_timezone("UTC"))
}

fn views(texts: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(texts.to_vec()))
}

fn dictionary(texts: &[&str]) -> ArrayRef {
    let keys = Int32Array::from_iter_values(0..i32::try_from(texts.len()).unwrap());
    Arc::new(DictionaryArray::new(keys, Arc::new(StringViewArray::from(texts.to_vec()))))
}

/// Rows of tags, in wire form.
fn tags(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let entries: Vec<(&str, &str)> = rows.iter().copied().flatten().copied().collect();
    let columns: Vec<ArrayRef> = vec![
        dictionary(&entries.iter().map(|entry| entry.0).collect::<Vec<_>>()),
        Arc::new(UInt8Array::from(vec![0; entries.len()])),
        Arc::new(BinaryViewArray::from_iter_values(entries.iter().map(|entry| entry.1.as_bytes()))),
    ];
    let entries = StructArray::new(schema::attribute_entry(), columns, None);
    let DataType::List(item) = schema::attribute_list() else { unreachable!() };
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.len()));
    Arc::new(ListArray::new(item, offsets, Arc::new(entries), None))
}

fn batch(signal: Signal, columns: Vec<(&str, ArrayRef)>) -> EventBatch {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let columns = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    EventBatch::columns(signal, columns, Origin::default(), Ack::none())
}

/// Three files of traces with different columns, one of windows.
async fn stored() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(directory.path());
    exporter.start().await.unwrap();
    let first = batch(
        Signal::Traces,
        vec![
            ("time", times(&[TIME, TIME + HOUR])),
            ("service", dictionary(&["pay", "order"])),
            ("operation", views(&[Some("/pay\u{1b}[31m"), None])),
            ("duration_ns", Arc::new(Int64Array::from(vec![5, 7]))),
            ("attributes", tags(&[&[("http.method", "GET"), ("user.id", "u1")], &[("http.method", "POST")]])),
        ],
    );
    let second = batch(
        Signal::Traces,
        vec![
            ("time", times(&[TIME + 1])),
            ("service", dictionary(&["stock"])),
            ("user.id", views(&[Some("u2")])),
            ("customer", Arc::new(Int64Array::from(vec![9]))),
        ],
    );
    let windows = batch(
        Signal::Windows,
        vec![
            ("operator", dictionary(&["aggregate"])),
            ("window_end", times(&[TIME])),
            ("service", dictionary(&["pay"])),
            ("count", Arc::new(Int64Array::from(vec![3]))),
            ("success_rate", Arc::new(Float64Array::from(vec![0.5]))),
        ],
    );
    for batch in [first, second, windows] {
        exporter.export(&[batch]).await.unwrap();
    }
    directory
}

async fn query(directory: &Path, format: OutputFormat, sql: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let args = QueryArgs {
        data: directory.to_owned(),
        clickhouse: None,
        database: String::new(),
        format,
        sql: sql.to_owned(),
    };
    run(args, &mut out).await.map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

async fn csv(directory: &Path, sql: &str) -> Vec<String> {
    let text =
        query(directory, OutputFormat::Csv, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    text.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_the_exporter_stored_is_found_again() {
    let directory = stored().await;
    let data = directory.path();
    let cases: &[(&str, &[&str])] = &[
        ("SELECT count(*) FROM traces", &["3"]),
        ("SELECT count(*) FROM events", &["3"]),
        ("SELECT service, duration_ns FROM traces ORDER BY time", &["pay,5", "stock,", "order,7"]),
        ("SELECT service FROM traces WHERE \"http.method\" = 'GET'", &["pay"]),
        ("SELECT http.method FROM traces WHERE service = 'order'", &["POST"]),
        (
            "SELECT t.http.method FROM traces AS t WHERE t.http.method IS NOT NULL ORDER BY t.http.method",
            &["GET", "POST"],
        ),
        ("SELECT count(DISTINCT http.method) FROM traces", &["2"]),
        ("SELECT user.id, customer FROM traces WHERE customer = 9", &["u2,9"]),
        ("SELECT attributes['user.id'] FROM traces WHERE service = 'pay'", &["u1"]),
        ("SELECT status, links FROM traces WHERE service = 'pay'", &[","]),
        ("SELECT count(*) FROM traces WHERE time >= '2025-06-05T02:00:00Z'", &["1"]),
        (
            "SELECT date_trunc('hour', time) AS hour, count(*) FROM traces GROUP BY hour ORDER BY hour",
            &["2025-06-05T01:00:00Z,2", "2025-06-05T02:00:00Z,1"],
        ),
        ("SELECT service, count, success_rate FROM windows", &["pay,3,0.5"]),
        (
            "SELECT w.service, t.service FROM window_results w JOIN traces t ON t.service = w.service",
            &["pay,pay"],
        ),
    ];
    for (sql, rows) in cases {
        assert_eq!(csv(data, sql).await, *rows, "{sql}");
    }
}

#[tokio::test]
async fn a_signal_without_files_is_an_empty_table_with_its_fixed_columns() {
    let directory = tempfile::tempdir().unwrap();
    for sql in [
        "SELECT time, rule, severity, labels['zone'], message FROM alarms",
        "SELECT body, severity_number, attributes['a'] FROM logs",
        "SELECT metric, value FROM metrics",
        "SELECT service, operation, count, success_rate, p99_duration_ns / 1e6 FROM windows WHERE window_end > '2025-01-01'",
        "SELECT service, attributes FROM traces",
    ] {
        assert_eq!(csv(directory.path(), sql).await, Vec::<String>::new(), "{sql}");
    }
    let found = csv(directory.path(), "SELECT count(*) FROM traces").await;
    assert_eq!(found, ["0"]);
}

#[tokio::test]
async fn a_table_is_aligned_and_safe_for_the_terminal() {
    let directory = stored().await;
    let table = query(
        directory.path(),
        OutputFormat::Table,
        "SELECT service, operation, duration_ns FROM traces ORDER BY time",
    )
    .await;
    let expected = "\
service  operation  duration_ns
-------  ---------  -----------
pay      /pay\u{fffd}[31m            5
stock
order                         7
(3 rows)
";
    assert_eq!(table.unwrap(), expected);
}

#[tokio::test]
async fn a_wide_result_is_written_one_column_a_line() {
    let directory = stored().await;
    let table = query(directory.path(), OutputFormat::Table, "SELECT * FROM traces WHERE service = 'pay'")
        .await
        .unwrap();
    assert!(table.starts_with("--- row 1\ntime "), "{table}");
    let method = table.lines().find(|line| line.starts_with("http.method "));
    assert_eq!(method.map(|line| line.split_whitespace().collect()), Some(vec!["http.method", "GET"]));
    assert!(table.ends_with("(1 row)\n"), "{table}");
}

#[tokio::test]
async fn a_long_result_is_cut_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let sql = "SELECT value FROM generate_series(1, 1500)";
    let table = query(directory.path(), OutputFormat::Table, sql).await.unwrap();
    assert_eq!(table.lines().count(), 1_003);
    assert!(table.contains("(1500 rows; the first 1000 are shown"), "{}", &table[table.len() - 200..]);
    assert_eq!(csv(directory.path(), sql).await.len(), 1_500);
}

#[tokio::test]
async fn json_is_one_object_a_line() {
    let directory = stored().await;
    let sql = "SELECT time, service, http.method, customer, attributes FROM traces WHERE service <> 'order' ORDER BY time";
    let text = query(directory.path(), OutputFormat::Json, sql).await.unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!([
        {"time": "2025-06-05T01:58:25Z", "service": "pay", "http.method": "GET", "customer": null, "attributes": {"user.id": "u1"}},
        {"time": "2025-06-05T01:58:25.000000001Z", "service": "stock", "http.method": null, "customer": 9, "attributes": null},
    ]);
    assert_eq!(serde_json::Value::from(rows), expected);
}

#[tokio::test]
async fn csv_without_rows_has_a_header() {
    let directory = stored().await;
    let text =
        query(directory.path(), OutputFormat::Csv, "SELECT service, time FROM traces WHERE false").await;
    assert_eq!(text.unwrap(), "service,time\n");
}

#[tokio::test]
async fn mistakes_are_answered_with_what_would_be_right() {
    let directory = stored().await;
    let cases = [
        (
            "SELECT * FROM trace",
            "there is no table `trace`; did you mean `traces`?\nthe tables are traces, events, logs, metrics, windows, window_results, alarms",
        ),
        ("SELECT servce FROM traces", "there is no column `servce`; did you mean `service`?"),
        ("SELECT http.metod FROM traces", "there is no column `http.metod`; did you mean `http.method`?"),
        (
            "SELEC 1",
            "the SQL is not understood: Expected: an SQL statement, found: SELEC at Line: 1, Column: 1",
        ),
        ("SELECT service FROM traces WHERE", "Expected: an expression, found: EOF"),
        ("CREATE TABLE a AS SELECT 1", "only reads"),
        ("COPY traces TO 'x.csv'", "only reads"),
        ("SET a.b = 1", "only reads"),
        ("INSERT INTO traces (service) VALUES ('a')", "only reads"),
    ];
    for (sql, part) in cases {
        let error = query(directory.path(), OutputFormat::Table, sql).await.unwrap_err();
        assert!(error.contains(part), "{sql}: {error}");
    }
    let error = query(&directory.path().join("gone"), OutputFormat::Table, "SELECT 1").await.unwrap_err();
    assert!(error.contains("gone") && error.contains("--data"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_parquet_is_named() {
    let directory = stored().await;
    std::fs::write(directory.path().join("traces/2025-06-05/broken.parquet"), b"no").unwrap();
    let error = query(directory.path(), OutputFormat::Table, "SELECT 1 FROM traces").await.unwrap_err();
    assert!(error.contains("broken.parquet"), "{error}");
}

#[tokio::test]
async fn a_table_can_be_described() {
    let directory = stored().await;
    let rows = csv(directory.path(), "DESCRIBE traces").await;
    assert!(rows.iter().any(|row| row.starts_with("http.method,")), "{rows:?}");
    let rows = csv(directory.path(), "SHOW TABLES").await;
    assert!(rows.iter().any(|row| row.contains("window_results")), "{rows:?}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let directory = stored().await;
    for format in [OutputFormat::Table, OutputFormat::Json, OutputFormat::Csv] {
        let args = QueryArgs {
            data: directory.path().to_owned(),
            clickhouse: None,
            database: String::new(),
            format,
            sql: "SELECT * FROM traces".to_owned(),
        };
        run(args, &mut Gone).await.unwrap();
    }
}

#[test]
fn arguments_have_defaults() {
    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        query: QueryArgs,
    }
    let args = Command::parse_from(["weir", "SELECT 1"]).query;
    assert_eq!((args.data.as_path(), args.format), (Path::new("./weir-data"), OutputFormat::Table));
    let args = Command::parse_from(["weir", "--data", "/d", "--format", "json", "SELECT 1"]).query;
    assert_eq!((args.data.as_path(), args.format), (Path::new("/d"), OutputFormat::Json));
}

#[tokio::test]
async fn aggregates_of_numbers_read_text_as_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let exporter = exporter(directory.path());
    exporter.start().await.unwrap();
    let amounts: [&[(&str, &str)]; 4] =
        [&[("order.amount", "42")], &[("order.amount", "58")], &[("order.amount", "free")], &[]];
    let columns = vec![
        ("time", times(&[TIME; 4])),
        ("service", dictionary(&["pay"; 4])),
        ("duration_ns", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef),
        ("attributes", tags(&amounts)),
    ];
    exporter.export(&[batch(Signal::Traces, columns)]).await.unwrap();
    let data = directory.path();
    let sums = "SELECT sum(order.amount), avg(t.order.amount), sum(DISTINCT order.amount), median(order.amount) FROM traces t";
    assert_eq!(csv(data, sums).await, ["100.0,50.0,100.0,50.0"]);
    assert_eq!(csv(data, "SELECT sum(duration_ns), sum(duration_ns) / 3 FROM traces").await, ["10,3"]);
    let headed = query(data, OutputFormat::Csv, "SELECT sum(order.amount) FROM traces").await.unwrap();
    assert!(!headed.contains("weir_number"), "{headed}");
    let grouped = "SELECT service, sum(order.amount) AS total FROM traces GROUP BY service HAVING sum(order.amount) > 99 ORDER BY sum(order.amount)";
    assert_eq!(csv(data, grouped).await, ["pay,100.0"]);
}

#[tokio::test]
async fn no_error_asks_to_report_a_bug_of_the_engine() {
    let directory = stored().await;
    for sql in [
        "SELECT sum(links) FROM traces",
        "SELECT bit_and(service) FROM traces",
        "SELECT sum(attributes) FROM traces",
        "SELECT abs(service) FROM traces",
        "SELECT date_trunc('hour', service) FROM traces",
        "SELECT corr(service, service) FROM traces",
        "SELECT time + service FROM traces",
        "SELECT cast(service AS int) FROM traces",
    ] {
        let Err(message) = query(directory.path(), OutputFormat::Csv, sql).await else { continue };
        assert!(!message.contains("DataFusion") && !message.contains("bug"), "{sql}: {message}");
        assert!(message.lines().count() <= 3, "{sql}: {message}");
    }
    let message =
        query(directory.path(), OutputFormat::Csv, "SELECT bit_and(service) FROM traces").await.unwrap_err();
    assert!(message.contains("cast"), "{message}");
}
