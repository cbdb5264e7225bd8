"""The order in which a push or an upload becomes durable, as the kernel sees it.

`kill -9` keeps the page cache, so crash tests cannot show this; strace does: the pack and its directory are synced before the
transaction's log is, and that before the first byte of the answer.
"""

import re
import shutil
import subprocess

import pytest

from harness import lfs, lfs_api, packs, wait, wire
from harness.lfs_api import Api
from harness.load import Connection, History

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed: protocol-tests/run installs it")

SYSCALLS = ("fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,openat,mkdir,mkdirat,write,writev,pwrite64,pwritev,"
            "sendto,sendmsg,sync_file_range")


class Trace:
    """System calls of a hub while `traced` runs, in the order in which they ended; file descriptors shown as paths."""

    def __init__(self, hub, tmp):
        self.hub, self.file = hub, tmp / "strace"

    def __enter__(self):
        self.process = subprocess.Popen(
            ["strace", "-f", "-yy", "-ttt", "-s", "64", "-e", f"trace={SYSCALLS}", "-o", self.file, "-p", str(self.hub.pid)],
            stderr=subprocess.PIPE)
        line = self.process.stderr.readline()
        if b"attached" not in line:
            pytest.skip(f"strace cannot attach here: {line.decode().strip()}")
        # Attaching is asynchronous: on a busy machine the first calls after the message may go unseen.
        wait.until(lambda: self.hub.is_ready() and "HTTP/1.1 200" in self.file.read_text(errors="replace"), "strace sees an answer")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=30)

    def calls(self):
        """[(name, whole line)], a call at the place where it returned."""
        begun, rows = {}, []
        for line in self.file.read_text(errors="replace").splitlines():
            thread, _, rest = line.split(None, 2) if line[0].isdigit() else (None, None, line)
            if rest.endswith("<unfinished ...>"):
                begun[thread] = rest.removesuffix("<unfinished ...>")
            elif resumed := re.match(r"<\.\.\. (\w+) resumed>", rest):
                rows.append((resumed.group(1), begun.pop(thread, "") + rest[resumed.end():]))
            elif named := re.match(r"(\w+)\(", rest):
                rows.append((named.group(1), rest))
        return rows


def positions(calls, names, pattern):
    return [number for number, (name, line) in enumerate(calls) if name in names and re.search(pattern, line)]


SYNC = ("fsync", "fdatasync")
WRITE = ("write", "pwrite64", "writev", "pwritev")
SEND = ("write", "writev", "sendto", "sendmsg")


@pytest.fixture
def traced(fresh_hub, tmp):
    hub = fresh_hub()
    hub.repo("admin/r")
    connection = Connection(hub.url, hub.admin_token)
    assert connection.push("admin/r", [(wire.ZERO, (single := packs.single_commit())[0], "refs/heads/first")], single[1]).ok
    hub.run("maintain", "--now")  # so that the background has nothing to write meanwhile
    return hub, connection, lambda: Trace(hub, tmp)


def answer(calls):
    """Where the first byte of the push's answer leaves: the last HTTP header on a TCP socket."""
    found = positions(calls, SEND, r"TCP.*HTTP/1\.1 200")
    assert found, "no answer was seen"
    return found[-1]


def test_a_stored_pack(traced):
    hub, connection, trace = traced
    _, tip, pack = History(1, 300_000).next()
    with trace() as seen:
        assert connection.push("admin/r", [(wire.ZERO, tip, "refs/heads/big")], pack).ok
    calls = seen.calls()
    data = re.escape(str(hub.data))
    published = positions(calls, ("rename", "renameat", "renameat2", "link", "linkat"), r"/packs/\w\w/")
    assert len(published) == 1, calls
    name = re.search(r"packs/\w\w/(\w+)", calls[published[0]][1]).group(0)
    file_synced = positions(calls, SYNC, rf"<{data}/staging/|<{data}/{re.escape(name)}")
    directory_synced = positions(calls, SYNC, rf"<{data}/{re.escape(name.rsplit('/', 1)[0])}>")
    log_written = positions(calls, WRITE, r"granary\.db-wal")
    log_synced = positions(calls, SYNC, r"granary\.db-wal")
    assert file_synced and file_synced[0] < published[0], "the pack's bytes are durable before they have their name"
    assert any(published[0] < number for number in directory_synced), "then the name"
    directory = next(number for number in directory_synced if number > published[0])
    commit = [number for number in log_synced if number > directory]
    assert commit, "then the transaction that names it"
    assert max(number for number in log_written if number < commit[-1]) > directory
    assert commit[0] < answer(calls), "then the client is told"
    parent = positions(calls, ("mkdir", "mkdirat"), r"/packs/\w\w")
    if parent:
        synced = positions(calls, SYNC, rf"<{data}/packs>")
        assert any(parent[0] < number < commit[0] for number in synced), "a new directory is durable in its parent"


def test_an_inline_pack(traced):
    hub, connection, trace = traced
    _, tip, pack = History(2, 500).next()
    with trace() as seen:
        assert connection.push("admin/r", [(wire.ZERO, tip, "refs/heads/small")], pack).ok
    calls = seen.calls()
    written, synced = positions(calls, WRITE, r"granary\.db-wal"), positions(calls, SYNC, r"granary\.db-wal")
    assert written and synced and written[0] < synced[0] < answer(calls)
    assert not positions(calls, ("rename", "renameat", "renameat2", "link", "linkat"), r"/packs/"), "no file for a small pack"
    assert len([number for number in synced if number < answer(calls)]) == 1, "one commit"


