"""Xorbs that clients put into the bucket themselves: none of their bytes passes the hub, and what lies there is proven before it counts."""

import pytest

from harness import lfs, metrics, wait, wire
from harness.api import HubApi
from harness.hf import Hf
from harness.httpd import Cut
from harness.lfs import MIB, content
from harness.lfs_api import Api
from harness.watched import Watched
from harness.xet import Cas, File, Xorb

NAME = "alice/x"
UPLOAD = "api.create_repo(sys.argv[2], exist_ok=True); api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='x.bin', repo_id=sys.argv[2])"


@pytest.fixture
def hf(watched, tmp):
    """As it is installed, with a cache of its own."""
    return Hf(watched.hub.url, watched.alice, tmp / "hf").with_environment(HF_XET_CLIENT_RETRY_BASE_DELAY="10ms")


@pytest.fixture
def api(watched):
    api = HubApi(watched.hub.url, watched.alice)
    assert api.create(NAME).status == 200
    return api


@pytest.fixture
def cas(watched, api):
    return Cas(watched.hub, watched.alice, f"models/{NAME}")


@pytest.fixture
def xorb():
    return Xorb.of(content(300_000, "xorb"))


def drafts(watched):
    return watched.bucket.keys(f"{watched.prefix}/xorb-drafts/")


def stored(watched):
    return watched.bucket.keys(f"{watched.prefix}/xorbs/")


def file_of(xorb):
    return File.of(b"".join(xorb.chunks))


def write(path, data):
    path.write_bytes(data)
    return path


def is_copy(exchange):
    return exchange.role == "hub" and exchange.method == "PUT" and "x-amz-copy-source" in exchange.headers


def reads_a_xorb(exchange):
    return exchange.role == "hub" and exchange.method == "GET" and "/xorbs/" in exchange.path


# -- real clients -------------------------------------------------------------------------------------------------


def test_no_xorb_passes_the_hub(watched, hf, tmp):
    """`upload_file` puts them into the bucket, by an address that binds length and CRC-64; every door gives the file back."""
    data = content(9 * MIB + 1)
    hf.python(UPLOAD, write(tmp / "x.bin", data), NAME)
    asked = metrics.requests(watched.hub)
    assert asked["xet.xorb.commit"] >= 1 and asked["xet.xorb.grant"] >= 1 and "xet.xorb" not in asked, asked
    puts = watched.store.count(role="client", method="PUT")
    assert puts and all(put.status == 200 and "/xorb-drafts/" in put.path for put in puts)
    assert watched.store.received(role="client", method="PUT") >= len(data)
    for put in puts:
        assert put.query["X-Amz-SignedHeaders"] == "content-length;host;x-amz-checksum-crc64nvme"
        assert "authorization" not in put.headers and "X-Amz-Signature" in put.query
    # What the hub itself stores are indexes.
    assert watched.store.received(role="hub", method="PUT") < len(data) / 100
    assert not drafts(watched) and len(stored(watched)) == 2 * len(puts)
    hf.run("download", NAME, "x.bin", "--local-dir", tmp / "back")
    assert (tmp / "back/x.bin").read_bytes() == data
    assert HubApi(watched.hub.url, watched.alice).get(f"/{NAME}/resolve/main/x.bin").body == data
    watched.hub.fsck()


def test_a_bucket_that_the_client_cannot_reach(watched, hf, tmp):
    """Then xorbs pass the hub, and the upload succeeds."""
    def cut(exchange):
        raise Cut

    watched.store.order(cut, lambda exchange: exchange.role == "client" and exchange.method == "PUT")
    data = content(2 * MIB)
    hf.python(UPLOAD, write(tmp / "x.bin", data), NAME)
    asked = metrics.requests(watched.hub)
    assert asked["xet.xorb"] >= 1 and "xet.xorb.commit" not in asked, asked
    assert HubApi(watched.hub.url, watched.alice).get(f"/{NAME}/resolve/main/x.bin").body == data


def test_a_bucket_that_is_away_for_a_moment(watched, hf, tmp):
    """While the hub takes what was put there: the client asks again."""
    watched.hub.expect_log("unavailable|object store|bucket")
    watched.store.order(lambda exchange: exchange.answer(503), is_copy, times=8)
    data = content(2 * MIB)
    hf.python(UPLOAD, write(tmp / "x.bin", data), NAME)
    asked = metrics.requests(watched.hub)
    assert asked["xet.xorb.commit"] >= 2 and "xet.xorb" not in asked, asked
    assert HubApi(watched.hub.url, watched.alice).get(f"/{NAME}/resolve/main/x.bin").body == data
    watched.age()
    assert len(stored(watched)) == 2 and not drafts(watched), "what failed left nothing"


