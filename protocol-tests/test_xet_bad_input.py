"""What the CAS refuses, in which words, and that nothing of it stays or is given out: xorbs and shards that lie, and what goes stale."""

import contextlib
import json
import os
import random
import struct
import threading
import time

import pytest

from harness import lfs, lfs_api, metrics, wait, wire, xet
from harness.api import HubApi
from harness.hf import Hf
from harness.httpd import Proxy
from harness.lfs import MIB, content
from harness.xet import CHUNK, Cas, File, Term, Xorb

NOWHERE = "0123456789abcdef" * 4
SAYS_ANOTHER = "another SHA-256 than its uploader said"


@pytest.fixture
def made(hub):
    """made(owner, public=True): the path of a new model."""
    def of(owner="alice", public=False):
        answer = HubApi(hub.url, hub.tokens[owner]).create(name := f"{owner}/b{next(hub.names)}", private=not public)
        assert answer.status == 200, answer.body
        return name
    return of


@pytest.fixture
def cas(hub, made):
    """cas(name, user, scope): the CAS for a model."""
    def of(name=None, user="alice", scope="write"):
        return Cas(hub, hub.tokens.get(user), f"models/{name or made(user)}", scope)
    return of


def refused(answer, *words, status=400):
    assert answer.status == status, (answer.status, answer.body[:300])
    message = answer.json()["error"]
    assert all(word in message for word in words), message
    assert answer.headers["x-request-id"]
    return message


# -- xorbs --------------------------------------------------------------------------------------------------------


def bomb(size):
    """A chunk that says 128 KiB and unpacks to `size`."""
    body = xet.lz4.frame.compress(bytes(size))
    return xet.header(len(body), xet.LZ4, min(size, xet.CHUNK_MAX)) + body


GOOD = xet.packed(content(1000), xet.NONE)
FRAME = xet.lz4.frame.compress(content(1000))
BAD_XORBS = {
    "nothing": (b"", "no chunks"),
    "only a footer": (Xorb((b"x",)).footer(), "no chunks"),
    "half a header": (GOOD + GOOD[:5], "ends"),
    "half a chunk": (GOOD + GOOD[:-1], "ends"),
    "another version": (xet.header(4, xet.NONE, 4, version=1) + b"abcd", "version"),
    "another scheme": (xet.header(4, 3, 4) + b"abcd", "scheme"),
    "no content": (xet.header(0, xet.NONE, 0), "content"),
    "over 128 KiB": (xet.packed(bytes(xet.CHUNK_MAX + 1), xet.NONE), "content"),
    "over 128 KiB packed": (xet.packed(content(xet.CHUNK_MAX + 1), xet.LZ4), "content"),
    "packed is huge": (xet.header(0xFFFFFF, xet.LZ4, 100) + bytes(100), "takes"),
    "lengths differ": (xet.header(4, xet.NONE, 5) + b"abcd", "content"),
    "no frame": (xet.header(4, xet.LZ4, 4) + b"abcd", "LZ4"),
    "half a frame": (xet.header(500, xet.LZ4, 1000) + FRAME[:500], "compressed"),
    "more behind the frame": (xet.header(len(FRAME) + 4, xet.LZ4, 1000) + FRAME + b"abcd", "compressed"),
    "a frame with less": (xet.header(len(FRAME), xet.LZ4, 1001) + FRAME, "compressed"),
    "a frame with more": (xet.header(len(FRAME), xet.LZ4, 999) + FRAME, "compressed"),
    "a bomb": (bomb(30 * MIB), "compressed"),
    "a bomb of zero": (xet.header(len(FRAME), xet.BG4, 1) + FRAME, "compressed"),
    "text": (b"this is no xorb at all, is it", ""),
}


@pytest.mark.parametrize("what", BAD_XORBS)
def test_a_xorb_that_is_none(cas, what):
    at = cas()
    body, word = BAD_XORBS[what]
    refused(at.put_xorb(None, body, NOWHERE), word)
    assert at.head(f"/v1/xorbs/default/{NOWHERE}").status == 404


