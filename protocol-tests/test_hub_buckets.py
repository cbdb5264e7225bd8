"""Buckets: files without history that the Hub's clients keep in step with a folder; each is named by its Xet hash, and proven by it."""

import contextlib
import http.client
import json
import random
import threading
import urllib.error
from urllib.parse import quote

import pytest

from harness import js, wait, wire
from harness.api import HubApi
from harness.hf import NEWEST, VERSIONS, Hf
from harness.lfs import MIB, content
from harness.xet import SHA256, Cas, File

shows = pytest.mark.shows
newest = pytest.mark.client("huggingface_hub", NEWEST)
GONE = (OSError, urllib.error.URLError, http.client.HTTPException)
EMPTY = "0" * 64


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def hf(hub, alice, tmp):
    return Hf(hub.url, alice, tmp / "hf")


@pytest.fixture
def made(hub, api):
    """Makes an empty private bucket of alice's, as NS/NAME."""
    def make(**more):
        name = f"alice/b{next(hub.names)}"
        answer = api.post(f"/api/buckets/{name}", more)
        assert answer.status == 200, answer.body
        return name
    return make


def small(seed):
    return File.of(content(1000, seed), size=400).saying(flags=1 << 31)  # as `hf` sends it: without a SHA-256


def add(path, name, **more):
    return {"type": "addFile", "path": path, "xetHash": name, "mtime": 1_700_000_000_123, **more}


def copy(path, name, kind, source):
    return {"type": "copyFile", "path": path, "xetHash": name, "mtime": 1, "sourceRepoType": kind, "sourceRepoId": source}


def delete(path):
    return {"type": "deleteFile", "path": path}


def batch(api, name, *operations):
    body = b"".join(json.dumps(operation).encode() + b"\n" for operation in operations)
    return api.post(f"/api/buckets/{name}/batch", body, content_type="application/x-ndjson")


def failed(answer):
    assert answer.status in (200, 422), answer.body
    return {row["path"]: row["error"] for row in answer.json()["failed"]}


def listed(api, name, prefix="", **query):
    """Paths, folders with a slash, of all pages; a page is followed as clients do."""
    options = "&".join(f"{key}={value}" for key, value in query.items())
    url, found = f"/api/buckets/{name}/tree{'/' + quote(prefix, safe='') if prefix else ''}?{options}", []
    while url:
        answer = api.get(url)
        assert answer.status == 200, answer.body
        found += [row["path"] + ("/" if row["type"] == "directory" else "") for row in answer.json()]
        link = answer.headers.get("link")
        url = link and link[1 : link.index(">")].removeprefix(api.url)
    return found


