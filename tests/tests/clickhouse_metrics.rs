//! Metrics in ClickHouse: every field of every data point of OTLP, and what SkyWalking's agents measure.
//! Rows are compared with an independent reading of the same requests: their JSON form.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};
use weir_tests::{ClickHouse, Weir, free_port, send_with_sdk, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);
/// The name of each type in JSON, and in the table.
const TYPES: [(&str, &str); 5] = [
    ("gauge", "gauge"),
    ("sum", "sum"),
    ("histogram", "histogram"),
    ("exponentialHistogram", "exponential_histogram"),
    ("summary", "summary"),
];

/// A request with every field of metrics; bounds of what numbers can be.
fn request() -> Value {
    let attributes = |pairs: Value| -> Value {
        let pairs = pairs.as_object().unwrap().iter();
        pairs.map(|(key, value)| json!({"key": key, "value": value})).collect()
    };
    let exemplar = |value: Value| {
        let mut exemplar = json!({
            "timeUnixNano": "1749088704999999999", "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
            "filteredAttributes": attributes(json!({"user": {"stringValue": "größer"}, "n": {"intValue": "-3"}})),
        });
        exemplar.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        exemplar
    };
    let point = |more: Value| {
        let mut point = json!({
            "startTimeUnixNano": "1749088700000000001", "timeUnixNano": "1749088705123456789", "flags": 1,
            "attributes": attributes(json!({"shop": {"stringValue": "b"}, "list": {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": "2"}]}}})),
        });
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        point
    };
    let bare = |more: Value| {
        let mut bare = more;
        bare["timeUnixNano"] = "1749088706000000000".into();
        bare
    };
    json!({"resourceMetrics": [{
        "resource": {
            "attributes": attributes(json!({
                "service.name": {"stringValue": "shop"}, "service.instance.id": {"stringValue": "shop-1"}, "cpus": {"intValue": "8"}
            })),
            "droppedAttributesCount": 2
        },
        "schemaUrl": "https://example/resource",
        "scopeMetrics": [{
            "scope": {"name": "meter", "version": "1.2", "attributes": attributes(json!({"a": {"doubleValue": 0.5}})), "droppedAttributesCount": 1},
            "schemaUrl": "https://example/scope",
            "metrics": [
                {"name": "temperature", "unit": "Cel", "description": "how warm", "metadata": attributes(json!({"m": {"boolValue": true}})), "gauge": {"dataPoints": [
                    point(json!({"asDouble": 20.5, "exemplars": [exemplar(json!({"asDouble": 1.5})), exemplar(json!({"asInt": "7"})), {"timeUnixNano": "1"}]})),
                    bare(json!({"asInt": "9223372036854775807"})), bare(json!({"asDouble": "NaN"})), bare(json!({"asDouble": "-Infinity"})), bare(json!({"flags": 1})),
                ]}},
                {"name": "orders", "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
                    point(json!({"asInt": "-5"})), bare(json!({"asDouble": 0.0}))]}},
                {"name": "stock", "sum": {"aggregationTemporality": 1, "dataPoints": [bare(json!({"asDouble": -2.25}))]}},
                {"name": "seconds", "unit": "s", "histogram": {"aggregationTemporality": 1, "dataPoints": [
                    point(json!({"count": "18446744073709551615", "sum": 12.5, "min": 0.25, "max": 3.5, "bucketCounts": ["1", "0", "18446744073709551614"],
                                 "explicitBounds": [0.5, 2.0], "exemplars": [exemplar(json!({"asDouble": 3.5}))]})),
                    bare(json!({"count": "3"})),
                ]}},
                {"name": "sizes", "unit": "By", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
                    point(json!({"count": "9", "sum": 70.0, "scale": -3, "zeroCount": "2", "zeroThreshold": 0.001, "min": -4.0, "max": 9.0,
                                 "positive": {"offset": -2, "bucketCounts": ["1", "2"]}, "negative": {"offset": 5, "bucketCounts": ["4"]},
                                 "exemplars": [exemplar(json!({"asInt": "12"}))]})),
                ]}},
                {"name": "latency", "unit": "ms", "summary": {"dataPoints": [
                    point(json!({"count": "4", "sum": 10.0, "quantileValues": [{"quantile": 0.5, "value": 2.0}, {"quantile": 0.99, "value": 4.5}]})),
                    bare(json!({})),
                ]}},
            ]
        }]
    }]})
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A number, which JSON may have as text.
fn number(value: &Value) -> Value {
    match value.as_str() {
        Some("NaN") => "nan".into(),
        Some("Infinity") => "inf".into(),
        Some("-Infinity") => "-inf".into(),
        Some(text) => serde_json::from_str(text).unwrap(),
        None => value.clone(),
    }
}

/// The number of a point or an exemplar, as a float.
fn any_number(of: &Value) -> Value {
    match of["asInt"].as_str() {
        Some(text) => text.parse::<f64>().unwrap().into(),
        None => number(&of["asDouble"]),
    }
}

fn or(value: &Value, default: Value) -> Value {
    if value.is_null() { default } else { number(value) }
}

/// The text that stands for an attribute's value.
fn shown(value: &Value) -> String {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "arrayValue" => {
            let items = array(&value["values"]);
            let items = items.iter().map(|item| match item.get("stringValue") {
                Some(text) => text.to_string(),
                None => shown(item),
            });
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        "doubleValue" => number(value).as_f64().unwrap().to_string(),
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}

fn attributes(prefix: &str, list: &Value) -> Map<String, Value> {
    let one =
        |pair: &Value| (format!("{prefix}{}", pair["key"].as_str().unwrap()), shown(&pair["value"]).into());
    array(list).iter().map(one).collect()
}

/// The row of a data point in the table; what it has beside in texts that OTLP's JSON form has.
fn expected(item: &Value) -> Value {
    let (metric, point, scope) = (&item["metric"], &item["point"], &item["scope"]);
    let (kind, metric_type) = TYPES.into_iter().find(|(kind, _)| metric.get(kind).is_some()).unwrap();
    let data = &metric[kind];
    let temporality = match &data["aggregationTemporality"] {
        value if *value == 1 || *value == "AGGREGATION_TEMPORALITY_DELTA" => "delta",
        value if *value == 2 || *value == "AGGREGATION_TEMPORALITY_CUMULATIVE" => "cumulative",
        _ => "",
    };
    let resource = attributes("", &item["resource"]["attributes"]);
    let mut rest = attributes("", &point["attributes"]);
    rest.extend(attributes("scope.", &scope["attributes"]));
    rest.extend(attributes("metadata.", &metric["metadata"]));
    for (key, value) in [
        ("scope_name", &scope["name"]),
        ("scope_version", &scope["version"]),
        ("scope_schema_url", &item["scope_schema"]),
        ("resource_schema_url", &item["resource_schema"]),
        ("scope_dropped_attributes", &scope["droppedAttributesCount"]),
        ("resource_dropped_attributes", &item["resource"]["droppedAttributesCount"]),
    ] {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !value.is_null() && !text.is_empty() {
            rest.insert(key.to_owned(), text.into());
        }
    }
    let exemplars = array(&point["exemplars"]).into_iter().map(|exemplar| {
        json!([
            number(&exemplar["timeUnixNano"]),
            any_number(&exemplar),
            number(&exemplar["asInt"]),
            exemplar["traceId"].as_str().unwrap_or_default(),
            exemplar["spanId"].as_str().unwrap_or_default(),
            attributes("", &exemplar["filteredAttributes"]),
        ])
    });
    let quantiles = array(&point["quantileValues"]).into_iter();
    json!({
        "time": number(&point["timeUnixNano"]), "start_time": or(&point["startTimeUnixNano"], 0.into()),
        "metric": metric["name"], "metric_type": metric_type, "unit": metric["unit"].as_str().unwrap_or_default(),
        "description": metric["description"].as_str().unwrap_or_default(), "temporality": temporality,
        "monotonic": data["isMonotonic"] == true, "value": any_number(point), "value_int": number(&point["asInt"]),
        "count": or(&point["count"], 0.into()), // Of a summary it is not optional.
        "sum": if metric_type == "summary" { or(&point["sum"], 0.into()) } else { number(&point["sum"]) },
        "min": number(&point["min"]), "max": number(&point["max"]),
        "bounds": array(&point["explicitBounds"]),
        "bucket_counts": array(&point["bucketCounts"]).iter().map(number).collect::<Value>(),
        "scale": or(&point["scale"], 0.into()), "zero_count": or(&point["zeroCount"], 0.into()),
        "zero_threshold": or(&point["zeroThreshold"], 0.into()),
        "positive_offset": or(&point["positive"]["offset"], 0.into()),
        "positive_bucket_counts": array(&point["positive"]["bucketCounts"]).iter().map(number).collect::<Value>(),
        "negative_offset": or(&point["negative"]["offset"], 0.into()),
        "negative_bucket_counts": array(&point["negative"]["bucketCounts"]).iter().map(number).collect::<Value>(),
        "quantiles": quantiles.map(|of| json!({"quantile": or(&of["quantile"], 0.into()), "value": or(&of["value"], 0.into())})).collect::<Value>(),
        "exemplars": exemplars.collect::<Value>(),
        "flags": or(&point["flags"], 0.into()),
        "service": resource.get("service.name"), "service_instance": resource.get("service.instance.id"),
        "resource": resource, "attributes": rest,
    })
}

/// The points of a request, each with what stands above it.
fn items(request: &Value) -> Vec<Value> {
    let mut items = Vec::new();
    for resource in array(&request["resourceMetrics"]) {
        for scope in array(&resource["scopeMetrics"]) {
            for metric in array(&scope["metrics"]) {
                let kind = TYPES.into_iter().find(|(kind, _)| metric.get(kind).is_some()).unwrap().0;
                for point in array(&metric[kind]["dataPoints"]) {
                    items.push(json!({
                        "resource": resource["resource"], "resource_schema": resource["schemaUrl"],
                        "scope": scope["scope"], "scope_schema": scope["schemaUrl"], "metric": metric, "point": point
                    }));
                }
            }
        }
    }
    items
}

/// Rows in one form and order: numbers that are equal are equal texts.
fn comparable(rows: impl IntoIterator<Item = Value>) -> Vec<String> {
    fn plain(value: Value) -> Value {
        match value {
            Value::Number(number) if number.is_f64() => number.as_f64().unwrap().to_string().into(),
            Value::Number(number) => number.to_string().into(),
            Value::Array(items) => items.into_iter().map(plain).collect(),
            Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, plain(value))).collect(),
            other => other,
        }
    }
    let mut rows: Vec<String> = rows.into_iter().map(|row| plain(row).to_string()).collect();
    rows.sort();
    rows
}

