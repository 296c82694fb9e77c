//! Alarms through crashes: what rules must have said, what was stored, and what a slow webhook was told.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use weir_tests::stream::{Key, Value};
use weir_tests::{ClickHouse, Recorder};

/// A change of an alarm: rule, service, operation, state, time, and when it began.
pub type Change = (String, String, String, String, i64, i64);

/// The rule of an operator.
pub fn rule(operator: &str) -> String {
    format!("busy-{}", operator.replace('/', "-"))
}

/// For each operator a count that about one window in ten exceeds.
pub fn limits(reference: &BTreeMap<Key, Value>) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for ((operator, ..), value) in reference {
        counts.entry(operator.clone()).or_default().push(value.0);
    }
    let limit = |mut counts: Vec<u64>| {
        counts.sort_unstable();
        counts[counts.len() * 9 / 10]
    };
    counts.into_iter().map(|(operator, counts)| (operator, limit(counts))).collect()
}

/// The alarms that these windows, which are `sizes` long, must raise.
pub fn expected(
    reference: &BTreeMap<Key, Value>,
    limits: &BTreeMap<String, u64>,
    sizes: &BTreeMap<String, i64>,
) -> BTreeSet<Change> {
    let mut firing: BTreeMap<(&str, &str, &str), i64> = BTreeMap::new();
    let mut changes = BTreeSet::new();
    // Keys are ordered by operator and start, so each series is in the order of its windows.
    for ((operator, start, service, operation), value) in reference {
        let (series, end) =
            ((operator.as_str(), service.as_str(), operation.as_str()), start + sizes[operator]);
        let change = |state: &str, began: i64| {
            (rule(operator), service.clone(), operation.clone(), state.to_owned(), end, began)
        };
        match (value.0 > limits[operator], firing.get(&series).copied()) {
            (true, None) => {
                firing.insert(series, end);
                changes.insert(change("firing", end));
            }
            (false, Some(began)) => {
                firing.remove(&series);
                changes.insert(change("resolved", began));
            }
            _ => {}
        }
    }
    changes
}

/// The stored alarms, of windows that begin before `before`.
pub async fn stored(clickhouse: &ClickHouse, database: &str, before: i64) -> Result<Vec<Change>> {
    let sql = format!(
        "SELECT rule, service, operation, state, toUnixTimestamp64Milli(time) AS time, \
         toUnixTimestamp64Milli(starts_at) AS starts_at FROM {database}.alarms \
         WHERE toUnixTimestamp64Milli(window_start) < {before}"
    );
    clickhouse.query(&sql).await?.iter().map(change).collect()
}

fn change(row: &Json) -> Result<Change> {
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let time = |name: &str| row[name].as_i64().with_context(|| format!("{name} in {row}"));
    Ok((text("rule"), text("service"), text("operation"), text("state"), time("time")?, time("starts_at")?))
}

/// The alarms that the webhook accepted, of windows that begin before `before`. A change came under one id,
/// however often it came, and an id with the same changes.
pub fn told(webhook: &Recorder, before: i64) -> Result<BTreeSet<Change>> {
    let mut by_id: BTreeMap<String, BTreeSet<Change>> = BTreeMap::new();
    let mut ids: BTreeMap<Change, String> = BTreeMap::new();
    for request in webhook.requests().iter().filter(|request| request.status == 200) {
        let id = request.headers["webhook-id"].to_str()?.to_owned();
        let body = request.json()?;
        let alarms = body["alarms"].as_array().context("alarms")?;
        let changes: BTreeSet<Change> = alarms.iter().map(change).collect::<Result<_>>()?;
        for change in &changes {
            let known = ids.entry(change.clone()).or_insert_with(|| id.clone());
            ensure!(*known == id, "{change:?} came under two ids: {known} and {id}");
        }
        let known = by_id.entry(id.clone()).or_insert_with(|| changes.clone());
        ensure!(*known == changes, "{id} came with {known:?} and with {changes:?}");
    }
    // The windows that close the stream are not in the reference.
    Ok(ids.into_keys().filter(|change| change.4 <= before).collect())
}
