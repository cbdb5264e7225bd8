"""Lines below the table: what is measured once, most of it on a server of its own."""

import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from urllib.parse import urlsplit

from harness.xet import file_hash, range_hash

import objects
from finding import Finding
from proc import PeakRssAnon
from servers import running
from world import REPO, Granary

MIB = 1 << 20
TERMS = 1500
SHARD_BYTES = 63 << 20
AT_ONCE = 8
CLIENT_BYTES = 2_000_000_000


def first_byte(world):
    """Of a range from the middle of a file in xorbs: the index, the row and the bytes are all in memory."""
    side, size, path = world.gibibyte("bg4")
    parts, times = urlsplit(side.hub.url + path), []
    for number in range(50):
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(
                f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {side.token}\r\n"
                f"Range: bytes={size // 2 + number}-\r\n\r\n".encode())
            started, got = time.perf_counter(), b""
            while len(got.partition(b"\r\n\r\n")[2]) == 0:
                got += connection.recv(65536)
            times.append(time.perf_counter() - started)
            assert got.startswith(b"HTTP/1.1 206")
    figure = statistics.median(times) * 1e3
    return Finding("first-byte", "of a range, by plain HTTP", f"{figure:.1f} ms (bound 50)", figure, figure <= 50)


def _with_xorbs(granary, world, count):
    made = [world.stock("raw").made() for _ in range(count)]
    world.generator("raw").run([granary.xorb_request(xorb) for xorb in made])
    return made


def reconstruction(world):
    """100 GB in 1,500 terms. The SHA-256 is not the file's: to compute it would take minutes, and nobody asks here."""
    with running(Granary(world.places["tmpfs"] / "plan")) as granary:
        made = _with_xorbs(granary, world, 16)
        terms = [made[number * 7 % 16] for number in range(TERMS)]
        hash = file_hash([leaf for xorb in terms for leaf in xorb.leaves])
        world.generator("raw").run([granary.register(terms, hash, os.urandom(32).hex())])
        name = objects.text(hash)
        run = world.generator("raw").prepare([granary.request("GET", f"/v2/reconstructions/{name}")] * 20)
        figure = run().median * 1e3
    size = TERMS * objects.RAW / 1e9
    return Finding("reconstruction", f"{size:.0f} GB in {TERMS:,} terms", f"{figure:.1f} ms (bound 30)", figure, figure <= 30)


def large_shard(world):
    """As large as clients make them: single chunks in no order, each with its proof."""
    with running(Granary(world.places["tmpfs"] / "shard")) as granary:
        made, = _with_xorbs(granary, world, 1)
        ranges = [(made, at, at + 1, range_hash([made.leaves[at][0]])) for at in range(objects.CHUNKS)]
        count = SHARD_BYTES // 96
        places = [number * 367 % objects.CHUNKS for number in range(count)]
        hash = file_hash([made.leaves[at] for at in places])
        request = granary.register([ranges[at] for at in places], hash, os.urandom(32).hex())
        before = granary.cpu_seconds()
        figure = world.generator("raw").run([request]).wall_seconds
        cpu = granary.cpu_seconds() - before
    return Finding("shard", f"a shard of {len(request.tail) / MIB:.0f} MiB, {count:,} terms", f"{figure:.2f} s, CPU {cpu:.2f} s (bound 2)", figure, figure <= 2)


def metadata(world):
    """Indexes and rows, against the content of the xorbs."""
    with running(Granary(world.places["tmpfs"] / "metadata")) as granary:
        before = sum(granary.stored_bytes())
        made = _with_xorbs(granary, world, 16)
        hash, oid, size = objects.file_of(made)
        world.generator("raw").run([granary.register(made, hash, oid)])
        indexes = sum(file.stat().st_size for file in (granary.hub.data / "xorbs").rglob("*.idx"))
        rows = sum(granary.stored_bytes()) - before
    figure = (indexes + rows) / size * 100
    return Finding("metadata", "indexes and rows", f"{figure:.3f} % of the content (bound 0.07): indexes {indexes:,} B, rows {rows:,} B", figure, figure <= 0.07)


def memory(world):
    """While eight xorbs arrive at once."""
    most = 64 * AT_ONCE + 256
    with running(Granary(world.places["tmpfs"] / "memory")) as granary:
        made = [world.stock("bg4").made() for _ in range(4 * AT_ONCE)]
        run = world.generator("bg4").prepare([granary.xorb_request(xorb) for xorb in made], AT_ONCE)
        with PeakRssAnon(granary.hub.pid) as seen:
            run()
        peak = seen.peak / 1024
    return Finding("memory", f"{AT_ONCE} xorbs of floats at once", f"RssAnon {seen.before / 1024:.0f} MiB before, at most {peak:.0f} (bound {most})", peak, peak <= most)


def client(world):
    """2 GB of random bytes up and down by huggingface_hub, by Xet and by LFS: seconds, and the client's CPU."""
    figures = {}
    source = world.places["tmpfs"] / "two-gigabytes"
    with open(source, "wb") as file:
        for _ in range(CLIENT_BYTES // 10**7):
            file.write(os.urandom(10**7))
    with running(Granary(world.places["disk"] / "client")) as granary:
        for way in ("xet", "lfs"):
            home = world.places["tmpfs"] / f"home-{way}"
            environment = {
                **os.environ, "HF_ENDPOINT": granary.hub.url, "HF_TOKEN": granary.token, "HF_HOME": str(home),
                "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **({"HF_HUB_DISABLE_XET": "1"} if way == "lfs" else {})}
            for step, code in {
                "up": f"api.upload_file(path_or_fileobj={str(source)!r}, path_in_repo='{way}.bin', repo_id={REPO!r})",
                "down": f"api.hf_hub_download({REPO!r}, '{way}.bin', local_dir={str(home / 'down')!r})",
            }.items():
                before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
                subprocess.run([sys.executable, "-c", f"import huggingface_hub; api = huggingface_hub.HfApi(); {code}"],
                               env=environment, check=True, capture_output=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                figures[f"{way} {step}"] = (time.monotonic() - started, cpu)
            # The second would find all of the first.
            source.write_bytes(source.read_bytes()[::-1]) if way == "xet" else None
    source.unlink()
    text = ", ".join(f"{name} {wall:.1f} s (CPU {cpu:.1f})" for name, (wall, cpu) in figures.items())
    return Finding("client", "2 GB by huggingface_hub", text, figures["xet up"][0], None)


ROWS = {
    "first-byte": first_byte, "reconstruction": reconstruction, "shard": large_shard, "metadata": metadata, "memory": memory, "client": client,
}
