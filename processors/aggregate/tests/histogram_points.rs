//! Measures of `histogram`: the observations of the histogram points of metrics.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;

use harness::{ResultRow, Run, create};
use serde_json::{Value, json};
use weir_component::LaneMessage;
use weir_component::testkit::json_batch;
use weir_pdata::{Ack, Signal};

const SECTION: &str = "signals: [metrics]
time: time
window: {tumbling: 10s}
out_of_orderness: 0s
group_by: [service]
measures:
  observations: count(histogram)
  total: sum(histogram)
  mean: avg(histogram)
  least: min(histogram)
  most: max(histogram)
  per_second: rate(histogram)
  median: quantile(histogram, 0.5)
  p90: p90(histogram)
  slow: quantile(histogram, 0.5 where metric = 'other')
";

/// The rows of the windows of these points, each a batch of its own, on two lanes.
fn run(section: &str, points: &[Value]) -> (Run, Vec<ResultRow>) {
    let mut run = Run::new(section, 2);
    for (at, point) in points.iter().enumerate() {
        let batch = json_batch(Signal::Metrics, std::slice::from_ref(point), Ack::none());
        run.send(at as u64 % 2, LaneMessage::Batch(batch));
    }
    (0..2).for_each(|lane| run.end(lane));
    let rows = run.take();
    (run, rows)
}

fn explicit(time: i64, service: &str, bounds: &[f64], counts: &[u64], sum: f64) -> Value {
    json!({
        "time": time, "service": service, "metric": "latency", "metric_type": "histogram", "temporality": "delta",
        "count": counts.iter().sum::<u64>(), "sum": sum, "min": sum / 100.0, "max": sum, "bounds": bounds, "bucket_counts": counts,
    })
}

#[test]
fn explicit_points_add_up_to_counts_sums_and_quantiles() {
    let bounds = [1.0, 2.0, 5.0];
    let points = [
        explicit(1_000, "a", &bounds, &[4, 20, 0, 30], 10.0),
        explicit(2_000, "a", &bounds, &[6, 0, 0, 40], 200.0),
        explicit(12_000, "a", &bounds, &[1, 0, 0, 0], 0.5),
        json!({"time": 3_000, "service": "a", "metric": "cpu", "metric_type": "gauge", "value": 7.0}),
    ];
    let (_, rows) = run(SECTION, &points);
    let value = |row: usize, name: &str| rows[row].values[name];
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].count, 3, "`count` is of points");
    assert_eq!(value(0, "observations"), Some(100.0));
    assert_eq!((value(0, "total"), value(0, "mean")), (Some(210.0), Some(2.1)));
    assert_eq!(
        (value(0, "least"), value(0, "most"), value(0, "per_second")),
        (Some(0.1), Some(200.0), Some(10.0))
    );
    // Rank 50 of 10 up to 1, 20 from 1 to 2, 70 beyond 5: the last bound.
    assert_eq!((value(0, "median"), value(0, "p90")), (Some(5.0), Some(5.0)));
    assert_eq!(value(0, "slow"), None);
    // Half of one observation, from 0 to 1.
    assert_eq!((value(1, "median"), value(1, "p90")), (Some(0.5), Some(0.9)));
}

#[test]
fn exponential_points_of_different_scales_add_up() {
    let point = |time: i64, scale: i32, offset: i32, counts: &[u64]| {
        json!({
            "time": time, "service": "a", "metric": "latency", "metric_type": "exponential_histogram",
            "temporality": "delta", "count": counts.iter().sum::<u64>(), "scale": scale, "zero_count": 0,
            "zero_threshold": 0.0, "positive_offset": offset, "positive_bucket_counts": counts,
            "negative_offset": 0, "negative_bucket_counts": [],
        })
    };
    // Scale 1: buckets from 2^1 to 2^1.5 and from 2^1.5 to 2^2; together one of scale 0, with two of it.
    let (_, rows) = run(SECTION, &[point(1_000, 1, 2, &[1, 1]), point(2_000, 0, 1, &[2])]);
    assert_eq!(rows[0].values["observations"], Some(4.0));
    assert_eq!(rows[0].values["total"], None, "no point says its sum");
    let median = rows[0].values["median"].unwrap();
    assert!((median - 8.0_f64.sqrt()).abs() < 1e-12, "{median}");
}

