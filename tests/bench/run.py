"""Measures the main job on real parts and writes the table of docs/performance.md (`make bench`).

CPU is user + system time of the Weir process; memory is its largest resident size. Each case runs at two lengths, and
the difference is divided by the difference in segments, so start and stop do not count.

    python tests/bench/run.py [--segments 50000] [--requests 400] [--repeats 3] [--only-otlp]

With `--only-otlp` the cases of OTLP alone are measured and shown, and no page is written.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import otlp
from program import RELEASE, ROOT, Weir
from servers import Servers

# Name, prefix of the service, threshold of the 99th percentile in nanoseconds.
RULES = [(f"rule-{n}", f"service-{n}", 2_000_000_000) for n in range(1000)]
RULE = '        - {name: %s, match: {service: "%s*"}, when: {high: "p99_duration_ns > %d"}}\n'
CHAIN = """
processors:
  enrich: {tags: {site: bench}, host: true}
  aggregate/endpoint: {where: "kind = 'server'", group_by: [service, operation], window: {tumbling: 7s}, out_of_orderness: 10s}
  aggregate/service: {group_by: [service], window: {tumbling: 1s}, out_of_orderness: 10s}
  threshold:
    rules:
      inline:
"""
PROCESSORS = "[enrich, aggregate/endpoint, aggregate/service, threshold]"
PIPELINE = "\nservice:\n  pipelines:\n    main: {receivers: [%s], processors: %s, exporters: [%s]}\n"
NOP = "exporters:\n  nop:\n"


# The same in tests/src/generate.rs.
LATENCY = "latency: {median: 60ms, p99: 400ms}"


def generator(segments, lanes=1):
    return f"receivers:\n  generator: {{rate: unlimited, count: {segments}, seed: 1, lanes: {lanes}, {LATENCY}}}\n"


def generator_alone(segments):
    return Weir(generator(segments) + NOP + PIPELINE % ("generator", "[]", "nop"), "--exit-on-end").wait()


def chain(rules):
    """The processors, with these rules."""
    return CHAIN + "".join(RULE % rule for rule in rules)


def full_chain(segments, lanes=1, cores=None):
    config = generator(segments, lanes) + chain(RULES) + NOP + PIPELINE % ("generator", PROCESSORS, "nop")
    return Weir(config, "--exit-on-end", cores=cores).wait()


def gateway(servers, topic, group, database, rules=RULES):
    """The configuration of case 3."""
    receiver = (f"receivers:\n  skywalking_kafka: {{brokers: [\"{servers.bootstrap}\"], topics: {{segments: {topic}}}, "
                f"group_id: {group}, initial_offset: earliest}}\n")
    exporter = f"exporters:\n  clickhouse: {{endpoint: \"{servers.url}\", database: {database}}}\n"
    return receiver + chain(rules) + exporter + PIPELINE % ("skywalking_kafka", PROCESSORS, "clickhouse")


def kafka_to_clickhouse(servers, topic, segments, run, counting=False):
    """Until every span is taken by the server. Of the engine's work only the inserts: nothing is merged."""
    database = f"{topic}_{run}"
    servers.sql(f"CREATE DATABASE {database}")
    engine = servers.engine_cpu()
    weir = Weir(gateway(servers, topic, database, database), counting=counting)
    alone = False
    while weir.metric("weir_exporter_sent_rows_total") < 16 * segments or weir.metric("weir_exporter_queue_bytes") > 0:
        alone = alone or servers.stop_merges(f"{database}.events")
        time.sleep(0.05)
    used = weir.stop()
    used.engine = servers.engine_cpu() - engine
    servers.sql(f"DROP DATABASE {database}")
    return used


class Sample:
    """The cost of one more segment, from a run of `segments` and one of 4 x `segments`."""

    def __init__(self, run, segments, repeat):
        short, long = run(segments, f"{repeat}s"), run(4 * segments, f"{repeat}l")
        more = 3 * segments
        self.cpu = (long.cpu - short.cpu) / more * 1e6
        self.engine = (long.engine - short.engine) / more * 1e6 if hasattr(long, "engine") else None
        self.rss = long.rss
        self.rate = 4 * segments / long.wall
        self.long = long


def spread(values, digits=1):
    """Median and range."""
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}–{high})"


def measure(name, run, segments, repeats):
    """One row of the table."""
    samples = [Sample(run, segments, repeat) for repeat in range(repeats)]
    cpu = [sample.cpu for sample in samples]
    engine = [sample.engine for sample in samples if sample.engine is not None]
    row = (name, spread(cpu), f"{statistics.median(cpu) / 16:.2f}", f"{max(sample.rss for sample in samples) / 2**20:.0f} MiB",
           f"{statistics.median(sample.rate for sample in samples):,.0f}",
           f"{max(0, statistics.median(engine)):.0f}" if engine else "")
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


