"""What one door writes every other sees: the Hub's API, git, and git-lfs."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import lfs, metrics
from harness.api import HubApi, file
from harness.hf import Hf
from harness.lfs import content

BROKEN = "---\nlicense: [mit\n---\n# Broken\n"


@pytest.fixture
def alice(lfs_hub):
    return lfs_hub.tokens["alice"]


@pytest.fixture
def api(lfs_hub, alice):
    return HubApi(lfs_hub.url, alice)


@pytest.fixture
def hf(lfs_hub, alice, tmp):
    return Hf(lfs_hub.url, alice, tmp / "hf")


@pytest.fixture
def name(lfs_hub, api):
    """A private model of alice's, as the API begins it."""
    assert api.create(name := f"alice/d{next(lfs_hub.names)}", private=True).status == 200
    return name


@pytest.fixture
def clone(lfs_hub, name, alice, git, tmp):
    """A clone of it, by git with git-lfs."""
    return lfs.CLIENTS[0].of(git, lfs_hub.url).clone(lfs_hub.git_url(name, alice), tmp / "clone")


disk = pytest.mark.parametrize("engine", ["disk"], indirect=True)


def test_a_commit_is_cloned_and_pulled(hf, name, clone, tmp):
    """By `upload_folder`; a clone that was there before pulls it."""
    files = {"weights.safetensors": content(3 << 20, name), "notes.txt": "déjà\n".encode(), "sub/deep/er.json": b"{}", "empty.bin": b"", "sub/small.bin": content(10, name)}
    for path, data in files.items():
        (tmp / "folder" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp / "folder" / path).write_bytes(data)
    commit = hf.python("tell(api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], commit_message='by hf', commit_description='why').oid)", name, tmp / "folder")
    clone("pull", "-q")
    assert (clone("rev-parse", "HEAD"), clone("log", "-1", "--format=%B %an").split("\n")) == (commit, ["by hf", "", "why", " alice"])
    for path, data in files.items():
        assert (clone.cwd / path).read_bytes() == data, path
    assert set(clone("lfs", "ls-files", "--name-only").splitlines()) == {"weights.safetensors", "sub/small.bin"} and clone("status", "--porcelain") == ""
    clone("lfs", "fsck")
    clone.fsck()
    # What goes by the API goes in the clone.
    hf.python("api.create_commit(sys.argv[1], [CommitOperationDelete('sub/'), CommitOperationCopy('weights.safetensors', 'copy.safetensors')], commit_message='x')", name)
    clone("pull", "-q")
    assert not (clone.cwd / "sub").exists() and (clone.cwd / "copy.safetensors").read_bytes() == files["weights.safetensors"]


def test_a_push_is_downloaded(hf, api, name, clone, tmp):
    """By git and git-lfs at once, under the rules that the API gave the repository."""
    files = {"pushed.safetensors": content(3 << 20, name), "by git.txt": b"from git\n", "sub/config.json": b'{"model_type": "bert"}',
             "README.md": b"---\nlicense: mit\ntags: [by-push]\npipeline_tag: fill-mask\n---\n# Pushed\n"}
    for path, data in files.items():
        commit = clone.commit(path, data)
    clone("push", "-q", "origin", "HEAD:main")
    told = hf.python("""
name, out = sys.argv[1:]
snapshot_download(name, local_dir=out)
info = api.model_info(name, files_metadata=True)
tell([info.sha, info.tags, info.pipeline_tag, {s.rfilename: [s.size, s.lfs and s.lfs.sha256] for s in info.siblings}, [m.id for m in api.list_models(author="alice", filter="by-push")],
      api.get_paths_info(name, ["by git.txt"], expand=True)[0].last_commit.title])""", name, tmp / "out")
    for path, data in files.items():
        assert (tmp / "out" / path).read_bytes() == data, path
    sha, tags, task, siblings, listed, title = told
    assert sha == commit and {"license:mit", "by-push"} <= set(tags) and task == "fill-mask" and name in listed and title == "write by git.txt"
    assert siblings["pushed.safetensors"] == [3 << 20, lfs.oid(files["pushed.safetensors"])] and siblings["by git.txt"] == [9, None]


