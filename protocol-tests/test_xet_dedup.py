"""What two files share is stored once: versions of a model, by clients that know nothing of each other, and copies elsewhere."""

import json
import os
import random
import struct

import pytest

from harness.api import HubApi
from harness.hf import Hf
from harness.httpd import Proxy
from harness.lfs import MIB, digest

UPLOAD = "api.create_repo(sys.argv[1], exist_ok=True); api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo=sys.argv[3], repo_id=sys.argv[1])"
# (tensors, bytes of each, of how many the second version has others)
SMALL = (120, MIB // 2, 2)
LARGE = (500, MIB, 10)


def model(path, tensors, size, edited=()):
    """A safetensors file of random weights, of which those `edited` are others."""
    names = [f"model.layers.{number}.weight" for number in range(tensors)]
    header = json.dumps({name: {"dtype": "F32", "shape": [size // 4], "data_offsets": [number * size, (number + 1) * size]} for number, name in enumerate(names)}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for number in range(tensors):
            file.write(random.Random(f"{path.parent} {number} {number in edited}").randbytes(size))


def stored(hub):
    """Bytes of xorbs and their indexes."""
    return sum(file.stat().st_size for file in (hub.data / "xorbs").rglob("*") if file.is_file())


@pytest.mark.parametrize("shape", [pytest.param(SMALL, id="60MB"), pytest.param(LARGE, id="500MB", marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_a_second_version_of_a_model(fresh_hub, shape, tmp):
    """By another client, whose cache is empty: under a tenth more is stored and sent, though a fiftieth is new."""
    tensors, size, edited = shape
    hub = fresh_hub(debug=True)
    alice = hub.user("alice")
    (tmp / "model").mkdir()
    one, two = tmp / "model/one.safetensors", tmp / "model/two.safetensors"
    model(one, tensors, size)
    model(two, tensors, size, random.Random(5).sample(range(tensors), edited))
    with Proxy(hub.url) as door:
        clients = [Hf(door.listen("client"), alice, tmp / f"home{number}").with_environment(HF_XET_CACHE=str(tmp / f"cache{number}")) for number in range(3)]
        sent = lambda: sum(seen.body_bytes for seen in door.seen if "/xorbs/" in seen.path)
        clients[0].python(UPLOAD, "alice/model", one, "model.safetensors", seconds=600)
        first, first_sent = stored(hub), sent()
        assert first >= one.stat().st_size * 0.99 and first_sent >= one.stat().st_size * 0.99
        clients[1].python(UPLOAD, "alice/model", two, "model.safetensors", seconds=600)
        second, second_sent = stored(hub) - first, sent() - first_sent
        print(f"the first {first} bytes stored, the second {second} more, {second_sent} sent")
        assert second < first * 0.1, f"{second / first:.1%} more"
        assert second_sent < first_sent * 0.1, f"{second_sent / first_sent:.1%} more"
        # The same file in another repository of a user who may read the first.
        before, before_sent = stored(hub), sent()
        clients[2].python(UPLOAD, "alice/copy", two, "model.safetensors", seconds=600)
        assert stored(hub) - before < first * 0.01 and sent() - before_sent < first_sent * 0.01
    for name, expected in (("model", two), ("copy", two)):
        out = Hf(hub.url, alice, tmp / f"reader-{name}").python("tell(hf_hub_download(sys.argv[1], 'model.safetensors'))", f"alice/{name}", seconds=600)
        assert digest(out) == digest(expected)
    old = HubApi(hub.url, alice).get("/api/models/alice/model/commits/main").json()[1]["id"]
    out = Hf(hub.url, alice, tmp / "old").python("tell(hf_hub_download('alice/model', 'model.safetensors', revision=sys.argv[1]))", old, seconds=600)
    assert digest(out) == digest(one)
    hub.fsck()


def test_who_may_not_read_uploads_all(fresh_hub, tmp):
    """Whether a stranger's private repository has a file does not show: neither in what is sent, nor in what is answered."""
    hub = fresh_hub(debug=True)
    alice, bob = hub.user("alice"), hub.user("bob")
    path = tmp / "a.bin"
    path.write_bytes(os.urandom(4 * MIB))
    with Proxy(hub.url) as door:
        base = door.listen("client")
        told = []
        for name, token in (("alice/x", alice), ("bob/x", bob)):
            door.seen.clear()
            Hf(base, token, tmp / name.replace("/", "-")).python(UPLOAD.replace("exist_ok=True", "private=True"), name, path, "a.bin")
            told.append((sum(seen.body_bytes for seen in door.seen if "/xorbs/" in seen.path), [(seen.method, seen.status) for seen in door.seen if "/chunks/" in seen.path]))
    assert told[0] == told[1] and told[0][0] > 4 * MIB
    assert stored(hub) < 4.1 * MIB, "and yet it is stored once"


def test_an_edit_in_the_middle(fresh_hub, tmp):
    """Bytes put in shift all that follows: chunks are found again wherever they lie."""
    hub = fresh_hub(debug=True)
    alice = hub.user("alice")
    data = random.Random(9).randbytes(24 * MIB)
    versions = [data, data[: 9 * MIB] + b"a few bytes more" + data[9 * MIB :], b"in front" + data, data[: 20 * MIB], data + data[:MIB]]
    hf, before = Hf(hub.url, alice, tmp / "hf"), 0
    for number, version in enumerate(versions):
        (tmp / "a.bin").write_bytes(version)
        hf.python(UPLOAD, "alice/x", tmp / "a.bin", "a.bin")
        assert digest(hf.python("tell(hf_hub_download('alice/x', 'a.bin'))")) == digest(tmp / "a.bin")
        more, before = stored(hub) - before, stored(hub)
        assert number == 0 or more < MIB, (number, more)
