"""Measures the main job on real parts and writes the table of docs/performance.md (`make bench`).

CPU is user + system time of the Weir process, from wait4; memory is its largest resident size. The same input is run
at two lengths and the difference is divided by the difference in segments, so start and stop do not count.

    python tests/bench/run.py [--segments 200000] [--repeats 3]
"""

import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
SUPPORT = os.path.join(ROOT, "tests", "support")
CACHE = os.environ.get("WEIR_CACHE", os.path.expanduser("~/.cache/weir"))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(CACHE, "target"))
WEIR = os.path.join(TARGET, "release", "weir")
PRODUCE = os.path.join(TARGET, "release", "produce_segments")
PYTHON = os.path.join(CACHE, "venv", "bin", "python")
PARTITIONS = 6

CHAIN = """
processors:
  enrich: {tags: {site: bench}, host: true}
  aggregate/endpoint: {where: "kind = 'server'", group_by: [service, operation], window: {tumbling: 7s}, out_of_orderness: 10s}
  aggregate/service: {group_by: [service], window: {tumbling: 1s}, out_of_orderness: 10s}
  threshold:
    rules:
      inline:
        - {name: slow, when: {high: "p99_duration_ns > 2000000000", mid: "avg_duration_ns > 500000000"}}
"""
PROCESSORS = "[enrich, aggregate/endpoint, aggregate/service, threshold]"
SERVICE = """
service:
  telemetry: {metrics: {address: ""}, logs: {level: warn}}
  pipelines:
    main: {receivers: [%s], processors: %s, exporters: [%s]}
"""


class Run:
    """One finished run of weir."""

    def __init__(self, usage, wall):
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss = usage.ru_maxrss * 1024
        self.wall = wall


