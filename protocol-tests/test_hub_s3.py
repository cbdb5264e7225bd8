"""The Hub's API where large objects are in a bucket: downloads go there by links of their own, and nobody's token goes with them."""

import contextlib

import pytest

from harness import lfs, metrics, wait, wire
from harness.api import HubApi, file
from harness.hf import Hf
from harness.httpd import Cut
from harness.lfs import MIB, content


@pytest.fixture
def xet(watched, tmp):
    """As it is installed."""
    return Hf(watched.hub.url, watched.alice, tmp / "hf")


@pytest.fixture
def hf(xet):
    """Without Xet: objects as a whole."""
    return xet.with_environment(HF_HUB_DISABLE_XET="1")


@pytest.fixture
def api(watched):
    return HubApi(watched.hub.url, watched.alice)


def reads(watched):
    """What clients asked of the bucket."""
    return watched.store.count(role="client", method="GET")


def test_huggingface_hub_there_and_back(watched, hf, tmp):
    """Neither what goes up nor what comes down passes the hub."""
    folder, files = tmp / "folder", {"model.safetensors": content(9 * MIB + 1), "sub/b.bin": content(100_000), "empty.bin": b"", "config.json": b"{}"}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    large = len(files["model.safetensors"]) + len(files["sub/b.bin"])
    hf.python("api.create_repo('alice/x'); api.upload_folder(repo_id='alice/x', folder_path=sys.argv[1])", folder)
    assert len(watched.keys()) == 2 and watched.store.received(role="client", method="PUT") == large and not watched.store.count(role="hub", method="PUT")
    assert {lfs.oid(watched.bucket.get(key)) for key in watched.keys()} == {lfs.oid(files["model.safetensors"]), lfs.oid(files["sub/b.bin"])}
    watched.store.seen.clear()
    with metrics.Change(watched.hub) as moved:
        hf.python("snapshot_download('alice/x', local_dir=sys.argv[1])", tmp / "back")
    for path, data in files.items():
        assert (tmp / "back" / path).read_bytes() == data
    assert moved["lfs_bytes_out"] == 0 and watched.store.sent(role="client") == large and not watched.store.count(role="hub")
    assert {(exchange.method, exchange.status) for exchange in reads(watched)} == {("GET", 200)} and len(reads(watched)) == 2
    for exchange in reads(watched):
        assert "authorization" not in exchange.headers and "X-Amz-Signature" in exchange.query
        assert not any(watched.alice in value for value in (exchange.target, *exchange.headers.values()))


def test_xet_there_and_back(watched, xet, tmp):
    """Xorbs go up to the bucket, where the hub proves them; what comes down comes from there, by links for ranges."""
    data = content(9 * MIB + 1)
    xet.python("api.create_repo('alice/x'); api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='x.bin', repo_id='alice/x')", write(tmp / "x.bin", data))
    assert not watched.keys() and watched.store.received(role="client", method="PUT") >= len(data) and not reads(watched)
    xorb, index = sorted(watched.bucket.keys(f"{watched.prefix}/xorbs/"), key=len)
    assert index == f"{xorb}.idx"
    wait.until(lambda: watched.store.sent(role="hub", method="GET") >= 2 * len(data), "its SHA-256 is computed, after it was proven")
    watched.store.seen.clear()
    with metrics.Change(watched.hub) as moved:
        xet.run("download", "alice/x", "x.bin", "--local-dir", tmp / "back")
    assert (tmp / "back/x.bin").read_bytes() == data
    assert moved["lfs_bytes_out"] == 0 and watched.store.sent(role="client") >= len(data) and not watched.store.count(role="hub", method="GET")
    for exchange in reads(watched):
        assert (exchange.method, exchange.status) == ("GET", 206) and exchange.path.endswith(xorb)
        assert "authorization" not in exchange.headers and "range" in exchange.query["X-Amz-SignedHeaders"]
        assert not any(watched.alice in value for value in (exchange.target, *exchange.headers.values()))
    # The link is for that range alone.
    link, asked = f"{watched.public}{reads(watched)[0].target}", reads(watched)[0].headers["range"]
    assert wire.http(link, headers={"Range": asked}).status == 206
    for other in ({"Range": "bytes=0-0"}, {"Range": asked + "0"}, {}):
        assert wire.http(link, headers=other).status == 403, other


