//! What agents send beside segments means to the decoders what it means to prost, and to no bytes do they
//! panic.

#![allow(clippy::unwrap_used, missing_docs)]

mod fuzz;

use std::io::Read;

use base64::Engine;
use prost::Message;
use serde_json::{Map, Value, json};
use weir_pdata::{Decoded, Demand, Encoded, Format, Projection, Signal, decode, json::write_rows, schema};
use weir_proto::skywalking::log_data_body::Content;
use weir_proto::skywalking::meter_data::Metric;
use weir_proto::skywalking::*;

const WRITTEN: i64 = 1_700_000_000_123;

fn decoded<'a>(format: Format, records: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let encoded = Encoded::concat(format, records).unwrap();
    let written = Some(vec![WRITTEN; encoded.records.len()].into());
    decode(&Encoded { written, ..encoded }, &Projection::everything())
}

/// The rows as JSON.
fn rows(format: Format, decoded: &Decoded) -> Vec<Value> {
    let mut lines = Vec::new();
    write_rows(&decoded.columns, format.signal(), &mut lines);
    std::str::from_utf8(&lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of good records.
fn good(format: Format, records: &[Vec<u8>]) -> Vec<Value> {
    let decoded = decoded(format, records.iter().map(Vec::as_slice));
    assert_eq!((&decoded.rejected[..], &decoded.escaped[..]), (&[][..], &[][..]));
    rows(format, &decoded)
}

/// The records of the real Java agent.
fn recorded(topic: &str) -> Vec<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/testdata/skywalking-java-9.4.0.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_topic = lines.filter(|line| line["topic"] == topic);
    let value = |line: Value| {
        base64::engine::general_purpose::STANDARD.decode(line["value"].as_str().unwrap()).unwrap()
    };
    of_topic.map(value).collect()
}

/// An object of what is there.
fn row(signal: Signal, fields: Vec<(&str, Value)>, attributes: Vec<(String, Value)>) -> Value {
    let mut object = Map::from_iter([("signal".to_owned(), json!(signal.name()))]);
    let there = fields.into_iter().filter(|(_, value)| !value.is_null() && *value != "");
    object.extend(there.map(|(name, value)| (name.to_owned(), value)));
    if !attributes.is_empty() {
        object.insert("attributes".to_owned(), Value::Object(attributes.into_iter().collect()));
    }
    Value::Object(object)
}

fn pairs(pairs: &[KeyStringValuePair]) -> Vec<(String, Value)> {
    pairs.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect()
}

fn with_layer(mut attributes: Vec<(String, Value)>, layer: &str) -> Vec<(String, Value)> {
    attributes.extend((!layer.is_empty()).then(|| ("layer".to_owned(), json!(layer))));
    attributes
}

fn expected_log(log: &LogData) -> Value {
    let tags = log.tags.as_ref().map(|tags| tags.data.clone()).unwrap_or_default();
    let level = tags.iter().find(|tag| tag.key == "level").map(|tag| tag.value.clone());
    let number = match level.as_deref().map(str::to_uppercase).as_deref() {
        Some("ERROR") => json!(17),
        Some("WARN" | "WARNING") => json!(13),
        Some("INFO") => json!(9),
        Some("DEBUG") => json!(5),
        _ => Value::Null,
    };
    let (body, kind) = match log.body.as_ref().and_then(|body| body.content.as_ref()) {
        Some(Content::Text(text)) => (json!(text.text), "text"),
        Some(Content::Json(json)) => (json!(json.json), "json"),
        Some(Content::Yaml(yaml)) => (json!(yaml.yaml), "yaml"),
        None => (Value::Null, ""),
    };
    let named = log.body.as_ref().map(|body| body.r#type.as_str()).filter(|kind| !kind.is_empty());
    let context = log.trace_context.clone().unwrap_or_default();
    let span = (!context.trace_segment_id.is_empty() && context.span_id >= 0)
        .then(|| format!("{}.{}", context.trace_segment_id, context.span_id));
    let time = if log.timestamp == 0 { WRITTEN } else { log.timestamp };
    let fields = vec![
        ("time", json!(time)),
        ("severity_number", number),
        ("severity_text", json!(level)),
        ("body", body.clone()),
        ("body_type", json!(named.unwrap_or(kind))),
        ("trace_id", json!(context.trace_id)),
        ("span_id", json!(span)),
        ("segment_id", json!(context.trace_segment_id)),
        ("service", json!(log.service)),
        ("service_instance", json!(log.service_instance)),
        ("endpoint", json!(log.endpoint)),
    ];
    let mut expected = row(Signal::Logs, fields, with_layer(pairs(&tags), &log.layer));
    if body == "" {
        expected["body"] = body;
    }
    expected
}

#[test]
fn the_logs_of_the_java_agent_have_every_field() {
    let records = recorded("skywalking-logs");
    let expected: Vec<Value> =
        records.iter().map(|record| expected_log(&LogData::decode(&**record).unwrap())).collect();
    assert_eq!(expected.len(), 30);
    assert_eq!(good(Format::SkyWalkingLog, &records), expected);
}

#[test]
fn logs_in_json_are_the_same_logs() {
    let text = r#"[{"timestamp":"1700000000001","service":"s","serviceInstance":"i","endpoint":"/e","layer":"GENERAL",
        "body":{"type":"text","text":{"text":"hé"}},"traceContext":{"traceId":"t","traceSegmentId":"g","spanId":2},
        "tags":{"data":[{"key":"level","value":"ERROR"}]}},{"service":"s","body":{"json":{"json":"{}"}}}]"#;
    let log = |content, kind: &str| LogDataBody { r#type: kind.to_owned(), content: Some(content) };
    let first = LogData {
        timestamp: 1_700_000_000_001,
        service: "s".into(),
        service_instance: "i".into(),
        endpoint: "/e".into(),
        layer: "GENERAL".into(),
        body: Some(log(Content::Text(TextLog { text: "hé".into() }), "text")),
        trace_context: Some(TraceContext { trace_id: "t".into(), trace_segment_id: "g".into(), span_id: 2 }),
        tags: Some(LogTags { data: vec![KeyStringValuePair { key: "level".into(), value: "ERROR".into() }] }),
    };
    let body = Some(log(Content::Json(JsonLog { json: "{}".into() }), ""));
    let second = LogData { service: "s".into(), body, ..LogData::default() };
    let records = [text.as_bytes(), b"{\"timestamp\": {}}", b"nonsense", b"[]"];
    let decoded = decoded(Format::SkyWalkingLogJson, records);
    assert_eq!(rows(Format::SkyWalkingLogJson, &decoded), [expected_log(&first), expected_log(&second)]);
    let reasons: Vec<_> = decoded.rejected.iter().map(|r| (r.record, r.reason.to_string())).collect();
    assert_eq!((reasons.len(), decoded.empty), (2, 1));
    assert!(reasons[0].0 == 1 && reasons[0].1.contains("a field has another type"), "{reasons:?}");
    assert!(reasons[1].0 == 2 && reasons[1].1.contains("not valid JSON"), "{reasons:?}");
}

/// The rows of a collection, from prost's reading.
fn expected_jvm(collection: &JvmMetricCollection) -> Vec<Value> {
    let mut rows = Vec::new();
    for jvm in &collection.metrics {
        let mut add = |name: &str,
                       unit: &str,
                       value: f64,
                       int: Option<i64>,
                       sum: &str,
                       attributes: &[(&str, String)]| {
            let fields = vec![
                ("time", json!(if jvm.time == 0 { WRITTEN } else { jvm.time })),
                ("metric", json!(name)),
                ("metric_type", json!(if sum.is_empty() { "gauge" } else { "sum" })),
                ("unit", json!(unit)),
                ("temporality", json!(sum)),
                ("monotonic", if sum.is_empty() { Value::Null } else { json!(true) }),
                ("value", json!(value)),
                ("value_int", json!(int)),
                ("service", json!(collection.service)),
                ("service_instance", json!(collection.service_instance)),
            ];
            let attributes =
                attributes.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
            rows.push(row(Signal::Metrics, fields, attributes));
        };
        let whole = |value: i64| (value as f64, Some(value));
        if let Some(cpu) = &jvm.cpu {
            add("jvm.cpu.recent_utilization", "%", cpu.usage_percent, None, "", &[]);
        }
        for memory in &jvm.memory {
            let kind = [("jvm.memory.type", if memory.is_heap { "heap" } else { "non_heap" }.to_owned())];
            let of = [
                ("init", memory.init),
                ("used", memory.used),
                ("max", memory.max),
                ("committed", memory.committed),
            ];
            for (what, value) in of {
                let (value, int) = whole(value);
                add(&format!("sw.jvm.memory.{what}"), "By", value, int, "", &kind);
            }
        }
        for pool in &jvm.memory_pool {
            let name = pool.r#type().as_str_name().to_owned();
            let heap = ["NEWGEN_USAGE", "OLDGEN_USAGE", "SURVIVOR_USAGE", "ZHEAP_USAGE"].contains(&&*name);
            let kind = if heap { "heap" } else { "non_heap" }.to_owned();
            let attributes = [("jvm.memory.pool.name", name), ("jvm.memory.type", kind)];
            let of =
                [("init", pool.init), ("used", pool.used), ("max", pool.max), ("committed", pool.committed)];
            for (what, value) in of {
                let (value, int) = whole(value);
                add(&format!("jvm.memory.{what}"), "By", value, int, "", &attributes);
            }
        }
        for gc in &jvm.gc {
            let name = [("jvm.gc.name", gc.phase().as_str_name().to_owned())];
            let ((count, count_int), (time, time_int)) = (whole(gc.count), whole(gc.time));
            add("sw.jvm.gc.count", "{collection}", count, count_int, "delta", &name);
            add("sw.jvm.gc.duration", "ms", time, time_int, "delta", &name);
        }
        if let Some(thread) = &jvm.thread {
            for (state, count) in [
                ("live", thread.live_count),
                ("daemon", thread.daemon_count),
                ("peak", thread.peak_count),
                ("runnable", thread.runnable_state_thread_count),
                ("blocked", thread.blocked_state_thread_count),
                ("waiting", thread.waiting_state_thread_count),
                ("timed_waiting", thread.timed_waiting_state_thread_count),
            ] {
                let (count, int) = whole(count);
                add("jvm.thread.count", "{thread}", count, int, "", &[("thread.state", state.to_owned())]);
            }
        }
        if let Some(class) = &jvm.clazz {
            for (name, count, sum) in [
                ("jvm.class.count", class.loaded_class_count, ""),
                ("jvm.class.unloaded", class.total_unloaded_class_count, "cumulative"),
                ("jvm.class.loaded", class.total_loaded_class_count, "cumulative"),
            ] {
                let (count, int) = whole(count);
                add(name, "{class}", count, int, sum, &[]);
            }
        }
    }
    rows
}

#[test]
fn the_jvm_metrics_of_the_java_agent_have_every_field() {
    let records = recorded("skywalking-metrics");
    assert_eq!(records.len(), 40);
    let expected: Vec<Value> = records
        .iter()
        .flat_map(|record| expected_jvm(&JvmMetricCollection::decode(&**record).unwrap()))
        .collect();
    assert!(expected.len() > 1000, "{}", expected.len());
    let rows = good(Format::SkyWalkingJvm, &records);
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        // The parser of the test rounds floats in another way than it writes them.
        let expected: Value = serde_json::from_str(&expected.to_string()).unwrap();
        assert_eq!(*row, expected);
    }
}

