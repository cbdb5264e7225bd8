"""What owners do with whole repositories and large files: copies of them, lists of what they take, deletion for good."""

import hashlib
import random

import pytest

from harness import lfs
from harness.api import HubApi, file
from harness.hf import Hf
from harness.lfs import MIB, content

newest = pytest.mark.client("huggingface_hub", "2.4.0")
shows = pytest.mark.shows


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def hf(hub, alice, tmp):
    return Hf(hub.url, alice, tmp / "hf-home")


@pytest.fixture
def named(hub):
    return lambda prefix="alice/t": f"{prefix}{next(hub.names)}"


@pytest.fixture
def filled(api, named):
    """A model of alice's with a small file and two large ones, and what they hold."""
    def of(**more):
        name = named()
        assert api.create(name, **more).status == 200
        files = {"a.safetensors": content(2000, name), "deep/b.bin": content(3000, name + "b"), "plain.txt": b"plain"}
        answer = api.commit(f"models/{name}", *(file(path, data) for path, data in files.items()))
        assert answer.status == 200, answer.body
        return name, files
    return of


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def stored(hub):
    """Bytes of large objects on the disk."""
    return sum(path.stat().st_size for folder in ("objects", "xorbs") for path in (hub.data / folder).rglob("*") if path.is_file())


@newest
@shows("duplicate_repo", "hf repos duplicate")
@pytest.mark.covers("hub.duplicate")
def test_a_duplicate_has_everything(hub, hf, api, git, tmp, alice, named, filled):
    """History, tags, large files; and not a byte of them twice."""
    name, files = filled()
    api.post(f"/api/models/{name}/tag/main", {"tag": "v1", "message": "one"})
    api.commit(f"models/{name}", file("plain.txt", "changed"))
    api.post(f"/api/models/{name}/branch/dev", {})
    copy, other = named(), named()
    told = hf.python("""
source, copy = sys.argv[1:]
url = api.duplicate_repo(source, to_id=copy)
again = api.duplicate_repo(source, to_id=copy, exist_ok=True)
tell(dict(url=str(url), pending=url.files_copy_pending, again=str(again), private=api.model_info(copy).private,
          taken=fails(errors.HfHubHTTPError, api.duplicate_repo, source, to_id=copy)))
""", name, copy)
    assert told["url"] == told["again"] == f"{hub.url}/{copy}" and not told["pending"] and told["private"]
    assert "already" in told["taken"]
    hf.run("repos", "duplicate", name, other)
    for made in (copy, other):
        refs = api.get(f"/api/models/{made}/refs").json()
        assert refs == api.get(f"/api/models/{name}/refs").json()
        clone = lfs.CLIENTS[0].of(git, hub.url).clone(hub.git_url(made, alice), tmp / made.split("/")[1])
        assert (clone.cwd / "a.safetensors").read_bytes() == files["a.safetensors"] and (clone.cwd / "plain.txt").read_text() == "changed"
        clone("lfs", "fsck")
        clone("fsck", "--full", "--strict")
        assert clone("rev-parse", "v1^{commit}") == refs["tags"][0]["targetCommit"]
    # From now on they are two.
    api.delete("/api/repos/delete", {"name": name})
    assert api.get(f"/{copy}/resolve/main/a.safetensors").body == files["a.safetensors"]
    assert api.commit(f"models/{copy}", file("more.txt", "more")).status == 200
    hub.run("fsck", "--repo", copy)


@pytest.mark.covers("hub.duplicate")
def test_duplicates_that_are_refused(hub, api, named, filled):
    name, _ = filled(private=True)
    public, _ = filled(private=False)
    bob, nobody = HubApi(hub.url, hub.tokens["bob"]), HubApi(hub.url)
    duplicate = lambda who, source, to, **more: who.post(f"/api/models/{source}/duplicate", {"repository": to, **more})
    mine = named("bob/t")
    assert duplicate(bob, name, mine).code == "RepoNotFound" and duplicate(nobody, public, mine).status == 401
    assert duplicate(bob, public, named()).status == 403
    assert duplicate(api, name, "alice/..").status == 400 and duplicate(api, name, named(), visibility="secret").status == 400
    assert bob.get(f"/api/models/{mine}").code == "RepoNotFound"
    answer = duplicate(bob, public, mine, visibility="public")
    assert answer.status == 200 and nobody.get(f"/api/models/{mine}").json()["private"] is False
    # What nobody else may see is shown to nobody else by default.
    copy = named()
    assert duplicate(api, name, copy).status == 200 and nobody.get(f"/api/models/{copy}").status == 401
    empty = f"alice/e{next(hub.names)}"
    hub.repo(empty)
    assert duplicate(api, empty, named()).status == 200