def test_a_download_that_breaks_off_goes_on(watched, hf, tmp):
    """By a range of what is missing; the client keeps what came in pieces of 10 MiB."""
    def end_early(exchange):
        with contextlib.suppress(Cut):
            watched.store.forward(exchange, cut_answer=12 * MIB)
        exchange.handler.close_connection = True

    data = content(16 * MIB)
    hf.python("api.create_repo('alice/x'); api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='x.bin', repo_id='alice/x')", write(tmp / "x.bin", data))
    watched.store.order(end_early, lambda exchange: exchange.role == "client", times=1)
    hf.run("download", "alice/x", "x.bin", "--local-dir", tmp / "back")
    assert (tmp / "back/x.bin").read_bytes() == data
    _, exchange = reads(watched)
    assert (exchange.headers["range"], exchange.status, exchange.sent_bytes) == (f"bytes={10 * MIB}-", 206, 6 * MIB)


def write(path, data):
    path.write_bytes(data)
    return path


def test_a_file_system_reads_ranges(watched, hf, tmp):
    data = content(3 * MIB)
    told = hf.python("""
api.create_repo("alice/x")
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="x.bin", repo_id="alice/x")
with HfFileSystem().open("alice/x/x.bin", block_size=4096) as file:
    file.seek(1_000_000)
    tell([file.read(10).hex(), file.size])""", write(tmp / "x.bin", data))
    assert told == [data[1_000_000:1_000_010].hex(), len(data)]
    exchange, = reads(watched)
    assert exchange.status == 206 and exchange.headers["range"].startswith("bytes=1000000-") and "authorization" not in exchange.headers
    assert exchange.sent_bytes < 100_000


def test_resolve(watched, api):
    data, name = content(MIB), "alice/x"
    api.create(name)
    commit = api.commit(f"models/{name}", file("x.bin", data), file("small.txt", "small")).json()["commitOid"]
    path, oid = f"/{name}/resolve/main/x.bin", lfs.oid(data)
    head, get, part = api.head(path), api.get(path), api.get(path, range="bytes=10-19")
    for answer in (head, get, part, api.get(f"/{name}/resolve/{commit}/x.bin")):
        assert (answer.headers["x-repo-commit"], answer.headers["x-linked-etag"], answer.headers["x-linked-size"]) == (commit, f'"{oid}"', str(len(data)))
        assert answer.headers["etag"] == f'"{oid}"' and answer.headers["accept-ranges"] == "bytes" and answer.headers["x-xet-hash"] is None
    # The link is signed for GET, so who asks by HEAD is answered here.
    assert (head.status, head.headers["location"], head.headers["content-length"]) == (200, None, str(len(data)))
    assert api.head(path, range="bytes=10-19").status == 200
    assert (get.status, part.status) == (302, 302) and get.body == b""
    link = get.headers["location"]
    assert link.startswith(watched.public) and watched.alice not in link
    assert "max-age" not in (get.headers["cache-control"] or "") and "public" not in (get.headers["cache-control"] or ""), "a link expires"
    there = wire.http(link)
    assert (there.status, there.body) == (200, data)
    there = wire.http(part.headers["location"], headers={"Range": "bytes=10-19"})
    assert (there.status, there.body, there.headers["content-range"]) == (206, data[10:20], f"bytes 10-19/{len(data)}")
    # Neither a 304 nor a range that is not there needs the bucket; nor does what git keeps itself.
    wait.until(lambda: len(reads(watched)) == 2, "both downloads are counted")
    watched.store.seen.clear()
    assert api.get(path, if_none_match=f'"{oid}"').status == 304 and api.get(path, range=f"bytes={len(data)}-").status == 416
    assert api.get(f"/{name}/resolve/main/small.txt").body == b"small" and api.get(f"/{name}/raw/main/x.bin").body.decode() == lfs.pointer(data)
    assert HubApi(watched.hub.url).get(path).status == 401 and not watched.store.seen


def test_what_pages_and_strangers_get(watched, api):
    """A link of a public file is for everybody, as is what a page of another origin may read of the answer."""
    data = content(MIB)
    api.create("alice/x", visibility="public")
    api.commit("models/alice/x", file("x.bin", data))
    answer = HubApi(watched.hub.url).get("/alice/x/resolve/main/x.bin", origin="https://elsewhere.example")
    assert answer.status == 302 and answer.headers["access-control-allow-origin"] == "*" and "X-Linked-Size" in answer.headers["access-control-expose-headers"]
    assert wire.http(answer.headers["location"]).body == data
    # Changed by one letter it is of no use.
    for wrong in (answer.headers["location"].replace("X-Amz-Signature=", "X-Amz-Signature=0"), answer.headers["location"].partition("?")[0]):
        assert wire.http(wrong).status == 403


