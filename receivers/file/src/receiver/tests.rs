//! The receiver as its lanes see it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::*;
use tokio::task::JoinHandle;
use weir_component::testkit::{RecordingLanes, context};
use weir_pdata::{Demand, Signal};

const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    folder: tempfile::TempDir,
    lanes: RecordingLanes,
    stop: CancellationToken,
    context: Context,
}

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let context = context("file", &folder.path().join("dead"));
    Bench { folder, lanes: RecordingLanes::default(), stop: CancellationToken::new(), context }
}

fn span(number: usize) -> String {
    format!(r#"{{"signal":"traces","time":{number},"service":"pay","attributes":{{"k":"v"}}}}"#)
}

impl Bench {
    fn write(&self, name: &str, lines: &[String]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path
    }

    fn start(&self, paths: &[&Path], more: &str) -> JoinHandle<Result<(), ReceiverError>> {
        self.start_with(paths, more, Demand::everything())
    }

    fn start_with(
        &self,
        paths: &[&Path],
        more: &str,
        demand: Demand,
    ) -> JoinHandle<Result<(), ReceiverError>> {
        let mut settings: serde_json::Value = serde_json::from_str(more).unwrap();
        settings["path"] = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let receiver = FileReceiver::new(serde_json::from_value(settings).unwrap(), self.context.clone());
        let host = ReceiverHost {
            context: self.context.clone(),
            projection: SharedProjection::new(demand),
            lanes: Arc::new(self.lanes.clone()),
        };
        tokio::spawn(Box::new(receiver).run(host, self.stop.clone()))
    }

    /// Signal, rows and line numbers of each batch of lane `lane`.
    fn batches(&self, lane: usize) -> Vec<(Signal, usize, std::ops::Range<i64>)> {
        let lanes = self.lanes.lanes();
        lanes[lane]
            .batches()
            .map(|batch| (batch.signal, batch.len(), batch.origin.positions.clone()))
            .collect()
    }

    fn dead_letters(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.folder.path().join("dead/file.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn is_end(messages: &[LaneMessage]) -> bool {
    matches!(messages, [.., LaneMessage::Watermark(Watermark::MAX), LaneMessage::Drain])
}

#[tokio::test]
async fn the_end_of_the_file_sends_the_last_watermark_and_drains() {
    let bench = bench();
    let path = bench.write("events.jsonl", &(0..5).map(span).collect::<Vec<_>>());
    bench.start(&[&path], r#"{"max_batch_rows": 2}"#).await.unwrap().unwrap();
    bench.lanes.check_contract();
    assert_eq!(
        bench.batches(0),
        [(Signal::Traces, 2, 1..3), (Signal::Traces, 2, 3..5), (Signal::Traces, 1, 5..6)]
    );
    let lanes = bench.lanes.lanes();
    assert!(is_end(&lanes[0].messages) && lanes[0].closed);
    assert_eq!(&*lanes[0].name, path.to_str().unwrap());
    let batch = lanes[0].batches().next().unwrap();
    assert_eq!(*batch.origin.lane, format!("file/{}", path.display()));
}

#[tokio::test]
async fn one_row_a_batch_makes_every_line_its_own_batch() {
    let bench = bench();
    let path = bench.write("events.jsonl", &(0..3).map(span).collect::<Vec<_>>());
    bench.start(&[&path], r#"{"max_batch_rows": 1}"#).await.unwrap().unwrap();
    assert_eq!(bench.batches(0).iter().map(|batch| batch.1).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn an_empty_file_ends_at_once() {
    let bench = bench();
    let path = bench.write("events.jsonl", &[]);
    bench.start(&[&path], "{}").await.unwrap().unwrap();
    assert!(is_end(&bench.lanes.lanes()[0].messages));
    assert_eq!(bench.batches(0), []);
}

#[tokio::test]
async fn bad_lines_are_counted_kept_and_skipped() {
    let bench = bench();
    let path = bench.folder.path().join("events.jsonl");
    let long = "x".repeat(5000);
    let (first, last) = (span(1), span(2));
    let lines = [first.as_bytes(), b"no JSON", b"\xff\xfe", long.as_bytes(), b"", last.as_bytes()];
    fs::write(&path, lines.join(&b'\n')).unwrap();
    bench.start(&[&path], r#"{"max_line_bytes": "4KiB"}"#).await.unwrap().unwrap();
    assert_eq!(bench.batches(0), [(Signal::Traces, 2, 1..7)]);
    let letters = bench.dead_letters();
    let lines: Vec<_> = letters.iter().map(|letter| letter["line"].as_i64().unwrap()).collect();
    assert_eq!(lines, [2, 3, 4]);
    assert_eq!(letters[0]["text"], "no JSON");
    assert_eq!(letters[0]["file"], path.to_str().unwrap());
    assert_eq!(letters[1]["data"], "//4=");
    assert_eq!((&letters[2]["bytes"], &letters[2]["truncated"]), (&5000.into(), &true.into()));
    assert!(letters[2]["reason"].as_str().unwrap().contains("max_line_bytes is 4096"));
    let metrics = bench.context.telemetry.encode();
    for (metric, count) in [("records", 6), ("rejected_records", 3), ("empty_records", 1)] {
        assert!(
            metrics.contains(&format!("weir_receiver_{metric}_total{{receiver=\"file\"}} {count}\n")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn only_what_is_read_is_decoded() {
    let bench = bench();
    let path = bench.write("events.jsonl", &[span(1)]);
    bench.start_with(&[&path], "{}", Demand::names(["service", "k"])).await.unwrap().unwrap();
    let batch = bench.lanes.take_batches().remove(0);
    let schema = batch.as_columns().unwrap().schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["service", "k"]);
}

#[tokio::test]
async fn missing_files_are_all_named_before_anything_is_read() {
    let bench = bench();
    let good = bench.write("good.jsonl", &[span(1)]);
    let (one, two) = (bench.folder.path().join("one"), bench.folder.path().join("two"));
    let error = bench.start(&[&good, &one, &two], "{}").await.unwrap().unwrap_err().to_string();
    for part in ["receiver file", one.to_str().unwrap(), two.to_str().unwrap(), "check `path`"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(bench.lanes.lanes().is_empty());
}

#[tokio::test]
async fn several_files_are_a_lane_each_in_the_order_of_the_paths() {
    let bench = bench();
    let first = bench.write("first.jsonl", &(0..3).map(span).collect::<Vec<_>>());
    let second = bench.write("second.jsonl", &[span(1)]);
    bench.start(&[&first, &second], "{}").await.unwrap().unwrap();
    bench.lanes.check_contract();
    assert_eq!(bench.batches(0), [(Signal::Traces, 3, 1..4)]);
    assert_eq!(bench.batches(1), [(Signal::Traces, 1, 1..2)]);
    assert!(bench.lanes.lanes().iter().all(|lane| is_end(&lane.messages)));
}

#[tokio::test]
async fn a_followed_file_gives_new_lines_says_when_it_is_quiet_and_drains_when_stopped() {
    let bench = bench();
    let path = bench.write("events.jsonl", &[span(1)]);
    let running = bench.start(&[&path], r#"{"follow": true}"#);
    let idle = |message: &LaneMessage| matches!(message, LaneMessage::Idle(idle) if *idle >= IDLE_REPORT);
    bench
        .lanes
        .wait_until(PATIENCE, |lanes| lanes.first().is_some_and(|lane| lane.messages.iter().any(idle)))
        .await;
    writeln!(fs::OpenOptions::new().append(true).open(&path).unwrap(), "{}", span(2)).unwrap();
    bench.lanes.wait_until(PATIENCE, |lanes| lanes[0].batches().count() == 2).await;
    bench.stop.cancel();
    running.await.unwrap().unwrap();
    bench.lanes.check_contract();
    let messages = bench.lanes.lanes()[0].messages.clone();
    assert!(
        matches!(messages[0], LaneMessage::Batch(_)) && matches!(messages.last(), Some(LaneMessage::Drain))
    );
    assert!(!messages.iter().any(|message| matches!(message, LaneMessage::Watermark(_))), "it has no end");
    assert_eq!(bench.batches(0)[1], (Signal::Traces, 1, 2..3));
}

#[tokio::test]
async fn a_receiver_that_is_stopped_before_it_begins_ends() {
    let bench = bench();
    let path = bench.write("events.jsonl", &[span(1)]);
    bench.stop.cancel();
    bench.start(&[&path], "{}").await.unwrap().unwrap();
    bench.lanes.check_contract();
}

#[tokio::test]
async fn when_the_pipeline_has_stopped_the_receiver_ends() {
    struct Closed;

    #[async_trait]
    impl weir_component::LaneSink for Closed {
        async fn send(&mut self, _: LaneMessage) -> Result<(), LaneClosed> {
            Err(LaneClosed)
        }
    }

    impl weir_component::Lanes for Closed {
        fn open(&self, _: LaneSpec) -> Lane {
            Lane::new(weir_component::LaneId(0), Box::new(Closed))
        }
    }

    let bench = bench();
    let path = bench.write("events.jsonl", &[span(1)]);
    for follow in [false, true] {
        let settings = serde_json::json!({"path": path, "follow": follow});
        let receiver = FileReceiver::new(serde_json::from_value(settings).unwrap(), bench.context.clone());
        let host = ReceiverHost {
            context: bench.context.clone(),
            projection: SharedProjection::new(Demand::everything()),
            lanes: Arc::new(Closed),
        };
        Box::new(receiver).run(host, bench.stop.clone()).await.unwrap();
    }
}

/// Lanes that are never ready.
struct HeldLanes(RecordingLanes, Arc<tokio::sync::Notify>);

struct Held(Lane, Arc<tokio::sync::Notify>);

#[async_trait]
impl weir_component::LaneSink for Held {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        self.0.send(message).await
    }

    async fn ready(&mut self) {
        self.1.notify_one();
        std::future::pending::<()>().await;
    }
}

impl weir_component::Lanes for HeldLanes {
    fn open(&self, spec: LaneSpec) -> Lane {
        let lane = self.0.open(spec);
        Lane::new(lane.id(), Box::new(Held(lane, self.1.clone())))
    }
}

#[tokio::test]
async fn a_lane_that_is_held_back_sends_nothing_and_stops() {
    let bench = bench();
    let path = bench.write("a", &[span(1)]);
    let settings = serde_json::json!({"path": [path.to_str().unwrap()]});
    let receiver = FileReceiver::new(serde_json::from_value(settings).unwrap(), bench.context.clone());
    let asked = Arc::new(tokio::sync::Notify::new());
    let host = ReceiverHost {
        context: bench.context.clone(),
        projection: SharedProjection::new(Demand::everything()),
        lanes: Arc::new(HeldLanes(bench.lanes.clone(), asked.clone())),
    };
    let running = tokio::spawn(Box::new(receiver).run(host, bench.stop.clone()));
    tokio::time::timeout(PATIENCE, asked.notified()).await.unwrap();
    bench.stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
    assert!(matches!(bench.lanes.lanes()[0].messages.as_slice(), [LaneMessage::Drain]));
}
