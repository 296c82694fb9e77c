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
    let count = counts.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count));
    json!({
        "time": time, "service": service, "metric": "latency", "metric_type": "histogram",
        "temporality": "delta", "count": count, "sum": sum, "min": sum / 100.0, "max": sum, "bounds": bounds,
        "bucket_counts": counts,
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
    let broken = explicit(1_000, "a", &[1.0, 2.0], &[1, 1], 2.0);
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

fn exponential(time: i64, scale: i32, zeros: (u64, f64), positive: (i32, &[u64])) -> Value {
    json!({
        "time": time, "service": "a", "metric": "latency", "metric_type": "exponential_histogram",
        "temporality": "delta", "count": positive.1.iter().sum::<u64>() + zeros.0, "scale": scale,
        "zero_count": zeros.0, "zero_threshold": zeros.1, "positive_offset": positive.0,
        "positive_bucket_counts": positive.1, "negative_offset": 0, "negative_bucket_counts": [],
    })
}

/// The windows that the point at second 1 is in end by second 20; in each later one there are four points of
/// 10 observations, whose sum is 30.
#[test]
fn a_point_with_too_many_observations_is_in_its_own_windows_alone() {
    let bare = |second: i64, count: u64| {
        let mut point = explicit(second * 1_000, "a", &[], &[], 30.0);
        point["count"] = count.into();
        point
    };
    let section = SECTION.replace("{tumbling: 10s}", "{sliding: 20s, slide: 5s}");
    // 20 million times a weight of 10^9, in thousandths, are more than 2^64, too.
    for (weight, count) in [("", u64::MAX), ("weight: 1000000000\n", 20_000_000)] {
        let odd = bare(1, count);
        let points: Vec<Value> = std::iter::once(odd).chain((0..12).map(|n| bare(n * 5 + 2, 10))).collect();
        let (_, rows) = run(&format!("{section}{weight}"), &points);
        let times = if weight.is_empty() { 1.0 } else { 1e9 };
        let later: Vec<_> = rows.iter().filter(|row| row.start >= 5_000 && row.end <= 60_000).collect();
        assert_eq!(later.len(), 8);
        for row in later {
            let value = |name: &str| row.values[name];
            assert_eq!(value("observations"), Some(40.0 * times), "[{}, {})", row.start, row.end);
            assert_eq!(value("total"), Some(120.0 * times));
            assert_eq!((value("mean"), value("per_second")), (Some(3.0), Some(2.0 * times)));
        }
    }
}

fn unmeasured(run: &Run, reason: &str) -> String {
    let text = run.context.telemetry.encode();
    let head =
        format!("weir_aggregate_unmeasured_points_total{{processor=\"aggregate\",reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&head));
    line.unwrap_or_else(|| panic!("{head} in {text}")).to_owned()
}

#[test]
fn a_point_whose_buckets_do_not_add_up_to_its_count_is_left_out() {
    let counted = |mut point: Value, count: Value| {
        point["count"] = count;
        point
    };
    let points = [
        counted(explicit(1_000, "a", &[1.0], &[1, 1], 2.0), 3.into()),
        counted(explicit(2_000, "a", &[1.0], &[1, 1], 2.0), Value::Null),
        counted(explicit(3_000, "a", &[1.0], &[u64::MAX, 2], 2.0), 1.into()),
        counted(exponential(4_000, 0, (4, 0.0), (0, &[1, 1])), 2.into()),
        counted(exponential(5_000, 0, (4, 0.0), (0, &[])), 0.into()),
        explicit(6_000, "a", &[1.0], &[3, 4], 2.0),
        explicit(7_000, "a", &[1.0], &[0, 0], 5.0),
        // Twice what the largest float is, and half of the smallest.
        exponential(8_000, 0, (0, 0.0), (1_024, &[1])),
        exponential(8_000, -4, (0, 0.0), (-69, &[1])),
        // No observation is below 2, so 0 is not the least.
        explicit(9_000, "a", &[1.0], &[0, 0], 0.0),
    ];
    let (run, rows) = run(SECTION, &points);
    assert_eq!(rows[0].values["observations"], Some(7.0));
    assert_eq!(rows[0].values["total"], Some(2.0));
    assert_eq!(rows[0].values["least"], Some(0.02));
    assert_eq!(unmeasured(&run, "malformed"), "8");
    // Its zeros are among them.
    let (_, rows) = self::run(SECTION, &[exponential(1_000, 0, (4, 0.0), (0, &[1, 1]))]);
    assert_eq!(rows[0].values["observations"], Some(6.0));
}

/// Of scale -5 one bucket holds all from 1 to 4,294,967,296.
#[test]
fn a_point_of_a_scale_or_zero_threshold_that_nobody_means_does_not_spoil_the_quantile() {
    let points = [
        exponential(1_000, 3, (0, 0.0), (0, &[4, 4])),
        exponential(2_000, -5, (0, 0.0), (0, &[1])),
        exponential(3_000, 21, (0, 0.0), (0, &[1])),
        exponential(4_000, 3, (1, 1.5), (0, &[])),
        exponential(5_000, 3, (1, -0.5), (0, &[])),
    ];
    let (run, rows) = run(SECTION, &points);
    // Scale 3: the second bucket begins at 2^(1/8).
    let median = rows[0].values["median"].unwrap();
    assert!((median - 2_f64.powf(0.125)).abs() < 1e-12, "{median}");
    assert_eq!(rows[0].values["observations"], Some(8.0));
    assert_eq!((unmeasured(&run, "scale"), unmeasured(&run, "zero_threshold")), ("2".into(), "2".into()));
    // The limits are meant.
    let (_, rows) = self::run(SECTION, &[exponential(1_000, -4, (0, 1.0), (0, &[1]))]);
    assert_eq!(rows[0].values["observations"], Some(1.0));
}

#[test]
fn points_of_other_buckets_than_those_of_their_group_are_counted_and_named() {
    let explicit = |second: i64, bound: f64| explicit(second * 1_000, "a", &[bound], &[1, 1], 2.0);
    let mut all = Run::new(SECTION, 1);
    let points = [explicit(1, 1.0), explicit(2, 1.0), explicit(3, 2.0), explicit(4, 1.0)];
    all.send(0, LaneMessage::Batch(json_batch(Signal::Metrics, &points, Ack::none())));
    all.end(0);
    let row = all.take().remove(0);
    assert_eq!((row.values["observations"], row.values["median"]), (Some(8.0), None));
    // The third, and the fourth, which follows a mixture.
    assert_eq!(unmeasured(&all, "mixed"), "2");
    // On two lanes they meet in the trunk.
    let (two, rows) = run(SECTION, &[explicit(1, 1.0), explicit(2, 2.0)]);
    assert_eq!((unmeasured(&two, "mixed"), rows[0].values["median"]), ("0".into(), None));
    for run in [&all, &two] {
        assert_eq!(run.metric("mixed_histograms"), 1, "one group of one window");
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
