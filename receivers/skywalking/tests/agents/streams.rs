//! Streams of messages: each message by itself, however the others are, and streams that stay open.
use std::sync::Arc;

use async_trait::async_trait;
use prost::Message;
use tokio::net::TcpStream;
use weir_component::testkit::RecordingLanes;
use weir_component::{Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes};
use weir_fuzz::change::Random;
use weir_pdata::{Format, Projection};
use weir_proto::skywalking::meter_data::Metric;
use weir_proto::skywalking::{MeterData, MeterDataCollection, MeterSingleValue, SegmentCollection};

use crate::malformed::{compressed, gzip};
use crate::support::{LONG, frames, segment, start, start_on};

const SEGMENTS: &str = "/skywalking.v3.TraceSegmentReportService/collect";
const COLLECTION: &str = "/skywalking.v3.TraceSegmentReportService/collectInSync";
const METERS: &str = "/skywalking.v3.MeterReportService/collect";
/// Bytes that are no protobuf: a field of a length that does not come.
const BROKEN: &[u8] = b"\x0a\x7fx";

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

fn meter(name: &str, service: &str) -> MeterData {
    let value = MeterSingleValue { name: name.to_owned(), value: 1.0, ..MeterSingleValue::default() };
    MeterData {
        service: service.to_owned(),
        metric: Some(Metric::SingleValue(value)),
        ..MeterData::default()
    }
}

