//! The views that the exporter creates beside its tables.
//!
//! `segments` and `flink_operator_agg_result` are computed when they are asked. The others are materialized:
//! a table, and a view that fills it from each insert. An insert that the server has taken before changes
//! nothing there: the tables remember inserts, or (`…_trace_id_ts`) keep only the earliest and the latest.

use serde::Deserialize;
use weir_pdata::Signal;

use crate::schema::ddl::REMEMBERED_PARTS;
use crate::schema::quoting::quoted;

/// A view that the exporter creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum View {
    /// One row for each segment.
    Segments,
    /// Window results in the form of an older system.
    FlinkOperatorAggResult,
    /// When each trace began and ended, in the form of Grafana's plug-in.
    EventsTraceIdTs,
    /// Which service calls which, by the minute.
    ServiceEdges,
}

/// Something to be created: its name within the database, and the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) name: String,
    pub(crate) sql: String,
}

impl View {
    /// Those that are created unless others are named: they cost inserts nothing.
    pub(crate) const DEFAULT: [View; 2] = [View::Segments, View::FlinkOperatorAggResult];

    /// The signal whose table it reads.
    pub(crate) const fn signal(self) -> Signal {
        match self {
            View::FlinkOperatorAggResult => Signal::Windows,
            View::Segments | View::EventsTraceIdTs | View::ServiceEdges => Signal::Traces,
        }
    }

    /// Whether inserts fill it.
    pub(crate) const fn is_materialized(self) -> bool {
        matches!(self, View::EventsTraceIdTs | View::ServiceEdges)
    }

    /// Its name, of a view of this table.
    pub(crate) fn name(self, table: &str) -> String {
        match self {
            View::Segments => "segments".to_owned(),
            View::FlinkOperatorAggResult => "flink_operator_agg_result".to_owned(),
            // Grafana's plug-in looks for it under this name.
            View::EventsTraceIdTs => format!("{table}_trace_id_ts"),
            View::ServiceEdges => "service_edges".to_owned(),
        }
    }

    /// The statements that create it over `table`, in this order. Rows of materialized ones live as long as
    /// those of the table.
    pub(crate) fn statements(self, database: &str, table: &str, ttl_seconds: u64) -> Vec<Statement> {
        let (name, db) = (self.name(table), quoted(database));
        let from = format!("{db}.{}", quoted(table));
        if !self.is_materialized() {
            let select = match self {
                View::FlinkOperatorAggResult => OPERATOR_RESULTS,
                _ => SEGMENTS,
            };
            let select = select.replace("{from}", &from);
            let sql = format!("CREATE VIEW IF NOT EXISTS {db}.{} AS\n{select}", quoted(&name));
            return vec![Statement { name, sql }];
        }
        let (columns, key, partition, time, select) = match self {
            View::ServiceEdges => {
                (EDGE_COLUMNS, "(caller, callee, operation, layer, time)", "toDate(time)", "time", EDGES)
            }
            _ => (TRACE_COLUMNS, "TraceId", "toStartOfWeek(Start)", "Start", TRACES),
        };
        let mut table = format!(
            "CREATE TABLE IF NOT EXISTS {db}.{} (\n{columns}\n)\nENGINE = AggregatingMergeTree\nPARTITION BY {partition}\nORDER BY {key}\n",
            quoted(&name)
        );
        if ttl_seconds > 0 {
            table +=
                &format!("TTL toDateTime(least(toUnixTimestamp({time}) + {ttl_seconds}, {}))\n", u32::MAX);
        }
        table += &format!("SETTINGS non_replicated_deduplication_window = {REMEMBERED_PARTS}");
        let view = format!("{name}_mv");
        let sql = format!(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS {db}.{} TO {db}.{} AS\n{}",
            quoted(&view),
            quoted(&name),
            select.replace("{from}", &from)
        );
        vec![Statement { name, sql: table }, Statement { name: view, sql }]
    }
}

