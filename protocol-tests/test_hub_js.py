"""`@huggingface/hub`, the Hub's client for JavaScript, with nothing set but `hubUrl` and a token."""

from pathlib import Path

import pytest

from harness import lfs
from harness.api import HubApi, file
from harness.js import PACKAGE, Js, version
from harness.lfs import content

if not PACKAGE.is_dir():
    pytest.skip(f"{PACKAGE} is missing: protocol-tests/run installs it", allow_module_level=True)

pytestmark = pytest.mark.client("@huggingface/hub", version())
shows = pytest.mark.shows
disk = pytest.mark.parametrize("engine", ["disk"], indirect=True)


@pytest.fixture
def js(lfs_hub, tmp):
    return Js(lfs_hub.url, lfs_hub.tokens["alice"], tmp / "home")


@pytest.fixture
def named(lfs_hub):
    return lambda: f"alice/j{next(lfs_hub.names)}"


@shows("createRepo", "uploadFiles", "uploadFile", "listFiles", "downloadFile", "downloadFile of a pointer", "fileDownloadInfo", "fileExists", "pathsInfo")
def test_files_there_and_back(engine, lfs_hub, js, named, tmp, clone_with):
    """Regular and large, in one commit; by the API, by ranges, as pointers, and by git."""
    name, large = named(), content(6 << 20, js.url)
    (tmp / "large.bin").write_bytes(large)
    told = js.run("""
const [name, large] = args, repo = {type: "model", name}, {pathToFileURL} = await import("node:url");
const made = await hub.createRepo({...at, repo, private: true, license: "mit"});
const done = await hub.uploadFiles({...at, repo, commitTitle: "by node", commitDescription: "and why", files: [
    {path: "config.json", content: new Blob(['{"model_type": "bert"}'])},
    {path: "sub/déjà vu.txt", content: new Blob(["déjà vu\\n"])},
    {path: "empty.bin", content: new Blob([])},
    {path: "large.bin", content: pathToFileURL(large)},
]});
const again = await hub.uploadFile({...at, repo, file: {path: "large-too.bin", content: pathToFileURL(large)}});
const rows = await all(hub.listFiles({...at, repo, recursive: true, expand: true}));
const blob = await hub.downloadFile({...at, repo, path: "large.bin"});
const sha256 = (await import("node:crypto")).createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");
tell({made, done, again, size: blob.size, rows: rows.map(row => [row.type, row.path, row.size, row.lfs?.oid ?? null, row.lastCommit?.title ?? null]),
    sha256, part: Buffer.from(await blob.slice(10, 20).arrayBuffer()).toString("hex"),
    text: await (await hub.downloadFile({...at, repo, path: "sub/déjà vu.txt"})).text(),
    pointer: await (await hub.downloadFile({...at, repo, path: "large.bin", raw: true})).text(),
    missing: await hub.downloadFile({...at, repo, path: "nope.bin"}),
    info: await hub.fileDownloadInfo({...at, repo, path: "large.bin"}), none: await hub.fileDownloadInfo({...at, repo, path: "nope"}),
    small: await hub.fileDownloadInfo({...at, repo, path: "config.json"}),
    exists: [await hub.fileExists({...at, repo, path: "config.json"}), await hub.fileExists({...at, repo, path: "nope"})],
    paths: (await hub.pathsInfo({...at, repo, paths: ["large.bin", "nope", "sub"], expand: true})).map(row => [row.type, row.path, row.lastCommit.title])});
""", name, tmp / "large.bin")
    oid = lfs.oid(large)
    assert told["made"]["repoUrl"] == f"{lfs_hub.url}/{name}" and told["made"]["id"]
    assert told["done"]["commit"]["url"] == f"{lfs_hub.url}/{name}/commit/{told['done']['commit']['oid']}"
    assert told["again"]["commit"]["oid"] != told["done"]["commit"]["oid"]
    files = {path: (size, lfs_oid, title) for kind, path, size, lfs_oid, title in told["rows"] if kind == "file"}
    assert files["large.bin"] == (len(large), oid, "by node") and files["large-too.bin"][:2] == (len(large), oid)
    assert files["config.json"] == (22, None, "by node") and files["empty.bin"][:2] == (0, None)
    assert files["README.md"][2] == "initial commit" and ["directory", "sub"] in [row[:2] for row in told["rows"]]
    assert (told["size"], told["sha256"], told["text"]) == (len(large), oid, "déjà vu\n") and told["part"] == large[10:20].hex()
    assert told["pointer"] == lfs.pointer(large)
    assert told["missing"] is None and told["none"] is None and told["exists"] == [True, False]
    assert told["info"]["size"] == len(large) and told["info"]["xet"]["hash"], "it uploaded by Xet"
    assert told["info"]["etag"] == f'"{oid}"' or engine == "s3", "it reads the headers of where it was sent"
    assert told["small"]["size"] == 22
    assert told["paths"] == [["file", "large.bin", "by node"], ["directory", "sub", "by node"]]
    clone = clone_with(name)
    assert (clone.cwd / "large.bin").read_bytes() == large and (clone.cwd / "sub/déjà vu.txt").read_text() == "déjà vu\n"
    assert clone("log", "-2", "--format=%B").split("\n\n") == ["Add large-too.bin", "by node", "and why\n"]