async fn stored(clickhouse: &ClickHouse, database: &str) -> Result<Vec<String>> {
    let nanos = "toUnixTimestamp64Nano";
    let rows = clickhouse
        .query(&format!(
            "SELECT * EXCEPT (_source, _offset) REPLACE ({nanos}(time) AS time, {nanos}(start_time) AS start_time, \
             arrayMap(e -> ({nanos}(tupleElement(e, 'time')), tupleElement(e, 'value'), tupleElement(e, 'value_int'), tupleElement(e, 'trace_id'), \
             tupleElement(e, 'span_id'), tupleElement(e, 'attributes')), exemplars) AS exemplars) FROM {database}.metrics \
             SETTINGS output_format_json_quote_denormals = 1"
        ))
        .await?;
    Ok(comparable(rows))
}

fn same(came: &[String], sent: &[String]) {
    let missing: Vec<_> = sent.iter().filter(|row| !came.contains(row)).take(2).collect();
    let strange: Vec<_> = came.iter().filter(|row| !sent.contains(row)).take(2).collect();
    assert!(came == sent, "missing: {missing:#?}\nnot sent: {strange:#?}");
}

/// Runs to the end of a file of JSON lines. Gives the folder, and what was written to stdout.
async fn run(lines: &str, exporters: &str, names: &str) -> Result<(Arc<tempfile::TempDir>, String)> {
    let folder = Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("in.jsonl"), lines)?;
    let config = format!(
        "receivers: {{file: {{path: in.jsonl}}}}\nexporters: {{{exporters}}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [file], exporters: [{names}]}}}}}}\n"
    );
    let weir = Weir::start_in(folder.clone(), &config, &["--exit-on-end"], &[])?;
    let outcome = weir.wait(PATIENCE).await?;
    anyhow::ensure!(outcome.code == Some(0), "{}", outcome.stderr);
    anyhow::ensure!(!folder.path().join("dead-letter/file.jsonl").exists(), "a line was rejected");
    Ok((folder, outcome.stdout))
}

