//! Columns that are created for keys: every value is readable, whatever happens on the way.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{context, json_batch};
use weir_component::{Context, Exporter, Settings, SystemClock, Telemetry};
use weir_config::{Document, SourceText, Topology};
use weir_exporter_clickhouse::FACTORY;
use weir_pdata::{Ack, EventBatch, Origin, Signal};
use weir_tests::{ClickHouse, Weir, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

fn exporter(clickhouse: &ClickHouse, database: &str, dynamic: &str) -> (BuiltExporter, Telemetry) {
    let text = format!(
        "receivers: {{r: }}\nexporters:\n  clickhouse:\n    endpoint: {}\n    database: {database}\n    dynamic_columns: {{interval: 1s, {dynamic}}}\n\
         service: {{pipelines: {{main: {{receivers: [r], exporters: [clickhouse]}}}}}}\n",
        clickhouse.url()
    );
    let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
    let topology = Topology::read(&document).unwrap();
    let context = Context { clock: Arc::new(SystemClock), ..context("clickhouse", &std::env::temp_dir()) };
    let telemetry = context.telemetry.clone();
    ((FACTORY.create)(Settings::new(&document, &topology.exporters[0]), context).unwrap(), telemetry)
}

/// The spans that were exported: their attributes by id.
#[derive(Default)]
struct Sent(BTreeMap<String, Map<String, Value>>);

impl Sent {
    /// A batch of spans with these attributes.
    fn batch(&mut self, spans: Vec<Value>) -> EventBatch {
        let first = i64::try_from(self.0.len()).unwrap();
        let rows: Vec<Value> = spans
            .into_iter()
            .map(|attributes| {
                let id = format!("s{}", self.0.len());
                self.0.insert(id.clone(), attributes.as_object().unwrap().clone());
                json!({"time": 1_796_000_000_000_i64, "service": "shop", "span_id": id, "attributes": attributes})
            })
            .collect();
        let mut batch = json_batch(Signal::Traces, &rows, Ack::none());
        batch.origin = Origin::lane("test/0".into(), first..first + i64::try_from(rows.len()).unwrap());
        batch
    }

    /// Every value of these keys is in the view, in the row of its span, and no other is.
    async fn check(&self, clickhouse: &ClickHouse, database: &str, keys: &[&str]) -> Result<()> {
        let columns: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let sql = format!("SELECT DISTINCT span_id, {} FROM {database}.events_all", columns.join(", "));
        let rows = clickhouse.query(&sql).await?;
        ensure!(rows.len() == self.0.len(), "{} rows of {}", rows.len(), self.0.len());
        for row in rows {
            let sent = &self.0[row["span_id"].as_str().unwrap()];
            for column in keys {
                let key = column.strip_prefix("attr.").unwrap_or(column);
                let expected = sent
                    .get(key)
                    .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                ensure!(row[*column] == json!(expected), "{column} of {sent:?}: {row}");
            }
        }
        Ok(())
    }
}

/// Waits until this many keys are marked as created, and gives them with their types.
async fn created(clickhouse: &ClickHouse, database: &str, count: usize) -> Result<Vec<(String, String)>> {
    let sql =
        format!("SELECT keyName, keyType FROM {database}.new_key FINAL WHERE isCreated ORDER BY keyName");
    wait_until("columns to be created", TIMEOUT, async || {
        // The tables come with the first round.
        let Ok(rows) = clickhouse.query(&sql).await else { return Ok(None) };
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        Ok((rows.len() >= count)
            .then(|| rows.iter().map(|row| (text(row, "keyName"), text(row, "keyType"))).collect()))
    })
    .await
}

/// Waits until the view has these columns as texts. It follows the columns with a round of some gateway.
async fn shown(clickhouse: &ClickHouse, database: &str, columns: &[&str]) -> Result<()> {
    let names: Vec<String> = columns.iter().map(|name| format!("'{name}'")).collect();
    let texts = format!(
        "SELECT count() FROM system.columns WHERE database = '{database}' AND table = 'events_all' \
         AND name IN ({}) AND type LIKE '%String%'",
        names.join(", ")
    );
    wait_until("the view", TIMEOUT, async || {
        Ok((clickhouse.number(&texts).await? == columns.len() as u64).then_some(()))
    })
    .await
}

/// Exports such spans until a row meets a condition: the writer has seen the new columns.
async fn export_until(
    clickhouse: &ClickHouse,
    database: &str,
    exporter: &dyn Exporter,
    sent: &mut Sent,
    span: &Value,
    condition: &str,
) -> Result<()> {
    let filled = format!("SELECT countIf({condition}) FROM {database}.events");
    wait_until("values in the new columns", TIMEOUT, || {
        let (batch, filled) = (sent.batch(vec![span.clone()]), &filled);
        async move {
            exporter.export(&[batch]).await?;
            Ok((clickhouse.number(filled).await? > 0).then_some(()))
        }
    })
    .await
}

async fn kinds(clickhouse: &ClickHouse, database: &str, names: &[&str]) -> Result<Vec<Value>> {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let sql = format!(
        "SELECT name, type FROM system.columns WHERE database = '{database}' AND table = 'events' AND name IN ({}) ORDER BY name",
        names.join(", ")
    );
    clickhouse.query(&sql).await
}

#[tokio::test]
async fn the_most_frequent_keys_get_columns_of_their_type_and_every_value_is_readable() -> Result<()> {
    every_value_is_readable_in(ClickHouse::shared()?).await
}

async fn every_value_is_readable_in(clickhouse: &ClickHouse) -> Result<()> {
    let database = clickhouse.database().await?;
    let (BuiltExporter { exporter, .. }, telemetry) =
        exporter(clickhouse, &database, "max_created_columns: 5, deny: ['secret.*'], types: {zip: text}");
    exporter.start().await?;
    let mut sent = Sent::default();
    let span = |n: i64| {
        let mut span =
            json!({"size": n.to_string(), "secret.token": "x", "peer": format!("p{n}"), "zip": "12345"});
        if n % 2 == 0 {
            span["ratio"] = json!("0.25");
            span["typed"] = json!(n);
        }
        if n == 0 {
            span["rare"] = json!("1");
        }
        span
    };
    // A row in the batch form, and a large one that waits as a block.
    exporter.export(&[sent.batch((0..10).map(span).collect())]).await?;
    exporter.export_outgoing(&[exporter.prepare(sent.batch((10..1_010).map(span).collect()))]).await?;
    let found = created(clickhouse, &database, 5).await?;
    let expected =
        [("peer", "text"), ("ratio", "float"), ("size", "integer"), ("typed", "integer"), ("zip", "text")];
    assert_eq!(found, expected.map(|(key, kind)| (key.to_owned(), kind.to_owned())));
    assert_eq!(
        kinds(clickhouse, &database, &["attr.peer", "ratio", "size", "rare", "secret.token", "zip"]).await?,
        [
            json!({"name": "attr.peer", "type": "LowCardinality(Nullable(String))"}),
            json!({"name": "ratio", "type": "Nullable(Float64)"}),
            json!({"name": "size", "type": "Nullable(Int64)"}),
            json!({"name": "zip", "type": "LowCardinality(Nullable(String))"}),
        ]
    );
    let keys = ["attr.peer", "ratio", "size", "typed", "zip"];
    shown(clickhouse, &database, &keys).await?;
    sent.check(clickhouse, &database, &keys).await?;
    // The writer picks the columns up. What does not fit stays in the map.
    let (more, filled) =
        (json!({"size": "17", "zip": "1"}), "size = 17 AND NOT mapContains(attributes, 'size')");
    export_until(clickhouse, &database, &*exporter, &mut sent, &more, filled).await?;
    let misfits = vec![
        json!({"size": "large", "ratio": "x", "typed": "y", "peer": "", "zip": "007"}),
        json!({}),
        span(2),
    ];
    exporter.export(&[sent.batch(misfits)]).await?;
    sent.check(clickhouse, &database, &keys).await?;
    // Of other columns the view has those that `events` computes, too.
    let ids = format!("SELECT uniqExact(span_id) FROM {database}.events_all WHERE end_time >= time");
    assert_eq!(clickhouse.number(&ids).await?, sent.0.len() as u64);
    assert!(telemetry.encode().contains("weir_clickhouse_created_columns{exporter=\"clickhouse\"} 5"));
    exporter.stop().await;
    let counts =
        format!("SELECT sum(count) FROM {database}.keys WHERE service = 'shop' AND key = 'secret.token'");
    assert_eq!(clickhouse.number(&counts).await?, 1_011);
    Ok(())
}

/// What is not Weir's is not replaced, and a computed column of the user's is no column of a key.
#[tokio::test]
async fn a_table_named_like_the_view_stays_and_computed_columns_are_no_columns_of_keys() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    for has_table in [true, false] {
        let database = clickhouse.database().await?;
        if has_table {
            clickhouse
                .query(&format!(
                    "CREATE TABLE {database}.events_all ENGINE = MergeTree ORDER BY x AS SELECT 1 AS x"
                ))
                .await?;
        }
        let (BuiltExporter { exporter, .. }, _) = exporter(clickhouse, &database, "max_created_columns: 2");
        exporter.start().await?;
        let mut sent = Sent::default();
        exporter.export(&[sent.batch(vec![json!({"other": "x"})])]).await?;
        clickhouse
            .query(&format!(
                "ALTER TABLE {database}.events ADD COLUMN owner String ALIAS concat(service, '!')"
            ))
            .await?;
        exporter.export(&[sent.batch(vec![json!({"owner": "me", "size": "1"}); 3])]).await?;
        // A key of a later round: by then the rounds before have looked at the view.
        created(clickhouse, &database, 2).await?;
        if has_table {
            exporter.export(&[sent.batch(vec![json!({"late": "1"})])]).await?;
            let late = format!("SELECT count() FROM {database}.new_key WHERE keyName = 'late'");
            wait_until("a later round", TIMEOUT, async || {
                Ok((clickhouse.number(&late).await? > 0).then_some(()))
            })
            .await?;
            let rows = clickhouse.query(&format!("SELECT x FROM {database}.events_all")).await?;
            assert_eq!(rows, [json!({"x": 1})]);
        } else {
            shown(clickhouse, &database, &["size", "other"]).await?;
            let owners = format!("SELECT count() FROM {database}.events_all WHERE owner = 'shop!'");
            assert_eq!(clickhouse.number(&owners).await?, sent.0.len() as u64);
        }
        exporter.stop().await;
    }
    Ok(())
}

