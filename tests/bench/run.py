"""Measures the main job on real parts and writes the table of docs/performance.md (`make bench`).

CPU is user + system time of the Weir process; memory is its largest resident size. Each case runs at two lengths, and
the difference is divided by the difference in segments, so start and stop do not count.

    python tests/bench/run.py [--segments 50000] [--repeats 3]
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time

from program import RELEASE, ROOT, Weir
from servers import Servers

RULES = 1000
RULE = '        - {name: rule-%d, match: {service: "service-%d*"}, when: {high: "p99_duration_ns > 2000000000"}}\n'
CHAIN = """
processors:
  enrich: {tags: {site: bench}, host: true}
  aggregate/endpoint: {where: "kind = 'server'", group_by: [service, operation], window: {tumbling: 7s}, out_of_orderness: 10s}
  aggregate/service: {group_by: [service], window: {tumbling: 1s}, out_of_orderness: 10s}
  threshold:
    rules:
      inline:
""" + "".join(RULE % (n, n) for n in range(RULES))
PROCESSORS = "[enrich, aggregate/endpoint, aggregate/service, threshold]"
PIPELINE = "\nservice:\n  pipelines:\n    main: {receivers: [%s], processors: %s, exporters: [%s]}\n"
NOP = "exporters:\n  nop:\n"


def generator(segments, lanes=1):
    return f"receivers:\n  generator: {{rate: unlimited, count: {segments}, seed: 1, lanes: {lanes}}}\n"


def generator_alone(segments):
    return Weir(generator(segments) + NOP + PIPELINE % ("generator", "[]", "nop"), "--exit-on-end").wait()


def full_chain(segments, lanes=1, cores=None):
    config = generator(segments, lanes) + CHAIN + NOP + PIPELINE % ("generator", PROCESSORS, "nop")
    return Weir(config, "--exit-on-end", cores=cores).wait()


def gateway(servers, topic, group, database):
    """The configuration of case 3."""
    receiver = (f"receivers:\n  skywalking_kafka: {{brokers: [\"{servers.bootstrap}\"], topics: {{segments: {topic}}}, "
                f"group_id: {group}, initial_offset: earliest}}\n")
    exporter = f"exporters:\n  clickhouse: {{endpoint: \"{servers.url}\", database: {database}}}\n"
    return receiver + CHAIN + exporter + PIPELINE % ("skywalking_kafka", PROCESSORS, "clickhouse")


def kafka_to_clickhouse(servers, topic, segments, run):
    """Until every span is taken by the server."""
    database = f"{topic}_{run}"
    servers.sql(f"CREATE DATABASE {database}")
    engine = servers.engine_cpu()
    weir = Weir(gateway(servers, topic, database, database))
    while weir.metric("weir_exporter_sent_rows_total") < 16 * segments or weir.metric("weir_exporter_queue_bytes") > 0:
        time.sleep(0.05)
    used = weir.stop()
    used.engine = servers.engine_cpu() - engine
    servers.sql(f"DROP DATABASE {database}")
    return used


def measure(name, run, segments, repeats):
    """One row: the cost of one more segment, from runs of `segments` and 4 x `segments`."""
    cpu, engine, rss, rate = [], [], [], []
    for repeat in range(repeats):
        short, long = run(segments, f"{repeat}s"), run(4 * segments, f"{repeat}l")
        cpu.append((long.cpu - short.cpu) / (3 * segments) * 1e6)
        if hasattr(long, "engine"):
            engine.append((long.engine - short.engine) / (3 * segments) * 1e6)
        rss.append(long.rss)
        rate.append(4 * segments / long.wall)
    row = (name, f"{statistics.median(cpu):.1f} ({min(cpu):.1f}–{max(cpu):.1f})", f"{statistics.median(cpu) / 16:.2f}",
           f"{max(rss) / 2**20:.0f} MiB", f"{statistics.median(rate):,.0f}",
           f"{statistics.median(engine):.0f}" if engine else "")
    print(" | ".join(row), flush=True)
    return row


def decode(segments):
    """Case 1: bytes to columns, on one thread."""
    output = subprocess.run([os.path.join(RELEASE, "measure_decode"), str(segments)], check=True, stdout=subprocess.PIPE)
    found = json.loads(output.stdout)
    row = ("1 decode only (bytes → columns, attribute list)", f"{found['us']:.2f}", f"{found['us'] / found['spans']:.3f}",
           "", f"{1e6 / found['us']:,.0f}", "")
    print(" | ".join(row), f"allocations a segment: {found['allocations']}", flush=True)
    return row, found["allocations"]


def idle(servers, seconds=20):
    """Case 5: the gateway of case 3 with an empty topic. Returns the share of a core and the resident size."""
    servers.topic("bench_idle")
    weir = Weir(gateway(servers, "bench_idle", "bench_idle", "default"))
    while weir.metric("weir_kafka_assigned_partitions") == 0:
        time.sleep(0.1)
    time.sleep(3)  # start-up is not idling
    before, _ = weir.used()
    time.sleep(seconds)
    after, rss = weir.used()
    weir.stop()
    return (after - before) / seconds, rss


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    rustc = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{os.cpu_count()} cores ({cpu}), Linux {platform.release()}, {rustc}, {time.strftime('%Y-%m-%d')}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=50_000, help="segments of the short runs; the long ones have 4 x")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    count, repeats = options.segments, options.repeats
    row, allocations = decode(10 * count)
    rows = [
        row,
        measure("the generator itself (part of 2 and 4)", lambda n, _: generator_alone(n), count, repeats),
        measure("2 generator → full chain → nop", lambda n, _: full_chain(n), count, repeats),
        measure("4 the same, 4 lanes on 1 core", lambda n, _: full_chain(n, 4, "0"), count, repeats),
        measure("4 the same, 4 lanes on 2 cores", lambda n, _: full_chain(n, 4, "0,1"), count, repeats),
    ]
    with Servers() as servers:
        for segments in (count, 4 * count):
            wrote = servers.fill(f"bench_{segments}", segments)
            print(f"filled bench_{segments}: {wrote['bytes'] / wrote['segments']:.0f} bytes a segment", flush=True)
        for name, discard in (("3 Kafka → full chain → null sink (LZ4)", True), ("3b Kafka → full chain → ClickHouse engine (LZ4)", False)):
            servers.discard(discard)
            rows.append(measure(name, lambda n, run: kafka_to_clickhouse(servers, f"bench_{n}", n, f"{run}{int(discard)}"),
                                count, repeats))
        share, rss = idle(servers)
    lines = [
        f"Measured on {machine()}, with `make bench` ({count:,} and {4 * count:,} segments a run, {repeats} times; median and range).", "",
        "| case | CPU, µs a segment | µs a span | peak memory | segments/s | engine's CPU, µs a segment |", "|---|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows), "",
        f"Heap allocations of the decoder: {allocations:.2f} a segment. "
        f"5, idle (the gateway of case 3, empty topic): {share:.1%} of a core, {rss / 2**20:.0f} MiB.",
    ]
    page = os.path.join(ROOT, "docs", "performance.md")
    with open(page, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"(?s)(<!-- bench -->\n).*?(\n<!-- /bench -->)", lambda found: found[1] + "\n".join(lines) + found[2], text)
    with open(page, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote the table of {os.path.relpath(page, ROOT)}")


if __name__ == "__main__":
    main()