#[test]
fn unknown_pools_and_phases_are_kept() {
    let pool = MemoryPool { r#type: 77, used: 5, ..MemoryPool::default() };
    let jvm = JvmMetric {
        memory_pool: vec![pool],
        gc: vec![Gc { phase: 9, count: 1, time: 2 }],
        ..JvmMetric::default()
    };
    let collection = JvmMetricCollection { metrics: vec![jvm], ..JvmMetricCollection::default() };
    let rows = good(Format::SkyWalkingJvm, &[collection.encode_to_vec()]);
    assert_eq!(rows[1]["attributes"], json!({"jvm.memory.pool.name": "unknown(77)"}));
    assert_eq!(rows[4]["attributes"], json!({"jvm.gc.name": "unknown(9)"}));
    assert_eq!(rows[4]["time"], json!(WRITTEN));
}

fn meter(metric: Metric, whose: Option<(&str, &str, i64)>) -> MeterData {
    let (service, instance, timestamp) = whose.unwrap_or_default();
    let metric = Some(metric);
    MeterData { metric, service: service.to_owned(), service_instance: instance.to_owned(), timestamp }
}

fn single(name: &str, value: f64) -> Metric {
    let labels = vec![Label { name: "l".to_owned(), value: name.to_owned() }];
    Metric::SingleValue(MeterSingleValue { name: name.to_owned(), labels, value })
}

fn histogram(name: &str, buckets: &[(f64, i64, bool)]) -> Metric {
    let bucket = |(bucket, count, is_negative_infinity): &(f64, i64, bool)| MeterBucketValue {
        bucket: *bucket,
        count: *count,
        is_negative_infinity: *is_negative_infinity,
    };
    let values = buckets.iter().map(bucket).collect();
    Metric::Histogram(MeterHistogram { name: name.to_owned(), labels: Vec::new(), values })
}

#[test]
fn meters_inherit_what_one_of_them_says() {
    let whose = Some(("s", "i", 1_700_000_000_000));
    let collection = MeterDataCollection {
        meter_data: vec![
            meter(single("before", 0.5), None),
            meter(single("named", 1.5), whose),
            meter(single("after", 2.5), None),
        ],
    };
    let rows = good(Format::SkyWalkingMeters, &[collection.encode_to_vec()]);
    let expected = [("before", 0.5), ("named", 1.5), ("after", 2.5)].map(|(name, value)| {
        json!({"signal": "metrics", "time": 1_700_000_000_000_i64, "metric": name, "metric_type": "gauge", "value": value,
            "service": "s", "service_instance": "i", "attributes": {"l": name}})
    });
    assert_eq!(rows, expected);
    // The Rust agent.
    let bare = good(Format::SkyWalkingMeters, &[meter(single("named", 1.5), whose).encode_to_vec()]);
    assert_eq!(bare, expected[1..2]);
    let empty = decoded(Format::SkyWalkingMeters, [&b""[..]]);
    assert_eq!((empty.columns.num_rows(), empty.empty, empty.rejected.len()), (0, 1, 0));
}

#[test]
fn histograms_have_upper_bounds() {
    let whose = Some(("s", "i", 1_700_000_000_000));
    let of = |buckets: &[(f64, i64, bool)]| {
        let collection = MeterDataCollection { meter_data: vec![meter(histogram("h", buckets), whose)] };
        good(Format::SkyWalkingMeters, &[collection.encode_to_vec()]).remove(0)
    };
    // Below 5: 1; 5 to 10: 2; from 10 on: 3. In no order.
    let open = of(&[(10.0, 3, false), (0.0, 1, true), (5.0, 2, false)]);
    assert_eq!(open["metric_type"], "histogram");
    assert_eq!(open["temporality"], "cumulative");
    assert_eq!(
        (&open["count"], &open["bounds"], &open["bucket_counts"]),
        (&json!(6), &json!([5.0, 10.0]), &json!([1, 2, 3]))
    );
    // Nothing below 0.
    let closed = of(&[(0.0, 1, false), (5.0, 2, false)]);
    assert_eq!((&closed["bounds"], &closed["bucket_counts"]), (&json!([0.0, 5.0]), &json!([0, 1, 2])));
}

#[test]
fn the_meters_of_the_java_agent_have_every_field() {
    let records = recorded("skywalking-meters");
    assert_eq!(records.len(), 8);
    let rows = good(Format::SkyWalkingMeters, &records);
    let mut rows = rows.iter();
    for record in &records {
        let collection = MeterDataCollection::decode(&**record).unwrap();
        let with_service = collection.meter_data.iter().find(|meter| !meter.service.is_empty()).unwrap();
        for meter in &collection.meter_data {
            let row = rows.next().unwrap();
            let (name, labels) = match meter.metric.as_ref().unwrap() {
                Metric::SingleValue(single) => {
                    assert_eq!(row["value"], json!(single.value));
                    (&single.name, &single.labels)
                }
                Metric::Histogram(histogram) => {
                    let count: i64 = histogram.values.iter().map(|bucket| bucket.count).sum();
                    assert_eq!(row["count"], json!(count));
                    (&histogram.name, &histogram.labels)
                }
            };
            let labels: Map<String, Value> =
                labels.iter().map(|label| (label.name.clone(), json!(label.value))).collect();
            assert_eq!(row.get("attributes").cloned().unwrap_or_else(|| json!({})), Value::Object(labels));
            assert_eq!(row["metric"], json!(name));
            assert_eq!(row["service"], json!(with_service.service));
            assert_eq!(row["service_instance"], json!(with_service.service_instance));
            assert_eq!(row["time"], json!(with_service.timestamp));
        }
    }
    assert!(rows.next().is_none());
}

#[test]
fn properties_and_pings_are_rows_with_the_time_of_their_record() {
    for record in recorded("skywalking-managements") {
        let is_ping = !record.windows(8).any(|bytes| bytes == b"language");
        let (format, expected) = if is_ping {
            let ping = InstancePingPkg::decode(&*record).unwrap();
            let fields = vec![
                ("time", json!(WRITTEN)),
                ("event_name", json!("instance_ping")),
                ("service", json!(ping.service)),
                ("service_instance", json!(ping.service_instance)),
            ];
            (Format::SkyWalkingPing, row(Signal::Logs, fields, with_layer(Vec::new(), &ping.layer)))
        } else {
            let properties = InstanceProperties::decode(&*record).unwrap();
            let fields = vec![
                ("time", json!(WRITTEN)),
                ("event_name", json!("instance_properties")),
                ("service", json!(properties.service)),
                ("service_instance", json!(properties.service_instance)),
            ];
            let attributes = with_layer(pairs(&properties.properties), &properties.layer);
            (Format::SkyWalkingInstance, row(Signal::Logs, fields, attributes))
        };
        assert_eq!(good(format, std::slice::from_ref(&record)), std::slice::from_ref(&expected));
        if is_ping {
            // The Rust agent sends them to the topic of logs.
            assert_eq!(good(Format::SkyWalkingLog, &[record]), [expected]);
        }
    }
}

#[test]
fn snapshots_and_events_are_rows() {
    let snapshot = ThreadSnapshot {
        task_id: "task".into(),
        trace_segment_id: "segment".into(),
        time: 1_700_000_000_001,
        sequence: 3,
        stack: Some(ThreadStack { code_signatures: vec!["a.b:1".into(), "c.d:2".into()] }),
    };
    let expected = json!({"signal": "logs", "time": 1_700_000_000_001_i64, "body": "a.b:1\nc.d:2", "body_type": "text",
        "event_name": "thread_snapshot", "segment_id": "segment", "attributes": {"task_id": "task", "sequence": "3"}});
    assert_eq!(good(Format::SkyWalkingSnapshot, &[snapshot.encode_to_vec()]), [expected]);

    let source = Source { service: "s".into(), service_instance: "i".into(), endpoint: "/e".into() };
    let event = Event {
        uuid: "u".into(),
        source: Some(source),
        name: "Start".into(),
        r#type: 1,
        message: "went".into(),
        parameters: [("OPTS".to_owned(), "-X".to_owned())].into(),
        start_time: 1_700_000_000_001,
        end_time: 1_700_000_000_002,
        layer: "GENERAL".into(),
    };
    let expected = json!({"signal": "logs", "time": 1_700_000_000_001_i64, "body": "went", "event_name": "Start",
        "service": "s", "service_instance": "i", "endpoint": "/e", "attributes": {"OPTS": "-X", "event.uuid": "u",
        "event.type": "error", "end_time": "2023-11-14T22:13:20.002Z", "layer": "GENERAL"}});
    assert_eq!(good(Format::SkyWalkingEvent, &[event.encode_to_vec()]), [expected]);

    let reference = span_attached_event::SpanReference {
        r#type: 0,
        trace_id: "t".into(),
        trace_segment_id: "g".into(),
        span_id: "4".into(),
    };
    let attached = SpanAttachedEvent {
        start_time: Some(Instant { seconds: 1_700_000_000, nanos: 1_000_000 }),
        event: "Syscall read".into(),
        end_time: Some(Instant { seconds: 1_700_000_000, nanos: 2 }),
        tags: vec![KeyStringValuePair { key: "k".into(), value: "v".into() }],
        summary: vec![KeyIntValuePair { key: "package_size".into(), value: -7 }],
        trace_context: Some(reference),
    };
    let expected = json!({"signal": "logs", "time": 1_700_000_000_001_i64, "event_name": "Syscall read", "trace_id": "t",
        "span_id": "g.4", "segment_id": "g", "attributes": {"k": "v", "package_size": "-7", "reference.type": "skywalking",
        "end_time": "2023-11-14T22:13:20.000000002Z"}});
    assert_eq!(good(Format::SkyWalkingAttachedEvent, &[attached.encode_to_vec()]), [expected]);
}

#[test]
fn a_text_that_is_not_utf_8_is_escaped_and_a_name_that_is_not_rejects_the_record() {
    let mut log = LogData { service: "s".into(), ..LogData::default() };
    log.body = Some(LogDataBody {
        r#type: String::new(),
        content: Some(Content::Text(TextLog { text: "caf#".into() })),
    });
    let with = |from: &[u8], to: u8, log: &LogData| {
        let mut bytes = log.encode_to_vec();
        let at = bytes.windows(from.len()).position(|found| found == from).unwrap() + from.len() - 1;
        bytes[at] = to;
        bytes
    };
    let odd = decoded(Format::SkyWalkingLog, [&*with(b"caf#", 0xe9, &log)]);
    assert_eq!(rows(Format::SkyWalkingLog, &odd)[0]["body"], "caf\\xe9");
    assert_eq!(odd.escaped[0].key, "body");
    let unnamed = LogData { service: "caf#".into(), ..LogData::default() };
    let odd = decoded(Format::SkyWalkingLog, [&*with(b"caf#", 0xe9, &unnamed)]);
    assert_eq!((odd.rejected.len(), odd.columns.num_rows()), (1, 0));
}

#[test]
fn only_what_is_asked_for_is_built_and_wanted_tags_have_columns() {
    let records = recorded("skywalking-logs");
    let encoded = Encoded::concat(Format::SkyWalkingLog, records.iter().map(Vec::as_slice)).unwrap();
    let positions = Some((0..30).collect::<Vec<i64>>().into());
    let demand = Demand { positions: true, ..Demand::names(["body", "level"]) };
    let decoded = decode(&Encoded { positions, ..encoded }, &Projection::of(&demand));
    let schema = decoded.columns.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["body", "level", schema::OFFSET]);
    assert_eq!(decoded.columns.num_rows(), 30);
}