def run_weir(config, *arguments, done=None):
    """Runs weir to its end, or until done() and then stops it."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weir.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        began = time.monotonic()
        child = subprocess.Popen([WEIR, "run", "--config", path, *arguments], cwd=folder)
        if done:
            while not done():
                if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    sys.exit("weir ended early")
                time.sleep(0.05)
            wall = time.monotonic() - began
            child.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.exit(f"weir ended with {child.returncode}")
        return Run(usage, wall if done else time.monotonic() - began)


def generator_to_nop(segments):
    receiver = f"receivers:\n  generator: {{rate: unlimited, count: {segments}, seed: 1}}\n"
    config = receiver + CHAIN + "exporters:\n  nop:\n" + SERVICE % ("generator", PROCESSORS, "nop")
    return run_weir(config, "--exit-on-end")


def generator_alone(segments):
    receiver = f"receivers:\n  generator: {{rate: unlimited, count: {segments}, seed: 1}}\n"
    return run_weir(receiver + "exporters:\n  nop:\n" + SERVICE % ("generator", "[]", "nop"), "--exit-on-end")


class Servers:
    """Kafka and the ClickHouse front."""

    def __enter__(self):
        self.kafka, facts = self._start("kafka_broker.py")
        self.bootstrap = facts["bootstrap"]
        self.clickhouse, facts = self._start("clickhouse_front.py")
        self.url = facts["url"]
        return self

    def __exit__(self, *_):
        for child in (self.kafka, self.clickhouse):
            child.stdin.close()
            child.wait()

    @staticmethod
    def _start(script):
        child = subprocess.Popen([PYTHON, os.path.join(SUPPORT, script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return child, json.loads(child.stdout.readline())

    def sql(self, text):
        body = urllib.request.urlopen(self.url + "/?" + urllib.parse.urlencode({"query": text}), data=b"").read()
        return body.decode().strip()

    def fill(self, topic, segments):
        code = ("import sys; from confluent_kafka.admin import AdminClient, NewTopic; "
                "admin = AdminClient({'bootstrap.servers': sys.argv[1]}); "
                "[f.result() for f in admin.create_topics([NewTopic(sys.argv[2], int(sys.argv[3]), 1)]).values()]")
        subprocess.run([PYTHON, "-c", code, self.bootstrap, topic, str(PARTITIONS)], check=True)
        wrote = subprocess.run([PRODUCE, self.bootstrap, topic, str(PARTITIONS), str(segments)], check=True,
                               stdout=subprocess.PIPE)
        return json.loads(wrote.stdout)


def kafka_to_clickhouse(servers, topic, segments, run):
    database = f"{topic}_{run}"
    servers.sql(f"CREATE DATABASE {database}")
    receiver = (f"receivers:\n  skywalking_kafka: {{brokers: [\"{servers.bootstrap}\"], topics: {{segments: {topic}}}, "
                f"group_id: {database}, initial_offset: earliest}}\n")
    exporter = f"exporters:\n  clickhouse: {{endpoint: \"{servers.url}\", database: {database}}}\n"
    config = receiver + CHAIN + exporter + SERVICE % ("skywalking_kafka", PROCESSORS, "clickhouse")
    spans = segments * 16

    def done():
        if servers.sql(f"EXISTS TABLE {database}.events") != "1":
            return False
        return int(servers.sql(f"SELECT count() FROM {database}.events")) >= spans

    result = run_weir(config, done=done)
    servers.sql(f"DROP DATABASE {database}")
    return result


def per_segment(short, long, segments):
    """Microseconds of CPU for one more segment, from runs of `segments` and 4 x `segments`."""
    return (long.cpu - short.cpu) / (3 * segments) * 1e6


def measure(name, run, segments, repeats):
    cpu, rss, rate = [], [], []
    for repeat in range(repeats):
        short, long = run(segments, repeat), run(4 * segments, repeat)
        cpu.append(per_segment(short, long, segments))
        rss.append(long.rss)
        rate.append(4 * segments / long.wall)
    row = {"name": name, "cpu": statistics.median(cpu), "low": min(cpu), "high": max(cpu), "rss": max(rss),
           "rate": statistics.median(rate)}
    print(f"{name}: {row['cpu']:.1f} us a segment ({row['low']:.1f}-{row['high']:.1f}), "
          f"{row['rss'] / 2**20:.0f} MiB, {row['rate']:.0f} segments/s", flush=True)
    return row


def table(rows, segments):
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                if line.startswith("model name")), platform.machine())
    rustc = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    lines = [f"Measured on {os.cpu_count()} cores ({cpu}), Linux {platform.release()}, {rustc}, on {time.strftime('%Y-%m-%d')}, "
             f"with `make bench` ({segments} and {4 * segments} segments a run).", "",
             "| case | CPU, µs a segment (range) | µs a span | peak memory | segments/s |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['name']} | {row['cpu']:.1f} ({row['low']:.1f}–{row['high']:.1f}) | {row['cpu'] / 16:.2f} | "
                     f"{row['rss'] / 2**20:.0f} MiB | {row['rate']:,.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=50_000, help="segments of the short runs; the long ones have 4 x")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = [
        measure("generator → nop (the generator itself)", lambda n, _: generator_alone(n), options.segments, options.repeats),
        measure("generator → full chain → nop", lambda n, _: generator_to_nop(n), options.segments, options.repeats),
    ]
    with Servers() as servers:
        topics = {}
        for segments in (options.segments, 4 * options.segments):
            topics[segments] = f"bench_{segments}"
            wrote = servers.fill(topics[segments], segments)
            print(f"filled {topics[segments]}: {wrote['bytes'] / wrote['segments']:.0f} bytes a segment", flush=True)
        rows.append(measure("Kafka → full chain → ClickHouse front (LZ4)",
                            lambda n, repeat: kafka_to_clickhouse(servers, topics[n], n, repeat),
                            options.segments, options.repeats))
    page = os.path.join(ROOT, "docs", "performance.md")
    with open(page, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"(?s)(<!-- bench -->\n).*?(\n<!-- /bench -->)", lambda found: found[1] + table(rows, options.segments) + found[2], text)
    with open(page, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote the table of {os.path.relpath(page, ROOT)}")


if __name__ == "__main__":
    main()
