"""RssAnon while many clients upload slowly."""

import contextlib
import os
import selectors
import socket
import time

from harness import lfs_api, metrics

import calls
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
        self.connections = []
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

    def send_for(self, seconds, bytes_per_second):
        """Everybody gets a turn every PIECE / `bytes_per_second` seconds."""
        turn, end = PIECE / bytes_per_second, time.monotonic() + seconds
        while (started := time.monotonic()) < end:
            for connection in self.connections:
                with contextlib.suppress(BlockingIOError):
                    connection.send(self.piece)
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


def whole(granary, size):
    """PUTs of objects that nobody has, each to be sent by a client of its own."""
    hrefs = [actions["upload"] for actions in granary.actions("slow", "upload", objects.unknown(CLIENTS, size))]
    assert all("/api/lfs/objects/" in action["href"] for action in hrefs), "not through the hub"
    return [calls.put(action, size, b"") for action in hrefs]


def first_parts(granary, size):
    """The same of the first part of each object, as Hugging Face's agent sends it."""
    rows = objects.unknown(CLIENTS, size)
    answered = granary.batch("slow", "upload", rows, transfers=["multipart", "basic"])
    parts = [lfs_api.parts(row["actions"]["upload"]) for row in answered]
    return [calls.put({"href": urls[0]}, min(size, part_bytes), b"") for urls, part_bytes in parts]


def slow_uploads(name, title, granary, requests_of, size, base_bytes=IDLE_BYTES, bytes_per_second=BYTES_PER_SECOND):
    """`base_bytes`: what may be used besides that of each client."""
    with running(granary):
        granary.create("slow")
        requests = requests_of(granary, size)
        with metrics.Change(granary.hub) as moved, proc.PeakRssAnon(granary.hub.pid, every=0.02) as memory:
            with contextlib.closing(SlowUploads(requests)) as uploads:
                uploads.send_for(SECONDS, bytes_per_second)
                answer = uploads.refused()
                assert answer is None, answer
        received = int(moved["lfs_bytes_in"])
    bound = base_bytes + CLIENTS * EACH_BYTES
    peak = memory.peak * 1024
    return Finding(
        name, title, f"RssAnon {memory.before / 1024:.1f} MiB before, at most {peak / 1e6:.1f} MB with {CLIENTS} clients, "
        f"{received >> 20} MiB received (bound {bound / 1e6:.0f} MB)", peak, peak <= bound), received


def on_disk(world):
    finding, received = slow_uploads("slow-disk", "200 slow uploads to the disk", Granary(world.places["disk"] / "slow"), whole, 64 << 20)
    assert received > CLIENTS * SECONDS * BYTES_PER_SECOND / 2, f"only {received} bytes came in"
    return finding


def parts_on_disk(world):
    """What a client gets that offers multipart: more than that is not sent in one piece."""
    settings = {"lfs.multipart_from": "16MiB"}
    granary = Granary(world.places["disk"] / "slow-parts", settings)
    finding, received = slow_uploads("slow-parts", "200 slow parts to the disk", granary, first_parts, 64 << 20)
    assert received > CLIENTS * SECONDS * BYTES_PER_SECOND / 2, f"only {received} bytes came in"
    return finding


def through_to_s3(world):
    """Larger than S3 takes in one PUT, so that they go through the hub: in parts, from a bounded number of buffers."""
    buffers, part_bytes = 8, 5 << 20
    settings = {**world.bucket.settings("slow"), "storage.s3_part_buffers": buffers, "lfs.part_size": part_bytes}
    granary = Granary(world.places["disk"] / "slow-s3", settings)
    finding, received = slow_uploads(
        "slow-s3", "200 slow uploads through to S3", granary, whole, (5 << 30) + 1, IDLE_BYTES + buffers * part_bytes, 1 << 20)
    assert received > 2 * buffers * part_bytes, f"only {received} bytes came in: the buffers were not used again"
    return finding


ROWS = {"slow-disk": on_disk, "slow-parts": parts_on_disk, "slow-s3": through_to_s3}