def write(root, **files):
    for name, data in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def same(left, right):
    files = lambda root: {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert files(left) == files(right)


# -- real clients -------------------------------------------------------------------------------------------------


@newest
@shows("create_bucket", "bucket_info", "list_buckets", "update_bucket_settings", "move_bucket", "delete_bucket", "BucketNotFoundError")
@pytest.mark.covers("hub.bucket.create", "hub.bucket", "hub.buckets", "hub.bucket.settings", "hub.bucket.delete")
def test_clients_keep_buckets(hub, hf):
    name = f"kept{next(hub.names)}"
    told = hf.python("""
name = sys.argv[1]
url = api.create_bucket(name, private=False)
again = fails(errors.HfHubHTTPError, api.create_bucket, name)
assert api.create_bucket(f"alice/{name}", exist_ok=True).bucket_id == url.bucket_id == f"alice/{name}"
public = api.bucket_info(f"alice/{name}")
api.update_bucket_settings(f"alice/{name}", private=True)
private = api.bucket_info(f"alice/{name}")
mine = [bucket.id for bucket in api.list_buckets()]
found = [bucket.id for bucket in api.list_buckets("alice", search=name.upper())]
none = [bucket.id for bucket in api.list_buckets("alice", search="zzz")]
api.move_bucket(f"alice/{name}", f"alice/{name}-new")
moved = [api.bucket_info(f"alice/{name}-new").id, api.bucket_info(f"alice/{name}").id]
api.delete_bucket(f"alice/{name}-new")
api.delete_bucket(f"alice/{name}-new", missing_ok=True)
gone = [fails(errors.BucketNotFoundError, call, f"alice/{name}-new") for call in (api.bucket_info, api.delete_bucket)]
other = fails(errors.HfHubHTTPError, api.create_bucket, f"bob/{name}")
tell([again, public.private, public.size, public.total_files, private.private, mine, found, none, moved, gone, other])
""", name)
    again, public, size, files, private, mine, found, none, moved, gone, other = told
    assert f"You already created this bucket: alice/{name}" in again
    assert (public, size, files, private) == (False, 0, 0, True)
    assert f"alice/{name}" in mine and found == [f"alice/{name}"] and none == []
    assert moved == [f"alice/{name}-new"] * 2, "the old name leads there"
    assert all("404" in text for text in gone) and "under the namespace \"bob\"" in other


@newest
@shows("batch_bucket_files", "list_bucket_tree", "get_bucket_paths_info", "get_bucket_file_metadata", "download_bucket_files", "sync_bucket", "BucketBatchError")
@pytest.mark.covers("hub.bucket.batch", "hub.bucket.tree", "hub.bucket.paths-info", "hub.bucket.resolve", "hub.bucket.xet-token")
def test_clients_fill_buckets(hub, made, hf, tmp):
    name, (big, code) = made(), (content(3 * MIB + 7), b"print(1)\n")
    source = write(tmp / "source", big_bin=big, code_py=code, deep__er__empty=b"", **{"deep__a_txt": b"a" * 70_000})
    told = hf.python("""
name, root, out = sys.argv[1:]
api.batch_bucket_files(name, add=[(f"{root}/big.bin", "models/big.bin"), (b"in memory", "note.txt"), (b"", "nothing")])
tree = sorted((item.path, item.type) for item in api.list_bucket_tree(name))
deep = sorted((item.path, item.size, len(item.xet_hash)) for item in api.list_bucket_tree(name, recursive=True))
info = {item.path: item for item in api.get_bucket_paths_info(name, ["note.txt", "models", "missing"])}
meta = api.get_bucket_file_metadata(name, "models/big.bin")
api.download_bucket_files(name, [("models/big.bin", f"{out}/big.bin"), ("note.txt", f"{out}/note.txt"), ("nothing", f"{out}/nothing")])
missing = fails(errors.EntryNotFoundError, api.download_bucket_files, name, [("missing", f"{out}/x")], raise_on_missing_files=True)
api.batch_bucket_files(name, add=[(b"other", "note.txt")], copy=[("bucket", name, meta.xet_file_data.file_hash, "copies/big.bin")], delete=["nothing"])
refused = fails(errors.BucketBatchError, api.batch_bucket_files, name, copy=[("bucket", name, "1" * 64, "forged")], delete=["copies/big.bin"])
plan = api.sync_bucket(root, f"hf://buckets/{name}/synced", quiet=True)
again = api.sync_bucket(root, f"hf://buckets/{name}/synced", quiet=True)
back = api.sync_bucket(f"hf://buckets/{name}/synced", f"{out}/synced", quiet=True)
rest = sorted(item.path for item in api.list_bucket_tree(name, recursive=True))
tell([tree, deep, sorted(info), info["note.txt"].size, meta.size, missing, refused, plan.summary(), again.summary(), back.summary(), rest])
""", name, source, tmp / "out")
    tree, deep, info, size, meta, missing, refused, plan, again, back, rest = told
    assert tree == [["models", "directory"], ["note.txt", "file"], ["nothing", "file"]]
    assert [row[:2] for row in deep] == [["models/big.bin", len(big)], ["note.txt", 9], ["nothing", 0]] and {row[2] for row in deep} == {64}
    assert (info, size, meta) == (["note.txt"], 9, len(big)) and "missing" in missing
    assert (tmp / "out/big.bin").read_bytes() == big and (tmp / "out/note.txt").read_bytes() == b"in memory" and (tmp / "out/nothing").read_bytes() == b""
    assert "forged: the source does not have this file" in refused and "1 out of 2" in refused
    assert (plan["uploads"], again["uploads"], again["skips"], back["downloads"]) == (4, 0, 4, 4)
    assert rest == ["models/big.bin", "note.txt", *(f"synced/{path}" for path in ("big.bin", "code.py", "deep/a.txt", "deep/er/empty"))]
    same(source, tmp / "out/synced")


@pytest.mark.client("huggingface_hub", "1.19.0")
@shows("create_bucket", "bucket_info", "list_buckets", "batch_bucket_files", "list_bucket_tree", "download_bucket_files", "sync_bucket", "delete_bucket")
def test_older_clients(hub, alice, tmp):
    name, data = f"alice/o{next(hub.names)}", content(MIB + 1, "older")
    told = Hf(hub.url, alice, tmp / "hf", VERSIONS["1.19.0"]).python("""
name, root, out = sys.argv[1:]
api.create_bucket(name, private=True)
api.batch_bucket_files(name, add=[(f"{root}/big.bin", "a/big.bin"), (b"in memory", "note.txt")])
tree = sorted((item.path, item.type) for item in api.list_bucket_tree(name))
api.download_bucket_files(name, [("a/big.bin", f"{out}/big.bin"), ("note.txt", f"{out}/note.txt")])
plan = api.sync_bucket(root, f"hf://buckets/{name}/a", quiet=True)
listed, files = name in [bucket.id for bucket in api.list_buckets()], api.bucket_info(name).total_files
api.batch_bucket_files(name, delete=["note.txt"])
api.delete_bucket(name)
tell([tree, listed, files, plan.summary()["skips"], fails(errors.HfHubHTTPError, api.bucket_info, name)])
""", name, write(tmp / "source", big_bin=data), tmp / "out")
    tree, listed_, files, skips, gone = told
    assert (tree, listed_, files, skips) == ([["a", "directory"], ["note.txt", "file"]], True, 2, 1) and "404" in gone
    assert (tmp / "out/big.bin").read_bytes() == data and (tmp / "out/note.txt").read_bytes() == b"in memory"


@newest
@shows("HfFileSystem of buckets")
def test_the_file_system_reaches_buckets(hub, made, hf, tmp):
    name, data = made(), content(200_000)
    (tmp / "data").write_bytes(data)
    told = hf.python("""
name = sys.argv[1]
fs = HfFileSystem()
root = f"buckets/{name}"
data = open(sys.argv[2], "rb").read()
with fs.open(f"{root}/a/b.bin", "wb") as out:
    out.write(data)
with fs.open(f"{root}/a/c.txt", "w") as out:
    out.write("text")
top, below = fs.ls(root, detail=False), sorted(fs.ls(f"{root}/a", detail=False))
with fs.open(f"{root}/a/b.bin", "rb") as file:
    file.seek(150_000)
    part = file.read(1000).hex()
whole = fs.cat(f"{root}/a/b.bin")
assert fs.read_text(f"{root}/a/c.txt") == "text" and fs.isdir(f"{root}/a") and fs.isfile(f"{root}/a/c.txt") and fs.exists(root)
fs.cp_file(f"{root}/a/b.bin", f"{root}/copy.bin")
fs.rm(f"{root}/a", recursive=True)
tell([top, below, part, whole == data, sorted(fs.find(root)), fs.info(f"{root}/copy.bin")["size"]])
""", name, tmp / "data")
    top, below, part, whole, found, size = told
    root = f"buckets/{name}"
    assert (top, below) == ([f"{root}/a"], [f"{root}/a/b.bin", f"{root}/a/c.txt"])
    assert (part, whole, found, size) == (data[150_000:151_000].hex(), True, [f"{root}/copy.bin"], len(data))


@newest
@shows("hf buckets", "hf sync", "hf cp to and from buckets")
def test_the_command(hub, alice, api, hf, tmp):
    """As it is typed."""
    names = f"c{next(hub.names)}", f"d{next(hub.names)}"
    one, two = (f"alice/{name}" for name in names)
    source = write(tmp / "source", a_bin=content(MIB), sub__b_txt=b"hello\n", sub__c_log=b"log")
    assert f"hf://buckets/{one}" in hf.run("buckets", "create", names[0], "--private").stdout
    hf.run("buckets", "create", names[1])
    synced = hf.run("sync", source, f"hf://buckets/{one}", "--exclude", "*.log").stdout
    assert "Uploads: 2" in synced
    assert listed(api, one, recursive="true") == ["a.bin", "sub/b.txt"]
    told = hf.run("buckets", "list", one, "-R").stdout
    assert "a.bin" in told and "sub/b.txt" in told
    assert "sub/" in hf.run("buckets", "list", one).stdout and one in hf.run("buckets", "list").stdout
    assert json.loads(hf.run("buckets", "info", one).stdout)["total_files"] == 2
    assert hf.run("cp", f"hf://buckets/{one}/sub/b.txt", "-").stdout == "hello\n"
    hf.run("buckets", "cp", source / "sub/c.log", f"hf://buckets/{one}/logs/")
    hf.run("cp", f"hf://buckets/{one}/sub/", f"hf://buckets/{two}/kept/")
    assert listed(api, two, recursive="true") == ["kept/b.txt"]
    dry = hf.run("sync", source, f"hf://buckets/{one}", "--delete", "--dry-run").stdout
    assert '"logs/c.log"' in dry and "logs/c.log" in listed(api, one, recursive="true")
    hf.run("sync", source, f"hf://buckets/{one}", "--delete")
    assert listed(api, one, recursive="true") == ["a.bin", "sub/b.txt", "sub/c.log"]
    hf.run("sync", f"hf://buckets/{one}", tmp / "back")
    same(source, tmp / "back")
    hf.run("buckets", "rm", f"{one}/sub", "--recursive", "-y")
    assert listed(api, one, recursive="true") == ["a.bin"]
    hf.run("buckets", "settings", one, "--public")
    assert HubApi(hub.url).get(f"/buckets/{one}/resolve/a.bin").body == (source / "a.bin").read_bytes()
    hf.run("buckets", "move", one, f"{one}-moved")
    hf.run("buckets", "delete", f"{one}-moved", "-y")
    gone = hf.run("buckets", "info", one, check=False)
    assert gone.returncode and f"Bucket '{one}' not found." in gone.stderr


@newest
@shows("copy_files from a repository to a bucket")
def test_files_of_repositories_come_to_buckets(hub, api, made, hf, tmp):
    """Nothing large is sent once more."""
    name, model, data = made(), f"alice/m{next(hub.names)}", content(2 * MIB)
    folder = write(tmp / "model", model_safetensors=data, config_json=b"{}")
    told = hf.python("""
model, root, name = sys.argv[1:]
api.create_repo(model)
api.upload_folder(repo_id=model, folder_path=root)
api.copy_files(f"hf://{model}/", f"hf://buckets/{name}/from")
tell(sorted((item.path, item.size) for item in api.list_bucket_tree(name, recursive=True)))
""", model, folder, name)
    assert told == [["from/config.json", 2], ["from/model.safetensors", len(data)]]
    api.delete("/api/repos/delete", {"name": model.split("/")[1], "type": "model"})
    hub.run("maintain", "--now")
    assert api.get(f"/buckets/{name}/resolve/from/model.safetensors").body == data


@pytest.mark.client("@huggingface/hub", js.version())
@shows("createRepo of a bucket", "uploadFiles to a bucket", "listFiles of a bucket", "downloadFile of a bucket", "copyFiles to a bucket", "deleteFiles of a bucket", "pathsInfo of a bucket",
       "fileDownloadInfo of a bucket", "deleteRepo of a bucket")
def test_programs_in_javascript(hub, alice, tmp):
    name, (big, code) = f"alice/j{next(hub.names)}", (content(2 * MIB + 3, "js"), b"let a = 1;\n")
    told = js.Js(hub.url, alice, tmp / "js").run("""
const [name, big, code] = args;
const fs = await import("node:fs"), url = await import("node:url");
const repo = {type: "bucket", name};
await hub.createRepo({...at, repo, visibility: "private"});
const again = await fails(() => hub.createRepo({...at, repo}));
await hub.uploadFiles({...at, repo, files: [{path: "models/big.bin", content: new Blob([fs.readFileSync(big)])}, {path: "code.js", content: new Blob([fs.readFileSync(code)])}]});
const list = (await all(hub.listFiles({...at, repo, recursive: true}))).map(item => [item.path, item.size, item.xetHash.length]);
const top = (await all(hub.listFiles({...at, repo}))).map(item => [item.path, item.type]);
const info = await hub.fileDownloadInfo({...at, repo, path: "models/big.bin"});
const same = async path => Buffer.compare(Buffer.from(await (await hub.downloadFile({...at, repo, path})).arrayBuffer()), fs.readFileSync(path === "code.js" ? code : big)) === 0;
const read = [await same("models/big.bin"), await same("code.js")];
await hub.copyFiles({...at, destination: repo, files: [{source: {repo, path: "models/big.bin"}, destinationPath: "copies/b.bin"}]});
const paths = (await hub.pathsInfo({...at, repo, paths: ["copies/b.bin", "none"]})).map(item => [item.path, item.size]);
const none = [await hub.fileExists({...at, repo, path: "none"}), await hub.downloadFile({...at, repo, path: "none"})];
await hub.deleteFiles({...at, repo, paths: ["code.js", "copies/b.bin"]});
const rest = (await all(hub.listFiles({...at, repo, recursive: true}))).map(item => item.path);
await hub.deleteRepo({...at, repo});
const gone = await fails(async () => await all(hub.listFiles({...at, repo})));
tell([again.status, list, top, info.size, read, paths, none, rest, gone.status]);
""", name, write(tmp / "files", big_bin=big) / "big.bin", write(tmp / "files", code_js=code) / "code.js")
    again, listed_, top, size, read, paths, none, rest, gone = told
    assert (again, gone) == (409, 404) and sorted(listed_) == [["code.js", len(code), 64], ["models/big.bin", len(big), 64]]
    assert sorted(top) == [["code.js", "file"], ["models", "directory"]] and size == len(big) and read == [True, True]
    assert (paths, none, rest) == ([["copies/b.bin", len(big)]], [False, None], ["models/big.bin"])


@newest
@shows("hf sync after a rebuild")
def test_a_rebuild_brings_buckets_back(stopped_hub, tmp):
    """The rows are lost: what was in step with a folder still is, and nothing is sent again."""
    hub = stopped_hub(debug=True).start()
    source = write(tmp / "source", big_bin=content(3 * MIB), same_bin=content(3 * MIB), code_py=b"print(1)\n", deep__er__empty=b"", **{"deep__a b_txt": b"a" * 70_000})
    hf = Hf(hub.url, hub.user("alice"), tmp / "hf")
    for name in ("kept", "shown", "gone"):
        hf.run("buckets", "create", name, "--private")
        hf.run("sync", source, f"hf://buckets/alice/{name}/folder")
    hf.run("buckets", "move", "alice/shown", "alice/moved")
    hf.run("buckets", "settings", "alice/moved", "--public")
    hub.run("maintain", "--now")
    hf.run("buckets", "delete", "alice/gone", "-y")
    api = HubApi(hub.url, hub.token("alice"))
    tree = api.get("/api/buckets/alice/kept/tree?recursive=true").json()
    hub.stop()
    assert ", 2 buckets with 10 files" in hub.rebuild().stdout
    hub.fsck()
    hub.start()
    token = hub.user("alice")
    api, hf = HubApi(hub.url, token), Hf(hub.url, token, tmp / "other")
    assert api.get("/api/buckets/alice/kept/tree?recursive=true").json() == tree and len(tree) == 5, "with their times"
    assert api.get("/api/buckets/alice/gone").status == 404
    nobody = HubApi(hub.url)
    assert (nobody.get("/api/buckets/alice/kept").status, nobody.get("/buckets/alice/moved/resolve/folder/code.py").body) == (401, b"print(1)\n")
    for name in ("kept", "moved"):
        plan = hf.python("""tell(api.sync_bucket(sys.argv[1], sys.argv[2], quiet=True).summary())""", source, f"hf://buckets/alice/{name}/folder")
        assert (plan["uploads"], plan["skips"]) == (0, 5)
        hf.run("sync", f"hf://buckets/alice/{name}/folder", tmp / name)
        same(source, tmp / name)
    write(source, new_txt=b"new")
    hf.run("sync", source, "hf://buckets/alice/kept/folder")
    assert api.get("/buckets/alice/kept/resolve/folder/new.txt").body == b"new"
    hub.fsck()
    hub.stop()


# -- files --------------------------------------------------------------------------------------------------------


@pytest.mark.covers("hub.bucket.resolve")
def test_a_file_over_plain_http(hub, alice, api, made):
    name, data = made(private=False), content(300_000)
    file = Cas(hub, alice, f"buckets/{name}").upload(File.of(data).saying(flags=1 << 31))
    assert failed(batch(api, name, add("a/w.bin", file.name), add("page.html", file.name, contentType="text/html"), add("x.png", file.name, contentType="image/png"),
                        add("y", file.name, contentType="image/svg+xml"), add("z", file.name, contentType="video/mp4"), add("none", EMPTY),
                        add("p", file.name, contentType="image/png,text/html"), add("q", file.name, contentType="image/x+xml"))) == {}
    at, nobody = f"/buckets/{name}/resolve/a/w.bin", HubApi(hub.url)
    whole = nobody.get(at)
    assert whole.status == 200 and whole.body == data and whole.headers["accept-ranges"] == "bytes" and whole.headers["x-xet-hash"] == file.name
    assert f'<{hub.url}/api/buckets/{name}/xet-read-token>; rel="xet-auth"' in whole.headers["link"]
    head = nobody.head(at)
    assert (head.headers["content-length"], head.headers["etag"], head.headers["x-linked-size"], head.body) == ("300000", f'"{file.name}"', "300000", b"")
    assert nobody.get(at.replace("a/w", "a%2Fw")).body == data, "as clients encode it"
    for asked, first, last in (("bytes=0-0", 0, 0), ("bytes=70000-140000", 70_000, 140_000), ("bytes=-5", 299_995, 299_999), ("bytes=299999-", 299_999, 299_999)):
        part = nobody.get(at, range=asked)
        assert (part.status, part.body, part.headers["content-range"]) == (206, data[first : last + 1], f"bytes {first}-{last}/300000"), asked
    assert nobody.get(at, range="bytes=300000-").status == 416
    assert nobody.get(at, if_none_match=f'"{file.name}"').status == 304
    empty = nobody.get(f"/buckets/{name}/resolve/none")
    assert (empty.status, empty.body, empty.headers["x-xet-hash"]) == (200, b"", EMPTY)
    for path, kind, shown in (("page.html", "application/octet-stream", "attachment"), ("x.png", "image/png", "inline"), ("y", "application/octet-stream", "attachment"),
                              ("z", "video/mp4", "inline"), ("z?download=true", "video/mp4", "attachment"), ("p", "application/octet-stream", "attachment"), ("q", "application/octet-stream", "attachment")):
        answer = nobody.head(f"/buckets/{name}/resolve/{path}")
        assert (answer.headers["content-type"], answer.headers["content-disposition"].split(";")[0]) == (kind, shown), path
        assert "sandbox" in answer.headers["content-security-policy"] and answer.headers["x-content-type-options"] == "nosniff"
    missing = nobody.get(f"/buckets/{name}/resolve/a")
    assert (missing.status, missing.code) == (404, "EntryNotFound") and "x-repo-commit" not in missing.headers


@pytest.mark.covers("hub.bucket.tree", "hub.bucket.paths-info")
def test_lists(hub, alice, api, made):
    name, file = made(), small("listed")
    Cas(hub, alice, f"buckets/{name}").upload(file)
    many = [f"deep/{number:05d}/x" for number in range(2500)]
    paths = ["logs", "logs.json", "logs/1.txt", "logs/2/x", "logs_backup/y", "é/ü ?#%.txt", *many]
    assert failed(batch(api, name, *(add(path, file.name) for path in paths))) == {}
    assert listed(api, name) == ["deep/", "logs", "logs.json", "logs/", "logs_backup/", "é/"]
    assert listed(api, name, "logs") == ["logs", "logs.json", "logs/1.txt", "logs/2/", "logs_backup/"], "as beginnings of names, and as a folder"
    assert listed(api, name, "logs/") == ["logs/1.txt", "logs/2/"] and listed(api, name, "zzz") == []
    assert listed(api, name, recursive="true") == sorted(paths) and len(listed(api, name, "deep")) == 2500
    assert listed(api, name, recursive="true", limit=7)[:50] == sorted(paths)[:50]
    row, = (row for row in api.get(f"/api/buckets/{name}/tree?recursive=true").json() if row["path"] == "deep/00000/x")
    assert (row["type"], row["size"], row["xetHash"], row["mtime"]) == ("file", 1000, file.name, "2023-11-14T22:13:20.123Z") and row["uploadedAt"].endswith("Z")
    info = api.post(f"/api/buckets/{name}/paths-info", {"paths": ["é/ü ?#%.txt", "logs", "deep", "nothing"]}).json()
    assert [row["path"] for row in info] == ["é/ü ?#%.txt", "logs"]
    assert api.get(f"/buckets/{name}/resolve/{quote('é/ü ?#%.txt', safe='')}").body == file.data
    assert api.get(f"/api/buckets/{name}").json()["totalFiles"] == len(paths)
    bad = [api.get(f"/api/buckets/{name}/tree?cursor=%21"), api.get(f"/api/buckets/{name}/tree?limit=x"), api.post(f"/api/buckets/{name}/paths-info", {"paths": "x"}),
           api.post(f"/api/buckets/{name}/paths-info", {"paths": ["x"] * 10_001}), api.get(f"/api/buckets/alice?cursor=%21")]
    assert [answer.status for answer in bad] == [400] * 5


def test_what_a_batch_does_and_does_not(hub, alice, api, made):
    name, (one, two) = made(), (small("one"), small("two"))
    cas = Cas(hub, alice, f"buckets/{name}")
    assert list(failed(batch(api, name, add("a", one.name)))) == ["a"], "it is not uploaded"
    for file in (one, two):
        cas.upload(file)
    answer = batch(api, name, add("a", one.name), add("b", "1" * 64), add("a", two.name), delete("missing"), add("c", one.name), delete("c"))
    assert (answer.status, failed(answer)) == (200, {"b": "there is no such file in the bucket: upload it first"})
    assert (answer.json()["processed"], answer.json()["succeeded"]) == (6, 5)
    assert listed(api, name) == ["a"] and api.get(f"/buckets/{name}/resolve/a").body == two.data, "in their order"
    bad = {"": "empty", "/x": "empty", "x/": "empty", "x//y": "empty", "x/../y": '".."', ".": '"."', "x\ny": "control", "x" * 1025: "1024"}
    answer = batch(api, name, *(add(path, one.name) for path in bad))
    assert answer.status == 422 and all(bad[row["path"]] in row["error"] for row in answer.json()["failed"]) and len(answer.json()["failed"]) == len(bad)
    assert "is no Xet hash" in failed(batch(api, name, add("a", "xyz")))["a"]
    for body in (b"{", b'{"type": "addFile", "path": "a"}', b'{"type": "renameFile", "path": "a"}', b'{"type": "deleteFile"}\n[]', b"\xff"):
        answer = api.post(f"/api/buckets/{name}/batch", body)
        assert answer.status == 400 and b"line 1 of the batch" in answer.body, body
    many = b'{"type": "deleteFile", "path": "a"}\n'
    assert api.post(f"/api/buckets/{name}/batch", many * 10_001).status == 413 and listed(api, name) == ["a"]
    assert batch(api, name).status == 200 and api.post(f"/api/buckets/{name}/batch", many * 10_000).status == 200 and listed(api, name) == []


def test_what_was_not_uploaded_here_is_not_had(hub, alice, api, made):
    """To know a hash gives nothing: neither of another bucket's file, nor of a repository's, nor of one that is hidden."""
    mine, theirs, secret = made(), f"bob/s{next(hub.names)}", small("secret")
    bob = HubApi(hub.url, hub.tokens["bob"])
    assert bob.post(f"/api/buckets/{theirs}", {"private": True}).status == 200
    Cas(hub, hub.tokens["bob"], f"buckets/{theirs}").upload(secret)
    assert failed(batch(bob, theirs, add("s", secret.name))) == {}
    reading = Cas(hub, alice, f"buckets/{mine}", scope="read")
    assert reading.plan(secret.name).status == 404 and reading.head(f"/v1/files/{secret.name}").status == 404
    refused = failed(batch(api, mine, add("s", secret.name), copy("t", secret.name, "bucket", theirs), copy("u", secret.name, "model", "bob/x"),
                           copy("v", secret.name, "gadget", theirs), copy("w", secret.name, "bucket", "x")))
    assert sorted(refused) == ["s", "t", "u", "v", "w"] and "that you may read" in refused["t"] and listed(api, mine) == []
    bob.request("PUT", f"/api/buckets/{theirs}/settings", {"private": False})
    assert failed(batch(api, mine, copy("t", secret.name, "bucket", theirs))) == {}
    bob.delete(f"/api/buckets/{theirs}")
    assert api.get(f"/buckets/{mine}/resolve/t").body == secret.data
    assert failed(batch(api, mine, copy("x", secret.name, "bucket", theirs))) != {}


def test_a_source_that_is_withdrawn_while_the_batch_arrives(hub, alice, api, made):
    """What one may copy from is decided when the last byte is here."""
    org, own, member, file = f"w{next(hub.names)}", f"m{next(hub.names)}", f"n{next(hub.names)}", small("withdrawn")
    token = hub.user(member)
    hub.run("org", "create", org, "--owner", "alice")
    hub.run("org", "add", org, member, "--role", "read")
    theirs, mine = f"{org}/secret", f"{member}/{own}"
    assert api.post(f"/api/buckets/{theirs}", {"private": True}).status == HubApi(hub.url, token).post(f"/api/buckets/{mine}", {}).status == 200
    Cas(hub, alice, f"buckets/{theirs}").upload(file)
    assert failed(batch(api, theirs, add("a", file.name))) == {}
    body = json.dumps(copy("a", file.name, "bucket", theirs)).encode() + b"\n"
    with wire.Raw(hub.url) as raw:
        raw.request("POST", f"/api/buckets/{mine}/batch", {"Authorization": f"Bearer {token}", "Content-Length": str(len(body))}, body[:20])
        hub.run("org", "remove", org, member)
        raw.send(body[20:])
        answer = raw.answer()
    assert answer.status == 422 and b"that you may read" in answer.body and listed(HubApi(hub.url, token), mine) == []


def test_a_file_without_sha256_is_none_of_a_repository(hub, alice, api):
    repo = f"alice/m{next(hub.names)}"
    api.create(repo)
    file = small("nameless")
    cas = Cas(hub, alice, f"models/{repo}")
    assert cas.put_xorb(file.xorbs[0]).status == 200
    refused = cas.put_shard(file, xorbs=file.xorbs)
    assert refused.status == 400 and b"has no SHA-256" in refused.body
    named = file.saying(flags=1 << 31 | SHA256)
    assert cas.put_shard(named, xorbs=named.xorbs).status == 200


# -- who may ------------------------------------------------------------------------------------------------------


@pytest.mark.covers("hub.bucket.xet-token", "hub.bucket.batch", "hub.bucket.settings")
def test_who_may(hub, alice, api, made):
    name, file = made(), small("mine")
    Cas(hub, alice, f"buckets/{name}").upload(file)
    batch(api, name, add("a", file.name))
    reads = [f"/api/buckets/{name}", f"/api/buckets/{name}/tree", f"/api/buckets/{name}/xet-read-token", f"/buckets/{name}/resolve/a"]
    nobody, bob, reader = HubApi(hub.url), HubApi(hub.url, hub.tokens["bob"]), HubApi(hub.url, hub.token("alice", role="read"))

    def writes(who):
        return [batch(who, name, delete("x")).status, who.get(f"/api/buckets/{name}/xet-write-token").status, who.request("PUT", f"/api/buckets/{name}/settings", {}).status,
                who.post("/api/repos/move", {"fromRepo": name, "toRepo": f"{name}x", "type": "bucket"}).status, who.delete(f"/api/buckets/{name}").status]

    assert [who.get(path).status for who in (nobody, bob) for path in reads] == [401] * 4 + [404] * 4
    missing = [HubApi(hub.url, token).get("/api/buckets/alice/no-such") for token in (None, hub.tokens["bob"])]
    assert [(answer.status, answer.code) for answer in missing] == [(401, "RepoNotFound"), (404, "RepoNotFound")], "as if it were not there"
    assert missing[1].body == bob.get(f"/api/buckets/{name}").body and writes(bob) == [404] * 5 and writes(nobody) == [401] * 5
    assert [reader.get(path).status for path in reads] == [200] * 4 and writes(reader) == [403] * 5
    assert name not in str(bob.get("/api/buckets/alice").body) + str(nobody.get("/api/buckets/alice").body) and name in str(reader.get("/api/buckets/me?limit=1000").body)
    assert nobody.get("/api/buckets/me").status == 401
    api.request("PUT", f"/api/buckets/{name}/settings", {"visibility": "public"})
    assert [who.get(path).status for who in (nobody, bob) for path in reads] == [200] * 8
    assert writes(bob) == [403] * 5 and writes(nobody) == [401] * 5 and name in str(nobody.get("/api/buckets/ALICE?limit=1000").body)
    # What a token is for, it is for; and no more than its holder still is.
    reading, writing = Cas(hub, hub.tokens["bob"], f"buckets/{name}", scope="read"), Cas(hub, alice, f"buckets/{name}")
    assert reading.read(file.name) == file.data and reading.put_xorb(file.xorbs[0]).status == 403
    api.request("PUT", f"/api/buckets/{name}/settings", {"private": True})
    assert reading.plan(file.name).status == 404 and writing.put_xorb(file.xorbs[0]).status == 200
    # Where a page begins shows nobody what is before it.
    for cursor in ("", "YQ", "YWxpY2Uv", "YWxpY2U"):
        assert all(row["id"].startswith("bob/") for row in bob.get(f"/api/buckets/bob?cursor={cursor}").json()), cursor
    bad = [api.post(f"/api/buckets/{name}", {}), api.post("/api/buckets/alice/-x", {}), api.post("/api/buckets/alice/x.git", {}), api.post("/api/buckets/nobody/x", {}),
           bob.post("/api/buckets/alice/x", {}), nobody.post("/api/buckets/alice/x", {}), reader.post("/api/buckets/alice/x", {}),
           api.post("/api/buckets/alice/x", {"visibility": "plaid"}), api.request("PUT", f"/api/buckets/{name}/settings", {"visibility": "plaid"}),
           api.post("/api/repos/create", {"name": "x", "type": "bucket"}), api.get(f"/api/buckets/{name}/events"), api.request("PATCH", f"/api/buckets/{name}"),
           api.get(f"/buckets/{name}/info/refs?service=git-upload-pack"), api.get(f"/buckets/{name}.git/info/refs?service=git-upload-pack")]
    assert [answer.status for answer in bad] == [409, 400, 400, 403, 403, 401, 403, 400, 400, 400, 501, 405, 404, 404]


def test_of_an_organisation(hub, alice, api):
    org, member = f"o{next(hub.names)}", f"m{next(hub.names)}"
    token = hub.user(member)
    hub.run("org", "create", org, "--owner", "alice")
    hub.run("org", "add", org, member, "--role", "read")
    name, theirs, file = f"{org}/data", HubApi(hub.url, token), small("ours")
    assert api.post(f"/api/buckets/{name}", {"private": True}).status == 200
    assert theirs.get(f"/api/buckets/{name}").status == 200 and name in str(theirs.get(f"/api/buckets/{org}").body)
    assert theirs.get(f"/api/buckets/{name}/xet-write-token").status == 403 and batch(theirs, name, delete("a")).status == 403
    hub.run("org", "add", org, member, "--role", "write")
    cas = Cas(hub, token, f"buckets/{name}")
    cas.upload(file)
    assert failed(batch(theirs, name, add("a", file.name))) == {}
    hub.run("org", "add", org, member, "--role", "read")
    assert cas.put_shard(file, xorbs=file.xorbs).status == 403 and cas.put_xorb(file.xorbs[0]).status == 403, "decided anew at each call"
    assert batch(theirs, name, delete("a")).status == 403 and listed(api, name) == ["a"]


def test_a_quota(hub, api, hf, tmp):
    """Told before anything is stored, in the client's words."""
    org = f"q{next(hub.names)}"
    hub.run("org", "create", org, "--owner", "alice")
    hub.run("quota", org, "1MiB")
    api.post(f"/api/buckets/{org}/data", {})
    told = hf.python("""
name = sys.argv[1]
api.batch_bucket_files(name, add=[(b"a" * 700_000, "a")])
over = fails(Exception, api.batch_bucket_files, name, add=[(bytes(range(256)) * 2000, "b")])
info = api.bucket_info(name)
api.batch_bucket_files(name, delete=["a"])
api.batch_bucket_files(name, add=[(bytes(range(256)) * 2000, "b")])
tell([over, info.size, api.bucket_info(name).size])
""", f"{org}/data")
    over, before, after = told
    assert (before, after) == (700_000, 512_000) and over, over


# -- trouble ------------------------------------------------------------------------------------------------------


def test_many_at_once(hub, alice, api, made):
    """Batches of many clients at the same paths: each is whole, and the counts are right."""
    name, files = made(), [small(f"many{number}") for number in range(4)]
    cas = Cas(hub, alice, f"buckets/{name}")
    for file in files:
        cas.upload(file)
    wrong = []

    def work(seed):
        dice = random.Random(seed)
        for _ in range(25):
            operations = [add(f"p/{dice.randrange(20)}", dice.choice(files).name) if dice.random() < 0.7 else delete(f"p/{dice.randrange(20)}") for _ in range(10)]
            answer = batch(HubApi(hub.url, alice), name, *operations)
            if answer.status != 200 or answer.json()["failed"]:
                wrong.append((answer.status, answer.body))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    found, info = listed(api, name, recursive="true"), api.get(f"/api/buckets/{name}").json()
    assert (info["totalFiles"], info["size"]) == (len(found), 1000 * len(found))
    for path in found:
        assert api.get(f"/buckets/{name}/resolve/{path}").body in [file.data for file in files]


def test_files_that_leave_are_read_to_their_end(fresh_hub):
    """And their bytes go when nobody can remember them."""
    hub = fresh_hub(debug=True)
    api = HubApi(hub.url, hub.admin_token)
    api.post("/api/buckets/admin/b", {})
    cas = Cas(hub, hub.admin_token, "buckets/admin/b")
    kept, gone, stray = (cas.upload(File.of(content(200_000, seed)).saying(flags=1 << 31)) for seed in ("kept", "gone", "stray"))
    batch(api, "admin/b", add("kept", kept.name), add("gone", gone.name))
    batch(api, "admin/b", delete("gone"))
    assert cas.read(gone.name) == gone.data and cas.read(stray.name) == stray.data
    for _ in range(4):
        hub.run("debug", "clock", "+60d")
        hub.run("gc")
        hub.run("maintain", "--now")
    cas = Cas(hub, hub.admin_token, "buckets/admin/b")
    assert [cas.plan(file.name).status for file in (kept, gone, stray)] == [200, 404, 404] and cas.read(kept.name) == kept.data
    stored = sorted({path.parent.name for path in (hub.data / "xorbs").rglob("*") if path.is_file()})
    assert stored == [xorb.name for xorb in kept.xorbs]
    assert "no problems" in hub.fsck()
    api.delete("/api/buckets/admin/b")
    for _ in range(4):
        hub.run("debug", "clock", "+60d")
        hub.run("gc")
        hub.run("maintain", "--now")
    assert not [path for path in (hub.data / "xorbs").rglob("*") if path.is_file()] and "no problems" in hub.fsck()


def test_a_backup_has_buckets(fresh_hub, tmp):
    hub, file = fresh_hub(), small("saved")
    api = HubApi(hub.url, hub.admin_token)
    api.post("/api/buckets/admin/b", {})
    Cas(hub, hub.admin_token, "buckets/admin/b").upload(file)
    batch(api, "admin/b", add("deep/a", file.name))
    hub.run("backup", tmp / "backup")
    batch(api, "admin/b", delete("deep/a"))
    other = fresh_hub()
    token = other.admin_token
    other.stop()
    other.data.rename(tmp / "before")
    other.run("restore", tmp / "backup")
    other.start()
    assert token and HubApi(other.url, hub.admin_token).get("/buckets/admin/b/resolve/deep/a").body == file.data and "no problems" in other.fsck()


def test_kill_9_between_batches(stopped_hub):
    """What was acknowledged is there, as a whole."""
    hub = stopped_hub(debug=True).start()
    token, file = hub.admin_token, small("crash")
    HubApi(hub.url, token).post("/api/buckets/admin/b", {})
    Cas(hub, token, "buckets/admin/b").upload(file)
    acknowledged = []
    for turn in range(6):
        stop = threading.Event()

        def work(turn=turn, stop=stop):
            api, number = HubApi(hub.url, token), 0
            with contextlib.suppress(*GONE, AssertionError):
                while not stop.is_set():
                    batch_of = [f"{turn}/{number}/{part}" for part in range(3)]
                    if batch(api, "admin/b", *(add(path, file.name) for path in batch_of)).status == 200:
                        acknowledged.append(batch_of)
                    number += 1

        thread = threading.Thread(target=work)
        before = len(acknowledged)
        thread.start()
        wait.until(lambda: len(acknowledged) > before + 5 * (turn + 1), "some batches are acknowledged")
        hub.kill()
        stop.set()
        thread.join()
        hub.start()
    api = HubApi(hub.url, token)
    found = set(listed(api, "admin/b", recursive="true"))
    assert {path for paths in acknowledged for path in paths} <= found
    assert all(len({f"{path.rsplit('/', 1)[0]}/{part}" for part in range(3)} & found) == 3 for path in found), "none by halves"
    assert api.get(f"/api/buckets/admin/b").json()["totalFiles"] == len(found) and "no problems" in hub.fsck()
    hub.stop()


def test_over_s3(watched, tmp):
    """Bytes go to the object store and come from there; the hub sees none of them."""
    hf, name = Hf(watched.hub.url, watched.alice, tmp / "hf"), "alice/on-s3"
    source = write(tmp / "source", big_bin=content(5 * MIB, "s3"), small_txt=b"small")
    told = hf.python("""
name, root, out = sys.argv[1:]
api.create_bucket(name)
api.sync_bucket(root, f"hf://buckets/{name}", quiet=True)
api.sync_bucket(f"hf://buckets/{name}", out, quiet=True)
tell(api.bucket_info(name).total_files)
""", name, source, tmp / "out")
    assert told == 2
    same(source, tmp / "out")
    assert HubApi(watched.hub.url, watched.alice).get(f"/buckets/{name}/resolve/big.bin", range="bytes=1000000-1000099").body == (source / "big.bin").read_bytes()[1_000_000:1_000_100]
