"""The Hub's API by hand: addresses, errors, headers, commits; what clients parse and what they turn into exceptions."""

import base64
import hashlib
import json

import pytest

from harness.api import HubApi, file
from harness.lfs_api import Api


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def named(hub):
    """Names that no other test uses."""
    return lambda prefix="alice/h": f"{prefix}{next(hub.names)}"


@pytest.fixture
def made(api, named):
    """A new model of alice's, by the API."""
    def of(**more):
        name = named()
        answer = api.create(name, **more)
        assert answer.status == 200, answer.body
        return name
    return of


@pytest.mark.covers("hub.whoami", "hub.user")
def test_who_am_i(hub, api):
    name = f"who{next(hub.names)}"
    told = HubApi(hub.url, hub.user(name)).get("/api/whoami-v2").json()
    assert (told["name"], told["type"], told["orgs"]) == (name, "user", [])
    assert told["auth"]["accessToken"]["role"] == "write"
    for answer in (HubApi(hub.url).get("/api/whoami-v2"), HubApi(hub.url, "hf_" + "x" * 40).get("/api/whoami-v2")):
        assert answer.status == 401 and answer.headers["x-error-message"].startswith("Invalid credentials")
    assert api.get("/api/users/Alice/overview").json()["user"] == "alice"
    assert api.get("/api/users/nobody/overview").status == 404


@pytest.mark.covers("hub.create", "hub.info", "hub.tree")
def test_a_new_repository_begins_as_the_hubs_do(hub, api, named, git, tmp, alice):
    name = named()
    answer = api.create(name, private=True, license="apache-2.0")
    told = answer.json()
    assert answer.status == 200 and told["url"] == f"{hub.url}/{name}" and told["id"]
    again = api.create(name)
    assert again.status == 409 and again.json()["url"] == f"{hub.url}/{name}" and again.json()["error"]
    info = api.get(f"/api/models/{name}").json()
    assert info["private"] and info["cardData"] == {"license": "apache-2.0"} and "license:apache-2.0" in info["tags"]
    assert [row["rfilename"] for row in info["siblings"]] == [".gitattributes", "README.md"]
    tree = {row["path"]: row["oid"] for row in api.get(f"/api/models/{name}/tree/main").json()}
    assert tree[".gitattributes"] == "a6344aac8c09253b3b630fb776ae94478aa0275b"
    clone = git.clone(hub.git_url(name, alice), tmp / "clone")
    assert clone("log", "--format=%s %an") == "initial commit alice"
    assert (clone.cwd / "README.md").read_text() == "---\nlicense: apache-2.0\n---\n"
    dataset = named()
    api.create(dataset, "dataset")
    tree = {row["path"]: row["oid"] for row in api.get(f"/api/datasets/{dataset}/tree/main").json()}
    assert tree[".gitattributes"] == "1ef325f1b111266a6b26e0196871bd78baa8c2f3"
    assert api.create(named(), "space").status == 400
    assert api.create(named(), "space", sdk="gradio").status == 200


@pytest.mark.covers("hub.info", "hub.resolve", "hub.refused", "none")
def test_refusals_have_the_codes_that_clients_read(hub, api, made, named):
    name = made()
    nobody, bob = HubApi(hub.url), HubApi(hub.url, hub.tokens["bob"])
    for who, status in ((nobody, 401), (bob, 404)):
        for path in (f"/api/models/{name}", f"/api/models/{named()}", f"/{name}/resolve/main/README.md", "/api/models/gpt2"):
            answer = who.get(path)
            assert (answer.status, answer.code) == (status, "RepoNotFound"), (path, answer.body)
            assert answer.headers["x-error-message"] and answer.headers["x-request-id"]
    answer = api.get(f"/api/models/{name}/revision/nope")
    assert (answer.status, answer.code) == (404, "RevisionNotFound")
    answer = api.get(f"/{name}/resolve/main/nope.bin")
    assert (answer.status, answer.code) == (404, "EntryNotFound")
    assert answer.headers["x-repo-commit"] == api.get(f"/api/models/{name}").json()["sha"]
    assert api.get("/api/models", x_amzn_trace_id="abc-123").headers["x-request-id"] == "abc-123"
    assert api.get("/api/nothing").code == "NotFound"
    answer = api.get(f"/api/models/{name}/notebook/main/a.ipynb")
    assert answer.status == 501 and "does not support" in answer.headers["x-error-message"]
    assert bob.create(named()).status == 403
    assert nobody.create(named()).status == 401
    assert api.create("alice/..").status == 400
    assert api.post("/api/repos/create", b"{", content_type="application/json").status == 400


