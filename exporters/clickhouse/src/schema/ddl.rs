//! The tables that the exporter creates.
//!
//! * Text columns are not Nullable: no value is the empty text. Nullable are only measures and alarm values,
//!   where NULL and 0 mean different things.
//! * Partitions are days of event time; a `DateTime` holds 1970 to 2106, so times beyond are stored clamped
//!   (in `convert/value_column.rs`): unclamped they would land in arbitrary partitions.
//! * Span ids are computed from the ids and numbers of segments where they are made of them: stored they
//!   would be a third of a span. So is the end of a span, from its beginning and its duration.
//! * What only OTLP has (schema URLs, counts of what was dropped, scopes) is among the attributes: a column
//!   costs every insert, filled or not.
//! * `window_results` keeps the newest `firing` of a window. Its key holds every group-by column: `service`
//!   and `operation` have columns, the others are in `labels`.

use std::fmt::{self, Display, Formatter, Write as _};

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

/// The signals that have a table.
pub(crate) const SIGNALS: [Signal; 4] = [Signal::Traces, Signal::Logs, Signal::Windows, Signal::Alarms];

/// One signal's table.
struct Layout {
    columns: &'static [(&'static str, &'static str)],
    indices: &'static [&'static str],
    engine: &'static str,
    partition: &'static str,
    order: &'static str,
    /// The column whose age `ttl` means.
    time: &'static str,
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
        ("links", LINKS_TYPE),
        ("events", SPAN_EVENTS_TYPE),
        ("resource", TEXT_MAP),
        ("attributes", TEXT_MAP),
        (SOURCE, "LowCardinality(String) CODEC(ZSTD(1))"),
        (OFFSET, "Int64 CODEC(Delta, ZSTD(1))"),
    ],
    indices: &[TRACE_INDEX],
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
    indices: &[TRACE_INDEX],
    engine: "MergeTree",
    partition: "toDate(time)",
    order: "(toStartOfFiveMinutes(time), service, time)",
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
    ],
    indices: &[],
    engine: "MergeTree",
    partition: "toYYYYMM(time)",
    order: "(rule, fingerprint, time)",
    time: "time",
};

/// How many parts a table remembers to recognise a repeated insert, which makes one for each day that it has
/// rows of. What is repeated after more than a few minutes is [looked for](crate::lookup); until then this
/// has to last.
const REMEMBERED_PARTS: u32 = 100_000;

/// The statement that creates the table of a signal; `None` for signals without one. Rows older than
/// `ttl_seconds` are deleted, unless it is 0.
pub(crate) fn create_table(signal: Signal, database: &str, table: &str, ttl_seconds: u64) -> Option<String> {
    let layout = match signal {
        Signal::Traces => EVENTS,
        Signal::Logs => LOGS,
        Signal::Windows => WINDOW_RESULTS,
        Signal::Alarms => ALARMS,
        Signal::Metrics => return None,
    };
    let columns = layout.columns.iter().map(|(name, kind)| format!("    {} {kind}", quoted(name)));
    let lines: Vec<String> =
        columns.chain(layout.indices.iter().map(|index| format!("    {index}"))).collect();
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (\n{}\n)\nENGINE = {}\nPARTITION BY {}\nORDER BY {}\n",
        quoted(database),
        quoted(table),
        lines.join(",\n"),
        layout.engine,
        layout.partition,
        layout.order,
    );
    if ttl_seconds > 0 {
        // Beyond 2106 a `DateTime` begins again in 1970: such a row must live on, not be deleted at once.
        let born = format!("toUnixTimestamp(toDateTime({}))", layout.time);
        sql += &format!("TTL toDateTime(least({born} + {ttl_seconds}, {}))\n", u32::MAX);
    }
    sql += &format!("SETTINGS non_replicated_deduplication_window = {REMEMBERED_PARTS}");
    if ttl_seconds > 0 {
        sql += ", ttl_only_drop_parts = 1";
    }
    Some(sql)
}

/// A name as ClickHouse reads it whatever is in it.
pub(crate) fn quoted(name: &str) -> Quoted<'_> {
    Quoted(name)
}

/// See [`quoted`].
#[derive(Clone, Copy)]
pub(crate) struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        for part in self.0.split_inclusive(['\\', '`']) {
            match part.strip_suffix(['\\', '`']) {
                Some(before) => write!(f, "{before}\\{}", &part[before.len()..])?,
                None => f.write_str(part)?,
            }
        }
        f.write_char('`')
    }
}

/// A text in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The columns of a created table, as the server would describe them.
#[cfg(test)]
pub(crate) fn columns_of(signal: Signal) -> crate::schema::columns::TableColumns {
    let sql = create_table(signal, "d", "t", 0).unwrap();
    let columns = sql.lines().filter_map(|line| line.strip_prefix("    `")?.split_once("` "));
    let lines = columns.filter(|(_, kind)| !kind.contains(" ALIAS ")).map(|(name, kind)| {
        let kind = kind.trim_end_matches(',').split(" CODEC").next().unwrap();
        serde_json::json!({"name": name, "type": kind}).to_string()
    });
    crate::schema::columns::TableColumns::parse(lines.collect::<Vec<_>>().join("\n").as_bytes()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in `attributes`, or (`body_value`) in another column.
    const WITHOUT_COLUMN: [&str; 12] = [
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "scope",
        "scope_schema_url",
        "scope_dropped_attributes",
        "resource_schema_url",
        "resource_dropped_attributes",
        "entity_refs",
        "body_value",
        "time_missing",
        "metadata",
    ];

    #[test]
    fn every_fixed_column_of_a_signal_has_a_column_but_what_only_otlp_has() {
        for (signal, layout) in [
            (Signal::Traces, EVENTS),
            (Signal::Logs, LOGS),
            (Signal::Windows, WINDOW_RESULTS),
            (Signal::Alarms, ALARMS),
        ] {
            for field in weir_pdata::schema::fixed(signal) {
                let name = field.name().as_str();
                let column = layout.columns.iter().any(|(column, _)| *column == name);
                let scope_of_logs = signal == Signal::Logs && name.starts_with("scope_");
                assert_ne!(column, WITHOUT_COLUMN.contains(&name) || scope_of_logs, "{signal}: {name}");
            }
        }
    }

    #[test]
    fn the_statements_are_these() {
        let all: Vec<String> = SIGNALS
            .iter()
            .map(|signal| create_table(*signal, "weir", &format!("the_{signal}"), 86_400).unwrap())
            .collect();
        insta::assert_snapshot!("create_tables", all.join("\n\n"));
        let kept = create_table(Signal::Alarms, "weir", "alarms", 0).unwrap();
        assert!(!kept.contains("TTL") && !kept.contains("ttl"), "{kept}");
    }

    #[test]
    fn the_exporter_can_write_every_column_it_creates() {
        for signal in SIGNALS {
            for column in columns_of(signal).0 {
                assert_ne!(column.kind, crate::schema::columns::Kind::Unknown, "{signal}: {}", column.name);
            }
        }
    }

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quoted("a`b\\c").to_string(), "`a\\`b\\\\c`");
        assert_eq!(literal("a'b\\c"), "'a\\'b\\\\c'");
    }
}
