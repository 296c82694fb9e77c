//! The recorded segments of a real Java agent, replayed: every span, tag, log and reference is in ClickHouse,
//! equal to what SkyWalking's own protobuf classes read from the same bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use weir_tests::{ClickHouse, Kafka, Record, Weir, decode_segments, recorded, storing, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// One row of `events` in the words of the protocol, so that both sides can be compared as they are.
const ROWS: &str = "SELECT trace_id, span_id, parent_span_id, segment_id, segment_span_id, service, service_instance,
    operation, kind, status, peer, component_id, layer, skip_analysis, size_limited,
    toUnixTimestamp64Nano(time) AS time, toUnixTimestamp64Nano(end_time) AS end_time, duration_ns,
    mapKeys(attributes) AS keys, mapValues(attributes) AS values,
    arrayMap(l -> toJSONString(l), links) AS links,
    arrayMap(e -> (toUnixTimestamp64Nano(e.time), mapKeys(e.attributes), mapValues(e.attributes)), events) AS events";

#[tokio::test]
async fn every_recorded_span_is_stored_as_the_agent_wrote_it() -> Result<()> {
    let (kafka, clickhouse) = (Kafka::shared()?, ClickHouse::shared()?);
    let (topic, database) = (unique("segments"), clickhouse.database().await?);
    kafka.create_topic(&topic, 3, &[]).await?;
    let records: Vec<Record> = recorded("skywalking-segments")?
        .into_iter()
        .map(|record| Record { topic: topic.clone(), ..record })
        .collect();
    kafka.produce_all(&records).await?;

    let expected = expected(&records)?;
    let config = storing((kafka, &topic), (clickhouse, &database), "", "");
    let weir = Weir::start(&config, &[], &[])?;
    let count = format!("SELECT count() AS n FROM {database}.events");
    wait_until("every span", TIMEOUT, async || {
        let rows = clickhouse.number(&count).await.unwrap_or(0);
        Ok((rows >= expected.len() as u64).then_some(()))
    })
    .await?;
    let rows = clickhouse.query(&format!("{ROWS} FROM {database}.events")).await?;
    assert_eq!(rows.len(), expected.len());
    for row in rows {
        let id = row["span_id"].as_str().context("a span id")?.to_owned();
        let expected = expected.get(&id).with_context(|| format!("the agent sent no span {id}"))?;
        assert_eq!(&stored(row)?, expected, "span {id}");
    }

    wait_until("the offsets to be committed", TIMEOUT, async || {
        let ends: Vec<_> =
            kafka.end_offsets(&topic)?.into_iter().map(|end| (end > 0).then_some(end)).collect();
        let committed: Vec<_> = kafka
            .committed(&topic, &topic)?
            .into_iter()
            .map(|offset| offset.filter(|offset| *offset > 0))
            .collect();
        Ok((committed == ends).then_some(()))
    })
    .await?;
    assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
    Ok(())
}

/// The expected rows, by span id.
fn expected(records: &[Record]) -> Result<BTreeMap<String, Value>> {
    let mut rows = BTreeMap::new();
    for segment in decode_segments(records)? {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let millis = |value: &Value| value.as_str().and_then(|ms| ms.parse::<i64>().ok()).unwrap_or_default();
        let segment_id = text(&segment["traceSegmentId"]);
        let empty = Vec::new();
        let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
        for span in list(&segment["spans"]) {
            let (kind, layer) = (text(&span["spanType"]), text(&span["spanLayer"]));
            let kind = match (kind.as_str(), layer.as_str()) {
                ("Entry", "MQ") => "consumer",
                ("Entry", _) => "server",
                ("Exit", "MQ") => "producer",
                ("Exit", _) => "client",
                _ => "internal",
            };
            let layer = match layer.as_str() {
                "Unknown" => "",
                "RPCFramework" => "rpc_framework",
                "Database" => "database",
                "Http" => "http",
                "MQ" => "mq",
                "Cache" => "cache",
                other => other,
            };
            let refs = list(&span["refs"]);
            let parent = match (span["parentSpanId"].as_i64(), refs.first()) {
                (Some(-1), None) => String::new(),
                (Some(-1), Some(first)) => {
                    format!("{}.{}", text(&first["parentTraceSegmentId"]), first["parentSpanId"])
                }
                (parent, _) => format!("{segment_id}.{}", parent.unwrap_or_default()),
            };
            let links: Vec<Value> = refs
                .iter()
                .map(|link| {
                    json!({
                        "trace_id": link["traceId"],
                        "span_id": format!("{}.{}", text(&link["parentTraceSegmentId"]), link["parentSpanId"]),
                        "ref_type": if link["refType"] == "CrossThread" { "cross_thread" } else { "cross_process" },
                        "parent_service": link["parentService"],
                        "parent_service_instance": link["parentServiceInstance"],
                        "parent_endpoint": link["parentEndpoint"],
                        "network_address": link["networkAddressUsedAtPeer"],
                    })
                })
                .collect();
            let events: Vec<Value> = list(&span["logs"])
                .iter()
                .map(|log| json!({"time": millis(&log["time"]) * 1_000_000, "attributes": pairs(&list(&log["data"]))}))
                .collect();
            let id = format!("{segment_id}.{}", span["spanId"]);
            let (start, end) = (millis(&span["startTime"]), millis(&span["endTime"]));
            let row = json!({
                "trace_id": segment["traceId"], "span_id": id, "parent_span_id": parent,
                "segment_id": segment_id, "segment_span_id": span["spanId"],
                "service": segment["service"], "service_instance": segment["serviceInstance"],
                "operation": span["operationName"], "kind": kind,
                "status": if span["isError"] == true { "error" } else { "ok" },
                "peer": span["peer"], "component_id": span["componentId"], "layer": layer,
                "skip_analysis": span["skipAnalysis"], "size_limited": segment["isSizeLimited"],
                "time": start * 1_000_000, "end_time": end * 1_000_000, "duration_ns": (end - start) * 1_000_000,
                "attributes": pairs(&list(&span["tags"])), "links": links, "events": events,
            });
            rows.insert(id, row);
        }
    }
    Ok(rows)
}

/// `[{key, value}, …]` as pairs, in order.
fn pairs(entries: &[Value]) -> Vec<Value> {
    entries.iter().map(|entry| json!([entry["key"], entry["value"]])).collect()
}

/// A row as ClickHouse gave it, in the form of [`expected`].
fn stored(mut row: Value) -> Result<Value> {
    let zip = |keys: &Value, values: &Value| -> Vec<Value> {
        let (keys, values) =
            (keys.as_array().cloned().unwrap_or_default(), values.as_array().cloned().unwrap_or_default());
        keys.into_iter().zip(values).map(|(key, value)| json!([key, value])).collect()
    };
    let fields: &mut Map<String, Value> = row.as_object_mut().context("a row")?;
    let (keys, values) = (fields.remove("keys"), fields.remove("values"));
    fields.insert("attributes".into(), zip(&keys.unwrap_or_default(), &values.unwrap_or_default()).into());
    for link in fields["links"].as_array_mut().context("links")? {
        *link = serde_json::from_str(link.as_str().context("a link")?)?;
    }
    for event in fields["events"].as_array_mut().context("events")? {
        *event = json!({"time": event[0], "attributes": zip(&event[1], &event[2])});
    }
    Ok(row)
}
