"""A bucket as the store: bytes go straight between client and bucket, and no URL outlives what it was proven to carry."""

import contextlib
import gzip
import re
import subprocess
import threading
import time

import pytest

from harness import lfs, lfs_api, metrics, s3, wait, wire
from harness.lfs import MIB, content
from harness.lfs_api import Api, message
from harness.watched import Offering, Watched


# -- counters -----------------------------------------------------------------------------------------------------


def test_git_lfs_moves_no_byte_through_the_hub(watched, lfs_client, git, tmp):
    """In one piece nothing is read back either; the agent's parts cost one reading back and nothing in."""
    sizes = {"small.bin": 5 * MIB + 1, "large.bin": 64 * MIB + 1}
    total = sum(sizes.values())
    read_back = total if lfs_client.agent else 0
    work = lfs_client.init(git, tmp / "work", watched.hub.url)
    for name, size in sizes.items():
        work.commit(name, content(size, lfs_client.name))
    with metrics.Change(watched.hub) as moved:
        work("push", "-q", watched.url, "main", seconds=240)
    assert moved["lfs_bytes_in"] == 0
    assert watched.store.received(role="client", method="PUT") == total
    assert watched.store.received(role="hub", method="PUT") == 0
    assert moved["lfs_read_back_bytes"] == read_back
    assert watched.store.sent(role="hub", method="GET") - read_back in range(100_000), "answers of XML aside"
    puts = watched.store.count(role="client", method="PUT")
    parts = [seen for seen in puts if "partNumber" in seen.query]
    assert (len(puts), len(parts)) == ((lfs.PARTS + 1,) * 2 if lfs_client.agent else (2, 0)), "twelve for the large one, one for the small one"
    watched.store.seen.clear()
    with metrics.Change(watched.hub) as moved:
        copy = lfs_client.of(git, watched.hub.url).clone(watched.url, tmp / "copy")
    lfs.same_files(work, copy, *sizes)
    assert moved["lfs_bytes_out"] == 0 and watched.store.sent(role="client", method="GET") == total
    assert not watched.store.count(role="hub"), "a download asks the bucket nothing"


def test_huggingface_single_put(watched):
    """No header of the action is sent on: the URL alone must bind the bytes."""
    data = content(MIB, "hf")
    with metrics.Change(watched.hub) as moved:
        actions = watched.hf.grant(data)
        assert "chunk_size" not in (actions["upload"].get("header") or {})
        assert re.search(r"X-Amz-SignedHeaders=content-length%3Bhost(&|$)", actions["upload"]["href"]), "what this client sends by itself"
        assert wire.http(actions["upload"]["href"], data, method="PUT", headers={"Content-Type": "application/octet-stream"}).status == 200
        assert lfs_api.verify(actions["verify"], data).status == 200
    assert moved["lfs_bytes_in"] == 0 and moved["lfs_read_back_bytes"] <= len(data)
    assert watched.hf.download(data) == data


def test_huggingface_multipart(watched):
    data = content(64 * MIB + 1, "hf")
    with metrics.Change(watched.hub) as moved:
        watched.hf.upload(data)
    assert moved["lfs_bytes_in"] == 0 and moved["lfs_read_back_bytes"] <= len(data)
    assert watched.store.received(role="client", method="PUT") == len(data)
    assert watched.hf.download(data) == data


def test_a_bucket_that_proves_nothing_is_fed_by_the_hub(lax, git, tmp):
    """No presigned PUT would be bound to its content: the bytes pass through once, streamed in parts."""
    client = next(item for item in lfs.CLIENTS if not item.agent)
    work = client.init(git, tmp / "work", lax.hub.url)
    sizes = {"small.bin": 5 * MIB + 1, "large.bin": 64 * MIB + 1}
    for name, size in sizes.items():
        work.commit(name, content(size, "lax"))
    with metrics.Change(lax.hub) as moved:
        work("push", "-q", lax.url, "main", seconds=240)
    total = sum(sizes.values())
    assert moved["lfs_bytes_in"] == total and moved["lfs_read_back_bytes"] == 0
    assert lax.store.received(role="hub", method="PUT") == total and not lax.store.count(role="client", method="PUT")
    assert len([seen for seen in lax.store.seen if "partNumber" in seen.query]) > 4, "streamed, not held"
    copy = client.of(git).clone(lax.url, tmp / "copy")
    lfs.same_files(work, copy, *sizes)


def test_multipart_on_a_bucket_that_proves_nothing(lax):
    """Part URLs die with their upload, so whoever offers multipart goes straight even there; then we read it back."""
    data = content(64 * MIB + 1, "lax")
    with metrics.Change(lax.hub) as moved:
        lax.hf.upload(data)
    assert moved["lfs_bytes_in"] == 0 and moved["lfs_read_back_bytes"] == len(data)
    assert lax.hf.download(data) == data


