//! `/debug/pipelines` as JSON and as plain text.

use std::fmt::Write;

use serde_json::{Value, json};
use weir_pdata::Signal;

use super::disorder::Disorder;
use super::distances::{Distances, bound};
use super::{Disorders, Traffic};

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
    let receivers = traffic.receivers().into_iter();
    let receivers =
        receivers.map(|(receiver, disorders)| json!({"receiver": receiver, "signals": signals(&disorders)}));
    let lanes = traffic.lanes().into_iter().map(|lane| {
        let (receiver, name) = (lane.receiver, lane.name.as_ref());
        json!({"receiver": receiver, "lane": name, "signals": signals(&lane.disorders)})
    });
    json!({
        "pipelines": pipelines.collect::<Vec<_>>(),
        "receivers": receivers.collect::<Vec<_>>(),
        "lanes": lanes.collect::<Vec<_>>(),
    })
}

fn signals(disorders: &Disorders) -> Vec<Value> {
    disorders.iter().map(|(signal, disorder)| of(*signal, disorder)).collect()
}

fn of(signal: Signal, disorder: &Disorder) -> Value {
    json!({
        "signal": signal.name(),
        "events": disorder.behind.recent().iter().sum::<u64>(),
        "advised_out_of_orderness_ms": disorder.advice(),
        "delay_ms": distances(&disorder.delay),
        "disorder_ms": distances(&disorder.behind),
    })
}

/// The buckets that hold something: their upper bounds (null: none) and counts.
fn distances(distances: &Distances) -> Value {
    let counts = distances.recent().into_iter().enumerate().filter(|(_, count)| *count > 0);
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
    for (receiver, disorders) in traffic.receivers() {
        lines(&mut text, &format!("receiver {receiver}"), &disorders);
    }
    for lane in traffic.lanes() {
        lines(&mut text, &format!("lane {} of {}", lane.name, lane.receiver), &lane.disorders);
    }
    text
}

fn lines(text: &mut String, of: &str, disorders: &Disorders) {
    if disorders.is_empty() {
        let _ = writeln!(text, "{of}: no events with a time that something reads");
    }
    for (signal, disorder) in disorders {
        let _ = writeln!(text, "{of}: {} {}", signal.name(), line(disorder));
    }
}

fn line(disorder: &Disorder) -> String {
    let events: u64 = disorder.behind.recent().iter().sum();
    let advice = disorder.advice().unwrap_or(0);
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
