//! The receiver as a whole: what it sends, and the rules for receivers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prost::Message;
use tokio_util::sync::CancellationToken;
use weir_component::testkit::{RecordedLane, RecordingLanes, context};
use weir_component::{
    Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes, ReceiverHost, Settings, Watermark,
};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::{Demand, Payload, Projection, SharedProjection};
use weir_proto::skywalking::{SegmentObject, SpanType};

use crate::FACTORY;
use crate::config::{self, Config};
use crate::receiver::Pool;

const LONG: Duration = Duration::from_secs(30);
const START: &str = "start_time: 1767225600000";

/// Calls `use_settings` with the settings of the generator in a configuration file.
fn with_settings<T>(
    text: &str,
    use_settings: impl FnOnce(Settings<'_>) -> Result<T, Diagnostics>,
) -> Result<T, Diagnostics> {
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None)?;
    let topology = Topology::read(&document)?;
    use_settings(Settings::new(&document, &topology.receivers[0]))
}

fn file(settings: &str) -> String {
    let lines: String = settings.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "receivers:\n  generator:\n{lines}exporters:\n  nop:\nservice:\n  pipelines:\n    main:\n      receivers: [generator]\n      exporters: [nop]\n"
    )
}

fn config_of(settings: &str) -> Config {
    with_settings(&file(settings), config::read).unwrap_or_else(|why| panic!("{why}"))
}

fn segments(settings: &str, count: u64) -> Vec<SegmentObject> {
    let pool = Pool::new(&config_of(settings), 1_767_225_600_000).unwrap();
    let encoded = pool.encode(0, 0..count, 1_767_225_600_000);
    encoded
        .records
        .iter()
        .map(|range| decode(&encoded.arena[range.start as usize..range.end as usize]))
        .collect()
}

fn decode(bytes: &[u8]) -> SegmentObject {
    SegmentObject::decode(bytes).unwrap()
}

/// Runs a generator until it ends by itself.
async fn run(settings: &str) -> RecordingLanes {
    let lanes = RecordingLanes::default();
    start(settings, &lanes, CancellationToken::new()).await.unwrap();
    lanes.check_contract();
    lanes
}

fn start(
    settings: &str,
    lanes: &(impl Lanes + Clone + 'static),
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let directory = tempfile::tempdir().unwrap();
    let context = context("generator", directory.path());
    let receiver =
        with_settings(&file(settings), |settings| (FACTORY.create)(settings, context.clone())).unwrap();
    let projection = SharedProjection::new(Demand::everything());
    let host = ReceiverHost { context, projection, lanes: Arc::new(lanes.clone()) };
    tokio::spawn(async move { receiver.run(host, stop).await.unwrap() })
}

/// The segments that lanes saw, lane by lane.
fn records(lanes: &RecordingLanes) -> Vec<Vec<Vec<u8>>> {
    lanes.lanes().iter().map(|lane| lane.batches().flat_map(records_of).collect()).collect()
}

fn records_of(batch: &weir_pdata::EventBatch) -> Vec<Vec<u8>> {
    let Payload::Encoded(encoded) = &batch.payload else { panic!("the generator does not decode") };
    let of = |range: &std::ops::Range<u32>| encoded.arena[range.start as usize..range.end as usize].to_vec();
    encoded.records.iter().map(of).collect()
}

#[test]
fn a_default_segment_has_16_spans_64_tags_and_about_4307_bytes() {
    for segment in segments("error_rate: 0", 400) {
        assert_eq!(segment.spans.len(), 16);
        assert_eq!(segment.spans.iter().map(|span| span.tags.len()).sum::<usize>(), 64);
        let size = segment.encoded_len();
        assert!((4178..=4436).contains(&size), "{size} is not within 3 % of 4307");
    }
}

#[test]
fn a_segment_has_the_form_that_is_asked_for() {
    for (spans, tags, bytes) in
        [(1, 0, 200), (1, 30, 3_000), (6, 20, 1_800), (12, 10, 6_000), (40, 200, 20_000)]
    {
        let settings = format!("error_rate: 0\nsegment: {{spans: {spans}, tags: {tags}, bytes: {bytes}}}");
        for segment in segments(&settings, 24) {
            assert_eq!(segment.spans.len(), spans);
            assert_eq!(segment.spans.iter().map(|span| span.tags.len()).sum::<usize>(), tags);
            if tags > 0 {
                let size = segment.encoded_len() as f64;
                assert!((size / f64::from(bytes) - 1.0).abs() < 0.03, "{spans} {tags} {bytes}: {size}");
            }
        }
    }
}

#[test]
fn a_segment_without_room_for_its_spans_is_larger_than_asked_for() {
    assert!(segments("segment: {bytes: 100}", 1)[0].encoded_len() > 100);
}

#[test]
fn every_segment_has_one_entry_span_of_an_operation_of_its_service() {
    let mut seen = std::collections::BTreeMap::new();
    for segment in segments("error_rate: 0.2", 600) {
        let entries: Vec<_> =
            segment.spans.iter().filter(|span| span.span_type == SpanType::Entry as i32).collect();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].span_id, entries[0].parent_span_id), (0, -1));
        let before = seen.insert(entries[0].operation_name.clone(), segment.service.clone());
        assert!(before.is_none_or(|service| service == segment.service));
        for child in segment.spans.iter().filter(|span| span.span_id > 0) {
            assert_eq!(child.parent_span_id, 0);
            assert!(entries[0].start_time <= child.start_time && child.start_time <= child.end_time);
            assert!(child.end_time <= entries[0].end_time);
        }
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
}

