"""Where servers keep what they store: whether a directory is of a disk or of a tmpfs makes a difference."""

from pathlib import Path

MEMORY = Path("/dev/shm")


def is_tmpfs(directory):
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    at = Path(directory).resolve()
    best = max((mount for mount in mounts if at.is_relative_to(mount[0])), key=lambda mount: len(mount[0]))
    return best[1] == "tmpfs"
