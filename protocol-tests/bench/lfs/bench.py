#!/usr/bin/env python3
"""Git LFS: Granary beside nginx, rudolfs and dd: prints a table. README.md says how to read it."""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "shared"), str(HERE)]

from harness import nginx  # noqa: E402

import command  # noqa: E402
import memory  # noqa: E402
import proc  # noqa: E402
import servers  # noqa: E402
import sides  # noqa: E402
import table  # noqa: E402
from places import MEMORY, is_tmpfs  # noqa: E402
from rows import ROWS  # noqa: E402
from world import World  # noqa: E402


def run(given, directory, stack):
    memory_directory = Path(tempfile.mkdtemp(prefix="granary-bench-", dir=MEMORY))
    stack.callback(shutil.rmtree, memory_directory, ignore_errors=True)
    world = World(directory, memory_directory, given.mib << 20, stack)
    rows = [row for row in ROWS if row.name in given.rows and row.without(given.without).sides]
    findings = []
    with proc.on_core(servers.GENERATOR_CORE):
        print(f"large objects of {given.mib} MiB; medians of {given.rounds} rounds\n")
        results = table.run(rows, world, given)
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
