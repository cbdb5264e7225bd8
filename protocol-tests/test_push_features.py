"""Push as real git does it: what moves, what is refused, and in which words."""

import random
import sqlite3

import pytest

from harness import packs, wire
from harness.client import text


def push(hub, path, token, updates, pack=b"", **options):
    answer = wire.receive_pack(f"{hub.url}/{path}", wire.push_body(updates, pack, **options), token=token)
    assert answer.status == 200, answer.text()
    return wire.parse_push(answer.body)


def refs(hub, git, path, token):
    return git.refs(hub.git_url(path, token))


def test_several_refs_at_once(hub, any_git, tmp, repo, alice):
    path = repo()
    work = any_git.init(tmp / "work")
    work.commit()
    for name in ("a", "b", "dir/c"):
        work("branch", name)
    work("tag", "light")
    work("tag", "-a", "-m", "annotated", "annotated")
    work("push", "-q", "--all", hub.git_url(path, alice))
    work("push", "-q", "--tags", hub.git_url(path, alice))
    listed = refs(hub, any_git, path, alice)
    assert listed.pop("HEAD") == work("rev-parse", "HEAD")
    assert listed.pop("refs/tags/annotated^{}") == work("rev-parse", "annotated^{}")
    assert listed == work.refs()


@pytest.mark.shows("delete a ref")
def test_delete(hub, any_git, pushed, alice):
    path, work = pushed
    work("push", "-q", "origin", "main:gone", "main:refs/tags/t")
    work("push", "-q", "origin", ":gone", ":refs/tags/t")
    assert set(refs(hub, any_git, path, alice)) == {"HEAD", "refs/heads/main"}
    missing = work.run("push", "origin", ":refs/heads/never", check=False)
    assert "never" in text(missing.stderr)


def test_the_default_branch_is_not_deleted(hub, any_git, pushed, alice):
    path, work = pushed
    work("push", "-q", "origin", "main:other")
    refused = work.fails("push", "origin", ":main")
    assert "[remote rejected]" in refused and "default branch" in refused.lower().replace("current branch", "default branch")
    assert "refs/heads/main" in refs(hub, any_git, path, alice)


@pytest.mark.parametrize("first, head", [
    (["main"], "main"), (["trunk"], "trunk"), (["zeta", "main"], "main"), (["alpha", "beta"], None)])
def test_head_follows_the_first_branch(hub, any_git, tmp, repo, alice, first, head):
    path = repo()
    work = any_git.init(tmp / "work")
    work.commit()
    specs = [f"HEAD:refs/heads/{name}" for name in first]
    work("push", "-q", hub.git_url(path, alice), *specs)
    shown = any_git("ls-remote", "--symref", hub.git_url(path, alice), "HEAD").splitlines()[0]
    assert shown.startswith("ref: refs/heads/")
    assert head is None or shown == f"ref: refs/heads/{head}\tHEAD"
    # and stays there
    work("push", "-q", hub.git_url(path, alice), "HEAD:refs/heads/later")
    assert any_git("ls-remote", "--symref", hub.git_url(path, alice), "HEAD").splitlines()[0] == shown


@pytest.mark.shows("push --force")
def test_non_fast_forward(hub, any_git, tmp, pushed, alice):
    path, work = pushed
    before = work("rev-parse", "HEAD")
    work("commit", "-q", "--amend", "-m", "another history")
    assert "non-fast-forward" in work.fails("push", "origin", "main")
    work("push", "-q", "--force", "origin", "main")
    assert refs(hub, any_git, path, alice)["refs/heads/main"] == work("rev-parse", "HEAD")
    work("reset", "-q", "--hard", before)
    work("push", "-q", f"--force-with-lease=main:{work('rev-parse', 'origin/main')}", "origin", "main")
    assert "stale info" in work.fails("push", f"--force-with-lease=main:{'1' * 40}", "origin", "HEAD~:main")


def test_a_moved_ref_is_not_overwritten(hub, git, pushed, alice):
    """The old id of a command is what the pusher saw; anything else loses."""
    path, work = pushed
    tip, older = work("rev-parse", "HEAD"), work("rev-parse", "HEAD~")
    commit, pack = packs.single_commit()
    for old in (older, wire.ZERO, "1" * 40):
        result = push(hub, path, alice, [(old, commit, "refs/heads/main")], pack)
        assert result.refs["refs/heads/main"] != "ok"
        assert refs(hub, git, path, alice)["refs/heads/main"] == tip


