"""Quotas by reservation, and what collections, sweeps and removals leave."""

import pytest

from harness import lfs, lfs_api
from harness.lfs import MIB, content
from harness.lfs_api import Api


@pytest.fixture
def owned(fresh_hub, engine, engine_settings, bucket, tmp):
    """A hub of this test's own; owned.keys() is what its store holds."""
    class Owned:
        def __init__(self, **settings):
            self.hub = fresh_hub(settings=engine_settings(**settings), debug=True)
            self.token = self.hub.user("alice")

        def repo(self, name="r"):
            return Api(self.hub, self.hub.repo(f"alice/{name}"), self.token)

        def keys(self):
            if engine == "s3":
                return sorted(key.removeprefix(f"{tmp.name}/") for key in bucket.keys(f"{tmp.name}/objects/"))
            return sorted(str(file.relative_to(self.hub.data)) for file in (self.hub.data / "objects").rglob("*") if file.is_file())

        def later(self, days, rounds=1):
            for _ in range(rounds):
                self.hub.run("debug", "clock", f"+{days}d")
                self.hub.run("maintain", "--now")

        def usage(self):
            return self.hub.run("quota", "alice").stdout

    return Owned


# -- quota --------------------------------------------------------------------------------------------------------


def test_what_fits_is_granted_and_the_rest_is_507(owned):
    at_home = owned()
    at = at_home.repo()
    at_home.hub.run("quota", "alice", "1MiB")
    fits, over = content(MIB - 1000, "fits"), content(2000, "over")
    rows = at.ask("upload", fits, over)
    assert rows[0]["actions"]["upload"]
    assert rows[1]["error"]["code"] == 507
    said = rows[1]["error"]["message"]
    assert said.startswith("alice has used") and " of " in said, said
    lfs_api.put(rows[0]["actions"]["upload"], fits)
    if "verify" in rows[0]["actions"]:
        lfs_api.verify(rows[0]["actions"]["verify"], fits)
    assert at.has(fits)
    assert at.grant(content(1000, "exactly")), "to the byte"


def test_reservations_count_once_and_expire(owned):
    at_home = owned()
    at = at_home.repo()
    at_home.hub.run("quota", "alice", "1MiB")
    first, second = content(700_000, 1), content(700_000, 2)
    for _ in range(5):
        assert at.grant(first), "asking again reserves nothing more"
    assert at.error("upload", second)["code"] == 507
    at_home.later(30, 2)
    assert at.grant(second), "what was reserved and never sent is free again"


def test_a_quota_is_of_the_namespace(owned):
    """All its repositories and kinds together, each (repository, object) once; others are not touched."""
    at_home = owned()
    at_home.hub.run("quota", "alice", "1MiB")
    data = content(500_000, "same")
    first, second = at_home.repo("one"), Api(at_home.hub, at_home.hub.repo("datasets/alice/two"), at_home.token)
    first.upload(data)
    second.upload(data)
    third = at_home.repo("three")
    assert third.error("upload", content(100_000, "x"))["code"] == 507
    admin = Api(at_home.hub, at_home.hub.repo("admin/free"), at_home.hub.admin_token)
    assert admin.grant(content(2 * MIB, "other"))
    at_home.hub.run("repo", "delete", "datasets/alice/two")
    assert third.grant(content(100_000, "x"))


def test_the_command(owned):
    at_home = owned(**{"lfs.quota": "2MiB"})
    at = at_home.repo()
    assert at.error("upload", (lfs.oid(b"x"), 2 * MIB + 1))["code"] == 507, "the default of the node"
    at_home.hub.run("quota", "alice", "none")
    assert at.grant((lfs.oid(b"x"), 3 * MIB))
    at_home.later(30, 2)
    at_home.hub.run("quota", "alice", "default")
    assert at.error("upload", (lfs.oid(b"y"), 2 * MIB + 1))["code"] == 507
    data = content(1000, "usage")
    at.upload(data)
    assert "1000" in at_home.usage().replace(",", "") or "1000 B" in at_home.usage(), at_home.usage()
    for bad in (("nobody", "1MiB"), ("alice", "many"), ("alice", "-1")):
        done = at_home.hub.run("quota", *bad, check=False)
        assert done.returncode in (1, 2) and done.stderr


def test_what_is_there_costs_nothing(owned):
    at_home = owned()
    at = at_home.repo()
    data = content(500_000, "there")
    at.upload(data)
    at_home.hub.run("quota", "alice", "1KiB")
    assert at.grant(data) is None
    assert at.download(data) == data, "a quota takes nothing away"
    assert at.error("upload", content(10, "more"))["code"] == 507


# -- collection ---------------------------------------------------------------------------------------------------


def commit_and_push(at, git, tmp, data, name="work", branch="main"):
    work = git.init(tmp / name)
    lfs.commit_pointer(work, "a.bin", data)
    work("push", "-q", at.hub.git_url(at.path, at.token), f"main:{branch}")
    return work