def test_a_duplicate_takes_no_room(stopped_hub, git, tmp):
    """The history of a large repository is in both, and once on the disk; it goes with the last of them."""
    hub = stopped_hub(debug=True).start()
    api = HubApi(hub.url, hub.admin_token)
    source, copy = "admin/large", "admin/copy"
    hub.repo(source)
    work = git.init(tmp / "work")
    for number in range(5):
        work.commit(f"weights{number}.bin", random.Random(number).randbytes(10 * MIB))
    work("push", hub.git_url(source, hub.admin_token), "HEAD:refs/heads/main")
    on_disk = lambda: sum(path.stat().st_size for path in hub.data.rglob("*") if path.is_file() and path.parent.name != "staging")
    hub.run("maintain", "--now")
    hub.stop(), hub.start()  # so that the log of the rows is written back
    before = on_disk()
    assert before > 50 * MIB
    assert api.post(f"/api/models/{source}/duplicate", {"repository": copy}).status == 200
    hub.run("maintain", "--now")  # its manifest too
    hub.stop(), hub.start()
    assert on_disk() - before < 100_000
    hub.fsck()
    # The source goes, with everything that nothing else needs.
    api.delete("/api/repos/delete", {"name": source})
    for _ in range(2):
        hub.run("debug", "clock", "+30d")
        hub.run("maintain", "--now")
    clone = git.clone(hub.git_url(copy, hub.admin_token), tmp / "clone")
    clone.fsck()
    assert clone("rev-parse", "HEAD") == work("rev-parse", "HEAD")
    hub.fsck()
    api.delete("/api/repos/delete", {"name": copy})
    for _ in range(2):
        hub.run("debug", "clock", "+30d")
        hub.run("maintain", "--now")
    assert not [path for path in (hub.data / "packs").rglob("*") if path.is_file()]
    hub.fsck()


@newest
@shows("copy_files", "hf cp")
@pytest.mark.covers("hub.lfs-files.duplicate")
def test_files_copied_between_repositories(hub, hf, api, named, tmp):
    source, target = named(), named()
    data = content(2 * MIB, source)
    (tmp / "folder/sub").mkdir(parents=True)
    (tmp / "folder/model.safetensors").write_bytes(data)
    (tmp / "folder/sub/small.txt").write_text("small")
    hf.run("upload", source, tmp / "folder", ".")
    api.create(target, "dataset")
    before = stored(hub)
    hf.python("""
source, target = sys.argv[1:]
api.copy_files(f"hf://{source}/model.safetensors", f"hf://datasets/{target}/in/copy.safetensors")
api.copy_files(f"hf://{source}/sub/small.txt", f"hf://datasets/{target}/small.txt")
""", source, target)
    assert api.get(f"/datasets/{target}/resolve/main/in/copy.safetensors").body == data
    assert api.get(f"/datasets/{target}/resolve/main/small.txt").body == b"small"
    assert stored(hub) == before
    hf.run("download", target, "in/copy.safetensors", "--repo-type", "dataset", "--local-dir", tmp / "back")
    assert (tmp / "back/in/copy.safetensors").read_bytes() == data
    hf.run("cp", f"hf://{source}/model.safetensors", f"hf://datasets/{target}/again.safetensors")
    assert api.get(f"/datasets/{target}/resolve/main/again.safetensors").body == data
    # By hand: who may not write there, what is not there.
    share = lambda who, *shas, to=target, kind="dataset": who.post(f"/api/models/{source}/lfs-files/duplicate", {
        "target": {"type": kind, "name": to}, "files": [{"sha256": sha, "xetHash": "0" * 64, "filename": "x"} for sha in shas]})
    answer = share(api, sha256(data), "0" * 64)
    assert [row["sha256"] for row in answer.json()["failed"]] == ["0" * 64] and answer.json()["failed"][0]["error"]
    bob = HubApi(hub.url, hub.tokens["bob"])
    assert share(bob, sha256(data)).status == 404 and share(api, "nonsense").status == 400
    assert share(api, *(["0" * 64] * 1001)).status == 400 and share(api, sha256(data), to="alice/nope").status == 404