#[test]
fn the_segments_of_a_trace_refer_to_each_other() {
    let all = segments("services: 3", 300);
    for trace in all.chunks(3) {
        for pair in trace.windows(2) {
            let (caller, callee) = (&pair[0], &pair[1]);
            let reference = &callee.spans.last().unwrap().refs[0];
            assert_eq!(reference.trace_id, caller.trace_id);
            assert_eq!(callee.trace_id, caller.trace_id);
            assert_eq!(reference.parent_trace_segment_id, caller.trace_segment_id);
            assert_eq!(reference.parent_service, caller.service);
            assert_eq!(reference.parent_service_instance, caller.service_instance);
            assert_eq!(reference.parent_endpoint, caller.spans.last().unwrap().operation_name);
            assert!(caller.spans.iter().any(|span| span.span_id == reference.parent_span_id));
        }
        assert!(trace[0].spans.iter().all(|span| span.refs.is_empty()));
    }
    let distinct: std::collections::BTreeSet<_> = all.iter().map(|one| &one.trace_segment_id).collect();
    assert_eq!(distinct.len(), 300);
}

#[test]
fn a_failing_segment_has_two_error_spans_a_log_and_status_500() {
    for segment in segments("error_rate: 1", 30) {
        let failed: Vec<_> = segment.spans.iter().filter(|span| span.is_error).collect();
        assert_eq!(failed.len(), 2);
        let log = &failed[0].logs[0];
        assert_eq!(log.time, failed[0].end_time);
        assert!(log.data.iter().any(|field| field.key == "stack"));
        assert!(failed[1].tags.iter().any(|tag| (&*tag.key, &*tag.value) == ("http.status_code", "500")));
    }
}

#[test]
fn segments_are_deterministic_by_seed() {
    assert_eq!(segments("seed: 5", 50), segments("seed: 5", 50));
    assert_ne!(segments("seed: 5", 50), segments("seed: 6", 50));
}

#[test]
fn event_times_are_out_of_order_by_the_disorder_at_most() {
    let ends: Vec<i64> = segments("disorder: 2s\nrate: 1000", 5_000)
        .iter()
        .map(|one| one.spans.last().unwrap().end_time)
        .collect();
    let mut latest = i64::MIN;
    let mut furthest = 0;
    for end in ends {
        latest = latest.max(end);
        furthest = furthest.max(latest - end);
    }
    assert!((1_500..=2_000).contains(&furthest), "{furthest}");
}

#[test]
fn weirs_own_decoder_takes_every_segment() {
    let pool = Pool::new(&config_of("error_rate: 0.3"), 0).unwrap();
    let encoded = pool.encode(0, 0..500, 0);
    let decoded = weir_pdata::decode(&encoded, &Projection::everything());
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected.first());
    assert_eq!((decoded.columns.num_rows(), decoded.empty), (8_000, 0));
}

#[tokio::test]
async fn after_the_last_segment_come_the_end_of_time_and_drain() {
    let lanes = run("rate: 5000\ncount: 500").await;
    let lane = &lanes.lanes()[0];
    assert_eq!(records(&lanes)[0].len(), 500);
    let [.., last, drain] = &*lane.messages else { panic!("too few messages") };
    assert!(matches!(last, LaneMessage::Watermark(Watermark::MAX)));
    assert!(matches!(drain, LaneMessage::Drain));
    assert!(lane.closed);
    assert_eq!(&*lane.name, "segments/0");
}

#[tokio::test]
async fn two_runs_send_the_same_segments_in_the_same_batches() {
    let settings = format!("rate: 20000\ncount: 3000\nbatch: 100\nseed: 9\n{START}");
    let (one, two) = (run(&settings).await, run(&settings).await);
    let batches = |lanes: &RecordingLanes| -> Vec<Vec<Vec<u8>>> {
        lanes.lanes()[0].batches().map(records_of).collect()
    };
    assert_eq!(batches(&one), batches(&two));
    assert!(batches(&one).iter().all(|batch| batch.len() <= 100));
}