def test_what_is_referenced_stays(owned, git, tmp):
    at_home = owned()
    at = at_home.repo()
    data = content(100_000, "kept")
    at.upload(data)
    commit_and_push(at, git, tmp, data)
    keys = at_home.keys()
    at_home.later(100, 3)
    at_home.hub.run("gc")
    at_home.hub.run("gc", "--purge", at.path)
    at_home.later(100, 3)
    assert at_home.keys() == keys and at.has(data)
    at_home.hub.fsck()


def test_what_no_commit_names_goes(owned):
    """Not before its age, not before its grace; a dry run says what would go."""
    at_home = owned()
    at = at_home.repo()
    data = content(100_000, "unreferenced")
    at.upload(data)
    at_home.hub.run("gc")
    at_home.later(1)
    at_home.hub.run("gc")
    assert at.has(data), "an upload precedes its commit, by hours"
    at_home.hub.run("debug", "clock", "+60d")
    dry = at_home.hub.run("gc", "--dry-run").stdout
    assert "100000" in dry.replace(",", "") or "97" in dry, dry
    assert at.has(data) and at_home.keys()
    at_home.hub.run("gc")
    assert not at.has(data), "unlinked"
    assert at_home.keys(), "condemned, not gone"
    at_home.later(60, 2)
    assert not at_home.keys()
    at.upload(data)
    assert at_home.keys()
    at_home.hub.fsck()


def test_a_deleted_branch(owned, git, tmp):
    """Objects go as its commits go, not earlier."""
    at_home = owned()
    at = at_home.repo()
    kept, dropped = content(1000, "kept"), content(1000, "dropped")
    at.upload(kept)
    at.upload(dropped)
    commit_and_push(at, git, tmp, kept)
    side = commit_and_push(at, git, tmp, dropped, "side", "side")
    url = at.hub.git_url(at.path, at.token)
    side("push", "-q", url, ":side")
    at_home.later(1)
    at_home.hub.run("gc")
    assert at.has(dropped), "the ref log still knows it"
    at_home.hub.run("gc", "--purge", at.path)
    assert not at.has(dropped) and at.has(kept)
    assert len(at_home.keys()) == 1, "a purge is at once"
    at_home.hub.fsck()


def test_an_object_of_two_repositories(owned, git, tmp):
    at_home = owned()
    one, two = at_home.repo("one"), at_home.repo("two")
    data = content(100_000, "two")
    for at in (one, two):
        at.upload(data)
        commit_and_push(at, git, tmp, data, at.path.replace("/", "-"))
    at_home.hub.run("repo", "delete", one.path)
    at_home.later(60, 3)
    assert len(at_home.keys()) == 1 and two.has(data)
    at_home.hub.run("repo", "delete", two.path)
    at_home.later(60, 3)
    assert not at_home.keys()


def test_uploads_nobody_finished(owned, engine):
    """The janitor frees what was reserved and what was sent."""
    at_home = owned()
    at = at_home.repo()
    at_home.hub.run("quota", "alice", "100MiB")
    data = content(64 * MIB + 1, "parts")
    action = at.grant(data, transfers=["multipart", "basic"])["upload"]
    lfs_api.put_parts(action, data, only=(1, 2, 3))
    at_home.later(30, 3)
    assert not at_home.keys()
    if engine == "disk":
        assert not list((at_home.hub.data / "staging").iterdir())
    assert at.grant((lfs.oid(b"again"), 90 * MIB)), "the reservation is gone too"


def test_removed_for_good(owned, git, tmp):
    """A removal is told to pushes and readers; the rest of the repository works."""
    at_home = owned()
    at = at_home.repo()
    data = content(1000, "removed")
    at.upload(data)
    work = commit_and_push(at, git, tmp, data)
    at_home.hub.run("lfs", "remove", at.path, lfs.oid(data))
    assert at.error("download", data)["code"] == 410
    work.commit("plain.txt", "plain\n")
    work("push", "-q", at.hub.git_url(at.path, at.token), "main")
    again = git.init(tmp / "again")
    lfs.commit_pointer(again, "other.bin", data)
    said = again.fails("push", at.hub.git_url(at.path, at.token), "main:again")
    assert "other.bin" in said and lfs.oid(data) in said and "removed" in said, said
    at_home.later(60, 3)
    assert not at_home.keys()
    done = at_home.hub.run("lfs", "remove", at.path, "0" * 64, check=False)
    assert done.returncode == 1 and "0" * 64 in done.stderr


# -- pushes -------------------------------------------------------------------------------------------------------