def test_a_bucket_that_copies_nothing_is_offered_no_xorbs(lax, tmp):
    """They pass the hub."""
    hf = Hf(lax.hub.url, lax.alice, tmp / "hf")
    data = content(2 * MIB)
    hf.python(UPLOAD, write(tmp / "x.bin", data), NAME)
    asked = metrics.requests(lax.hub)
    assert asked["xet.xorb"] >= 1 and "xet.xorb.commit" not in asked, asked
    assert HubApi(lax.hub.url, lax.alice).get(f"/{NAME}/resolve/main/x.bin").body == data


# -- by hand ------------------------------------------------------------------------------------------------------


def test_granted_put_and_taken(watched, cas, xorb):
    """Told twice it succeeds twice; whoever has it is asked for nothing."""
    given = cas.grant(xorb)
    assert given["method"] == "PUT" and set(given["headers"]) == {"x-amz-checksum-crc64nvme"}
    assert cas.put_granted(given, xorb.body) == 200
    assert drafts(watched) == [f"{watched.prefix}/xorb-drafts/{given['id']}"] and not stored(watched)
    for _ in range(2):
        assert cas.commit_grant(xorb, given["id"]).status == 200
    assert not drafts(watched) and len(stored(watched)) == 2
    assert watched.bucket.get(min(stored(watched), key=len)) == xorb.body
    again = cas.ask_grant(xorb)
    assert (again.status, again.json()) == (200, {})
    file = file_of(xorb)
    assert cas.put_shard(file, xorbs=[xorb]).status == 200 and cas.read(file.name) == file.data
    # The address is good for a while; nothing that comes by it counts.
    assert cas.put_granted(given, xorb.body) == 200
    watched.age()
    assert not drafts(watched), "not even what came late stays"


def test_what_is_not_there(watched, cas, api, xorb):
    given = cas.grant(xorb)
    assert cas.commit_grant(xorb, given["id"]).status == 404, "nothing was put there"
    cas.put_granted(given, xorb.body)
    for other in ("x", "../a", given["id"].upper(), "0" * 26):
        assert cas.commit_grant(xorb, other).status == 404, other
    assert cas.commit_grant(Xorb.of(b"another"), given["id"]).status == 404, "of another xorb"
    assert api.create("alice/y").status == 200
    elsewhere = Cas(watched.hub, watched.alice, "models/alice/y")
    assert elsewhere.commit_grant(xorb, given["id"]).status == 404, "of another repository"
    reader = Cas(watched.hub, watched.alice, f"models/{NAME}", "read")
    assert reader.commit_grant(xorb, given["id"]).status == 403 == reader.ask_grant(xorb).status
    assert not stored(watched)
    watched.hub.run("debug", "clock", "+3d")
    assert Cas(watched.hub, watched.alice, f"models/{NAME}").commit_grant(xorb, given["id"]).status == 404, "expired"
    watched.age(1)
    assert not drafts(watched) and not stored(watched)
    watched.hub.fsck()


@pytest.mark.parametrize("body, words", [
    pytest.param(lambda xorb: xorb.body[:-1] + bytes([xorb.body[-1] ^ 1]), "was announced as", id="a changed byte"),
    pytest.param(lambda xorb: xorb.body[:-1], "into a chunk", id="a byte less"),
    pytest.param(lambda xorb: xorb.body + xorb.footer(), "without a footer", id="a footer"),
    pytest.param(lambda xorb: bytes(len(xorb.body)), "chunk 0", id="zeros"),
    pytest.param(lambda xorb: Xorb.of(b"another").body, "was announced as", id="another xorb"),
])
def test_what_is_no_such_xorb(watched, cas, xorb, body, words):
    """A client that announces the wrong bytes and puts them there is told so; the right ones are taken afterwards."""
    wrong = body(xorb)
    given = cas.grant(xorb, wrong)
    assert cas.put_granted(given, wrong) == 200
    for _ in range(2):
        answer = cas.commit_grant(xorb, given["id"])
        assert answer.status == 400 and words in answer.json()["error"], answer.body
    assert cas.put_shard(file_of(xorb), xorbs=[xorb]).status == 400
    given = cas.grant(xorb)
    cas.put_granted(given, xorb.body)
    assert cas.commit_grant(xorb, given["id"]).status == 200
    watched.age()
    assert len(stored(watched)) == 0 and not drafts(watched), "no file needs it, and of the wrong one nothing stays"
    watched.hub.fsck()


