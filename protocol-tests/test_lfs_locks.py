"""Locks by `git lfs lock`, and what the server itself refuses because of them."""

import json
import re
from urllib.parse import quote

import pytest

from harness import compatibility, lfs
from harness.client import text
from harness.lfs import content
from harness.lfs_api import Api, message


@pytest.fixture
def engine():
    return "disk"


@pytest.fixture(params=[compatibility.git_lfs(item) for item in lfs.CLIENTS if not item.agent])
def lfs_client(request):
    """Hugging Face's agent is the same git-lfs as far as locks go."""
    return request.param


@pytest.fixture
def hub(lfs_hub):
    return lfs_hub


@pytest.fixture
def team(hub, lfs_client, git, tmp):
    """A repository that alice and admin may push to: {name: work tree}. There is another namespace's owner, bob, who may not."""
    path = hub.repo(f"alice/locks{next(hub.names)}", public=True)
    works = {}
    for name in ("alice", "admin"):
        home = git.__class__(git.binary, tmp / f"home-{name}", tmp)
        if not works:
            work = lfs_client.init(home, tmp / name, hub.url)
            (work.cwd / "dir/sub").mkdir(parents=True)
            for file in ("a.bin", "b.bin", "dir/c.bin", "dir/sub/d.bin"):
                (work.cwd / file).write_bytes(content(100, f"{path} {file}"))
            work("add", ".")
            work.commit("plain.txt", "plain\n")
            work("remote", "add", "origin", hub.git_url(path, hub.tokens[name]))
            work("push", "-q", "origin", "main")
        else:
            work = lfs_client.of(home, hub.url).clone(hub.git_url(path, hub.tokens[name]), tmp / name)
            lfs_client.enable(work)
        works[name] = work
    works["path"] = path
    return works


def change(work, name, what="changed\n"):
    work.commit(name, what if name.endswith(".txt") else content(200, f"{what}{name}"))


def api_of(hub, team, name):
    return Api(hub, team["path"], hub.tokens[name])


@pytest.mark.shows("lock, locks, unlock")
def test_lock_list_unlock(hub, team):
    alice, admin = team["alice"], team["admin"]
    assert "Locked a.bin" in alice("lfs", "lock", "a.bin")
    alice("lfs", "lock", "dir/c.bin")
    listed = json.loads(admin("lfs", "locks", "--json"))
    assert [(lock["path"], lock["owner"]["name"]) for lock in listed] == [("a.bin", "alice"), ("dir/c.bin", "alice")]
    assert all(re.fullmatch(r"\w+", lock["id"]) for lock in listed)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lock["locked_at"]) for lock in listed)
    assert "a.bin" in admin("lfs", "locks", "--path", "a.bin") and "c.bin" not in admin("lfs", "locks", "--path", "a.bin")
    assert len(admin("lfs", "locks", "--limit", "1").splitlines()) == 1
    said = admin.fails("lfs", "lock", "a.bin")
    assert "already" in said or "exists" in said, said
    said = admin.fails("lfs", "unlock", "a.bin")
    assert "alice" in said or "force" in said or "403" in said, said
    alice("lfs", "unlock", "a.bin")
    alice("lfs", "unlock", "--id", listed[1]["id"])
    assert admin("lfs", "locks") == ""


@pytest.mark.shows("locks --verify")
def test_locks_verify_marks_ours(hub, team):
    team["alice"]("lfs", "lock", "a.bin")
    team["admin"]("lfs", "lock", "b.bin")
    rows = team["alice"]("lfs", "locks", "--verify").splitlines()
    assert [row.startswith("O ") for row in rows if "a.bin" in row] == [True]
    assert [row.startswith("O ") for row in rows if "b.bin" in row] == [False]


@pytest.mark.shows("unlock --force")
def test_unlock_by_force(hub, team):
    team["alice"]("lfs", "lock", "a.bin")
    assert "Unlocked" in team["admin"]("lfs", "unlock", "--force", "a.bin")
    assert team["alice"]("lfs", "locks") == ""


@pytest.mark.shows("push against another's lock is refused")
def test_a_foreign_lock_refuses_a_push(hub, team):
    """The server itself: the client is told not to ask."""
    team["alice"]("lfs", "lock", "a.bin")
    admin = team["admin"].with_config("lfs.locksverify=false")
    change(admin, "a.bin")
    said = admin.fails("push", "origin", "main")
    assert "locked by alice" in said and "a.bin" in said and "unlock" in said, said
    change(admin, "b.bin")
    assert "a.bin" in admin.fails("push", "origin", "main"), "a later commit changes nothing"
    admin("push", "-q", "origin", "main:refs/tags/free")
    team["alice"]("lfs", "unlock", "a.bin")
    admin("push", "-q", "origin", "main")


