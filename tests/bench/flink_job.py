"""Running the Flink job of tests/bench/flink under measurement."""

import json
import os
import subprocess
import sys
import tempfile
import time

from program import CACHE, Usage

FOLDER = os.path.join(CACHE, "flink-peer")
# The collector that took the least CPU of three. The last is what Flink asks of a JVM of this version.
JVM = ["-Xmx%s", "-XX:+UseParallelGC", "--add-opens=java.base/java.util=ALL-UNNAMED"]
HEAP = "1g"


def flags(heap):
    """Of the JVM."""
    return [flag.replace("%s", heap) for flag in JVM]


def run(servers, topic, group, database, rules, heap=HEAP):
    """Reads a topic to its end. What it used, and in `said` what the job says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rules")
        with open(path, "w", encoding="utf-8") as file:
            file.writelines("\t".join(map(str, rule)) + "\n" for rule in rules)
        command = ["java", *flags(heap), f"-Djava.io.tmpdir={folder}", "-cp", os.path.join(FOLDER, "lib", "*"), "weir.bench.Job",
                   "--brokers", servers.bootstrap, "--topic", topic, "--group", group, "--server", servers.url,
                   "--database", database, "--rules", path, "--checkpoints", f"file://{folder}/checkpoints"]
        began = time.monotonic()
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
        try:
            output = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()
    used = Usage(usage, time.monotonic() - began)
    if child.returncode != 0:
        sys.exit(f"the Flink job ended with {child.returncode}")
    used.said = json.loads(output.splitlines()[-1])
    return used


def verify(said, segments):
    """Ends the measurement when the job has not stored and counted every span of so many generated segments."""
    counted = (said["segments"], said["stored in events"], said["spans in service windows"] + said["late for service windows"],
               said["spans in endpoint windows"] + said["late for endpoint windows"])
    if counted != (segments, 16 * segments, 16 * segments, segments):
        sys.exit(f"the Flink job has not done all of its work on {segments} segments: {said}")