/// A message that takes longer to unpack than others wait for it, in few bytes.
fn slow_to_unpack() -> (Vec<u8>, Vec<u8>) {
    let mixed: String =
        (0..60_000_u64).map(|at| format!("{:x}", at.wrapping_mul(0x9e37_79b9_7f4a))).collect();
    let message = segment(&format!("{mixed}{}", "x".repeat(32 << 20))).encode_to_vec();
    (gzip(&message), message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_takes_long_is_not_lost_when_those_before_it_go_down_the_lane() {
    let running = start("").await;
    let (packed, plain) = slow_to_unpack();
    assert!(packed.len() > 256 << 10, "{} bytes", packed.len());
    let call = running.open(SEGMENTS, &[("grpc-encoding", "gzip")]).await;
    for body in [frames(&[segment("a")]), compressed(&packed), frames(&[segment("z")])] {
        call.send(body);
    }
    let (answer, got) = running.delivered(call.end()).await;
    assert_eq!(answer, (0, String::new()));
    let records: Vec<Vec<u8>> = got.into_iter().flat_map(|(_, _, records)| records).collect();
    let expected = [segment("a").encode_to_vec(), plain, segment("z").encode_to_vec()];
    assert!(records == expected, "{} records of 3 came, and the call was answered OK", records.len());
    running.finish().await;
}

/// Streams of messages of any size, compressed or not, in pieces of any size, with pauses, and with less room
/// than they take together: every message comes once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_stream_comes_once_however_it_is_cut() {
    let running = start("max_message_bytes: 256KiB, queue: {max_bytes: 320KiB}, answer_timeout: 10s").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = u64::try_from(now.as_nanos()).unwrap();
    let mut random = Random(seed);
    for _ in 0..12 {
        let (encoding, pack) = match random.below(2) {
            0 => ("gzip", gzip as fn(&[u8]) -> Vec<u8>),
            _ => ("zstd", zstd_of as _),
        };
        let (mut body, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..random.below(40) {
            let length = [0, 10, 1_000, 70_000, 200_000][random.below(5)];
            let id: String =
                (0..random.below(length + 1)).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
            let message = segment(&id).encode_to_vec();
            body.extend(if random.below(3) == 0 { compressed(&pack(&message)) } else { frame(&message) });
            expected.push(message);
        }
        let call = running.open(SEGMENTS, &[("grpc-encoding", encoding)]).await;
        let sending = async {
            let mut rest = bytes::Bytes::from(body);
            while !rest.is_empty() {
                let most = [7, 1_000, 100_000][random.below(3)];
                call.send(rest.split_to((1 + random.below(most)).min(rest.len())));
                if random.below(20) == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                }
            }
            call.end().await
        };
        let (answer, got) = running.delivered(sending).await;
        assert_eq!(answer, (0, String::new()), "seed {seed}");
        let records: Vec<Vec<u8>> = got.into_iter().flat_map(|(_, _, records)| records).collect();
        assert!(records == expected, "seed {seed}: {} records of {}", records.len(), expected.len());
    }
    running.until("nothing has room", |running| running.waiting() == 0).await;
    running.finish().await;
}

#[tokio::test]
async fn messages_that_came_whole_are_delivered_though_a_later_one_is_broken() {
    let running = start("max_message_bytes: 64KiB, read_timeout: 300ms").await;
    let good = [segment("a"), segment("b")];
    let expected: Vec<Vec<u8>> = good.iter().map(Message::encode_to_vec).collect();
    let bomb = compressed(&gzip(&vec![0; 1 << 20]));
    for (bad, status) in [
        (b"\x07\0\0\0\x01x".to_vec(), 3),
        (b"\0\0\0\0\x09short".to_vec(), 3),
        (compressed(b"no gzip"), 3),
        (b"\0\xff\xff\xff\xff".to_vec(), 8),
        (bomb, 8),
    ] {
        let body = [frames(&good), bad].concat();
        let call = running.call(SEGMENTS, &[("grpc-encoding", "gzip")], body);
        let (answer, got) = running.delivered(call).await;
        assert_eq!(answer.0, status, "{}", answer.1);
        let records: Vec<Vec<u8>> = got.into_iter().flat_map(|(_, _, records)| records).collect();
        assert_eq!(records, expected, "{}", answer.1);
    }
    let mut late = running.open(SEGMENTS, &[]).await;
    late.send([frames(&good), b"\0\0\0\0\x09short".to_vec()].concat());
    let (answer, got) = running.delivered(late.answer()).await;
    assert_eq!((answer.0, &got[0].2), (4, &expected), "the rest does not come");
    let gone = running.open(SEGMENTS, &[]).await;
    gone.send(frames(&good));
    running.until("the messages are read", |running| running.waiting() > 0).await;
    drop(gone);
    assert_eq!(running.records(2).await, expected, "the agent has gone");
    running.finish().await;
}

#[tokio::test]
async fn segments_in_a_collection_that_cannot_be_read_are_a_dead_letter() {
    let running = start("").await;
    let good = SegmentCollection { segments: vec![segment("a")] };
    let body = [frames(std::slice::from_ref(&good)), frame(BROKEN), frames(&[good])].concat();
    let (answer, got) = running.delivered(running.call(COLLECTION, &[], body)).await;
    assert_eq!(answer, (0, String::new()), "it would be refused again");
    assert_eq!(got.iter().map(|(_, _, records)| records.len()).sum::<usize>(), 2);
    assert_eq!(running.metric("weir_receiver_rejected_records_total{receiver=\"skywalking\"}"), 1);
    let dead = std::fs::read_to_string(running.directory.path().join("skywalking.jsonl")).unwrap();
    let dead: serde_json::Value = serde_json::from_str(&dead).unwrap();
    assert_eq!(dead["format"], "SkyWalkingSegmentCollection", "{dead}");
    assert_eq!(dead["data"], "Cn94", "{dead}");
    running.finish().await;
}

#[tokio::test]
async fn a_meter_that_cannot_be_read_takes_no_others_with_it() {
    let running = start("").await;
    let (first, last) = (meter("a", "shop"), meter("b", ""));
    let body = [frames(&[first]), frame(BROKEN), frames(&[last])].concat();
    let (answer, got) = running.delivered(running.call(METERS, &[], body)).await;
    assert_eq!(answer, (0, String::new()));
    let records: Vec<Vec<u8>> = got.into_iter().flat_map(|(_, _, records)| records).collect();
    let (rows, rejected) = services(&records);
    assert_eq!(rows, ["shop", "shop"], "the last meter has no service of its own");
    assert_eq!(rejected, 1);
    running.finish().await;
}

/// The services of these meters, row by row, and how many records cannot be decoded.
fn services(records: &[Vec<u8>]) -> (Vec<String>, usize) {
    let mut arena = Vec::new();
    let mut ranges = Vec::new();
    for record in records {
        let start = u32::try_from(arena.len()).unwrap();
        arena.extend_from_slice(record);
        ranges.push(start..u32::try_from(arena.len()).unwrap());
    }
    let encoded = weir_pdata::Encoded {
        format: Format::SkyWalkingMeters,
        arena: arena.into(),
        records: ranges.into(),
        positions: None,
        arrivals: None,
        written: None,
        items: weir_pdata::ItemCount::default(),
    };
    let decoded = weir_pdata::decode(&encoded, &Projection::everything());
    let mut lines = Vec::new();
    weir_pdata::json::write_rows(&decoded.columns, weir_pdata::Signal::Metrics, &mut lines);
    let service = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["service"].as_str().unwrap_or_default().to_owned()
    };
    (String::from_utf8(lines).unwrap().lines().map(service).collect(), decoded.rejected.len())
}

