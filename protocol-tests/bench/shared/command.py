"""The command line that all benchmarks have."""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def parser(description, names):
    """`names` are the rows that can be asked for."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rows", type=_rows(names), default=names, help="comma-separated, of: " + " ".join(names))
    made.add_argument("--rounds", type=int, default=5, help="of which the median counts (default %(default)s)")
    made.add_argument("--check", action="store_true", help="exit with 1 if a row violates its bound")
    made.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    made.add_argument("--perf", type=Path, metavar="DIR", help="also run `perf record` on granary in the last round, to DIR/ROW.data")
    return made


def _rows(names):
    def parse(text):
        rows = text.split(",")
        if unknown := set(rows) - set(names):
            raise argparse.ArgumentTypeError(f"no such rows: {', '.join(sorted(unknown))}")
        return rows
    return parse


@contextlib.contextmanager
def profiled(directory, row, pid):
    if directory is None:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    recorder = subprocess.Popen(
        ["perf", "record", "-q", "-F", "2500", "-e", "cpu-clock", "--call-graph", "dwarf,16384", "-p", str(pid),
         "-o", directory / f"{row}.data"],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)  # perf does not say when it is attached
    try:
        yield
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(60)


def main(given, run, where=None):
    """`run(given, directory, stack)` prints its lines and returns two lists of what they say: rows and findings."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the servers are stopped too
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="granary-bench-", dir=where))
    try:
        with contextlib.ExitStack() as stack:
            rows, findings = run(given, directory, stack)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    worse = [result["row"] for result in rows + findings if result["good"] is False]
    verdict = f"Worse than their bound: {', '.join(worse)}" if worse else "Every row is within its bound."
    print(f"\n{time.monotonic() - started:.0f} s. {verdict}")
    if given.json:
        given.json.write_text(json.dumps({"rounds": given.rounds, "rows": rows, "findings": findings}, indent=1))
    sys.exit(1 if worse and given.check else 0)
