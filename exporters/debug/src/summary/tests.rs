//! The look of the summary.

use std::sync::Arc;

use super::*;
use arrow::array::{
    Float64Array, Int32Array, Int64Array, MapBuilder, MapFieldNames, StringBuilder, StringViewArray,
    TimestampNanosecondArray,
};

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values.iter().copied()))
}

/// Windows given as (start in seconds, service, operation, count, success rate, mean, p99).
type Row<'a> = (i64, Option<&'a str>, Option<&'a str>, i64, f64, f64, i64);

fn windows(rows: &[Row<'_>]) -> RecordBatch {
    let starts = rows.iter().map(|row| row.0 * 1_000_000_000);
    RecordBatch::try_from_iter([
        ("operator", text(&vec![Some("aggregate"); rows.len()])),
        (
            "window_start",
            Arc::new(TimestampNanosecondArray::from_iter_values(starts).with_timezone("UTC")) as ArrayRef,
        ),
        ("service", text(&rows.iter().map(|row| row.1).collect::<Vec<_>>())),
        ("operation", text(&rows.iter().map(|row| row.2).collect::<Vec<_>>())),
        ("firing", Arc::new(Int32Array::from(vec![0; rows.len()]))),
        ("count", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.3)))),
        ("success_rate", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.4)))),
        ("avg_duration_ns", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.5)))),
        ("p99_duration_ns", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.6)))),
    ])
    .unwrap()
}

fn show(summary: &mut Summary, batches: &[RecordBatch], limit: usize) -> String {
    let mut out = String::new();
    summary.windows(batches.iter(), limit, &mut out);
    out
}

#[test]
fn windows_are_aligned_and_ordered_in_blocks_of_one_start() {
    let mut summary = Summary::new(false);
    summary.add(Signal::Traces, 1204);
    let first = windows(&[
        (3612, Some("pay"), Some("/pay"), 3, 1.0, 2.5e6, 4_000_000),
        (3607, Some("pay"), Some("/pay"), 120, 0.992, 12.3e6, 1_200_000_000),
        (3607, Some("order"), Some("/order/{id}"), 7, 1.0, 340e3, 900_000),
    ]);
    let expected = "\
1,204 spans stored
window    service       operation             count   success        avg        p99
01:00:07  order         /order/{id}               7   100.0 %     340 µs     900 µs
01:00:07  pay           /pay                    120    99.2 %      12 ms     1.20 s
window    service       operation             count   success        avg        p99
01:00:12  pay           /pay                      3   100.0 %     2.5 ms     4.0 ms
";
    assert_eq!(show(&mut summary, &[first], 99), expected);
}

#[test]
fn a_block_goes_on_in_the_next_export_without_another_head() {
    let mut summary = Summary::new(false);
    let row = |service| windows(&[(7, Some(service), Some("/"), 1, 1.0, 1e6, 1_000_000)]);
    assert!(show(&mut summary, &[row("a")], 9).starts_with("window "));
    let more = show(&mut summary, &[row("b")], 9);
    assert!(more.starts_with("00:00:07  b ") && more.lines().count() == 1, "{more}");
}

#[test]
fn totals_are_shown_when_they_have_changed() {
    let mut summary = Summary::new(false);
    let row = |start| windows(&[(start, Some("a"), Some("/"), 1, 1.0, 1e6, 1_000_000)]);
    summary.add(Signal::Metrics, 5);
    summary.add(Signal::Windows, 9);
    assert!(show(&mut summary, &[row(1)], 9).starts_with("5 metric points stored\n"));
    assert!(show(&mut summary, &[row(2)], 9).starts_with("window "));
    summary.add(Signal::Metrics, 1);
    assert!(show(&mut summary, &[row(3)], 9).starts_with("6 metric points stored\n"));
}

