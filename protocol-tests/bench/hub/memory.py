"""What is stored for a commit, and RssAnon while one has a line of a gigabyte."""

import base64
import statistics

from harness import api

import calls
import rows
from finding import Finding
from load import Generator
from proc import PeakRssAnon
from servers import running
from sides import Granary

COMMITS = 24
"""Fewer than those after which packs are compacted without waiting for a rest: nothing else is written meanwhile."""
LINE_BYTES = 1_000_000_000
LINE_MIB_MAX = 64


def stored(name, title, repo_of, path_of, judge, of, kb_max):
    """The packs of the commits as `judge` has them, and their share of what the database has grown besides."""
    def find(world):
        granary, repo = world.granary, repo_of(world)
        granary.compact()
        before, packs = sum(granary.stored_bytes()), [granary.packs_bytes()]
        for number in range(COMMITS):
            granary.commit(repo, {path_of(number): world.text()})
            packs.append(granary.packs_bytes())
        each = [after - before for before, after in zip(packs, packs[1:])]
        rows = max(0, sum(granary.stored_bytes()) - before - sum(each)) / COMMITS
        figure = judge(each) + rows
        return Finding(name, title, f"{of} {figure / 1e3:.1f} KB a commit (bound {kb_max}): packs {min(each) / 1e3:.1f} to "
                       f"{max(each) / 1e3:.1f}, {statistics.mean(each) / 1e3:.1f} on average; rows {rows / 1e3:.1f}", figure, figure <= kb_max * 1000)
    return find


def line(name, title, encoding):
    """As clients order it: the content first, and then how it is encoded and where it goes."""
    def find(world):
        file = world.memory / "line"
        start = b'{"key":"header","value":{"summary":"large","description":""}}\n{"key":"file","value":{"content":"'
        block = base64.b64encode(world.random.randbytes(3 << 20))
        with open(file, "wb") as out:
            out.write(start)
            for _ in range(LINE_BYTES // len(block)):
                out.write(block)
        tail = b'","path":"large.bin","encoding":"%s"}}\n' % encoding.encode()
        with running(Granary(world.disk / name)) as granary:
            repo = granary.create("large")
            href = f"{granary.hub.url}/api/models/{repo}/commit/main"
            request = calls.request("POST", href, granary.token, tail, content_type="application/x-ndjson")
            request.file_bytes = file.stat().st_size
            send = Generator(world.memory, file).prepare([request])
            with PeakRssAnon(granary.hub.pid) as memory:
                timings = send()
            size = int(granary.api.head(f"/{repo}/resolve/main/large.bin").headers["x-linked-size"])
        file.unlink()
        text_bytes = LINE_BYTES // len(block) * len(block)
        assert size == (text_bytes if encoding == "utf-8" else text_bytes // 4 * 3), size
        peak = memory.peak / 1024
        return Finding(name, title, f"RssAnon {memory.before / 1024:.1f} MiB before, at most {peak:.1f} "
                       f"(bound {LINE_MIB_MAX}), {timings.wall_seconds:.1f} s", peak, peak <= LINE_MIB_MAX)
    return find


ROWS = {
    "stored-100k": stored("stored-100k", "100 folders of 1,000 files", rows.hundred_thousand, rows.in_folders, statistics.mean, "mean", 8),
    "stored-flat": stored("stored-flat", "one folder of 10,000 files", rows.flat, rows.in_flat, statistics.median, "median", 20),
    "line": line("line", "a line of 1 GB, base64", "base64"),
    "line-text": line("line-text", "the same, not base64 after all", "utf-8"),
}