/// An answer that is lost leaves it open whether the counts are there: they are sent again, and not added.
#[tokio::test]
async fn counts_of_keys_are_not_doubled_by_lost_answers() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    let (BuiltExporter { exporter, .. }, _) = exporter(&clickhouse, &database, "max_created_columns: 0");
    exporter.start().await?;
    let mut sent = Sent::default();
    for table in ["keys", "new_key"] {
        let fault = format!("INSERT INTO \\S*\\b{table}\\b");
        clickhouse.fault(json!({"mode": "lost_answer", "times": 1, "match": fault})).await?;
        exporter.export(&[sent.batch(vec![json!({table: "x"}); 5])]).await?;
        let announced = format!("SELECT count() FROM {database}.new_key WHERE keyName = '{table}'");
        wait_until("the key to be written down", TIMEOUT, async || {
            Ok((clickhouse.number(&announced).await.unwrap_or(0) > 0).then_some(()))
        })
        .await?;
    }
    exporter.export(&[sent.batch(vec![json!({"last": "x"})])]).await?;
    exporter.stop().await;
    let counts =
        format!("SELECT key, toUInt32(sum(count)) AS n FROM {database}.keys GROUP BY key ORDER BY key");
    let expected = [("keys", 5), ("last", 1), ("new_key", 5)];
    assert_eq!(clickhouse.query(&counts).await?, expected.map(|(key, n)| json!({"key": key, "n": n})));
    Ok(())
}

