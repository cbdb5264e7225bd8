"""What goes wrong while each git-lfs moves objects, on each engine: the push goes through or says why, and nothing is lost or left.

Hugging Face's agent sends its parts once. Whatever is refused ends it, and git-lfs says `EOF`; the next push must do.
"""

import contextlib
import json
import os
import subprocess
import threading

import pytest

from harness import lfs, s3, wait
from harness.client import text
from harness.hf import VERSIONS, Hf
from harness.httpd import Cut, Proxy
from harness.lfs import LARGE, MIB, add, content
from harness.lfs_api import Api
from harness.wire import Raw


def test_401_then_credentials(lfs_hub, lfs_work, lfs_size, in_parts, clone_back, git, tmp):
    """A remote without credentials: git-lfs learns from the 401 to ask the helper, and asks nobody for the href's host."""
    helper = git.home / "credentials"
    helper.write_text(lfs_hub.git_url("", lfs_hub.tokens["alice"]).rstrip("/") + "\n")
    lfs_work("remote", "set-url", "origin", lfs_hub.git_url(lfs_work.path))
    asks = tmp / "asked"
    ask = tmp / "askpass"
    ask.write_text(f'#!/bin/sh\necho "$1" >> {asks}\n')
    ask.chmod(0o755)
    data = add(lfs_work, "a.bin", lfs_size)
    work = lfs_work.with_config(f"credential.helper=store --file={helper}", GIT_ASKPASS=str(ask))
    work("push", "-q", "origin", "main")
    assert not asks.exists(), f"nobody is asked: {asks.read_text()}"
    in_parts(lfs_hub, data)
    lfs.same_files(lfs_work, clone_back(lfs_work.path), "a.bin")
    assert work.with_config("credential.helper=").fails("push", "origin", "main:other")


def test_expired_actions_are_asked_for_again(lfs_hub, lfs_work, lfs_size, in_parts, clone_back):
    """The first answer is as old as if the client had slept: it asks again by itself."""
    with Proxy(lfs_hub.url) as proxy:
        base = proxy.listen()

        def old(status, headers, body):
            document = json.loads(body)
            for row in document.get("objects", []):
                for action in row.get("actions", {}).values():
                    action["expires_in"] = -5
            return status, headers, json.dumps(document).encode()

        proxy.order(lambda exchange: proxy.forward(exchange, rewrite=old), lambda exchange: exchange.path.endswith("/objects/batch") and exchange.method == "POST"
                    and exchange.headers.get("authorization"), times=1)
        lfs_work("remote", "set-url", "origin", lfs.url(base, lfs_work.path, lfs_hub.tokens['alice']))
        data = add(lfs_work, "a.bin", lfs_size)
        lfs_work("push", "-q", "origin", "main")
        asked = [seen for seen in proxy.count(status=200) if seen.path.endswith("/objects/batch")]
        assert len(asked) >= 2
    in_parts(lfs_hub, data)
    lfs.same_files(lfs_work, clone_back(lfs_work.path), "a.bin")


@pytest.mark.parametrize("engine", ["disk"], indirect=True)
def test_an_action_that_expires_on_its_way(passage, lfs_client, lfs_size, git, tmp):
    """Good when the client looked, not any more when the server does: 403, and git-lfs asks for another. With the agent, the next push does."""
    work = lfs_client.init(git, tmp / "work", passage.hub.url)
    work.path, url = passage.repo()
    data = add(work, "a.bin", lfs_size)

    def late(exchange):
        passage.hub.run("debug", "clock", "+2h")
        passage.bytes.forward(exchange)

    passage.bytes.order(late, passage.takes_an_object, times=1)
    if lfs_client.agent:
        assert "EOF" in work.fails("push", url, "main") and work.refs(url) == {}
    work("push", "-q", url, "main")
    puts = [seen for seen in passage.bytes.seen if passage.takes_an_object(seen)]
    batches = [seen for seen in passage.bytes.seen if seen.path.endswith("/objects/batch") and seen.status == 200]
    assert puts[0].status == 403 and "this link has expired" in json.loads(puts[0].kept)["message"]
    assert all(seen.status == 200 for seen in puts[1:]) and sum(seen.body_bytes for seen in puts[1:]) == lfs_size
    assert len(batches) == 2
    assert Api(passage.hub, work.path, passage.alice).download(data) == data
    passage.assert_stored(1)