@pytest.mark.covers("preflight")
def test_pages_of_other_origins_may_ask(hub, api, made):
    answer = api.request("OPTIONS", f"/api/models/{made()}", origin="https://elsewhere.example")
    assert answer.status == 204 and answer.headers["access-control-allow-origin"] == "*"
    answer = api.get("/api/models")
    assert answer.headers["access-control-allow-origin"] == "*" and "X-Repo-Commit" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.covers("hub.commit", "hub.commits")
def test_commits(hub, api, made, git, tmp, alice):
    name = made()
    repo = f"models/{name}"
    first = api.get(f"/api/{repo}").json()["sha"]
    answer = api.commit(repo, file("config.json", '{"a": 1}'), file("dir/text.txt", "text"), ("file", {
        "path": "plain.txt", "content": "déjà vu\n", "encoding": "utf-8"}), summary="files")
    told = answer.json()
    assert answer.status == 200 and told["success"] and told["commitUrl"] == f"{hub.url}/{name}/commit/{told['commitOid']}"
    answer = api.commit(repo, ("deletedFile", {"path": "config.json"}), ("deletedFolder", {"path": "dir/"}), file("new", "x"),
                        parent=told["commitOid"])
    assert answer.status == 200
    clone = git.clone(hub.git_url(name, alice), tmp / "clone")
    assert clone("log", "--format=%s").splitlines() == ["a commit", "files", "initial commit"]
    assert sorted(path.name for path in clone.cwd.iterdir() if path.name != ".git") == [".gitattributes", "new", "plain.txt"]
    assert (clone.cwd / "plain.txt").read_text() == "déjà vu\n"
    clone("fsck", "--full", "--strict")
    # Nothing to do is no commit.
    again = api.commit(repo, file("new", "x")).json()
    assert again["commitOid"] == answer.json()["commitOid"]
    log = api.get(f"/api/{repo}/commits/main?limit=1")
    assert log.headers["x-total-count"] == "3" and [row["title"] for row in log.json()] == ["a commit"]
    assert 'rel="next"' in log.headers["link"]

    def refused(*lines, status, code=None, text="", **more):
        answer = api.commit(repo, *lines, **more)
        assert answer.status == status and (code is None or answer.code == code), answer.body
        assert text in answer.headers["x-error-message"], answer.headers["x-error-message"]

    refused(file("x", "y"), parent=first, status=412, text="The branch was updated")
    refused(("deletedFile", {"path": "nope"}), status=404, code="EntryNotFound", text="A file with this name doesn't exist")
    for path in ("../x", ".git/config", "a/../b", "a//b", "/x", "x/"):
        refused(file(path, "y"), status=422, text="invalid path")
    refused(file("new/below", "y"), status=400)
    refused(("unknownKey", {"path": "x"}), status=400)
    refused(("file", {"path": "x", "content": "%%%", "encoding": "base64"}), status=400)
    refused(("lfsFile", {"path": "x.bin", "algo": "sha256", "oid": "0" * 64, "size": 5}), status=400, text="0" * 64)
    refused(file("x", "y"), revision="nope", status=404, code="RevisionNotFound")
    assert api.get(f"/api/{repo}").json()["sha"] == answer.json()["commitOid"]
    bob = HubApi(hub.url, hub.tokens["bob"])
    assert bob.commit(repo, file("x", "y")).status == 404


