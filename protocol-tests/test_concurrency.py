"""Many at once: readers see only whole states, racing pushers lose nothing, slow ones delay nobody."""

import selectors
import socket
import threading
import time

import pytest

from harness import packs, pktline, wire
from harness.hub import HOST
from harness.load import Connection, History, Pusher, percentile, timed


def test_clones_during_pushes_see_whole_states(hub, git, tmp, repo, alice):
    """Every push moves two branches atomically; each of 64 clones has both at the same step, complete."""
    path = repo()
    states, failures = [], []
    first = History(1, 2000)
    connection = Connection(hub.url, alice)

    def push():
        old, new, pack = first.next()
        result = connection.push(path, [(old, new, "refs/heads/main"), (old, new, "refs/heads/twin")], pack,
                                 capabilities=[*wire.PUSH_CAPABILITIES, "atomic"])
        assert result.ok, result
        first.moved(new)
        states.append(new)

    push()

    def reader(number):
        try:
            reading = Connection(hub.url, alice)
            for turn in range(4):
                refs = reading.refs(path)
                assert refs["refs/heads/main"] == refs["refs/heads/twin"], "a half-applied push"
                fetched = reading.fetch(path, "ofs-delta", wants=[refs["refs/heads/main"]])
                assert not fetched.error, fetched.error
                (tmp / f"pack-{number}-{turn}-{refs['refs/heads/main']}").write_bytes(fetched.pack)
        except Exception as error:  # noqa: BLE001, reported by the test
            failures.append(repr(error))

    readers = [threading.Thread(target=reader, args=(number,)) for number in range(64)]
    for thread in readers:
        thread.start()
    while any(thread.is_alive() for thread in readers):
        push()
        if len(states) % 10 == 0:
            hub.run("maintain", "--now")
    assert not failures, failures[:5]
    answers = {}
    for file in tmp.glob("pack-*"):
        answers.setdefault(file.name.rsplit("-", 1)[1], file.read_bytes())
    assert set(answers) <= set(states) and len(answers) > 1
    final = git.clone(hub.git_url(path, alice), tmp / "final.git", "--mirror")
    for tip, data in answers.items():
        assert packs.contents(git, data) == final.objects(tip), "exactly the closure of a state that was pushed"


def test_real_clones_during_pushes(hub, git, tmp, repo, alice):
    path = repo()
    pusher = Pusher(hub, path, alice, 3, size=5000)
    old, new, pack = pusher.history.next()
    assert Connection(hub.url, alice).push(path, [(old, new, "refs/heads/main")], pack).ok
    pusher.history.moved(new)
    pusher.start()
    running = []
    for number in range(64):
        running.append((number, git.start("clone", "-q", "--bare", hub.git_url(path, alice), tmp / f"c{number}.git")))
        if len(running) >= 8:
            finish(git, tmp, running.pop(0))
    while running:
        finish(git, tmp, running.pop(0))
    pusher.stop()
    assert pusher.failure is None, pusher.failure


def finish(git, tmp, item):
    number, process = item
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    copy = git.at(tmp / f"c{number}.git")
    assert copy("rev-list", "--count", "main") == copy("log", "-1", "--format=%s", "main")
    if number % 8 == 0:
        copy.fsck()


