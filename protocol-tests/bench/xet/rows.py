"""The rows of the table: what is uploaded and read, and which figures must be reached."""

import os
import shutil
from dataclasses import dataclass

import objects
import table
from load import Request
from table import Bound, Sample, cpu_of

GIB = 1 << 30
XORBS = 16


@dataclass
class Row(table.Row):
    """`prepare(world, side, kind, place)`"""

    kind: str = "raw"
    place: str = "tmpfs"

    def side(self, world, name):
        return world.dd() if name == "dd" else world.granary("writing", self.place)

    def begin(self, world, side, round):
        return self.prepare(world, side, self.kind, self.place)


def rate(figure):
    return f"{figure / 1e6:,.0f} MB/s"


def per_gib(figure):
    return f"{figure:.2f} s/GiB"


def ingest(world, side, kind, place):
    """Sixteen new xorbs, one after the other, by their content in bytes."""
    if side.name == "dd":
        os.sync()
        source = world.places["tmpfs"] / "copied"
        if not source.exists():
            with open(source, "wb") as out:
                for _ in range(XORBS):
                    with open(world.stock(kind).path, "rb") as part:
                        shutil.copyfileobj(part, out)

        def written():
            size = source.stat().st_size
            wall, cpu = side.write(source)
            return Sample(size / wall, cpu * GIB / size)
        return written
    side.drop_xorbs()
    os.sync()
    made = [world.stock(kind).made() for _ in range(XORBS)]
    run = world.generator(kind).prepare([side.xorb_request(xorb) for xorb in made])

    def measured():
        timings, cpu = cpu_of(side, run)
        raw = objects.RAW * XORBS
        return Sample(raw / timings.wall_seconds, cpu * GIB / raw)
    return measured


def bridge(world, _, kind, place):
    """A file of a gibibyte as curl gets it."""
    side, size, path = world.gibibyte(kind)
    headers = {"Authorization": f"Bearer {side.token}"}
    run = world.generator(kind).prepare([Request("GET", side.hub.url + path, headers)])

    def measured():
        timings, cpu = cpu_of(side, run)
        assert timings.body_bytes == size, timings.body_bytes
        return Sample(size / timings.wall_seconds, size / cpu)
    return measured


def per_core(figure):
    return f"{figure / 1e6:,.0f} MB/CPU-s"


ROWS = [
    Row("ingest-raw", "xorbs of random bytes, tmpfs", ingest, rate, per_gib, [Bound("value", least=400e6), Bound("cpu", most=1.5)]),
    Row("ingest-bg4", "xorbs of floats (BG4-LZ4), tmpfs", ingest, rate, per_gib, [Bound("value", least=250e6), Bound("cpu", most=3)], kind="bg4"),
    Row("ingest-disk", "xorbs of random bytes, disk", ingest, rate, per_gib, [Bound("value", least=0.9, against="dd")], ("dd", "granary"), place="disk"),
    Row("bridge-raw", "GET of a file in xorbs, random bytes", bridge, rate, per_core, [Bound("cpu", least=500e6)]),
    Row("bridge-bg4", "the same, floats (BG4-LZ4)", bridge, rate, per_core, [Bound("cpu", least=500e6)], kind="bg4"),
]
"""`dd` writes what the xorbs are, without network or hash."""
