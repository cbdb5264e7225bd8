"""`kill -9` at every fault point of a large object's life: afterwards what was acknowledged is there, and no litter stays."""

import http.client
import random
import threading
import urllib.error

import pytest

from harness import lfs, s3, wait
from harness.hub import CommandFailed
from harness.lfs import MIB, content
from harness.lfs_api import Api

REPO = "admin/crash"
GONE = (OSError, urllib.error.URLError, http.client.HTTPException)


class Case:
    """One hub on one engine, with objects that must survive and one that is on its way when the crash comes."""

    def __init__(self, hub, keys, multiparts):
        self.hub, self.keys, self.multiparts = hub, keys, multiparts
        hub.repo(REPO)
        hub.repo("admin/other")
        self.kept = [content(300_000, number) for number in range(3)]
        for data in self.kept:
            self.api.upload(data)
        self.new = content(400_000, "new")
        self.large = content(64 * MIB + 1, "large")
        self.streamed = content(12 * MIB, "streamed")

    @property
    def api(self):
        return Api(self.hub, REPO, self.hub.admin_token)

    def try_upload(self, data, **fields):
        try:
            self.api.upload(data, **fields)
        except (*GONE, AssertionError):
            pass  # nobody may know


def upload(case):
    case.try_upload(case.new)


def stream(case):
    """Through the hub and in three parts, where it goes to a bucket."""
    case.try_upload(case.streamed)


def multipart(case):
    case.try_upload(case.large, **MULTIPART)


def delete(case):
    """Something condemned and due is deleted."""
    try:
        Api(case.hub, "admin/other", case.hub.admin_token).upload(content(1000, "doomed"))
        case.hub.run("gc", "--purge", "admin/other")
        for _ in range(2):
            case.hub.run("debug", "clock", "+60d")
            case.hub.run("maintain", "--now")
    except (*GONE, AssertionError, CommandFailed):
        pass


MULTIPART = {"transfers": ["multipart", "basic"]}
# point -> what reaches it, and where; "lax" is a bucket that can prove nothing, to which uploads go through the hub
DRIVERS = {
    "lfs.upload-begun": {"disk": upload, "s3": multipart},
    "lfs.object-staged": {"disk": upload, "lax": stream},
    "lfs.object-durable": {"disk": upload, "lax": stream},
    "lfs.object-published": {"disk": upload, "s3": upload, "lax": stream},
    "lfs.claimed": {"s3": multipart},
    "lfs.multipart-completed": {"s3": multipart},
    "lfs.key-deleted": {"disk": delete, "s3": delete},
}
CASES = [(point, engine) for point, where in DRIVERS.items() for engine in where]


@pytest.fixture
def engine(request):
    return request.param


@pytest.fixture
def place(engine, request, bucket, tmp):
    """(settings, what makes the callables that list keys and uploads in parts)"""
    if engine == "disk":
        return lfs.MULTIPART, lambda hub: (lambda: [file for file in (hub.data / "objects").rglob("*") if file.is_file()], lambda: [])
    there = bucket if engine == "s3" else s3.S3(request.getfixturevalue("lax_store").listen(), "lax")
    return {**lfs.MULTIPART, **there.settings(tmp.name)}, lambda hub: (
        lambda: there.keys(f"{tmp.name}/objects/"), lambda: there.multiparts(f"{tmp.name}/"))


@pytest.mark.parametrize("point, engine", CASES, indirect=["engine"])
def test_killed_at(stopped_hub, place, engine, git, tmp, point):
    settings, listings = place
    hub = stopped_hub(settings=settings, debug=True).start()
    case = Case(hub, *listings(hub))
    driver = DRIVERS[point][engine]
    hub.stop()
    hub.start(may_die=True, GRANARY_FAULT=point)
    driver(case)
    hub.wait_killed()
    if point == "lfs.object-staged" and engine == "lax":
        assert case.multiparts(), "the crash left parts that only the bucket knows of"
    hub.fsck()  # offline, on what the crash left
    hub.start()
    for data in case.kept:
        assert case.api.download(data) == data
    hub.fsck()
    # what was interrupted works now, however far it had come
    driver(case)
    if driver is not delete:
        data = {upload: case.new, stream: case.streamed, multipart: case.large}[driver]
        case.api.upload(data, **(MULTIPART if driver is multipart else {}))
        assert case.api.download(data) == data
        assert_verified(case, data)
    assert_no_litter(case, git, tmp)
    hub.stop()


def assert_verified(case, data):
    """A claim whose proof the crash interrupted is proven after the start, without anybody asking."""
    wait.until(lambda: case.api.has(data), "the object can be had", seconds=60)


def assert_no_litter(case, git, tmp):
    """Of all that is stored only what a commit names stays, once the rest is due."""
    work = git.init(tmp / "keep")
    for number, data in enumerate(case.kept):
        lfs.commit_pointer(work, f"kept{number}.bin", data)
    work("push", "-q", case.hub.git_url(REPO, case.hub.admin_token), "main")
    for _ in range(4):
        case.hub.run("debug", "clock", "+60d")
        case.hub.run("gc")
        case.hub.run("maintain", "--now")
    assert len(case.keys()) == len(case.kept), case.keys()
    assert not case.multiparts()
    if (case.hub.data / "staging").exists():
        assert not list((case.hub.data / "staging").iterdir())
    case.hub.fsck()


@pytest.mark.parametrize("engine", ["disk", "s3"], indirect=True)
def test_killed_at_random_moments(stopped_hub, engine_settings, long_run, tmp):
    """Uploads in a row, killed anywhere: each that was answered is there, whole."""
    source = random.Random(7)
    hub = stopped_hub(settings=engine_settings(), debug=True).start()
    hub.repo(REPO)
    token, acknowledged = hub.admin_token, []
    for turn in range(60 if long_run else 8):
        stop = threading.Event()

        def uploads(lane, turn=turn, stop=stop):
            at, number = Api(hub, REPO, token), 0
            while not stop.is_set():
                data = content(50_000 + 40_000 * lane, f"{turn} {lane} {number}")
                number += 1
                try:
                    at.upload(data)
                except (*GONE, AssertionError):
                    return
                acknowledged.append(data)

        lanes = [threading.Thread(target=uploads, args=(lane,)) for lane in range(4)]
        target = len(acknowledged) + source.randint(2, 30)
        for lane in lanes:
            lane.start()
        wait.until(lambda: len(acknowledged) >= target or not any(lane.is_alive() for lane in lanes), "uploads are acknowledged", every=0.001)
        hub.kill()
        stop.set()
        for lane in lanes:
            lane.join(30)
        hub.start()
        at = Api(hub, REPO, token)
        rows = [row for first in range(0, len(acknowledged), 1000) for row in at.ask("download", *acknowledged[first : first + 1000])]
        assert all("actions" in row for row in rows), "acknowledged, and gone"
        for data in acknowledged[-8:]:
            assert at.download(data) == data
        hub.fsck()
    hub.stop()