#[tokio::test]
async fn lanes_share_the_segments_of_one_run() {
    let one = run(&format!("rate: unlimited\ncount: 1000\n{START}")).await;
    let three = run(&format!("rate: unlimited\ncount: 1000\nlanes: 3\n{START}")).await;
    let per_lane = records(&three);
    assert_eq!(per_lane.iter().map(Vec::len).collect::<Vec<_>>(), [334, 333, 333]);
    let mut together: Vec<Vec<u8>> = per_lane.into_iter().flatten().collect();
    let mut alone = records(&one).remove(0);
    together.sort();
    alone.sort();
    assert!(together == alone, "the segments differ");
}

#[tokio::test]
async fn positions_count_the_lanes_own_segments() {
    let lanes = run("rate: unlimited\ncount: 600\nbatch: 256").await;
    let positions: Vec<_> = lanes.lanes()[0].batches().map(|batch| batch.origin.positions.clone()).collect();
    assert_eq!(positions, [0..256, 256..512, 512..600]);
    assert_eq!(&*lanes.lanes()[0].batches().next().unwrap().origin.lane, "generator/segments/0");
}

#[tokio::test]
async fn when_stopped_a_lane_drains_without_the_end_of_time() {
    for rate in ["unlimited", "2000"] {
        let (lanes, stop) = (RecordingLanes::default(), CancellationToken::new());
        let running =
            start(&format!("rate: {rate}\nsegment: {{spans: 1, tags: 1, bytes: 100}}"), &lanes, stop.clone());
        lanes.wait_until(LONG, |lanes| lanes.first().is_some_and(|lane| lane.batches().count() > 2)).await;
        stop.cancel();
        tokio::time::timeout(LONG, running).await.unwrap().unwrap();
        lanes.check_contract();
        let lane = &lanes.lanes()[0];
        assert!(matches!(lane.messages.last(), Some(LaneMessage::Drain)));
        assert!(!lane.messages.iter().any(|message| matches!(message, LaneMessage::Watermark(_))));
    }
}

#[tokio::test]
async fn after_its_duration_it_ends_as_if_complete() {
    for rate in ["unlimited", "100", "0.001"] {
        let settings = format!("rate: {rate}\nduration: 200ms\nsegment: {{spans: 1, tags: 1, bytes: 100}}");
        let lanes = tokio::time::timeout(LONG, run(&settings)).await.unwrap();
        let messages = &lanes.lanes()[0].messages;
        assert!(messages.iter().any(|message| matches!(message, LaneMessage::Watermark(Watermark::MAX))));
    }
}

#[tokio::test]
async fn a_quiet_lane_says_that_it_is_idle() {
    let (lanes, stop) = (RecordingLanes::default(), CancellationToken::new());
    let running = start("rate: 0.01", &lanes, stop.clone());
    let idle =
        |lane: &RecordedLane| lane.messages.iter().any(|message| matches!(message, LaneMessage::Idle(_)));
    lanes.wait_until(LONG, |lanes| lanes.first().is_some_and(idle)).await;
    stop.cancel();
    running.await.unwrap();
}

/// Lanes whose pipeline has stopped.
#[derive(Clone)]
struct Closed;

#[async_trait]
impl LaneSink for Closed {
    async fn send(&mut self, _message: LaneMessage) -> Result<(), LaneClosed> {
        Err(LaneClosed)
    }
}

impl Lanes for Closed {
    fn open(&self, _spec: LaneSpec) -> Lane {
        Lane::new(LaneId(0), Box::new(Closed))
    }
}

#[tokio::test]
async fn when_the_pipeline_has_stopped_the_generator_ends() {
    let running = start("rate: unlimited\nlanes: 2", &Closed, CancellationToken::new());
    tokio::time::timeout(LONG, running).await.unwrap().unwrap();
}

#[test]
fn the_quickstart_begins_its_first_incident_seconds_after_the_start_and_ends_it() {
    let text = include_str!("../../../examples/quickstart.yaml");
    let config = with_settings(text, config::read).unwrap_or_else(|why| panic!("{why}"));
    let phase = |second: i64| config.incidents[0].is_on(second * 1_000);
    let first = (0..60).find(|second| phase(*second)).unwrap();
    let over = (first..60).find(|second| !phase(*second)).unwrap();
    assert!((2..15).contains(&first) && over < 40, "from {first} s to {over} s");
}

#[test]
fn the_messages_say_what_is_wrong() {
    let message = |settings: &str| {
        let found = with_settings(&file(settings), config::read).unwrap_err();
        found.iter().map(|one| one.message.clone()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        message("rate: fast\nlanes: 0"),
        "`fast` is not a rate; write a number of segments per second, or `unlimited`"
    );
    assert_eq!(message("lanes: 0\nerror_rate: 2"), "must be from 0 to 1; must be from 1 to 256");
    assert_eq!(
        message("services: [web, orders]\nincidents: [{service: order}]"),
        "`order` is not one of the services; did you mean `orders`?"
    );
    assert_eq!(
        message("services: web"),
        "`web` is not a number; write a number from 1, or a list such as `[web]`"
    );
}
