"""Today's `huggingface_hub` as it is installed, Xet and all: what it uploads every door gives back, and the reverse."""

import subprocess
import time

import pytest

from harness import lfs, metrics, wait, wire
from harness.api import HubApi
from harness.hf import CLIENTS, VERSIONS, Hf
from harness.httpd import Proxy
from harness.js import Js
from harness.js import version as js_version
from harness.lfs import MIB, content, digest

with_xet = pytest.mark.client("huggingface_hub with Xet", "2.4.0")
shows = pytest.mark.shows
disk = pytest.mark.parametrize("engine", ["disk"], indirect=True)


@pytest.fixture
def alice(lfs_hub):
    return lfs_hub.tokens["alice"]


@pytest.fixture
def hf(lfs_hub, alice, tmp):
    """With a cache of its own."""
    return Hf(lfs_hub.url, alice, tmp / "hf-home")


@pytest.fixture
def named(lfs_hub):
    return lambda: f"alice/x{next(lfs_hub.names)}"


class Sent:
    """`with Sent(hub) as sent:` … `sent["xet.shard"]` is how many such requests were answered."""

    def __init__(self, hub):
        self.hub = hub

    def __enter__(self):
        self.before, self.after = metrics.requests(self.hub), None
        return self

    def __exit__(self, *_):
        self.after = metrics.requests(self.hub)

    def __getitem__(self, route):
        return self.after.get(route, 0) - self.before.get(route, 0)

    @property
    def xorbs(self):
        """Through the hub, or into the bucket."""
        return self["xet.xorb"] + self["xet.xorb.commit"]


