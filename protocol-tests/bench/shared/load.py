"""Requests for `load.c`, and what it says about them."""

import os
import statistics
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Request:
    """One HTTP request; its body is the first `file_bytes` of the generator's file, then `tail`."""

    method: str
    href: str
    headers: dict
    file_bytes: int = 0
    tail: bytes = b""

    @property
    def server(self):
        parts = urlsplit(self.href)
        return parts.hostname, parts.port

    def encoded(self):
        parts = urlsplit(self.href)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        length = self.file_bytes + len(self.tail)
        headers = {"Host": parts.netloc, **self.headers}
        if self.method not in ("GET", "HEAD"):
            headers["Content-Length"] = length
        rows = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{self.method} {target} HTTP/1.1\r\n{rows}\r\n".encode()
        return struct.pack("=3Q", len(head), self.file_bytes, len(self.tail)) + head + self.tail


@dataclass
class Timings:
    wall_seconds: float
    each_seconds: list
    body_bytes: int

    @property
    def median(self):
        return statistics.median(self.each_seconds)

    def percentile(self, percent):
        return sorted(self.each_seconds)[min(len(self.each_seconds) - 1, len(self.each_seconds) * percent // 100)]


class Generator:
    """The compiled load.c. `file` holds what large bodies are made of."""

    def __init__(self, directory, file=os.devnull):
        self.binary, self.file = directory / "load", file
        subprocess.run(["cc", "-O2", "-pthread", "-o", self.binary, Path(__file__).with_name("load.c")], check=True)

    def prepare(self, requests, connections=1):
        """A callable that sends them and returns Timings; all must succeed."""
        (host, port), = {request.server for request in requests}
        encoded = b"".join(request.encoded() for request in requests)

        def run():
            done = subprocess.run(
                [str(self.binary), host, str(port), str(connections), str(self.file)], input=encoded, capture_output=True, timeout=600)
            assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
            wall, *rows = done.stdout.decode().splitlines()
            rows = [tuple(map(int, row.split())) for row in rows]
            failed = [status for status, _, _ in rows if status // 100 != 2]
            assert not failed, (failed[:5], done.stderr.decode(errors="replace")[-2000:])
            assert len(rows) == len(requests)
            return Timings(int(wall) / 1e9, [elapsed / 1e9 for _, elapsed, _ in rows], sum(length for _, _, length in rows))
        return run

    def run(self, requests, connections=1):
        return self.prepare(requests, connections)() if requests else None