#[tokio::test]
async fn a_burst_of_keys_costs_a_bounded_number_of_inserts() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    let (BuiltExporter { exporter, .. }, _) = exporter(&clickhouse, &database, "max_created_columns: 4");
    exporter.start().await?;
    let mut sent = Sent::default();
    let span = |n: usize| -> Value {
        (0..100).map(|key| (format!("k{}", n * 100 + key), json!("v"))).collect::<Map<_, _>>().into()
    };
    let spans: Vec<Value> = (0..100).map(span).collect();
    let before = clickhouse.stats().await?.inserts;
    exporter.export(&[sent.batch(spans)]).await?;
    let keys = format!("SELECT count() FROM {database}.new_key");
    wait_until("all keys to be written down", TIMEOUT, async || {
        Ok((clickhouse.number(&keys).await.unwrap_or(0) == 10_000).then_some(()))
    })
    .await?;
    created(&clickhouse, &database, 4).await?;
    exporter.stop().await;
    let inserts = clickhouse.stats().await?.inserts - before;
    assert!(inserts <= 5, "one of spans, two of keys, one of marks: {inserts}");
    Ok(())
}

#[tokio::test]
async fn two_gateways_and_statements_that_fail_end_with_the_same_columns() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    clickhouse.fault(json!({"mode": "http500", "code": 242, "times": 3, "match": "ALTER TABLE"})).await?;
    let gateways = [0, 1].map(|_| exporter(&clickhouse, &database, "max_created_columns: 3"));
    let mut sent = Sent::default();
    for (gateway, _) in &gateways {
        gateway.exporter.start().await?;
    }
    for _ in 0..5 {
        for (gateway, _) in &gateways {
            // Half of the values of `c` are numbers.
            let spans = (0..20)
                .map(|n| json!({"a": n.to_string(), "b": "x", "c": if n % 2 == 0 { "1" } else { "one" }}));
            let spans = spans.collect();
            gateway.exporter.export(&[sent.batch(spans)]).await?;
        }
    }
    let found = created(&clickhouse, &database, 3).await?;
    let expected = [("a", "integer"), ("b", "text"), ("c", "text")];
    assert_eq!(found, expected.map(|(key, kind)| (key.to_owned(), kind.to_owned())));
    let failed: usize = gateways
        .iter()
        .map(|(_, telemetry)| {
            let text = telemetry.encode();
            let line = text.lines().find(|line| line.starts_with("weir_clickhouse_failed_alters_total"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or(0)
        })
        .sum();
    assert_eq!(failed, 3, "each failure is counted, and tried again");
    shown(&clickhouse, &database, &["a", "b", "c"]).await?;
    for (gateway, _) in &gateways {
        let span = json!({"a": "5", "b": "y", "c": "z"});
        export_until(&clickhouse, &database, &*gateway.exporter, &mut sent, &span, "b = 'y'").await?;
        gateway.exporter.stop().await;
    }
    sent.check(&clickhouse, &database, &["a", "b", "c"]).await
}

#[tokio::test]
async fn a_repeated_insert_is_the_same_though_the_table_got_a_column_in_between() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let database = clickhouse.database().await?;
    let (BuiltExporter { exporter, .. }, _) = exporter(&clickhouse, &database, "max_created_columns: 0");
    let mut sent = Sent::default();
    exporter.export(&[sent.batch(vec![json!({"k": "first"})])]).await?;
    clickhouse.fault(json!({"mode": "lost_answer", "times": 1, "match": "INSERT"})).await?;
    let batch = sent.batch(vec![json!({"k": "second"})]);
    exporter.export(std::slice::from_ref(&batch)).await.unwrap_err();
    clickhouse.query(&format!("ALTER TABLE {database}.events ADD COLUMN k String")).await?;
    export_until(&clickhouse, &database, &*exporter, &mut sent, &json!({"k": "other"}), "k = 'other'")
        .await?;
    exporter.export(&[batch]).await?;
    let count =
        format!("SELECT count() FROM {database}.events WHERE k = 'second' OR attributes['k'] = 'second'");
    assert_eq!(clickhouse.number(&count).await?, 1);
    Ok(())
}