def test_what_is_too_large_for_a_commit(engine, fresh_hub, engine_settings, tmp):
    """Goes by LFS if the client's Xet is off, in one piece and in parts; otherwise by Xet, and is one object by its SHA-256."""
    hub = fresh_hub(settings={**lfs.MULTIPART, **engine_settings()})
    hf = Hf(hub.url, hub.user("alice"), tmp / "hf")
    files = {"small.bin": content(1000), "one.bin": content(3 << 20), "parts.bin": content(lfs.LARGE)}
    for path, data in files.items():
        (tmp / "folder").mkdir(exist_ok=True)
        (tmp / "folder" / path).write_bytes(data)
    with metrics.Change(hub) as moved:
        hf.with_environment(HF_HUB_DISABLE_XET="1").python("""
api.create_repo("alice/x")
api.upload_folder(repo_id="alice/x", folder_path=sys.argv[1])
snapshot_download("alice/x", local_dir=sys.argv[2])""", tmp / "folder", tmp / "out")
    for path, data in files.items():
        assert (tmp / "out" / path).read_bytes() == data, path
    assert moved["lfs_objects_published"] == 3
    assert moved["lfs_bytes_in"] == (0 if engine == "s3" else sum(map(len, files.values())))
    with metrics.Change(hub) as moved:
        hf.python("""
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="x.bin", repo_id="alice/x")
rows = {row.path: [row.lfs.sha256, row.size] for row in api.get_paths_info("alice/x", ["one.bin", "x.bin"])}
assert rows["x.bin"] == rows["one.bin"], rows""", tmp / "folder/one.bin")
    assert moved["lfs_bytes_in"] == 0, "xorbs are counted elsewhere"


def test_names_that_must_be_quoted(hf, api, name, clone, tmp):
    """As large and as small files, at every door."""
    names = ["a b#c?d.bin", "100%.txt", "%41.txt", "é/ü ñ.bin", "日本語.txt", "[x]{y}&z=1+2.bin", "quote'\".txt", "-dash", "semi;colon,comma.txt", "back\\slash.txt", "...", "~tilde^x.bin"]
    files = {path: content(2000 + number, name) if path.endswith(".bin") else f"{number}\n".encode() for number, path in enumerate(names)}
    answer = api.commit(f"models/{name}", *(file(path, data) for path, data in files.items()))
    assert answer.status == 200, answer.body
    told = hf.python("""
name, out, *paths = sys.argv[1:]
snapshot_download(name, local_dir=out)
tell([api.list_repo_files(name), [info.path for info in api.get_paths_info(name, paths)], [api.file_exists(name, path) for path in paths]])""", name, tmp / "out", *names)
    assert set(told[0]) == {*names, ".gitattributes"} and set(told[1]) == set(names) and told[2] == [True] * len(names)
    clone("pull", "-q")
    for path, data in files.items():
        assert (tmp / "out" / path).read_bytes() == (clone.cwd / path).read_bytes() == data, path


def test_many_at_once_at_two_doors(lfs_hub, api, name, clone, alice, git, tmp):
    """Commits by the API, some with large files that others bring too, while git pushes to the same branch: nothing acknowledged is lost."""
    shared = content(300_000, name)

    def by_api(client):
        for number in range(6):
            while (answer := api.commit(f"models/{name}", file(f"api/{client}/{number}.txt", "x"), file(f"api/{client}/{number}.bin", shared))).status in (409, 429, 503):
                pass
            assert answer.status == 200, answer.body

    def by_git(_):
        for number in range(6):
            clone.commit(f"git/{number}.bin", content(1000, f"{name} {number}"))
            while clone.run("push", "-q", "origin", "HEAD:main", check=False).returncode != 0:
                clone.at(clone.cwd, GIT_LFS_SKIP_SMUDGE="1")("pull", "-q", "--rebase")

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda work: work[0](work[1]), [(by_git, 0), *((by_api, client) for client in range(4))]))
    expected = {f"api/{client}/{number}.{kind}" for client in range(4) for number in range(6) for kind in ("txt", "bin")} | {f"git/{number}.bin" for number in range(6)}
    fresh = lfs.CLIENTS[0].of(git, lfs_hub.url).clone(lfs_hub.git_url(name, alice), tmp / "fresh")
    assert set(fresh("ls-files").splitlines()) == {*expected, ".gitattributes"}
    assert all((fresh.cwd / path).read_bytes() == shared for path in expected if path.startswith("api") and path.endswith("bin"))
    fresh("lfs", "fsck")
    fresh.fsck()


