//! What must hold for any bytes: as a record of a topic of SkyWalking's agents, and as a body of their JSON.

use proptest::prelude::*;
use prost::Message;
use weir_fuzz::fuzz;
use weir_pdata::{Format, json};
use weir_proto::skywalking::*;

use super::{decoded, recorded, rows};

const FORMATS: [Format; 9] = [
    Format::SkyWalkingJvm,
    Format::SkyWalkingMeters,
    Format::SkyWalkingLog,
    Format::SkyWalkingLogJson,
    Format::SkyWalkingInstance,
    Format::SkyWalkingPing,
    Format::SkyWalkingSnapshot,
    Format::SkyWalkingAttachedEvent,
    Format::SkyWalkingEvent,
];

/// Any bytes at all, as every format.
pub fn fuzz_messages(data: &[u8]) {
    for format in FORMATS {
        let decoded = decoded(format, [data]);
        assert!(decoded.rejected.len() <= 1);
        assert!(decoded.rejected.is_empty() || decoded.columns.num_rows() == 0, "all of a record or nothing");
        rows(format, &decoded);
    }
    // What prost reads is read, and the other way round.
    let pairs = [
        (Format::SkyWalkingJvm, JvmMetricCollection::decode(data).is_ok()),
        (Format::SkyWalkingInstance, InstanceProperties::decode(data).is_ok()),
        (Format::SkyWalkingPing, InstancePingPkg::decode(data).is_ok()),
        (Format::SkyWalkingSnapshot, ThreadSnapshot::decode(data).is_ok()),
        (Format::SkyWalkingAttachedEvent, SpanAttachedEvent::decode(data).is_ok()),
        (Format::SkyWalkingEvent, Event::decode(data).is_ok()),
    ];
    for (format, is_ok) in pairs {
        let decoded = decoded(format, [data]);
        assert!(
            !decoded.escaped.is_empty() || decoded.rejected.is_empty() == is_ok,
            "{format:?}: {:?}",
            decoded.rejected
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_rejected(data in prop::collection::vec(any::<u8>(), 0..60)) {
        fuzz_messages(&data);
    }

    #[test]
    fn damaged_records_are_read_or_rejected(
        topic in prop::sample::select(vec!["metrics", "meters", "logs", "managements"]),
        record in any::<prop::sample::Index>(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        let records = recorded(&format!("skywalking-{topic}"));
        let mut bytes = record.get(&records).clone();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_messages(&bytes);
        fuzz_messages(&bytes[..cut.index(bytes.len())]);
    }
}

/// A body is refused, or is messages that are decoded.
fn body_of_json(body: &[u8]) {
    fn bytes(messages: &[impl Message]) -> Vec<Vec<u8>> {
        messages.iter().map(Message::encode_to_vec).collect()
    }
    let read = [
        (Format::SkyWalkingSegment, json::segments(body).map(|all| bytes(&all))),
        (Format::SkyWalkingLog, json::log_data(body).map(|all| bytes(&all))),
        (Format::SkyWalkingInstance, json::instance_properties(body).map(|all| bytes(&all))),
        (Format::SkyWalkingPing, json::instance_pings(body).map(|all| bytes(&all))),
    ];
    for (format, messages) in read {
        for message in messages.unwrap_or_default() {
            let decoded = decoded(format, [&*message]);
            assert!(decoded.rejected.len() <= 1);
            rows(format, &decoded);
        }
    }
}

#[test]
fn fuzz_skywalking_messages() {
    let topics = ["metrics", "meters", "logs", "managements"];
    let records = topics.iter().flat_map(|topic| recorded(&format!("skywalking-{topic}")));
    let mut seeds: Vec<Vec<u8>> = records.filter(|record| record.len() < 4096).step_by(7).collect();
    let snapshot = ThreadSnapshot { task_id: "t".into(), trace_segment_id: "s".into(), ..Default::default() };
    let event = Event { uuid: "u".into(), name: "n".into(), layer: "GENERAL".into(), ..Default::default() };
    seeds.extend([snapshot.encode_to_vec(), event.encode_to_vec(), b"[{\"service\":\"s\"}]".to_vec()]);
    fuzz("skywalking_messages", &seeds, &[], fuzz_messages);
}

#[test]
fn fuzz_skywalking_json() {
    let seeds = [
        r#"[{"traceId":"t","traceSegmentId":"s","service":"pay","serviceInstance":"i","spans":[{"spanId":0,"parentSpanId":-1,
            "startTime":1700000000000,"endTime":"1700000000001","refs":[{"traceId":"t","parentSpanId":1}],"operationName":"/",
            "spanType":"Entry","spanLayer":"Http","componentId":1,"isError":false,"tags":[{"key":"a","value":"b"}],
            "logs":[{"time":1,"data":[{"key":"event","value":"error"}]}]}]}]"#,
        r#"[{"timestamp":"1700000000001","service":"s","endpoint":"/e","body":{"type":"text","text":{"text":"x"}},
            "traceContext":{"traceId":"t","spanId":2},"tags":{"data":[{"key":"level","value":"ERROR"}]}}]"#,
        r#"{"service":"s","serviceInstance":"i","properties":[{"key":"language","value":"lua"}]}"#,
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let tokens = [
        "null",
        "-1",
        "1e9",
        "9223372036854775808",
        "\"\\ud800\"",
        "[[[[",
        "{\"json\":",
        "true",
        "\"1\"",
        ",",
    ];
    fuzz("skywalking_json", &seeds, &tokens, body_of_json);
}
