//! What is known of instances, and what their events get.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::{Value, json};
use weir_component::testkit::{context, json_batch};
use weir_pdata::text::TextColumn;
use weir_pdata::{Ack, Signal};

use crate::config::Instances;
use crate::instances::table::InstanceTable;

fn table(max: usize) -> InstanceTable {
    let config = Instances { max, ..Instances::default() };
    InstanceTable::new(&config, &context("enrich", std::path::Path::new("/nonexistent")))
}

fn rows(signal: Signal, rows: &[Value]) -> RecordBatch {
    json_batch(signal, rows, Ack::none()).as_columns().unwrap().clone()
}

/// A report of properties, as the receivers of SkyWalking make it.
fn report(instance: &str, properties: &Value) -> RecordBatch {
    rows(
        Signal::Logs,
        &[
            json!({"time": 1, "event_name": "instance_properties", "service": "shop", "service_instance": instance,
                 "attributes": properties}),
        ],
    )
}

fn spans(instances: &[&str]) -> RecordBatch {
    let span = |instance: &&str| json!({"time": 1, "service": "shop", "service_instance": instance});
    rows(Signal::Traces, &instances.iter().map(span).collect::<Vec<_>>())
}

/// The value of a column for each row; none without the column.
fn column(table: &InstanceTable, events: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let columns = table.columns_of(events).unwrap();
    let Some((_, array)) = columns.iter().find(|(field, _)| field.name() == name) else {
        return vec![None; events.num_rows()];
    };
    let text = TextColumn::new(array).unwrap();
    (0..events.num_rows()).map(|row| text.get(row).map(str::to_owned)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn events_of_an_instance_get_what_it_has_reported() {
    let table = table(10);
    let events = spans(&["a", "b", "a", "c", ""]);
    assert!(table.columns_of(&events).unwrap().is_empty(), "nothing is known yet");
    table.learn(
        &report("a", &json!({"hostname": "h1", "ipv4": ["10.0.0.1", "10.0.0.2"], "Process No.": "17"})),
        1,
    );
    table.learn(&report("b", &json!({"host.name": "h2", "language": "python", "other": "x"})), 1);
    // A log of another kind.
    table.learn(
        &rows(
            Signal::Logs,
            &[json!({"service": "shop", "service_instance": "c", "attributes": {"hostname": "h3"}})],
        ),
        1,
    );
    assert_eq!(column(&table, &events, "host.name"), [some("h1"), some("h2"), some("h1"), None, None]);
    assert_eq!(column(&table, &events, "process.pid"), [some("17"), None, some("17"), None, None]);
    assert_eq!(column(&table, &events, "telemetry.sdk.language")[1], some("python"));
    let ips = column(&table, &events, "host.ip");
    assert!(
        ips[0].as_ref().is_some_and(|ips| ips.contains("10.0.0.1") && ips.contains("10.0.0.2")),
        "{ips:?}"
    );
    // The newest report counts.
    table.learn(&report("a", &json!({"hostname": "h9"})), 2);
    assert_eq!(column(&table, &events, "host.name")[0], some("h9"));
    assert_eq!(column(&table, &events, "process.pid"), vec![None; 5]);
}

#[test]
fn the_table_is_bounded_and_forgets_who_reported_least_recently() {
    let table = table(32);
    for number in 0..40 {
        table.learn(&report(&number.to_string(), &json!({"hostname": "h"})), number);
        // One goes on reporting.
        table.learn(&report("0", &json!({"hostname": "first"})), number);
    }
    let kept = table.kept();
    assert!(kept.len() <= 32, "{}", kept.len());
    let known = column(&table, &spans(&["0", "1", "2", "39"]), "host.name");
    assert_eq!(known, [some("first"), None, None, some("h")]);
    // A value that is too long is left out.
    table.learn(&report("long", &json!({"hostname": "x".repeat(1_025), "language": "go"})), 50);
    assert_eq!(column(&table, &spans(&["long"]), "host.name"), [None]);
    assert_eq!(column(&table, &spans(&["long"]), "telemetry.sdk.language"), [some("go")]);
}

#[test]
fn what_was_kept_is_known_again_with_other_columns_too() {
    let before = table(10);
    before.learn(&report("a", &json!({"hostname": "h1", "language": "java"})), 5);
    let kept = serde_json::to_vec(&before.kept()).unwrap();
    let after = Arc::new(table(10));
    after.restore(serde_json::from_slice(&kept).unwrap());
    assert_eq!(after.kept(), before.kept());
    let config = Instances {
        columns: [
            ("os.name".to_owned(), vec!["OS Name".to_owned()]),
            ("host.name".to_owned(), vec!["hostname".to_owned()]),
        ]
        .into(),
        ..Instances::default()
    };
    let other = InstanceTable::new(&config, &context("enrich", std::path::Path::new("/nonexistent")));
    other.restore(serde_json::from_slice(&kept).unwrap());
    assert_eq!(column(&other, &spans(&["a"]), "host.name"), [some("h1")]);
    assert!(other.columns_of(&spans(&["a"])).unwrap().iter().all(|(field, _)| field.name() != "os.name"));
}
