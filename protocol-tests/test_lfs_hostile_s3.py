"""A bucket that is down, slow or lies. Nothing unproven is served, nothing acknowledged is lost, and people are told."""

import threading

import pytest

from harness import lfs, lfs_api, wait
from harness.lfs import MIB, content
from harness.lfs_api import Api, message
from harness.wire import Raw

LARGE = 64 * MIB + 1
STORE = "storage|object store|bucket|S3|s3"


@pytest.fixture(params=[item for item in lfs.CLIENTS if not item.agent], ids=lambda item: item.name)
def client(request):
    return request.param


@pytest.fixture
def work(watched, client, git, tmp):
    work = client.init(git, tmp / "work", watched.hub.url)
    work("remote", "add", "origin", watched.url)
    work.data = content(5 * MIB + 1, client.name)
    work.commit("a.bin", work.data)
    return work


def objects(exchange):
    return "/objects/" in exchange.path


def clients_put(exchange):
    return exchange.role == "client" and exchange.method == "PUT"


def slow_down(exchange):
    exchange.answer(503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>", Content_Type="application/xml")


def broken(exchange):
    exchange.answer(500, b"<Error><Code>InternalError</Code></Error>", Content_Type="application/xml")


def arrives(watched, client, git, tmp, work):
    work("push", "-q", "origin", "main", seconds=200)
    copy = client.of(git).clone(watched.url, tmp / "copy")
    lfs.same_files(work, copy, "a.bin")
    watched.hub.fsck()


@pytest.mark.parametrize("role", ["client", "hub"])
@pytest.mark.parametrize("failure", [slow_down, broken], ids=["slow down", "internal error"])
def test_an_error_now_and_then(watched, client, git, tmp, work, role, failure):
    watched.hub.expect_log(STORE)
    watched.store.order(failure, lambda exchange: exchange.role == role and objects(exchange), times=2)
    arrives(watched, client, git, tmp, work)


def test_an_error_but_the_object_is_kept(watched, client, git, tmp, work):
    """The client is told no, and the bytes are there nevertheless."""
    def kept(exchange):
        connection, response = watched.store.ask(exchange)
        response.read()
        connection.close()
        exchange.answer(500, b"<Error><Code>InternalError</Code></Error>")

    watched.store.order(kept, clients_put, times=1)
    arrives(watched, client, git, tmp, work)


def test_wrong_bytes_are_taken_and_kept(watched, client, git, tmp, work):
    """What lies there is not what was announced: the push fails, nobody gets it, and the next one repairs it."""
    def swapped(exchange):
        def before_the_answer(*answer):
            watched.bucket.put(exchange.path.split("/", 2)[2], content(len(work.data), "swapped"))
            return answer

        watched.store.forward(exchange, rewrite=before_the_answer)

    watched.hub.expect_log(lfs.oid(work.data))
    watched.store.order(swapped, clients_put)
    said = work.fails("push", "origin", "main", seconds=200)
    assert lfs.oid(work.data)[:8] in said or "SHA-256" in said, said
    assert work("ls-remote", "origin") == "" and not watched.api.has(work.data)
    watched.store.obey()
    arrives(watched, client, git, tmp, work)


def test_wrong_bytes_said_to_be_a_failure_and_kept(watched):
    """BadDigest, yet the object stays: verify finds out."""
    data, other = content(100_000, "kept"), content(100_000, "bad")

    def kept(exchange):
        body = exchange.whole_body()
        watched.bucket.put(exchange.path.split("/", 2)[2], body)
        exchange.answer(400, b"<Error><Code>BadDigest</Code></Error>")

    watched.hub.expect_log(lfs.oid(data))
    watched.store.order(kept, clients_put, times=1)
    action = watched.api.grant(data)
    assert lfs_api.put(action["upload"], other).status == 400
    assert lfs_api.verify(action["verify"], data).status // 100 == 4
    assert not watched.api.has(data)
    watched.api.upload(data)
    assert watched.api.download(data) == data


def test_a_part_is_changed_on_its_way(watched):
    """The composite checksum of a multipart upload proves nothing: the reading back does."""
    data = content(LARGE, "parts")
    flipped = []

    def flip(exchange):
        def edit(piece):
            if not flipped:
                flipped.append(True)
                return bytes([piece[0] ^ 1]) + piece[1:]
            return piece
        watched.store.forward(exchange, edit=edit)

    watched.hub.expect_log(lfs.oid(data))
    watched.store.order(flip, lambda exchange: clients_put(exchange) and exchange.query.get("partNumber") == "7", times=1)
    action = watched.hf.grant(data)["upload"]
    answer = lfs_api.complete(action, data, lfs_api.put_parts(action, data))
    assert answer.status // 100 == 4, answer.text()
    assert not watched.hf.has(data)
    watched.hf.upload(data)
    assert watched.hf.download(data) == data
    watched.age()
    assert len(watched.keys()) == 1, "the wrong bytes are gone"


def test_a_push_names_what_turned_out_corrupt(watched, git, tmp):
    data = content(LARGE, "late")
    gate = threading.Event()

    def hold_then_lie(exchange):
        gate.wait(60)
        watched.bucket.put(exchange.path.split("/", 2)[2], content(LARGE, "lie"))
        watched.store.forward(exchange)

    watched.hub.expect_log(lfs.oid(data))
    watched.store.order(hold_then_lie, lambda exchange: exchange.role == "hub" and exchange.reads_an_object, times=1)
    action = watched.hf.grant(data)["upload"]
    assert lfs_api.complete(action, data, lfs_api.put_parts(action, data)).status == 200
    work = lfs.CLIENTS[0].init(git, tmp / "work")
    lfs.commit_pointer(work, "weights.bin", data)
    pushing = work.at(work.cwd, GIT_LFS_SKIP_PUSH="1").start("push", watched.url, "main")
    gate.set()
    _, err = pushing.communicate(timeout=100)
    assert pushing.returncode and "weights.bin" in err.decode() and lfs.oid(data) in err.decode(), err.decode()
    error = watched.hf.error("download", data)
    assert error["code"] == 404 and error["message"]


def test_the_reading_back_breaks_off(watched):
    """It goes on by a range; the proof is of all bytes."""
    data = content(LARGE, "broken")
    watched.hub.expect_log(f"{STORE}|read")
    watched.store.order(lambda exchange: watched.store.forward(exchange, cut_answer=10 * MIB),
                        lambda exchange: exchange.role == "hub" and exchange.reads_an_object, times=2)
    watched.hf.upload(data)
    wait.until(lambda: watched.api.has(data), "proven", seconds=60)
    assert watched.api.download(data) == data
    watched.hub.fsck()


def test_ranges_are_not_understood(watched):
    """200 and everything, where a part was asked for."""
    data = content(LARGE, "ranges")
    watched.hub.expect_log(f"{STORE}|read|range")

    def whole(exchange):
        body = watched.bucket.get(exchange.path.split("/", 2)[2])
        exchange.answer(200, body, ETag='"x"', Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT")

    watched.store.order(lambda exchange: watched.store.forward(exchange, cut_answer=10 * MIB),
                        lambda exchange: exchange.role == "hub" and exchange.reads_an_object, times=1)
    watched.store.order(whole, lambda exchange: exchange.role == "hub" and exchange.reads_an_object)
    watched.hf.upload(data)
    wait.until(lambda: watched.api.has(data), "proven", seconds=60)
    watched.store.obey()
    assert watched.api.download(data) == data


def test_down_in_the_middle(watched, client, git, tmp, work):
    """Git without LFS goes on; uploads say what is the matter; afterwards all is well."""
    watched.hub.expect_log(STORE)
    stored = content(1000, "stored")
    watched.api.upload(stored)
    watched.store.is_down = True
    action = None
    answer = watched.api.batch("upload", work.data)
    if answer.status == 200:  # nothing but signing is needed
        row, = watched.api.ask("upload", work.data)
        action = row["actions"]
        said = lfs_api.verify(action["verify"], work.data)
        assert said.status in (502, 503, 504) and message(said)
    else:
        assert answer.status == 503 and message(answer)
    assert watched.hf.batch("upload", (lfs.oid(b"large"), LARGE)).status in (200, 503)
    plain = git.init(tmp / "plain")
    plain.commit()
    plain("push", "-q", watched.hub.git_url(watched.hub.repo("alice/plain"), watched.alice), "main")
    assert watched.hub.is_ready()
    watched.hub.run("maintain", "--now")
    watched.store.is_down = False
    wait.until(lambda: watched.api.batch("upload", work.data).status == 200, "the hub notices", seconds=60)
    arrives(watched, client, git, tmp, work)
    assert watched.api.download(stored) == stored


def test_down_at_the_start(fresh_hub, bucket, store, git, tmp):
    """The hub starts; git works; LFS comes with the bucket."""
    settings = bucket.settings(tmp.name, endpoint=store.listen("hub"), public=store.listen("client"))
    store.is_down = True
    hub = fresh_hub(settings={**settings, "storage.s3_timeout": "2s"}, debug=True)
    hub.expect_log(STORE)
    path = hub.repo("admin/r")
    work = git.init(tmp / "work")
    work.commit()
    work("push", "-q", hub.git_url(path, hub.admin_token), "main")
    at = Api(hub, path, hub.admin_token)
    data = content(1000, "start")
    answer = at.batch("upload", data)
    assert answer.status == 503 and message(answer)
    store.is_down = False

    def comes_back():
        hub.run("debug", "clock", "+1h")
        hub.run("maintain", "--now", check=False)
        return at.batch("upload", data).status == 200

    wait.until(comes_back, "the bucket is asked again", seconds=60, every=0.5)
    at.upload(data)
    assert at.download(data) == data


def test_slow(watched):
    """While the bucket does not answer a request of the hub's, the hub answers everybody who needs no answer of the bucket."""
    asked, release = threading.Event(), threading.Event()

    def late(exchange):
        asked.set()
        release.wait(60)
        watched.store.handle(exchange)

    watched.store.order(late, lambda exchange: exchange.role == "hub")
    data, other = content(1000, "slow"), content(1000, "other")
    uploading = threading.Thread(target=watched.api.upload, args=(data,))
    uploading.start()
    assert asked.wait(60), "the hub asks the bucket for the object"
    for _ in range(20):
        assert watched.api.batch("download", (lfs.oid(b"x"), 1)).status == 200
        assert lfs_api.put(watched.api.grant(other)["upload"], other).status == 200, "to the bucket itself"
    assert not watched.store.count(role="hub") and uploading.is_alive(), "all that while the slow one was not answered"
    assert not watched.api.has(data)
    release.set()
    uploading.join(60)
    assert watched.api.has(data)


@pytest.mark.parametrize("lfs_client", lfs.CLIENTS, ids=lambda item: item.name)
def test_a_bucket_that_has_enough(watched, lfs_client, git, tmp):
    """429 and Retry-After by the bucket itself: git-lfs waits, the agent ends and the next push goes through."""
    size = LARGE if lfs_client.agent else 100_000
    work = lfs_client.init(git, tmp / "work", watched.hub.url)
    work("remote", "add", "origin", watched.url)
    work.commit("a.bin", content(size, lfs_client.name))
    watched.store.order(lambda exchange: exchange.answer(429, Retry_After="1"), clients_put, times=1)
    if lfs_client.agent:
        said = work.fails("push", "origin", "main")
        assert "EOF" in said, said
    arrives(watched, lfs_client, git, tmp, work)
    assert [seen.status for seen in watched.store.seen if clients_put(seen)].count(429) == 1


def test_wrong_bytes_through_the_hub(lax):
    """Where the bucket checks nothing the hub does, before the key has a row."""
    data = content(LARGE, "through")
    upload = lax.api.grant(data)["upload"]
    assert upload["href"].startswith(lax.hub.url), "to us"
    answer = lfs_api.put(upload, content(LARGE, "wrong"))
    assert answer.status // 100 == 4 and lfs.oid(data) in message(answer)
    assert not lax.api.has(data) and not lax.store.uploads and not [key for key in lax.store.objects if "/objects/" in key]
    assert lfs_api.put(upload, data).status == 200
    assert lax.api.download(data) == data


def test_a_client_gone_at_half_through_the_hub(lax):
    data = content(LARGE, "gone")
    upload = lax.api.grant(data)["upload"]
    raw = Raw(lax.hub.url)
    raw.request("PUT", upload["href"].removeprefix(lax.hub.url), {"Content-Length": str(LARGE)}, data[: LARGE // 2])
    wait.until(lambda: lax.store.uploads, "parts are on their way")
    raw.socket.close()
    wait.until(lambda: not lax.store.uploads, "the multipart upload is given up")
    assert not lax.api.has(data)
    lax.api.upload(data)


def test_the_bucket_fails_under_a_stream(lax):
    """An error in the middle of a proxied upload reaches the client as one; nothing of it stays."""
    lax.hub.expect_log(STORE)
    data = content(LARGE, "fails")
    upload = lax.api.grant(data)["upload"]
    lax.store.order(broken, lambda exchange: exchange.query.get("partNumber") == "3")
    answer = lfs_api.put_until_answered(upload, data)
    assert answer.status == 503 and message(answer)
    lax.store.obey()
    assert not lax.api.has(data)
    assert lfs_api.put(lax.api.grant(data)["upload"], data).status == 200
    assert lax.api.download(data) == data