# -- URLs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["git-lfs", "hf"])
def test_a_put_is_bound_to_its_content(watched, family):
    """Neither before nor after the proof can other bytes be put under the key."""
    at = watched.api if family == "git-lfs" else watched.hf
    data, other = content(200_000, family), content(200_000, "other")
    action = at.grant(data)
    upload = action["upload"]
    assert lfs_api.put(upload, other).status // 100 == 4
    if upload.get("header"):
        assert wire.http(upload["href"], data, method="PUT", headers={"Content-Type": "x/y"}).status // 100 == 4, "its header is not left out"
    assert lfs_api.put(upload, data + b"x").status // 100 == 4
    assert lfs_api.put(upload, data).status == 200
    assert lfs_api.verify(action["verify"], data).status == 200
    for bad in (other, data[:-1], b"", data + b"x"):
        assert lfs_api.put(upload, bad).status // 100 == 4
    assert at.download(data) == data


def test_part_urls_die_with_their_upload(watched):
    data = content(64 * MIB + 1, "parts")
    action = watched.hf.grant(data)["upload"]
    urls, size = lfs_api.parts(action)
    etags = lfs_api.put_parts(action, data)
    assert lfs_api.complete(action, data, etags).status == 200
    wire.http(urls[0], bytes(size), method="PUT")
    assert lfs_api.complete(action, data, etags).status == 200, "said twice"
    assert watched.hf.download(data) == data


def test_downloads_are_attachments(watched):
    data = b"<html><script>alert(1)</script>" + content(100, "html")
    watched.api.upload(data)
    action = watched.api.grant(data, "download")["download"]
    assert action["href"].startswith(watched.public)
    answer = lfs_api.get(action)
    assert answer.body == data and answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    part = lfs_api.get(action, Range="bytes=10-19")
    assert part.status == 206 and part.body == data[10:20]
    assert watched.api.grant(data, "download")["download"]["href"] == action["href"], "the same for minutes, so that it can be cached"


def test_an_upload_does_not_say_how_it_is_decoded(watched, tmp):
    """S3 keeps a Content-Encoding that nobody signed. Were it shown, clients would decode other bytes than were proven."""
    data = gzip.compress(content(10_000, "decoded"))
    action = watched.api.grant(data)
    upload = action["upload"]
    answer = wire.http(upload["href"], data, method="PUT", headers={**(upload.get("header") or {}), "Content-Encoding": "gzip"})
    assert answer.status == 200 and lfs_api.verify(action["verify"], data).status == 200
    download = watched.api.grant(data, "download")["download"]["href"]
    assert lfs_api.get({"href": download}).headers.get("content-encoding", "identity") == "identity"
    for options in ([], ["--compressed"], ["-H", "Accept-Encoding: gzip"]):
        assert subprocess.run(["curl", "-sSf", "--noproxy", "*", *options, download], capture_output=True, check=True).stdout == data, options


def test_expired_urls(watched):
    """Whatever the bucket still takes of an upload that is closed, it is not published any more."""
    data = content(1000, "expired")
    action = watched.api.grant(data)
    watched.hub.run("debug", "clock", "+30d")
    watched.hub.run("maintain", "--now")
    lfs_api.put(action["upload"], data)
    answer = lfs_api.verify(action["verify"], data)
    assert answer.status == 403 and "expired" in message(answer)
    assert not watched.api.has(data)


def test_verify_needs_neither_media_type_nor_credentials(watched):
    """huggingface_hub says application/json; git-lfs sends no credentials where `authenticated` is true."""
    for number, kind in enumerate(("application/json", "application/vnd.git-lfs+json; charset=utf-8", "text/plain")):
        data = content(1000, number)
        action = watched.api.grant(data)
        lfs_api.put(action["upload"], data)
        assert not action["verify"].get("header")
        assert lfs_api.verify(action["verify"], data, Content_Type=kind, Accept="*/*").status == 200


def test_verify_without_an_upload(watched):
    data = content(1000, "never")
    action = watched.api.grant(data)
    answer = lfs_api.verify(action["verify"], data)
    assert answer.status // 100 == 4 and message(answer)
    assert lfs_api.verify(action["verify"], data, size=999).status // 100 == 4
    lfs_api.put(action["upload"], data)
    for _ in range(3):
        assert lfs_api.verify(action["verify"], data).status == 200


# -- keys ---------------------------------------------------------------------------------------------------------


def test_keys_are_content_addressed_and_one_copy_is_kept(watched):
    data = content(100_000, "keys")
    watched.api.upload(data)
    key, = watched.keys()
    name = lfs.oid(data)
    assert re.fullmatch(rf"{watched.prefix}/objects/{name[:2]}/{name}/[0-9a-z]{{26}}", key)
    other = Api(watched.hub, watched.hub.repo("alice/second"), watched.alice)
    other.upload(data)
    watched.age(1)
    assert len(watched.keys()) == 1, "the second copy was proven and then dropped"
    assert other.download(data) == data and watched.api.download(data) == data