#[tokio::test]
async fn meters_of_a_stream_that_stays_open_are_delivered_and_keep_no_room() {
    let running = start("").await;
    let call = running.open(METERS, &[]).await;
    let first = MeterDataCollection { meter_data: vec![meter("a", "shop")] }.encode_to_vec();
    call.send(frames(&[meter("a", "shop")]));
    assert_eq!(running.records(1).await, [first]);
    call.send(frames(&[meter("b", "")]));
    let later = running.records(1).await;
    assert_eq!(services(&later), (vec!["shop".to_owned()], 0), "it was said in the first message");
    running.until("only the call itself has room", |running| running.waiting() == 1024).await;
    assert_eq!(call.end().await, (0, String::new()));
    running.until("nothing has", |running| running.waiting() == 0).await;
    running.finish().await;
}

#[tokio::test]
async fn messages_that_keep_coming_do_not_keep_each_other_waiting() {
    let running = start("").await;
    let call = running.open(SEGMENTS, &[]).await;
    let mut sent = 0;
    while running.take().is_empty() {
        assert!(sent < 20, "nothing goes down the lane while messages come");
        call.send(frames(&[segment(&sent.to_string())]));
        sent += 1;
        // Less than a message waits for further ones.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (answer, _) = running.delivered(call.end()).await;
    assert_eq!(answer, (0, String::new()));
    running.finish().await;
}

#[tokio::test]
async fn an_announced_length_takes_no_room_before_the_bytes_come() {
    let running = start("").await;
    let call = running.open(SEGMENTS, &[]).await;
    call.send(&b"\0\x03\0\0\0only this"[..]);
    running.until("the call is known", |running| running.waiting() > 0).await;
    assert!(running.waiting() < 128 << 10, "{} bytes for 14", running.waiting());
    drop(call);
    running.until("the room is free", |running| running.waiting() == 0).await;
    running.finish().await;
}

#[tokio::test]
async fn messages_that_have_all_come_in_part_do_not_keep_each_other_waiting() {
    let running = start("max_message_bytes: 64KiB, queue: {max_bytes: 128KiB}, answer_timeout: 5s").await;
    let message = frames(&[segment(&"x".repeat(60 << 10))]);
    let mut open = Vec::new();
    for _ in 0..6 {
        let call = running.open(SEGMENTS, &[]).await;
        call.send(message[..10 << 10].to_vec());
        open.push(call);
    }
    running.until("there is no room for all", |running| running.waiting() > 120 << 10).await;
    for call in &open {
        call.send(message[10 << 10..].to_vec());
    }
    let ends = async {
        let mut answers = Vec::new();
        for call in open {
            answers.push(call.end().await.0);
        }
        answers
    };
    let (answers, got) = running.delivered(ends).await;
    assert_eq!(answers, [0; 6]);
    assert_eq!(got.iter().map(|(_, _, records)| records.len()).sum::<usize>(), 6);
    running.finish().await;
}

#[tokio::test]
async fn calls_that_send_nothing_are_bounded_too() {
    let running = start("max_message_bytes: 4KiB, queue: {max_bytes: 8KiB}, answer_timeout: 300ms").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(running.open(SEGMENTS, &[]).await);
    }
    running.until("they are known", |running| running.waiting() >= 8 << 10).await;
    let mut further = Vec::new();
    for _ in 0..4 {
        further.push(running.open(SEGMENTS, &[]).await);
    }
    let mut refused = 0;
    for mut call in further {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(2), call.answer()).await;
        refused += usize::from(answer.is_ok_and(|answer| answer.0 == 8));
    }
    assert!(refused > 0, "twelve calls took no more than {} bytes", running.waiting());
    drop(open);
    running.finish().await;
}