def write(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def sums(folder, paths):
    return {str(path): digest(folder / path) for path in paths}


@pytest.fixture
def every_door(lfs_hub, alice, git, tmp):
    """every_door(name, {path: SHA-256}): each client that there is reads these files."""
    def read(name, expected, kind="model"):
        prefix = "" if kind == "model" else f"{kind}s/"
        url = f"{lfs_hub.url}/{prefix}{name}/resolve/main/"
        # git and git-lfs, of every version
        for number, client in enumerate(client for client in lfs.CLIENTS if not client.agent):
            clone = client.of(git, lfs_hub.url).clone(lfs_hub.git_url(prefix + name, alice), tmp / f"clone{number}")
            assert sums(clone.cwd, expected) == expected
            clone("lfs", "fsck")
        # curl, whole and in two ranges
        def curl(path, *options):
            done = subprocess.run(["curl", "-sSfL", "--noproxy", "*", *options, "-H", f"Authorization: Bearer {alice}", "-o", tmp / "curl", url + path],
                                  env={"PATH": "/usr/bin:/bin", "HOME": str(tmp)}, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            return (tmp / "curl").read_bytes()

        for path, oid in expected.items():
            data = curl(path)
            assert lfs.oid(data) == oid
            if data:
                half = max(1, len(data) // 2)
                assert curl(path, "-r", f"0-{half - 1}") == data[:half]
                assert len(data) == half or curl(path, "-r", f"{half}-") == data[half:]
        # the Hub's clients: of every age, with Xet and without
        for version, xet in [*((version, "") for version in VERSIONS), ("2.4.0", "1")]:
            one = Hf(lfs_hub.url, alice, tmp / f"reader-{version}{xet}", VERSIONS[version]).with_environment(HF_HUB_DISABLE_XET=xet or "0")
            with Sent(lfs_hub) as sent:
                one.python("snapshot_download(sys.argv[1], local_dir=sys.argv[2], repo_type=sys.argv[3])", name, out := tmp / f"out-{version}{xet}", kind)
            assert sums(out, expected) == expected, (version, xet)
            assert not xet or sent["xet.reconstruction"] == 0
        told = Js(lfs_hub.url, alice, tmp / "js").run("""
const [name, kind, ...paths] = args, repo = {type: kind, name}, {createHash} = await import("node:crypto"), found = {};
for (const path of paths) {
    const blob = await hub.downloadFile({...at, repo, path});
    found[path] = createHash("sha256").update(Buffer.from(await blob.arrayBuffer())).digest("hex");
}
tell(found);
""", name, kind, *(paths := [path for path, oid in expected.items() if oid != lfs.oid(b"")]), seconds=300)
        assert told == {path: expected[path] for path in paths}, "it asks for the first byte, which an empty file does not have"
    return read


@with_xet
@shows("upload_file", "hf_hub_download", "upload_file of nothing")
def test_every_size(lfs_hub, hf, named, every_door, tmp):
    """From nothing to two xorbs; two of the files are one."""
    name = named()
    sizes = {"empty.bin": 0, "one.bin": 1, "chunk.bin": 128 * 1024, "five.bin": 5 * MIB + 1, "two-xorbs.bin": 70 * MIB}
    files = {path: content(size, f"{name} {path}") for path, size in sizes.items()}
    files["again.bin"] = files["five.bin"]
    write(tmp / "folder", files)
    with Sent(lfs_hub) as sent:
        told = hf.python("""
name, folder, *paths = sys.argv[1:]
api.create_repo(name, private=True)
for path in paths:
    api.upload_file(path_or_fileobj=f"{folder}/{path}", path_in_repo=path, repo_id=name)
tell({file.path: [file.size, file.lfs and file.lfs.sha256, file.xet_hash] for file in api.list_repo_tree(name) if file.path in paths})
""", name, tmp / "folder", *files, seconds=300)
    assert sent.xorbs >= 5 and sent["xet.shard.stream"] >= 4
    for path, data in files.items():
        size, oid, xet_hash = told[path]
        assert (size, oid) == (len(data), lfs.oid(data) if data else None), path
        assert bool(xet_hash) == bool(data), path
    assert told["again.bin"] == told["five.bin"]
    every_door(name, {path: lfs.oid(data) for path, data in files.items()})


@with_xet
@shows("upload_folder", "snapshot_download", "hf upload", "hf download")
@pytest.mark.parametrize("engine, kind", [("disk", "model"), ("s3", "dataset")], indirect=["engine"])
def test_folders(lfs_hub, hf, named, every_door, kind, tmp):
    name = named()
    files = {"config.json": b"{}", "weights/one.safetensors": content(3 * MIB, name), "weights/two.safetensors": content(9 * MIB, name),
             "text.txt": b"one line and another\n" * 600_000, **{f"parts/{number:02}.bin": content(20_000, f"{name} {number}") for number in range(40)}}
    write(tmp / "folder", files)
    write(tmp / "more", {"more/three.bin": content(4 * MIB, name)})
    hf.python("api.create_repo(sys.argv[1], repo_type=sys.argv[3]); api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], repo_type=sys.argv[3])",
              name, tmp / "folder", kind, seconds=300)
    done = hf.run("upload", name, tmp / "more", ".", "--repo-type", kind)
    assert name in done.stdout
    expected = {path: lfs.oid(data) for path, data in files.items()} | {"more/three.bin": digest(tmp / "more/more/three.bin")}
    with Sent(lfs_hub) as sent:
        hf.run("download", name, "--repo-type", kind, "--local-dir", tmp / "back")
    assert sent["xet.reconstruction"] >= 40, "it came by Xet"
    assert sums(tmp / "back", expected) == expected
    every_door(name, {path: expected[path] for path in ("config.json", "weights/two.safetensors", "text.txt", "parts/00.bin", "more/three.bin")}, kind)


SETTINGS = [
    {"HF_XET_CLIENT_RECONSTRUCTION_API_VERSION": "1", "HF_XET_CLIENT_SHARD_API_VERSION": "1", "HF_XET_XORB_COMPRESSION_POLICY": "none"},
    {"HF_XET_CLIENT_RECONSTRUCTION_API_VERSION": "2", "HF_XET_CLIENT_ENABLE_MULTIRANGE_FETCHING": "1", "HF_XET_XORB_COMPRESSION_POLICY": "bg4-lz4"},
    {"HF_XET_CLIENT_LEGACY_DIRECT_XORB_UPLOAD": "1", "HF_XET_DEDUPLICATION_GLOBAL_DEDUP_QUERY_ENABLED": "0", "HF_XET_XORB_COMPRESSION_POLICY": "lz4",
     "HF_XET_CHUNK_CACHE_SIZE_BYTES": "0"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["old routes", "many ranges", "direct"])
def test_settings_of_the_client(lfs_hub, hf, named, settings, tmp):
    """Every form of its requests; a file with parts of two others, so of ranges from several xorbs."""
    name, hf = named(), hf.with_environment(**settings)
    one, two = content(5 * MIB, f"{name} one"), b"".join(number.to_bytes(8, "little") for number in range(300_000))
    files = {"1.bin": one, "2.bin": two, "3.bin": one[MIB : 3 * MIB] + two[MIB : 2 * MIB] + one[4 * MIB :] + two + content(1000, name) + one[: 2 * MIB]}
    for path, data in files.items():
        write(tmp / "folder", {path: data})
        hf.python("api.create_repo(sys.argv[1], exist_ok=True); api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo=sys.argv[3], repo_id=sys.argv[1])",
                  name, tmp / "folder" / path, path)
    with Sent(lfs_hub) as sent:
        hf.run("download", name, "--local-dir", tmp / "out")
    assert sent["xet.reconstruction"] >= 3
    assert sums(tmp / "out", files) == {path: lfs.oid(data) for path, data in files.items()}
    got = HubApi(lfs_hub.url, lfs_hub.tokens["alice"]).get(f"/{name}/resolve/main/3.bin", range=f"bytes={MIB}-{4 * MIB}")
    assert got.status == 206 and got.body == files["3.bin"][MIB : 4 * MIB + 1]


@pytest.mark.parametrize("version", ["0.36.2", "1.19.0"])
def test_large_folders_of_older_clients(lfs_hub, alice, named, version, tmp):
    """`upload_large_folder` by a batch of LFS that says `xet`; newer clients have none."""
    name = named()
    files = {f"{number % 3}/part-{number:02}.bin": content(60_000, f"{name} {number}") for number in range(30)}
    write(tmp / "large", files)
    hf = Hf(lfs_hub.url, alice, tmp / "older", VERSIONS[version])
    with Sent(lfs_hub) as sent:
        hf.python("api.create_repo(sys.argv[1]); api.upload_large_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], repo_type='model', print_report=False)",
                  name, tmp / "large", seconds=300)
    assert sent.xorbs > 0
    hf.python("snapshot_download(sys.argv[1], local_dir=sys.argv[2])", name, tmp / "out")
    assert sums(tmp / "out", files) == {path: lfs.oid(data) for path, data in files.items()}


@with_xet
@shows("upload_folder again")
def test_what_is_there_is_not_sent_again(lfs_hub, alice, hf, named, tmp):
    """By a client that remembers, by one that does not, and after the commit failed."""
    name = named()
    files = {"a.bin": content(6 * MIB, name), "b.bin": content(3 * MIB, name)}
    write(tmp / "folder", files)
    upload = "api.create_repo(sys.argv[1], exist_ok=True); api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], path_in_repo=sys.argv[3])"
    with Sent(lfs_hub) as sent:
        hf.python(upload, name, tmp / "folder", "first")
    assert sent.xorbs >= 1
    forgetful = Hf(lfs_hub.url, alice, tmp / "another-home")
    for number, client in enumerate((hf, forgetful)):
        with Sent(lfs_hub) as sent, metrics.Change(lfs_hub) as moved:
            client.python(upload, name, tmp / "folder", f"again{number}")
        assert sent.xorbs == 0, client.home
        assert moved["lfs_objects_published"] == 0
    # A file with something before, in the middle and after: only that is sent.
    edited = content(100, "head") + files["a.bin"][: 3 * MIB] + content(100, "middle") + files["a.bin"][3 * MIB :] + content(100, "tail")
    write(tmp / "next", {"a.bin": edited})
    hf.python(upload, name, tmp / "next", "next")
    out = hf.python("tell(hf_hub_download(sys.argv[1], 'next/a.bin'))", name)
    assert digest(out) == lfs.oid(edited)


@with_xet
@shows("hf download of what git-lfs pushed")
def test_git_lfs_pushes_and_hf_downloads(lfs_hub, alice, hf, named, git, tmp):
    name = named()
    lfs_hub.repo(name)
    work = lfs.CLIENTS[0].init(git, tmp / "work", lfs_hub.url)
    work("remote", "add", "origin", lfs_hub.git_url(name, alice))
    files = {"small.bin": content(1000, name), "large.bin": content(12 * MIB, name)}
    for path, data in files.items():
        work.commit(path, data)
    work("push", "-q", "origin", "main")
    hf.run("download", name, "--local-dir", tmp / "out")
    assert sums(tmp / "out", files) == {path: lfs.oid(data) for path, data in files.items()}
    api = HubApi(lfs_hub.url, alice)
    assert api.head(f"/{name}/resolve/main/large.bin").headers["x-xet-hash"] is None, "stored as a whole"
    assert "xetHash" not in str(api.get(f"/api/models/{name}/tree/main").json())
    # The same file by Xet is one object by its SHA-256; both ways stay open.
    write(tmp / "folder", files)
    hf.python("api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], path_in_repo='by-hf')", name, tmp / "folder")
    work("pull", "-q", "origin", "main")
    assert (work.cwd / "by-hf/large.bin").read_bytes() == files["large.bin"]
    work.commit("third.bin", files["large.bin"])
    work("push", "-q", "origin", "HEAD:main")
    hf.run("download", name, "--local-dir", tmp / "out2")
    assert sums(tmp / "out2", ["third.bin", "by-hf/large.bin"]) == dict.fromkeys(["third.bin", "by-hf/large.bin"], lfs.oid(files["large.bin"]))


@pytest.mark.client("@huggingface/hub", js_version())
@shows("uploadFiles by Xet", "downloadFile by Xet", "fileDownloadInfo of Xet")
def test_javascript_uploads_by_xet(lfs_hub, alice, named, every_door, tmp):
    name = named()
    files = {"large.bin": content(6 * MIB, name), "compressible.bin": b"".join(number.to_bytes(4, "little") for number in range(500_000))}
    write(tmp, files)
    with Sent(lfs_hub) as sent:
        told = Js(lfs_hub.url, alice, tmp / "node").run("""
const [name, folder, ...paths] = args, repo = {type: "model", name}, {pathToFileURL} = await import("node:url");
await hub.createRepo({...at, repo, private: true});
await hub.uploadFiles({...at, repo, files: paths.map(path => ({path, content: pathToFileURL(`${folder}/${path}`)}))});
const blob = await hub.downloadFile({...at, repo, path: paths[0]}), info = await hub.fileDownloadInfo({...at, repo, path: paths[0]});
tell({info, blob: blob.constructor.name, part: Buffer.from(await blob.slice(1_000_000, 1_000_010).arrayBuffer()).toString("hex")});
""", name, tmp, *files, seconds=200)
    assert sent.xorbs >= 1 and sent["xet.reconstruction"] >= 1
    assert told["info"]["xet"]["hash"] and told["blob"].lstrip("_") == "XetBlob" and told["part"] == files["large.bin"][1_000_000:1_000_010].hex()
    every_door(name, {path: lfs.oid(data) for path, data in files.items()})


@disk
@pytest.mark.client("datasets", "5.2.0")
@shows("Dataset.push_to_hub by Xet")
def test_datasets_are_pushed_and_loaded(lfs_hub, alice, named, tmp):
    told = Hf(lfs_hub.url, alice, tmp / "libraries", CLIENTS / "libraries").python("""
from datasets import Dataset, load_dataset
name = sys.argv[1]
data = lambda *numbers: Dataset.from_dict({"n": list(numbers), "s": [str(number) * 10 for number in numbers]})
data(1, 2, 3).push_to_hub(name, private=True)
first = load_dataset(name, split="train")["n"][:]
data(*range(5000)).push_to_hub(name, num_shards=3)
again = load_dataset(name, split="train")
tell([first, again["n"][:] == list(range(5000)), again[4999]["s"],
      [bool(file.xet_hash) for file in api.list_repo_tree(name, "data", repo_type="dataset")]])
""", named(), seconds=300)
    assert told == [[1, 2, 3], True, "4999" * 10, [True] * 3]


@with_xet
@shows("a real model", "a real GGUF")
@pytest.mark.parametrize("engine, what", [("disk", "model"), ("s3", "gguf")], indirect=["engine"])
def test_real_models_at_all_doors(hf, named, every_door, what, request, tmp):
    name = named()
    if what == "model":
        folder = request.getfixturevalue("model_files")
        paths = ["model.safetensors", "tokenizer.json", "config.json"]
    else:
        gguf = request.getfixturevalue("gguf_file")
        (folder := tmp / "gguf").mkdir()
        (folder / gguf.name).symlink_to(gguf)
        paths = [gguf.name]
    hf.python("api.create_repo(sys.argv[1]); api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], allow_patterns=sys.argv[3:])", name, folder, *paths, seconds=300)
    every_door(name, sums(folder, paths))


def test_the_answers_that_lead_to_xet(lfs_hub, alice, hf, named, tmp):
    """Headers of `resolve`, the tree, and the document for those who ask for it; the same bytes for those who do not."""
    name, data = named(), content(2 * MIB, "led")
    write(tmp, {"a.bin": data})
    hf.python("api.create_repo(sys.argv[1]); api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo='a.bin', repo_id=sys.argv[1])", name, tmp / "a.bin")
    api, oid = HubApi(lfs_hub.url, alice), lfs.oid(data)
    path, sha = f"/{name}/resolve/main/a.bin", api.get(f"/api/models/{name}").json()["sha"]
    row, = (row for row in api.get(f"/api/models/{name}/tree/main").json() if row["path"] == "a.bin")
    head = api.head(path)
    assert (head.status, head.headers["etag"], head.headers["x-linked-etag"], head.headers["x-linked-size"], head.headers["x-repo-commit"]) == (
        200, f'"{oid}"', f'"{oid}"', str(len(data)), sha)
    assert head.headers["x-xet-hash"] == row["xetHash"] and row["lfs"]["oid"] == oid and row["size"] == len(data)
    links = head.headers["link"]
    assert f'<{lfs_hub.url}/api/models/{name}/xet-read-token/{sha}>; rel="xet-auth"' in links
    assert f'/v1/reconstructions/{row["xetHash"]}>; rel="xet-reconstruction-info"' in links
    told = api.get(path, accept="application/vnd.xet-fileinfo+json", range="bytes=0-0")
    assert told.status == 200 and told.headers["content-type"] == "application/vnd.xet-fileinfo+json"
    assert told.json() == {"hash": row["xetHash"], "size": len(data)} and told.headers["x-xet-hash"] == row["xetHash"]
    part = api.get(path, range="bytes=1000000-1000099")
    assert (part.status, part.body, part.headers["content-range"]) == (206, data[1_000_000:1_000_100], f"bytes 1000000-1000099/{len(data)}")
    whole = wire.http(lfs_hub.url + path, token=alice)
    assert (whole.status, whole.headers["content-length"], whole.headers["etag"]) == (200, str(len(data)), f'"{oid}"') and whole.body == data
    assert api.get(path, if_none_match=f'"{oid}"').status == 304
    assert api.get(path, range=f"bytes={len(data)}-").status == 416


def test_a_token_that_ends_in_the_middle(fresh_hub, tmp):
    """The client asks for another in time, and goes on with that."""
    hub = fresh_hub(settings={"xet.token_lifetime": "40s"}, debug=True)
    alice, data = hub.user("alice"), content(2 * MIB)
    with Proxy(hub.url) as door:
        def late(exchange):
            # Clients take a token for dead half a minute before it is.
            began = time.monotonic()
            wait.until(lambda: time.monotonic() > began + 11, "the token is about to end", every=0.1)
            door.forward(exchange)

        door.order(late, lambda exchange: exchange.method == "POST" and "/xorbs/" in exchange.path, times=1)
        hf = Hf(door.listen(), alice, tmp / "hf")
        write(tmp, {"a.bin": data})
        hf.python("api.create_repo('alice/x'); api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='a.bin', repo_id='alice/x')", tmp / "a.bin")
        tokens = lambda part: {seen.headers["authorization"] for seen in door.seen if part in seen.path}
        assert len([seen for seen in door.seen if "/xet-write-token/" in seen.path]) >= 2
        assert tokens("/xorbs/") and tokens("/shards") and not tokens("/xorbs/") & tokens("/shards"), "the shard came with another"
    assert HubApi(hub.url, alice).get("/alice/x/resolve/main/a.bin").body == data