@pytest.mark.covers("hub.commit", "hub.tree", "hub.resolve", "hub.raw")
def test_large_files_inside_a_commit_become_objects(hub, api, made, alice):
    """By rule, by size and by content; and every door gives them back."""
    name = made()
    repo = f"models/{name}"
    data = {"model.safetensors": bytes(range(256)) * 40, "large.txt": b"text " * (3 << 20), "picture": b"\x89PNG\r\n\x1a\n\0" * 9}
    answer = api.commit(repo, *(file(path, content) for path, content in data.items()), file("small.txt", "small"))
    assert answer.status == 200, answer.body
    tree = {row["path"]: row for row in api.get(f"/api/{repo}/tree/main").json()}
    for path, content in data.items():
        oid = hashlib.sha256(content).hexdigest()
        assert tree[path]["lfs"]["oid"] == oid and tree[path]["size"] == len(content)
        got = api.get(f"/{name}/resolve/main/{path}")
        assert got.body == content and got.headers["x-linked-etag"] == f'"{oid}"' and got.headers["x-linked-size"] == str(len(content))
        assert Api(hub, name, alice).download(content) == content
        pointer = api.get(f"/{name}/raw/main/{path}").body.decode()
        assert pointer == f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    assert "lfs" not in tree["small.txt"]
    rules = api.get(f"/{name}/raw/main/.gitattributes").body.decode()
    assert "/large.txt filter=lfs" in rules and "/picture filter=lfs" in rules and "/model.safetensors" not in rules
    # A copy names the object alone.
    copy = {"path": "copy.safetensors", "algo": "sha256", "oid": hashlib.sha256(data["model.safetensors"]).hexdigest()}
    assert api.commit(repo, ("lfsFile", copy)).status == 200
    assert api.get(f"/{name}/resolve/main/copy.safetensors").body == data["model.safetensors"]


@pytest.mark.covers("hub.resolve")
def test_resolve(hub, api, made):
    name = made()
    content = b"0123456789" * 100
    api.commit(f"models/{name}", file("a b/ü.txt", content), file("page.html", "<script>alert(1)</script>"))
    path = f"/{name}/resolve/main/a%20b/%C3%BC.txt"
    head = api.head(path, accept_encoding="identity")
    sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    assert (head.status, head.headers["etag"], head.headers["content-length"], head.headers["accept-ranges"]) == (200, f'"{sha1}"', "1000", "bytes")
    commit = head.headers["x-repo-commit"]
    assert len(commit) == 40 and "content-encoding" not in head.headers
    part = api.get(path, range="bytes=10-19")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"0123456789", "bytes 10-19/1000")
    assert api.get(path, range="bytes=0-0").headers["content-range"] == "bytes 0-0/1000"
    assert api.get(path, range="bytes=1000-").status == 416
    assert api.get(path, if_none_match=f'"{sha1}"').status == 304
    for revision in (commit, commit[:8], "HEAD", "refs%2Fheads%2Fmain"):
        assert api.get(f"/{name}/resolve/{revision}/a%20b/%C3%BC.txt").body == content, revision
    page = api.get(f"/{name}/resolve/main/page.html")
    assert page.headers["content-type"].startswith("text/plain") and page.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in page.headers["content-security-policy"] and page.headers["x-content-type-options"] == "nosniff"
    assert "filename*=UTF-8''%C3%BC%2Etxt" in head.headers["content-disposition"]
    assert api.get(f"{path}?download=true").headers["content-disposition"].startswith("attachment")


@pytest.mark.covers("hub.tree", "hub.paths-info")
def test_trees_in_pages(api, made):
    name = made()
    repo = f"models/{name}"
    assert api.commit(repo, *(file(f"d{n % 7}/f{n:04}", f"{n}") for n in range(1200))).status == 200
    paths, url = [], f"/api/{repo}/tree/main?recursive=true"
    while url:
        answer = api.get(url)
        page = answer.json()
        assert len(page) <= 1000
        paths += [row["path"] for row in page if row["type"] == "file"]
        link = answer.headers["link"]
        url = link[1:link.index(">")].removeprefix(api.url) if link else None
    assert sorted(paths) == sorted([".gitattributes", *(f"d{n % 7}/f{n:04}" for n in range(1200))])
    folder = api.get(f"/api/{repo}/tree/main/d3").json()
    assert all(row["path"].startswith("d3/") for row in folder) and len(folder) == 171 + (3 < 1200 % 7)
    assert api.get(f"/api/{repo}/tree/main/nope").code == "EntryNotFound"
    expanded = api.get(f"/api/{repo}/tree/main/d3?expand=true&limit=2").json()
    assert len(expanded) == 2 and expanded[0]["lastCommit"]["title"] == "a commit"
    form = api.post(f"/api/{repo}/paths-info/main", b"paths=d1&paths=d0%2Ff0000&paths=nope&expand=false", content_type="application/x-www-form-urlencoded").json()
    assert [(row["type"], row["path"]) for row in form] == [("directory", "d1"), ("file", "d0/f0000")]
    assert api.post(f"/api/{repo}/paths-info/main", {"paths": ["d0/f0000"], "expand": True}).json()[0]["lastCommit"]["title"] == "a commit"


