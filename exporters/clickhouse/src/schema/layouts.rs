//! The tables that the exporter creates: columns, keys and engines.
//!
//! * Text columns are not Nullable: no value is the empty text. Nullable are only measures, alarm values and
//!   the values of data points, where NULL and 0 mean different things.
//! * Partitions are days of event time; a `DateTime` holds 1970 to 2106, so times beyond are stored clamped
//!   (in `convert/value_column.rs`): unclamped they would land in arbitrary partitions.
//! * Span ids are computed from the ids and numbers of segments where they are made of them: stored they
//!   would be a third of a span. So is the end of a span, from its beginning and its duration.
//! * What only OTLP has (schema URLs, counts of what was dropped, scopes) is among the attributes: a column
//!   costs every insert, filled or not.
//! * `window_results` keeps the newest `firing` of a window. Its key holds every group-by column: `service`
//!   and `operation` have columns, the others are in `labels`.

use weir_pdata::Signal;
use weir_pdata::schema::{OFFSET, SOURCE};
use weir_pdata::span_ids::{OWN_PARENT_SPAN_ID, OWN_SPAN_ID, PARENT_NUMBER, PARENT_SEGMENT_ID};

/// How much earlier a span ends than `time` and `duration_ns` say, in nanoseconds.
pub(crate) const BEFORE: &str = "_before_ns";

/// The type of `links` in `events`.
pub(crate) const LINKS_TYPE: &str = "Array(Tuple(trace_id String, span_id String, ref_type String, parent_service String, \
     parent_service_instance String, parent_endpoint String, network_address String))";
/// The type of `events` in `events`.
pub(crate) const SPAN_EVENTS_TYPE: &str =
    "Array(Tuple(time DateTime64(9, 'UTC'), name String, attributes Map(LowCardinality(String), String)))";

/// The types of number lists in `metrics`.
pub(crate) const FLOATS_TYPE: &str = "Array(Float64)";
pub(crate) const COUNTS_TYPE: &str = "Array(UInt64)";
/// The type of `quantiles` in `metrics`.
pub(crate) const QUANTILES_TYPE: &str = "Array(Tuple(quantile Float64, value Float64))";
/// The type of `exemplars` in `metrics`.
pub(crate) const EXEMPLARS_TYPE: &str = "Array(Tuple(time DateTime64(9, 'UTC'), value Nullable(Float64), value_int Nullable(Int64), \
     trace_id String, span_id String, attributes Map(LowCardinality(String), String)))";

/// One signal's table.
pub(crate) struct Layout {
    /// Names, and types with codecs.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    pub(crate) indices: &'static [&'static str],
    pub(crate) engine: &'static str,
    pub(crate) partition: &'static str,
    pub(crate) order: &'static str,
    /// The column whose age `ttl` means.
    pub(crate) time: &'static str,
}

/// The table of a signal.
pub(crate) const fn layout(signal: Signal) -> &'static Layout {
    match signal {
        Signal::Traces => &EVENTS,
        Signal::Logs => &LOGS,
        Signal::Metrics => &METRICS,
        Signal::Windows => &WINDOW_RESULTS,
        Signal::Alarms => &ALARMS,
    }
}

const TIME: &str = "DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1))";
const TEXT: &str = "String CODEC(ZSTD(1))";
/// The texts that [`span_ids`](weir_pdata::span_ids) describes.
const SPAN_ID: &str = "String ALIAS multiIf(own_span_id != '', own_span_id, segment_id = '', '', \
     concat(segment_id, '.', toString(segment_span_id)))";
const PARENT_SPAN_ID: &str = "String ALIAS multiIf(own_parent_span_id != '', own_parent_span_id, \
     parent_segment_id != '', concat(parent_segment_id, '.', toString(parent_segment_span_id)), \
     parent_segment_span_id < 0 OR segment_id = '', '', concat(segment_id, '.', toString(parent_segment_span_id)))";
