"""What processes cost, read from outside: CPU to the nanosecond, private memory, bytes written."""

import contextlib
import os
import threading
import time
from pathlib import Path


def cpu_seconds(pid):
    """User and system time of all threads of a process, ended ones too; its children are not in it.

    This is the clock of clock_getcpuclockid(3): /proc/PID/stat has the same number, in units of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def status_kib(pid, field):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def write_bytes(pid):
    """Bytes that the process caused to be sent to the disk, as page cache it made dirty: whole pages."""
    rows = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(rows["write_bytes"])


def tree(root):
    """A process and all below it."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def name(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def pss_kib(pid):
    """Its share of the memory that it maps: shared pages are divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def on_core(core):
    """Processes started inside run on that core; on a machine with one core nothing is pinned."""
    before = os.sched_getaffinity(0)
    allowed = sorted(before)
    os.sched_setaffinity(0, {allowed[core % len(allowed)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class PeakRssAnon:
    """The largest RssAnon seen while inside, and the one before; in KiB."""

    def __init__(self, pid, every=0.002):
        self.pid, self.every, self.done = pid, every, threading.Event()
        self.before = self.peak = status_kib(pid, "RssAnon")

    def _watch(self):
        while not self.done.wait(self.every):
            self.peak = max(self.peak, status_kib(self.pid, "RssAnon"))

    def __enter__(self):
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    @property
    def growth_kib(self):
        return self.peak - self.before
