"""Shows where the time of case 3 goes, by stage, and writes it to docs/performance.md (`make profile`).

Samples the cycles of the Weir process with `perf` while it reads a topic, start and stop left out, and adds them up by the
function, or the thread, that they were in.

    python tests/bench/profile.py [--segments 400000]
"""

import argparse
import re
import subprocess
import tempfile
import time

from program import Weir
from run import gateway, machine, write
from servers import Servers

# The first that fits counts: of the thread, of the file the code is in, of the function.
STAGES = [
    ("Kafka: receiving, its threads and the copy of records", r"^(rdk:|weir-kafka|weir-commit)|skywalking_kafka|rd_kafka"),
    ("compress: LZ4 and its checksum", r"lz4_flex|cityhash"),
    ("decode", r"weir_pdata::(skywalking|views|arena|trusted|decode)|weir_proto"),
    ("enrich", r"weir_processor_enrich"),
    ("aggregate", r"weir_processor_aggregate"),
    ("threshold", r"weir_processor_threshold|weir_alarms"),
    ("encode: rows of the insert", r"weir_exporter_clickhouse|weir_pdata::(text|attributes)|arrow_"),
    ("allocator", r" (_?mi_|alloc::sync)"),
    ("copies and comparisons of bytes, by all stages", r"mem(move|cpy|set|cmp)_"),
    ("network and system calls", r"kernel|\[k\]|tokio|hyper|vdso|libpthread"),
]
OTHER = "the rest"


def sample(pid, done):
    """The shares of cycles by thread, file and function until `done`."""
    with tempfile.NamedTemporaryFile(prefix="weir-profile-") as data:
        recorder = subprocess.Popen(["perf", "record", "-q", "-F", "499", "-o", data.name, "-p", str(pid)])
        try:
            while not done():
                time.sleep(0.05)
        finally:
            recorder.terminate()
            recorder.wait()
        report = subprocess.run(["perf", "report", "-q", "-i", data.name, "--no-children", "--sort", "comm,dso,sym", "--percent-limit", "0",
                                 "--stdio"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r"(?m)^\s*([\d.]+)%\s+(\S.*)$", report)


def stages(shares):
    found = dict.fromkeys([name for name, _ in STAGES] + [OTHER], 0.0)
    for share, place in shares:
        name = next((name for name, pattern in STAGES if re.search(pattern, place)), OTHER)
        found[name] += float(share)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=400_000)
    segments = parser.parse_args().segments
    with Servers() as servers:
        servers.fill("profile", segments)
        servers.discard(True)
        servers.sql("CREATE DATABASE profile")
        weir = Weir(gateway(servers, "profile", "profile", "profile"))
        stored = lambda: weir.metric("weir_exporter_sent_rows_total") / 16 / segments
        while stored() < 0.1:
            time.sleep(0.05)
        shares = sample(weir.child.pid, lambda: stored() > 0.9)
        weir.stop()
    found = stages(shares)
    total = sum(found.values())
    lines = [f"Cycles of the Weir process in case 3, by stage, on {machine()}, with `make profile` ({segments:,} segments):", "",
             "| stage | share |", "|---|---|",
             *(f"| {name} | {share / total:.0%} |" for name, share in sorted(found.items(), key=lambda item: -item[1]))]
    print("\n".join(lines))
    write("profile", lines)


if __name__ == "__main__":
    main()
