#!/usr/bin/env python3
"""Granary against nginx + fcgiwrap + `git http-backend`: prints a table. README.md says how to read it."""

import os
import shutil
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "shared"), str(HERE)]

from harness import client, nginx  # noqa: E402

import command  # noqa: E402
import memory  # noqa: E402
import proc  # noqa: E402
import servers  # noqa: E402
import sides  # noqa: E402
from corpus import Corpus  # noqa: E402
from rows import ROWS  # noqa: E402


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
            with command.profiled(perf if side is granary and number == rounds - 1 else None, row.name, granary.hub.pid):
                samples[side.name].append(measure(side, operations))
    median = {name: [statistics.median(values) for values in zip(*rows)] for name, rows in samples.items()}
    ratio = median[peer.name][0] / median[granary.name][0]
    return {
        "row": row.name, "title": row.title, "peer_cpu_ms": median[peer.name][0], "granary_cpu_ms": median[granary.name][0],
        "peer_wall_ms": median[peer.name][1], "granary_wall_ms": median[granary.name][1], "ratio": ratio,
        "bound": row.bound, "good": ratio >= row.bound, "samples": samples,
        "granary_rss_anon_mib": granary.rss_anon_kib() / 1024,
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
    with proc.on_core(servers.GENERATOR_CORE):
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
                    findings.append(finding.figures())
                    print(finding.line(), flush=True)
    return results, findings


def main():
    given = command.parser(__doc__, [row.name for row in ROWS] + list(memory.ROWS)).parse_args()
    missing = [tool for tool, found in (("nginx", nginx.binary()), ("fcgiwrap", os.path.exists(sides.fcgiwrap())),
                                        ("cc", shutil.which("cc"))) if not found]
    if missing:
        sys.exit(f"missing: {', '.join(missing)} (apt-get install nginx-light fcgiwrap gcc)")
    command.main(given, run)


if __name__ == "__main__":
    main()