def test_the_owner_pushes(hub, team):
    alice = team["alice"]
    alice("lfs", "lock", "a.bin")
    change(alice, "a.bin")
    change(alice, "b.bin")
    alice("push", "-q", "origin", "main")


def test_the_client_is_told_in_time(hub, team):
    team["alice"]("lfs", "lock", "a.bin")
    admin = team["admin"].with_config("lfs.locksverify=true")
    change(admin, "a.bin")
    done = admin.run("push", "origin", "main", check=False)
    assert done.returncode != 0 and "Cannot update locked files" in text(done.stderr)
    assert "a.bin - alice" in text(done.stdout)


@pytest.mark.parametrize("touch, refused", [
    ("dir/c.bin", True), ("dir/sub/d.bin", True), ("dir/new.txt", True), ("a.bin", False), ("dir2/x.txt", False), ("plain.txt", False)])
def test_a_locked_directory(hub, team, touch, refused):
    api = api_of(hub, team, "alice")
    assert api.post("locks", {"path": "dir"}).status == 201
    admin = team["admin"].with_config("lfs.locksverify=false")
    change(admin, touch)
    if refused:
        assert "locked by alice" in admin.fails("push", "origin", "main")
    else:
        admin("push", "-q", "origin", "main")


def test_plain_files_deletions_renames_modes(hub, team):
    """A lock is on a path, whatever happens to it."""
    api = api_of(hub, team, "alice")
    assert api.post("locks", {"path": "plain.txt"}).status == 201
    admin = team["admin"].with_config("lfs.locksverify=false")
    start = admin("rev-parse", "HEAD")
    for number, step in enumerate((("rm", "-q", "plain.txt"), ("mv", "plain.txt", "moved.txt"), ("update-index", "--chmod=+x", "plain.txt"))):
        admin("reset", "-q", "--hard", start)
        admin(*step)
        admin("commit", "-q", "-m", f"step {number}")
        assert "locked by alice: plain.txt" in admin.fails("push", "origin", "main").replace("'", ""), step


def test_a_new_path_that_is_locked_already(hub, team):
    assert api_of(hub, team, "alice").post("locks", {"path": "future/plan.txt"}).status == 201
    admin = team["admin"].with_config("lfs.locksverify=false")
    change(admin, "future/plan.txt")
    assert "future/plan.txt" in admin.fails("push", "origin", "main")


def test_branches(hub, team):
    """A new branch is compared with where it left the default branch; deleting one changes no path."""
    team["alice"]("lfs", "lock", "a.bin")
    admin = team["admin"].with_config("lfs.locksverify=false")
    admin("push", "-q", "origin", "main:same")
    admin("switch", "-q", "-c", "free")
    change(admin, "b.bin")
    admin("push", "-q", "origin", "free")
    change(admin, "a.bin")
    assert "a.bin" in admin.fails("push", "origin", "free:other")
    assert "a.bin" in admin.fails("push", "origin", "free")
    said = admin.fails("push", "origin", "free", "main:fine")
    assert "locked by alice" in said and admin.refs("origin").get("refs/heads/fine"), "each ref by itself"
    admin("push", "-q", "origin", ":same")
    admin("push", "-q", "origin", "free:refs/tags/t")
    assert "a.bin" in admin.fails("push", "--force", "origin", "free:main")


def test_an_orphan_branch(hub, team):
    """Nothing in common: everything in it is new."""
    team["alice"]("lfs", "lock", "a.bin")
    admin = team["admin"].with_config("lfs.locksverify=false")
    admin("switch", "-q", "--orphan", "orphan")
    admin.commit("other.txt", "other\n")
    admin("push", "-q", "origin", "orphan")
    admin("switch", "-q", "--orphan", "orphan2")
    change(admin, "a.bin")
    assert "a.bin" in admin.fails("push", "origin", "orphan2")


def test_case_counts(hub, team):
    assert api_of(hub, team, "alice").post("locks", {"path": "A.BIN"}).status == 201
    admin = team["admin"].with_config("lfs.locksverify=false")
    change(admin, "a.bin")
    admin("push", "-q", "origin", "main")


# -- the API ------------------------------------------------------------------------------------------------------


@pytest.fixture
def at(api):
    return api()


def ids(document):
    return [lock["id"] for lock in document["locks"]]


