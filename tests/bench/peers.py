"""Measures Weir and its peers at the same work, case 3, and writes the table of peers in docs/performance.md (`make bench-peers`).

Peers: a Flink job tuned by hand (tests/bench/flink). First both store a topic in the real engine, and what they stored is
compared; then both read the same topics into the same null sink, in turn. Each runs at two lengths, and the difference is
divided by the difference in segments: start, stop, and the compiling of the JVM's first seconds do not count, so the short
runs must be long enough for that. At last each stores shorter topics in the engine, for the engine's CPU alone. The topics take
10 GB in the folder of temporary files.

    python tests/bench/peers.py [--segments 400000] [--repeats 3]
"""

import argparse
import statistics
import subprocess
import types

import flink_job
import same_work
from run import RULES, Sample, gateway, kafka_to_clickhouse, machine, spread, write
from servers import PARTITIONS, Servers

ENGINE_SEGMENTS = 50_000
SMALL_HEAP = "256m"


class Peer:
    """One row of the table: what is run, and what came of it."""

    def __init__(self, name, what, run):
        self.name, self.what, self.run = name, what, run
        self.samples, self.engine = [], None

    def measure(self, servers, segments, repeat):
        def run(n, number):
            before = servers.insert_bytes()
            used = self.run(n, number)
            used.sent = (servers.insert_bytes() - before) / n
            return used

        sample = Sample(run, segments, repeat)
        print(f"{self.name} ({self.what}): {sample.cpu:.1f} µs a segment, {sample.rss / 2**20:.0f} MiB, "
              f"{sample.rate:,.0f} segments/s, the engine {max(0, sample.engine):.1f} µs", flush=True)
        return sample

    def cpu(self):
        return statistics.median(sample.cpu for sample in self.samples)

    def rss(self):
        return max(sample.rss for sample in self.samples)

    def row(self, weir):
        """Ratios are of medians, and of the largest sizes."""
        return (self.name, self.what, spread([sample.cpu for sample in self.samples]), f"{self.rss() / 2**20:,.0f} MiB",
                f"{statistics.median(sample.rate for sample in self.samples):,.0f}",
                f"{self.cpu() / weir.cpu():.2f}", f"{self.rss() / weir.rss():.1f}",
                f"{self.samples[-1].long.sent:,.0f}", f"{self.engine.engine:.0f}" if self.engine else "")


def topic(segments):
    return f"peers_{segments}"


def flink(servers, segments, run, heap=flink_job.HEAP):
    """Of the engine's work only the inserts, as for Weir."""
    for table in same_work.TABLES:
        servers.sql(f"TRUNCATE TABLE {same_work.FLINK}.{table}")
    servers.stop_merges(f"{same_work.FLINK}.events")
    engine = servers.engine_cpu()
    used = flink_job.run(servers, topic(segments), f"flink_{heap}_{run}", same_work.FLINK, RULES, heap)
    used.engine = servers.engine_cpu() - engine
    flink_job.verify(used.said, segments)
    return used


def weir_configuration():
    """As it is measured, with one of the rules."""
    places = types.SimpleNamespace(bootstrap="127.0.0.1:9092", url="http://127.0.0.1:8123")
    text = gateway(places, "segments", "weir", "bench", RULES[:1])
    return text.replace("exporters:\n", f"        # and {len(RULES) - 1} more\nexporters:\n", 1).strip()


def flink_configuration(said):
    settings = {**said["flink"], **{f"consumer: {name}": value for name, value in said["consumer"].items()}}
    return "\n".join([f"java {' '.join(flink_job.flags(flink_job.HEAP))}", *(f"{name}: {value}" for name, value in settings.items())])


def java():
    told = subprocess.run(["java", "-version"], check=True, stderr=subprocess.PIPE, text=True).stderr
    return told.splitlines()[1].strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=400_000, help="segments of the short runs; the long ones have 4 x")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    count = options.segments
    with Servers() as servers:
        same = same_work.check(servers)
        print(machine(), same, sep="\n", flush=True)
        weir = Peer("Weir", "exactly once; Native", lambda n, run: kafka_to_clickhouse(servers, topic(n), n, run))
        tuned = Peer("Flink 2.2.1, tuned by hand", "at least once into ClickHouse, checkpoints every 10 s; RowBinary",
                     lambda n, run: flink(servers, n, run))
        small = Peer("the same", f"with a heap of {SMALL_HEAP} instead of {flink_job.HEAP}",
                     lambda n, run: flink(servers, n, run, SMALL_HEAP))
        for segments in sorted({ENGINE_SEGMENTS, 4 * ENGINE_SEGMENTS, count, 4 * count}):
            servers.fill(topic(segments), segments)
        servers.discard(True)
        for repeat in range(options.repeats):
            for peer in (weir, tuned, small):
                peer.samples.append(peer.measure(servers, count, repeat))
        servers.discard(False)
        for peer in (weir, tuned):
            peer.engine = peer.measure(servers, ENGINE_SEGMENTS, "engine")
    taken = sorted({sample.long.said["checkpoints"] for sample in tuned.samples})
    lines = [
        f"Measured on {machine()}, {java()}, with `make bench-peers` ({count:,} and {4 * count:,} segments a run, {options.repeats} times "
        f"in turn; median and range). Kafka with {PARTITIONS} partitions → full chain → null sink, LZ4, as in case 3; ratios are multiples of "
        f"Weir's. Segments a second are of the whole long run, start included, with Kafka and the sink on the same cores. The engine's CPU is that of one run "
        f"of {ENGINE_SEGMENTS:,} and one of {4 * ENGINE_SEGMENTS:,} segments into the real engine, as in case 3b. Checkpoints that Flink completed in a "
        f"long run: {' or '.join(map(str, taken))}. {same}", "",
        "| who | what | CPU, µs a segment | peak memory | segments/s | CPU ratio | memory ratio | bytes a segment to ClickHouse "
        "| the engine's CPU for it, µs a segment |", "|---|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(peer.row(weir)) + " |" for peer in (weir, tuned, small)), "",
        "Weir:", "", "```yaml", weir_configuration(), "```", "",
        "Flink, an embedded cluster in one JVM:", "", "```text", flink_configuration(tuned.samples[-1].long.said), "```",
    ]
    print("\n".join(lines))
    write("peers", lines)


if __name__ == "__main__":
    main()
