"""What must hold of the Hub's API whatever comes: nobody is let in by a detour, one request or one damaged repository is nobody else's
trouble, and what is refused leaves nothing behind."""

import base64

import pytest

from harness import lfs, metrics, wait
from harness.api import HubApi, file
from harness.lfs import MIB, content
from harness.lfs_api import Api


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def made(hub, api):
    """A new model of alice's."""
    def of(**more):
        name = f"alice/s{next(hub.names)}"
        answer = api.create(name, **more)
        assert answer.status == 200, answer.body
        return name
    return of


def test_a_rebuild_lets_nobody_in_and_keeps_what_is_an_organisation(stopped_hub):
    hub = stopped_hub(debug=True)
    hub.start()
    alice, bob = (HubApi(hub.url, hub.user(name)) for name in ("alice", "bob"))
    hub.run("org", "create", "acme", "--owner", "alice")
    for name, more in (("acme/gated", {}), ("acme/open", {}), ("alice/hidden", {"private": True})):
        assert alice.create(name, **{"private": False, **more}).status == 200
    assert alice.request("PUT", "/api/models/acme/gated/settings", {"gated": "manual"}).status == 200
    assert HubApi(hub.url).get("/acme/gated/resolve/main/.gitattributes").status == 401
    hub.run("maintain", "--now")
    hub.stop()
    hub.rebuild()
    hub.start()
    nobody = HubApi(hub.url)
    assert nobody.get("/acme/gated/resolve/main/.gitattributes").status == 401
    assert nobody.get("/acme/open/resolve/main/.gitattributes").status == 200
    assert nobody.get("/alice/hidden/resolve/main/.gitattributes").status == 401
    assert nobody.get("/api/models/acme/gated").json()["gated"] == "manual"
    assert nobody.get("/api/organizations/acme/overview").status == 200 and nobody.get("/api/users/acme/overview").status == 404
    token = hub.user("alice")
    hub.run("org", "add", "acme", "alice", "--role", "admin")
    assert HubApi(hub.url, token).commit("models/acme/gated", file("new", "x")).status == 200
    hub.fsck()
    hub.stop()


def test_a_damaged_repository_stops_no_list(stopped_hub):
    hub = stopped_hub(debug=True)
    hub.start()
    api = HubApi(hub.url, hub.user("alice"))
    for name in ("alice/good", "alice/bad"):
        api.create(name)
        assert api.commit(f"models/{name}", file("text", base64.b64encode(content(200_000, name)).decode())).status == 200
    assert len(api.get("/api/models").json()) == 2
    api.commit("models/alice/bad", file("README.md", "---\nlicense: mit\n---\n"))
    hub.stop()
    packs = [path for path in (hub.data / "packs").rglob("*") if path.is_file()]
    assert packs
    for path in packs:
        path.rename(path.with_suffix(".away"))
    hub.start()
    api = HubApi(hub.url, api.token)
    assert sorted(row["id"] for row in api.get("/api/models").json()) == ["alice/bad", "alice/good"]
    assert api.get("/api/models").status == 200
    hub.stop()


@pytest.mark.covers("hub.branch.create", "hub.commit")
def test_a_lock_holds_at_every_door(hub, api, made):
    name = made()
    repo = f"models/{name}"
    api.commit(repo, file("locked.txt", "1"), file("other.txt", "1"))
    hub.run("org", "create", org := f"locks{next(hub.names)}", "--owner", "alice")
    hub.run("org", "add", org, "bob", "--role", "write")
    assert api.post("/api/repos/move", {"fromRepo": name, "toRepo": f"{org}/x"}).status == 200
    repo, bob = f"models/{org}/x", HubApi(hub.url, hub.tokens["bob"])
    assert Api(hub, f"{org}/x", hub.tokens["alice"]).post("locks", {"path": "locked.txt"}).status == 201
    assert bob.commit(repo, file("locked.txt", "2")).status == 403
    assert bob.post(f"/api/{repo}/branch/side").status == 200
    assert bob.commit(repo, file("locked.txt", "2"), revision="side").status in (200, 403)
    api.commit(repo, file("locked.txt", "3"), revision="side")
    answer = bob.post(f"/api/{repo}/branch/main", {"startingPoint": "side", "overwrite": True})
    assert answer.status == 403 and "locked by alice" in answer.headers["x-error-message"]
    assert api.get(f"/{org}/x/resolve/main/locked.txt").body == b"1"


@pytest.mark.covers("hub.commit", "hub.info")
def test_a_refused_commit_stores_nothing(api, made):
    name = made()
    repo = f"models/{name}"
    large = file("large.bin", content(2 * MIB, name))
    for more, status in (({"parent": "0" * 40}, 412), ({"revision": "nope"}, 404)):
        assert api.commit(repo, large, **more).status == status
    assert api.get(f"/api/{repo}").json()["usedStorage"] == 0
    nothing = ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": "1" * 64, "size": 0})
    assert api.commit(repo, nothing).status == 400
    assert api.commit(repo, large).status == 200
    assert api.get(f"/api/{repo}").json()["usedStorage"] == 2 * MIB