def test_the_address_binds_what_is_put_there(watched, cas, xorb):
    given = cas.grant(xorb)
    damaged = xorb.body[:-1] + bytes([xorb.body[-1] ^ 1])
    assert cas.put_granted(given, damaged) == 400, "the bucket checks the CRC-64"
    assert cas.put_granted(given, xorb.body[:-1]) == 403 and cas.put_granted(given, xorb.body + b"x") == 403
    assert cas.put_granted({**given, "headers": {}}, xorb.body) == 403
    assert cas.commit_grant(xorb, given["id"]).status == 404 and not drafts(watched)


def test_bad_requests(cas, xorb):
    crc = {"algo": "crc64nvme", "value": "1"}
    for length, status in ((0, 400), (68 * MIB, 413), (1 << 63, 413), (-1, 400), ("5", 400)):
        assert cas.post(f"/v1/xorb-grants/default/{xorb.name}", {"length": length, "checksum": crc}).status == status, length
    for checksum in ({"algo": "sha256", "value": "1"}, {**crc, "value": 1}, {**crc, "value": "-1"}, {**crc, "value": str(1 << 64)}, {}):
        assert cas.post(f"/v1/xorb-grants/default/{xorb.name}", {"length": 5, "checksum": checksum}).status == 400, checksum
    assert cas.post(f"/v1/xorb-grants/default/{xorb.name}", b"{").status == 400
    assert cas.post("/v1/xorb-grants/default/xyz", {"length": 5, "checksum": crc}).status == 404


def test_to_know_its_name_is_not_to_have_it(watched, cas, api, xorb):
    """What another repository has is asked for like anything else, and proven."""
    assert cas.put_xorb(xorb).status == 200
    bob = watched.hub.user("bob")
    assert HubApi(watched.hub.url, bob).create("bob/x").status == 200
    others = Cas(watched.hub, bob, "models/bob/x")
    given = others.grant(xorb)
    assert others.commit_grant(xorb, given["id"]).status == 404
    assert others.head(f"/v1/xorbs/default/{xorb.name}").status == 404
    lie = bytes(len(xorb.body))
    given = others.grant(xorb, lie)
    others.put_granted(given, lie)
    assert others.commit_grant(xorb, given["id"]).status == 400
    given = others.grant(xorb)
    others.put_granted(given, xorb.body)
    assert others.commit_grant(xorb, given["id"]).json() == {"was_inserted": False}
    assert len(stored(watched)) == 2, "stored once"
    assert others.head(f"/v1/xorbs/default/{xorb.name}").status == 200


def test_what_is_replaced_in_the_middle(watched, cas, xorb):
    """Between the question for its size and the copy: what was copied is what is proven."""
    given = cas.grant(xorb)
    cas.put_granted(given, xorb.body)
    draft, = drafts(watched)

    def replaced(exchange):
        watched.bucket.put(draft, bytes(len(xorb.body)))
        watched.store.forward(exchange)

    watched.store.order(replaced, is_copy, times=1)
    answer = cas.commit_grant(xorb, given["id"])
    assert answer.status == 400, answer.body

    def too_late(exchange):
        watched.bucket.put(draft, bytes(len(xorb.body)))
        watched.store.forward(exchange)

    given = cas.grant(xorb)
    cas.put_granted(given, xorb.body)
    draft = f"{watched.prefix}/xorb-drafts/{given['id']}"
    watched.store.order(too_late, reads_a_xorb, times=1)
    assert cas.commit_grant(xorb, given["id"]).status == 200
    live = [key for key in stored(watched) if not key.endswith(".idx") and watched.bucket.get(key) == xorb.body]
    assert len(live) == 1
    file = file_of(xorb)
    assert cas.put_shard(file, xorbs=[xorb]).status == 200 and cas.read(file.name) == file.data


