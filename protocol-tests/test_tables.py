"""The tables in the repository are what the suites show."""

import subprocess
import sys

from harness import tables


def test_the_tables_are_up_to_date(tmp):
    # All tests are collected, whichever of them this run was asked for.
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", f"{tables.OPTION}={tmp}"],
                          cwd=tables.HERE, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for name in tables.TABLES:
        assert (tmp / name).read_text() == (tables.HERE / name).read_text(), f"{name} is stale: pytest --collect-only {tables.OPTION}"