@disk
def test_branches_and_tags(hf, name, clone):
    clone.commit("one", "1")
    clone("push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/feature/a")
    clone("tag", "-a", "v1", "-m", "annotated")
    clone("push", "-q", "origin", "v1")
    head = clone("rev-parse", "HEAD")
    told = hf.python("""
name = sys.argv[1]
api.create_branch(name, branch="by-api", revision="v1"); api.create_tag(name, tag="v2", tag_message="two")
refs = api.list_repo_refs(name)
api.delete_branch(name, branch="feature/a"); api.delete_tag(name, tag="v1")
tell([{ref.name: ref.target_commit for ref in refs.branches}, {ref.name: ref.target_commit for ref in refs.tags}, api.model_info(name, revision="v2").sha])""", name)
    assert told == [dict.fromkeys(("by-api", "feature/a", "main"), head), dict.fromkeys(("v1", "v2"), head), head], "of a tag the commit"
    clone("fetch", "-q", "--prune", "--prune-tags", "--tags", "--force", "origin")
    assert set(clone("for-each-ref", "--format=%(refname)", "refs/remotes", "refs/tags").splitlines()) >= {"refs/remotes/origin/by-api", "refs/tags/v2"}
    assert "feature/a" not in clone("branch", "-r") and clone("tag") == "v2" and clone("tag", "-l", "--format=%(contents)").strip() == "two"


@disk
def test_both_write_one_branch(api, name, clone):
    """Who comes second is told so, at either door, and a forced push is what the API has then."""
    first = api.get(f"/api/models/{name}").json()["sha"]
    assert api.commit(f"models/{name}", file("by-api", "x")).status == 200
    clone.commit("by-git", "y")
    assert "fetch first" in clone.fails("push", "-q", "origin", "HEAD:main")
    clone("pull", "-q", "--rebase")
    clone("push", "-q", "origin", "HEAD:main")
    stale = api.commit(f"models/{name}", file("late", "z"), parent=first)
    assert stale.status == 412 and stale.headers["x-error-message"].startswith("The branch was updated")
    assert {row["path"] for row in api.get(f"/api/models/{name}/tree/main").json()} == {".gitattributes", "by-api", "by-git"}
    clone("reset", "-q", "--hard", first)
    clone("push", "-q", "--force", "origin", "HEAD:main")
    assert [row["path"] for row in api.get(f"/api/models/{name}/tree/main").json()] == [".gitattributes"]
    assert api.get(f"/api/models/{name}").json()["sha"] == first and api.get(f"/{name}/resolve/main/by-git").code == "EntryNotFound"


