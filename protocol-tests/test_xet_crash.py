"""`kill -9` at every fault point of Xet: afterwards an upload is complete, or as if it had never been, and no litter stays."""

import contextlib
import http.client
import random
import subprocess
import threading
import urllib.error

import pytest

from harness import lfs, wait
from harness.api import HubApi
from harness.hf import Hf
from harness.hub import BINARY, CommandFailed
from harness.lfs import MIB, content
from harness.xet import Cas, File, Term, Xorb

GONE = (OSError, urllib.error.URLError, http.client.HTTPException)
REPO, OTHER = "admin/crash", "admin/other"


class Case:
    """One hub, with files that must survive and one that is on its way when the crash comes."""

    def __init__(self, hub, keys):
        self.hub, self.keys = hub, keys
        for name in (REPO, OTHER):
            self.api.create(name, private=True)
        self.kept = {f"kept{number}.bin": File.of(content(300_000, number)) for number in range(3)}
        for file in self.kept.values():
            self.cas().upload(file)
        assert self.cas().commit(**{path.replace(".", "_"): file for path, file in self.kept.items()}).status == 200
        xorbs = [Xorb.of(content(400_000, number)) for number in ("new", "newer")]
        self.new = File((Term(xorbs[0]), Term(xorbs[1]), Term(next(iter(self.kept.values())).xorbs[0], 1, 3)))

    @property
    def api(self):
        return HubApi(self.hub.url, self.hub.admin_token)

    def cas(self, name=REPO):
        return Cas(self.hub, self.hub.admin_token, f"models/{name}")

    def upload(self, route="/v1/shards"):
        """As clients do, each step only if the one before it succeeded; true: all of it was acknowledged."""
        try:
            at = self.cas()
            if not all(at.put_xorb(xorb).status == 200 for xorb in self.new.xorbs):
                return False
            answer = at.put_shard(self.new, xorbs=self.new.xorbs[:2], route=route)
            return answer.status == 200 and b'"error"' not in answer.body
        except (*GONE, AssertionError):
            return False

    def delete(self):
        """Xorbs that nobody needs and no client remembers are deleted."""
        try:
            self.cas(OTHER).upload(File.of(content(100_000, "doomed")))
            self.api.delete("/api/repos/delete", {"name": "other", "organization": "admin", "type": "model"})
            self.api.create(OTHER)
            for _ in range(4):
                self.hub.run("debug", "clock", "+60d")
                self.hub.run("gc")
                self.hub.run("maintain", "--now")
        except (*GONE, AssertionError, CommandFailed):
            pass

    def assert_kept(self):
        at = self.cas()
        for path, file in self.kept.items():
            assert at.read(file.name) == file.data
            assert self.api.get(f"/{REPO}/resolve/main/{path}").body == file.data

    def assert_no_litter(self):
        """Of all that is stored only what a commit names stays, once the rest is due."""
        for _ in range(4):
            self.hub.run("debug", "clock", "+60d")
            self.hub.run("gc")
            self.hub.run("maintain", "--now")
        needed = {xorb.name for file in self.kept.values() for xorb in file.xorbs}
        left = lambda: len(self.keys()) == 2 * len(needed)
        wait.until(lambda: (self.hub.run("maintain", "--now"), left())[1], "only what is needed stays", seconds=60, every=0.5)
        if (self.hub.data / "staging").exists():
            assert not list((self.hub.data / "staging").iterdir())
        self.assert_kept()
        self.hub.fsck()


POINTS = ["xet.xorb-staged", "xet.xorb-durable", "xet.shard-committed", "xet.key-deleted"]
GRANTED = ["xet.xorb-granted", "xet.xorb-copied"]
WHOLE = ["xet.whole-staged", "xet.whole-durable"]