/// See [`end_times`](crate::convert::end_times).
const END_TIME: &str = "DateTime64(9, 'UTC') ALIAS addNanoseconds(time, duration_ns - _before_ns)";
const LOW: &str = "LowCardinality(String)";
const TEXT_MAP: &str = "Map(LowCardinality(String), String) CODEC(ZSTD(1))";
const TRACE_INDEX: &str = "INDEX idx_trace_id trace_id TYPE bloom_filter(0.001) GRANULARITY 1";
const BUSINESS_INDEX: &str = "INDEX idx_business_id business_id TYPE bloom_filter(0.001) GRANULARITY 1";
const TIME_INDEX: &str = "INDEX idx_time time TYPE minmax GRANULARITY 1";

const EVENTS: Layout = Layout {
    columns: &[
        ("time", TIME),
        ("end_time", END_TIME),
        ("duration_ns", "Int64 CODEC(ZSTD(1))"),
        (BEFORE, "Int64 CODEC(ZSTD(1))"),
        ("trace_id", TEXT),
        ("span_id", SPAN_ID),
        ("parent_span_id", PARENT_SPAN_ID),
        ("segment_id", TEXT),
        ("segment_span_id", "Int32 CODEC(ZSTD(1))"),
        (PARENT_SEGMENT_ID, TEXT),
        (PARENT_NUMBER, "Int32 CODEC(ZSTD(1))"),
        (OWN_SPAN_ID, TEXT),
        (OWN_PARENT_SPAN_ID, TEXT),
        ("service", LOW),
        ("service_instance", LOW),
        ("operation", LOW),
        ("kind", LOW),
        ("status", LOW),
        ("status_message", TEXT),
        ("peer", LOW),
        ("component", LOW),
        ("component_id", "Int32 CODEC(ZSTD(1))"),
        ("layer", LOW),
        ("skip_analysis", "Bool"),
        ("size_limited", "Bool"),
        ("trace_state", TEXT),
        ("flags", "UInt32 CODEC(ZSTD(1))"),
        ("scope_name", LOW),
        ("scope_version", LOW),
        ("business_id", TEXT),
        ("business_code", LOW),
        ("business_scenario", LOW),
        ("links", LINKS_TYPE),
        ("events", SPAN_EVENTS_TYPE),
        ("resource", TEXT_MAP),
        ("attributes", TEXT_MAP),
        (SOURCE, "LowCardinality(String) CODEC(ZSTD(1))"),
        (OFFSET, "Int64 CODEC(Delta, ZSTD(1))"),
    ],
    indices: &[TRACE_INDEX, BUSINESS_INDEX],
    engine: "MergeTree",
    partition: "toDate(time)",
    // Spans of a segment stay together: half the bytes of any key with `operation` in front of the segment
    // (tests/bench/table_key.py).
    order: "(service, toStartOfFiveMinutes(time), trace_id, segment_id, segment_span_id)",
    time: "time",
};

const LOGS: Layout = Layout {
    columns: &[
        ("time", TIME),
        ("observed_time", TIME),
        ("severity_number", "Int32 CODEC(ZSTD(1))"),
        ("severity_text", LOW),
        ("body", TEXT),
        ("body_type", LOW),
        ("event_name", LOW),
        ("trace_id", TEXT),
        ("span_id", TEXT),
        ("segment_id", TEXT),
        ("service", LOW),
        ("service_instance", LOW),
        ("endpoint", LOW),
        ("flags", "UInt32 CODEC(ZSTD(1))"),
        ("resource", TEXT_MAP),
        ("attributes", TEXT_MAP),
        (SOURCE, "LowCardinality(String) CODEC(ZSTD(1))"),
        (OFFSET, "Int64 CODEC(Delta, ZSTD(1))"),
    ],
    // A condition on `time` is looked up in `time` at the end of the key, and narrows nothing there.
    indices: &[TRACE_INDEX, TIME_INDEX],
    engine: "MergeTree",
    partition: "toDate(time)",
    order: "(toStartOfFiveMinutes(time), service, time)",
    time: "time",
};

