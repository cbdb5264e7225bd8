"""The rows of the table: what is done, to whom, and which figures must be reached."""

import os
from dataclasses import dataclass

import objects
import table
from table import Bound, Sample, cpu_of, micros, per_cpu_second, per_second

GIB = 1 << 30
CLIENTS = 8
"""Of those who ask for batches at the same time, so that waiting for the disk is shared as it is in real life."""
BATCHED = 100_000
HERE_ALREADY = 5000


@dataclass
class Row(table.Row):
    """`prepare(world, side, place, round)`"""

    place: str = "disk"

    def side(self, world, name):
        return world.side(name, self.place)

    def begin(self, world, side, round):
        return self.prepare(world, side, self.place, round)

    def without(self, sides):
        self.sides = tuple(name for name in self.sides if name not in sides)
        return self


def rate(figure):
    return f"{figure / 1e6:,.0f} MB/s"


def per_gib(figure):
    return f"{figure:.2f} s/GiB"


# -- large objects ------------------------------------------------------------------------------------------------


def download(connections):
    def prepare(world, side, place, round):
        row = world.large(side)
        run = world.large_generator.prepare(side.get_requests("large", [row]) * connections, connections)

        def measured():
            timings, cpu = cpu_of(side, run)
            assert timings.body_bytes == row["size"] * connections
            return Sample(timings.body_bytes / timings.wall_seconds, cpu * GIB / timings.body_bytes)
        return measured
    return prepare


def upload(world, side, place, round):
    os.sync()  # what others left to be written must not be waited for here
    if side.name == "dd":
        def written():
            wall, cpu = side.write(world.source.path)
            return Sample(world.source.size / wall, cpu * GIB / world.source.size)
        return written
    object = world.source.object()
    run = world.large_generator.prepare([side.put_request(world.repo(side, "uploads"), object)])

    def measured():
        timings, cpu = cpu_of(side, run)
        side.drop(object[0])
        return Sample(object[1] / timings.wall_seconds, cpu * GIB / object[1])
    return measured


# -- small ones, and batches --------------------------------------------------------------------------------------


def small_gets(count):
    """One client, one request after the other. `count` may depend on the side."""
    def prepare(world, side, place, round):
        rows = world.small(side, "small", 256)
        requests = side.get_requests("small", rows)
        wanted = count[side.name]
        run = world.generator.prepare((requests * -(-wanted // len(requests)))[:wanted])

        def measured():
            timings, cpu = cpu_of(side, run)
            assert timings.body_bytes == 1024 * wanted
            return Sample(timings.median, cpu / wanted)
        return measured
    return prepare


def batches(operation, size, here):
    """`here` of 1 are objects that the repository has."""
    def prepare(world, side, place, round):
        known = world.small(side, "batches", HERE_ALREADY)
        repo, requests, taken = "batches", [], 0
        for _ in range(BATCHED // size):
            mine = [known[(taken + n) % HERE_ALREADY] for n in range(round_half(size * here))]
            taken += len(mine)
            requests.append(side.batch_request(repo, operation, mine + objects.unknown(size - len(mine))))
        if round == 0:
            check_batch(world, side, place, repo, operation, size, here)
        run = world.generator.prepare(requests, CLIENTS)

        def measured():
            timings, cpu = cpu_of(side, run)
            return Sample(BATCHED / timings.wall_seconds, BATCHED / cpu)
        return measured
    return prepare


def round_half(number):
    return int(number + 0.5)


def check_batch(world, side, place, repo, operation, size, here):
    """That the answers hold what they must: an href for each object that must move."""
    known = world.small(side, repo, HERE_ALREADY)[: round_half(size * here)]
    answered = side.batch(repo, operation, known + objects.unknown(size - len(known)))
    moving = [row for row in answered if row.get("actions")]
    assert len(moving) == (len(known) if operation == "download" else size - len(known)), (len(moving), size)
    mark = {"s3": "X-Amz-Signature=", "disk": "token="}[place] if side.name == "granary" else "http"
    assert all(mark in row["actions"][operation]["href"] for row in moving), moving[0]


def batch_rows():
    for place, prefix, least in (("disk", "", 100_000), ("s3", "s3-", 70_000)):
        for operation, here, title in (("upload", 0.1, "upload, 10 % are here"), ("download", 1, "download")):
            for size in (100, 1000, 5000):
                peers = ("rudolfs",) if place == "disk" and operation == "upload" else ()
                yield Row(f"{prefix}{operation}-batch-{size}", f"batches of {size:,}: {title}", batches(operation, size, here),
                          per_second, per_cpu_second, [Bound("value", least=least)], (*peers, "granary"), place)


# Whoever proves what it stores has to receive, hash and write: no server does it in less than `plain`.
DURABLE = [Bound("value", least=0.85, against="plain"), Bound("cpu", most=1.2, against="plain")]
IN_MEMORY = [Bound("value", least=0.95, against="rudolfs"), Bound("cpu", most=1.2, against="plain")]
BESIDE_SENDFILE = [Bound("value", least=0.6, against="nginx"), Bound("value", least=4, against="rudolfs")]

ROWS = [
    Row("download", "GET of a large object", download(1), rate, per_gib, BESIDE_SENDFILE, ("nginx", "rudolfs", "granary")),
    Row("download-4", "the same, four at once", download(4), rate, per_gib, BESIDE_SENDFILE, ("nginx", "rudolfs", "granary")),
    Row("upload-tmpfs", "PUT of a large object, tmpfs", upload, rate, per_gib, IN_MEMORY, ("plain", "rudolfs", "granary"), "tmpfs"),
    Row("upload-disk", "PUT of a large object, disk", upload, rate, per_gib, DURABLE, ("dd", "plain", "granary")),
    Row("get-1k", "GET of 1 KB, median time", small_gets({"nginx": 4000, "granary": 4000, "rudolfs": 40}), micros, micros,
        [Bound("value", most=1.5, against="nginx")], ("nginx", "rudolfs", "granary")),
    *batch_rows(),
]
