"""Which sort key the table `metrics` should have: bytes a data point on disk, merged, and the megabytes that common questions read.

    ~/.cache/weir/venv/bin/python tests/bench/metrics_key.py

60 services of 2 instances, each with 12 gauges and counters every 30 seconds for six hours; a third of the metrics have four label sets, and a
sixth are histograms of 12 buckets. A granule has 1,024 rows instead of 8,192, as if there were eight times as many points. One thread.
"""

import json
import shutil
import tempfile

import chdb

SERVICES, INSTANCES, HOURS, EVERY = 60, 2, 6, 30
COLUMNS = """time DateTime64(9, 'UTC') CODEC({time}), start_time DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)), metric LowCardinality(String),
    metric_type LowCardinality(String), value Nullable(Float64) CODEC({value}), value_int Nullable(Int64) CODEC(ZSTD(1)), count UInt64 CODEC(ZSTD(1)),
    sum Nullable(Float64) CODEC(ZSTD(1)), bounds Array(Float64) CODEC(ZSTD(1)), bucket_counts Array(UInt64) CODEC(ZSTD(1)),
    service LowCardinality(String), service_instance LowCardinality(String), resource Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)), _source LowCardinality(String) CODEC(ZSTD(1)), _offset Int64 CODEC(Delta, ZSTD(1))"""
# A label set is a row of the inner query; noise comes from a hash, so that every run has the same points.
POINTS = """SELECT toDateTime64('2026-11-02 00:00:00', 9, 'UTC') + toIntervalNanosecond((tick * {every} * 1000 + cityHash64(instance) % 30000) * 1000000 + 1234567) AS time,
    toDateTime64('2026-11-01 00:00:00', 9, 'UTC') AS start_time, 'app.metric.' || toString(m) AS metric,
    multiIf(m >= 10, 'histogram', m % 2 = 0, 'gauge', 'sum') AS metric_type,
    if(m >= 10, NULL, if(m % 2 = 0, round(50 + 20 * sin(tick / 40 + m) + cityHash64(instance, m, l, tick) % 1000 / 200, 3), toFloat64(n))) AS value,
    if(m >= 10 OR m % 2 = 0, NULL, toInt64(n)) AS value_int, if(m >= 10, n, 0) AS count, if(m >= 10, n * 0.137, NULL) AS sum,
    if(m >= 10, [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10.], []) AS bounds,
    if(m >= 10, arrayMap(b -> intDiv(n, b + 1), range(12)), []) AS bucket_counts,
    'service-' || toString(s) AS service, 'service-' || toString(s) || '-pod-' || toString(i) AS service_instance,
    map('host.name', 'node-' || toString(instance % 40), 'k8s.namespace.name', 'ns-' || toString(s % 5), 'telemetry.sdk.language', 'java') AS resource,
    if(m % 3 = 0, map('pool', 'pool-' || toString(l), 'type', if(l < 2, 'heap', 'non_heap')), map()) AS attributes,
    'kQ1pYt3dQbC6m3vRrE9g2A/weir/metrics/' || toString(instance % 6) || '/main/clickhouse' AS _source, toInt64(tick * 40 + instance) AS _offset
    FROM (SELECT tick, s, i, m, l, s * {instances} + i AS instance, tick * 30 + cityHash64(instance, m, l, tick) % 30 AS n FROM
      (SELECT number + {first} AS tick FROM numbers({ticks})) AS t, (SELECT number AS s FROM numbers({services})) AS a, (SELECT number AS i FROM numbers({instances})) AS b,
      (SELECT number AS m FROM numbers(12)) AS c, (SELECT number AS l FROM numbers(4)) AS d WHERE m % 3 = 0 OR l = 0)"""