def test_quota(engine_settings, fresh_hub, lfs_client, lfs_size, in_parts, git, tmp):
    """507 for what does not fit, by the names of the numbers; what fits is stored."""
    hub = fresh_hub(settings=engine_settings(), debug=True)
    alice = hub.user("alice")
    mib = lfs_size // MIB
    hub.run("quota", "alice", f"{mib + 1}MiB")
    path = hub.repo("alice/limited")
    work = lfs_client.init(git, tmp / "work", hub.url)
    work.path = path
    fits = add(work, "fits.bin", lfs_size)
    url = hub.git_url(path, alice)
    work("push", "-q", url, "main")
    in_parts(hub, fits)
    small = add(work, "small.bin", 1000)
    large = add(work, "large.bin", lfs_size, "too much")
    said = work.fails("push", url, "main")
    assert f"[{lfs.oid(large)}] alice has used {mib}.0 MiB of {mib + 1}.0 MiB" in said and "507" in said and lfs.oid(small) not in said, said
    api = Api(hub, path, alice)
    assert api.has(small) and not api.has(large)
    assert work.refs(url).keys() == {"HEAD", "refs/heads/main"} and work.refs(url)["refs/heads/main"] != work("rev-parse", "HEAD")
    hub.run("quota", "alice", f"{2 * mib + 1}MiB")
    work("push", "-q", url, "main")
    in_parts(hub, large)
    hub.fsck()


def test_429_is_waited_for(engine, fresh_hub, lax_store, lfs_client, git, tmp):
    """One upload at a time: whoever comes meanwhile is told when to come again, and does.

    Wherever the bytes go from the hub; so on S3 it is a bucket that can prove nothing. The agent would send its parts
    straight to that one: `test_lfs_hostile_s3` has a bucket that says 429.
    """
    if engine == "s3" and lfs_client.agent:
        pytest.skip("nothing of the agent's passes through the hub")
    there = s3.S3(lax_store.listen("client"), "lax").settings(tmp.name) if engine == "s3" else {}
    hub = fresh_hub(settings={**lfs.MULTIPART, **there, "lfs.uploads": "1"}, debug=True)
    alice, path = hub.user("alice"), hub.repo("alice/r")
    slow = content(100_000, "slow")
    action = Api(hub, hub.repo("alice/slow"), alice).grant(slow)["upload"]
    held = Raw(hub.url)
    held.request("PUT", action["href"].removeprefix(hub.url), {"Content-Length": str(len(slow)), "Content-Type": "application/octet-stream"}, slow[:50_000])
    with Proxy(hub.url) as proxy:
        base = proxy.listen()
        url = lfs.url(base, path, alice)
        work = lfs_client.init(git, tmp / "work", hub.url)
        work.path = path
        data = add(work, "a.bin", LARGE if lfs_client.agent else 100_000)
        pushing = work.start("push", url, "main", start_new_session=True)
        refused = wait.until(lambda: proxy.count(method="PUT", status=429), "the push is told to wait")
        assert int(refused[0].answer_headers["retry-after"]) >= 1
        if lfs_client.agent:
            _, err = pushing.communicate(timeout=120)
            assert pushing.returncode and "EOF" in text(err), text(err)
        held.send(slow[50_000:])
        assert held.answer().status == 200
        if lfs_client.agent:
            work("push", "-q", url, "main")
        else:
            _, err = pushing.communicate(timeout=120)
            assert pushing.returncode == 0, text(err)
    assert Api(hub, path, alice).download(data) == data


