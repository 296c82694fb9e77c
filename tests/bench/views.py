"""What the materialized views beside `events` cost the server: its CPU for an insert of 30,000 spans of 16-span segments.

    ~/.cache/weir/venv/bin/python tests/bench/views.py

Spans of 60 services; each segment has an entry with a caller, and exits to a database. The blocks are made before, and only inserts count.
"""

import os
import re
import shutil
import tempfile
import time

import chdb

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SNAPSHOTS = os.path.join(ROOT, "exporters", "clickhouse", "src", "schema", "snapshots", "weir_exporter_clickhouse__schema__{}.snap")
ROWS, INSERTS = 30_000, 20
SPANS = """INSERT INTO source (time, duration_ns, trace_id, segment_id, segment_span_id, parent_segment_span_id, service, service_instance, operation, kind, status,
    peer, component, component_id, layer, links, attributes, _source, _offset)
    SELECT toDateTime64('2026-11-02 00:00:00', 9, 'UTC') + toIntervalMillisecond(segment), cityHash64(number) % 50000000, lower(hex(sipHash128(intDiv(segment, 5)))),
    lower(hex(sipHash128(segment))), span, span - 1, 'service-' || toString(segment % 60), 'instance-' || toString(segment % 240),
    '/operation/' || toString((segment + span) % 40), multiIf(span = 0, 'server', span % 3 = 1, 'client', 'internal'), if(number % 50 = 0, 'error', 'ok'),
    if(span % 3 = 1, 'db-' || toString(segment % 8) || ':3306', ''), 'Tomcat', 1, multiIf(span = 0, 'http', span % 3 = 1, 'database', ''),
    if(span = 0, [(lower(hex(sipHash128(intDiv(segment, 5)))), 'x', 'cross_process', 'service-' || toString((segment + 1) % 60), 'i', '/o', 'h:1')], []),
    map('http.method', 'GET', 'http.url', '/u/' || toString(number), 'db.statement', 'select 1', 'http.status_code', '200'), 'k/g/t/0/main/clickhouse', segment
    FROM (SELECT number, intDiv(number, 16) AS segment, number % 16 AS span FROM numbers({rows}))"""


def statements(name):
    with open(SNAPSHOTS.format(name), encoding="utf-8") as file:
        return file.read().split("---\n", 2)[2].strip().split("\n\n")


def main():
    create_events = statements("ddl__tests__create_tables")[0].replace("`the_traces`", "`events`")
    views = [re.sub("`the_table", "`events", text) for text in statements("created_views__tests__create_views")]
    cases = {"none": [], "events_trace_id_ts": [text for text in views if "trace_id_ts" in text], "service_edges": [text for text in views if "service_edges" in text]}
    cases["both"] = cases["events_trace_id_ts"] + cases["service_edges"]
    folder = tempfile.mkdtemp(prefix="weir-views-")
    try:
        connection = chdb.connect(folder)
        for name, extra in cases.items():
            best = measure(connection, [create_events, *extra])
            print(f"{name:20} {best / ROWS * 1e6 * 16:6.1f} µs of CPU a segment of 16 spans ({best * 1000:.0f} ms an insert of {ROWS:,} rows)")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(connection, created):
    """The CPU time of the fastest insert into tables made by these statements."""
    for text in ["DROP DATABASE IF EXISTS weir SYNC", "CREATE DATABASE weir", "USE weir", "SET flatten_nested = 0", *created]:
        connection.query(re.sub(r"\nTTL [^\n]*", "", text).replace(", ttl_only_drop_parts = 1", ""))
    connection.query("CREATE TABLE source AS events ENGINE = Memory")
    connection.query(SPANS.format(rows=ROWS * INSERTS))
    [columns] = connection.query("SELECT arrayStringConcat(groupArray(name), ', ') FROM system.columns WHERE database = 'weir' AND table = 'events' "
                                 "AND default_kind = ''", "TabSeparated").bytes().decode().splitlines()
    used = []
    for first in range(INSERTS):
        begun = time.process_time()
        connection.query(f"INSERT INTO events ({columns}) SELECT {columns} FROM source WHERE _offset >= {first * ROWS // 16} AND _offset < {(first + 1) * ROWS // 16} "
                         "SETTINGS max_threads = 1, max_insert_threads = 1")
        used.append(time.process_time() - begun)
    return min(used)


if __name__ == "__main__":
    main()
