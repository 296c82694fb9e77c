"""Counts the instructions that a segment takes in each stage, and compares them with tests/bench/instructions.json (`make guard`).

A count may grow by a tenth; beyond that the run fails. The stages are those of tests/src/bin/count_instructions. Each runs at
two lengths under valgrind; the difference divided by the difference in segments is what one more segment takes.

    python tests/bench/instructions.py [--write | --list STAGE]
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile

from program import RELEASE, ROOT

PROGRAM = os.path.join(os.path.dirname(RELEASE), "guard", "count_instructions")
BASELINE = os.path.join(ROOT, "tests", "bench", "instructions.json")
TOLERANCE = 0.10
SEGMENTS = 256  # of a batch
# Batches of the two runs. Those of `aggregate` lie 28 s of events apart: 4 windows of one operator, 28 of the
# other.
STAGES = {"decode": (16, 48), "aggregate": (96, 208), "encode": (16, 48)}
LONGEST = 256
# valgrind shows programs the same CPU everywhere, one whose `rep movsb` glibc uses for large blocks. It
# counts as an instruction a byte: glibc is told to do without.
ENVIRONMENT = {**os.environ, "GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824"}


def run(stage, batches, folder):
    """Runs a stage; returns callgrind's file."""
    out = os.path.join(folder, f"{stage}.{batches}")
    ended = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", PROGRAM, stage, str(batches)],
                           env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"count_instructions {stage} {batches} failed:\n{ended.stdout}")
    return out


def instructions(stage, batches, folder):
    """The instructions of one run."""
    with open(run(stage, batches, folder), encoding="utf-8", errors="replace") as file:
        return int(re.search(r"(?m)^totals: (\d+)", file.read())[1])


def show(stage):
    """Prints where the instructions of a long run go, what makes it ready included."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["callgrind_annotate", "--auto=no", run(stage, LONGEST, folder)], check=True)


def count():
    """Instructions of one segment in each stage."""
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for stage, (short, long) in STAGES.items():
            more = instructions(stage, long, folder) - instructions(stage, short, folder)
            counts[stage] = round(more / (SEGMENTS * (long - short)))
    return counts


def compare(counts, baseline, rustc):
    """Prints a line a stage. Returns how many passed and how many failed."""
    failed, fell = [], []
    for stage, now in counts.items():
        before = baseline["instructions"][stage]
        change = now / before - 1
        verdict = "ok"
        if change > TOLERANCE:
            failed.append(stage)
            verdict = f"FAILED: more than {TOLERANCE:.0%} above the baseline"
        elif change < -TOLERANCE:
            fell.append(stage)
            verdict = "ok, much less than the baseline"
        print(f"{stage:<10} {now:>8,} instructions a segment, baseline {before:>8,}: {change:+.1%}, {verdict}")
    if failed:
        print(f"{', '.join(failed)}: find what has grown with `scripts/guard --list STAGE`. If it is worth its price, run `make guard-baseline`, commit tests/bench/instructions.json and say in the commit why.")
        if rustc != baseline["rustc"]:
            print(f"The baseline was counted with {baseline['rustc']}, this is {rustc}: the compiler may be the reason.")
    if fell:
        print(f"{', '.join(fell)}: run `make guard-baseline` and commit tests/bench/instructions.json, so that the gain is guarded.")
    return len(counts) - len(failed), len(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the baseline instead of comparing with it")
    parser.add_argument("--list", choices=STAGES, help="print where the instructions of a stage go instead")
    options = parser.parse_args()
    if options.list:
        show(options.list)
        return
    rustc = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.strip()
    machine = platform.machine()
    if options.write:
        counts = count()
        with open(BASELINE, "w", encoding="utf-8") as file:
            json.dump({"machine": machine, "rustc": rustc, "instructions": counts}, file, indent=2)
            file.write("\n")
        print(f"wrote {os.path.relpath(BASELINE, ROOT)}: {counts}")
        return
    with open(BASELINE, encoding="utf-8") as file:
        baseline = json.load(file)
    if machine != baseline["machine"]:
        print(f"the baseline is of {baseline['machine']}: nothing to compare with on {machine}")
        print(f"test result: ok. 0 passed; 0 failed; {len(STAGES)} ignored")
        return
    passed, failed = compare(count(), baseline, rustc)
    # The form of cargo's lines: scripts/test adds them up.
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; 0 ignored")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