def test_pointers_a_push_may_not_bring(owned, git, tmp):
    at_home = owned()
    at, other = at_home.repo(), at_home.repo("other")
    here, elsewhere, nowhere = content(1000, "here"), content(1000, "elsewhere"), content(1000, "nowhere")
    at.upload(here)
    other.upload(elsewhere)
    url = at.hub.git_url(at.path, at.token)
    for number, (data, size, words) in enumerate(((nowhere, None, ""), (elsewhere, None, ""), (here, 999, "1000"))):
        work = git.init(tmp / f"bad{number}")
        work.commit("README", "readme\n")
        lfs.commit_pointer(work, "deep/er/model.bin", lfs.oid(data), size or len(data))
        said = work.fails("push", url, "main:refs/heads/new", "main~1:refs/heads/also")
        assert "deep/er/model.bin" in said and lfs.oid(data) in said and words in said, said
        assert git.refs(url) == {}
    many = git.init(tmp / "many")
    for number in range(15):
        lfs.commit_pointer(many, f"f{number}.bin", content(100, f"missing {number}"))
    said = many.fails("push", url, "main")
    assert "15" in said and said.count("f1") < 15, "the first ten by name, and how many in all"
    empty = git.init(tmp / "empty")
    lfs.commit_pointer(empty, "empty.bin", lfs.oid(b""), 0)
    empty("push", "-q", url, "main:refs/heads/empty")
    at_home.hub.run("repo", "create", "alice/part", "--private", "--lfs-incomplete")
    many("push", "-q", at.hub.git_url("alice/part", at.token), "main")


def test_import_and_export(owned, git, tmp):
    """LFS objects travel with the repository; what is missing or damaged is named."""
    at_home = owned()
    work = lfs.CLIENTS[0].init(git, tmp / "work")
    data = content(300_000, "import")
    name = lfs.oid(data)
    work.commit("a.bin", data)
    at_home.hub.run("repo", "import", work.cwd / ".git", "alice/in")
    assert Api(at_home.hub, "alice/in", at_home.token).download(data) == data
    at_home.hub.run("repo", "export", "alice/in", tmp / "out.git")
    file = tmp / "out.git/lfs/objects" / name[:2] / name[2:4] / name
    assert file.read_bytes() == data
    at_home.hub.run("repo", "import", tmp / "out.git", "alice/again")
    assert Api(at_home.hub, "alice/again", at_home.token).download(data) == data

    def refused(path):
        done = at_home.hub.run("repo", "import", tmp / "out.git", path, check=False)
        assert done.returncode == 1 and "a.bin" in done.stderr and name in done.stderr, done
        assert path not in at_home.hub.run("repo", "list").stdout or not git.refs(at_home.hub.git_url(path, at_home.token))

    def left_out(path):
        at_home.hub.run("repo", "import", tmp / "out.git", path, "--lfs-incomplete")
        assert f"{path}\tprivate\tlfs-incomplete\t" in at_home.hub.run("repo", "list").stdout
        assert git.refs(at_home.hub.git_url(path, at_home.token)) == {**work.refs(), "HEAD": work("rev-parse", "HEAD")}
        at = Api(at_home.hub, path, at_home.token)
        assert not at.has(data) and not at.has(damaged), "not even as another repository has it"
        at.upload(data)
        assert at.download(data) == data, "it can come later"

    damaged = content(300_000, "damaged")
    file.chmod(0o600)
    file.write_bytes(damaged)
    refused("alice/damaged")
    left_out("alice/damaged-part")
    file.unlink()
    refused("alice/missing")
    left_out("alice/missing-part")


def test_backup_and_restore(owned, git, tmp):
    at_home = owned()
    at = at_home.repo()
    data = content(300_000, "backup")
    at.upload(data)
    commit_and_push(at, git, tmp, data)
    at_home.hub.run("backup", tmp / "backup")
    at_home.hub.stop()
    restored = at_home.hub.directory / "restored"
    at_home.hub.run("restore", tmp / "backup", data=restored)
    before, at_home.hub.data = at_home.hub.data, restored
    at_home.hub.start()
    assert at.download(data) == data
    at_home.hub.fsck()
    at_home.hub.stop()
    at_home.hub.data = before
    at_home.hub.start()


def test_fsck_finds_a_flipped_byte(owned, engine, git, tmp):
    if engine == "s3":
        pytest.skip("test_lfs_s3 has its own")
    at_home = owned()
    at = at_home.repo()
    data = content(300_000, "fsck")
    at.upload(data)
    commit_and_push(at, git, tmp, data)
    key, = at_home.keys()
    file = at_home.hub.data / key
    file.chmod(0o600)
    for damaged in (data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], data[:-1], data + b"x", b""):
        file.write_bytes(damaged)
        done = at_home.hub.run("fsck", check=False)
        assert done.returncode == 1 and lfs.oid(data) in done.stdout, done.stdout
    file.unlink()
    assert at_home.hub.run("fsck", check=False).returncode == 1
    file.write_bytes(data)
    at_home.hub.fsck()