@newest
@shows("list_lfs_files", "permanently_delete_lfs_files")
@pytest.mark.covers("hub.lfs-files", "hub.lfs-files.batch")
def test_large_files_are_listed_and_deleted_for_good(hub, hf, api, git, tmp, alice, filled):
    name, files = filled()
    api.post(f"/api/models/{name}/tag/main", {"tag": "v1", "message": "one"})
    api.commit(f"models/{name}", ("deletedFile", {"path": "deep/b.bin"}), file("later.txt", "later"))
    told = hf.python("""
name = sys.argv[1]
found = {f.filename: [f.file_oid, f.oid, f.size, f.ref, f.pushed_at.year] for f in api.list_lfs_files(name)}
api.permanently_delete_lfs_files(name, [f for f in api.list_lfs_files(name) if f.filename == "deep/b.bin"])
tell([found, sorted(f.filename for f in api.list_lfs_files(name)), sorted(api.list_repo_files(name, revision="v1")), sorted(api.list_repo_files(name))])
""", name)
    found, left, at_tag, at_main = told
    assert set(found) == {"a.safetensors", "deep/b.bin"}
    oid, same, size, ref, year = found["deep/b.bin"]
    assert oid == same == sha256(files["deep/b.bin"]) and (size, ref) == (3000, "refs/tags/v1") and year > 2000
    assert found["a.safetensors"][3] == "refs/heads/main"
    # The history no longer has it, and has everything else.
    assert left == ["a.safetensors"] and at_tag == [".gitattributes", "a.safetensors", "plain.txt"] and "later.txt" in at_main
    clone = lfs.CLIENTS[0].of(git, hub.url).clone(hub.git_url(name, alice), tmp / "clone")
    clone("fsck", "--full", "--strict")
    clone("lfs", "fetch", "--all")
    assert "deep/b.bin" not in clone("log", "--all", "--name-only", "--format=") and clone("rev-list", "--count", "main") == "3"
    assert clone("tag", "-l", "--format=%(contents:subject)") == "one"


@pytest.mark.covers("hub.lfs-files.delete", "hub.lfs-files.batch", "hub.resolve")
def test_a_large_file_that_another_branch_uses(hub, api, filled):
    """Is deleted all the same: whoever asks for it is told so, and the pointers stay unless the history is rewritten."""
    name, files = filled()
    api.post(f"/api/models/{name}/branch/dev", {})
    oid = sha256(files["a.safetensors"])
    assert api.delete(f"/api/models/{name}/lfs-files/{oid}").status == 200
    for revision in ("main", "dev"):
        answer = api.get(f"/{name}/resolve/{revision}/a.safetensors")
        assert answer.status == 410 and "removed" in answer.headers["x-error-message"], (answer.status, answer.body)
        assert oid in api.get(f"/{name}/raw/{revision}/a.safetensors").body.decode()
    assert api.get(f"/{name}/resolve/main/deep/b.bin").body == files["deep/b.bin"]
    again = api.post(f"/api/models/{name}/lfs-files/batch", {"deletions": {"sha": [oid], "rewriteHistory": True}})
    assert again.status == 200
    for revision in ("main", "dev"):
        assert api.get(f"/{name}/raw/{revision}/a.safetensors").code == "EntryNotFound"
        assert api.get(f"/{name}/raw/{revision}/plain.txt").body == b"plain"
    bob = HubApi(hub.url, hub.tokens["bob"])
    other = sha256(files["deep/b.bin"])
    assert bob.delete(f"/api/models/{name}/lfs-files/{other}").code == bob.get(f"/api/models/{name}/lfs-files").code == "RepoNotFound"
    assert HubApi(hub.url, hub.token("alice", "read")).get(f"/api/models/{name}/lfs-files").status == 403
    for bad, status in (("0" * 64, 404), ("nonsense", 400)):
        answer = api.delete(f"/api/models/{name}/lfs-files/{bad}")
        assert answer.status == status and answer.headers["x-error-message"], answer.body
    assert api.post(f"/api/models/{name}/lfs-files/batch", {"deletions": {"sha": ["0" * 64] * 1001}}).status == 400
    assert api.get(f"/{name}/resolve/main/deep/b.bin").status == 200