def test_abandoned_uploads_are_swept(watched):
    """A PUT nobody verified, parts nobody completed: nothing of it stays in the bucket."""
    single, large = content(1000, "single"), content(64 * MIB + 1, "large")
    lfs_api.put(watched.api.grant(single)["upload"], single)
    lfs_api.put_parts(watched.hf.grant(large)["upload"], large, only=(1, 2))
    assert watched.keys() and watched.bucket.multiparts(f"{watched.prefix}/")
    watched.age()
    assert not watched.keys() and not watched.bucket.multiparts(f"{watched.prefix}/")


def test_the_probe_leaves_nothing(watched):
    assert watched.bucket.keys(f"{watched.prefix}/") == [f"{watched.prefix}/granary-store"], "the mark by which it is known"
    assert watched.bucket.keys(f"{watched.prefix}.probe") == []


ABLE = """\
signed checksum header: git-lfs uploads objects up to 5 GiB straight to the bucket, which checks them
checksum in the URL: clients that send no headers (Hugging Face) upload straight to the bucket
payload hash in the URL: not enforced
signed length: an upload has the announced size
copies: xorbs of Hugging Face clients go straight to the bucket; Granary reads each back once
CRC-64 header: the bucket finds xorbs that were damaged on the way
parts: clients that can send parts upload large objects straight to the bucket; Granary reads them back once
ranges: an interrupted download is resumed
checksum in HEAD: what the bucket checked is not read back
clock: agrees with the bucket's
"""
UNABLE = """\
signed checksum header: not enforced; git-lfs uploads pass through Granary, or go in parts
checksum in the URL: not enforced
payload hash in the URL: not enforced
signed length: an upload has the announced size
copies: the bucket makes none, or takes other sizes than announced; xorbs pass through Granary
CRC-64 header: not checked; Granary finds xorbs that were damaged on the way
parts: clients that can send parts upload large objects straight to the bucket; Granary reads them back once
ranges: an interrupted download is resumed
checksum in HEAD: not shown; Granary reads every upload to the bucket back once
clock: agrees with the bucket's
"""


def test_doctor_says_what_the_bucket_can(watched, lax):
    for item, says in ((watched, ABLE), (lax, UNABLE)):
        doctor = item.hub.run("doctor")
        lines = doctor.stdout.splitlines()
        assert [line for line in lines if " bucket: " in line] == [f"ok   bucket: {line}" for line in says.splitlines()]
        assert any(line.startswith(f"ok   large objects: the bucket {item.bucket.bucket} under {item.prefix}/ at http://") for line in lines)
        assert item.bucket.secret not in doctor.stdout + doctor.stderr


def test_what_the_bucket_can_is_remembered(watched):
    """It is not tried again at each start; a bucket that was away at the start is gone on with as known."""
    data = content(5 * MIB + 1, "remembered")
    before = watched.api.grant(data)["upload"]
    watched.store.seen.clear()
    watched.hub.stop()
    watched.store.is_down = True
    watched.hub.expect_log("object store|out of reach|bucket")
    watched.hub.start()
    watched.store.is_down = False

    def comes_back():
        watched.hub.run("debug", "clock", "+10m")
        watched.hub.run("maintain", "--now", check=False)
        with contextlib.suppress(AssertionError):  # 503 as long as the hub does not know that it is ours
            upload = watched.api.grant(data)["upload"]
            assert lfs_api.put(upload, data).status == 200
            return watched.api.upload(data) and upload

    upload = wait.until(comes_back, "the bucket is asked again", seconds=60)
    assert upload["href"].startswith(watched.public) and upload["header"] == before["header"]
    assert not [seen for seen in watched.store.seen if "/.probe/" in seen.path]
    assert watched.api.download(data) == data


def test_an_open_bucket_is_reported(lax_store, fresh_hub, tmp):
    """Whoever reaches it could replace what was proven: no link leads there, and the operator is told."""
    lax_store.is_open = True
    watched = Watched(fresh_hub, s3.S3(lax_store.listen("test"), "lax"), lax_store, tmp.name)
    watched.hub.expect_log("without a signature")
    for at in (watched.api, watched.hf):
        assert at.grant(content(64 * MIB + 1, "open"))["upload"]["href"].startswith(watched.hub.url)
    doctor = watched.hub.run("doctor", check=False)
    assert doctor.returncode and "OPEN FOR WRITING" in doctor.stdout
    watched.hub.expect_log("without a signature")


