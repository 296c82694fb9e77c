//! Everything that SkyWalking agents write to Kafka, through one receiver: each item comes out once, with
//! what SkyWalking's own protobuf classes read from the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_tests::{Kafka, Record, Shop, Weir, decode_messages, recorded, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The topics of the recorded agent, and the message of their records; those of managements depend on the
/// key.
const TOPICS: [(&str, &str); 5] = [
    ("skywalking-segments", "SegmentObject"),
    ("skywalking-metrics", "JVMMetricCollection"),
    ("skywalking-meters", "MeterDataCollection"),
    ("skywalking-logs", "LogData"),
    ("skywalking-managements", ""),
];

/// Writes every row of every topic of the namespace to a file.
fn config(kafka: &Kafka, namespace: &str, receiver: &str, file: &Path) -> String {
    format!(
        "receivers:
  skywalking_kafka:
    brokers: [\"{}\"]
    namespace: {namespace}
    topics: {{segments: true, metrics: true, meters: true, logs: true, logs_json: true, managements: true, profilings: true}}
    group_id: {namespace}
    initial_offset: earliest
    metadata_refresh: 1s
    {receiver}
exporters:
  file: {{path: \"{}\"}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], exporters: [file]}}
",
        kafka.bootstrap(),
        file.display(),
    )
}

fn rows(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A 64-bit integer, which protobuf's JSON form has as text.
fn int(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Pairs as an object; a repeated key has its values in a list.
fn pairs(pairs: &[Value], key: &str, layer: &Value) -> Value {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for pair in pairs {
        found.entry(text(&pair[key]).to_owned()).or_default().push(pair["value"].clone());
    }
    if !text(layer).is_empty() {
        found.entry("layer".to_owned()).or_default().push(layer.clone());
    }
    let one = |mut values: Vec<Value>| if values.len() == 1 { values.remove(0) } else { Value::from(values) };
    found.into_iter().map(|(key, values)| (key, one(values))).collect::<serde_json::Map<_, _>>().into()
}

/// What a row of the file says, in words that both sides have.
type Said = BTreeMap<String, Value>;

fn said(fields: &[(&str, Value)]) -> Said {
    let there = fields.iter().filter(|(_, value)| !value.is_null() && *value != "" && *value != json!({}));
    there.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn expected_logs(log: &Value) -> Said {
    let (body, context) = (&log["body"], &log["traceContext"]);
    let content = ["text", "json", "yaml"].into_iter().find(|kind| body[*kind].is_object());
    let segment = text(&context["traceSegmentId"]);
    let span =
        if segment.is_empty() { String::new() } else { format!("{segment}.{}", int(&context["spanId"])) };
    said(&[
        ("time", json!(int(&log["timestamp"]))),
        ("body", content.map(|kind| body[kind][kind].clone()).unwrap_or_default()),
        ("service", log["service"].clone()),
        ("service_instance", log["serviceInstance"].clone()),
        ("endpoint", log["endpoint"].clone()),
        ("trace_id", context["traceId"].clone()),
        ("segment_id", context["traceSegmentId"].clone()),
        ("span_id", json!(span)),
        ("attributes", pairs(&list(&log["tags"]["data"]), "key", &log["layer"])),
    ])
}

fn expected_meters(collection: &Value) -> Vec<Said> {
    let meters = list(&collection["meterData"]);
    let whose = meters.iter().find(|meter| !text(&meter["service"]).is_empty()).cloned().unwrap_or_default();
    let each = meters.iter().map(|meter| {
        let single = &meter["singleValue"];
        let histogram = &meter["histogram"];
        let counts = list(&histogram["values"]);
        let metric = if single.is_object() { single } else { histogram };
        said(&[
            ("time", json!(int(&whose["timestamp"]))),
            ("metric", metric["name"].clone()),
            ("value", single["value"].clone()),
            (
                "count",
                if single.is_object() {
                    Value::Null
                } else {
                    json!(counts.iter().map(|bucket| int(&bucket["count"])).sum::<i64>())
                },
            ),
            ("service", whose["service"].clone()),
            ("service_instance", whose["serviceInstance"].clone()),
            ("attributes", pairs(&list(&metric["labels"]), "name", &Value::Null)),
        ])
    });
    each.collect()
}

/// The sum of all whole numbers that a JVM sent, and how many there are: each is in one row.
fn expected_jvm(collection: &Value) -> (i64, usize) {
    let mut numbers = Vec::new();
    for jvm in list(&collection["metrics"]) {
        for (field, names) in [
            ("memory", ["init", "max", "used", "committed"].as_slice()),
            ("memoryPool", &["init", "max", "used", "committed"]),
            ("gc", &["count", "time"]),
        ] {
            for entry in list(&jvm[field]) {
                numbers.extend(names.iter().map(|name| int(&entry[*name])));
            }
        }
        for field in ["thread", "clazz"] {
            numbers.extend(jvm[field].as_object().into_iter().flatten().map(|(_, value)| int(value)));
        }
    }
    (numbers.iter().sum(), numbers.len())
}

/// A row of the file with these fields only.
fn of_row(row: &Value, names: &[&str]) -> Said {
    said(&names.iter().map(|name| (*name, row[*name].clone())).collect::<Vec<_>>())
}

fn sorted(mut all: Vec<Said>) -> Vec<String> {
    all.sort_by_key(|said| format!("{said:?}"));
    all.into_iter().map(|said| format!("{said:?}")).collect()
}

const LOG: [&str; 9] = [
    "time",
    "body",
    "service",
    "service_instance",
    "endpoint",
    "trace_id",
    "segment_id",
    "span_id",
    "attributes",
];
const METER: [&str; 7] = ["time", "metric", "value", "count", "service", "service_instance", "attributes"];

#[tokio::test]
async fn every_recorded_item_comes_out_once_as_the_agent_wrote_it() -> Result<()> {
    let (kafka, namespace, folder) = (Kafka::shared()?, unique("all"), tempfile::tempdir()?);
    let file = folder.path().join("rows.jsonl");
    let config = config(kafka, &namespace, "create_topics: {partitions: 3, replication: 1}", &file);
    let mut weir = Weir::start(&config, &[], &[])?;
    weir.wait_for_log("topic created", TIMEOUT).await?;
    // The Java agent looks for these.
    for topic in ["segments", "metrics", "managements", "meters", "logs", "profilings"] {
        let topic = format!("{namespace}-skywalking-{topic}");
        wait_until("the topic", TIMEOUT, async || {
            Ok(kafka.end_offsets(&topic).is_ok_and(|ends| ends.len() == 3).then_some(()))
        })
        .await
        .with_context(|| topic.clone())?;
    }

    let mut all: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
    for (topic, _) in TOPICS {
        let of = |record: Record| Record { topic: format!("{namespace}-{topic}"), ..record };
        let records: Vec<Record> = recorded(topic)?.into_iter().map(of).collect();
        kafka.produce_all(&records).await?;
        all.insert(topic, records);
    }
    let value = |record: &Record| record.value.clone().unwrap_or_default();
    let decoded = |topic: &str, message: &str| -> Result<Vec<Value>> {
        let values: Vec<Vec<u8>> = all[topic].iter().map(value).collect();
        decode_messages(values.iter().map(|value| (message, &**value)))
    };
    let segments = decoded("skywalking-segments", "SegmentObject")?;
    let spans: usize = segments.iter().map(|segment| list(&segment["spans"]).len()).sum();
    let logs: Vec<Said> = decoded("skywalking-logs", "LogData")?.iter().map(expected_logs).collect();
    let meters: Vec<Said> =
        decoded("skywalking-meters", "MeterDataCollection")?.iter().flat_map(expected_meters).collect();
    let jvm = decoded("skywalking-metrics", "JVMMetricCollection")?;
    let numbers: Vec<(i64, usize)> = jvm.iter().map(expected_jvm).collect();
    let whole: usize = numbers.iter().map(|(_, count)| count).sum();
    let cpus: usize = jvm.iter().map(|collection| list(&collection["metrics"]).len()).sum();
    let managements = &all["skywalking-managements"];
    let total = spans + logs.len() + meters.len() + whole + cpus + managements.len();
    wait_until("every row", TIMEOUT, async || Ok((rows(&file)?.len() >= total).then_some(()))).await?;

    let found = rows(&file)?;
    let of = |keep: &dyn Fn(&Value) -> bool| found.iter().filter(|row| keep(row)).collect::<Vec<_>>();
    assert_eq!(of(&|row| row["signal"] == "traces").len(), spans);
    let is_event = |row: &Value| text(&row["event_name"]).starts_with("instance_");
    let stored = of(&|row| row["signal"] == "logs" && !is_event(row));
    assert_eq!(sorted(stored.into_iter().map(|row| of_row(row, &LOG)).collect()), sorted(logs));
    let is_jvm =
        |row: &Value| text(&row["metric"]).starts_with("jvm.") || text(&row["metric"]).starts_with("sw.jvm.");
    let stored = of(&|row| row["signal"] == "metrics" && !is_jvm(row));
    assert_eq!(sorted(stored.into_iter().map(|row| of_row(row, &METER)).collect()), sorted(meters));
    let stored = of(&|row| row["value_int"].is_i64());
    assert_eq!(stored.len(), whole);
    let sum: i64 = stored.iter().map(|row| int(&row["value_int"])).sum();
    assert_eq!(sum, numbers.iter().map(|(sum, _)| sum).sum::<i64>());
    assert_eq!(of(&|row| row["metric"] == "jvm.cpu.recent_utilization").len(), cpus);

    let mut expected = Vec::new();
    for record in managements {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let (message, name) = match key.starts_with("register-") {
            true => ("InstanceProperties", "instance_properties"),
            false => ("InstancePingPkg", "instance_ping"),
        };
        let read = decode_messages([(message, &*value(record))])?.remove(0);
        expected.push(said(&[
            ("time", json!(record.timestamp_ms)),
            ("event_name", json!(name)),
            ("service", read["service"].clone()),
            ("service_instance", read["serviceInstance"].clone()),
            ("attributes", pairs(&list(&read["properties"]), "key", &read["layer"])),
        ]));
    }
    let names = ["time", "event_name", "service", "service_instance", "attributes"];
    let stored = of(&is_event).into_iter().map(|row| of_row(row, &names)).collect();
    assert_eq!(sorted(stored), sorted(expected));
    ensure!(weir.terminate(TIMEOUT).await?.code == Some(0));
    assert_eq!(rows(&file)?.len(), total, "each once");
    for (topic, _) in TOPICS {
        let topic = format!("{namespace}-{topic}");
        let ends = kafka.end_offsets(&topic)?;
        let committed = kafka.committed(&namespace, &topic)?;
        let committed: Vec<i64> = committed.into_iter().map(Option::unwrap_or_default).collect();
        assert_eq!(committed, ends, "{topic}");
    }
    Ok(())
}

#[tokio::test]
async fn the_python_agent_is_read_from_all_of_its_topics() -> Result<()> {
    let (kafka, namespace, folder) = (Kafka::shared()?, unique("python"), tempfile::tempdir()?);
    let shop = Shop::start(kafka, "py::shop", &format!("{namespace}-"), 2).await?;
    let file = folder.path().join("rows.jsonl");
    // Two of the topics do not exist: they delay nothing.
    let weir = Weir::start(&config(kafka, &namespace, "", &file), &[], &[])?;
    for request in 0..10 {
        shop.get(&format!("/pay?order={request}&customer=ada")).await?;
        shop.get("/fast").await?;
    }
    let sent = shop.flush().await?;
    let count = |keep: &dyn Fn(&Value) -> bool| -> Result<u64> {
        Ok(rows(&file)?.iter().filter(|row| keep(row)).count() as u64)
    };
    let managements = format!("{namespace}-skywalking-managements");
    // Properties come at the start, pings every five seconds.
    wait_until("spans, properties and a ping", TIMEOUT, async || {
        let named = |name: &'static str| move |row: &Value| row["event_name"] == name;
        let all = count(&|row| row["signal"] == "traces")? >= sent.spans
            && count(&named("instance_properties"))? >= 1
            && count(&named("instance_ping"))? >= 1;
        Ok(all.then_some(()))
    })
    .await?;
    shop.stop()?;
    let meters = kafka.read_all(&format!("{namespace}-skywalking-meters"))?;
    let meters: Vec<Vec<u8>> = meters.into_iter().filter_map(|record| record.value).collect();
    let meters: Vec<Said> = decode_messages(meters.iter().map(|value| ("MeterDataCollection", &**value)))?
        .iter()
        .flat_map(expected_meters)
        .collect();
    let records = kafka.read_all(&managements)?.len() as u64;
    wait_until("every row", TIMEOUT, async || {
        let events = count(&|row| text(&row["event_name"]).starts_with("instance_"))?;
        let metrics = count(&|row| row["signal"] == "metrics")?;
        Ok((events == records && metrics == meters.len() as u64).then_some(()))
    })
    .await?;
    let found = rows(&file)?;
    let stored =
        found.iter().filter(|row| row["signal"] == "metrics").map(|row| of_row(row, &METER)).collect();
    assert_eq!(sorted(stored), sorted(meters));
    let properties =
        found.iter().find(|row| row["event_name"] == "instance_properties").context("properties")?;
    assert_eq!(properties["attributes"]["language"], "python");
    assert_eq!(
        (&properties["service"], &properties["service_instance"]),
        (&json!("py::shop"), &json!("shop-1"))
    );
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    assert_eq!(count(&|row| row["signal"] == "traces")?, sent.spans);
    Ok(())
}

#[tokio::test]
async fn a_group_that_begins_at_a_time_reads_what_is_as_late() -> Result<()> {
    let (kafka, namespace, folder) = (Kafka::shared()?, unique("time"), tempfile::tempdir()?);
    let file = folder.path().join("rows.jsonl");
    let topic = format!("{namespace}-skywalking-logs");
    kafka.create_topic(&topic, 3, &[]).await?;
    let records: Vec<Record> = recorded("skywalking-logs")?
        .into_iter()
        .map(|record| Record { topic: topic.clone(), ..record })
        .collect();
    kafka.produce_all(&records).await?;
    let mut times: Vec<i64> = records.iter().map(|record| record.timestamp_ms).collect();
    times.sort_unstable();
    let from = times[times.len() / 2];
    let expected = records.iter().filter(|record| record.timestamp_ms >= from).count();
    ensure!(expected > 0 && expected < records.len());
    let time = chrono::DateTime::from_timestamp_millis(from).context("a time")?.to_rfc3339();
    let config = config(kafka, &namespace, "", &file)
        .replace("initial_offset: earliest", &format!("initial_offset: {{timestamp: \"{time}\"}}"))
        .replace("segments: true, metrics: true, meters: true, logs: true, logs_json: true, managements: true, profilings: true", "logs: true");
    let weir = Weir::start(&config, &[], &[])?;
    wait_until("the logs", TIMEOUT, async || Ok((rows(&file)?.len() >= expected).then_some(()))).await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    assert_eq!(rows(&file)?.len(), expected);
    Ok(())
}