def test_a_bucket_that_errs(watched, cas, xorb):
    """At each step: an answer that clients try again after, and then it works."""
    given = cas.grant(xorb)
    cas.put_granted(given, xorb.body)
    watched.hub.expect_log("unavailable|object store|bucket")
    is_index = lambda exchange: exchange.role == "hub" and exchange.method == "PUT" and exchange.path.endswith(".idx")
    heads = lambda exchange: exchange.role == "hub" and exchange.method == "HEAD" and "/xorb-drafts/" in exchange.path
    nothing = b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>"
    for when, action in (
        (heads, lambda exchange: exchange.answer(500)),
        (is_copy, lambda exchange: exchange.answer(500)),
        (is_copy, lambda exchange: exchange.answer(200, nothing, content_type="application/xml")),
        (reads_a_xorb, lambda exchange: exchange.answer(500)),
        (is_index, lambda exchange: exchange.answer(500)),
    ):
        watched.store.order(action, when)
        answer = cas.commit_grant(xorb, given["id"])
        assert answer.status in (500, 502, 503), answer.body
        watched.store.obey()
    assert cas.commit_grant(xorb, given["id"]).status == 200
    file = file_of(xorb)
    assert cas.put_shard(file, xorbs=[xorb]).status == 200 and cas.read(file.name) == file.data
    assert cas.commit(x_bin=file).status == 200
    watched.age()
    assert len(stored(watched)) == 2 and not drafts(watched)
    watched.hub.fsck()


def test_a_client_that_leaves(watched, cas, xorb):
    """What it said is done all the same."""
    given = cas.grant(xorb)
    cas.put_granted(given, xorb.body)
    left = []

    def waits(exchange):
        wait.until(lambda: left, "the client is gone")
        watched.store.forward(exchange)

    watched.store.order(waits, is_copy, times=1)
    with wire.Raw(watched.hub.url) as raw:
        path = f"{cas.url.removeprefix(watched.hub.url)}/v1/xorb-commits/default/{xorb.name}/grant/{given['id']}"
        raw.request("POST", path, {"Authorization": f"Bearer {cas.token}", "Content-Length": "0"}, b"")
        wait.until(lambda: watched.store.orders[0][2] == 0, "it has begun")
    left.append(True)
    wait.until(lambda: cas.head(f"/v1/xorbs/default/{xorb.name}").status == 200, "it is taken")


def test_a_repository_that_is_deleted_meanwhile(watched, cas, api, xorb):
    given = cas.grant(xorb)
    cas.put_granted(given, xorb.body)
    api.delete("/api/repos/delete", {"name": "x", "organization": "alice", "type": "model"})
    assert cas.commit_grant(xorb, given["id"]).status == 404
    watched.age()
    assert not drafts(watched) and not stored(watched)
    watched.hub.fsck()


# -- what is read often --------------------------------------------------------------------------------------------


@pytest.fixture
def busy(fresh_hub, bucket, store, tmp):
    """A hub that stores a file as one object when twice its size was read."""
    return Watched(fresh_hub, bucket, store, tmp.name, **{"xet.whole_after": "2"})


class Read:
    """A committed file of `busy`, and how those read it who know no chunks."""

    def __init__(self, watched, data, path="x.bin"):
        self.watched, self.data, self.path = watched, data, path
        self.api = HubApi(watched.hub.url, watched.alice)
        self.cas = Cas(watched.hub, watched.alice, f"models/{watched.path}")
        before = watched.store.sent(role="hub", method="GET")
        self.file = self.cas.upload(File.of(data))
        assert self.cas.commit(**{path.replace(".", "_"): self.file}).status == 200
        # It is read once more for that.
        wait.until(lambda: watched.store.sent(role="hub", method="GET") >= before + len(data), "its SHA-256 is computed")

    def get(self, **headers):
        return self.api.get(f"/{self.watched.path}/resolve/main/{self.path}", **headers)

    def is_copied(self):
        for _ in range(2):
            answer = self.get()
            assert answer.status == 302 or answer.body == self.data
        wait.until(lambda: self.get().status == 302, "it is stored as one object")
        return self.watched.keys()


