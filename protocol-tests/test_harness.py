"""The harness is checked against real git before it judges anything: a wrong oracle proves nothing."""

import dataclasses
import http.client
import os

import pytest

from harness import backend, lfs, lfs_api, nginx, packs, s3, shapes as shape_module, wire


@pytest.mark.parametrize("name", shape_module.ALL)
def test_shapes_are_sound(shapes, name):
    bare = shapes.bare(name)
    if name == "old-defects":  # that is what it is for
        assert "zeroPaddedFilemode" in bare.run("fsck", "--full", check=False).stderr.decode()
        bare.objects("--all")
        return
    bare("fsck", "--full", "--no-progress")
    assert name == "empty" or bare.objects("--all")


def test_packs_made_by_hand_are_read_by_git(git):
    commit, data = packs.single_commit()
    base = b"0123456789" * 10
    target = base[:50] + b"inserted" + base[50:]
    blob = packs.oid("blob", base)
    tampered = packs.pack(
        packs.entry("blob", base), packs.ref_delta(blob, packs.delta(100, 108, (0, 50), b"inserted", (50, 50))))
    assert commit in packs.contents(git, data)
    assert packs.contents(git, tampered) == {blob, packs.oid("blob", target)}


def test_backend_answers_a_clone(git, shapes, tmp):
    bare = git.clone(shapes.bare("simple").cwd, tmp / "copy.git", "--bare")
    backend.configure(bare)
    listing = backend.upload_pack(git, bare.cwd, wire.ls_refs_body("peel", "symrefs"))
    assert b"HEAD symref-target:refs/heads/main\n" in listing.body
    tips = sorted(set(bare.refs().values()))
    fetched = wire.parse_fetch(backend.upload_pack(git, bare.cwd, wire.fetch_body("ofs-delta", wants=tips)).body)
    assert not fetched.error
    assert packs.contents(git, fetched.pack) == bare.objects("--all")


def test_push_report_is_understood(git, tmp):
    bare = git.init(tmp / "repo.git", "--bare")
    backend.configure(bare)
    commit, data = packs.single_commit()
    body = wire.push_body([(wire.ZERO, commit, "refs/heads/main"), (commit, commit, "refs/heads/none")], data)
    answer = backend.http(
        git, bare.cwd, "/git-receive-pack", body, headers={"Content-Type": "application/x-git-receive-pack-request"})
    pushed = wire.parse_push(answer.body)
    assert pushed.unpack == "ok"
    assert pushed.refs["refs/heads/main"] == "ok"
    assert pushed.refs["refs/heads/none"] != "ok"


def test_the_proxy_is_transparent_and_counts(bucket, store):
    """Signatures cover the Host header: they hold through it, for every way a body may come and go."""
    through = dataclasses.replace(bucket, endpoint=store.listen("hub"))
    data = lfs.content(3_000_000)
    through.put("harness/a", data, checksum=True)
    assert through.get("harness/a") == bucket.get("harness/a") == data
    assert store.received(role="hub", method="PUT") == store.sent(role="hub", method="GET") == len(data)
    assert through.keys("harness/") == ["harness/a"]
    through.delete("harness/a")
    assert not bucket.keys("harness/")


def test_the_proxy_misbehaves_on_order(bucket, store):
    through = dataclasses.replace(bucket, endpoint=store.listen())
    data = lfs.content(300_000)
    through.put("harness/b", data)
    store.order(lambda exchange: exchange.answer(503), lambda exchange: exchange.method == "GET", times=1)
    assert [through.request("GET", "harness/b", check=False)[0] for _ in range(2)] == [503, 200]
    store.order(lambda exchange: store.forward(exchange, cut_answer=1000), times=1)
    with pytest.raises(http.client.IncompleteRead):
        through.get("harness/b")
    store.order(lambda exchange: store.forward(exchange, edit=lambda piece: bytes(len(piece))), times=1)
    with pytest.raises(AssertionError, match="BadDigest"):
        through.put("harness/b", data, checksum=True)
    store.is_down = True
    with pytest.raises(OSError):
        through.get("harness/b")
    store.is_down = False
    assert through.get("harness/b") == data


def test_seaweedfs_refuses_what_is_not_signed(bucket):
    assert dataclasses.replace(bucket, secret="wrong").request("PUT", "harness/c", body=b"x", check=False)[0] == 403
    assert wire.http(f"{bucket.endpoint}/{bucket.bucket}/harness/c").status == 403


def test_the_lax_bucket(lax_store):
    lax = s3.S3(lax_store.listen(), "any")
    assert wire.http(f"{lax.endpoint}/any/a/b", b"x", method="PUT").status == 403, "nobody signed this"
    lax.put("a/b", b"0123456789")
    assert lax.keys("a/") == ["a/b"] and lax.get("a/b") == b"0123456789"
    assert lax.request("GET", "a/b", range="bytes=2-4")[2] == b"234"
    assert lax.request("HEAD", "a/b")[1]["content-length"] == "10"
    assert lax.request("GET", "a/none", check=False)[0] == 404
    lax.request("POST", "a/parts", {"uploads": ""})
    assert lax.multiparts("a/") == ["a/parts"] and lax.multiparts("b/") == []


@pytest.mark.skipif(not nginx.binary(), reason="nginx is not installed: protocol-tests/run installs it")
def test_what_nginx_spools_is_noticed(fresh_hub, tmp):
    """With the site's buffering on, which is what deploy/nginx.conf turns off."""
    hub = fresh_hub()
    at = lfs_api.Api(hub, hub.repo("admin/r"), hub.admin_token)
    for setting, spools in (("off", False), ("on", True)):
        directory = tmp / setting
        with nginx.in_front_of(hub, directory, lambda site: site.replace("proxy_request_buffering off;", f"proxy_request_buffering {setting};")):
            at.upload(lfs.content(4 * lfs.MIB, setting))
        assert bool(nginx.spooled(directory)) == spools


def test_all_clients_are_here():
    """A client that is not to be found must not look like one that passed."""
    for path in (*lfs.CANDIDATES, lfs.HF):
        assert os.access(path, os.X_OK), f"{path} is missing: protocol-tests/run installs it"
    assert [item.agent for item in lfs.CLIENTS] == [False, False, True], f"two versions of git-lfs and the agent, not {lfs.CLIENTS}"


def test_git_lfs_is_cut_off_from_this_machine(lfs_client, git, tmp):
    work = lfs_client.init(git, tmp / "work")
    work.commit("a.bin", data := lfs.content(1000))
    assert work("show", "HEAD:a.bin") + "\n" == lfs.pointer(data)
    assert lfs.stored(work, lfs.oid(data)).read_bytes() == data
    version = lfs_client.name.removeprefix("git-lfs-")
    assert lfs_client.agent or version in work("lfs", "version")
    assert ("multipart" in work("config", "--list")) == lfs_client.agent
