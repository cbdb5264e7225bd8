"""A file larger than most disks have room for: nearly all of it repeats, so that it takes little on either side. Only with --long.

`GRANARY_HUGE_BYTES` is its size, if it is to be another.
"""

import hashlib
import os
import random
import shutil
import urllib.request

import pytest

from harness import wire
from harness.api import HubApi
from harness.hf import Hf
from harness.lfs import MIB, content
from harness.xet import Cas

GIB = 1 << 30
SIZE = int(os.environ.get("GRANARY_HUGE_BYTES") or 50 * GIB + 12_345)
BLOCK = 16 * MIB
# Behind the start of each GiB, and of no chunk.
SHIFT = 54_321
RANGES = 1000
FREE = 4 * GIB

pytestmark = [pytest.mark.long, pytest.mark.timeout(5400)]


class Islands:
    """Zeros, and once in a GiB the same random bytes behind a number."""

    def __init__(self, size):
        self.size, self.block = size, content(BLOCK, "huge")

    def islands(self, start, end):
        """(where, bytes) of each that such a range touches"""
        for number in range(max(0, start - SHIFT - BLOCK) // GIB, end // GIB + 1):
            yield number * GIB + SHIFT, number.to_bytes(8, "big") + self.block[8:]

    def write(self, path):
        with open(path, "wb") as file:
            file.truncate(self.size)
            for at, data in self.islands(0, self.size):
                file.seek(at)
                file.write(data[: max(0, self.size - at)])

    def read(self, start, end):
        found = bytearray(end - start)
        for at, data in self.islands(start, end):
            first, last = max(start, at), min(end, at + len(data))
            if first < last:
                found[first - start : last - start] = data[first - at : last - at]
        return bytes(found)

    def ranges(self, count):
        """Anywhere, and about the islands: half of each."""
        rng = random.Random(5)
        for number in range(count):
            near = rng.randrange(self.size // GIB + 1) * GIB + SHIFT + rng.randrange(-MIB, BLOCK + MIB)
            start = min(max(0, near if number % 2 else rng.randrange(self.size)), self.size - 1)
            yield start, min(self.size, start + rng.randrange(1, 300_000))


def test_fifty_gigabytes(fresh_hub, tmp):
    """Uploaded as anybody does it; read back whole by those who know no Xet, and in a thousand ranges by both doors."""
    free = shutil.disk_usage(tmp).free
    if free < FREE:
        pytest.skip(f"this takes {FREE >> 30} GiB, and {tmp} has {free >> 30} GiB free")
    file = Islands(SIZE)
    file.write(tmp / "huge.bin")
    if os.stat(tmp / "huge.bin").st_blocks * 512 > SIZE // 2 + BLOCK:
        pytest.skip(f"the file system of {tmp} stores zeros")
    hub = fresh_hub(debug=True)
    alice = hub.user("alice")
    hf = Hf(hub.url, alice, tmp / "hf")
    told = hf.python("""
api.create_repo("alice/huge", private=True)
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="huge.bin", repo_id="alice/huge")
tell([[file.size, file.lfs.sha256, file.xet_hash] for file in api.list_repo_tree("alice/huge") if file.path == "huge.bin"])
""", tmp / "huge.bin", seconds=3600)
    (size, oid, xet_hash), = told
    assert size == SIZE and xet_hash
    stored = sum(path.stat().st_size for path in (hub.data / "xorbs").rglob("*") if path.is_file())
    print(f"{stored:,} bytes are stored for {SIZE:,}")
    assert stored < GIB
    (tmp / "huge.bin").unlink()
    href = f"{hub.url}/alice/huge/resolve/main/huge.bin"
    assert streamed(href, alice) == (SIZE, oid)
    cas = Cas(hub, alice, "models/alice/huge", scope="read")
    for start, end in file.ranges(RANGES):
        asked, expected = {"Range": f"bytes={start}-{end - 1}"}, file.read(start, end)
        answer = wire.http(href, token=alice, headers=asked)
        assert answer.status == 206 and answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert answer.body == expected, f"by its path, {start} to {end}"
        assert cas.read(xet_hash, range=asked["Range"])[: end - start] == expected, f"by its chunks, {start} to {end}"
    tree = HubApi(hub.url, alice).get("/api/models/alice/huge/tree/main").json()
    assert [(row["size"], row["lfs"]["oid"]) for row in tree if row["path"] == "huge.bin"] == [(SIZE, oid)]
    hub.fsck()


def streamed(href, token):
    """(length, SHA-256) of what is there, a piece at a time."""
    request = urllib.request.Request(href, headers={"Authorization": f"Bearer {token}"})
    hasher, length = hashlib.sha256(), 0
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
        while piece := answer.read(4 * MIB):
            hasher.update(piece)
            length += len(piece)
    return length, hasher.hexdigest()