#[tokio::test]
async fn data_points_of_every_type_come_back_with_every_field() -> Result<()> {
    every_field_in(ClickHouse::shared()?).await
}

#[tokio::test]
async fn the_oldest_engine_and_a_real_server_take_every_field_too() -> Result<()> {
    every_field_in(&ClickHouse::start_oldest()?).await?;
    every_field_in(&ClickHouse::start_real()?).await
}

async fn every_field_in(clickhouse: &ClickHouse) -> Result<()> {
    let sent = comparable(items(&request()).iter().map(expected));
    assert_eq!(sent.len(), 13);
    let database = clickhouse.database().await?;
    let exporters = format!(
        "clickhouse: {{endpoint: '{}', database: {database}}}, file: {{path: out.jsonl}}, local: {{directory: data}}, \
         debug: {{verbosity: detailed}}",
        clickhouse.url()
    );
    let lines = format!("{}\n", request());
    let (folder, shown) = run(&lines, &exporters, "clickhouse, file, local, debug").await?;
    same(&stored(clickhouse, &database).await?, &sent);
    // What the `file` exporter has written has every field, too.
    let again = clickhouse.database().await?;
    let exporters = format!("clickhouse: {{endpoint: '{}', database: {again}}}", clickhouse.url());
    let written = std::fs::read_to_string(folder.path().join("out.jsonl"))?;
    run(&written, &exporters, "clickhouse").await?;
    same(&stored(clickhouse, &again).await?, &sent);
    // So has what `debug` shows.
    let lines = |text: &str| comparable(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    same(&lines(&shown), &lines(&written));
    // `local` keeps lists of numbers as they are, and the others as JSON.
    let data = folder.path().join("data").display().to_string();
    let sql = "SELECT metric, value_int, count, min, bounds, bucket_counts, scale, zero_threshold, positive_bucket_counts, negative_offset, \
               quantiles, exemplars, attributes FROM metrics WHERE start_time IS NOT NULL ORDER BY metric";
    let answer = Weir::run_command(&["query", "--data", &data, "--format", "json", sql], &[])?;
    let rows: Vec<Value> = answer.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let metrics: Vec<_> = rows.iter().map(|row| row["metric"].as_str().unwrap()).collect();
    assert_eq!(metrics, ["latency", "orders", "seconds", "sizes", "temperature"], "{}", answer.stderr);
    let nested = |text: &Value| serde_json::from_str::<Value>(text.as_str().unwrap()).unwrap();
    assert_eq!(
        nested(&rows[0]["quantiles"]),
        json!([{"quantile": 0.5, "value": 2.0}, {"quantile": 0.99, "value": 4.5}])
    );
    assert_eq!(rows[1]["value_int"], -5);
    assert_eq!((&rows[2]["bounds"], &rows[2]["min"]), (&json!([0.5, 2.0]), &json!(0.25)));
    assert_eq!(comparable([rows[2]["bucket_counts"].clone()]), [r#"["1","0","18446744073709551614"]"#]);
    assert_eq!((&rows[3]["scale"], &rows[3]["negative_offset"]), (&json!(-3), &json!(5)));
    assert_eq!(
        (&rows[3]["positive_bucket_counts"], &rows[3]["zero_threshold"]),
        (&json!([1, 2]), &json!(0.001))
    );
    let exemplars = nested(&rows[4]["exemplars"]);
    assert_eq!(
        (exemplars.as_array().unwrap().len(), &exemplars[0]["trace_id"]),
        (3, &json!("5b8efff798038103d269b633813fc60c"))
    );
    Ok(())
}

/// 2,000 points, so that batches wait as blocks, with a bad row among them.
#[tokio::test]
async fn bad_points_are_dead_lettered_alone_and_with_every_field() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    run(
        &format!("{}\n", request()),
        &format!("clickhouse: {{endpoint: '{}', database: {database}}}", clickhouse.url()),
        "clickhouse",
    )
    .await?;
    let bad = format!("ALTER TABLE {database}.metrics ADD CONSTRAINT few CHECK count < 9000000000");
    clickhouse.query(&bad).await?;
    let line = request().to_string().replace("1749088705123456789", "1749088705123456790");
    let lines = format!("{line}\n").repeat(100);
    let exporters = format!("clickhouse: {{endpoint: '{}', database: {database}}}", clickhouse.url());
    let (folder, _) = run(&lines, &exporters, "clickhouse").await?;
    let count = format!("SELECT count() FROM {database}.metrics");
    assert_eq!(clickhouse.number(&count).await?, 13 + 12 * 100);
    let letters = std::fs::read_to_string(folder.path().join("dead-letter/clickhouse.jsonl"))?;
    assert_eq!(letters.lines().count(), 100);
    let letter: Value = serde_json::from_str(letters.lines().next().unwrap())?;
    let row: Value = serde_json::from_str(letter["row"].as_str().unwrap())?;
    assert_eq!(row["bounds"], json!([0.5, 2.0]));
    assert_eq!(row["exemplars"][0]["attributes"], json!({"user": "größer", "n": -3}));
    assert_eq!(comparable([row["count"].clone()]), ["\"18446744073709551615\""]);
    Ok(())
}

#[tokio::test]
async fn what_opentelemetrys_sdk_measures_is_there_with_every_field_once() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let (grpc, http) = (free_port()?, free_port()?);
    let config = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}\n\
         exporters: {{clickhouse: {{endpoint: '{}', database: {database}}}}}\n\
         service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [otlp], exporters: [clickhouse]}}}}}}\n",
        clickhouse.url()
    );
    let weir = Weir::start(&config, &[], &[])?;
    let look = async || Ok(tokio::net::TcpStream::connect(("127.0.0.1", http)).await.ok());
    wait_until("the receiver to listen", PATIENCE, look).await?;
    let sent = send_with_sdk("grpc", &format!("http://127.0.0.1:{grpc}"), 50).await?;
    let sent: Vec<Value> = sent.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let points: Vec<&Value> = sent.iter().filter(|item| item.get("point").is_some()).collect();
    assert!(points.len() > 5, "{}", points.len());
    // Their exemplars have ids in base64: the other tests compare exemplars.
    let without = |mut row: Value| {
        row.as_object_mut().unwrap().remove("exemplars");
        row
    };
    let expected = comparable(points.into_iter().map(|item| without(expected(item))));
    let rows = stored(clickhouse, &database).await?;
    let rows = comparable(rows.iter().map(|row| without(serde_json::from_str(row).unwrap())));
    same(&rows, &expected);
    weir.terminate(PATIENCE).await?;
    Ok(())
}
