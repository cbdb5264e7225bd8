#!/usr/bin/env python3
"""Granary against nginx + fcgiwrap + `git http-backend`: prints a table. README.md says how to read it."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from harness import client, nginx  # noqa: E402

import memory  # noqa: E402
import proc  # noqa: E402
import sides  # noqa: E402
from corpus import Corpus  # noqa: E402
from rows import ROWS  # noqa: E402


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    names = [row.name for row in ROWS] + list(memory.ROWS)
    parser.add_argument("--rows", help="comma-separated, of: " + " ".join(names))
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (default %(default)s)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a row violates its bound")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    parser.add_argument("--perf", type=Path, metavar="DIR", help="also run `perf record` on granary in the last round, to DIR/ROW.data")
    given = parser.parse_args()
    given.rows = given.rows.split(",") if given.rows else names
    if unknown := set(given.rows) - set(names):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    return given


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


def measure(side, operations):
    """(CPU, wall) of one operation in milliseconds."""
    count = getattr(operations, "count_of_operations", len(operations))
    cpu, wall = side.cpu_seconds(), time.perf_counter()
    for operation in operations:
        operation()
    wall = time.perf_counter() - wall
    return (side.cpu_seconds() - cpu) / count * 1e3, wall / count * 1e3


def run_row(row, granary, peer, corpus, rounds, perf):
    samples = {granary.name: [], peer.name: []}
    for number in range(rounds):
        # Who goes first changes, so that a machine that slows down or speeds up favours nobody.
        for side in (peer, granary) if number % 2 == 0 else (granary, peer):
            count = row.count * (row.more if side is granary else 1)
            operations = row.operations(side, corpus, number, count)
            with profiled(perf if side is granary and number == rounds - 1 else None, row.name, granary.hub.pid):
                samples[side.name].append(measure(side, operations))
    median = {name: [statistics.median(values) for values in zip(*rows)] for name, rows in samples.items()}
    ratio = median[peer.name][0] / median[granary.name][0]
    return {
        "row": row.name, "title": row.title, "peer_cpu_ms": median[peer.name][0], "granary_cpu_ms": median[granary.name][0],
        "peer_wall_ms": median[peer.name][1], "granary_wall_ms": median[granary.name][1], "ratio": ratio,
        "bound": row.bound, "good": ratio >= row.bound, "samples": samples,
        "granary_rss_anon_mib": proc.status_kib(granary.hub.pid, "RssAnon") / 1024,
    }


HEADER = (f"{'row':<18}{'operation':<36}{'peer CPU':>11}{'ours CPU':>11}{'ratio':>9}{'bound':>8}"
          f"{'peer wall':>12}{'ours wall':>12}{'RssAnon':>10}")


def line(result):
    return (f"{result['row']:<18}{result['title']:<36}{result['peer_cpu_ms']:>8.2f} ms{result['granary_cpu_ms']:>8.3f} ms"
            f"{result['ratio']:>8.1f}x{result['bound']:>7.2g}x{result['peer_wall_ms']:>9.2f} ms{result['granary_wall_ms']:>9.2f} ms{result['granary_rss_anon_mib']:>6.0f} MiB"
            + ("" if result["good"] else "   WORSE THAN ITS BOUND"))


def run(given, directory, stack):
    git = client.Git(client.installed()[0][1], directory / "home", directory)
    corpus = Corpus(git, directory / "corpus")
    granary, peer = sides.Granary(directory), sides.Peer(directory, git)
    for side in (granary, peer):
        stack.callback(side.stop)
        side.start()
    with proc.on_core(sides.GENERATOR_CORE):
        print(f"peer: nginx + fcgiwrap + http-backend of {git('version')}; CPU and wall are medians of {given.rounds} rounds\n")
        print(HEADER)
        results = []
        for row in ROWS:
            if row.name in given.rows:
                results.append(run_row(row, granary, peer, corpus, given.rounds, given.perf))
                print(line(results[-1]), flush=True)
        findings = []
        for name, find in memory.ROWS.items():
            if name in given.rows:
                for finding in find(directory / name, peer, corpus):
                    findings.append({"row": finding.name, "title": finding.title, "text": finding.text,
                                     "value": finding.value, "good": finding.good})
                    print(f"{finding.name:<18}{finding.title:<36} {finding.text}"
                          + ("   WORSE THAN ITS BOUND" if finding.good is False else ""), flush=True)
    return results, findings


def main():
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the servers are stopped too
    missing = [tool for tool, found in (("nginx", nginx.binary()), ("fcgiwrap", os.path.exists(sides.fcgiwrap())),
                                        ("cc", shutil.which("cc"))) if not found]
    if missing:
        sys.exit(f"missing: {', '.join(missing)} (apt-get install nginx-light fcgiwrap gcc)")
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="granary-bench-"))
    try:
        with contextlib.ExitStack() as stack:
            results, findings = run(given, directory, stack)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    worse = [result["row"] for result in results + findings if result["good"] is False]
    verdict = f"Worse than their bound: {', '.join(worse)}" if worse else "Every row is within its bound."
    print(f"\n{time.monotonic() - started:.0f} s. {verdict}")
    if given.json:
        given.json.write_text(json.dumps({"rounds": given.rounds, "rows": results, "findings": findings}, indent=1))
    sys.exit(1 if worse and given.check else 0)


if __name__ == "__main__":
    main()
