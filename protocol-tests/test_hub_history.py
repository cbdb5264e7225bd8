"""Histories looked at and put in order: comparison of revisions, squashing."""

import time

import pytest

from harness.api import HubApi, file
from harness.hf import Hf

newest = pytest.mark.client("huggingface_hub", "2.4.0")
shows = pytest.mark.shows


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def hf(hub, alice, tmp):
    return Hf(hub.url, alice, tmp / "hf-home")


@pytest.fixture
def work(hub, repo, git, tmp, alice):
    """A repository of alice's, public, and a clone of it with a first commit."""
    name = repo(public=True)
    clone = git.init(tmp / "work", "-b", "main")
    clone("remote", "add", "origin", hub.git_url(name, alice))
    clone.commit("a.txt", "one\ntwo\nthree\n")
    return name, clone


def by_git(clone, *revisions):
    return clone.run("diff", "--full-index", "--no-renames", *revisions).stdout


@pytest.mark.covers("hub.compare")
def test_compared_as_git_compares(api, work):
    name, clone = work
    (clone.cwd / "with space").mkdir()
    clone.commit("with space/ümlaut", "no end")
    clone.commit("binary", b"\0\1\2")
    clone.commit("script", "#!/bin/sh\n")
    base = clone("rev-parse", "HEAD")
    clone("checkout", "-q", "-b", "side")
    clone.commit("side.txt", "side\n")
    clone.commit("a.txt", "one\n2\nthree\n")
    clone("update-index", "--chmod=+x", "script")
    clone("commit", "-q", "-m", "mode")
    clone("rm", "-q", "binary")
    clone("commit", "-q", "-m", "gone")
    clone("checkout", "-q", "-f", "main")
    clone.commit("with space/ümlaut", "an end\n")
    clone.commit("model.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 0\n")
    clone("tag", "-a", "-m", "v1", "v1", base)
    clone("push", "-q", "origin", "main", "side", "v1")
    main, side = clone("rev-parse", "main"), clone("rev-parse", "side")
    for asked, revisions in [(f"{base}..{main}", (base, main)), ("main..side", ("main", "side")), ("side..main", ("side", "main")),
                             ("main...side", ("main...side",)), ("v1...main", ("v1...main",)), ("v1..refs%2Fheads%2Fside", ("v1", "side")),
                             (f"..{side[:9]}", ("main", "side")), ("side..", ("side", "main")), ("side..side", ("side", "side"))]:
        answer = api.get(f"/api/models/{name}/compare/{asked}?raw=1")
        assert answer.status == 200 and answer.body == by_git(clone, *revisions), (asked, answer.body)
        assert answer.headers["content-type"].startswith("text/plain") and len(answer.headers["x-repo-commit"]) == 40
    patch = api.get(f"/api/models/{name}/compare/{base}..side").body
    clone("checkout", "-q", base)
    clone("apply", "--index", "--exclude=binary", input=patch.decode())
    assert clone("diff", "--name-only", "--cached", "side") == "binary"


@pytest.mark.covers("hub.compare")
def test_comparisons_that_cannot_be_made(hub, api, work, repo):
    name, clone = work
    clone("push", "-q", "origin", "main")
    clone("checkout", "-q", "--orphan", "other")
    clone.commit("b.txt", "b\n")
    clone("push", "-q", "origin", "other")
    for asked, status, code in [("main", 400, None), ("main..nope", 404, "RevisionNotFound"), ("0000000..main", 404, "RevisionNotFound"),
                                ("main...other", 422, None), ("main..." + "n" * 3000, 404, "RevisionNotFound")]:
        answer = api.get(f"/api/models/{name}/compare/{asked}")
        assert answer.status == status and (code is None or answer.code == code), (asked, answer.status, answer.body)
        assert answer.headers["x-error-message"], asked
    assert api.get(f"/api/models/{name}/compare/main..other").status == 200
    private = repo()
    assert HubApi(hub.url).get(f"/api/models/{private}/compare/a..b").code == "RepoNotFound"
    assert HubApi(hub.url, hub.tokens["bob"]).get(f"/api/models/{private}/compare/a..b").status == 404


@pytest.mark.covers("hub.compare")
def test_a_large_comparison_begins_at_once(hub, api, work, alice):
    """And is not held in memory while its reader takes its time."""
    name, clone = work
    for number in range(1000):
        (clone.cwd / f"f{number:04}").write_text("".join(f"{number} {line}\n" for line in range(300)))
    clone("add", "-A")
    clone("commit", "-q", "-m", "old")
    for number in range(1000):
        (clone.cwd / f"f{number:04}").write_text("".join(f"{number} {line * (1 + line % 5)}\n" for line in range(300)))
    clone("commit", "-q", "-a", "-m", "new")
    clone("push", "-q", "origin", "main")
    import urllib.request
    request = urllib.request.Request(f"{hub.url}/api/models/{name}/compare/main~1..main".replace("main~1", clone("rev-parse", "HEAD~1")),
                                     headers={"Authorization": f"Bearer {alice}"})
    taken = []
    for _ in range(3):
        started = time.monotonic()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            first = answer.read(1)
            taken.append(time.monotonic() - started)
            body = first + answer.read()
        assert body == by_git(clone, "HEAD~1", "HEAD")
    print(f"first byte after {min(taken) * 1000:.1f} ms of {len(body)} bytes")


@newest
@shows("super_squash_history")
@pytest.mark.covers("hub.super-squash")
def test_a_history_is_squashed(hub, hf, api, git, tmp, alice):
    name = f"alice/q{next(hub.names)}"
    told = hf.python("""
name = sys.argv[1]
api.create_repo(name)
for n in range(3):
    api.upload_file(path_or_fileobj=f"{n}".encode(), path_in_repo="n.txt", repo_id=name)
api.upload_file(path_or_fileobj=b"x" * 100, path_in_repo="m.safetensors", repo_id=name)
api.create_tag(name, tag="v1")
api.create_branch(name, branch="dev")
files = sorted(api.list_repo_files(name))
api.super_squash_history(name, commit_message="all at once")
api.super_squash_history(name, branch="dev")
log = [(c.title, len(api.list_repo_commits(name, revision="dev"))) for c in api.list_repo_commits(name)]
tell(dict(log=log, same=sorted(api.list_repo_files(name)) == files, old=len(api.list_repo_commits(name, revision="v1")),
          missing=fails(errors.RevisionNotFoundError, api.super_squash_history, name, branch="nope"),
          tag=fails(errors.BadRequestError, api.super_squash_history, name, branch="v1")))
""", name)
    assert told["log"] == [["all at once", 1]] and told["same"] and told["old"] == 5
    assert "Invalid reference" in told["tag"]
    clone = git.clone(hub.git_url(name, alice), tmp / "clone")
    assert clone("rev-list", "--count", "HEAD") == "1" and (clone.cwd / "n.txt").read_text() == "2"
    clone("fsck", "--full", "--strict")
    assert clone("rev-parse", "HEAD^{tree}") == clone("rev-parse", "v1^{tree}")
    bob = HubApi(hub.url, hub.tokens["bob"])
    assert bob.post(f"/api/models/{name}/super-squash/main", {}).status == 404
    # One that pushes meanwhile does not lose anything: its push is refused, or squashed too.
    assert api.commit(f"models/{name}", file("later.txt", "later"), parent=clone("rev-parse", "HEAD")).status == 200
    assert api.post(f"/api/models/{name}/super-squash/main", {"message": "again"}).status == 200
    clone("fetch", "-q", "origin")
    assert clone("rev-list", "--count", "origin/main") == "1" and clone("show", "origin/main:later.txt") == "later"
