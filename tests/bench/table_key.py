"""Which sort key and codecs the table `events` should have: bytes a span on disk, merged, and what common questions have to read.

    ~/.cache/weir/venv/bin/python tests/bench/table_key.py [--weir PROGRAM] [--segments N]

Weir stores generated segments, of 60 services with 6 operations each, into the table that it creates. Their traces are spread over six hours and
copied into a table for each candidate, merged into one part. A granule has 1,024 rows instead of 8,192, as if there were eight times as many
spans. A question is asked three times, by one thread; the fastest counts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import chdb

from program import CACHE, ROOT, WEIR

# A trace has a segment of each service of a group.
GROUPS, SERVICES, HOURS = 10, 6, 6
START = "2026-11-02T00:00:00Z"
CONFIG = """
receivers:
{receivers}
exporters:
  clickhouse: {{endpoint: "{url}", database: key}}
service:
  telemetry: {{metrics: {{address: ""}}, logs: {{level: warn}}}}
  pipelines:
    main: {{receivers: [{ids}], exporters: [clickhouse]}}
"""

# Columns in another form than the created table has them in.
END = {"end_time": "DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1))"}
STORED = {**END, "span_id": "String CODEC(ZSTD(1))", "parent_span_id": "String CODEC(ZSTD(1))", "_offset": "Int64 CODEC(ZSTD(1))"}
# Columns that the created table computes others from.
PARTS = {"span_id": ("parent_segment_id", "parent_segment_span_id", "own_span_id", "own_parent_span_id"), "end_time": ("_before_ns",)}
SPAN = "trace_id, segment_id, segment_span_id"
CHOSEN = f"service, toStartOfFiveMinutes(time), {SPAN}"
CANDIDATES = {
    "former": ("service, operation, toStartOfMinute(time), time", STORED, ""),
    "former key": ("service, operation, toStartOfMinute(time), time", END, ""),
    "service, operation, minute, span": (f"service, operation, toStartOfMinute(time), {SPAN}", {}, ""),
    "service, minute, span": (f"service, toStartOfMinute(time), {SPAN}", {}, ""),
    "service, five minutes, span": (CHOSEN, {}, ""),
    "five minutes, service, span": (f"toStartOfFiveMinutes(time), service, {SPAN}", {}, ""),
    "five minutes, span": (f"toStartOfFiveMinutes(time), {SPAN}", {}, ""),
    "chosen, end stored": (CHOSEN, END, ""),
    "chosen, T64": (CHOSEN, {name: "Int64 CODEC(T64, ZSTD(1))" for name in ("duration_ns", "_offset")}, ""),
    "chosen, ZSTD(3)": (CHOSEN, {"attributes": "Map(LowCardinality(String), String) CODEC(ZSTD(3))"}, ""),
    "chosen, indexes": (CHOSEN, {}, "INDEX i1 time TYPE minmax, INDEX i2 duration_ns TYPE minmax, INDEX i3 status TYPE set(4), INDEX i4 operation TYPE set(64)"),
}

FROM, TO, LATER = (f"toDateTime64('2026-11-02 {time}:00', 9, 'UTC')" for time in ("03:00", "03:15", "04:00"))
QUARTER, HOUR = f"time >= {FROM} AND time < {TO}", f"time >= {FROM} AND time < {LATER}"
SERVICE = "service = 'service-32'"
QUESTIONS = {
    "errors of all services, 15 min": f"SELECT service, count() FROM {{table}} WHERE {QUARTER} AND status = 'error' GROUP BY service",
    "rates of all services, 15 min": f"SELECT service, count(), quantile(0.99)(duration_ns) FROM {{table}} WHERE {QUARTER} AND kind = 'server' GROUP BY service",
    "one service, 6 hours": f"SELECT toStartOfFiveMinutes(time) AS t, count(), quantile(0.99)(duration_ns) FROM {{table}} WHERE {SERVICE} GROUP BY t",
    "operations of a service, 15 min": f"SELECT operation, count(), quantile(0.99)(duration_ns) FROM {{table}} WHERE {SERVICE} AND {QUARTER} GROUP BY operation",
    "slow spans of an operation, 1 h": f"SELECT trace_id, span_id, time, duration_ns, attributes FROM {{table}} WHERE {SERVICE} AND operation = '{{operation}}' "
                                       f"AND {HOUR} ORDER BY duration_ns DESC LIMIT 20",
    "slow spans of all, 1 h": f"SELECT trace_id, span_id, time, duration_ns FROM {{table}} WHERE {HOUR} AND duration_ns > 2000000000",
    "one trace": "SELECT *, span_id, parent_span_id FROM {table} WHERE trace_id = '{trace}'",
    "by a tag, all services, 1 h": f"SELECT attributes['http.method'] AS m, count() FROM {{table}} WHERE {HOUR} GROUP BY m",
    "by a tag, one service, 6 hours": f"SELECT attributes['http.method'] AS m, count() FROM {{table}} WHERE {SERVICE} GROUP BY m",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=WEIR, help="the program; default: the release build")
    parser.add_argument("--segments", type=int, default=60_000)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="weir-table-key-")
    try:
        fill(folder, os.path.abspath(options.weir), options.segments)
        measure(chdb.connect(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fill(folder, weir, segments):
    """Weir stores generated segments in `key.events` of the engine in `folder`."""
    receivers = []
    for group in range(GROUPS):
        names = ", ".join(f"service-{group}{number}" for number in range(SERVICES))
        receivers.append(f"  generator/{group}: {{rate: unlimited, count: {segments // GROUPS}, seed: {group + 1}, services: [{names}], "
                         f"operations: 6, start_time: \"{START}\"}}")
    front = subprocess.Popen([sys.executable, os.path.join(ROOT, "tests", "support", "clickhouse_front.py"), "--dir", folder],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with tempfile.TemporaryDirectory() as work:
            path = os.path.join(work, "weir.yaml")
            with open(path, "w", encoding="utf-8") as file:
                ids = ", ".join(f"generator/{group}" for group in range(GROUPS))
                file.write(CONFIG.format(receivers="\n".join(receivers), ids=ids, url=json.loads(front.stdout.readline())["url"]))
            subprocess.run([weir, "run", "--exit-on-end", "--config", path], check=True, cwd=work)
    finally:
        front.stdin.close()
        front.wait()


def rows(connection, sql):
    """The rows of an answer."""
    lines = connection.query(sql, "JSONCompactEachRow").bytes().decode().splitlines()
    return [json.loads(line) for line in lines]


def measure(connection):
    connection.query("USE key")
    spread(connection)
    [[trace, count]] = rows(connection, "SELECT any(trace_id), count() FROM spread")
    [[operation]] = rows(connection, f"SELECT any(operation) FROM spread WHERE {SERVICE} AND kind = 'server'")
    print(f"{int(count):,} spans")
    [[created]] = rows(connection, "SHOW CREATE TABLE events")
    columns = created.split("(\n", 1)[1].split("\n)\nENGINE", 1)[0].split(",\n")
    for name, (key, changed, indexes) in CANDIDATES.items():
        gone = {*changed, *(part for column in changed for part in PARTS.get(column, ()))}
        kept = [line for line in columns if line.strip(" `").split("`")[0] not in gone]
        lines = kept + [f"`{column}` {kind}" for column, kind in changed.items()] + ([indexes] if indexes else [])
        connection.query(f"CREATE TABLE candidate ({', '.join(lines)}) ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY ({key}) "
                         "SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 0")
        stored = rows(connection, "SELECT name FROM system.columns WHERE database = 'key' AND table = 'candidate' AND default_kind = ''")
        listed = ", ".join(f"`{column}`" for [column] in stored)
        connection.query(f"INSERT INTO candidate ({listed}) SELECT {listed} FROM spread SETTINGS max_threads = 1")
        connection.query("OPTIMIZE TABLE candidate FINAL")
        [[whole]] = rows(connection, f"SELECT round(sum(bytes_on_disk) / {count}, 2) FROM system.parts WHERE table = 'candidate' AND active")
        sizes = rows(connection, f"SELECT column, round(sum(column_data_compressed_bytes) / {count}, 2) AS size FROM system.parts_columns "
                                 "WHERE table = 'candidate' AND active GROUP BY column ORDER BY size DESC LIMIT 12")
        print(f"\n{name}: {whole} bytes a span;", ", ".join(f"{column} {size}" for column, size in sizes))
        for question, sql in QUESTIONS.items():
            sql = sql.format(table="candidate", trace=trace, operation=operation) + " SETTINGS max_threads = 1"
            answers = [connection.query(sql, "TabSeparated") for _ in range(3)]
            best = min(answers, key=lambda answer: answer.elapsed())
            print(f"   {question:32} {best.elapsed() * 1000:7.1f} ms {best.storage_rows_read():9,} rows {best.storage_bytes_read() / 1e6:7.2f} MB")
        connection.query("DROP TABLE candidate SYNC")


def spread(connection):
    """The spans over HOURS, each trace moved as a whole, with the columns from which the others follow."""
    nanos = "toUnixTimestamp64Nano"
    [[first, last]] = rows(connection, f"SELECT {nanos}(min(time)), {nanos}(max(time)) FROM events")
    factor = HOURS * 3600 * 10**9 / (int(last) - int(first))
    later = f"intDiv(toInt64((t.first - {first}) * {factor - 1}), 1000000) * 1000000"
    time, end = (f"fromUnixTimestamp64Nano({nanos}({column}) + {later}, 'UTC')" for column in ("time", "end_time"))
    connection.query(f"""CREATE TABLE spread ENGINE = MergeTree ORDER BY tuple() AS
        SELECT e.* REPLACE ({time} AS time), {end} AS end_time, e.span_id AS span_id, e.parent_span_id AS parent_span_id
        FROM events AS e INNER JOIN (SELECT trace_id, {nanos}(min(time)) AS first FROM events GROUP BY trace_id) AS t USING trace_id""")


if __name__ == "__main__":
    main()