def test_wrong_bytes(lfs_hub, lfs_client, lfs_work, lfs_size, in_parts, engine):
    """The client's own store is damaged: the push fails with a reason, and the object is nowhere to be had."""
    data, other = add(lfs_work, "a.bin", lfs_size), content(lfs_size, "other")
    file = lfs.stored(lfs_work, lfs.oid(data))
    file.chmod(0o600)
    file.write_bytes(other)
    said = lfs_work.with_config("lfs.transfer.maxretries=1").fails("push", "origin", "main")
    if lfs_client.agent:
        assert "EOF" in said, said
        if engine == "s3":  # no part was bound to its bytes: they were read back
            lfs_hub.expect_log("the bytes uploaded are not those announced")
    elif engine == "disk":
        assert f"a.bin: LFS object {lfs.oid(data)} was not uploaded" in said, f"git-lfs keeps the reason of a 422 to itself: {said}"
    else:
        assert "Client error" in said, f"the bucket said no, and git-lfs does not show why: {said}"
    assert lfs_work("ls-remote", "origin") == ""
    at = Api(lfs_hub, lfs_work.path, lfs_hub.tokens["alice"])
    assert at.error("download", data)["code"] == 404 and at.error("download", other)["code"] == 404
    file.write_bytes(data)
    lfs_work("push", "-q", "origin", "main")
    assert at.download(data) == data
    in_parts(lfs_hub, data)


# -- broken off ---------------------------------------------------------------------------------------------------


def test_an_upload_that_breaks_off(passage, lfs_client, lfs_size, lfs_parts, git, tmp):
    """The connection ends in the middle of a body: git-lfs sends it again, and of the half nothing stays."""
    work = lfs_client.init(git, tmp / "work", passage.hub.url)
    work.path, url = passage.repo()
    add(work, "a.bin", lfs_size)
    passage.bytes.order(lambda exchange: passage.bytes.forward(exchange, cut_request=2 * MIB), passage.takes_an_object, times=1)
    if lfs_client.agent:
        said = work.fails("push", url, "main")
        assert "EOF" in said and work.refs(url) == {}, said
    work("push", "-q", url, "main")
    broken, *whole = [seen for seen in passage.bytes.seen if passage.takes_an_object(seen)]
    assert broken.status == 0 and 2 * MIB < broken.body_bytes < broken.length
    assert sum(seen.body_bytes for seen in whole) == lfs_size, "sent again, once"
    assert passage.is_part(broken) == bool(lfs_parts) and len([seen for seen in whole if passage.is_part(seen)]) == lfs_parts
    copy = lfs_client.of(git, passage.hub.url).clone(url, tmp / "copy")
    lfs.same_files(work, copy, "a.bin")
    passage.assert_stored(1)


def test_a_download_that_breaks_off(passage, lfs_client, lfs_size, lfs_parts, git, tmp):
    """The client takes it up where it broke, by a range."""
    work = lfs_client.init(git, tmp / "work", passage.hub.url)
    work.path, url = passage.repo()
    add(work, "a.bin", lfs_size)
    work("push", "-q", url, "main")
    assert len(passage.parts()) == lfs_parts
    passage.bytes.order(lambda exchange: passage.bytes.forward(exchange, cut_answer=2 * MIB), passage.gives_an_object, times=1)
    copy = lfs_client.of(git, passage.hub.url).clone(url, tmp / "copy")
    lfs.same_files(work, copy, "a.bin")
    broken, rest = [seen for seen in passage.bytes.seen if passage.gives_an_object(seen)]
    assert (broken.status, broken.sent_bytes) == (200, 2 * MIB)
    assert rest.status == 206 and rest.headers["range"] == f"bytes={lfs_size - rest.sent_bytes}-{lfs_size - 1}"
    assert rest.answer_headers["content-range"] == f"bytes {lfs_size - rest.sent_bytes}-{lfs_size - 1}/{lfs_size}"
    assert rest.sent_bytes < lfs_size, "not from the start"