def test_a_link_saves_the_file_under_its_name(watched, api):
    """As a browser does that follows it: the bucket knows the file by a number alone."""
    api.create("alice/x", visibility="public")
    api.commit("models/alice/x", file("sub/the model.bin", content(1000)))
    link = api.get("/alice/x/resolve/main/sub/the%20model.bin?download=true").headers["location"]
    said = wire.http(link).headers.get("content-disposition", "")
    assert said.startswith("attachment") and "the model.bin" in said


def test_what_came_by_lfs_is_committed(watched, api):
    """As huggingface_hub did before Xet: straight into the bucket, then named by the commit, in one piece and in parts."""
    sizes = {"one.bin": MIB, "parts.bin": 64 * MIB + 1}
    data = {path: content(size, "lfs") for path, size in sizes.items()}
    line = lambda path: ("lfsFile", {"path": path, "algo": "sha256", "oid": lfs.oid(data[path]), "size": sizes[path]})
    assert api.commit("models/alice/r", line("one.bin"), revision="main").status in (400, 404), "nothing was uploaded"
    with metrics.Change(watched.hub) as moved:
        for path in sizes:
            watched.hf.upload(data[path])
    HubApi(watched.hub.url, watched.alice).create("alice/other")
    assert api.commit("models/alice/other", line("one.bin")).status == 400, "of another repository"
    answer = api.commit("models/alice/r", *map(line, sizes))
    assert answer.status == 200, answer.body
    assert moved["lfs_bytes_in"] == 0
    for path in sizes:
        assert wire.http(api.get(f"/alice/r/resolve/main/{path}").headers["location"]).body == data[path]


def test_copies_move_no_byte(watched, hf, api, tmp):
    """A copy names the object; of another repository's objects it may not."""
    data = content(MIB)
    hf.python("""
api.create_repo("alice/x"); api.create_repo("alice/y")
api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo="x.bin", repo_id="alice/x")""", write(tmp / "x.bin", data))
    keys, _ = watched.keys(), watched.store.seen.clear()
    hf.python("api.create_commit('alice/x', [CommitOperationCopy('x.bin', 'sub/copy.bin')], commit_message='copy')")
    pointer = {"path": "stolen.bin", "algo": "sha256", "oid": lfs.oid(data)}
    for more in ({}, {"size": len(data)}):
        answer = api.commit("models/alice/y", ("lfsFile", {**pointer, **more}))
        assert answer.status == 400 and "LFS pointer pointed to a file that does not exist" in answer.headers["x-error-message"]
    assert api.commit("models/alice/x", ("lfsFile", {**pointer, "size": len(data) + 1})).status == 400
    row, = api.post("/api/models/alice/x/paths-info/main", {"paths": ["sub/copy.bin"]}).json()
    assert (row["size"], row["lfs"]["oid"]) == (len(data), lfs.oid(data)) and watched.keys() == keys and not watched.store.seen
    assert wire.http(api.get("/alice/x/resolve/main/sub/copy.bin").headers["location"]).body == data


def test_the_same_content_again(watched, api):
    """Inside of a repository it is there already."""
    data = content(MIB)
    api.create("alice/x")
    for path in ("a.bin", "b.bin", "a.bin"):
        assert api.commit("models/alice/x", file(path, data)).status == 200
    assert len(watched.keys()) == 1


def test_a_bucket_that_is_down(watched, api):
    """The commit is refused whole and can be sent again; what git keeps itself is to be had."""
    watched.hub.expect_log("object store")
    data = content(MIB)
    api.create("alice/x")
    api.commit("models/alice/x", file("small.txt", "small"))
    before = api.get("/api/models/alice/x").json()["sha"]
    watched.store.is_down = True
    answer = api.commit("models/alice/x", file("x.bin", data), file("y.txt", "y"))
    assert answer.status == 503 and answer.headers["retry-after"] and "cannot be reached" in answer.headers["x-error-message"]
    assert api.get("/api/models/alice/x").json()["sha"] == before and api.get("/alice/x/resolve/main/small.txt").body == b"small"
    watched.store.is_down = False
    assert api.commit("models/alice/x", file("x.bin", data), file("y.txt", "y")).status == 200
    assert wire.http(api.get("/alice/x/resolve/main/x.bin").headers["location"]).body == data
    watched.age()
    assert len(watched.keys()) == 1, "of the attempt nothing stays"
