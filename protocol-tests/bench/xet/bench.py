#!/usr/bin/env python3
"""The Xet CAS: prints a table. README.md says how to read it."""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "shared"), str(HERE)]

import command  # noqa: E402
import findings  # noqa: E402
import proc  # noqa: E402
import servers  # noqa: E402
import table  # noqa: E402
from places import MEMORY, is_tmpfs  # noqa: E402
from rows import ROWS  # noqa: E402
from world import World  # noqa: E402


def run(given, directory, stack):
    memory_directory = Path(tempfile.mkdtemp(prefix="granary-bench-", dir=MEMORY))
    stack.callback(shutil.rmtree, memory_directory, ignore_errors=True)
    world = World(directory, memory_directory, stack)
    found = []
    with proc.on_core(servers.GENERATOR_CORE):
        print(f"medians of {given.rounds} rounds\n")
        results = table.run([row for row in ROWS if row.name in given.rows], world, given)
        for name, find in findings.ROWS.items():
            if name in given.rows:
                finding = find(world)
                found.append(finding.figures())
                print(finding.line(), flush=True)
    return results, found


def main():
    parser = command.parser(__doc__, [row.name for row in ROWS] + list(findings.ROWS))
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"), help="a directory on a disk, with 10 GiB free (default %(default)s)")
    given = parser.parse_args()
    if shutil.which("cc") is None:
        sys.exit("missing: cc (apt-get install gcc)")
    if is_tmpfs(given.disk) or not is_tmpfs(MEMORY):
        sys.exit(f"{given.disk} must be on a disk (--disk), and {MEMORY} a tmpfs")
    command.main(given, run, where=given.disk)


if __name__ == "__main__":
    main()