def test_what_is_read_often_is_had_from_the_bucket(busy):
    read = Read(busy, content(6 * MIB + 1))
    half = 3 * MIB
    for _ in range(2):
        part = read.get(range=f"bytes={half}-")
        assert part.status == 206 and part.body == read.data[half:]
    assert not busy.keys(), "once its size was read, in all"
    key, = read.is_copied()
    assert busy.bucket.get(key) == read.data and lfs.oid(read.data) in key
    with metrics.Change(busy.hub) as moved:
        answer = read.get()
        assert answer.headers["location"].startswith(busy.public) and answer.headers["x-xet-hash"] == read.file.name
        assert wire.http(answer.headers["location"]).body == read.data
        assert wire.http(answer.headers["location"], headers={"Range": "bytes=5-9"}).body == read.data[5:10]
        link = busy.api.grant(read.data, "download")["download"]["href"]
        assert link.startswith(busy.public) and wire.http(link).body == read.data
    assert moved["lfs_bytes_out"] == 0
    assert read.cas.read(read.file.name) == read.data, "and in chunks, as before"
    for _ in range(5):
        read.get()
    assert busy.keys() == [key]
    busy.hub.fsck()


def test_real_clients_read_what_was_copied(busy, tmp):
    """With Xet and without."""
    read = Read(busy, content(6 * MIB + 1))
    read.is_copied()
    hf = Hf(busy.hub.url, busy.alice, tmp / "hf")
    hf.run("download", busy.path, "x.bin", "--local-dir", tmp / "chunks")
    assert (tmp / "chunks/x.bin").read_bytes() == read.data
    busy.store.seen.clear()
    with metrics.Change(busy.hub) as moved:
        hf.with_environment(HF_HUB_DISABLE_XET="1").run("download", busy.path, "x.bin", "--local-dir", tmp / "whole")
    assert (tmp / "whole/x.bin").read_bytes() == read.data and moved["lfs_bytes_out"] == 0
    assert any(exchange.reads_an_object and exchange.status == 200 for exchange in busy.store.count(role="client"))


def test_a_copy_lets_nobody_in_and_counts_for_nobody(busy):
    read = Read(busy, content(2 * MIB))
    before = busy.hub.run("quota", "alice").stdout
    read.is_copied()
    assert busy.hub.run("quota", "alice").stdout == before
    bob = busy.hub.user("bob")
    assert HubApi(busy.hub.url, bob).create("bob/x", private=True).status == 200
    assert HubApi(busy.hub.url, bob).get(f"/{busy.path}/resolve/main/x.bin").status in (401, 404)
    assert not Api(busy.hub, "bob/x", bob).has(read.data)
    busy.hub.run("lfs", "remove", busy.path, lfs.oid(read.data))
    gone = read.get()
    assert gone.status == 410 and b"removed" in gone.body
    busy.age()
    assert not busy.keys(), "it goes with its file"
    busy.hub.fsck()


def test_a_copy_goes_with_its_file(busy):
    read, other = Read(busy, content(2 * MIB)), Read(busy, content(2 * MIB, "other"), "other.bin")
    read.is_copied()
    other.is_copied()
    assert len(busy.keys()) == 2
    HubApi(busy.hub.url, busy.alice).delete("/api/repos/delete", {"name": busy.path.split("/")[1], "organization": "alice", "type": "model"})
    for _ in range(4):
        busy.hub.run("debug", "clock", "+60d")
        busy.hub.run("gc")
        busy.hub.run("maintain", "--now")
    wait.until(lambda: (busy.hub.run("maintain", "--now"), not busy.keys())[1], "nothing of them stays", every=0.5)
    busy.hub.fsck()


def test_no_copies_any_more(busy):
    """When an administrator turns them off, those that are there go; the files stay."""
    read = Read(busy, content(2 * MIB))
    read.is_copied()
    busy.hub.stop()
    busy.hub.settings["xet.whole_after"] = "0"
    busy.hub.start()
    busy.hub.run("maintain", "--now")
    for _ in range(5):
        assert read.get().body == read.data, "through the hub again"
    assert len(busy.keys()) == 1, "somebody may still read it"
    busy.age(1)
    assert not busy.keys()
    busy.hub.fsck()


def test_a_copy_that_fails(busy):
    """Nothing of it stays, the file is read through the hub, and it is tried again."""
    busy.hub.expect_log("could not be stored as one object|object store|bucket")
    read = Read(busy, content(2 * MIB))
    is_put = lambda exchange: exchange.role == "hub" and exchange.method == "PUT" and "/objects/" in exchange.path
    busy.store.order(lambda exchange: exchange.answer(403), is_put)
    # Reads count from when its SHA-256 is proven.
    wait.until(lambda: (read.get().body == read.data) and busy.store.count(role="hub", method="PUT", status=403), "it is tried")
    assert read.get().body == read.data
    busy.store.obey()
    read.is_copied()
    busy.age()
    assert read.get().status == 302 and len(busy.keys()) == 1
    busy.hub.fsck()


