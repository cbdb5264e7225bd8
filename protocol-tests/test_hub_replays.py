"""The requests of clients that are not installed here, one by one, and what each of them reads of the answers:
llama.cpp `-hf`, vLLM, and the Rust crate `hf-hub` (candle, text-embeddings-inference)."""

import base64
import json
import re
import struct

import pytest

from harness import lfs, wire
from harness.api import HubApi, file
from harness.lfs import content

LLAMA_CPP = "llama-cpp"
VLLM = "unknown/None; hf_hub/2.4.0; python/3.12.3"
RUST_0 = "unkown/None; hf-hub/0.4.3; rust/unknown"
RUST_1 = "unknown/None; hf-hub/1.1.0; rust/unknown"

GGUF = b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + content(200_000, "gguf")
HEADER = json.dumps({"weight": {"dtype": "F32", "shape": [64, 64], "data_offsets": [0, 16384]}}).encode()
SAFETENSORS = struct.pack("<Q", len(HEADER)) + HEADER + content(16384, "weights")
FILES = {"model-Q4_K_M.gguf": GGUF, "model.safetensors": SAFETENSORS, "config.json": b'{"model_type": "llama"}', "dir/tokenizer.json": b"{}"}


@pytest.fixture
def model(lfs_hub):
    """A private model of alice's with FILES in it."""
    api, name = HubApi(lfs_hub.url, lfs_hub.tokens["alice"]), f"alice/p{next(lfs_hub.names)}"
    assert api.create(name, private=True).status == 200
    assert api.commit(f"models/{name}", *(file(path, data) for path, data in FILES.items())).status == 200
    return name


class Client:
    """One client: its name, alice's token, and how it goes on when it is sent elsewhere."""

    def __init__(self, hub, agent):
        self.hub, self.agent, self.api = hub, agent, HubApi(hub.url, hub.tokens["alice"])

    def ask(self, method, path, body=None, **headers):
        return self.api.request(method, path, body, user_agent=self.agent, **headers)

    def json(self, path, **headers):
        answer = self.ask("GET", path, accept="application/json", **headers)
        assert answer.status == 200 and answer.headers["content-type"].startswith("application/json"), (path, answer.body)
        return answer.json()

    def follow(self, method, path, **headers):
        """(first answer, last answer): the token is left behind where another origin is."""
        first = self.ask(method, path, **headers)
        if first.status not in (301, 302, 303, 307, 308):
            return first, first
        url = first.headers["location"]
        assert url.startswith("http") and not url.startswith(self.hub.url)
        return first, wire.http(url, method=method, headers={"User-Agent": self.agent, **{name.replace("_", "-"): value for name, value in headers.items()}})


@pytest.mark.client("llama.cpp (requests replayed)", "current")
@pytest.mark.shows("-hf: refs, tree, HEAD, download, resume")
def test_llama_cpp(lfs_hub, model):
    client = Client(lfs_hub, LLAMA_CPP)
    branches = client.json(f"/api/models/{model}/refs")["branches"]
    commit, = (branch["targetCommit"] for branch in branches if branch["name"] == "main")
    assert re.fullmatch("[0-9a-f]{40}", commit)
    # It reads the first page alone, so that must be all of it.
    rows = client.json(f"/api/models/{model}/tree/{commit}?recursive=true")
    found = {row["path"]: (row["size"], row["lfs"]["oid"] if "lfs" in row else row["oid"]) for row in rows if row["type"] == "file"}
    assert found["model-Q4_K_M.gguf"] == (len(GGUF), lfs.oid(GGUF)) and set(FILES) <= set(found)
    path = f"/{model}/resolve/{commit}/model-Q4_K_M.gguf"
    _, head = client.follow("HEAD", path, accept="*/*")
    assert (head.status, head.headers["content-length"], head.headers["accept-ranges"]) == (200, str(len(GGUF)), "bytes") and head.headers["etag"]
    _, part = client.follow("GET", path, range=f"bytes={len(GGUF) - 1000}-")
    assert (part.status, part.body) == (206, GGUF[-1000:])
    _, whole = client.follow("GET", path)
    assert (whole.status, whole.body) == (200, GGUF)
    # Without the token: what makes it say that the model is private or is not there.
    assert HubApi(lfs_hub.url).get(f"/api/models/{model}/refs", user_agent=LLAMA_CPP).status == 401
    # Before it read trees it asked for a manifest, as Ollama does.
    answer = client.ask("GET", f"/v2/{model}/manifests/latest", accept="application/json")
    assert answer.status == 501