def latency(servers, rate, seconds=20):
    """Case 6: the gateway of case 3 with short timeouts, at `rate` segments a second. Returns median and 99th percentile of the
    delay from the end of a batch's oldest event to the answer of the server, in seconds, within their buckets."""
    servers.topic("bench_latency")
    short = ["--set", "exporters.clickhouse.batch.timeout=50ms", "--set", "exporters.clickhouse.max_inserts_per_second=0",
             "--set", "receivers.skywalking_kafka.batch.timeout=10ms"]
    servers.sql("CREATE DATABASE bench_latency")
    weir = Weir(gateway(servers, "bench_latency", "bench_latency", "bench_latency"), *short)
    while weir.metric("weir_kafka_assigned_partitions") == 0:
        time.sleep(0.1)
    time.sleep(1)
    producer = servers.produce("bench_latency", rate * seconds, rate)
    time.sleep(seconds / 4)  # the first seconds warm up
    name, label = "weir_exporter_delay_seconds", 'signal="traces"'
    before = weir.buckets(name, label)
    producer.wait()
    time.sleep(1)
    after = weir.buckets(name, label)
    weir.stop()
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    return [quantile(counts, share) for share in (0.5, 0.99)]


def quantile(counts, share):
    """As Prometheus computes it: linear within the bucket."""
    rank, low, below = share * max(counts.values()), 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / max(count - below, 1)
        low, below = bound, count
    return low


def allocations(servers, segments):
    """Heap allocations of one more segment in case 3."""
    run = lambda n: kafka_to_clickhouse(servers, f"bench_{n}", n, "counting", counting=True).allocations
    return (run(4 * segments) - run(segments)) / (3 * segments)


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
    # In a process of its own: what it takes would count as the memory of every program started after it.
    measure = [sys.executable, os.path.join(os.path.dirname(__file__), "speed.py")]
    speed = subprocess.run(measure, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    rustc = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return f"{os.cpu_count()} cores ({cpu}; {speed}), Linux {platform.release()}, {rustc}, {time.strftime('%Y-%m-%d')}"


def write(mark, lines):
    """Puts lines into docs/performance.md, in place of those between <!-- mark --> and <!-- /mark -->."""
    page = os.path.join(ROOT, "docs", "performance.md")
    with open(page, encoding="utf-8") as file:
        text = file.read()
    place = rf"(?s)(<!-- {mark} -->\n).*?(\n<!-- /{mark} -->)"
    text = re.sub(place, lambda found: found[1] + "\n".join(lines) + found[2], text)
    with open(page, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote the table of {os.path.relpath(page, ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=50_000, help="segments of the short runs; the long ones have 4 x")
    parser.add_argument("--requests", type=int, default=400, help="OTLP requests of the short runs; the long ones have 4 x")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only-otlp", action="store_true", help="only the cases of OTLP, and no page is written")
    options = parser.parse_args()
    count, repeats = options.segments, options.repeats
    print(machine(), flush=True)
    if options.only_otlp:
        with Servers() as servers:
            servers.discard(True)
            otlp.rows(servers, options.requests, repeats, spread)
        return
    row, of_decoder = decode(10 * count)
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
        servers.discard(True)
        of_program = allocations(servers, count)
        rate = round(float(rows[-2][4].replace(",", "")) / 2)
        middle, high = latency(servers, rate)
        share, rss = idle(servers)
        of_otlp = otlp.rows(servers, options.requests, repeats, spread)
    lines = [
        f"Measured on {machine()}, with `make bench` ({count:,} and {4 * count:,} segments a run, {repeats} times; median and range).", "",
        "| case | CPU, µs a segment | µs a span | peak memory | segments/s | the engine's CPU for it, µs a segment |", "|---|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows), "",
        f"Heap allocations: {of_decoder:.2f} a segment in the decoder, {of_program:.2f} in the whole of case 3. "
        f"5, idle (the gateway of case 3, empty topic): {share:.1%} of a core, {rss / 2**20:.0f} MiB. "
        f"6, from the end of an event to the server's answer, at {rate:,} segments a second (half of case 3) with a batch timeout of "
        f"50 ms: median {middle * 1000:.0f} ms, 99 % within {high * 1000:.0f} ms, of which the generator holds events for up to 50 ms.",
        "", f"OTLP over HTTP, {options.requests:,} and {4 * options.requests:,} requests of {otlp.ITEMS:,} items on {otlp.CONNECTIONS} "
        f"connections a run, {repeats} times, each answered when its items are delivered:", "",
        "| case | CPU, µs an item | peak memory | items/s |", "|---|---|---|---|", *("| " + " | ".join(row) + " |" for row in of_otlp),
    ]
    write("bench", lines)


if __name__ == "__main__":
    main()