/// Killed between the column and its mark, and between the mark and the next insert.
#[tokio::test]
async fn a_gateway_that_is_killed_leaves_no_key_behind() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    for place in ["after-alter:1", "after-created-mark:1"] {
        let database = clickhouse.database().await?;
        let folder = Arc::new(tempfile::tempdir()?);
        let path = folder.path().join("in.jsonl");
        let mut sent = Sent::default();
        let mut lines = |from: usize, to: usize| {
            let mut text = std::fs::read_to_string(&path).unwrap_or_default();
            for n in from..to {
                let id = format!("s{n}");
                let attributes = json!({"size": n.to_string(), "word": format!("w{n}")});
                sent.0.insert(id.clone(), attributes.as_object().unwrap().clone());
                text += &format!(
                    "{}\n",
                    json!({"signal": "traces", "time": 1_796_000_000_000_i64, "service": "shop", "span_id": id, "attributes": attributes})
                );
            }
            std::fs::write(&path, text).unwrap();
        };
        lines(0, 50);
        let config = format!(
            "receivers: {{file: {{path: in.jsonl, follow: true}}}}\n\
             exporters: {{clickhouse: {{endpoint: '{}', database: {database}, batch: {{timeout: 100ms}}, dynamic_columns: {{interval: 1s, max_created_columns: 8}}}}}}\n\
             service: {{telemetry: {{metrics: {{address: ''}}}}, pipelines: {{main: {{receivers: [file], exporters: [clickhouse]}}}}}}\n",
            clickhouse.url()
        );
        let weir = Weir::start_in(Arc::clone(&folder), &config, &[], &[("WEIR_FAILPOINT", place)])?;
        let outcome = weir.wait(TIMEOUT).await?;
        ensure!(outcome.code.is_none(), "{place}: it ended by itself: {}", outcome.stderr);
        let marked = format!("SELECT count() FROM {database}.new_key FINAL WHERE isCreated");
        let expected = if place == "after-alter:1" { 0 } else { 2 };
        assert_eq!(clickhouse.number(&marked).await?, expected, "{place}");
        assert_eq!(kinds(clickhouse, &database, &["size", "word"]).await?.len(), 2, "{place}");
        lines(50, 80);
        let weir = Weir::start_in(Arc::clone(&folder), &config, &[], &[])?;
        created(clickhouse, &database, 2).await?;
        let all = format!("SELECT uniqExact(span_id) FROM {database}.events WHERE size IS NOT NULL");
        wait_until("all spans", TIMEOUT, async || Ok((clickhouse.number(&all).await? >= 80).then_some(())))
            .await?;
        shown(clickhouse, &database, &["size", "word"]).await?;
        sent.check(clickhouse, &database, &["size", "word"]).await?;
        weir.terminate(TIMEOUT).await?;
    }
    Ok(())
}