/// Self time: the duration of a span, less the time in which one of its direct children within the segment
/// runs, as far as it runs within the span.
const SEGMENTS: &str = "\
SELECT trace_id, segment_id, service, service_instance,
    entry.1 AS time, entry.2 AS end_time, entry.3 AS duration_ns, entry.4 AS operation, entry.5 AS kind,
    entry.6 AS status, entry.7 AS status_message, entry.8 AS peer, entry.9 AS component, entry.10 AS layer,
    entry.11 AS parent_services, entry.12 AS attributes, span_count, error_count,
    CAST(arrayReduce('sumMap', arrayMap(s -> [s.5], spans), arrayMap(s -> [
        greatest(0, s.4 - toInt64(arrayReduce('intervalLengthSum',
            arrayMap(c -> greatest(c.3, s.3), arrayFilter(c -> c.2 = s.1 AND c.3 < s.3 + s.4 AND c.3 + c.4 > s.3, spans)),
            arrayMap(c -> least(c.3 + c.4, s.3 + s.4), arrayFilter(c -> c.2 = s.1 AND c.3 < s.3 + s.4 AND c.3 + c.4 > s.3, spans)))))
    ], spans)), 'Map(String, Int64)') AS self_ns
FROM (
    SELECT trace_id, segment_id, service, service_instance,
        argMin((time, end_time, duration_ns, operation, kind, status, status_message, peer, component, layer, arrayMap(l -> tupleElement(l, 'parent_service'), links), attributes),
            (kind NOT IN ('server', 'consumer'), segment_span_id)) AS entry,
        count() AS span_count, countIf(status = 'error') AS error_count,
        groupArray((segment_span_id, if(parent_segment_id = '', parent_segment_span_id, -1), toUnixTimestamp64Nano(time), duration_ns, toString(layer))) AS spans
    FROM {from}
    WHERE segment_id != ''
    GROUP BY trace_id, segment_id, service, service_instance
)";

/// Shards of a window add up.
const OPERATOR_RESULTS: &str = "\
SELECT operator AS operator_class, service, operation AS operator_name, window_start, window_end,
    intDiv(window_size_ms, 1000) AS window_size,
    sum(avg_duration_ns * count) / sumIf(count, avg_duration_ns IS NOT NULL) / 1e6 AS avg_duration,
    max(max_duration_ns) / 1e6 AS max_duration,
    sum(success_rate * count) / sumIf(count, success_rate IS NOT NULL) AS success_rate,
    sum(count) AS traffic_volume
FROM {from} FINAL
GROUP BY operator, service, operation, labels, window_start, window_end, window_size_ms";

const TRACE_COLUMNS: &str = "    \
    `TraceId` String CODEC(ZSTD(1)),
    `Start` SimpleAggregateFunction(min, DateTime) CODEC(Delta, ZSTD(1)),
    `End` SimpleAggregateFunction(max, DateTime) CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1";

const TRACES: &str = "\
SELECT trace_id AS TraceId, toDateTime(min(time)) AS Start, toDateTime(max(time)) AS End
FROM {from}
WHERE trace_id != ''
GROUP BY trace_id";

const EDGE_COLUMNS: &str = "    \
    `time` DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `caller` LowCardinality(String),
    `callee` LowCardinality(String),
    `operation` LowCardinality(String),
    `layer` LowCardinality(String),
    `count` SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)),
    `errors` SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)),
    `duration_ns` SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)),
    `max_duration_ns` SimpleAggregateFunction(max, Int64) CODEC(ZSTD(1)),
    `latency` AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), Int64) CODEC(ZSTD(1))";

/// Entry spans know their callers, and exit spans the parts that no agent watches. (Older servers do not know
/// `links.parent_service` in a view that an insert fills.)
const EDGES: &str = "\
SELECT time, caller, callee, operation, layer, count() AS count, countIf(status = 'error') AS errors,
    sum(duration) AS duration_ns, max(duration) AS max_duration_ns, quantilesTDigestState(0.5, 0.9, 0.99)(duration) AS latency
FROM (
    SELECT toDateTime(toStartOfMinute(time), 'UTC') AS time, kind IN ('server', 'consumer') AS entered,
        arrayJoin(if(entered, arrayDistinct(arrayFilter(s -> s != '', arrayMap(l -> tupleElement(l, 'parent_service'), links))),
            if(kind IN ('client', 'producer') AND peer != '' AND layer IN ('database', 'cache', 'mq'), [toString(service)], []))) AS caller,
        if(entered, toString(service), toString(peer)) AS callee, operation, layer, status, duration_ns AS duration
    FROM {from}
)
GROUP BY time, caller, callee, operation, layer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_are_these() {
        let all = [View::Segments, View::FlinkOperatorAggResult, View::EventsTraceIdTs, View::ServiceEdges];
        let statements = all.iter().flat_map(|view| view.statements("weir", "the_table", 86_400));
        let all: Vec<String> = statements.map(|statement| statement.sql).collect();
        insta::assert_snapshot!("create_views", all.join("\n\n"));
    }
}
