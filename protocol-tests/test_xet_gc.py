"""What becomes of xorbs: kept while anything needs them or a client may remember them, gone afterwards, and who may not read them any more."""

import pytest

from harness import lfs_api, wait, xet
from harness.api import HubApi
from harness.lfs import content
from harness.xet import CHUNK, Cas, File, Term, Xorb


@pytest.fixture
def hub(fresh_hub):
    """Rows decide; what becomes of keys in a bucket is seen in test_xet_crash."""
    hub = fresh_hub(debug=True)
    hub.names = iter(range(1000))
    return hub


@pytest.fixture
def cas(hub):
    """cas(name): the CAS for a model of the administrator's, made if it is not there."""
    def of(name=None, token=None, scope="write", **options):
        name = name or f"admin/g{next(hub.names)}"
        HubApi(hub.url, hub.admin_token).create(name, **{"private": True, **options})
        return Cas(hub, token or hub.admin_token, f"models/{name}", scope)
    return of


def name_of(cas):
    return cas.repo.removeprefix("models/")


def age(hub, *days):
    """A collection after each of these."""
    for more in days:
        hub.run("debug", "clock", f"+{more}d")
        for _ in range(2):
            hub.run("gc")
            hub.run("maintain", "--now")


def stored(hub):
    return {path.parent.name for path in (hub.data / "xorbs").rglob("*") if path.is_file()}


def delete(hub, cas):
    owner, name = name_of(cas).split("/")
    assert HubApi(hub.url, hub.admin_token).delete("/api/repos/delete", {"name": name, "organization": owner, "type": "model"}).status == 200


def again(hub, cas):
    """The same with a token of now."""
    return Cas(hub, hub.admin_token, cas.repo)


def test_what_another_repository_needs_stays(hub, cas):
    """A xorb of which it needs one chunk, and one that is in an old commit alone."""
    one, two = cas(), cas()
    shared, own = Xorb.of(content(8 * CHUNK)), Xorb.of(content(8 * CHUNK, "own"))
    one.upload(File((Term(shared), Term(own))))
    part = two.upload(File((Term(shared, 3, 4),)))
    old = two.upload(File.of(content(100_000, "old")))
    assert two.commit(part_bin=part, old_bin=old).status == 200
    assert two.hub.commit(two.repo, ("deletedFile", {"path": "old.bin"})).status == 200
    delete(hub, one)
    age(hub, 60, 60, 60)
    wait.until(lambda: (hub.run("maintain", "--now"), own.name not in stored(hub))[1], "what nobody needs is gone", seconds=60, every=0.5)
    assert stored(hub) == {shared.name, old.xorbs[0].name}
    two = again(hub, two)
    assert two.read(part.name) == part.data and two.read(old.name) == old.data
    # Of the file that is gone there is no trace, not even for the owner of both.
    assert two.plan(File((Term(shared), Term(own))).name).status == 404
    hub.fsck()


def test_what_was_never_committed_goes(hub, cas):
    at = cas()
    file, lone = at.upload(File.of(content(100_000))), Xorb.of(content(100_000, "lone"))
    assert at.put_xorb(lone).status == 200
    age(hub, 1)
    at = again(hub, at)
    assert at.read(file.name) == file.data and stored(hub) == {file.xorbs[0].name, lone.name}, "a client may be about to commit it"
    age(hub, 60, 60, 60)
    wait.until(lambda: (hub.run("maintain", "--now"), not stored(hub))[1], "nothing stays", seconds=60, every=0.5)
    at = again(hub, at)
    assert at.plan(file.name).status == 404 and at.commit(a_bin=file).status == 400
    # And all of it can be uploaded again.
    at.upload(file)
    assert at.commit(a_bin=file).status == 200 and at.read(file.name) == file.data
    hub.fsck()


@pytest.mark.parametrize("days", [10, 20, 27, 29, 34, 36, 45])
def test_a_client_remembers_for_weeks(hub, cas, days):
    """A shard that names xorbs of a deleted repository: taken for at least three weeks. If it is taken, it stays, however near the end was."""
    at, other = cas(), cas()
    file = at.upload(File.of(content(200_000)))
    delete(hub, at)
    age(hub, days)
    other = again(hub, other)
    answer = other.put_shard(file)
    assert answer.status == 200 or days > 21 and answer.status == 400 and "HF_XET_CACHE" in answer.json()["error"], answer.body
    if answer.status == 400:
        other.upload(file)
    assert other.commit(a_bin=file).status == 200
    age(hub, 3, 8, 30, 30)
    assert again(hub, other).read(file.name) == file.data
    hub.fsck()


