"""The OTLP cases of `make bench`: requests of 1,000 items over HTTP, through Weir and through a real Collector.

Each case sends so many requests and four times as many; the difference in CPU time, divided by the difference in items, is
the cost of one more item, so start and stop do not count. A request is answered when its items are delivered. The client and
the sinks are other processes.
"""

import atexit
import json
import os
import subprocess
import tempfile
import time

from program import CACHE, RELEASE, Usage, Weir, free_port

ITEMS = 1_000
CONNECTIONS = 16
LOAD = os.path.join(RELEASE, "otlp_load")
COLLECTOR = os.path.join(CACHE, "tools", "otelcol-0.161.0", "otelcol")


class Sink:
    """A server of OTLP that says yes to everything."""

    def __enter__(self):
        self.child = subprocess.Popen([LOAD, "sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{json.loads(self.child.stdout.readline())['port']}"
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.got = json.loads(self.child.stdout.readline())
        self.child.wait()


class Collector:
    """A running Collector, measured like Weir."""

    def __init__(self, config):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "otelcol.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.began = time.monotonic()
        self.child = subprocess.Popen([COLLECTOR, "--config", path], cwd=self.folder.name, stderr=subprocess.DEVNULL)
        atexit.register(self.child.kill)

    def check(self):
        if self.child.poll() is not None:
            raise SystemExit("the Collector ended early")

    def stop(self):
        wall = time.monotonic() - self.began
        self.child.terminate()
        _, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.folder.cleanup()
        return Usage(usage, wall)


def collector_has(*kinds):
    """Whether there is a Collector with these components."""
    if not os.access(COLLECTOR, os.X_OK):
        return False
    known = subprocess.run([COLLECTOR, "components"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return all(f"name: {kind}\n" in known for kind in kinds)


def listens(port, program):
    """Waits until something listens there."""
    import socket

    while True:
        program.check()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)


def through(make, signal, requests):
    """Sends requests through the program that `make` starts at a port; what it has used."""
    port = free_port()
    program = make(port)
    listens(port, program)
    began = time.monotonic()
    subprocess.run([LOAD, "send", f"127.0.0.1:{port}", signal, str(requests), str(ITEMS), str(CONNECTIONS)], check=True,
                   stdout=subprocess.DEVNULL)
    sent = time.monotonic() - began
    used = program.stop()
    used.wall = sent
    return used


RECEIVER = "receivers: {otlp: {protocols: {http: {endpoint: \"127.0.0.1:%d\"}}}}\n"
SERVICE = "service: {pipelines: {main: {receivers: [otlp], processors: [%s], exporters: [%s]}}}\n"
SHORT = "batch: {timeout: 5ms}"


def weir_to_otlp(url, rename=""):
    """Weir between the client and the sink."""
    processors = f"processors: {{enrich: {{rename: {{{rename}}}}}}}\n" if rename else ""
    exporter = f"exporters: {{otlp: {{endpoint: \"{url}\", protocol: http/protobuf, compression: none, {SHORT}}}}}\n"
    service = SERVICE % ("enrich" if rename else "", "otlp")
    return lambda port: Weir(RECEIVER % port + processors + exporter + service)


def weir_to_clickhouse(url, database):
    exporter = (f"exporters: {{clickhouse: {{endpoint: \"{url}\", database: {database}, max_inserts_per_second: 0, "
                f"batch: {{timeout: 20ms}}}}}}\n")
    return lambda port: Weir(RECEIVER % port + exporter + SERVICE % ("", "clickhouse"))


def collector_to_otlp(url, rename=()):
    """The Collector between the client and the sink, without a queue, so that it answers when the sink has."""
    processors, names = "", ""
    if rename:
        old, new = rename
        processors = (f"processors: {{attributes: {{actions: [{{key: {new}, from_attribute: {old}, action: insert}}, "
                      f"{{key: {old}, action: delete}}]}}}}\n")
        names = "attributes"
    config = ("receivers: {otlp: {protocols: {http: {endpoint: \"127.0.0.1:%d\"}}}}\n" + processors +
              f"exporters: {{otlp_http: {{endpoint: \"{url}\", compression: none, sending_queue: {{enabled: false}}}}}}\n"
              "service:\n  telemetry: {metrics: {level: none}, logs: {level: error}}\n"
              f"  pipelines: {{traces: {{receivers: [otlp], processors: [{names}], exporters: [otlp_http]}}}}\n")
    return lambda port: Collector(config % port)


def cases(servers):
    """Name, signal and program of each case."""
    rename = ("user_agent.original", "http.user_agent")
    with Sink() as sink:
        yield "7 OTLP, 1,000 spans a request, passed through", "traces", weir_to_otlp(sink.url)
        if collector_has("otlp", "otlp_http"):
            yield "7 the same, OpenTelemetry Collector 0.161.0", "traces", collector_to_otlp(sink.url)
        yield "7b the same with one attribute renamed", "traces", weir_to_otlp(sink.url, f"{rename[0]}: {rename[1]}")
        if collector_has("attributes"):
            yield "7b the same, OpenTelemetry Collector 0.161.0", "traces", collector_to_otlp(sink.url, rename)
    for name, signal in (("7c OTLP logs → null sink (ClickHouse, LZ4)", "logs"), ("7d OTLP traces → null sink (ClickHouse, LZ4)", "traces")):
        database = f"bench_otlp_{signal}"
        servers.sql(f"CREATE DATABASE {database}")
        yield name, signal, weir_to_clickhouse(servers.url, database)
        servers.sql(f"DROP DATABASE {database}")


def rows(servers, requests, repeats, spread):
    """The lines of the table: case, CPU, memory and speed."""
    import statistics

    found = []
    for name, signal, make in cases(servers):
        cpu, rate, rss = [], [], 0
        for _ in range(repeats):
            short, long = through(make, signal, requests), through(make, signal, 4 * requests)
            cpu.append((long.cpu - short.cpu) / (3 * requests * ITEMS) * 1e6)
            rate.append(4 * requests * ITEMS / long.wall)
            rss = max(rss, long.rss)
        row = (name, spread(cpu, 2), f"{rss / 2**20:.0f} MiB", f"{statistics.median(rate):,.0f}")
        print(" | ".join(row), flush=True)
        found.append(row)
    return found
