"""RssAnon while many clients upload slowly."""

import contextlib
import os
import selectors
import socket
import time

from harness import s3

import load
import objects
import proc
from finding import Finding
from servers import running
from sides import Granary

CLIENTS = 200
BYTES_PER_SECOND = 256 << 10
SECONDS = 12
PIECE = 32 << 10
IDLE_BYTES, EACH_BYTES = 30_000_000, 256 << 10


class SlowUploads:
    """Connections that have sent the head of a PUT and then send a piece now and then, if the server takes it."""

    def __init__(self, requests):
        self.connections, self.sent = [], 0
        self.piece = os.urandom(PIECE)
        for request in requests:
            connection = socket.create_connection(request.server)
            self.connections.append(connection)
            connection.sendall(self._head(request))
            connection.setblocking(False)

    @staticmethod
    def _head(request):
        encoded = request.encoded()
        return encoded[24 : 24 + int.from_bytes(encoded[:8], "little")]

    def send_for(self, seconds):
        """Everybody gets a turn every PIECE / BYTES_PER_SECOND seconds."""
        turn, end = PIECE / BYTES_PER_SECOND, time.monotonic() + seconds
        while (started := time.monotonic()) < end:
            for connection in self.connections:
                with contextlib.suppress(BlockingIOError):
                    self.sent += connection.send(self.piece)
            time.sleep(max(0, started + turn - time.monotonic()))

    def refused(self):
        """The first answer that came before the body was whole: none should."""
        with selectors.DefaultSelector() as selector:
            for connection in self.connections:
                selector.register(connection, selectors.EVENT_READ)
            for key, _ in selector.select(0):
                return key.fileobj.recv(4096).decode("latin-1") or "closed"

    def close(self):
        for connection in self.connections:
            connection.close()


def slow_uploads(name, title, granary, size, base_bytes):
    """`base_bytes`: what may be used besides that of each client."""
    with running(granary):
        granary.create("slow")
        rows = objects.unknown(CLIENTS, size)
        hrefs = [actions["upload"] for actions in granary.actions("slow", "upload", rows)]
        assert all("/api/lfs/objects/" in action["href"] for action in hrefs), "not through the hub"
        requests = [load.put(action, size, b"") for action in hrefs]
        with proc.PeakRssAnon(granary.hub.pid, every=0.02) as memory:
            with contextlib.closing(SlowUploads(requests)) as uploads:
                uploads.send_for(SECONDS)
                answer = uploads.refused()
                assert answer is None, answer
    bound = base_bytes + CLIENTS * EACH_BYTES
    peak = memory.peak * 1024
    return Finding(
        name, title, f"RssAnon {memory.before / 1024:.1f} MiB before, at most {peak / 1e6:.1f} MB with {CLIENTS} clients, "
        f"{uploads.sent >> 20} MiB received (bound {bound / 1e6:.0f} MB)", peak, peak <= bound)


def on_disk(world):
    return slow_uploads("slow-disk", "200 slow uploads to the disk", Granary(world.places["disk"] / "slow"), 64 << 20, IDLE_BYTES)


def through_to_s3(world):
    """Larger than S3 takes in one PUT, so that they go through the hub: in parts, from a bounded number of buffers."""
    buffers, part_bytes = 8, 16 << 20
    settings = {**world.bucket.settings("slow"), "storage.s3_part_buffers": buffers, "lfs.part_size": part_bytes}
    granary = Granary(world.places["disk"] / "slow-s3", settings)
    finding = slow_uploads("slow-s3", "200 slow uploads through to S3", granary, (5 << 30) + 1, IDLE_BYTES + buffers * part_bytes)
    return finding


ROWS = {"slow-disk": on_disk, "slow-s3": through_to_s3}