@pytest.mark.parametrize("atomic", [False, True])
def test_atomic(hub, any_git, pushed, alice, atomic):
    path, work = pushed
    tip = work("rev-parse", "HEAD")
    updates = [(wire.ZERO, tip, "refs/heads/good"), ("1" * 40, tip, "refs/heads/main")]
    capabilities = [*wire.PUSH_CAPABILITIES, *(["atomic"] if atomic else [])]
    result = push(hub, path, alice, updates, packs.pack(), capabilities=capabilities)
    assert result.refs["refs/heads/main"] != "ok"
    assert (result.refs["refs/heads/good"] == "ok") is not atomic
    assert ("refs/heads/good" in refs(hub, any_git, path, alice)) is not atomic


@pytest.mark.shows("push --atomic")
def test_atomic_from_git(hub, any_git, tmp, pushed, alice):
    path, work = pushed
    other = any_git.clone(hub.git_url(path, alice), tmp / "other")
    other.commit("file", "theirs\n")
    other("push", "-q", "origin", "main")
    work.commit("file", "mine\n")
    refused = work.fails("push", "--atomic", "origin", "main", "HEAD:refs/heads/new")
    assert "rejected" in refused
    assert "refs/heads/new" not in refs(hub, any_git, path, alice)


@pytest.mark.shows("push options")
def test_push_options_are_recorded(hub, any_git, pushed):
    path, work = pushed
    work("push", "-q", "-o", "ci.skip", "-o", "unknown=kept as it is", "origin", "main:with-options")
    with sqlite3.connect(f"file:{hub.data}/granary.db?mode=ro", uri=True) as rows:
        messages = [row[0] for row in rows.execute("select message from ref_log where name = 'refs/heads/with-options'")]
    assert any(message.split("\n")[-2:] == ["ci.skip", "unknown=kept as it is"] for message in messages), messages


def test_hostile_push_options(hub, pushed, alice):
    path, work = pushed
    tip = work("rev-parse", "HEAD")
    capabilities = [*wire.PUSH_CAPABILITIES, "push-options"]
    for options in ([], [""], ["a\nb"], ["x" * 60000], ["\xff"], [f"o{n}" for n in range(2000)]):
        answer = wire.receive_pack(f"{hub.url}/{path}", wire.push_body(
            [(wire.ZERO, tip, "refs/heads/o")], packs.pack(), capabilities=capabilities, options=options), token=alice)
        assert answer.status in (200, 400, 413), (options[:1], answer.status)
        wire.receive_pack(f"{hub.url}/{path}", wire.push_body([(tip, wire.ZERO, "refs/heads/o")]), token=alice)


def test_directory_file_conflict(hub, any_git, pushed, alice):
    path, work = pushed
    work("push", "-q", "origin", "main:refs/heads/a")
    refused = work.fails("push", "origin", "main:refs/heads/a/b")
    assert "[remote rejected]" in refused and "refs/heads/a' exists; cannot create 'refs/heads/a/b'" in refused
    work("push", "-q", "origin", "main:refs/heads/x/y")
    assert "cannot create 'refs/heads/x'" in work.fails("push", "origin", "main:refs/heads/x")
    both = push(hub, path, alice, [(wire.ZERO, work("rev-parse", "HEAD"), name) for name in ("refs/heads/p", "refs/heads/p/q")],
                packs.pack())
    assert sorted(value == "ok" for value in both.refs.values()) == [False, True]
    tip = work("rev-parse", "HEAD")
    swapped = push(hub, path, alice, [(tip, wire.ZERO, "refs/heads/a"), (wire.ZERO, tip, "refs/heads/a/b")], packs.pack(),
                   capabilities=[*wire.PUSH_CAPABILITIES, "atomic"])
    assert swapped.ok, swapped
    listed = refs(hub, any_git, path, alice)
    assert "refs/heads/a/b" in listed and "refs/heads/a" not in listed


def test_empty_pack_and_no_pack(hub, any_git, pushed, alice):
    path, work = pushed
    tip = work("rev-parse", "HEAD")
    assert push(hub, path, alice, [(wire.ZERO, tip, "refs/heads/empty-pack")], packs.pack()).ok
    assert push(hub, path, alice, [(tip, wire.ZERO, "refs/heads/empty-pack")]).ok


