"""Xorbs that clients put into the bucket themselves: none of their bytes passes the hub, and what lies there is proven before it counts."""

import pytest

from harness import lfs, metrics, wait, wire
from harness.api import HubApi
from harness.hf import Hf
from harness.httpd import Cut
from harness.lfs import MIB, content
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


# -- backups ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(fresh_hub, bucket, tmp):
    """(a hub with a file in xorbs, the CAS, the file)"""
    hub = fresh_hub(debug=True, settings=bucket.settings(tmp.name))
    assert HubApi(hub.url, hub.admin_token).create("admin/x").status == 200
    cas = Cas(hub, hub.admin_token, "models/admin/x")
    file = cas.upload(File.of(content(3 * MIB)))
    assert cas.commit(a_bin=file).status == 200
    return hub, cas, file


def test_a_backup_leaves_xorbs_in_the_bucket(kept, bucket, tmp):
    """And says where they are; a restored hub finds them there, under another address of the CAS."""
    hub, cas, file = kept
    token, before = hub.admin_token, bucket.keys(f"{tmp.name}/")
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
    at = Cas(hub, token, "models/admin/x")
    assert at.given["casUrl"] != cas.given["casUrl"], "clients remember more than the rows know"
    assert at.read(file.name) == file.data and HubApi(hub.url, token).get("/admin/x/resolve/main/a.bin").body == file.data
    assert at.plan(later.name).status == 404
    at.upload(later)
    assert at.read(later.name) == later.data
    assert set(before) <= set(bucket.keys(f"{tmp.name}/"))
    hub.fsck()


def test_a_rebuild_finds_xorbs_in_the_bucket(kept, bucket, tmp):
    """Of manifests and packs; one whose bytes changed meanwhile is no such xorb."""
    hub, cas, file = kept
    hub.run("maintain", "--now")
    wait.until(lambda: "possessed" not in hub.run("stats").stdout, "its SHA-256 is computed")
    hub.stop()
    hub.rebuild()
    hub.fsck()
    hub.start()
    token = hub.run("token", "create", "admin", "--role", "write").stdout.strip() if "admin" in hub.run("user", "list").stdout else hub.user("admin", admin=True)
    assert HubApi(hub.url, token).get("/admin/x/resolve/main/a.bin").body == file.data
    assert Cas(hub, token, "models/admin/x").read(file.name) == file.data
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