def test_all_points_are_known():
    listed = subprocess.run([BINARY, "debug", "faults"], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(point for point in listed if point.startswith("xet.")) == sorted(POINTS + GRANTED + WHOLE)


@pytest.fixture
def keys(engine, request, tmp):
    """What makes the callable that lists what is stored of xorbs."""
    if engine == "disk":
        return lambda hub: lambda: [file for file in (hub.data / "xorbs").rglob("*") if file.is_file()]
    return lambda hub: lambda: [key for place in ("xorbs", "xorb-drafts") for key in request.getfixturevalue("bucket").keys(f"{tmp.name}/{place}/")]


@pytest.fixture
def case(stopped_hub, engine_settings, keys):
    hub = stopped_hub(settings=engine_settings(), debug=True).start()
    case = Case(hub, keys(hub))
    hub.stop()
    return case


@pytest.mark.parametrize("point", [*POINTS[:3], "xet.xorb-durable:2", "xet.key-deleted"])
def test_killed_at(case, point):
    hub = case.hub
    hub.start(may_die=True, GRANARY_FAULT=point)
    acknowledged = case.delete() if point == "xet.key-deleted" else case.upload()
    assert not acknowledged
    hub.wait_killed()
    hub.fsck()  # offline, on what the crash left
    hub.start()
    case.assert_kept()
    hub.fsck()
    # Complete, or as if it had never been; never in between.
    plan = case.cas().plan(case.new.name)
    if point == "xet.shard-committed":
        assert case.cas().read(case.new.name) == case.new.data
        assert case.cas().commit(new_bin=case.new).status == 200, "it was durable before the crash"
        case.kept["new.bin"] = case.new
    else:
        assert plan.status == 404 and case.cas().commit(new_bin=case.new).status == 400
    # What was interrupted works now, however far it had come.
    if point == "xet.key-deleted":
        case.delete()
    else:
        assert case.upload(), "the client tries again"
        assert case.cas().read(case.new.name) == case.new.data
    case.assert_no_litter()
    hub.stop()


@pytest.mark.parametrize("engine", ["s3"], indirect=True)
@pytest.mark.parametrize("point", [*GRANTED, "xet.xorb-durable"])
def test_killed_while_a_xorb_is_taken_from_the_bucket(case, point):
    """The address and what was put there outlive the crash: it is taken afterwards, or goes when the address is dead."""
    hub, xorb = case.hub, case.new.xorbs[0]
    hub.start()
    given, lost = case.cas().grant(xorb), case.cas().grant(case.new.xorbs[1])
    for grant, body in ((given, xorb.body), (lost, case.new.xorbs[1].body)):
        assert Cas.put_granted(grant, body) == 200
    hub.stop()
    hub.start(may_die=True, GRANARY_FAULT=point)
    with pytest.raises(GONE):
        case.cas().ask_grant(Xorb.of(b"other")) if point == "xet.xorb-granted" else case.cas().commit_grant(xorb, given["id"])
    hub.wait_killed()
    hub.fsck()
    hub.start()
    assert case.cas().head(f"/v1/xorbs/default/{xorb.name}").status == 404
    assert case.cas().commit_grant(xorb, given["id"]).status == 200
    assert case.upload() and case.cas().read(case.new.name) == case.new.data
    case.assert_no_litter()
    hub.stop()


@pytest.mark.parametrize("point", WHOLE)
def test_killed_while_a_file_is_copied(stopped_hub, bucket, tmp, point):
    """What is read often, stored as one object besides: the next one is made anew, and of this one nothing stays."""
    hub = stopped_hub(settings={**bucket.settings(tmp.name), "xet.whole_after": "1"}, debug=True).start()
    api, file = HubApi(hub.url, hub.admin_token), File.of(content(300_000))
    api.create(REPO)
    Cas(hub, hub.admin_token, f"models/{REPO}").upload(file)
    assert Cas(hub, hub.admin_token, f"models/{REPO}").commit(a_bin=file).status == 200
    hub.stop()
    hub.start(may_die=True, GRANARY_FAULT=point)
    with contextlib.suppress(*GONE):
        wait.until(lambda: api.get(f"/{REPO}/resolve/main/a.bin").body != file.data, "it is killed", seconds=30, every=0.2)
    hub.wait_killed()
    hub.fsck()
    hub.start()
    copies = lambda: bucket.keys(f"{tmp.name}/objects/")
    assert len(copies()) == (point == "xet.whole-durable")
    wait.until(lambda: api.get(f"/{REPO}/resolve/main/a.bin").status == 302, "another is made", every=0.2)
    for _ in range(3):
        hub.run("debug", "clock", "+30d")
        hub.run("maintain", "--now")
    wait.until(lambda: (hub.run("maintain", "--now"), len(copies()) == 1)[1], "of the first nothing stays", every=0.5)
    assert bucket.get(copies()[0]) == file.data and api.get(f"/{REPO}/resolve/main/a.bin").status == 302
    hub.fsck()
    hub.stop()


def test_the_claim_of_a_sha256_is_checked_after_the_start(case):
    """The proof that the crash interrupted is done again, without anybody asking."""
    hub, file = case.hub, case.new
    hub.start(may_die=True, GRANARY_FAULT="xet.shard-committed")
    case.new = lie = file.saying(says_sha256=lfs.oid(b"something else"))
    case.upload()
    hub.wait_killed()
    hub.start()
    wait.until(lambda: any("another SHA-256 than its uploader said" in str(line) for line in hub.log(whole=True)), "the lie is found out", seconds=60)
    wait.until(lambda: case.cas().plan(lie.name).status == 404, "it is corrupt")
    case.new = file
    assert case.upload() and case.cas().read(file.name) == file.data
    hub.stop()


@pytest.mark.parametrize("engine", ["disk"], indirect=True)
@pytest.mark.parametrize("point", POINTS[:3])
def test_the_client_tries_again(case, point, tmp):
    """`upload_file`, killed under it; then the same command with the same cache."""
    hub, data = case.hub, content(3 * MIB, point)
    (tmp / "a.bin").write_bytes(data)
    upload = "api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='a.bin', repo_id=sys.argv[2])"
    hf = Hf(hub.url, hub.admin_token, tmp / "hf").with_environment(HF_XET_CLIENT_RETRY_BASE_DELAY="10ms")
    hub.start(GRANARY_FAULT=point)
    with pytest.raises(AssertionError):
        hf.python(upload, tmp / "a.bin", REPO)
    hub.wait_killed()
    hub.start()
    hf.python(upload, tmp / "a.bin", REPO)
    assert case.api.get(f"/{REPO}/resolve/main/a.bin").body == data
    case.assert_kept()
    hub.fsck()
    hub.stop()


def test_killed_at_random_moments(stopped_hub, engine_settings, long_run):
    """Uploads in a row, killed anywhere: each that was answered is there, whole."""
    source = random.Random(7)
    hub = stopped_hub(settings=engine_settings(), debug=True).start()
    token, acknowledged = hub.admin_token, []
    HubApi(hub.url, token).create(REPO)
    for turn in range(40 if long_run else 5):
        stop = threading.Event()

        def uploads(lane, turn=turn, stop=stop):
            number = 0
            while not stop.is_set():
                file = File.of(content(50_000 + 90_000 * lane, f"{turn} {lane} {number}"))
                number += 1
                try:
                    Cas(hub, token, f"models/{REPO}").upload(file)
                except (*GONE, AssertionError):
                    return
                acknowledged.append(file)

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
        at = Cas(hub, token, f"models/{REPO}")
        assert all(at.head(f"/v1/files/{file.name}").status == 200 for file in acknowledged), "acknowledged, and gone"
        for file in acknowledged[-8:]:
            assert at.read(file.name) == file.data
        hub.fsck()
    hub.stop()