def test_a_xorb_that_is_another(cas):
    at = cas()
    xorb = Xorb.of(content(300_000, at.repo))
    refused(at.put_xorb(xorb, name=NOWHERE), xorb.name, NOWHERE)
    refused(at.put_xorb(xorb, xorb.body[:-1] + b"?"), xorb.name)
    # A footer is not read: neither its hash nor its chunks count.
    liar = Xorb.of(content(200_000, f"{at.repo} liar"))
    refused(at.put_xorb(xorb, liar.body + xorb.footer()), xorb.name)
    assert at.put_xorb(xorb, xorb.body + liar.footer(), xorb.name).status == 200
    file = File((Term(xorb),))
    assert at.put_shard(file).status == 200 and at.read(file.name) == file.data
    # Where chunks are is computed, too.
    other = Xorb.of(content(200_000, f"{at.repo} other"))
    assert at.put_xorb(other, other.body + b"XETBLOB" + os.urandom(5000)).status == 200
    at.put_shard(file := File((Term(other, 1, 3),)))
    assert at.read(file.name) == file.data


def test_a_xorb_that_is_too_large(hub, cas):
    """64 MiB of content are taken, with the headers of chunks on top; more is not, whether its length is told or not."""
    at = cas()
    most = Xorb.of(content(xet.XORB_MAX, at.repo), xet.CHUNK_MAX)
    assert len(most.body) > xet.XORB_MAX and at.put_xorb(most).status == 200
    more = most.body + xet.packed(content(CHUNK * 2), xet.NONE)
    for body in (more, most.body * 2):
        refused(at.post_until_answered(f"/v1/xorbs/default/{NOWHERE}", body), "more than", status=413)
    tiny = b"".join(xet.packed(number.to_bytes(4, "big"), xet.NONE) for number in range(8193))
    for body, word in ((tiny, "8192"), (most.body[: 10 * (CHUNK * 2 + 8)] + b"XETBLOB" + bytes(MIB), "footer")):
        refused(at.post_until_answered(f"/v1/xorbs/default/{NOWHERE}", body), word, status=413)
    # Announced, it is refused before it is read; unannounced, once it is too much.
    path = f"{at.url.removeprefix(hub.url)}/v1/xorbs/default/{NOWHERE}"
    with wire.Raw(hub.url) as raw:
        raw.request("POST", path, {"Authorization": f"Bearer {at.token}", "Content-Length": str(200 * MIB)})
        assert raw.answer().status == 413
    with wire.Raw(hub.url) as raw, contextlib.suppress(ConnectionError):
        raw.request("POST", path, {"Authorization": f"Bearer {at.token}", "Transfer-Encoding": "chunked"}, length=False)
        for _ in range(70):
            raw.send(b"%x\r\n%s\r\n" % (len(more) // 66, more[: len(more) // 66]))
    assert at.head(f"/v1/xorbs/default/{NOWHERE}").status == 404


# -- shards -------------------------------------------------------------------------------------------------------


def test_shards_that_lie(cas):
    """About a xorb, a range, a length, a hash: each is told which file is wrong, and it is no file of the repository."""
    at = cas()
    file = File.of(content(10 * CHUNK, at.repo))
    xorb, = file.xorbs
    assert at.put_xorb(xorb).status == 200
    lies = {
        "a xorb that is nowhere": (File((Term(xorb, says_xorb=xet.of_text(NOWHERE)),)), [NOWHERE, "HF_XET_CACHE"]),
        "beyond its chunks": (File((Term(xorb, says_range=(0, 11)),)), ["chunks 0 to 11"]),
        "far beyond": (File((Term(xorb, says_range=(2**31, 2**31 + 1)),)), [""]),
        "an empty range": (File((Term(xorb, says_range=(3, 3)),)), ["range"]),
        "backwards": (File((Term(xorb, says_range=(5, 2)),)), ["range"]),
        "other chunks": (File((Term(xorb, 0, 5, says_range=(5, 10)),)), ["verification hash"]),
        "too long": (File((Term(xorb, says_length=10 * CHUNK + 1),)), ["bytes"]),
        "too short": (File((Term(xorb, says_length=0),)), ["bytes"]),
        "a guessed verification": (File((Term(xorb, says_hash=xet.chunk_hash(b"guessed")),)), ["verification hash"]),
        "no verification": (file.saying(flags=xet.SHA256), ["no verification"]),
        "no SHA-256": (file.saying(flags=xet.VERIFICATION), ["no SHA-256"]),
        "another file": (file.saying(says_hash=xet.of_text(NOWHERE)), [NOWHERE, file.name]),
        "another file's order": (File((Term(xorb, 5, 10), Term(xorb, 0, 5))).saying(says_hash=file.hash), [file.name]),
        "no terms": (File(()).saying(says_hash=file.hash), ["no terms"]),
        "flags that are none": (file.saying(flags=0xFFFFFFFF), ["flags"]),
    }
    for what, (lie, words) in lies.items():
        for route in ("/v1/shards", "/v2/shards"):
            answer = at.put_shard(lie, xorbs=[xorb], route=route)
            if answer.status == 200:
                told = json.loads(answer.body.splitlines()[-1])
                assert (told["type"], told["retryable"]) == ("error", False) and all(word in told["message"] for word in words), (what, told)
            else:
                refused(answer, *words)
        assert at.plan(lie.name).status == at.plan(file.name).status == 404, what
        assert at.hub.get(f"/api/{at.repo}").status == 200 and at.commit(a_bin=file).status == 400, what
    # One bad file among good ones: none of them.
    good = File((Term(xorb, 0, 3),))
    refused(at.put_shard(good, lies["another file"][0]), NOWHERE)
    assert at.plan(good.name).status == 404
    assert at.put_shard(good, file).status == 200 and at.read(file.name) == file.data and at.read(good.name) == good.data


def test_shards_that_are_none(fresh_hub):
    hub = fresh_hub(debug=True)
    hub.expect_log(SAYS_ANOTHER)  # a bit of that may be turned, too
    HubApi(hub.url, hub.admin_token).create("admin/x")
    at = Cas(hub, hub.admin_token, "models/admin/x")
    file = at.upload(File.of(content(100_000, at.repo)))
    whole = xet.shard(file, xorbs=file.xorbs)
    bodies = {
        "nothing": b"", "text": b"not a shard" * 100, "half a header": whole[:40], "another tag": b"X" + whole[1:],
        "another version": whole[:32] + struct.pack("<Q", 3) + whole[40:], "no bookend": whole[:-48], "cut": whole[:100],
        "cut in the files": whole[: 48 * 3], "many terms announced": whole[:48] + file.hash + struct.pack("<IIQ", 0xC0000000, 2**32 - 1, 0) + bytes(480),
        "many chunks announced": xet.shard()[:96] + file.xorbs[0].hash + struct.pack("<IIII", 0, 2**32 - 1, 0, 0) + bytes(480),
    }
    for what, body in bodies.items():
        for route in ("/v1/shards", "/v2/shards"):
            answer = at.post(route, body)
            assert answer.status == 400 or json.loads(answer.body.splitlines()[-1])["type"] == "error", what
    source = random.Random(3)
    for _ in range(100):
        body = bytearray(whole)
        for _ in range(source.randint(1, 6)):
            body[source.randrange(len(body))] = source.randrange(256)
        answer = at.post("/v1/shards", bytes(body))
        assert answer.status in (200, 400), answer.status
    assert at.read(file.name) == file.data
    # Lying lengths of a footer, and what comes behind, do not matter.
    for footer, tail in ((200, b""), (2**64 - 1, b""), (0, bytes(1000)), (200, os.urandom(777))):
        assert at.put_shard(file, xorbs=file.xorbs, footer=footer, tail=tail).json() == {"result": 0}
    assert at.post_until_answered("/v1/shards", whole + bytes(65 * MIB)).status == 413


def test_a_xorb_of_another_repository(cas, made):
    """Whoever knows every chunk's hash has had the bytes, so names it; whoever only knows its name gets nothing."""
    alices, bobs = cas(), cas(user="bob")
    file = alices.upload(File.of(content(4 * CHUNK, alices.repo)))
    xorb, = file.xorbs
    for lie in (File((Term(xorb, says_hash=xet.chunk_hash(b"x")),)), File((Term(xorb, says_hash=bytes(32)),)),
                File((Term(xorb, 0, 1, says_range=(0, 4), says_length=4 * CHUNK),))):
        refused(bobs.put_shard(lie.saying(says_hash=file.hash, says_sha256=file.oid)))
        assert bobs.plan(file.name).status == 404
    assert bobs.head(f"/v1/xorbs/default/{xorb.name}").status == 404
    assert bobs.get(f"/v1/chunks/default/{xet.text(xorb.leaves[0][0])}").status == 404
    # With the bytes it is bob's as well, and alice's stays hers alone.
    bobs.upload(file)
    assert bobs.read(file.name) == file.data
    assert alices.read(file.name) == file.data
    assert HubApi(bobs.url, bobs.token).head(f"/v1/files/{file.name}").status == 200


# -- SHA-256 that are not -----------------------------------------------------------------------------------------


def test_a_false_sha256_gives_nobody_elses_bytes(hub, cas):
    """bob says that his file has the SHA-256 of alice's private one: he is given his own bytes, or none, but never hers."""
    hub.expect_log(SAYS_ANOTHER)
    alices, bobs = cas(), cas(user="bob")
    secret = alices.upload(File.of(content(300_000, alices.repo)))
    assert alices.commit(a_bin=secret).status == 200
    junk = File.of(content(300_000, f"{alices.repo} junk"))
    lie = junk.saying(says_sha256=secret.oid)
    with metrics.Change(hub) as moved:
        assert bobs.put_xorb(junk.xorbs[0]).status == 200
        answer = bobs.put_shard(lie, xorbs=junk.xorbs)
        committed = bobs.hub.commit(bobs.repo, ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": secret.oid, "size": 300_000}))
        name = bobs.repo.removeprefix("models/")
        wait.until(lambda: answer.status != 200 or moved["lfs_objects_corrupt"] == 1, "the lie is found out", seconds=30)
    assert bobs.plan(secret.name).status == 404
    if committed.status == 200:
        got = bobs.hub.get(f"/{name}/resolve/main/a.bin")
        assert got.status != 200 and secret.data not in got.body, got.status
        git = lfs_api.Api(hub, name, hub.tokens["bob"])
        assert "error" in git.ask("download", (secret.oid, 300_000))[0]
    # alice's stays what it was, and an upload of the true bytes sets it right for bob.
    assert alices.hub.get(f"/{alices.repo.removeprefix('models/')}/resolve/main/a.bin").body == secret.data
    bobs.upload(secret)
    assert bobs.commit(a_bin=secret).status == 200
    wait.until(lambda: bobs.hub.get(f"/{name}/resolve/main/a.bin").body == secret.data, "bob has it as well")


def test_a_false_sha256_claims_no_object_beforehand(hub, cas):
    """bob says the SHA-256 of what alice is about to upload: she uploads, and gets, what is hers."""
    hub.expect_log(SAYS_ANOTHER)
    alices, bobs = cas(), cas(user="bob")
    true = File.of(content(300_000, alices.repo))
    junk = File.of(content(300_000, f"{alices.repo} junk")).saying(says_sha256=true.oid)
    with metrics.Change(hub) as moved:
        bobs.upload(junk)
        mine = lfs_api.Api(hub, alices.repo.removeprefix("models/"), hub.tokens["alice"])
        row, = mine.ask("upload", true.data)
        assert row["actions"]["upload"], "never: it is here already"
        assert alices.commit(a_bin=true).status == 400
        wait.until(lambda: moved["lfs_objects_corrupt"] == 1, "the lie is found out", seconds=30)
    alices.upload(true)
    assert alices.commit(a_bin=true).status == 200
    answer = alices.hub.get(f"/{alices.repo.removeprefix('models/')}/resolve/main/a.bin")
    assert answer.status == 200 and answer.body == true.data
    assert bobs.plan(junk.name).status == 404, "it is corrupt where it was claimed"
    # In one repository with the true object, a lie about it is refused, or of no effect once that is proven.
    again = File.of(content(300_000, f"{alices.repo} again")).saying(says_sha256=true.oid)
    wait.until(lambda: alices.put_shard(true).status == 200, "it is proven")
    alices.put_xorb(again.xorbs[0])
    answer = alices.put_shard(again, xorbs=again.xorbs)
    assert answer.json() == {"result": 0} or refused(answer, true.oid, lfs.oid(again.data))
    assert alices.hub.get(f"/{alices.repo.removeprefix('models/')}/resolve/main/a.bin").body == true.data
    assert alices.read(true.name) == true.data


def test_a_false_sha256_in_the_own_repository(hub, cas):
    """Readable until it is found out, by those who may read there; corrupt afterwards, and a true upload heals it."""
    hub.expect_log(SAYS_ANOTHER)
    at = cas()
    true, junk = File.of(content(100_000, at.repo)), File.of(content(100_000, f"{at.repo} junk"))
    with metrics.Change(hub) as moved:
        at.upload(junk.saying(says_sha256=true.oid))
        at.commit(a_bin=true)
        wait.until(lambda: moved["lfs_objects_corrupt"] == 1, "the lie is found out", seconds=30)
    path = f"/{at.repo.removeprefix('models/')}/resolve/main/a.bin"
    answer = at.hub.get(path)
    assert answer.status >= 400 and answer.headers["x-error-message"], "what is corrupt is told to be"
    assert at.plan(junk.name).status == 404
    at.upload(true)
    assert at.commit(a_bin=true).status == 200
    wait.until(lambda: at.hub.get(path).status == 200, "the true one can be had")
    assert at.hub.get(path).body == true.data


# -- what goes stale ----------------------------------------------------------------------------------------------


UPLOAD = "api.create_repo(sys.argv[1], exist_ok=True); api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo=sys.argv[3], repo_id=sys.argv[1])"


def test_a_repository_deleted_and_made_again(hub, alice, tmp):
    """By a client whose cache remembers its chunks, in the same breath."""
    name = f"alice/b{next(hub.names)}"
    hf, data = Hf(hub.url, alice, tmp / "hf"), content(3 * MIB, name)
    (tmp / "a.bin").write_bytes(data)
    for turn in range(2):
        hf.python(UPLOAD, name, tmp / "a.bin", "a.bin")
        got = HubApi(hub.url, alice).get(f"/{name}/resolve/main/a.bin")
        assert got.status == 200 and got.body == data, turn
        hf.python("api.delete_repo(sys.argv[1])", name)
    hf.python(UPLOAD, name, tmp / "a.bin", "again.bin")
    out = Hf(hub.url, alice, tmp / "other").python("tell(hf_hub_download(sys.argv[1], 'again.bin'))", name)
    assert lfs.digest(out) == lfs.oid(data)


def age(hub):
    for _ in range(4):
        hub.run("debug", "clock", "+60d")
        hub.run("gc")
        hub.run("maintain", "--now")


def xorb_files(hub):
    return [path for path in (hub.data / "xorbs").rglob("*") if path.is_file()]


def test_a_cache_that_outlives_the_xorbs(fresh_hub, tmp):
    """Weeks after a deletion: the shard is refused in words that say what to do, and that helps."""
    hub = fresh_hub(debug=True)
    alice = hub.user("alice")
    hf, data = Hf(hub.url, alice, tmp / "hf"), content(3 * MIB)
    (tmp / "a.bin").write_bytes(data)
    hf.python(UPLOAD, "alice/x", tmp / "a.bin", "a.bin")
    file = File.of(content(500_000))
    Cas(hub, alice, "models/alice/x").upload(file)
    hf.python("api.delete_repo('alice/x')")
    # Not yet: who deletes may upload again for weeks.
    hub.run("debug", "clock", "+20d")
    hub.run("gc")
    hub.run("maintain", "--now")
    HubApi(hub.url, hub.token("alice")).create("alice/y")
    assert xorb_files(hub), "clients remember xorbs for three weeks"
    age(hub)
    wait.until(lambda: (hub.run("maintain", "--now"), not xorb_files(hub))[1], "all is collected", seconds=60, every=1)
    refused(Cas(hub, hub.token("alice"), "models/alice/y").put_shard(file), file.xorbs[0].name, "HF_XET_CACHE")
    hf = Hf(hub.url, hub.token("alice"), tmp / "hf")
    # The client's own clock has not moved, so it still trusts its cache.
    said = hf.python("tell(fails(Exception, api.upload_file, path_or_fileobj=sys.argv[1], path_in_repo='a.bin', repo_id='alice/y'))", tmp / "a.bin")
    assert "HF_XET_CACHE" in said or "400" in said or "not stored here" in said, said
    fresh = hf.with_environment(HF_XET_CACHE=str(tmp / "another-cache"))
    fresh.python(UPLOAD, "alice/y", tmp / "a.bin", "a.bin")
    assert HubApi(hub.url, hub.token("alice")).get("/alice/y/resolve/main/a.bin").body == data
    hub.fsck()


# -- bounds -------------------------------------------------------------------------------------------------------


def test_a_quota(fresh_hub, tmp):
    """The user is told, nothing of it is in the repository, and what is there already counts once."""
    hub = fresh_hub(settings={"lfs.quota": "4MiB"}, debug=True)
    alice = hub.user("alice")
    HubApi(hub.url, alice).create("alice/x")
    at = Cas(hub, alice, "models/alice/x")
    kept = at.upload(File.of(content(3 * MIB)))
    big = File.of(content(2 * MIB))
    for xorb in big.xorbs:
        at.put_xorb(xorb)
    answer = at.put_shard(big, xorbs=big.xorbs)
    refused(answer, f"used {3 * MIB} of {4 * MIB} bytes", status=413)
    last = json.loads(at.put_shard(big, xorbs=big.xorbs, route="/v2/shards").body.splitlines()[-1])
    assert last["retryable"] is False and "used" in last["message"], last
    assert at.plan(big.name).status == 404 and at.read(kept.name) == kept.data
    (tmp / "big.bin").write_bytes(content(2 * MIB))
    hf = Hf(hub.url, alice, tmp / "hf")
    said = hf.python("tell(fails(Exception, api.upload_file, path_or_fileobj=sys.argv[1], path_in_repo='a.bin', repo_id='alice/x'))", tmp / "big.bin")
    assert "does not fit" in said, said
    assert at.upload(kept)
    hub.run("quota", "alice", "100MiB")
    hf.python(UPLOAD, "alice/x", tmp / "big.bin", "big.bin")


def answers(hub):
    with contextlib.suppress(OSError):
        return HubApi(hub.url).get("/api/models").status == 200


def test_a_disk_that_is_full(fresh_hub):
    """Xorbs and shards are answered 507 in words; what is there can be read."""
    hub = fresh_hub(debug=True)
    alice = hub.user("alice")
    HubApi(hub.url, alice).create("alice/x")
    file = Cas(hub, alice, "models/alice/x").upload(File.of(content(300_000)))
    hub.stop()
    hub.settings["storage.min_free"] = "100000GiB"
    hub.expect_log("free|space|full")
    hub.start(ready=False)  # and it does not say that it is
    wait.until(lambda: answers(hub), "it answers", seconds=60)
    at = Cas(hub, alice, "models/alice/x")
    new = File.of(content(300_000, "new"))
    for answer in (at.put_xorb(new.xorbs[0]), at.put_shard(file)):
        assert answer.status == 507 and answer.json()["error"], (answer.status, answer.body)
    assert at.read(file.name) == file.data
    hub.expect_log("free|space|full")


def test_a_disk_that_becomes_full(small_disk, stopped_hub):
    """In the middle of a xorb: it is refused in words, nothing of it stays, and the next that fits is taken."""
    hub = stopped_hub(settings={"storage.min_free": "4MiB"}, debug=True)
    hub.data = small_disk
    hub.start()
    token = hub.admin_token
    HubApi(hub.url, token).create("admin/x")
    at = Cas(hub, token, "models/admin/x")
    xorbs = lambda: [path for path in (small_disk / "xorbs").rglob("*") if path.is_file()]
    kept = at.upload(File.of(content(2 * MIB)))
    large = Xorb.of(content(60 * MIB), xet.CHUNK_MAX)
    refused(at.post_until_answered(f"/v1/xorbs/default/{large.name}", large.body), "full", status=507)
    middle, ballast = Xorb.of(content(20 * MIB), xet.CHUNK_MAX), small_disk / "ballast"
    with wire.Raw(hub.url) as raw:
        raw.request("POST", f"{at.url.removeprefix(hub.url)}/v1/xorbs/default/{middle.name}",
                    {"Authorization": f"Bearer {at.token}", "Content-Length": str(len(middle.body))}, length=False)
        raw.send(middle.body[: 4 * MIB])
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        with contextlib.suppress(ConnectionError):
            raw.send(middle.body[4 * MIB :])
        answer = raw.answer()
    assert answer.status == 507 and b"full" in answer.body, (answer.status, answer.body)
    assert at.read(kept.name) == kept.data, "reading goes on"
    hub.run("debug", "clock", "+30d")
    assert Cas(hub, token, "models/admin/x").read(kept.name) == kept.data, "also when the keys of addresses are due to be replaced"
    ballast.unlink()
    wait.until(lambda: (hub.run("maintain", "--now"), len(xorbs()) == 2)[1], "nothing of it stays", every=0.5)
    at, new = Cas(hub, token, "models/admin/x"), File.of(content(3 * MIB, "new"))
    wait.until(lambda: at.put_xorb(new.xorbs[0]).status == 200, "there is room again")
    assert at.put_shard(new).status == 200 and at.read(new.name) == new.data
    hub.fsck()
    hub.stop()


def test_a_client_that_leaves_in_the_middle_of_a_xorb(hub, cas):
    """Nothing of it stays, and the next one uploads as if it had never been."""
    at = cas()
    file = File.of(content(8 * MIB, at.repo))
    xorb, = file.xorbs
    for length in (10, 100_000, 7 * MIB):
        with wire.Raw(hub.url) as raw:
            raw.request("POST", f"{at.url.removeprefix(hub.url)}/v1/xorbs/default/{xorb.name}",
                        {"Authorization": f"Bearer {at.token}", "Content-Length": str(len(xorb.body))}, xorb.body[:length])
    assert at.head(f"/v1/xorbs/default/{xorb.name}").status == 404
    at.upload(file)
    assert at.read(file.name) == file.data
    stored = lambda: [path for path in (hub.data / "xorbs").rglob(f"*{xorb.name}*/*") if path.is_file()]
    wait.until(lambda: (hub.run("maintain", "--now"), len(stored()) == 2)[1], "its chunks and their index are stored, and nothing beside them", every=0.5)


def test_the_same_file_by_two_at_once(hub, cas):
    """Two users, many times over: both have it, and it is stored once."""
    alices, bobs = cas(), cas(user="bob")
    for turn in range(5):
        file = File.of(content(4 * MIB, f"{alices.repo} {turn}"))
        answers = []

        def upload(at, file=file, answers=answers):
            for xorb in file.xorbs:
                answers.append(at.put_xorb(xorb))
            answers.append(at.put_shard(file, xorbs=file.xorbs))

        lanes = [threading.Thread(target=upload, args=(at,)) for at in (alices, bobs, alices, bobs)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join(60)
        assert [answer.status for answer in answers] == [200] * 8, [answer.body for answer in answers]
        assert sum(b'"was_inserted":true' in answer.body for answer in answers) == 1
        assert alices.read(file.name) == bobs.read(file.name) == file.data


def test_a_connection_that_breaks(fresh_hub, tmp):
    """In the middle of xorbs, shards and downloads: the client tries again and succeeds."""
    hub = fresh_hub(debug=True)
    alice = hub.user("alice")
    data = content(9 * MIB)
    (tmp / "a.bin").write_bytes(data)
    with Proxy(hub.url) as door:
        base = door.listen("client")
        hf = Hf(base, alice, tmp / "hf").with_environment(HF_XET_CLIENT_RETRY_BASE_DELAY="10ms")
        door.order(lambda exchange: door.forward(exchange, cut_request=3 * MIB), lambda exchange: "/xorbs/" in exchange.path, times=1)
        door.order(lambda exchange: exchange.answer(503), lambda exchange: exchange.path.endswith("/shards"), times=1)
        hf.python(UPLOAD, "alice/x", tmp / "a.bin", "a.bin")
        assert len([seen for seen in door.seen if "/xorbs/" in seen.path]) >= 2
        door.order(lambda exchange: door.forward(exchange, cut_answer=MIB), lambda exchange: "/data/" in exchange.path, times=1)
        door.order(lambda exchange: exchange.answer(403), lambda exchange: "/data/" in exchange.path, times=1)
        out = hf.python("tell(hf_hub_download(sys.argv[1], 'a.bin'))", "alice/x")
        assert lfs.digest(out) == lfs.oid(data)
        assert len([seen for seen in door.seen if "/data/" in seen.path]) >= 3
    hub.check_log()


def test_slow_uploads_delay_nobody(hub, cas):
    """bob begins forty xorbs and sends a byte now and then: alice's goes in at once."""
    alices, bobs = cas(), cas(user="bob")
    xorb, path = Xorb.of(content(MIB, alices.repo)), f"{bobs.url.removeprefix(hub.url)}/v1/xorbs/default/{NOWHERE}"
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            slow = stack.enter_context(wire.Raw(hub.url))
            slow.request("POST", path, {"Authorization": f"Bearer {bobs.token}", "Content-Length": "1000000"})
        wait.until(lambda: metrics.read(hub)["granary_http_requests_in_flight"] >= 40, "all are under way")
        started = time.monotonic()
        answer = alices.put_xorb(xorb)
        took = time.monotonic() - started
    assert answer.status == 200 and took < 10, f"{answer.status} after {took:.1f} s: {answer.body[:200]}"


def test_a_xorb_announced_as_huge(hub, cas):
    """Is too large, whatever there is room for: 413, which clients do not try again, not 507."""
    at = cas()
    with wire.Raw(hub.url) as raw:
        raw.request("POST", f"{at.url.removeprefix(hub.url)}/v1/xorbs/default/{NOWHERE}", {"Authorization": f"Bearer {at.token}", "Content-Length": str(10**12)})
        assert raw.answer().status == 413


def test_a_commit_while_a_lie_is_found_out(fresh_hub):
    """Takes the file, which is corrupt then, or says that it is: the branch is not being changed by anybody else."""
    hub, answers = fresh_hub(debug=True), []
    hub.expect_log(SAYS_ANOTHER)
    for number in range(20):
        HubApi(hub.url, hub.admin_token).create(f"admin/x{number}")
        at = Cas(hub, hub.admin_token, f"models/admin/x{number}")
        true = File.of(content(100_000, at.repo))
        at.upload(File.of(content(100_000, f"{at.repo} junk")).saying(says_sha256=true.oid))
        answers.append(at.commit(a_bin=true))
    assert {answer.status for answer in answers} <= {200, 400}, [answer.body for answer in answers if answer.status not in (200, 400)][:2]


@pytest.mark.parametrize("engine", ["disk", "s3"], indirect=True)
def test_a_stop_while_a_sha256_is_computed(stopped_hub, engine_settings):
    """Is no reason for a warning: it is computed after the next start."""
    hub = stopped_hub(settings=engine_settings(), debug=True)
    for turn in range(10):
        hub.start()
        HubApi(hub.url, hub.admin_token).create("admin/x")
        at = Cas(hub, hub.admin_token, "models/admin/x")
        for number in range(8):
            at.upload(File.of(content(300_000, f"{turn} {number}")))
        hub.stop()
        hub.check_log()
