"""Every `hf_xet` that spoke in its own way, each beside a `huggingface_hub` that takes it: their routes, footers and chunks differ."""

import pytest

from harness import lfs, metrics
from harness.api import HubApi
from harness.hf import CLIENTS, VERSIONS, Hf
from harness.lfs import MIB, content, digest

OLDEST, NEWEST = "1.1.3", "1.8.0"
HUBS = {"1.1.3": "0.36.2", "1.1.10": "0.36.2", "1.2.0": "0.36.2", "1.3.2": "0.36.2", "1.4.3": "0.36.2", "1.5.2": "1.19.0", "1.6.0": "2.4.0", "1.7.1": "2.4.0"}
"""Each with a huggingface_hub of its time."""
ALWAYS = {(OLDEST, "disk"), ("1.4.3", "s3")}


def cases():
    """Each version on each engine; two of them always."""
    shows = pytest.mark.shows("upload", "download", "download of what another version uploaded")
    for version in HUBS:
        for engine in ("disk", "s3"):
            marks = [pytest.mark.client("hf_xet", version), shows] if (version, engine) in ALWAYS else pytest.mark.long
            yield pytest.param(version, engine, id=f"{version}-{engine}", marks=marks)


def client_of(hub, token, version, tmp):
    """One with that hf_xet, and a cache of its own."""
    site = VERSIONS[HUBS.get(version, "2.4.0")]
    path = ":".join(str(part) for part in (CLIENTS / f"hf_xet-{version}" if version in HUBS else None, site) if part)
    hf = Hf(hub.url, token, tmp / f"home-{version}").with_environment(**({"PYTHONPATH": path} if path else {}))
    assert hf.python("from importlib.metadata import version\ntell(version('hf_xet'))") == version
    return hf


@pytest.fixture
def client(lfs_hub, tmp):
    return lambda version: client_of(lfs_hub, lfs_hub.tokens["alice"], version, tmp)


UPLOAD = "api.create_repo(sys.argv[1], exist_ok=True); api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo=sys.argv[3], repo_id=sys.argv[1])"
DOWNLOAD = "tell(hf_hub_download(sys.argv[1], sys.argv[2]))"


@pytest.mark.parametrize("version, engine", list(cases()), indirect=["engine"])
def test_up_and_down_and_across(lfs_hub, client, version, tmp):
    """What it uploads today's client downloads, and the reverse; two clients may cut one file differently, and it stays one object."""
    hub = lfs_hub
    name, other = f"alice/v{next(hub.names)}", f"alice/v{next(hub.names)}"
    mine, todays = client(version), client(NEWEST)
    data = content(5 * MIB + 1, name) + bytes(200_000) + b"text that repeats itself, " * 50_000
    (tmp / "a.bin").write_bytes(data)
    oid, before = lfs.oid(data), metrics.requests(hub)
    mine.python(UPLOAD, name, tmp / "a.bin", "a.bin", seconds=200)
    after = metrics.requests(hub)
    xorbs = lambda asked: asked.get("xet.xorb", 0) + asked.get("xet.xorb.commit", 0)
    assert xorbs(after) > xorbs(before), "it went by Xet"
    todays.python(UPLOAD, other, tmp / "a.bin", "a.bin", seconds=200)
    assert (xorbs(metrics.requests(hub)) > xorbs(after)) == (version == OLDEST), "it cuts other chunks; the others find theirs"
    for who in (mine, todays):
        for path in (name, other):
            before = metrics.requests(hub)
            # Newer ones take a file from the cache of another repository.
            empty = who.with_environment(HF_HOME=str(who.home / path.replace("/", "-")))
            assert digest(empty.python(DOWNLOAD, path, "a.bin", seconds=200)) == oid, path
            assert metrics.requests(hub)["xet.reconstruction"] > before.get("xet.reconstruction", 0), f"{path} came by Xet to {who.home}"
    api = HubApi(hub.url, hub.tokens["alice"])
    # By the other client into the same repository: the object is there already, whichever way its chunks were cut.
    todays.python(UPLOAD, name, tmp / "a.bin", "again.bin", seconds=200)
    mine.python(UPLOAD, other, tmp / "a.bin", "again.bin", seconds=200)
    for path in (name, other):
        assert api.head(f"/{path}/resolve/main/again.bin").headers["x-xet-hash"]
        got = api.get(f"/{path}/resolve/main/again.bin")
        assert got.status == 200 and lfs.oid(got.body) == oid
        assert digest(mine.python(DOWNLOAD, path, "again.bin", seconds=200)) == oid


OLD_SHARDS = [version for version in HUBS if version not in ("1.6.0", "1.7.1")]
"""Of these a shard is answered by a status, which is all that they show; the others are told in words."""


@pytest.mark.parametrize("version", [pytest.param(version, marks=[] if version in (OLDEST, "1.3.2") else pytest.mark.long) for version in HUBS])
def test_over_quota_it_stops(fresh_hub, version, tmp):
    """At once: what will not change is not tried again."""
    hub = fresh_hub(settings={"lfs.quota": "1MiB"}, debug=True)
    alice = hub.user("alice")
    (tmp / "a.bin").write_bytes(content(2 * MIB))
    hf = client_of(hub, alice, version, tmp)
    HubApi(hub.url, alice).create("alice/x")
    said = hf.python("tell(fails(Exception, api.upload_file, path_or_fileobj=sys.argv[1], path_in_repo='a.bin', repo_id='alice/x'))", tmp / "a.bin")
    assert ("413 Payload Too Large" if version in OLD_SHARDS else "does not fit") in said, said
    asked = metrics.requests(hub)
    assert asked.get("xet.shard", 0) + asked.get("xet.shard.stream", 0) == 1, asked