def test_killed_at_half_then_resumed(passage, lfs_client, git, tmp):
    """kill -9 of git and git-lfs in the middle of the body; the next push goes through, and of the first nothing stays."""
    size = LARGE if lfs_client.agent else 24 * MIB
    work = lfs_client.init(git, tmp / "work", passage.hub.url)
    work.path, url = passage.repo()
    add(work, "a.bin", size)
    reached, go_on = threading.Event(), threading.Event()
    bodies = []

    def stall(exchange):
        def edit(piece):
            if sum(other.body_bytes for other in bodies) >= size // 2:
                reached.set()
                go_on.wait(60)
            return piece
        bodies.append(exchange)
        passage.bytes.forward(exchange, edit=edit)

    passage.bytes.order(stall, passage.takes_an_object)
    pushing = work.start("push", url, "main", start_new_session=True)
    assert reached.wait(60), "half of it is on its way"
    lfs.end(pushing)
    passage.bytes.obey()
    go_on.set()
    assert passage.is_part(bodies[0]) == lfs_client.agent
    assert work("ls-remote", url) == ""
    work("push", "-q", url, "main", seconds=240)
    copy = lfs_client.of(git, passage.hub.url).clone(url, tmp / "copy")
    lfs.same_files(work, copy, "a.bin")
    passage.assert_stored(1)