@pytest.mark.covers("hub.create")
def test_first_files_are_as_any(hub, api, git, tmp, alice):
    data = content(100_000, "first")
    files = [{"path": "model.safetensors", "content": base64.b64encode(data).decode(), "encoding": "base64"}, {"path": "note.txt", "content": "hi"}]
    name = f"alice/s{next(hub.names)}"
    assert api.create(name, files=files).status == 200
    row = next(row for row in api.get(f"/api/models/{name}/tree/main").json() if row["path"] == "model.safetensors")
    assert row["lfs"]["oid"] == lfs.oid(data) and api.get(f"/{name}/resolve/main/model.safetensors").body == data
    name = f"alice/s{next(hub.names)}"
    for bad in ({"path": "../x", "content": ""}, {"path": "README.md", "content": "---\na: [\n---\n"}):
        assert api.create(name, files=[bad]).status in (400, 422)
        assert api.get(f"/api/models/{name}").status == 404
    assert api.create(name).status == 200


@pytest.mark.covers("hub.commit")
def test_files_are_renamed(api, made):
    repo = f"models/{made()}"
    api.commit(repo, file("old.txt", "1"))
    (key, value) = file("new.txt", "2")
    assert api.commit(repo, (key, {**value, "oldPath": "old.txt"})).status == 200
    assert {row["path"] for row in api.get(f"/api/{repo}/tree/main").json()} == {".gitattributes", "new.txt"}
    assert api.commit(repo, (key, {**value, "oldPath": "old.txt"})).status == 404
    api.commit(repo, file("a", "a"), file("b", "b"))
    swapped = [(key, {**value, "oldPath": old}) for (key, value), old in ((file("a", "b"), "b"), (file("b", "a"), "a"))]
    assert api.commit(repo, *swapped).status == 200
    name = repo.removeprefix("models/")
    assert [api.get(f"/{name}/resolve/main/{path}").body for path in "ab"] == [b"b", b"a"]


@pytest.mark.covers("hub.user")
def test_who_belongs_where_is_told_to_those_who_do(hub, api):
    hub.run("org", "create", org := f"team{next(hub.names)}", "--owner", "bob")
    names = lambda api: [row["name"] for row in api.get("/api/users/bob/overview").json()["orgs"]]
    assert org not in names(api) and org not in names(HubApi(hub.url)) and org in names(HubApi(hub.url, hub.tokens["bob"]))
    hub.run("org", "add", org, "alice", "--role", "read")
    assert org in names(api)


@pytest.mark.covers("hub.list")
def test_lists_show_what_is_asked_for_or_say_that_they_cannot(api, made):
    name = made()
    api.commit(f"models/{name}", file("config.json", '{"model_type": "bert"}'))
    plain, full = (api.get(f"/api/models?author=alice&search={name.split('/')[1]}{more}").json()[0] for more in ("", "&full=true"))
    assert "siblings" not in plain and {"rfilename": "config.json"} in full["siblings"]
    config = api.get(f"/api/models?search={name.split('/')[1]}&config=true").json()[0]
    assert config["config"]["model_type"] == "bert" and "config" not in plain
    assert api.get("/api/models?inference=warm").json() == []
    assert api.get("/api/models?sort=zzz").status == 400 and api.get("/api/models?num_parameters=min:1").json() == []


@pytest.mark.covers("hub.info")
def test_names_without_namespace_are_missing_repositories(api):
    for path in ("", "/revision/main", "/tree/main", "/refs", "/commits/main"):
        answer = api.get(f"/api/models/gpt2{path}")
        assert (answer.status, answer.code) == (404, "RepoNotFound"), path
    assert api.post("/api/models/gpt2/paths-info/main", {"paths": ["a"]}).code == "RepoNotFound"


@pytest.mark.covers("preflight")
def test_pages_may_use_lfs(api, made):
    for path in (f"/{made()}.git/info/lfs/objects/batch", f"/api/lfs/objects/{'1' * 64}"):
        answer = api.request("OPTIONS", path, origin="https://elsewhere.example", access_control_request_headers="x-anything")
        assert answer.status == 204 and answer.headers["access-control-allow-headers"] == "x-anything", path


@pytest.mark.covers("hub.info")
def test_many_files_with_their_sizes_hold_up_nobody(hub, api, made):
    """Of a folder of thousands, whose every file was once looked for from its beginning."""
    repo = f"models/{made()}"
    assert api.commit(repo, *(file(f"file-{n:05}.txt", str(n)) for n in range(5000))).status == 200
    with metrics.Change(hub):
        told = api.get(f"/api/{repo}?blobs=true").json()["siblings"]
    assert len(told) == 5001 and told[-1]["size"] == 4 and told[-1]["blobId"]
    wait.until(lambda: api.get("/healthz").status == 200, "it is there", seconds=5)