#[tokio::test]
async fn a_stream_whose_frames_never_end_with_a_message_ends_when_weir_does() {
    let running = start("").await;
    let mut call = running.open(SEGMENTS, &[]).await;
    let body = frames(&[segment("a"), segment("b")]);
    let (first, rest) = body.split_at(body.len() / 2 + 3);
    let (begin, middle) = (first.to_vec(), [rest, first].concat());
    call.send(begin);
    let going_on = async {
        let mut sent = 0;
        while sent < 3 || !running.stop.is_cancelled() || sent < 100 {
            if sent == 3 {
                running.stop.cancel();
            }
            if !call.try_send(middle.clone()) {
                break;
            }
            sent += 1;
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    };
    let ((), got) = running.delivered(going_on).await;
    let (answer, more) =
        running.delivered(tokio::time::timeout(std::time::Duration::from_secs(2), call.answer())).await;
    assert_eq!(answer.expect("the stream goes on though Weir ends").0, 14);
    let count = got.iter().chain(&more).map(|(_, _, records)| records.len()).sum::<usize>();
    assert!((1..40).contains(&count), "{count} messages were taken");
    running.finish().await;
}

#[tokio::test]
async fn a_message_of_more_records_than_memory_is_refused() {
    let running = start("max_message_bytes: 4KiB").await;
    for (count, grpc, http) in [(64, 0, 200), (65, 8, 413)] {
        // An empty segment has two bytes.
        let body = frame(&[0x0a, 0].repeat(count));
        let (answer, _) = running.delivered(running.call(COLLECTION, &[], body)).await;
        assert_eq!(answer.0, grpc, "{count}: {}", answer.1);
        let body = format!("[{}]", vec!["{}"; count].join(","));
        let (answer, _) = running.delivered(running.post("/v3/segments", &body)).await;
        assert_eq!(answer.0, http, "{count}: {}", answer.1);
    }
    running.until("nothing has room", |running| running.waiting() == 0).await;
    running.finish().await;
}

/// Lanes that take nothing before they are opened.
struct Gated {
    open: Arc<tokio::sync::Semaphore>,
    behind: RecordingLanes,
}

struct Gate {
    open: Arc<tokio::sync::Semaphore>,
    behind: Lane,
}

#[async_trait]
impl LaneSink for Gate {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        if matches!(message, LaneMessage::Batch(_)) {
            drop(self.open.acquire().await);
        }
        self.behind.send(message).await
    }
}

impl Lanes for Gated {
    fn open(&self, spec: LaneSpec) -> Lane {
        let (open, behind) = (self.open.clone(), self.behind.open(spec));
        Lane::new(LaneId(0), Box::new(Gate { open, behind }))
    }
}

#[tokio::test]
async fn a_lane_that_is_behind_takes_nothing_of_the_time_that_an_agent_has_for_a_message() {
    let (open, lanes) = (Arc::new(tokio::sync::Semaphore::new(0)), RecordingLanes::default());
    let below = Arc::new(Gated { open: open.clone(), behind: lanes.clone() });
    let running = start_on(below, lanes, "", "read_timeout: 1s").await;
    // More reports than wait for a lane.
    let mut waiting = Vec::new();
    for at in 0..70 {
        let call = running.open(SEGMENTS, &[]).await;
        call.send(frames(&[segment(&at.to_string())]));
        waiting.push(call);
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let call = running.open(SEGMENTS, &[]).await;
    call.send(frames(&[segment("a")]));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    // More than comes before it is read.
    let large = frames(&[segment(&"x".repeat(3 << 20))]);
    let (begin, rest) = large.split_at(1000);
    call.send(begin.to_vec());
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    call.send(rest.to_vec());
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    open.add_permits(1);
    let (answer, _) = running.delivered(call.end()).await;
    assert_eq!(answer, (0, String::new()));
    for call in waiting {
        assert_eq!(running.delivered(call.end()).await.0.0, 0);
    }
    running.finish().await;
}

/// Pipelines that have stopped.
struct Closed;

#[async_trait]
impl LaneSink for Closed {
    async fn send(&mut self, _: LaneMessage) -> Result<(), LaneClosed> {
        Err(LaneClosed)
    }
}

impl Lanes for Closed {
    fn open(&self, _: LaneSpec) -> Lane {
        Lane::new(LaneId(0), Box::new(Closed))
    }
}

#[tokio::test]
async fn only_what_a_lane_has_taken_counts_as_received() {
    let running = start_on(Arc::new(Closed), RecordingLanes::default(), "", "answer_timeout: 5s").await;
    let call = running.open(SEGMENTS, &[]).await;
    call.send(frames(&[segment("a")]));
    running.until("it ends", |running| running.task.is_finished()).await;
    assert_eq!(running.metric("weir_receiver_records_total{receiver=\"skywalking\"}"), 0);
    assert_eq!(running.metric("weir_receiver_bytes_total{receiver=\"skywalking\"}"), 0);
}

#[tokio::test]
async fn requests_of_another_protocol_are_counted() {
    let running = start("").await;
    let stream = TcpStream::connect(("127.0.0.1", running.grpc)).await.unwrap();
    let headers = [("content-type", "text/plain")];
    let answer = crate::support::response_on(stream, SEGMENTS, &headers).await;
    assert_eq!(answer.status(), 415);
    let counted =
        r#"weir_receiver_requests_total{receiver="skywalking",transport="grpc",outcome="unsupported"}"#;
    assert_eq!(running.metric(counted), 1);
    tokio::time::timeout(LONG, running.finish()).await.unwrap();
}
