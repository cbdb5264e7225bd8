"""Xorbs in backups, and what `fsck` and readers make of damaged ones."""

import contextlib
import http.client

import pytest

from harness import xet
from harness.api import HubApi
from harness.hf import Hf
from harness.hub import Hub
from harness.lfs import MIB, content
from harness.xet import Cas, File

UPLOAD = "api.create_repo(sys.argv[1], exist_ok=True); api.upload_file(path_or_fileobj=sys.argv[2], path_in_repo=sys.argv[3], repo_id=sys.argv[1])"
NAME = "admin/x"


@pytest.fixture
def hub(fresh_hub):
    return fresh_hub(debug=True)


@pytest.fixture
def cas(hub):
    HubApi(hub.url, hub.admin_token).create(NAME)
    return Cas(hub, hub.admin_token, f"models/{NAME}")


def restored(hub, backup, directory):
    """Another hub from that backup, at the address of the first, which is stopped."""
    hub.stop()
    other = Hub(directory, debug=True)
    other.run("restore", backup)
    other.port = hub.port
    return other


def test_a_backup_has_the_xorbs(hub, cas, tmp):
    file = cas.upload(File.of(content(3 * MIB)))
    assert cas.commit(a_bin=file).status == 200
    hub.run("backup", tmp / "backup")
    other = restored(hub, tmp / "backup", tmp / "restored")
    other.fsck()
    other.start()
    try:
        assert Cas(other, hub.admin_token, f"models/{NAME}").read(file.name) == file.data
        assert HubApi(other.url, hub.admin_token).get(f"/{NAME}/resolve/main/a.bin").body == file.data
        other.fsck()
    finally:
        other.stop()
    other.check_log()


def test_a_client_remembers_more_than_a_backup(hub, cas, tmp):
    """What was uploaded after the backup is gone; a client that remembers it uploads it again, for the CAS has another address."""
    before, token = cas.given["casUrl"], hub.admin_token
    hub.run("backup", tmp / "backup")
    hf, data = Hf(hub.url, token, tmp / "hf"), content(3 * MIB)
    (tmp / "a.bin").write_bytes(data)
    hf.python(UPLOAD, NAME, tmp / "a.bin", "a.bin")
    other = restored(hub, tmp / "backup", tmp / "restored").start()
    try:
        assert HubApi(other.url, token).get(f"/{NAME}/resolve/main/a.bin").status == 404
        assert Cas(other, token, f"models/{NAME}").given["casUrl"] != before, "caches go by the address"
        hf.python(UPLOAD, NAME, tmp / "a.bin", "a.bin")
        assert HubApi(other.url, token).get(f"/{NAME}/resolve/main/a.bin").body == data
    finally:
        other.stop()


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


def test_damage_is_found(damaged):
    """By `fsck`, by name, running and stopped; what is whole is no part of it."""
    hub, whole, broken, _ = damaged
    for running in (False, True):
        if running:
            hub.start()
        done = hub.run("fsck", check=False)
        assert done.returncode == 1, f"not found\n{done.stdout}\n{done.stderr}"
        assert broken.xorbs[0].name in done.stdout + done.stderr, done.stdout + done.stderr
        assert whole.xorbs[0].name not in done.stdout + done.stderr
    hub.stop()


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