def test_fsck_finds_a_damaged_copy(busy):
    read = Read(busy, content(2 * MIB))
    key, = read.is_copied()
    for damaged in (read.data[:-1] + b"x", read.data[:-1], None):
        busy.bucket.put(key, damaged) if damaged else busy.bucket.delete(key)
        for options in ((), ("--repo", busy.path)):
            done = busy.hub.run("fsck", *options, check=False)
            assert done.returncode == 1 and key.removeprefix(f"{busy.prefix}/") in done.stdout, done.stdout
    busy.bucket.put(key, read.data)
    busy.hub.fsck()


def test_a_restore_makes_copies_anew(busy, tmp):
    read = Read(busy, content(2 * MIB))
    key, = read.is_copied()
    busy.hub.run("backup", tmp / "backup")
    busy.hub.stop()
    busy.hub.run("restore", tmp / "backup", data=busy.hub.directory / "restored")
    busy.hub.data = busy.hub.directory / "restored"
    busy.hub.start()
    busy.hub.run("maintain", "--now")
    assert read.get().body == read.data and busy.keys() != [key]
    read.is_copied()
    busy.hub.fsck()


# -- backups ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(fresh_hub, bucket, tmp):
    """(a hub with a file in xorbs, the CAS, the file)"""
    hub = fresh_hub(debug=True, settings=bucket.settings(tmp.name))
    hub.alice = hub.user("alice")
    assert HubApi(hub.url, hub.alice).create(NAME).status == 200
    cas = Cas(hub, hub.alice, f"models/{NAME}")
    file = cas.upload(File.of(content(3 * MIB)))
    assert cas.commit(a_bin=file).status == 200
    return hub, cas, file


def test_a_backup_leaves_xorbs_in_the_bucket(kept, bucket, tmp):
    """And says where they are; a restored hub finds them there, under another address of the CAS."""
    hub, cas, file = kept
    token, before = hub.alice, bucket.keys(f"{tmp.name}/")
    said = hub.run("backup", tmp / "backup").stdout
    assert bucket.bucket in said, said
    assert not (tmp / "backup/xorbs").exists()
    later = cas.upload(File.of(content(1 * MIB, "later")))
    hub.stop()
    restored = hub.directory / "restored"
    hub.run("restore", tmp / "backup", data=restored)
    hub.data = restored
    hub.fsck()
    hub.start()
    at = Cas(hub, token, f"models/{NAME}")
    assert at.given["casUrl"] != cas.given["casUrl"], "clients remember more than the rows know"
    assert at.read(file.name) == file.data and HubApi(hub.url, token).get(f"/{NAME}/resolve/main/a.bin").body == file.data
    assert at.plan(later.name).status == 404
    at.upload(later)
    assert at.read(later.name) == later.data
    assert set(before) <= set(bucket.keys(f"{tmp.name}/"))
    hub.fsck()


def test_a_rebuild_finds_xorbs_in_the_bucket(kept, bucket, tmp):
    """Manifests say what files are made of; the chunks are proven again."""
    hub, cas, file = kept
    hub.run("maintain", "--now")
    hub.stop()
    hub.rebuild()
    hub.fsck()
    hub.start()
    token = hub.user("alice")
    assert HubApi(hub.url, token).get(f"/{NAME}/resolve/main/a.bin").body == file.data
    at = Cas(hub, token, f"models/{NAME}")
    assert at.given["casUrl"] != cas.given["casUrl"] and at.read(file.name) == file.data
    hub.fsck()


def test_fsck_finds_damage_in_the_bucket(kept, bucket, tmp):
    hub, cas, file = kept
    whole = cas.upload(File.of(content(100_000, "whole")))
    assert cas.commit(b_bin=whole).status == 200
    name = file.xorbs[0].name
    key = min((key for key in bucket.keys(f"{tmp.name}/xorbs/") if name in key), key=len)
    body = bucket.get(key)
    for damaged in (body[:1000] + bytes([body[1000] ^ 1]) + body[1001:], body[:-1], None):
        bucket.put(key, damaged) if damaged else bucket.delete(key)
        done = hub.run("fsck", check=False)
        assert done.returncode == 1 and name in done.stdout + done.stderr, done.stdout
        assert whole.xorbs[0].name not in done.stdout + done.stderr
        assert cas.read(whole.name) == whole.data
    bucket.put(key, body)
    hub.fsck()
