"""What the columns `_source` and `_offset` of `events` cost: bytes a row on disk, merged, and in an insert.

    ~/.cache/weir/venv/bin/python tests/bench/provenance.py

480,000 generated spans, 16 a segment, of 20 services with 10 operations each, in 300 s, over 12 partitions; inserts of 10,000 rows of
one partition, sorted and compressed as the created table does.
"""

import shutil
import struct
import tempfile

import chdb
import lz4.block

SEGMENTS, SPANS, PARTITIONS, SECONDS, ROWS = 30_000, 16, 12, 300, 10_000
TABLE = """CREATE TABLE events (time DateTime64(9, 'UTC') CODEC(Delta, ZSTD(1)), segment_id String CODEC(ZSTD(1)), segment_span_id Int32 CODEC(ZSTD(1)),
    service LowCardinality(String), operation LowCardinality(String), _source LowCardinality(String) CODEC(ZSTD(1)), _offset Int64 CODEC(ZSTD(1)))
    ENGINE = MergeTree PARTITION BY toDate(time) ORDER BY (service, operation, toStartOfMinute(time), time) SETTINGS min_bytes_for_wide_part = 0"""
# Partition p has the segments p, p + 12, p + 24, … of all: offset n of it is the n-th of these.
ROWS_OF = """SELECT toDateTime64('2026-01-01 12:00:00', 9, 'UTC') + toIntervalNanosecond(intDiv(segment * {seconds} * 1000000000, {segments}) + cityHash64(segment, span) % 1000000000),
    lower(hex(sipHash128(segment))), span, 'service-' || toString(cityHash64(segment, 's') % 20), '/operation/' || toString(cityHash64(segment, span, 'o') % 10),
    'kQ1pYt3dQbC6m3vRrE9g2A/weir/skywalking-segments/' || toString(segment % {partitions}) || '/main/clickhouse', intDiv(segment, {partitions})
    FROM (SELECT ((intDiv(number, {spans}) + {first}) * {partitions} + {partition}) AS segment, number % {spans} AS span FROM numbers({rows}))"""


def main():
    folder = tempfile.mkdtemp(prefix="weir-provenance-")
    try:
        connection = chdb.connect(folder)
        connection.query(TABLE)
        a_partition, an_insert = SEGMENTS // PARTITIONS, ROWS // SPANS
        for first in range(0, a_partition, an_insert):
            for partition in range(PARTITIONS):
                rows = min(an_insert, a_partition - first) * SPANS
                connection.query("INSERT INTO events " + ROWS_OF.format(
                    seconds=SECONDS, segments=SEGMENTS, partitions=PARTITIONS, spans=SPANS, first=first, partition=partition, rows=rows))
        connection.query("OPTIMIZE TABLE events FINAL")
        sizes = """SELECT name, round(sum(column_data_compressed_bytes) / sum(rows), 2), sum(rows) FROM (SELECT column AS name, column_data_compressed_bytes, rows
            FROM system.parts_columns WHERE table = 'events' AND active) GROUP BY name ORDER BY name"""
        print("on disk, merged: column, bytes a row, rows")
        print(connection.query(sizes, "TabSeparated").bytes().decode())
    finally:
        shutil.rmtree(folder)
    # A block: the numbers of the one word that all rows have, a byte a row, and the offsets, 8 bytes a row;
    # each column in LZ4 frames.
    source = bytes(ROWS)
    offset = b"".join(struct.pack("<q", 5_000_000 + row // SPANS) for row in range(ROWS))
    packed = len(lz4.block.compress(source)) + len(lz4.block.compress(offset))
    print(f"in an insert of {ROWS} rows: {(len(source) + len(offset)) / ROWS:.2f} bytes a row, {packed / ROWS:.2f} compressed")


if __name__ == "__main__":
    main()