@pytest.fixture
def clone_with(lfs_hub, git, tmp):
    return lambda name: lfs.CLIENTS[0].of(git, lfs_hub.url).clone(lfs_hub.git_url(name, lfs_hub.tokens["alice"]), tmp / "clone")


@disk
@shows("commit", "commit with parentCommit", "commit with deletions", "createRepo with files", "createBranch", "deleteBranch", "deleteFile", "deleteFiles", "deleteRepo",
       "listCommits", "countCommits", "listDatasets", "datasetInfo", "repoExists", "HubApiError")
def test_the_life_of_a_repository(lfs_hub, js, named):
    told = js.run("""
const [name] = args, repo = {type: "dataset", name};
await hub.createRepo({...at, repo, visibility: "public", files: [{path: "data.csv", content: new TextEncoder().encode("a,b\\n1,2\\n").buffer}]});
const first = await hub.commit({...at, repo, title: "two", operations: [
    {operation: "addOrUpdate", path: "sub/a.txt", content: new Blob(["a"])}, {operation: "addOrUpdate", path: "sub/b.txt", content: new Blob(["b"])},
    {operation: "addOrUpdate", path: "c.txt", content: new Blob(["c"])}]});
const stale = {...at, repo, title: "stale", parentCommit: first.commit.oid};
await hub.commit({...at, repo, title: "delete", operations: ["sub/a.txt", "sub/b.txt", "c.txt"].map(path => ({operation: "delete", path}))});
await hub.createBranch({...at, repo, branch: "dev"});
await hub.uploadFile({...at, repo, branch: "dev", file: {path: "only-here.txt", content: new Blob(["x"])}});
await hub.deleteFiles({...at, repo, branch: "dev", paths: ["only-here.txt"]});
await hub.deleteFile({...at, repo, branch: "dev", path: "data.csv"});
const dev = (await all(hub.listFiles({...at, repo, revision: "dev", recursive: true}))).map(row => row.path);
const edited = await hub.uploadFile({...at, repo, file: {path: "data.csv", content: new Blob(["a,b\\n3,4\\n"])}});
const commits = await all(hub.listCommits({...at, repo}));
const clashing = {...at, repo, branch: "dev"};
tell({
    files: (await all(hub.listFiles({...at, repo, recursive: true}))).map(row => row.path), dev, edited,
    commits: commits.map(commit => [commit.title, commit.authors[0].username]), count: await hub.countCommits({...at, repo}), listed: await all(hub.listDatasets({...at, search: {owner: name.split("/")[0], query: name.split("/")[1]}})),
    info: await hub.datasetInfo({...at, name, additionalFields: ["sha", "author", "tags"]}), sha: edited.commit.oid,
    exists: [await hub.repoExists({...at, repo}), await hub.repoExists({...at, repo: {type: "model", name}})],
    stale: await fails(() => hub.commit({...stale, operations: [{operation: "addOrUpdate", path: "x", content: new Blob(["x"])}]})),
    missing: await fails(() => hub.commit({...at, repo, title: "x", operations: [{operation: "delete", path: "nope"}]})),
    twice: await fails(() => hub.createRepo({...at, repo})), branch: await fails(() => hub.createBranch(clashing)),
    main: await fails(() => hub.deleteBranch({...at, repo, branch: "main"})), gone: (await hub.deleteBranch({...at, repo, branch: "dev"})) ?? null,
    deleted: (await hub.deleteRepo({...at, repo})) ?? null, after: await fails(() => hub.datasetInfo({...at, name})),
});
""", name := named())
    assert set(told["files"]) == {".gitattributes", "data.csv"} and told["dev"] == [".gitattributes"]
    assert told["commits"][0] == ["Add data.csv", "alice"] and told["commits"][-1] == ["initial commit", "alice"]
    assert [title for title, _ in told["commits"]][1:3] == ["delete", "two"] and told["count"] == len(told["commits"]) == 4
    row, = told["listed"]
    assert (row["name"], row["private"], row["gated"]) == (name, False, False)
    assert (told["info"]["name"], told["info"]["sha"], told["info"]["author"]) == (name, told["sha"], "alice")
    assert told["exists"] == [True, False]
    assert (told["stale"]["type"], told["stale"]["status"]) == ("HubApiError", 412) and "The branch was updated" in told["stale"]["message"]
    assert told["missing"]["status"] == 404 and "A file with this name doesn't exist" in told["missing"]["message"]
    assert told["twice"]["status"] == told["branch"]["status"] == 409 and "refs/heads/dev already exists" in told["branch"]["message"]
    assert told["main"]["status"] == 403 and told["after"]["status"] == 404 and told["gone"] is told["deleted"] is None