const METRICS: Layout = Layout {
    columns: &[
        ("time", TIME),
        ("start_time", TIME),
        ("metric", LOW),
        ("metric_type", LOW),
        ("unit", LOW),
        ("description", LOW),
        ("temporality", LOW),
        ("monotonic", "Bool"),
        ("value", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("value_int", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("count", "UInt64 CODEC(ZSTD(1))"),
        ("sum", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("min", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("max", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("bounds", "Array(Float64) CODEC(ZSTD(1))"),
        ("bucket_counts", "Array(UInt64) CODEC(ZSTD(1))"),
        ("scale", "Int32 CODEC(ZSTD(1))"),
        ("zero_count", "UInt64 CODEC(ZSTD(1))"),
        ("zero_threshold", "Float64 CODEC(ZSTD(1))"),
        ("positive_offset", "Int32 CODEC(ZSTD(1))"),
        ("positive_bucket_counts", "Array(UInt64) CODEC(ZSTD(1))"),
        ("negative_offset", "Int32 CODEC(ZSTD(1))"),
        ("negative_bucket_counts", "Array(UInt64) CODEC(ZSTD(1))"),
        ("quantiles", QUANTILES_TYPE),
        ("exemplars", EXEMPLARS_TYPE),
        ("flags", "UInt32 CODEC(ZSTD(1))"),
        ("service", LOW),
        ("service_instance", LOW),
        ("resource", TEXT_MAP),
        ("attributes", TEXT_MAP),
        (SOURCE, "LowCardinality(String) CODEC(ZSTD(1))"),
        (OFFSET, "Int64 CODEC(Delta, ZSTD(1))"),
    ],
    indices: &[],
    engine: "MergeTree",
    partition: "toDate(time)",
    // Points of a series stay together within an hour (tests/bench/metrics_key.py). With `time` behind them,
    // a condition on `time` would not narrow the hours.
    order: "(metric, toStartOfHour(time), service, service_instance, cityHash64(mapKeys(attributes), mapValues(attributes)))",
    time: "time",
};

const WINDOW_RESULTS: Layout = Layout {
    columns: &[
        ("operator", LOW),
        ("window_start", TIME),
        ("window_end", TIME),
        ("window_size_ms", "Int64 CODEC(ZSTD(1))"),
        ("service", LOW),
        ("operation", LOW),
        ("labels", TEXT_MAP),
        ("shard", "UInt32"),
        ("firing", "UInt32"),
        ("count", "Int64 CODEC(ZSTD(1))"),
        ("error_count", "Int64 CODEC(ZSTD(1))"),
        ("success_rate", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("avg_duration_ns", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("max_duration_ns", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("min_duration_ns", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("p50_duration_ns", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("p90_duration_ns", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("p95_duration_ns", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("p99_duration_ns", "Nullable(Int64) CODEC(ZSTD(1))"),
        ("traffic_rate", "Nullable(Float64) CODEC(ZSTD(1))"),
        ("measures", "Map(LowCardinality(String), Float64) CODEC(ZSTD(1))"),
    ],
    indices: &[],
    engine: "ReplacingMergeTree(firing)",
    partition: "toDate(window_start)",
    order: "(operator, service, operation, toString(labels), window_size_ms, window_start, shard)",
    time: "window_start",
};

const ALARMS: Layout = Layout {
    columns: &[
        ("time", TIME),
        ("rule", LOW),
        ("severity", LOW),
        ("state", LOW),
        ("service", LOW),
        ("operation", LOW),
        ("labels", TEXT_MAP),
        ("measure", LOW),
        ("value", "Nullable(Float64)"),
        ("threshold", "Nullable(Float64)"),
        ("window_start", TIME),
        ("window_end", TIME),
        ("message", TEXT),
        ("fingerprint", TEXT),
        ("starts_at", TIME),
        ("ends_at", "Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1))"),
        ("rule_epoch", "Int64"),
        ("annotations", TEXT_MAP),
        ("runbook", TEXT),
    ],
    indices: &[],
    engine: "MergeTree",
    partition: "toYYYYMM(time)",
    order: "(rule, fingerprint, time)",
    time: "time",
};