def test_sixteen_pushers_to_one_ref(hub, git, tmp, repo, alice):
    """Each round all push a child of the same tip: exactly one wins, and its commit is the next tip."""
    path = repo()
    connections = [Connection(hub.url, alice) for _ in range(16)]
    tip, winners = wire.ZERO, []
    for turn in range(12):
        barrier = threading.Barrier(16)
        results = [None] * 16

        def push(number, tip=tip, turn=turn, barrier=barrier, results=results):
            builder = packs.Builder()
            parents = [] if tip == wire.ZERO else [tip]
            commit = builder.file_commit(*parents, content=b"%d %d\n" % (turn, number), when=1_700_000_000 + turn)
            barrier.wait()
            results[number] = (commit, connections[number].push(path, [(tip, commit, "refs/heads/main")], builder.pack()))

        threads = [threading.Thread(target=push, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        won = [commit for commit, result in results if result.ok]
        assert len(won) == 1, [result for _, result in results]
        tip = won[0]
        winners.append(tip)
        assert connections[0].refs(path)["refs/heads/main"] == tip
    copy = git.clone(hub.git_url(path, alice), tmp / "copy.git", "--bare")
    assert copy("rev-list", "--reverse", "main").split() == winners, "no acknowledged commit is lost"
    copy.fsck()


def test_sixteen_real_gits_retry_until_all_are_in(hub, git, tmp, repo, alice):
    path = repo()
    base = git.init(tmp / "base")
    base.commit("base", "base\n")
    base("push", "-q", hub.git_url(path, alice), "main")
    failures = []

    def work(number):
        try:
            mine = git.clone(hub.git_url(path, alice), tmp / f"w{number}")
            mine.commit(f"file{number}", f"{number}\n")
            for _ in range(60):
                if mine.run("push", "-q", "origin", "main", check=False).returncode == 0:
                    return
                mine("pull", "-q", "--rebase")
            failures.append(f"{number} never got in")
        except Exception as error:  # noqa: BLE001
            failures.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not failures, failures
    final = git.clone(hub.git_url(path, alice), tmp / "final")
    assert {file.name for file in (tmp / "final").iterdir()} >= {f"file{number}" for number in range(16)}
    final.fsck()


# -- slow peers ---------------------------------------------------------------------------------------------------


class SlowPeers(threading.Thread):
    """Connections that take or give a few bytes at a time, in one thread."""

    def __init__(self):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.finish = threading.Event()
        self.sockets = []

    def reader(self, request, port):
        self._add(request, port, b"", selectors.EVENT_READ)

    def writer(self, request, body, port):
        self._add(request, port, body, selectors.EVENT_WRITE)

    def _add(self, request, port, body, event):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((HOST, port))
        connection.sendall(request)
        connection.setblocking(False)
        self.sockets.append(connection)
        self.selector.register(connection, event, [body])

    def run(self):
        while not self.finish.is_set():
            for key, event in self.selector.select(0.1):
                try:
                    if event & selectors.EVENT_READ:
                        if not key.fileobj.recv(512):
                            self.selector.unregister(key.fileobj)
                    elif key.data[0]:
                        sent = key.fileobj.send(key.data[0][:512])
                        key.data[0] = key.data[0][sent:]
                    else:
                        self.selector.unregister(key.fileobj)
                except BlockingIOError:
                    pass
                except OSError:
                    self.selector.unregister(key.fileobj)
            self.finish.wait(0.05)

    def close(self):
        self.finish.set()
        self.join(10)
        for connection in self.sockets:
            connection.close()


@pytest.mark.timeout(600)
@pytest.mark.alone
def test_slow_peers_do_not_delay_others(fresh_hub):
    """200 slow cold clones and 200 slow pushes of distinct repositories; p99 of others at most twice what it was."""
    hub = fresh_hub(settings={"server.body_timeout": "120s"})
    token = hub.admin_token
    setup = Connection(hub.url, token)
    slow = SlowPeers()
    clones = []
    content = History(0, 400_000)
    _, tip, pack = content.next()
    for number in range(200):
        path = f"admin/slow{number}"
        hub.repo(path)
        assert setup.push(path, [(wire.ZERO, tip, "refs/heads/main")], pack).ok
        clones.append(path)
    hub.repo("admin/other")
    other = History(1, 1000)
    for _ in range(5):
        old, new, small = other.next()
        assert setup.push("admin/other", [(old, new, "refs/heads/main")], small).ok
        other.moved(new)
    setup.close()

    def sample():
        """Latencies of what others do: list, fetch, push."""
        connection, latencies = Connection(hub.url, token), []
        wants = [connection.refs("admin/other")["refs/heads/main"]]
        for turn in range(400):
            latencies.append(timed(lambda: connection.refs("admin/other")))
            latencies.append(timed(lambda: connection.fetch("admin/other", "ofs-delta", wants=wants)))
            if turn % 10 == 0:
                old, new, data = other.next()
                latencies.append(timed(lambda: connection.push("admin/other", [(old, new, "refs/heads/main")], data)))
                other.moved(new)
        connection.close()
        return percentile(latencies, 0.99)

    sample()
    quiet = min(sample() for _ in range(3))
    auth = f"Host: {HOST}\r\nAuthorization: {wire.basic(token)}\r\n"
    fetch = wire.fetch_body("ofs-delta", wants=[tip])
    for number, path in enumerate(clones):
        slow.reader(
            f"POST /{path}/git-upload-pack HTTP/1.1\r\n{auth}Git-Protocol: version=2\r\n"
            f"Content-Type: application/x-git-upload-pack-request\r\nContent-Length: {len(fetch)}\r\n\r\n".encode() + fetch, hub.port)
        body = wire.push_body([(wire.ZERO, tip, f"refs/heads/slow{number}")], pack)
        slow.writer(
            f"POST /{path}/git-receive-pack HTTP/1.1\r\n{auth}"
            f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body, hub.port)
    slow.start()
    try:
        busy = min(sample() for _ in range(3))
    finally:
        slow.close()
    assert busy <= 2 * quiet + 0.001, f"p99 {busy * 1000:.2f} ms with slow peers, {quiet * 1000:.2f} ms without"


def test_many_idle_connections_cost_little(fresh_hub):
    hub = fresh_hub()
    before = rss_anon(hub.pid)
    idle = [wire.Raw(hub.url) for _ in range(1000)]
    started = time.monotonic()
    assert wire.http(hub.url + "/healthz", seconds=5).status == 200
    assert time.monotonic() - started < 2
    assert rss_anon(hub.pid) - before < 64 << 20
    for connection in idle:
        connection.socket.close()


def rss_anon(pid):
    return next(int(line.split()[1]) * 1024 for line in open(f"/proc/{pid}/status") if line.startswith("RssAnon:"))


def test_pushes_during_compaction_and_collection(hub, git, tmp, repo, alice):
    """Maintenance never loses a race in a way that a pusher sees."""
    path = repo()
    pushers = [Pusher(hub, path, alice, number, ref=f"refs/heads/b{number}", size=3000) for number in range(3)]
    for pusher in pushers:
        pusher.start()
    for turn in range(10):
        hub.run("maintain", "--now")
        if turn % 3 == 2:
            hub.run("gc", "--purge", path)
    for pusher in pushers:
        pusher.stop()
        assert pusher.failure is None and pusher.count > 0, pusher.failure
    copy = git.clone(hub.git_url(path, alice), tmp / "copy.git", "--mirror")
    for number, pusher in enumerate(pushers):
        assert copy("rev-parse", f"b{number}") == pusher.acknowledged
        assert copy("rev-list", "--count", f"b{number}") == str(pusher.count)
    copy.fsck()
    hub.run("fsck", "--repo", path)


def test_every_answer_in_parallel_is_whole(hub, repo, alice):
    """Sixteen threads, one cold answer: each gets all of it."""
    path = repo()
    history = History(9, 3 << 20)
    _, tip, pack = history.next()
    assert Connection(hub.url, alice).push(path, [(wire.ZERO, tip, "refs/heads/main")], pack).ok
    bodies = [None] * 16

    def fetch(number):
        bodies[number] = wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body("no-progress", wants=[tip]), token=alice).body

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    packs_sent = {wire.parse_fetch(body).pack for body in bodies}
    assert len(packs_sent) == 1 and next(iter(packs_sent))[:4] == b"PACK"
    assert all(list(pktline.decode(body))[-1] is None for body in bodies)