def test_create_and_conflict(at):
    made = at.post("locks", {"path": "a.bin", "ref": {"name": "refs/heads/main"}})
    assert made.status == 201
    lock = json.loads(made.body)["lock"]
    assert lock["path"] == "a.bin" and lock["owner"]["name"] == "alice"
    again = at.post("locks", {"path": "a.bin"})
    assert again.status == 409 and json.loads(again.body)["lock"]["id"] == lock["id"] and message_of(again)
    gone = at.post(f"locks/{lock['id']}/unlock", {"force": False})
    assert gone.status == 200 and json.loads(gone.body)["lock"]["id"] == lock["id"]
    assert at.post(f"locks/{lock['id']}/unlock", {}).status == 404
    assert json.loads(at.get("locks").body)["locks"] == []


def message_of(answer):
    return json.loads(answer.body)["message"]


@pytest.mark.parametrize("path", [
    "", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b", "a\\b", "a\nb", "x" * 4097, ".git/config", None, 5, ["a"]])
def test_path_tricks(at, path):
    answer = at.post("locks", {"path": path})
    assert answer.status in (400, 422) and message(answer), path
    assert json.loads(at.get("locks").body)["locks"] == []


@pytest.mark.parametrize("path", ["a", "ünï/cödé.bin", "with space", '"quoted"', "-dash", "a" * 255 + "/" + "b" * 255, "x" * 4096, "..a", "a..", "%2e%2e"])
def test_odd_paths(at, path):
    made = at.post("locks", {"path": path})
    assert made.status == 201 and json.loads(made.body)["lock"]["path"] == path
    assert len(ids(json.loads(at.get(f"locks?path={quote(path, safe='')}").body))) == 1


def test_pages(at):
    """By keyset: locks that vanish meanwhile make nobody be skipped."""
    made = [json.loads(at.post("locks", {"path": f"p{number:03d}"}).body)["lock"]["id"] for number in range(25)]
    seen, cursor, gone = [], "", None
    while True:
        page = json.loads(at.get(f"locks?limit=10&cursor={cursor}").body)
        seen += ids(page)
        cursor = page.get("next_cursor") or ""
        if not cursor:
            break
        if gone is None:
            gone = made[3]
            assert at.post(f"locks/{gone}/unlock", {}).status == 200
    assert seen == made
    assert len(ids(json.loads(at.get("locks").body))) == 24
    verified = json.loads(at.post("locks/verify", {"limit": 7}).body)
    assert len(verified["ours"]) == 7 and verified["theirs"] == [] and verified["next_cursor"]
    assert at.get("locks?cursor=nonsense").status in (200, 400, 422)


def test_empty_lists_are_lists(at):
    assert json.loads(at.get("locks").body)["locks"] == []
    answer = json.loads(at.post("locks/verify", {}).body)
    assert answer["ours"] == [] and answer["theirs"] == [] and not answer.get("next_cursor")
    for body in ({"ref": None}, {"ref": {}}, {"ref": {"name": "main"}, "cursor": "", "limit": 0}):
        assert at.post("locks/verify", body).status == 200


def test_who_may(hub, at, api):
    made = json.loads(at.post("locks", {"path": "a"}).body)["lock"]["id"]
    for name, status in ((None, 401), ("bob", 404)):
        other = Api(hub, at.path, hub.tokens.get(name))
        assert other.get("locks").status == status
        assert other.post("locks", {"path": "b"}).status == status
        assert other.post("locks/verify", {}).status == status
        assert other.post(f"locks/{made}/unlock", {"force": True}).status == status
    public = hub.repo(f"alice/open{next(hub.names)}", public=True)
    bob = Api(hub, public, hub.tokens["bob"])
    assert bob.get("locks").status == 200 and bob.post("locks", {"path": "a"}).status == 403 and bob.post("locks/verify", {}).status == 403
    other = api()
    assert other.post(f"locks/{made}/unlock", {}).status == 404, "an id is of one repository"


def test_the_bound(fresh_hub):
    hub = fresh_hub(settings={"lfs.locks": "3"})
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    for number in range(3):
        assert at.post("locks", {"path": f"p{number}"}).status == 201
    over = at.post("locks", {"path": "p3"})
    assert over.status // 100 == 4 and "3" in message(over)
    first = ids(json.loads(at.get("locks").body))[0]
    at.post(f"locks/{first}/unlock", {})
    assert at.post("locks", {"path": "p3"}).status == 201


def test_locks_go_with_their_repository(hub, at):
    at.post("locks", {"path": "a"})
    at.hub.run("repo", "rename", at.path, at.path + "-b")
    at.path += "-b"
    assert len(ids(json.loads(at.get("locks").body))) == 1
    at.hub.run("repo", "delete", at.path)
    at.hub.repo(at.path)
    assert json.loads(at.get("locks").body)["locks"] == []
