"""COMPATIBILITY.md is what the suites show."""

import subprocess
import sys
from pathlib import Path

from harness import compatibility


def test_the_table_is_what_the_suites_show(tmp):
    written = tmp / "table.md"
    # All of them are collected, whichever of them this run was asked for.
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", f"{compatibility.OPTION}={written}"],
                          cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert written.read_text() == compatibility.FILE.read_text(), f"stale: pytest --collect-only {compatibility.OPTION}"