#[test]
fn own_and_transfer_times_are_built_when_they_are_named_and_not_otherwise() {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    let span = |id, parent, start_time, end_time, latency: Option<&str>| SpanObject {
        span_id: id,
        parent_span_id: parent,
        start_time,
        end_time,
        tags: latency
            .map(|value| KeyStringValuePair { key: "transmission.latency".into(), value: value.into() })
            .into_iter()
            .collect(),
        ..SpanObject::default()
    };
    let spans = vec![
        span(2, 0, 40, 70, None),
        span(1, 0, 10, 50, Some("not a number")),
        span(0, -1, 0, 100, Some("25")),
    ];
    let segment = SegmentObject { trace_segment_id: "s".into(), spans, ..SegmentObject::default() };
    let bytes = segment.encode_to_vec();
    let encoded = Encoded::concat(Format::SkyWalkingSegment, [&*bytes, &*bytes]).unwrap();
    let named = Demand::names(["self_duration_ns", "transfer_ns"]);
    let columns = decode(&encoded, &Projection::of(&named)).columns;
    let column = |name: &str| {
        let array = columns.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
        (0..array.len()).map(|at| array.is_valid(at).then(|| array.value(at) / 1_000_000)).collect::<Vec<_>>()
    };
    assert_eq!(columns.num_columns(), 2);
    // Of 100 ms, 10 to 70 are those of children.
    assert_eq!(column("self_duration_ns"), [30, 40, 40].map(Some).repeat(2));
    assert_eq!(column("transfer_ns"), [None, None, Some(25)].repeat(2));
    let all = decode(&encoded, &Projection::everything()).columns;
    assert!(schema::DERIVED.iter().all(|name| all.column_by_name(name).is_none()));
    let both = decode(&encoded, &Projection::of(&Demand::everything().and(named))).columns;
    assert!(schema::DERIVED.iter().all(|name| both.column_by_name(name).is_some()));
}