SERIES = "cityHash64(mapKeys(attributes), mapValues(attributes))"
# With `time` in the key, a condition on `time` is looked up there, and says nothing about the hour before it
# (26.9).
INDEX = "INDEX i time TYPE minmax GRANULARITY 1"
CHOSEN = f"metric, toStartOfHour(time), service, service_instance, {SERIES}"
CANDIDATES = {
    "as logs were: five minutes, service, time": ("toStartOfFiveMinutes(time), service, time", {}, ""),
    "the former, index": ("toStartOfFiveMinutes(time), service, time", {}, INDEX),
    "service, metric, hour, series, time, index (otel)": (f"service, metric, toStartOfHour(time), {SERIES}, time", {}, INDEX),
    "service, metric, hour, instance, series": (f"service, metric, toStartOfHour(time), service_instance, {SERIES}", {}, ""),
    "metric, service, hour, instance, series": (f"metric, service, toStartOfHour(time), service_instance, {SERIES}", {}, ""),
    "metric, hour, service, instance, series": (CHOSEN, {}, ""),
    "the former, time, index": (f"{CHOSEN}, time", {}, INDEX),
    "the chosen, DoubleDelta": (CHOSEN, {"time": "DoubleDelta, ZSTD(1)"}, ""),
}
QUARTER = "time >= toDateTime64('2026-11-02 03:00:00', 9, 'UTC') AND time < toDateTime64('2026-11-02 03:15:00', 9, 'UTC')"
QUESTIONS = {
    "a metric of a service, 6 h": "SELECT toStartOfMinute(time) AS t, service_instance, avg(value) FROM {table} WHERE service = 'service-32' AND metric = 'app.metric.3' GROUP BY t, service_instance",
    "a metric of all services, 15 min": f"SELECT service, max(value) FROM {{table}} WHERE metric = 'app.metric.3' AND {QUARTER} GROUP BY service",
    "a metric of all services, 6 h": "SELECT toStartOfMinute(time) AS t, service, max(value) FROM {table} WHERE metric = 'app.metric.3' GROUP BY t, service",
    "all metrics of a service, 15 min": f"SELECT metric, avg(value) FROM {{table}} WHERE service = 'service-32' AND {QUARTER} GROUP BY metric",
    "all there is, 15 min": f"SELECT count(), avg(value) FROM {{table}} WHERE {QUARTER}",
}


def rows(connection, sql):
    return [json.loads(line) for line in connection.query(sql, "JSONCompactEachRow").bytes().decode().splitlines()]


def main():
    folder = tempfile.mkdtemp(prefix="weir-metrics-key-")
    try:
        connection = chdb.connect(folder)
        codecs = {"time": "Delta, ZSTD(1)", "value": "ZSTD(1)"}
        connection.query(f"CREATE TABLE points ({COLUMNS.format(**codecs)}) ENGINE = MergeTree ORDER BY tuple()")
        ticks = 60
        for first in range(0, HOURS * 3600 // EVERY, ticks):
            connection.query("INSERT INTO points " + POINTS.format(first=first, ticks=ticks, every=EVERY, services=SERVICES, instances=INSTANCES))
        [[count]] = rows(connection, "SELECT count() FROM points")
        count = int(count)
        print(f"{count:,} points")
        for name, (key, changed, index) in CANDIDATES.items():
            connection.query(f"CREATE TABLE candidate ({COLUMNS.format(**{**codecs, **changed})}{', ' + index if index else ''}) ENGINE = MergeTree PARTITION BY toDate(time) "
                             f"ORDER BY ({key}) SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 0")
            connection.query("INSERT INTO candidate SELECT * FROM points SETTINGS max_threads = 1")
            connection.query("OPTIMIZE TABLE candidate FINAL")
            [[whole]] = rows(connection, f"SELECT round(sum(bytes_on_disk) / {count}, 2) FROM system.parts WHERE table = 'candidate' AND active")
            sizes = rows(connection, f"SELECT column, round(sum(column_data_compressed_bytes) / {count}, 2) AS size FROM system.parts_columns "
                                     "WHERE table = 'candidate' AND active GROUP BY column ORDER BY size DESC LIMIT 6")
            print(f"\n{name}: {whole} bytes a point;", ", ".join(f"{column} {size}" for column, size in sizes))
            for question, sql in QUESTIONS.items():
                answer = connection.query(sql.format(table="candidate") + " SETTINGS max_threads = 1, use_query_condition_cache = 0", "TabSeparated")
                print(f"   {question:34} {answer.elapsed() * 1000:7.1f} ms {answer.storage_rows_read():9,} rows {answer.storage_bytes_read() / 1e6:7.2f} MB")
            connection.query("DROP TABLE candidate SYNC")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
