//! The lines of the console, and its silence.

use std::sync::Mutex as StdMutex;

use super::*;
use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampNanosecondArray};
use weir_component::clock::ManualClock;
use weir_component::testkit::{check_exporter_contract, context};
use weir_pdata::{Ack, Origin};

/// The text written, and the error that writing gives.
#[derive(Clone, Default)]
struct Paper(Arc<StdMutex<Written>>);

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    next_error: Option<io::Error>,
    attempts: usize,
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().bytes.clone()).unwrap()
    }

    fn fail_with(&self, error: io::Error) {
        self.0.lock().unwrap().next_error = Some(error);
    }

    fn attempts(&self) -> usize {
        self.0.lock().unwrap().attempts
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap();
        inner.attempts += 1;
        if let Some(error) = inner.next_error.take() {
            return Err(error);
        }
        inner.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    console: Console,
    paper: Paper,
    clock: Arc<ManualClock>,
    telemetry: weir_component::Telemetry,
    _folder: tempfile::TempDir,
}

fn bench(config: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(0));
    let mut context = context("debug", folder.path());
    context.clock = clock.clone();
    let config: DebugConfig = serde_json::from_str(config).unwrap();
    let paper = Paper::default();
    let console = Console::new(&config, &context, Box::new(paper.clone()), false);
    Bench { console, paper, clock, telemetry: context.telemetry, _folder: folder }
}

fn batch(signal: Signal, services: &[&str]) -> EventBatch {
    let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(services));
    let columns = RecordBatch::try_from_iter([("service", column)]).unwrap();
    EventBatch::columns(signal, columns, Origin::default(), Ack::none())
}

fn window(start_ms: i64, services: &[&str]) -> EventBatch {
    let starts = vec![start_ms * 1_000_000; services.len()];
    let columns = RecordBatch::try_from_iter([
        ("window_start", Arc::new(TimestampNanosecondArray::from(starts).with_timezone("UTC")) as ArrayRef),
        ("service", Arc::new(StringViewArray::from_iter_values(services))),
        ("count", Arc::new(Int64Array::from(vec![7; services.len()]))),
    ]);
    EventBatch::columns(Signal::Windows, columns.unwrap(), Origin::default(), Ack::none())
}

#[tokio::test]
async fn every_verbosity_takes_every_signal() {
    for verbosity in ["basic", "normal", "detailed", "summary"] {
        let bench = bench(&format!(r#"{{"verbosity": "{verbosity}"}}"#));
        let batches = Signal::ALL.map(|signal| batch(signal, &["pay", "order"])).to_vec();
        check_exporter_contract(Box::new(bench.console), batches).await;
        let text = bench.paper.text();
        assert!(text.contains(if verbosity == "basic" { "traces  2 rows" } else { "order" }), "{text}");
    }
}

#[tokio::test]
async fn detailed_is_json_that_parses() {
    let bench = bench(r#"{"verbosity": "detailed"}"#);
    bench.console.export(&[batch(Signal::Traces, &["pay", "a\nb"])]).await.unwrap();
    let rows: Vec<serde_json::Value> =
        bench.paper.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&rows[0]["service"], &rows[1]["service"]), (&"pay".into(), &"a\nb".into()));
    assert_eq!(rows[0]["signal"], "traces");
}

#[tokio::test]
async fn lines_beyond_the_limit_are_counted_and_told() {
    let bench = bench(r#"{"verbosity": "normal", "max_rows_per_second": 2}"#);
    let rows = ["a", "b", "c", "d", "e"];
    bench.console.export(&[batch(Signal::Logs, &rows)]).await.unwrap();
    assert_eq!(
        bench.paper.text(),
        "logs service=a\nlogs service=b\n… 3 lines not shown (max_rows_per_second)\n"
    );
    bench.console.export(&[batch(Signal::Logs, &["f"])]).await.unwrap();
    assert_eq!(bench.paper.text().lines().count(), 3, "one note a second is enough");
    bench.clock.set(1_000);
    bench.console.export(&[batch(Signal::Logs, &["g"])]).await.unwrap();
    assert!(bench.paper.text().ends_with("… 1 line not shown (max_rows_per_second)\nlogs service=g\n"));
    bench.console.export(&[batch(Signal::Logs, &["h", "i"])]).await.unwrap();
    bench.console.stop().await;
    assert!(bench.paper.text().ends_with("logs service=h\n… 1 line not shown (max_rows_per_second)\n"));
    let metrics = bench.telemetry.encode();
    assert!(metrics.contains("weir_debug_hidden_lines_total{exporter=\"debug\"} 5"), "{metrics}");
}

#[tokio::test]
async fn a_flood_of_windows_does_not_hide_an_alarm() {
    let bench = bench(r#"{"verbosity": "summary", "max_rows_per_second": 1}"#);
    bench.console.export(&[window(0, &["a", "b", "c"])]).await.unwrap();
    bench.console.export(&[batch(Signal::Alarms, &["pay", "order"])]).await.unwrap();
    let text = bench.paper.text();
    assert!(text.contains("… 2 lines not shown") && text.contains("ALARM"), "{text}");
    assert!(text.ends_with("… 1 alarm not shown (max_rows_per_second)\n"), "{text}");
}

#[tokio::test]
async fn the_summary_counts_events_without_writing_until_the_next_window() {
    let bench = bench(r#"{"verbosity": "summary"}"#);
    bench.console.export(&[batch(Signal::Traces, &["a"; 1204])]).await.unwrap();
    bench.console.export(&[batch(Signal::Logs, &["a", "b"])]).await.unwrap();
    assert_eq!(bench.paper.text(), "");
    bench.console.export(&[window(5_000, &["pay"])]).await.unwrap();
    let text = bench.paper.text();
    assert!(text.starts_with("1,204 spans, 2 log records stored\nwindow "), "{text}");
    assert!(text.lines().nth(2).unwrap().starts_with("00:00:05  pay "), "{text}");
}

#[tokio::test]
async fn after_nobody_reads_any_more_it_is_silent_and_everything_is_taken() {
    for error in [io::Error::from(ErrorKind::BrokenPipe), io::Error::from_raw_os_error(EIO)] {
        let bench = bench(r#"{"verbosity": "normal"}"#);
        bench.paper.fail_with(error);
        let rows = vec![batch(Signal::Traces, &["a"]); 3];
        for batch in &rows {
            bench.console.export(std::slice::from_ref(batch)).await.unwrap();
        }
        bench.console.stop().await;
        assert_eq!(bench.paper.attempts(), 1, "not tried again");
        check_exporter_contract(Box::new(bench.console), rows).await;
    }
}

#[tokio::test]
async fn a_full_disk_behind_standard_output_is_tried_again() {
    let bench = bench("{}");
    bench.paper.fail_with(ErrorKind::StorageFull.into());
    let rows = [batch(Signal::Traces, &["a"])];
    let error = bench.console.export(&rows).await.unwrap_err();
    assert!(matches!(error, ExportError::Retryable { .. }), "{error}");
    bench.console.export(&rows).await.unwrap();
    assert_eq!(bench.paper.text(), "traces  1 row\n");
}