@pytest.mark.shows("thin packs")
def test_thin_pack(hub, any_git, tmp, pushed, alice):
    """A delta whose base only the server has."""
    path, work = pushed
    big = "".join(f"line {n}\n" for n in range(3000))
    work.commit("big", big)
    work("push", "-q", "--thin", "origin", "main")
    work.commit("big", big.replace("line 1500\n", "changed\n"))
    pack = work.run("pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q",
                    input=f"{work('rev-parse', 'main')}\n^{work('rev-parse', 'main~')}\n").stdout
    assert len(pack) < 2000, "thin indeed"
    assert push(hub, path, alice, [(work("rev-parse", "main~"), work("rev-parse", "main"), "refs/heads/main")], pack).ok
    copy = any_git.clone(hub.git_url(path, alice), tmp / "copy")
    assert (tmp / "copy/big").read_text() == big.replace("line 1500\n", "changed\n")
    copy.fsck()
    for branch in ("--thin", "--no-thin"):
        work.commit("big", big + branch)
        work("push", "-q", branch, "origin", "main")


def test_shallow_push_is_accepted_iff_the_closure_holds(hub, git, tmp, pushed, repo, alice):
    path, work = pushed
    shallow = git.clone(f"file://{work.cwd}", tmp / "shallow", "--depth=1")
    elsewhere = repo()
    refused = shallow.fails("push", hub.git_url(elsewhere, alice), "main")
    assert "shallow update not allowed" in refused or "missing necessary objects" in refused
    assert refs(hub, git, elsewhere, alice) == {}
    shallow.commit("new", "new\n")
    shallow("push", "-q", hub.git_url(path, alice), "main")


def test_reserved_refs(hub, any_git, pushed, alice):
    path, work = pushed
    for name in ("refs/pr/1", "refs/convert/parquet"):
        refused = work.fails("push", "origin", f"main:{name}")
        assert "[remote rejected]" in refused
    listing = wire.upload_pack(f"{hub.url}/{path}", wire.ls_refs_body("ref-prefix refs/"), token=alice).body
    assert b"refs/pr/" not in listing and b"refs/convert/" not in listing


def test_any_other_ref_under_refs(hub, any_git, pushed, alice):
    path, work = pushed
    work("push", "-q", "origin", "main:refs/notes/commits", "main:refs/custom/deep/er")
    assert {"refs/notes/commits", "refs/custom/deep/er"} <= set(refs(hub, any_git, path, alice))


@pytest.mark.parametrize("name", [
    "refs/heads/a..b", "refs/heads/.hidden", "refs/heads/x.lock", "refs/heads/sp ace", "refs/heads/a~1", "refs/heads/^", "refs/heads/a:b",
    "refs/heads/a//b", "refs/heads/", "refs/heads/a.", "refs/heads/@{x", "refs/heads/q?", "refs/heads/s*", "refs/heads/br[",
    "refs/heads/back\\slash", "refs/heads/\x7f", "refs/heads/\x01", "refs", "refs/stash", "main", "HEAD", "heads/main", "../refs/heads/x",
    "refs/heads/a/../b"])
def test_ref_names_that_git_refuses(hub, git, pushed, alice, name):
    path, work = pushed
    before = refs(hub, git, path, alice)
    tip = work("rev-parse", "HEAD")
    answer = wire.receive_pack(f"{hub.url}/{path}", wire.push_body(
        [(wire.ZERO, tip, name), (wire.ZERO, tip, "refs/heads/fine")], packs.pack()), token=alice)
    result = wire.parse_push(answer.body)
    assert result.refs.get(name) != "ok" and result.all_text().strip(), result
    after = refs(hub, git, path, alice)
    after.pop("refs/heads/fine", None)
    assert after == before


@pytest.mark.parametrize("name", [b"refs/heads/\xc3\xbcml\xc3\xa4ut", b"refs/heads/a.b", b"refs/heads/-dash", b"refs/heads/@", b"refs/heads/" + b"n" * 200])
def test_ref_names_that_git_accepts(hub, git, pushed, alice, name):
    path, work = pushed
    result = push(hub, path, alice, [(wire.ZERO, work("rev-parse", "HEAD"), name)], packs.pack())
    assert result.ok, result
    assert name.decode() in refs(hub, git, path, alice)


def test_tags_may_be_moved_only_by_force(hub, any_git, pushed):
    _, work = pushed
    work("tag", "v1", "HEAD~")
    work("push", "-q", "origin", "v1")
    work("tag", "-f", "v1", "HEAD")
    assert "already exists" in work.fails("push", "origin", "v1")
    work("push", "-q", "--force", "origin", "v1")