def test_a_deletion(traced):
    hub, connection, trace = traced
    refs = connection.refs("admin/r")
    assert connection.push("admin/r", [(wire.ZERO, refs["refs/heads/first"], "refs/heads/gone")], packs.pack()).ok
    with trace() as seen:
        assert connection.push("admin/r", [(refs["refs/heads/first"], wire.ZERO, "refs/heads/gone")]).ok
    calls = seen.calls()
    synced = positions(calls, SYNC, r"granary\.db-wal")
    assert synced and synced[0] < answer(calls)


def test_rows_outlive_the_packs_they_name(traced):
    """Compaction: the new pack is durable before the rows change; old files go only after their rows said so, durably."""
    hub, connection, trace = traced
    history = History(3, 100_000)
    for _ in range(4):
        old, new, pack = history.next()
        assert connection.push("admin/r", [(old, new, "refs/heads/main")], pack).ok
        history.moved(new)
    with trace() as seen:
        hub.run("maintain", "--now")
    calls = seen.calls()
    published = positions(calls, ("rename", "renameat", "renameat2", "link", "linkat"), r"/packs/\w\w/")
    assert published
    synced = positions(calls, SYNC, r"granary\.db-wal")
    directories = positions(calls, SYNC, r"/packs/\w\w>")
    assert any(published[0] < directory < commit for directory in directories for commit in synced)
    assert not positions(calls, ("unlink", "unlinkat"), r"/packs/\w\w/"), "superseded packs stay for an hour"


def test_the_admins_token_and_the_database_are_durable_at_the_first_start(stopped_hub, tmp):
    file = tmp / "strace-start"
    hub = stopped_hub(wrapper=["strace", "-f", "-yy", "-e", f"trace={SYSCALLS}", "-o", file])
    hub.environment["PATH"] = "/usr/bin:/bin"
    hub.wrapper[0] = shutil.which("strace")
    hub.start(ready=False)
    wait.until(lambda: hub.is_ready(), "ready", seconds=60)
    text = file.read_text(errors="replace")
    assert re.search(r"f(data)?sync\(\d+<[^>]*initial-admin-token>\)", text)
    assert re.search(r"f(data)?sync\(\d+<[^>]*granary\.db-wal>\)", text)
    hub.kill()


# -- large objects ------------------------------------------------------------------------------------------------


def assert_durable_in_order(calls, data, sent):
    """fsync of the bytes < rename < fsync of the directory < fsync of the log < the answer; nothing is renamed before it is whole."""
    published = positions(calls, ("rename", "renameat", "renameat2", "link", "linkat"), r"objects/\w\w/")
    assert len(published) == 1, [calls[number] for number in published]
    name = re.search(r"objects/\w\w/\w+/\w+", calls[published[0]][1]).group(0)
    file_synced = positions(calls, SYNC, rf"<{data}/staging/|<{data}/{re.escape(name)}")
    assert file_synced and min(file_synced) < published[0], "the object's bytes are durable before they have their name"
    last_write = max(positions(calls, WRITE, rf"<{data}/staging/"), default=-1)
    assert any(last_write < number < published[0] for number in file_synced), "all of them"
    directory_synced = positions(calls, SYNC, rf"<{data}/{re.escape(name.rsplit('/', 1)[0])}>")
    assert any(published[0] < number for number in directory_synced), "then the name"
    directory = next(number for number in directory_synced if number > published[0])
    commit = [number for number in positions(calls, SYNC, r"granary\.db-wal") if number > directory]
    assert commit, "then the row that links it"
    assert commit[0] < sent, "then the client is told"
    for parent in (name.rsplit("/", 2)[0], "objects"):
        if made := positions(calls, ("mkdir", "mkdirat"), rf"{parent}/\w+\""):
            synced = positions(calls, SYNC, rf"<{data}/{parent}>")
            assert any(made[0] < number < commit[0] for number in synced), f"a new directory in {parent} is durable"


@pytest.mark.parametrize("size", [1000, 300_000, 8_000_000])
def test_an_object(traced, size):
    hub, _, trace = traced
    at, data = Api(hub, "admin/r", hub.admin_token), lfs.content(size, "durable")
    action = at.grant(data)["upload"]
    with trace() as seen:
        assert lfs_api.put(action, data).status == 200
    calls = seen.calls()
    assert_durable_in_order(calls, re.escape(str(hub.data)), answer(calls))


def test_an_object_in_parts(traced):
    hub, _, trace = traced
    at, data = Api(hub, "admin/r", hub.admin_token), lfs.content(65 << 20, "durable parts")
    action = at.grant(data, transfers=["multipart", "basic"])["upload"]
    etags = lfs_api.put_parts(action, data)
    with trace() as seen:
        assert lfs_api.complete(action, data, etags).status == 200
    calls = seen.calls()
    assert_durable_in_order(calls, re.escape(str(hub.data)), answer(calls))


def test_a_grant_is_known_before_it_is_given(traced):
    """Litter under a key is always known by a row: the row is durable before the href is in anybody's hands."""
    hub, _, trace = traced
    at = Api(hub, "admin/r", hub.admin_token)
    with trace() as seen:
        assert at.grant(lfs.content(1000, "granted"))
    calls = seen.calls()
    synced = positions(calls, SYNC, r"granary\.db-wal")
    assert synced and synced[0] < answer(calls)
