"""Running the weir program under measurement."""

import atexit
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CACHE = os.environ.get("WEIR_CACHE", os.path.expanduser("~/.cache/weir"))
RELEASE = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(CACHE, "target")), "release")
WEIR = os.path.join(RELEASE, "weir")
# Built with the feature `count-allocations`.
COUNTING = os.path.join(RELEASE, "weir-counting")
# In the warning of `aggregate` about events that came too late.
LATE = "after their last window was closed"


class Usage:
    """What a finished run has used: CPU seconds (user + system), the largest resident size, wall seconds."""

    def __init__(self, usage, wall):
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss = usage.ru_maxrss * 1024
        self.wall = wall


class Weir:
    """A running `weir run`. With `counting` it is the build that counts heap allocations."""

    def __init__(self, config, *arguments, cores=None, counting=False):
        self.folder = tempfile.TemporaryDirectory()
        self.address = f"127.0.0.1:{free_port()}"
        path = os.path.join(self.folder.name, "weir.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        command = [COUNTING if counting else WEIR, "run", "--config", path, "--set", f"service.telemetry.metrics.address={self.address}",
                   "--set", "service.telemetry.logs.level=warn", *arguments]
        if cores:
            command = ["taskset", "-c", cores, *command]
        self.began = time.monotonic()
        # A file, since nobody reads while it runs.
        self.log = tempfile.TemporaryFile()
        self.child = subprocess.Popen(command, cwd=self.folder.name, stderr=self.log)
        # When the measurement fails. After its own end this does nothing.
        atexit.register(self.child.kill)

    def buckets(self, name, label):
        """A histogram's counts so far, by upper bound, of the sample whose labels contain `label`."""
        page = urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5).read().decode()
        lines = re.findall(rf'(?m)^{name}_bucket\{{([^}}]*)le="([^"]*)"([^}}]*)\}} (\S+)', page)
        return {float(bound): float(count) for before, bound, after, count in lines if label in before + after}

    def metric(self, name, label=""):
        """The sum of a metric's samples whose labels contain `label`; 0 while there are none."""
        try:
            page = urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5).read().decode()
        except (urllib.error.URLError, ConnectionError):
            self.check()
            return 0.0
        lines = re.findall(rf"(?m)^{name}(?:\{{([^}}]*)\}})? (\S+)$", page)
        return sum(float(value) for labels, value in lines if label in labels)

    def check(self):
        """Ends the measurement if the program has ended."""
        if os.waitid(os.P_PID, self.child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            sys.exit("weir ended early")

    def wait(self):
        """Waits for its end by itself. Shows its log, and ends the measurement if the input has late events."""
        _, status, usage = os.wait4(self.child.pid, 0)
        wall = time.monotonic() - self.began
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.folder.cleanup()
        self.log.seek(0)
        told = self.log.read().decode(errors="replace")
        print(told, file=sys.stderr, end="", flush=True)
        if LATE in told:
            sys.exit("the input has events that come too late: they are not aggregated, so the figures are of less work")
        if self.child.returncode != 0:
            sys.exit(f"weir ended with {self.child.returncode}")
        used = Usage(usage, wall)
        used.allocations = sum(int(count) for count in re.findall(r"heap allocations: (\d+)", told))
        return used

    def stop(self):
        """Stops it in order. The wall time is the time until now."""
        wall = time.monotonic() - self.began
        self.child.send_signal(signal.SIGTERM)
        used = self.wait()
        used.wall = wall
        return used

    def used(self):
        """CPU seconds so far, and the resident size now."""
        with open(f"/proc/{self.child.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return (int(fields[11]) + int(fields[12])) / ticks, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
