"""The rows that are not CPU of a request: memory of slow readers and large packs, and bytes written."""

import time

from harness import load

import proc
import replay
from finding import Finding, settled
from servers import running
from sides import Granary

READERS = (50, 500)
RECEIVE_BUFFER = 16 << 10


class SlowReaders:
    """Clients that ask for a pack, take its first bytes, and stall."""

    def __init__(self, side, path, body):
        self.side, self.path, self.body, self.connections = side, path, body, []

    def grow(self, count):
        while len(self.connections) < count:
            connection = self.side.connect(receive_buffer=RECEIVE_BUFFER)
            self.connections.append(connection)
            connection.send("POST", f"{self.path}/git-upload-pack", "Git-Protocol: version=2\r\nContent-Type: "
                            "application/x-git-upload-pack-request\r\n", self.body)
        for connection in self.connections:
            if not hasattr(connection, "answered"):
                connection.answered = connection.head()
                assert connection.answered[0] == 200

    def finish_one(self):
        """A stalled one goes on to the end of the answer."""
        answer = self.connections[0].body(self.connections[0].answered[1])
        assert answer.last.endswith(b"0000")
        return answer.length

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()


def slow_readers(directory, peer, corpus):
    """The pack is 64 MiB, so that it fits no socket buffer. Once the stored pack as it is, once a computed answer."""
    repo = corpus("big_full")
    findings = []
    for kind, arguments in (("stored pack", ()), ("computed answer", ("filter blob:limit=1g",))):
        body = replay.fetch_body([repo.tip], *arguments)
        with running(Granary(directory / kind.split()[0])) as granary:
            path = granary.add(repo)
            replay.Repository(granary.connect(), path).fetch(body)
            base = settled(granary.rss_anon_kib)
            with SlowReaders(granary, path, body) as readers:
                sizes = []
                for count in READERS:
                    readers.grow(count)
                    sizes.append(settled(granary.rss_anon_kib))
                readers.finish_one()
        each = (sizes[1] - sizes[0]) / (READERS[1] - READERS[0])
        findings.append(Finding(
            f"slow-{kind.split()[0]}", f"slow readers of a {kind}",
            f"granary RssAnon {base / 1024:.1f} MiB idle, {sizes[0] / 1024:.1f} at {READERS[0]}, {sizes[1] / 1024:.1f} at "
            f"{READERS[1]} readers: {each:.0f} KiB each (bound 64)", each, each <= 64))
    path = peer.add(repo)
    idle = peer.pss_kib()
    with SlowReaders(peer, f"/unbuffered{path}", replay.fetch_body([repo.tip])) as readers:
        readers.grow(READERS[0])
        each = (settled(peer.pss_kib) - idle) / READERS[0]
    findings.append(Finding("slow-peer", "slow readers of the peer", f"PSS {each:.0f} KiB each at {READERS[0]} readers "
                            "(fastcgi_buffering off; on, a temporary file of 64 MiB each instead)", each, None))
    return findings


def large_packs(directory, corpus):
    """RssAnon while a pack of 64 MiB comes in, is compacted, and goes out computed."""
    big, findings = corpus("big"), []
    with running(Granary(directory / "large")) as granary:
        remote = replay.Repository(granary.connect(push=True), granary.fresh(big))
        steps = {
            "received": lambda: remote.push(replay.push_body(*big.pushes[0])),
            "compacted": granary.compact,
            "computed": lambda: remote.fetch(replay.fetch_body([big.pushes[0][1]], "filter blob:limit=900m")),
            "as stored": lambda: remote.fetch(replay.fetch_body([big.pushes[0][1]])),
        }
        for step, run in steps.items():
            with proc.PeakRssAnon(granary.hub.pid) as memory:
                run()
            peak = memory.peak / 1024
            findings.append(Finding(
                f"pack-{step.split()[-1]}", f"64 MiB pack {step}",
                f"granary RssAnon {memory.before / 1024:.1f} MiB, at most {peak:.1f} (bound 48)", peak, peak <= 48))
    return findings


def pushed_to_peer(peer, corpus, pushes):
    """(bytes on disk, bytes written) of the same pushes at the peer, which are loose objects until somebody runs gc."""
    path = peer.fresh(corpus.empty())
    used = lambda: sum(file.stat().st_blocks * 512 for file in (peer.repositories / path[1:]).rglob("*"))
    before, written = used(), peer.written_bytes()
    remote, history = replay.Repository(peer.connect(push=True), path), load.History(7, size=1000)
    for _ in range(pushes):
        old, new, pack = history.next()
        remote.push(replay.push_body(old, new, pack))
        history.moved(new)
    return used() - before, peer.written_bytes() - written


def write_amplification(directory, peer, corpus, pushes=300):
    """A server of its own, so that nothing else is written; what compaction replaced is deleted after a second."""
    with running(Granary(directory / "amplification", {"maintenance.superseded": "1s"})) as granary:
        path = "admin/amplified"
        granary.hub.run("repo", "create", path, "--public")
        granary.compact()
        rows_before, packs_before = granary.stored_bytes()
        written, cpu = proc.write_bytes(granary.hub.pid), granary.cpu_seconds()
        history, pushed = load.History(7, size=1000), 0
        remote = replay.Repository(granary.connect(push=True), f"/{path}")
        for _ in range(pushes):
            old, new, pack = history.next()
            remote.push(replay.push_body(old, new, pack))
            history.moved(new)
            pushed += len(pack)
        pushing = granary.cpu_seconds() - cpu
        granary.compact()
        time.sleep(2.5)  # until what was replaced is due
        granary.compact()
        written = proc.write_bytes(granary.hub.pid) - written
        rows, packs = granary.stored_bytes()
        rows, packs = rows - rows_before, packs - packs_before
        total = granary.cpu_seconds() - cpu
    retained, written = (rows + packs) / pushed, written / pushed
    peer_retained, peer_written = (value / pushed for value in pushed_to_peer(peer, corpus, pushes))
    return [
        Finding("retained", f"{pushes} pushes of 1 KB: retained",
                f"{retained:.2f}x of {pushed / 1e3:.0f} KB pushed: {packs / 1e3:.0f} KB of packs, {rows / 1e3:.0f} KB of rows "
                "(bound 4x)", retained, retained <= 4),
        Finding("written", f"{pushes} pushes of 1 KB: written",
                f"{written:.1f}x of what was pushed, {written * pushed / pushes / 1e3:.1f} KB a push, compaction included "
                "(bound 20x)", written, written <= 20),
        Finding("peer-pushes", f"{pushes} pushes of 1 KB: the peer", f"{peer_retained:.1f}x retained on disk before gc, "
                f"{peer_written:.1f}x written", peer_written, None),
        Finding("compaction", f"{pushes} pushes of 1 KB: CPU", f"{pushing / pushes * 1e3:.2f} ms a push while pushing, "
                f"{total / pushes * 1e3:.2f} ms with all compaction", total / pushes, None),
    ]


ROWS = {
    "slow-readers": slow_readers,
    "large-packs": lambda directory, peer, corpus: large_packs(directory, corpus),
    "amplification": write_amplification,
}