@pytest.mark.client("vLLM (requests replayed)", "current")
@pytest.mark.shows("resolve_revision", "list_repo_files", "file_exists", "get_safetensors_metadata", "snapshot_download")
def test_vllm(lfs_hub, model):
    client = Client(lfs_hub, VLLM)
    sha = client.json(f"/api/models/{model}/revision/main")["sha"]
    names = {row["path"] for row in client.json(f"/api/models/{model}/tree/{sha}?recursive=true&expand=false") if row["type"] == "file"}
    assert names == {*FILES, ".gitattributes"}
    assert {row["rfilename"] for row in client.json(f"/api/models/{model}/revision/{sha}")["siblings"]} == names
    # file_exists of what may be there
    for path, is_there in (("config.json", True), ("params.json", False), ("adapter_config.json", False)):
        head = client.ask("HEAD", f"/{model}/resolve/{sha}/{path}", accept_encoding="identity")
        assert head.headers["x-repo-commit"] == sha
        assert (head.status, head.code) == ((200, None) if is_there else (404, "EntryNotFound"))
    # get_safetensors_metadata: the header by a range that may be longer than the file
    _, part = client.follow("GET", f"/{model}/resolve/{sha}/model.safetensors", range="bytes=0-100000")
    length, = struct.unpack("<Q", part.body[:8])
    assert part.status == 206 and json.loads(part.body[8:8 + length])["weight"]["shape"] == [64, 64]
    # snapshot_download
    for path, data in FILES.items():
        head = client.ask("HEAD", f"/{model}/resolve/{sha}/{path}", accept_encoding="identity")
        assert (head.status, head.headers["x-linked-size"] or head.headers["content-length"], head.headers["x-xet-hash"]) == (200, str(len(data)), None)
        assert re.fullmatch('"[0-9a-f]{40}([0-9a-f]{24})?"', head.headers["x-linked-etag"] or head.headers["etag"])
        _, whole = client.follow("GET", f"/{model}/resolve/{sha}/{path}", x_hf_download_counter="1")
        assert (whole.status, whole.body) == (200, data), path


@pytest.mark.client("hf-hub (Rust) (requests replayed)", "0.x")
@pytest.mark.shows("info", "metadata", "download in ranges")
def test_hf_hub_of_rust_before_1(lfs_hub, model):
    """All it knows of a file it reads from a GET of its first byte."""
    client = Client(lfs_hub, RUST_0)
    info = client.json(f"/api/models/{model}/revision/main")
    assert {row["rfilename"] for row in info["siblings"]} >= set(FILES) and re.fullmatch("[0-9a-f]{40}", info["sha"])
    for path, data in FILES.items():
        url = f"/{model}/resolve/main/{path}"
        first, last = client.follow("GET", url, range="bytes=0-0")
        assert first.headers["x-repo-commit"] == info["sha"] and (first.headers["x-linked-etag"] or first.headers["etag"])
        assert (last.status, last.headers["content-range"], last.body) == (206, f"bytes 0-0/{len(data)}", data[:1])
        middle = len(data) // 2
        assert client.follow("GET", url, range=f"bytes={middle}-{len(data) - 1}")[1].body == data[middle:]


@pytest.mark.client("hf-hub (Rust) (requests replayed)", "1.x")
@pytest.mark.shows("metadata", "If-None-Match", "upload inside of a commit", "pages")
def test_hf_hub_of_rust(lfs_hub, model):
    client = Client(lfs_hub, RUST_1)
    head = client.ask("HEAD", f"/{model}/resolve/main/model.safetensors")
    etag, commit = head.headers["x-linked-etag"] or head.headers["etag"], head.headers["x-repo-commit"]
    assert (head.status, etag, head.headers["x-linked-size"]) == (200, f'"{lfs.oid(SAFETENSORS)}"', str(len(SAFETENSORS)))
    again = client.ask("HEAD", f"/{model}/resolve/main/model.safetensors", if_none_match=etag)
    assert (again.status, again.body) == (304, b"") and again.headers["x-repo-commit"] == commit and again.headers["etag"]
    for path, status, code in (("nope", 404, "EntryNotFound"), ("config.json", 404, "RevisionNotFound")):
        revision = "nope" if code == "RevisionNotFound" else "main"
        answer = client.ask("HEAD", f"/{model}/resolve/{revision}/{path}")
        assert (answer.status, answer.code) == (status, code)
    # Without Xet it sends large files inside the commit, whatever preupload says, and leaves it to the hub to see that.
    data = content(3 << 20, f"rust {model}")
    mode, = client.ask("POST", f"/api/models/{model}/preupload/main", {"files": [
        {"path": "new.bin", "size": len(data), "sample": base64.b64encode(data[:512]).decode()}]}).json()["files"]
    assert (mode["uploadMode"], mode["shouldIgnore"]) == ("lfs", False)
    lines = [{"key": "header", "value": {"summary": "by rust", "description": "", "parentCommit": commit}},
             {"key": "file", "value": {"content": base64.b64encode(data).decode(), "path": "new.bin", "encoding": "base64"}}]
    answer = client.ask("POST", f"/api/models/{model}/commit/main", b"\n".join(json.dumps(line).encode() for line in lines), content_type="application/x-ndjson")
    told = answer.json()
    assert answer.status == 200 and re.fullmatch("[0-9a-f]{40}", told["commitOid"]) and told["commitUrl"].startswith(f"{lfs_hub.url}/{model}/commit/")
    row, = client.ask("POST", f"/api/models/{model}/paths-info/main", {"paths": ["new.bin"], "expand": False}).json()
    assert row["lfs"] == {"oid": lfs.oid(data), "size": len(data), "pointerSize": len(lfs.pointer(data))}
    # The next page is where it says, and it must say so in full.
    page = client.ask("GET", f"/api/models/{model}/commits/main?limit=1")
    url, = re.fullmatch(r'<(.+)>; rel="next"', page.headers["link"]).groups()
    assert url.startswith(f"{lfs_hub.url}/api/models/{model}/commits/main?") and wire.http(
        url, headers={"Authorization": f"Bearer {lfs_hub.tokens['alice']}"}).status == 200