def test_a_promise_is_kept(hub, cas):
    """Who is told of a xorb on the last day can use it for weeks."""
    at, other = cas(), cas()
    file = at.upload(File.of(content(6 * CHUNK)))
    first = xet.text(file.xorbs[0].leaves[0][0])
    delete(hub, at)
    age(hub, 26)
    other = again(hub, other)
    # In a deleted repository nothing is found any more; so it is brought, and promised to whoever asks.
    other.put_xorb(file.xorbs[0])
    other.put_shard(file)
    known = other.get(f"/v1/chunks/default/{first}")
    assert known.status == 200 and file.xorbs[0].name in xet.Known.of(known.body).xorbs
    age(hub, 6)
    assert again(hub, other).put_shard(file).status == 200


def test_what_was_removed_for_good(hub, cas):
    """By `granary lfs remove`: no door gives it out, until somebody uploads it again, as with Git LFS."""
    at = cas()
    file = at.upload(File.of(content(300_000)))
    assert at.commit(a_bin=file).status == 200
    hub.run("lfs", "remove", name_of(at), file.oid)
    assert at.plan(file.name).status in (404, 410)
    assert at.plan(file.name, "v1").status in (404, 410) and at.head(f"/v1/files/{file.name}").status in (404, 410)
    answer = at.hub.get(f"/{name_of(at)}/resolve/main/a.bin")
    assert answer.status in (404, 410) and "removed" in answer.headers["x-error-message"]
    row, = lfs_api.Api(hub, name_of(at), hub.admin_token).ask("download", file.data)
    assert row["error"]["code"] in (404, 410)
    age(hub, 60, 60, 60)
    wait.until(lambda: (hub.run("maintain", "--now"), not stored(hub))[1], "its bytes are gone, though a commit names it", seconds=60, every=0.5)
    at = again(hub, at)
    assert "removed" in at.hub.get(f"/{name_of(at)}/resolve/main/a.bin").headers["x-error-message"]
    at.upload(file)
    assert at.hub.get(f"/{name_of(at)}/resolve/main/a.bin").body == file.data
    hub.fsck()


# -- rights that go -----------------------------------------------------------------------------------------------


def test_a_repository_that_becomes_private(hub, cas):
    """Tokens that strangers were given before are worth nothing; the owner's go on, also under another name."""
    at = cas(private=False)
    name = name_of(at)
    file = at.upload(File.of(content(300_000)))
    bob = hub.user("bob")
    nobodys, bobs = Cas(hub, None, at.repo, "read"), Cas(hub, bob, at.repo, "read")
    assert nobodys.read(file.name) == bobs.read(file.name) == file.data
    first = xet.text(file.xorbs[0].leaves[0][0])
    assert at.hub.request("PUT", f"/api/models/{name}/settings", {"private": True}).status == 200
    for stranger in (nobodys, bobs):
        assert stranger.plan(file.name).status in (401, 404)
        assert stranger.get(f"/v1/chunks/default/{first}").status in (401, 404)
    assert at.read(file.name) == file.data
    # Renamed, it is the same repository.
    assert at.hub.post("/api/repos/move", {"fromRepo": name, "toRepo": "admin/moved", "type": "model"}).status == 200
    assert at.read(file.name) == file.data
    # Deleted and made again under its name, it is another one.
    owner = again(hub, cas("admin/second"))
    second = owner.upload(File.of(content(300_000, "second")))
    delete(hub, owner)
    new = cas("admin/second")
    assert owner.plan(second.name).status == 404 and owner.put_xorb(second.xorbs[0]).status == 404
    assert new.plan(second.name).status == 404 and new.put_shard(second).status == 200 and new.read(second.name) == second.data


def test_a_gated_repository(hub, cas):
    """Who was not let in gets no token, and hears nothing of its chunks."""
    at = cas(private=False)
    file = at.upload(File.of(content(300_000)))
    assert at.hub.request("PUT", f"/api/{at.repo}/settings", {"gated": "manual"}).status == 200
    bob = hub.user("bob")
    for token in (bob, None):
        answer = HubApi(hub.url, token).get(f"/api/{at.repo}/xet-read-token/main")
        assert answer.status in (401, 403) and answer.code == "GatedRepo", (answer.status, answer.code)
    HubApi(hub.url, bob).create("bob/x")
    bobs = Cas(hub, bob, "models/bob/x")
    assert bobs.get(f"/v1/chunks/default/{xet.text(file.xorbs[0].leaves[0][0])}").status == 404
    assert at.read(file.name) == file.data