def test_wrong_credentials(fresh_hub, bucket, tmp, git):
    """Git works; LFS says what is wrong with the store, without the secret."""
    hub = fresh_hub(settings={**bucket.settings(tmp.name), "storage.s3_secret_key": "not-the-secret"})
    hub.expect_log("bucket|storage|S3|s3")
    path = hub.repo("admin/r")
    work = git.init(tmp / "work")
    work.commit()
    work("push", "-q", hub.git_url(path, hub.admin_token), "main")
    answer = Api(hub, path, hub.admin_token).batch("upload", (lfs.oid(b"x"), 1))
    assert answer.status in (500, 502, 503) and "not-the-secret" not in answer.text()
    doctor = hub.run("doctor", check=False)
    assert "SignatureDoesNotMatch" in doctor.stdout + doctor.stderr or "credential" in (doctor.stdout + doctor.stderr).lower()


def test_another_store_at_the_next_start_is_refused(fresh_hub, bucket, tmp):
    """Objects would be out of reach: the way out is said."""
    hub = fresh_hub()
    Api(hub, hub.repo("admin/r"), hub.admin_token).upload(content(1000, "moved"))
    hub.stop()
    before, hub.settings = hub.settings, {**hub.settings, **bucket.settings(tmp.name)}
    hub.start(ready=False)
    hub.process.wait(30)
    assert hub.process.returncode != 0
    hub.kill()
    hub.expect_log("storage")
    hub.settings = before
    hub.start()


def test_restart_finds_everything(watched):
    data = content(100_000, "restart")
    watched.api.upload(data)
    watched.hub.stop()
    watched.hub.start()
    assert watched.api.download(data) == data
    watched.hub.fsck()


def test_fsck_finds_a_flipped_byte(watched):
    data = content(100_000, "flip")
    watched.api.upload(data)
    watched.hub.fsck()
    key, = watched.keys()
    watched.bucket.put(key, data[:50_000] + bytes([data[50_000] ^ 1]) + data[50_001:])
    done = watched.hub.run("fsck", check=False)
    assert done.returncode == 1 and lfs.oid(data) in done.stdout
    watched.bucket.delete(key)
    done = watched.hub.run("fsck", check=False)
    assert done.returncode == 1 and lfs.oid(data) in done.stdout
    watched.bucket.put(key, data)
    watched.hub.fsck()


def test_a_claim_is_for_its_uploader_until_proven(watched):
    """While the reading back lasts, others do not see the object, and the push waits for it."""
    data = content(64 * MIB + 1, "claim")
    holding = wait_gate(watched.store)
    action = watched.hf.grant(data)["upload"]
    etags = lfs_api.put_parts(action, data)
    start = time.monotonic()
    assert lfs_api.complete(action, data, etags).status == 200, "answered before the proof"
    assert time.monotonic() - start < 25, "git-lfs leaves after 30 s of silence"
    bob = Api(watched.hub, watched.path, watched.hub.admin_token)
    assert bob.error("download", data)["code"] == 404
    assert "upload" in bob.grant(data)
    assert watched.hf.grant(data) is None, "its uploader need not send it again"
    second = Offering(watched.hub, watched.hub.repo("alice/second"), watched.alice, agent=lfs_api.HF)
    assert second.error("download", data)["code"] == 404
    holding.set()
    wait.until(lambda: bob.has(data), "the proof is done", seconds=60)
    assert bob.download(data) == data


def wait_gate(store):
    """The hub's own reads of objects wait until the event is set."""
    gate = threading.Event()

    def hold(exchange):
        gate.wait(120)
        store.handle(exchange)

    store.order(hold, lambda exchange: exchange.role == "hub" and exchange.reads_an_object)
    return gate


def test_a_push_waits_for_the_proof(watched, git, tmp):
    """Meanwhile it is heard, every five seconds; no ref moves before the object is proven."""
    data = content(64 * MIB + 1, "waits")
    gate = wait_gate(watched.store)
    watched.hf.upload(data)
    work = git.init(tmp / "work")
    commit = lfs.commit_pointer(work, "a.bin", data)
    pack = work.run("pack-objects", "--revs", "--stdout", "-q", input=f"{commit}\n").stdout
    with wire.Raw(watched.hub.url) as raw:
        raw.request("POST", f"/{watched.path}/git-receive-pack", {
            "Authorization": wire.basic(watched.alice), "Content-Type": "application/x-git-receive-pack-request"},
            wire.push_body([(wire.ZERO, commit, "refs/heads/main")], pack))
        status, headers = raw.head()
        assert status == 200 and headers["transfer-encoding"] == "chunked"
        for _ in range(2):
            assert raw.chunk() == b"0005\x01", "a packet of the first band that says nothing"
            assert work.refs(watched.url) == {}
        gate.set()
        pushed = wire.parse_push(b"".join(iter(raw.chunk, b"")))
    assert pushed.ok, pushed.all_text()
    assert work.refs(watched.url)["refs/heads/main"] == commit