@pytest.mark.covers("hub.branch.create", "hub.branch.delete", "hub.tag.create", "hub.tag.delete", "hub.refs")
def test_branches_and_tags(api, made):
    name = made()
    repo = f"models/{name}"
    assert api.post(f"/api/{repo}/branch/feature%2Fx", {"startingPoint": "main"}).status == 200
    again = api.post(f"/api/{repo}/branch/feature%2Fx")
    assert again.status == 409 and "refs/heads/feature/x already exists" in again.json()["error"]
    assert api.commit(repo, file("on-branch", "x"), revision="feature/x").status == 200
    assert api.post(f"/api/{repo}/tag/main", {"tag": "v1", "message": "one"}).status == 200
    assert api.post(f"/api/{repo}/tag/feature%2Fx", {"tag": "v2"}).status == 200
    refs = api.get(f"/api/{repo}/refs").json()
    assert [row["name"] for row in refs["branches"]] == ["feature/x", "main"] and [row["ref"] for row in refs["tags"]] == ["refs/tags/v1", "refs/tags/v2"]
    main = next(row["targetCommit"] for row in refs["branches"] if row["name"] == "main")
    assert refs["tags"][0]["targetCommit"] == main and "pullRequests" not in refs
    assert api.get(f"/{name}/resolve/v2/on-branch").body == b"x"
    assert api.post(f"/api/{repo}/branch/bad..name").status == 400
    assert api.post(f"/api/{repo}/branch/y", {"startingPoint": "nope"}).code == "RevisionNotFound"
    assert api.delete(f"/api/{repo}/branch/main").status == 403
    assert api.delete(f"/api/{repo}/branch/feature%2Fx").status == 200
    assert api.delete(f"/api/{repo}/tag/v1").status == 200
    assert api.delete(f"/api/{repo}/tag/v1").code == "RevisionNotFound"


@pytest.mark.covers("hub.move", "hub.delete")
def test_moved_repositories_lead_on(hub, api, made, named):
    name, to = made(), named()
    api.commit(f"models/{name}", file("f", "x"))
    assert api.post("/api/repos/move", {"fromRepo": name, "toRepo": to, "type": "model"}).status == 200
    answer = api.get(f"/api/models/{name}")
    assert answer.status == 307 and answer.headers["location"] == f"{hub.url}/api/models/{to}"
    for path in ("/revision/main?blobs=true", "/tree/main/a%2Fb?recursive=true", "/refs", "/commits/main?p=0", "/auth-check"):
        answer = api.get(f"/api/models/{name}{path}")
        assert answer.status == 307 and answer.headers["location"] == f"{hub.url}/api/models/{to}{path}"
    assert api.post(f"/api/models/{name}/paths-info/main", {"paths": ["f"]}).json()[0]["path"] == "f"
    answer = api.get(f"/{name}/resolve/main/f")
    assert answer.status == 307 and answer.headers["location"] == f"/{to}/resolve/main/f"
    assert api.commit(f"models/{name}", file("g", "y")).status == 200
    other = made()
    clash = api.post("/api/repos/move", {"fromRepo": other, "toRepo": to, "type": "model"})
    assert clash.status == 409 and "already exists" in clash.json()["error"]
    gone = api.delete("/api/repos/delete", {"name": to.split("/")[1], "organization": "alice", "type": "model"}, content_type="application/json")
    assert gone.status == 200 and api.get(f"/api/models/{to}").code == "RepoNotFound"


@pytest.mark.covers("hub.settings", "hub.auth-check")
def test_gated_repositories_show_that_they_are_there(hub, api, made):
    name = made(visibility="public")
    assert api.request("PUT", f"/api/models/{name}/settings", {"gated": "manual"}).status == 200
    for who, status in ((HubApi(hub.url), 401), (HubApi(hub.url, hub.tokens["bob"]), 403)):
        assert who.get(f"/api/models/{name}").json()["gated"] == "manual"
        answer = who.get(f"/{name}/resolve/main/.gitattributes")
        assert (answer.status, answer.code) == (status, "GatedRepo") and "is restricted and you are not in the authorized list" in answer.headers["x-error-message"]
        assert who.get(f"/api/models/{name}/auth-check").code == "GatedRepo"
    assert api.get(f"/{name}/resolve/main/.gitattributes").status == 200
    assert api.request("PUT", f"/api/models/{name}/settings", {"gated": False}).status == 200
    assert HubApi(hub.url).get(f"/{name}/resolve/main/.gitattributes").status == 200


