//! `/debug/pipelines` as JSON and as plain text.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Traffic;
use super::disorder::{Disorder, Distances, bound};

/// As JSON.
pub(crate) fn json(traffic: &Traffic) -> Value {
    let pipelines = traffic.flows().into_iter().map(|flow| {
        let edges = flow.rows().into_iter().map(|row| {
            json!({
                "on": row.place, "from": row.from, "to": row.to, "signal": row.signal.name(),
                "rows": row.rows, "batches": row.batches,
            })
        });
        json!({"pipeline": flow.id, "edges": edges.collect::<Vec<_>>()})
    });
    let receivers = traffic.receivers().into_iter().map(|(receiver, disorder)| {
        let mut value = of(&disorder);
        value["receiver"] = receiver.into();
        value
    });
    let lanes = traffic.lanes().into_iter().map(|lane| {
        let mut value = of(&lane.disorder);
        value["receiver"] = lane.receiver.into();
        value["lane"] = lane.name.as_ref().into();
        value
    });
    json!({
        "pipelines": pipelines.collect::<Vec<_>>(),
        "receivers": receivers.collect::<Vec<_>>(),
        "lanes": lanes.collect::<Vec<_>>(),
    })
}

fn of(disorder: &Disorder) -> Value {
    json!({
        "events": disorder.behind.counts().iter().sum::<u64>(),
        "advised_out_of_orderness_ms": disorder.advice(),
        "delay_ms": distances(&disorder.delay),
        "disorder_ms": distances(&disorder.behind),
    })
}

/// The buckets that hold something: their upper bounds and counts.
fn distances(distances: &Distances) -> Value {
    let counts = distances.counts().into_iter().enumerate().filter(|(_, count)| *count > 0);
    let buckets = counts.map(|(at, count)| json!({"le": bound(at), "count": count}));
    json!({
        "p50": distances.at(500), "p99": distances.at(990), "p999": distances.at(999),
        "max": distances.longest(), "buckets": buckets.collect::<Vec<_>>(),
    })
}

/// As plain text.
pub(crate) fn text(traffic: &Traffic) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for flow in traffic.flows() {
        let _ = writeln!(text, "pipeline {}", flow.id);
        for row in flow.rows() {
            let (place, from, to, signal) = (row.place, &row.from, &row.to, row.signal.name());
            let (rows, batches) = (row.rows, row.batches);
            let _ = writeln!(text, "  {place:<12} {from} -> {to}: {signal} {rows} rows, {batches} batches");
        }
    }
    for (receiver, disorder) in traffic.receivers() {
        let _ = writeln!(text, "receiver {receiver}: {}", line(&disorder));
    }
    for lane in traffic.lanes() {
        let _ = writeln!(text, "lane {} of {}: {}", lane.name, lane.receiver, line(&lane.disorder));
    }
    text
}

fn line(disorder: &Disorder) -> String {
    let events: u64 = disorder.behind.counts().iter().sum();
    let Some(advice) = disorder.advice() else {
        return "no events with a time that something reads".to_owned();
    };
    let millis = |distances: &Distances| {
        let [p50, p99] = [500, 990].map(|share| distances.at(share).unwrap_or(0));
        format!("p50 {p50} ms, p99 {p99} ms, max {} ms", distances.longest())
    };
    format!(
        "{events} events; delay {}; disorder {}; out_of_orderness: {advice}ms would have kept 99.9 %",
        millis(&disorder.delay),
        millis(&disorder.behind)
    )
}