def test_a_branch_must_be_a_commit(hub, pushed, alice):
    path, work = pushed
    tree = work("rev-parse", "HEAD^{tree}")
    result = push(hub, path, alice, [(wire.ZERO, tree, "refs/heads/tree")], packs.pack())
    assert result.refs["refs/heads/tree"] != "ok"
    assert push(hub, path, alice, [(wire.ZERO, tree, "refs/tags/tree")], packs.pack()).ok


@pytest.mark.parametrize("dropped", [(), ("side-band-64k",), ("report-status",), ("report-status", "side-band-64k"), ("delete-refs",)])
def test_clients_with_fewer_capabilities(hub, git, pushed, alice, dropped):
    path, _ = pushed
    commit, pack = packs.single_commit(message=f"{dropped}\n")
    kept = [item for item in wire.PUSH_CAPABILITIES if item not in dropped]
    answer = wire.receive_pack(
        f"{hub.url}/{path}", wire.push_body([(wire.ZERO, commit, "refs/heads/c")], pack, capabilities=kept), token=alice)
    assert answer.status == 200
    if "report-status" in kept:
        assert wire.parse_push(answer.body, side_band="side-band-64k" in kept).ok
    assert refs(hub, git, path, alice)["refs/heads/c"] == commit


def test_report_status_v2_and_quiet(hub, pushed, alice):
    path, _ = pushed
    commit, pack = packs.single_commit()
    capabilities = ["report-status-v2", "side-band-64k", "quiet", "object-format=sha1", wire.AGENT]
    assert push(hub, path, alice, [(wire.ZERO, commit, "refs/heads/v2")], pack, capabilities=capabilities).ok


def test_receive_pack_advertisement(hub, pushed, alice):
    path, work = pushed
    for version in (None, 1, 2):
        answer = wire.advertisement(f"{hub.url}/{path}", "git-receive-pack", version=version, token=alice)
        listed, capabilities, service = wire.parse_advertisement(answer.body)
        assert listed["refs/heads/main"] == work("rev-parse", "HEAD")
        assert {"report-status", "report-status-v2", "delete-refs", "side-band-64k", "quiet", "atomic", "ofs-delta",
                "push-options", "object-format=sha1"} <= set(capabilities)
        assert service is (version != 2), "git's own quirk: no service line for version 2"
        assert answer.headers["content-type"] == "application/x-git-receive-pack-advertisement"


@pytest.mark.shows("chunked push")
def test_a_large_push_is_probed_and_chunked(hub, any_git, tmp, repo, alice):
    """Beyond http.postBuffer git first sends `0000`, then a chunked body."""
    path = repo()
    work = any_git.init(tmp / "work")
    work.commit("noise", random.Random(1).randbytes(3 << 20))
    work("push", "-q", hub.git_url(path, alice), "main")
    copy = any_git.clone(hub.git_url(path, alice), tmp / "copy")
    assert (tmp / "copy/noise").read_bytes() == (tmp / "work/noise").read_bytes()
    copy.fsck()
    refused = work.fails("push", hub.git_url(path), "main:refs/heads/anonymous")
    assert "could not read Username" in refused


def test_everything_up_to_date(hub, any_git, pushed):
    _, work = pushed
    assert "Everything up-to-date" in text(work.run("push", "origin", "main").stderr)


def test_followed_by_maintenance_nothing_is_lost(hub, any_git, tmp, repo, alice):
    path = repo()
    work = any_git.init(tmp / "work")
    url = hub.git_url(path, alice)
    for number in range(40):
        work.commit(f"f{number % 5}", f"{number}\n" * 50)
        work("push", "-q", url, "main")
    before = work.objects("main")
    hub.run("maintain", "--now")
    copy = any_git.clone(url, tmp / "copy")
    assert copy.objects("--all") == before
    copy.fsck()
    work.commit("after", "after\n")
    work("push", "-q", url, "main")
    copy("pull", "-q")
    copy.fsck()


def test_100k_refs_in_one_push(hub, git, alice, repo):
    """By hand: a real git spends minutes on its own side of this."""
    path = repo()
    tip, pack = packs.single_commit()
    names = [f"refs/tags/r/{number:06d}" for number in range(99_999)]
    assert push(hub, path, alice, [(wire.ZERO, tip, name) for name in ("refs/heads/main", *names)], pack).ok
    listed = refs(hub, git, path, alice)
    assert len(listed) == 100_001
    assert push(hub, path, alice, [(tip, wire.ZERO, name) for name in names]).ok
    assert set(refs(hub, git, path, alice)) == {"HEAD", "refs/heads/main"}