@pytest.mark.covers("hub.list")
def test_lists(hub, api, made):
    public, private = made(visibility="public"), made()
    card = "---\nlicense: mit\ntags: [unusual]\npipeline_tag: text-generation\n---\n# X\n"
    assert api.commit(f"models/{public}", file("README.md", card)).status == 200
    ids = lambda who, query: [row["id"] for row in who.get(f"/api/models?{query}").json()]
    assert {public, private} <= set(ids(api, "author=alice&limit=1000"))
    nobody = HubApi(hub.url)
    assert public in ids(nobody, "author=alice&limit=1000") and private not in ids(nobody, "author=alice&limit=1000")
    assert ids(nobody, f"search={public.split('/')[1]}&filter=unusual&filter=license:mit") == [public]
    assert ids(nobody, "filter=unusual,no-such-tag") == []
    row, = nobody.get(f"/api/models?search={public.split('/')[1]}&filter=unusual&full=true").json()
    assert row["pipeline_tag"] == "text-generation" and row["cardData"]["license"] == "mit" and not row["private"]
    found, url = [], "/api/models?author=alice&limit=2&sort=lastModified"
    while url:
        answer = api.get(url)
        found += [row["id"] for row in answer.json()]
        link = answer.headers["link"]
        url = link[1:link.index(">")].removeprefix(api.url) if link else None
    assert len(found) == len(set(found)) and {public, private} <= set(found)
    assert api.get("/api/models?cursor=nonsense").status == 400


@pytest.mark.covers("hub.validate-yaml")
def test_cards_are_validated(api, made):
    ask = lambda content: api.post("/api/validate-yaml", {"content": content, "repoType": "model"})
    assert ask("---\nlicense: mit\n---\n").json() == {"errors": [], "warnings": []}
    bad = ask("---\nlicense: [mit\n---\n")
    assert bad.status == 400 and bad.json()["errors"][0]["message"]
    refused = api.commit(f"models/{made()}", file("README.md", "---\na: [\n---\n"))
    assert refused.status == 400 and "README.md" in refused.headers["x-error-message"]


@pytest.mark.covers("hub.preupload")
def test_preupload(api, made):
    name = made()
    api.commit(f"models/{name}", file(".gitignore", "*.log\n"), file("kept.txt", "kept"))
    sample = lambda data: base64.b64encode(data[:512]).decode()
    files = [{"path": path, "sample": sample(data), "size": size or len(data)} for path, data, size in (
        ("a.txt", b"text", 0), ("a.bin", b"text", 0), ("b.txt", b"x", 11 << 20), ("c", b"\0\1", 0), ("x.log", b"log", 0), ("kept.txt", b"kept", 0))]
    ask = lambda agent: {row["path"]: row for row in api.post(f"/api/models/{name}/preupload/main", {"files": files}, user_agent=agent).json()["files"]}
    old = ask("unknown/None; hf_hub/1.19.0; python/3.11")
    assert {path: row["uploadMode"] for path, row in old.items()} == {
        "a.txt": "regular", "a.bin": "lfs", "b.txt": "lfs", "c": "lfs", "x.log": "regular", "kept.txt": "regular"}
    assert {path for path, row in old.items() if row["shouldIgnore"]} == {"x.log"}
    assert old["kept.txt"]["oid"] == hashlib.sha1(b"blob 4\0kept").hexdigest()
    assert ask("unknown/None; hf_hub/2.4.0; python/3.11") == old, "what goes by LFS for one goes by Xet for the other"


@pytest.mark.covers("hub.agent-harnesses", "hub.telemetry", "hub.tasks", "hub.datasets-server")
def test_unasked_calls_are_answered(api):
    assert api.get("/api/agent-harnesses").json() == {"standardEnvVars": [], "harnesses": {}}
    assert api.head("/api/telemetry/x/y").status == 200
    assert "text-generation" in api.get("/api/tasks").json()
    answer = api.get("/info?dataset=x/y", host="datasets-server.hub.test")
    assert answer.status == 404 and json.loads(answer.body)["error"]