@disk
@shows("checkRepoAccess", "listModels", "modelInfo", "whoAmI")
def test_who_may_what(lfs_hub, js, named, tmp):
    private, public, gated = named(), named(), named()
    as_alice = HubApi(lfs_hub.url, lfs_hub.tokens["alice"])
    for name, visibility in ((private, "private"), (public, "public"), (gated, "public")):
        as_alice.create(name, visibility=visibility)
    as_alice.commit(f"models/{public}", file("README.md", "---\nlicense: mit\npipeline_tag: text-generation\ntags: [by-node]\n---\n"))
    as_alice.request("PUT", f"/api/models/{gated}/settings", {"gated": "manual"})
    script = """
const check = async (name) => { try { await hub.checkRepoAccess({...at, repo: {type: "model", name}}); return "may"; } catch (error) { return error.statusCode; } };
const [owner, ...names] = args, found = await all(hub.listModels({...at, search: {owner, tags: ["by-node"]}, additionalFields: ["tags", "author", "sha"]}));
tell({access: await Promise.all([...names, owner + "/nope"].map(check)), found: found.map(row => [row.name, row.task, row.tags, row.author]),
    info: await hub.modelInfo({...at, name: names[1], additionalFields: ["cardData", "library_name", "safetensors"]}),
    who: accessToken ? await hub.whoAmI(at) : null,
    write: await fails(() => hub.uploadFile({...at, repo: names[1], file: {path: "x", content: new Blob(["x"])}})).catch(() => "may")});
"""
    ask = lambda token: Js(lfs_hub.url, token, tmp / "someone").run(script, "alice", private, public, gated)
    alice, bob, nobody = ask(lfs_hub.tokens["alice"]), ask(lfs_hub.tokens["bob"]), ask(None)
    assert alice["access"] == ["may", "may", "may", 404]
    assert bob["access"] == [404, "may", "may", 404] and nobody["access"] == [401, "may", "may", 401], "who asks sees that a gated one is there"
    assert alice["write"] == "may" and (bob["write"]["status"], nobody["write"]["status"]) == (403, 401)
    assert (alice["who"]["name"], alice["who"]["type"], type(alice["who"]["orgs"]), alice["who"]["auth"]["accessToken"]["role"]) == ("alice", "user", list, "write")
    for told in (alice, bob, nobody):
        (name, task, tags, author), = told["found"]
        assert (name, task, author) == (public, "text-generation", "alice") and {"by-node", "license:mit"} <= set(tags)
        assert told["info"]["task"] == "text-generation" and told["info"]["cardData"]["license"] == "mit"


@disk
@shows("parseSafetensorsMetadata", "snapshotDownload", "downloadFileToCacheDir", "uploadFiles in parts")
def test_a_real_model_is_read(lfs_hub, js, named, model_files):
    """The header of the weights by ranges, and all of it into the client's cache."""
    paths = [path.relative_to(model_files) for path in model_files.rglob("*") if path.is_file() and ".cache" not in path.parts]
    told = js.run("""
const [name, folder, ...paths] = args, repo = {type: "model", name}, {pathToFileURL} = await import("node:url"), fs = await import("node:fs");
await hub.createRepo({...at, repo});
await hub.uploadFiles({...at, repo, files: paths.map(path => ({path, content: pathToFileURL(`${folder}/${path}`)}))});
const weights = await hub.parseSafetensorsMetadata({...at, repo, path: "model.safetensors", computeParametersCount: true});
const there = await hub.snapshotDownload({...at, repo, cacheDir: process.env.HF_HOME});
const one = await hub.downloadFileToCacheDir({...at, repo, path: "1_Pooling/config.json", cacheDir: process.env.HF_HOME + "/one"});
tell({one: fs.readFileSync(one, "utf8"), parameters: weights.parameterCount, there});
""", named(), model_files, *paths, seconds=300)
    assert told["one"] == (model_files / "1_Pooling/config.json").read_text() and told["parameters"] == {"F32": 22713216, "I64": 512}
    for path in paths:
        assert (Path(told["there"]) / path).read_bytes() == (model_files / path).read_bytes(), path


@disk
@shows("createRepo of a Space", "listSpaces", "spaceInfo")
def test_spaces(lfs_hub, js, named):
    told = js.run("""
const [name] = args, repo = {type: "space", name};
await hub.createRepo({...at, repo, sdk: "static", visibility: "public"});
await hub.uploadFile({...at, repo, file: {path: "index.html", content: new Blob(["<p>hi</p>"])}});
tell({found: (await all(hub.listSpaces({...at, search: {owner: name.split("/")[0], query: name.split("/")[1]}}))).map(row => [row.name, row.sdk]),
    info: await hub.spaceInfo({...at, name, additionalFields: ["author", "sha"]}), files: (await all(hub.listFiles({...at, repo}))).map(row => row.path)});
""", name := named())
    assert told["found"] == [[name, "static"]] and set(told["files"]) == {".gitattributes", "README.md", "index.html"}
    assert (told["info"]["name"], told["info"]["sdk"], told["info"]["author"]) == (name, "static", "alice")
