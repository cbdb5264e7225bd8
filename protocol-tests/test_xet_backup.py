"""What readers make of damaged xorbs."""

import contextlib
import http.client

import pytest

from harness import xet
from harness.api import HubApi
from harness.lfs import content
from harness.xet import Cas, File

NAME = "admin/x"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "chunks gone": ("", lambda path: path.unlink()),
    "chunks cut": ("", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "chunks changed": ("", flip),
    "index gone": (".idx", lambda path: path.unlink()),
    "index cut": (".idx", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "index changed": (".idx", flip),
}


@pytest.fixture(params=DAMAGE)
def damaged(request, stopped_hub):
    """(a stopped hub, a whole file, one whose xorb was damaged, what was done to it)"""
    hub = stopped_hub(debug=True).start()
    HubApi(hub.url, hub.admin_token).create(NAME)
    cas = Cas(hub, hub.admin_token, f"models/{NAME}")
    whole = cas.upload(File.of(content(400_000, "whole")))
    broken = cas.upload(File.of(b"broken " * 60_000 + content(1000), scheme=xet.LZ4))
    assert cas.commit(a_bin=whole, b_bin=broken).status == 200
    hub.stop()
    hub.fsck()
    suffix, damage = DAMAGE[request.param]
    path, = (path for path in (hub.data / "xorbs").rglob(f"*{broken.xorbs[0].name}*/*") if path.is_file() and path.suffix == suffix)
    damage(path)
    return hub, whole, broken, request.param


def test_nobody_is_given_other_bytes(damaged):
    """A damaged xorb breaks the answer off, or is answered as an error; the other files are served."""
    hub, whole, broken, what = damaged
    hub.start()
    api, cas = HubApi(hub.url, hub.admin_token), Cas(hub, hub.admin_token, f"models/{NAME}")
    assert api.get(f"/{NAME}/resolve/main/a.bin").body == cas.read(whole.name) == whole.data
    for range_ in ({}, {"range": "bytes=200000-300000"}):
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            answer = api.get(f"/{NAME}/resolve/main/b.bin", **range_)
            assert answer.status >= 500 or answer.body == (broken.data[200_000:300_001] if range_ else broken.data), what
    hub.stop()