#[test]
fn names_of_any_length_and_script_keep_the_columns() {
    let mut summary = Summary::new(false);
    let long = "x".repeat(200);
    let rows = windows(&[
        (7, Some("支付服务"), Some(&long), 1, 1.0, 1e6, 1_000_000),
        (7, Some("a\x1b[31m"), None, 1, 1.0, 1e6, 1_000_000),
    ]);
    let out = show(&mut summary, &[rows], 9);
    let widths: Vec<usize> = out.lines().map(columns).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{out}");
    assert!(out.contains("a\\u{1b}[31m") && out.contains('…') && widths[0] < 120, "{out}");
}

#[test]
fn only_the_first_rows_are_shown_and_no_head_without_rows() {
    let mut summary = Summary::new(false);
    let rows = windows(&[(7, Some("b"), None, 1, 1.0, 1e6, 1), (7, Some("a"), None, 1, 1.0, 1e6, 1)]);
    assert_eq!(show(&mut summary, std::slice::from_ref(&rows), 0), "");
    assert_eq!(show(&mut summary, &[rows], 1).lines().count(), 2);
}

#[test]
fn other_group_by_columns_and_late_firings_stand_at_the_end() {
    let columns = RecordBatch::try_from_iter([
        ("region", text(&[Some("bj")])),
        ("firing", Arc::new(Int32Array::from(vec![2])) as ArrayRef),
    ])
    .unwrap();
    let out = show(&mut Summary::new(false), &[columns], 9);
    let line = out.lines().nth(1).unwrap();
    assert!(line.starts_with("00:00:00  -  ") && line.ends_with("  -  region=bj late firing 2"), "{line}");
}

fn alarm_row(state: &str, value: Option<f64>, threshold: Option<f64>) -> RecordBatch {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for (key, value) in [("service", "pay"), ("region", "bj")] {
        labels.keys().append_value(key);
        labels.values().append_value(value);
    }
    labels.append(true).unwrap();
    RecordBatch::try_from_iter([
        ("rule", text(&[Some("slow")])),
        ("severity", text(&[Some("high")])),
        ("state", text(&[Some(state)])),
        ("service", text(&[Some("pay")])),
        ("operation", text(&[Some("/pay")])),
        ("labels", Arc::new(labels.finish()) as ArrayRef),
        ("measure", text(&[Some("p90_duration_ns")])),
        ("value", Arc::new(Float64Array::from(vec![value]))),
        ("threshold", Arc::new(Float64Array::from(vec![threshold]))),
        ("message", text(&[Some("pay is\nslow")])),
    ])
    .unwrap()
}

fn shown_alarm(colours: bool, columns: &RecordBatch) -> String {
    let mut out = String::new();
    Summary::new(colours).alarms(columns, 9, &mut out);
    out
}

#[test]
fn an_alarm_is_one_line_with_value_and_threshold() {
    assert_eq!(
        shown_alarm(false, &alarm_row("firing", Some(2.31e9), Some(1e9))),
        "ALARM firing high slow  pay /pay region=bj  p90 2.31 s > 1.00 s  pay is\\nslow\n"
    );
    assert_eq!(
        shown_alarm(false, &alarm_row("resolved", Some(2e7), Some(1e9))),
        "ALARM resolved high slow  pay /pay region=bj  p90 20 ms < 1.00 s  pay is\\nslow\n"
    );
    assert!(shown_alarm(false, &alarm_row("firing", None, None)).contains("  p90  pay is"));
}

#[test]
fn alarms_are_red_and_green_only_where_colours_are_wanted() {
    let red = shown_alarm(true, &alarm_row("firing", None, None));
    let green = shown_alarm(true, &alarm_row("resolved", None, None));
    assert!(red.starts_with("\x1b[31mALARM firing") && red.ends_with("\x1b[0m\n"), "{red}");
    assert!(green.starts_with("\x1b[32mALARM resolved"), "{green}");
    assert!(!shown_alarm(false, &alarm_row("firing", None, None)).contains('\x1b'));
}
