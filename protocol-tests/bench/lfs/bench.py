#!/usr/bin/env python3
"""Git LFS: Granary beside nginx, rudolfs and dd: prints a table. README.md says how to read it."""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "shared"), str(HERE)]

from harness import nginx, s3  # noqa: E402

import command  # noqa: E402
import memory  # noqa: E402
import proc  # noqa: E402
import servers  # noqa: E402
import sides  # noqa: E402
from rows import ROWS, Sample  # noqa: E402
from world import MEMORY, World, is_tmpfs  # noqa: E402


def run_row(row, world, given):
    samples = {name: [] for name in row.sides}
    for number in range(given.rounds):
        # Who goes first changes, so that a machine that slows down or speeds up favours nobody.
        for name in row.sides if number % 2 == 0 else row.sides[::-1]:
            side = world.side(name, row.place)
            measured = row.prepare(world, side, row.place, number)
            perf = given.perf if name == "granary" and number == given.rounds - 1 else None
            with command.profiled(perf, row.name, perf and side.hub.pid):
                samples[name].append(measured())
    medians = {name: Sample(*(statistics.median(getattr(sample, of) for sample in taken) for of in ("value", "cpu")))
               for name, taken in samples.items()}
    return medians, samples


def show(row, medians):
    """Prints a line for each side, the bounds beside Granary's. Returns what is known of the bounds."""
    judged = []
    for name in ("granary", *(side for side in row.sides if side != "granary")):
        if name not in medians:
            continue
        first = name == "granary" or "granary" not in medians
        bounds = ""
        if name == "granary":
            for bound in row.bounds:
                if bound.against is None or bound.against in medians:
                    figure, good = bound.judge(medians)
                    form = row.cpu if bound.of == "cpu" else row.value
                    judged.append({"text": bound.text(figure, form), "figure": figure, "good": good})
            bounds = ", ".join(each["text"] + ("" if each["good"] else " WORSE THAN ITS BOUND") for each in judged)
        print(f"{row.name if first else '':<22}{row.title if first else '':<40}{name:<9}"
              f"{row.value(medians[name].value):>13}{row.cpu(medians[name].cpu):>16}   {bounds}".rstrip(), flush=True)
    return judged


def run(given, directory, stack):
    memory_directory = Path(tempfile.mkdtemp(prefix="granary-bench-", dir=MEMORY))
    stack.callback(shutil.rmtree, memory_directory, ignore_errors=True)
    world = World(directory, memory_directory, given.mib << 20, stack)
    results, findings = [], []
    with proc.on_core(servers.GENERATOR_CORE):
        print(f"large objects of {given.mib} MiB; medians of {given.rounds} rounds\n")
        print(f"{'row':<22}{'operation':<40}{'side':<9}{'figure':>13}{'CPU':>16}   bounds")
        for row in ROWS:
            if row.name in given.rows:
                row.sides = tuple(name for name in row.sides if name not in given.without)
                if not row.sides:
                    continue
                medians, samples = run_row(row, world, given)
                judged = show(row, medians)
                results.append({
                    "row": row.name, "title": row.title, "medians": {name: vars(each) for name, each in medians.items()},
                    "samples": {name: [vars(each) for each in taken] for name, taken in samples.items()}, "bounds": judged,
                    "good": all(each["good"] for each in judged)})
        print()
        for name, find in memory.ROWS.items():
            if name in given.rows and "granary" not in given.without:
                finding = find(world)
                findings.append(finding.figures())
                print(finding.line(), flush=True)
    return results, findings


def main():
    parser = command.parser(__doc__, [row.name for row in ROWS] + list(memory.ROWS))
    parser.add_argument("--mib", type=int, default=1024, help="size of the large objects (default %(default)s)")
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="a directory on a disk, with 8 GiB free (default %(default)s)")
    parser.add_argument("--without", action="append", default=[], metavar="SIDE", help="do not measure that side")
    given = parser.parse_args()
    missing = [tool for tool, found in (("nginx", nginx.binary()), ("cc", shutil.which("cc"))) if not found]
    if missing:
        sys.exit(f"missing: {', '.join(missing)} (apt-get install nginx-light gcc)")
    if is_tmpfs(given.disk) or not is_tmpfs(MEMORY):
        sys.exit(f"{given.disk} must be on a disk (--disk), and {MEMORY} a tmpfs")
    if "rudolfs" not in given.without and any("rudolfs" in row.sides for row in ROWS if row.name in given.rows):
        sides.rudolfs()  # built now, not between two measurements
    command.main(given, run, where=given.disk)


if __name__ == "__main__":
    main()