@pytest.mark.covers("hub.lfs-files")
def test_large_files_in_pages(api, named):
    name = named()
    api.create(name)
    api.commit(f"models/{name}", *(file(f"f{n}.bin", content(100, f"{name}{n}")) for n in range(7)))
    seen, url = [], f"/api/models/{name}/lfs-files?limit=3"
    while url:
        answer = api.get(url)
        assert len(answer.json()) <= 3
        seen += [row["filename"] for row in answer.json()]
        link = answer.headers["link"]
        url = link[1:link.index(">")].removeprefix(api.url) if link else None
    assert sorted(seen) == [f"f{n}.bin" for n in range(7)]
    assert api.get(f"/api/models/{name}/lfs-files?cursor=x").status == 400


@pytest.mark.covers("hub.treesize")
def test_sizes_of_folders(api, filled):
    name, _ = filled()
    size = lambda path="": api.get(f"/api/models/{name}/treesize/main{path}")
    attributes = len(api.get(f"/{name}/raw/main/.gitattributes").body)
    assert size().json() == {"path": "", "size": 2000 + 3000 + 5 + attributes}
    assert size("/deep").json() == {"path": "deep", "size": 3000} and size("/plain.txt").json()["size"] == 5
    assert size("/nope").code == "EntryNotFound" and api.get(f"/api/models/{name}/treesize/nope/").code == "RevisionNotFound"


@newest
@shows("list_user_repos", "hf repos ls")
@pytest.mark.covers("hub.storage")
def test_what_repositories_take(hub, tmp):
    number = next(hub.names)
    user, team = f"store{number}", f"storeteam{number}"
    token = hub.user(user)
    hub.run("org", "create", team, "--owner", user)
    api = HubApi(hub.url, token)
    assert api.create(f"{user}/large").status == 200 and api.create(f"{user}/set", "dataset").status == 200 and api.create(f"{team}/x").status == 200
    api.commit(f"models/{user}/large", file("a.bin", content(50_000, user)))
    api.post(f"/api/buckets/{user}/files", {})
    Hf(hub.url, token, tmp / "home").python("api.batch_bucket_files(sys.argv[1], add=[(bytes(range(200)) * 300, 'a')])", f"{user}/files")
    told = Hf(hub.url, token, tmp / "home").python("""
rows = [[r.id, r.type, r.visibility, r.storage, r.storage_percent] for r in api.list_user_repos()]
tell([rows, [r.id for r in api.list_user_repos(sys.argv[1])]])
""", team)
    listed = Hf(hub.url, token, tmp / "home").run("repos", "ls", "--namespace", team).stdout
    assert f"{team}/x" in listed, listed
    rows, of_team = told
    assert [row[:3] for row in rows] == [[f"{user}/large", "model", "private"], [f"{user}/set", "dataset", "private"], [f"{user}/files", "bucket", "private"]] and of_team == [f"{team}/x"]
    assert rows[0][3] > 50_000 > rows[1][3] and rows[2][3] == 60_000 and 99 < rows[0][4] + rows[1][4] + rows[2][4] < 101
    bob = HubApi(hub.url, hub.tokens["bob"])
    assert bob.get(f"/api/organizations/{team}/settings/repositories").status == 403
    assert HubApi(hub.url).get("/api/settings/repositories").status == 401
    assert api.get("/api/organizations/nope/settings/repositories").status == 404