#[test]
fn points_that_cannot_be_added_up_are_counted_or_have_no_quantile() {
    let mut cumulative = explicit(1_000, "a", &[1.0], &[1, 1], 2.0);
    cumulative["temporality"] = "cumulative".into();
    let mut broken = explicit(1_000, "a", &[1.0, 2.0], &[1, 1], 2.0);
    broken["count"] = 9.into();
    let unsorted = explicit(1_000, "a", &[2.0, 1.0], &[1, 1, 1], 2.0);
    let (run_, rows) = run(SECTION, &[cumulative, broken, unsorted]);
    assert_eq!(
        (rows[0].count, rows[0].values["observations"], rows[0].values["median"]),
        (3, Some(0.0), None)
    );
    let text = run_.context.telemetry.encode();
    for (reason, count) in [("cumulative", 1), ("malformed", 2)] {
        let line = format!(
            "weir_aggregate_unmeasured_points_total{{processor=\"aggregate\",reason=\"{reason}\"}} {count}"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
    let (_, rows) = run(
        SECTION,
        &[explicit(1_000, "a", &[1.0], &[1, 1], 2.0), explicit(2_000, "a", &[2.0], &[1, 1], 2.0)],
    );
    assert_eq!((rows[0].values["observations"], rows[0].values["median"]), (Some(4.0), None));
}

#[test]
fn a_point_without_buckets_has_a_count_and_a_sum_alone() {
    let mut bare = explicit(2_000, "a", &[], &[], 7.0);
    bare["count"] = 2.into();
    let points = [explicit(1_000, "a", &[1.0, 2.0], &[4, 4, 0], 8.0), bare];
    let (_, rows) = run(SECTION, &points);
    assert_eq!((rows[0].values["observations"], rows[0].values["total"]), (Some(10.0), Some(15.0)));
    assert_eq!(rows[0].values["median"], Some(1.0));
}

#[test]
fn sliding_windows_have_the_quantiles_of_their_own_points() {
    let section = SECTION.replace("{tumbling: 10s}", "{sliding: 4s, slide: 1s}");
    let counts = |n: i64| [(n % 3).unsigned_abs(), 2, (n % 5).unsigned_abs(), 1];
    let points: Vec<Value> =
        (0..20).map(|n| explicit(n * 1_000, "a", &[1.0, 2.0, 4.0], &counts(n), 1.0)).collect();
    let (_, rows) = run(&section, &points);
    assert!(rows.len() > 20);
    for row in rows {
        let own: Vec<Value> = points
            .iter()
            .filter(|point| (row.start..row.end).contains(&point["time"].as_i64().unwrap()))
            .cloned()
            .collect();
        // The same points in a window that is not made of slices.
        let (_, alone) = run(&SECTION.replace("10s", "1000s"), &own);
        for name in ["observations", "median", "p90", "mean"] {
            assert_eq!(row.values[name], alone[0].values[name], "{name} of [{}, {})", row.start, row.end);
        }
    }
}

#[test]
fn histograms_are_measured_by_some_functions_of_metrics_alone() {
    let error = |signals: &str, measure: &str| {
        let section = format!(
            "window: {{tumbling: 1s}}\ntime: time\nsignals: [{signals}]\nmeasures: {{m: '{measure}'}}\n"
        );
        create(&section).err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    assert!(error("metrics", "distinct(histogram)").contains("`distinct` does not measure histograms"));
    assert!(error("metrics", "last(histogram)").contains("does not measure histograms"));
    assert!(error("traces", "p95(histogram)").contains("`histogram` is the points of metrics"));
    assert_eq!(error("traces", "avg(\"histogram\")"), "", "an attribute of that name");
    assert_eq!(error("metrics, traces", "p95(histogram)"), "");
}