@disk
def test_what_only_git_can_make(hf, api, name, clone, tmp):
    """Links, programs and submodules: told by the API as what they are, downloaded without harm, and kept by its commits."""
    clone.commit("plain.txt", "plain\n")
    (clone.cwd / "link").symlink_to("plain.txt")
    (clone.cwd / "run.sh").write_text("#!/bin/sh\n")
    (clone.cwd / "run.sh").chmod(0o755)
    clone("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    clone("add", "link", "run.sh")
    clone("commit", "-q", "-m", "modes")
    clone("push", "-q", "origin", "HEAD:main")
    told = hf.python("""
name, out = sys.argv[1:]
snapshot_download(name, local_dir=out)
tell([api.list_repo_files(name), [s.rfilename for s in api.model_info(name).siblings]])""", name, tmp / "out")
    assert set(told[0]) == set(told[1]) >= {"plain.txt", "run.sh"} and "module" not in told[0]
    assert (tmp / "out/run.sh").read_text() == "#!/bin/sh\n" and not (tmp / "out/link").is_symlink()
    assert api.commit(f"models/{name}", file("run.sh", "#!/bin/sh\nexit 1\n"), file("new.txt", "x")).status == 200
    clone("pull", "-q")
    modes = {path: mode for mode, _, _, path in (line.split(None, 3) for line in clone("ls-tree", "HEAD").splitlines())}
    assert (modes["link"], modes["module"], modes["run.sh"], modes["new.txt"]) == ("120000", "160000", "100755", "100644")


@disk
def test_locks_hold_at_every_door(lfs_hub, api, name, clone):
    clone.commit("held.bin", content(100, name))
    clone("push", "-q", "origin", "HEAD:main")
    clone("lfs", "lock", "held.bin")
    # Her own lock is no obstacle; of somebody else it is.
    assert api.commit(f"models/{name}", file("held.bin", content(101, name))).status == 200
    carol, dave = (HubApi(lfs_hub.url, lfs_hub.user(f"{user}{next(lfs_hub.names)}")) for user in ("carol", "dave"))
    user_of = lambda who: who.get("/api/whoami-v2").json()["name"]
    lfs_hub.run("org", "create", org := f"team{next(lfs_hub.names)}", "--owner", user_of(carol))
    lfs_hub.run("org", "add", org, user_of(dave), "--role", "write")
    theirs = f"{org}/shared"
    assert carol.create(theirs).status == 200 and carol.commit(f"models/{theirs}", file("held.bin", content(100, name))).status == 200
    media = "application/vnd.git-lfs+json"
    lock = carol.post(f"/{theirs}.git/info/lfs/locks", {"path": "held.bin", "ref": {"name": "refs/heads/main"}}, accept=media, content_type=media)
    assert lock.status == 201, lock.body
    for line in (file("held.bin", content(101, name)), ("deletedFile", {"path": "held.bin"})):
        refused = dave.commit(f"models/{theirs}", line)
        assert refused.status == 403 and "held.bin" in refused.headers["x-error-message"] and user_of(carol) in refused.headers["x-error-message"]
    assert dave.commit(f"models/{theirs}", file("free.txt", "x")).status == 200


@disk
def test_a_broken_card_is_refused_at_every_door(lfs_hub, api, name, clone):
    """As the Hub does: a README whose metadata nobody can read is told to who pushes it, and the branch stays."""
    assert api.commit(f"models/{name}", file("README.md", BROKEN)).status == 400
    before = api.get(f"/api/models/{name}").json()["sha"]
    clone.commit("README.md", BROKEN)
    said = clone.fails("push", "origin", "HEAD:main")
    assert "remote:" in said and "README.md" in said and "line 2" in said
    assert api.get(f"/api/models/{name}").json()["sha"] == before


@disk
def test_a_broken_card_that_is_there_harms_nothing(lfs_hub, api, hf, alice, git, tmp):
    """As mirrors and imports bring it: everything is served, only without what the card says."""
    work = git.init(tmp / "work")
    work.commit("README.md", BROKEN)
    work.commit("config.json", json.dumps({"model_type": "bert"}))
    lfs_hub.run("repo", "import", work.cwd, name := f"alice/d{next(lfs_hub.names)}")
    told = hf.python("""
name = sys.argv[1]
info = api.model_info(name)
tell([info.sha, info.card_data and info.card_data.to_dict(), [m.id for m in api.list_models(author="alice", full=True)], open(hf_hub_download(name, "README.md")).read()])""", name)
    assert told[0] == work("rev-parse", "HEAD") and not told[1] and name in told[2] and told[3] == BROKEN
    # It can be put right, and everything else can be changed before.
    assert api.commit(f"models/{name}", file("other.txt", "x")).status == 200
    assert api.commit(f"models/{name}", file("README.md", "---\nlicense: mit\n---\n")).status == 200
    assert api.get(f"/api/models/{name}").json()["cardData"] == {"license": "mit"}


@disk
def test_a_moved_repository_is_there_for_git(lfs_hub, api, name, clone, alice):
    """The clone goes on under the old name."""
    to = f"alice/d{next(lfs_hub.names)}"
    assert api.post("/api/repos/move", {"fromRepo": name, "toRepo": to, "type": "model"}).status == 200
    clone.commit("after.bin", data := content(1000, name))
    clone("push", "-q", "origin", "HEAD:main")
    assert api.get(f"/{to}/resolve/main/after.bin").body == data
    assert api.commit(f"models/{to}", file("new", "x")).status == 200
    clone("pull", "-q")
    assert (clone.cwd / "new").read_text() == "x"
    assert api.delete("/api/repos/delete", {"name": to, "type": "model"}).status == 200
    assert "not found" in clone.fails("fetch", "origin")