def test_a_fetch_that_ended_at_half_is_resumed(passage, lfs_client, git, tmp):
    """By another process. git-lfs puts aside what it has when it gives up; killed, it cannot, and starts anew."""
    size = 24 * MIB
    work = lfs_client.init(git, tmp / "work", passage.hub.url)
    work.path, url = passage.repo()
    data = add(work, "a.bin", size)
    work("push", "-q", url, "main")
    copy = lfs_client.of(git, passage.hub.url).at(tmp, GIT_LFS_SKIP_SMUDGE="1").clone(url, tmp / "copy").with_config("lfs.transfer.maxretries=1")
    kill_at(passage, size // 2, lambda: copy.start("lfs", "fetch", start_new_session=True))
    passage.bytes.order(ending_early(passage.bytes, size // 2), passage.gives_an_object, times=1)
    passage.bytes.order(gone, passage.gives_an_object)
    copy.fails("lfs", "fetch")
    passage.bytes.obey()
    assert not lfs.stored(copy, lfs.oid(data)).exists()
    copy("lfs", "fetch")
    assert lfs.stored(copy, lfs.oid(data)).read_bytes() == data
    killed, ended, rest = [seen for seen in passage.bytes.seen if passage.gives_an_object(seen) and seen.status]
    assert (killed.status, ended.status) == (200, 200) and "range" not in ended.headers
    assert_rest(rest, size, ended.sent_bytes)


@pytest.mark.parametrize("client", ["curl", "huggingface_hub 0.36.2"])
def test_a_download_killed_at_half_is_resumed(passage, git, tmp, client):
    """kill -9 of a client that writes where it looks at the next start."""
    size = 24 * MIB
    work = lfs.CLIENTS[0].init(git, tmp / "work", passage.hub.url)
    work.path, url = passage.repo()
    data = add(work, "a.bin", size)
    work("push", "-q", url, "main")
    target = tmp / "copy/a.bin"
    target.parent.mkdir()
    if client == "curl":
        href = Api(passage.hub, work.path, passage.alice).grant(data, "download")["download"]["href"]
        command, environment = ["curl", "-sSf", "--noproxy", "*", "-C", "-", "-o", target, href.replace(passage.hub.url, passage.base)], None
    else:
        hf = Hf(passage.base, passage.alice, tmp / "hf", VERSIONS[client.split()[1]])
        command, environment = [hf.site / "bin/hf", "download", work.path, "a.bin", "--local-dir", target.parent], hf.environment

    def kept():
        return max((file.stat().st_size for file in target.parent.rglob("*") if file.is_file()), default=0)

    kill_at(passage, size // 2, lambda: subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True),
            lambda: kept() >= 8 * MIB)
    had = kept()
    subprocess.run(command, env=environment, check=True, timeout=120, capture_output=True)
    assert target.read_bytes() == data
    killed, rest = [seen for seen in passage.bytes.count(method="GET", role="client") if seen.sent_bytes > MIB]
    assert killed.status == 200 and size // 2 <= killed.sent_bytes < size
    assert_rest(rest, size, had)


def assert_rest(exchange, size, start):
    """It gave what an object of `size` has from `start` on, and was asked for that."""
    assert exchange.status == 206 and exchange.headers["range"] in (f"bytes={start}-{size - 1}", f"bytes={start}-")
    assert exchange.answer_headers["content-range"] == f"bytes {start}-{size - 1}/{size}"
    assert 0 < exchange.sent_bytes == size - start < size


def kill_at(passage, count, start, has_kept=lambda: True):
    """Ends what `start()` started in the middle of an answer, once so many bytes are sent and `has_kept()`."""
    reached, go_on = threading.Event(), threading.Event()
    stalled = []

    def stall(exchange):
        def pace():
            if exchange.sent_bytes >= count and not reached.is_set():
                stalled.append(exchange)
                reached.set()
                go_on.wait(60)
        passage.bytes.forward(exchange, pace=pace)

    passage.bytes.order(stall, lambda exchange: exchange.method == "GET")
    process = start()
    assert reached.wait(60), "half of it is on its way"
    wait.until(has_kept, "the client writes it down")
    lfs.end(process)
    passage.bytes.obey()
    go_on.set()
    wait.until(lambda: stalled[0] in passage.bytes.seen, "its connection is over")


def ending_early(proxy, count):
    """After so many bytes of the answer the connection ends, not by a reset: all of them arrive."""
    def end(exchange):
        with contextlib.suppress(Cut):
            proxy.forward(exchange, cut_answer=count)
        exchange.handler.close_connection = True
    return end


def gone(exchange):
    raise Cut


# -- collections --------------------------------------------------------------------------------------------------


def test_gc_during_pushes(lfs_hub, lfs_client, lfs_work, lfs_size, in_parts, clone_back):
    """What is uploaded and not yet referenced is not garbage."""
    stop = threading.Event()
    failures = []

    def collect():
        while not stop.is_set():
            done = lfs_hub.run("gc", check=False)
            if done.returncode:
                failures.append(done.stderr)
                return

    collector = threading.Thread(target=collect)
    collector.start()
    sizes = [lfs_size] * 2 if lfs_client.agent else [200_000] * 6
    try:
        for number, size in enumerate(sizes):
            data = add(lfs_work, f"n{number}.bin", size, number)
            lfs_work("push", "-q", "origin", "main")
            if lfs_client.agent:
                in_parts(lfs_hub, data)
    finally:
        stop.set()
        collector.join(60)
    assert not failures, failures
    lfs.same_files(lfs_work, clone_back(lfs_work.path), *(f"n{number}.bin" for number in range(len(sizes))))


@pytest.mark.parametrize("collection", [("+30d", "gc"), ("+0d", "gc", "--purge")], ids=["gc after 30 days", "purge"])
def test_a_collection_between_upload_and_push(passage, lfs_client, git, tmp, collection):
    """It takes an object that no ref names yet: the push is refused by name, and the next one brings the object again.

    In one repository the objects are uploaded long before; in the other the collection comes while the server is reading
    the push.
    """
    clock, *command = collection
    collected = []

    def collect(path):
        passage.hub.run("debug", "clock", clock)
        passage.hub.run(*command, *([path] if "--purge" in command else []))
        passage.hub.run("maintain", "--now")
        collected.append(path)

    for name in ("before", "during"):
        work = lfs_client.init(git, tmp / name, passage.hub.url)
        work.path, url = passage.repo(name)
        data = add(work, "deep/a.bin", 100_000)
        work("lfs", "push", url, "main")
        at = Api(passage.hub, work.path, passage.alice)
        assert at.has(data)
        if name == "before":
            collect(work.path)
        else:
            passage.door.order(collecting(passage.door, lambda: collect(work.path)), lambda exchange: exchange.path.endswith("/git-receive-pack")
                               and exchange.method == "POST", times=1)
        done = work.at(work.cwd, GIT_LFS_SKIP_PUSH="1").run("push", url, "main", check=False)
        assert collected[-1] == work.path
        said = text(done.stderr)
        assert not at.has(data), "it was due"
        assert done.returncode and "deep/a.bin" in said and lfs.oid(data) in said, said
        assert work.refs(url) == {}
        work("push", "-q", url, "main")
        copy = lfs_client.of(git, passage.hub.url).clone(url, tmp / f"{name}-copy")
        lfs.same_files(work, copy, "deep/a.bin")
    passage.hub.fsck()
    passage.assert_stored(2)


def collecting(proxy, collect):
    """The head of a request goes on, then something happens, then its body."""
    def held(exchange):
        done = []

        def edit(piece):
            if not done:
                done.append(collect())
            return piece
        proxy.forward(exchange, edit=edit)
    return held


# -- a full disk --------------------------------------------------------------------------------------------------


def free(directory):
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def fill_up(ballast):
    """Into this file goes what is free now, though others write meanwhile; returns its size."""
    room = free(ballast.parent)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(room >> 16):
            file.write(bytes(1 << 16))
    return ballast.stat().st_size


@pytest.mark.parametrize("place", ["data directory", "storage.url"])
def test_a_full_disk(small_disk, stopped_hub, lfs_client, git, tmp, place):
    """What does not fit is refused, at once or in the middle; nothing of it stays, and the hub goes on."""
    elsewhere = {"storage.url": f"file:{small_disk}"} if place == "storage.url" else {}
    hub = stopped_hub(settings={"storage.min_free": "4MiB", "lfs.multipart_from": "8MiB", **elsewhere}, debug=True)
    if not elsewhere:
        hub.data = small_disk
    hub.start()
    staging = small_disk / (".granary-staging" if elsewhere else "staging")
    alice, path = hub.user("alice"), hub.repo("alice/r")
    url, at = hub.git_url(path, alice), Api(hub, path, alice)
    plain_url = hub.git_url(hub.repo("alice/plain"), alice)
    work = lfs_client.init(git, tmp / "work", hub.url).with_config("lfs.transfer.maxretries=1")
    work.path = path

    def refused(url):
        said = work.fails("push", url, "main")
        assert "EOF" in said if lfs_client.agent else "nearly full" in said or "is full" in said, said
        assert work.refs(url) == {}
        if lfs_client.agent:  # which might still send the other parts, so they stay until they are due
            ballast.unlink(missing_ok=True)
            hub.run("debug", "clock", "+30d")
            hub.run("maintain", "--now")
        wait.until(lambda: not list(staging.iterdir()), "nothing stays in staging")
        wait.until(lambda: free(small_disk) > 6 * MIB, "its room is free again")
        assert not [file for file in (small_disk / "objects").rglob("*") if file.is_file()]

    ballast = small_disk / "ballast"
    too_large = add(work, "a.bin", LARGE)
    refused(url)
    work("reset", "-q", "--hard", "HEAD~1")
    data = add(work, "a.bin", 24 * MIB)
    with Proxy(hub.url) as proxy:
        bodies, filled = [], []

        def fill(exchange):
            def edit(piece):
                if not filled and sum(other.body_bytes for other in bodies) >= 12 * MIB:
                    filled.append(fill_up(ballast))
                return piece
            bodies.append(exchange)
            proxy.forward(exchange, edit=edit)

        proxy.order(fill, lambda exchange: exchange.method == "PUT")
        refused(lfs.url(proxy.listen(), path, alice))
        assert filled
    plain = git.init(tmp / "plain")
    plain.commit()
    # The hub looks at the disk once a second.
    wait.until(lambda: plain.run("push", "-q", plain_url, "main", check=False).returncode == 0, "small pushes are taken again")
    ballast.unlink(missing_ok=True)
    wait.until(lambda: work.run("push", "-q", url, "main", check=False).returncode == 0, "there is room again", seconds=60)
    assert at.download(data) == data and not at.has(too_large)
    hub.fsck()
    hub.stop()
