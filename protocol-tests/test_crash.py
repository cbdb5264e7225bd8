"""`kill -9` at every listed fault point and at random moments: afterwards fsck is clean and what was acknowledged is there."""

import contextlib
import http.client
import json
import random
import threading

import pytest

from harness import wait, wire
from harness.api import HubApi, file
from harness.load import Connection, History, Pusher
from test_hub_webhooks import POINTS as WEBHOOK_POINTS
from test_lfs_crash import DRIVERS as LFS_DRIVERS
from test_xet_crash import GRANTED as XET_GRANTED, POINTS as XET_POINTS, WHOLE as XET_WHOLE

REPO = "admin/crash"
BIG = 100_000  # more than is held in a row: the pack becomes a file


def push_once(hub, size=1000):
    """One push whose outcome nobody may know."""
    connection = Connection(hub.url, hub.admin_token)
    history = History(random.random(), size)
    old, new, pack = history.next()
    try:
        return connection.push(REPO, [(wire.ZERO, new, f"refs/heads/b{new[:8]}")], pack)
    except (OSError, http.client.HTTPException):
        return None


def push_small(hub, _):
    push_once(hub)


def push_big(hub, _):
    push_once(hub, BIG)


def commit_over_http(hub, number):
    """A branch and a commit on it, made by the server itself."""
    api = HubApi(hub.url, hub.admin_token)
    with contextlib.suppress(OSError, http.client.HTTPException):
        assert api.post(f"/api/models/{REPO}/branch/api{number}", {"emptyBranch": True}).status == 200
        assert api.commit(f"models/{REPO}", file("a/b.txt", str(number)), revision=f"api{number}").status == 200


def merge(hub, number):
    """A pull request on a branch of its own, merged: half of it is never there."""
    api, at = HubApi(hub.url, hub.admin_token), f"/api/models/{REPO}"
    with contextlib.suppress(OSError, http.client.HTTPException):
        assert api.post(f"{at}/branch/pr{number}", {"emptyBranch": True}).status == 200
        assert api.commit(f"models/{REPO}", file("ours.txt", "ours"), revision=f"pr{number}").status == 200
        parent = api.get(f"{at}/commits/pr{number}").json()[-1]["id"]
        row = {"key": "header", "value": {"summary": f"change {number}", "parentCommit": parent}}
        lines = [row, dict(zip(("key", "value"), file("theirs.txt", "theirs")))]
        body = "\n".join(map(json.dumps, lines)).encode()
        opened = api.post(f"{at}/commit/pr{number}?create_pr=1", body, content_type="application/x-ndjson")
        num = opened.json()["pullRequestUrl"].rsplit("/", 1)[1]
        assert api.post(f"{at}/discussions/{num}/merge").status == 200
    with contextlib.suppress(OSError, http.client.HTTPException):
        for pull in api.get(f"{at}/discussions").json()["discussions"]:
            details = api.get(f"{at}/discussions/{pull['num']}").json()
            merged = details["changes"].get("mergeCommitId")
            assert (merged is not None) == (details["status"] == "merged") == (details["events"][-1]["type"] == "status-change")


def maintain(hub, _):
    hub.run("maintain", "--now", check=False)


def collect(hub, _):
    """Every branch that a crash may leave, then a collection of what they held."""
    connection = Connection(hub.url, hub.admin_token)
    for name, oid in connection.refs(REPO).items():
        if name.startswith("refs/heads/b"):
            connection.push(REPO, [(oid, wire.ZERO, name)])
    hub.run("gc", "--purge", REPO, check=False)


def sweep(hub, _):
    hub.run("debug", "clock", "+30d", check=False)
    hub.run("maintain", "--now", check=False)
    hub.run("debug", "clock", "+30d", check=False)
    hub.run("maintain", "--now", check=False)


def fill_bucket(hub, number):
    """A bucket that has something to tell. It may be there already."""
    api = HubApi(hub.url, hub.admin_token)
    with contextlib.suppress(OSError, http.client.HTTPException):
        api.post(f"/api/buckets/admin/b{number}", {})
        lines = [{"type": "addFile", "path": path, "xetHash": "0" * 64, "mtime": 1} for path in ("a", "b/c")]
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        api.post(f"/api/buckets/admin/b{number}/batch", body, content_type="application/x-ndjson")
    hub.run("maintain", "--now", check=False)


def drop_bucket(hub, number):
    fill_bucket(hub, number)
    with contextlib.suppress(OSError, http.client.HTTPException):
        HubApi(hub.url, hub.admin_token).delete(f"/api/buckets/admin/b{number}")


def backup(hub, number):
    hub.run("backup", hub.directory / f"backup-{number}", check=False)


DRIVERS = {
    "push.indexed": push_small, "push.staged": push_big, "push.pack-durable": push_big,
    "commit.durable": commit_over_http, "merge.durable": merge, "apply.before-commit": push_small, "apply.after-commit": push_small,
    "compact.pack-durable": maintain, "compact.applied": maintain, "manifest.written": maintain,
    "bucket.journaled": fill_bucket, "bucket.deleted": drop_bucket,
    "gc.pack-durable": collect, "gc.applied": collect, "sweep.deleted": sweep,
    "backup.database-copied": backup, "backup.packs-copied": backup,
}


def prepare(hub):
    """A repository with packs in rows and in files, something to compact, something to collect."""
    connection = Connection(hub.url, hub.admin_token)
    expected = {}
    for number, size in enumerate((1000, 2000, BIG, BIG, 1000, 500)):
        history = History(number, size)
        for _ in range(2):
            old, new, pack = history.next()
            result = connection.push(REPO, [(old, new, f"refs/heads/keep{number}")], pack)
            assert result.ok, result
            history.moved(new)
            expected[f"refs/heads/keep{number}"] = new
    for _ in range(3):
        push_once(hub, BIG)
    connection.close()
    return expected


def assert_nothing_lost(hub, git, tmp, expected):
    connection = Connection(hub.url, hub.admin_token)
    listed = connection.refs(REPO)
    assert {name: listed.get(name) for name in expected} == expected
    connection.close()
    hub.fsck()


def test_every_listed_point_has_a_driver(hub):
    listed = [line.split()[0] for line in hub.run("debug", "faults").stdout.splitlines() if line.strip()]
    assert set(listed) == set(DRIVERS) | set(LFS_DRIVERS) | set(XET_POINTS) | set(XET_GRANTED) | set(XET_WHOLE) | set(WEBHOOK_POINTS), "a fault point that no test reaches, or a test of none"


@pytest.mark.parametrize("point", DRIVERS)
def test_killed_at(stopped_hub, git, tmp, long_run, point):
    hub = stopped_hub(debug=True).start()
    hub.repo(REPO)
    for number in range(16 if long_run else 2):
        expected = prepare_or_extend(hub, number)
        hub.stop()
        hub.start(may_die=True, GRANARY_FAULT=point)
        DRIVERS[point](hub, number)
        hub.wait_killed()
        hub.fsck()  # offline, on what the crash left
        hub.start()
        assert_nothing_lost(hub, git, tmp, expected)
        DRIVERS[point](hub, f"{number}-again")  # what was interrupted works now
        assert_nothing_lost(hub, git, tmp, expected)
    copy = git.clone(hub.git_url(REPO, hub.admin_token), tmp / "copy.git", "--mirror")
    copy.fsck()
    hub.stop()
    assert_no_litter(hub)


@pytest.mark.parametrize("point", ["apply.before-commit", "apply.after-commit", "sweep.deleted"])
def test_a_duplicate_killed_at(stopped_hub, git, tmp, point):
    """All of it is there or nothing, and its packs stay as long as one of the two has them."""
    hub = stopped_hub(debug=True).start()
    hub.repo(REPO)
    expected = prepare(hub)
    copy = "admin/copy"
    duplicate = lambda: HubApi(hub.url, hub.admin_token).post(f"/api/models/{REPO}/duplicate", {"repository": copy})
    if point == "sweep.deleted":
        assert duplicate().status == 200
        hub.run("repo", "delete", REPO)
        sweep(hub, 0)  # the rows of one go, the bytes stay
        hub.fsck()
    hub.stop()
    hub.start(may_die=True, GRANARY_FAULT=point)
    if point == "sweep.deleted":
        hub.run("repo", "delete", copy)
        sweep(hub, 0)
    else:
        with contextlib.suppress(OSError, http.client.HTTPException):
            duplicate()
    hub.wait_killed()
    hub.fsck()
    hub.start()
    if point != "sweep.deleted":
        connection = Connection(hub.url, hub.admin_token)
        there = point == "apply.after-commit"
        assert {name: connection.refs(copy).get(name) for name in expected} == (expected if there else dict.fromkeys(expected))
        assert_nothing_lost(hub, git, tmp, expected)
        hub.run("repo", "delete", REPO)
        sweep(hub, 0)
        hub.fsck()
        if there:
            git.clone(hub.git_url(copy, hub.admin_token), tmp / "copy.git", "--mirror").fsck()
        hub.run("repo", "delete", copy)
    sweep(hub, 0)
    hub.fsck()
    assert not [path for path in (hub.data / "packs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("point, remains", {"bucket.journaled": True, "bucket.deleted": False}.items())
def test_what_is_rebuilt_after_a_crash(stopped_hub, point, remains):
    """A bucket whose journal was being written is there; one that was deleted is not, once the hub ran again."""
    hub = stopped_hub(debug=True).start()
    fill_bucket(hub, 0)
    hub.stop()
    hub.start(may_die=True, GRANARY_FAULT=point)
    DRIVERS[point](hub, 0)
    hub.wait_killed()
    hub.start()
    hub.run("maintain", "--now")
    hub.stop()
    told = hub.rebuild().stdout
    assert ("1 buckets with 2 files" in told) is remains, told
    hub.start()
    listed = HubApi(hub.url, hub.user("admin")).get("/api/buckets/admin/b0/tree?recursive=true")
    assert (listed.status, [row["path"] for row in listed.json()] if remains else None) == ((200, ["a", "b/c"]) if remains else (404, None))
    hub.fsck()
    hub.stop()


def prepare_or_extend(hub, number):
    if number == 0:
        return prepare(hub)
    connection = Connection(hub.url, hub.admin_token)
    for name, oid in connection.refs(REPO).items():
        if not name.startswith("refs/pr/"):  # those stay
            assert connection.push(REPO, [(oid, wire.ZERO, name)]).ok or name == "refs/heads/keep0"
    expected = {}
    for index, size in enumerate((1000, BIG, 700)):
        old, new, pack = History(1000 * number + index, size).next()
        assert connection.push(REPO, [(wire.ZERO, new, f"refs/heads/keep{number}-{index}")], pack).ok
        expected[f"refs/heads/keep{number}-{index}"] = new
    for _ in range(3):
        push_once(hub, BIG)
    connection.close()
    return expected


def assert_no_litter(hub):
    """What a crash left is known by its rows, and gone once it is due."""
    hub.start()
    for _ in range(3):
        hub.run("debug", "clock", "+30d")
        hub.run("maintain", "--now")
    connection = Connection(hub.url, hub.admin_token)
    for name, oid in connection.refs(REPO).items():
        connection.push(REPO, [(oid, wire.ZERO, name)])
    hub.run("gc", "--purge", REPO)
    hub.run("repo", "delete", REPO)
    for _ in range(3):
        hub.run("debug", "clock", "+30d")
        hub.run("maintain", "--now")
    left = [path for path in (hub.data / "packs").rglob("*") if path.is_file()]
    assert not left, f"nothing names these packs any more: {left}"
    assert not list((hub.data / "staging").iterdir())
    hub.stop()


def test_killed_at_random_moments(stopped_hub, git, tmp, long_run):
    """Four repositories and a shared one under push while maintenance runs; killed anywhere."""
    rounds = 200 if long_run else 20
    hub = stopped_hub().start()
    token = hub.admin_token
    paths = [hub.repo(f"admin/r{number}") for number in range(4)]
    histories = [History(number, size) for number, size in enumerate((300, 1000, 30_000, BIG))]
    source = random.Random(rounds)
    total = 0
    for _ in range(rounds):
        pushers = [Pusher(hub, path, token, 0, history=history) for path, history in zip(paths, histories)]
        for pusher in pushers:
            pusher.start()
        maintenance = threading.Thread(target=lambda: hub.run("maintain", "--now", check=False))
        maintenance.start()
        target = total + source.randint(4, 40)
        wait.until(lambda: total + sum(pusher.count for pusher in pushers) >= target or not any(p.is_alive() for p in pushers),
                   "some pushes are acknowledged", every=0.001)
        hub.kill()
        for pusher in pushers:
            pusher.join(30)
            assert pusher.failure is None, pusher.failure
        maintenance.join(30)
        total += sum(pusher.count for pusher in pushers)
        hub.start()
        connection = Connection(hub.url, token)
        for path, history, pusher in zip(paths, histories, pushers):
            tip = connection.refs(path).get("refs/heads/main", wire.ZERO)
            assert tip in (pusher.acknowledged, pusher.sent), f"{path}: {tip} is neither acknowledged nor under way"
            if tip == pusher.sent:
                history.moved(tip)
        connection.close()
        hub.fsck()
    for number, path in enumerate(paths):
        copy = git.clone(hub.git_url(path, token), tmp / f"copy{number}.git", "--mirror")
        assert copy("rev-list", "--count", "main") == str(history_length(copy))
        copy.fsck()
    assert total >= rounds * 4
    hub.stop()


def history_length(copy):
    return int(copy("log", "-1", "--format=%s", "main"))


def test_killed_on_the_first_start(stopped_hub):
    """A first start that dies half way can be repeated."""
    for _ in range(5):
        hub = stopped_hub()
        hub.start(ready=False)
        wait.until(lambda: (hub.data / "granary.db").exists(), "the database is being made", every=0.001)
        hub.kill()
        hub.start()
        token = hub.admin_token
        assert wire.http(f"{hub.url}/admin/none/info/refs?service=git-upload-pack", token=token).status == 404
        hub.stop()


def test_a_restart_in_the_middle_of_traffic_loses_nothing(fresh_hub, git, tmp):
    """SIGTERM drains: whatever was acknowledged stays, whatever was begun is answered."""
    hub = fresh_hub()
    path, token = hub.repo("admin/drained"), hub.admin_token
    pushers = [Pusher(hub, path, token, number, ref=f"refs/heads/p{number}", size=20_000) for number in range(4)]
    for pusher in pushers:
        pusher.start()
    wait.until(lambda: all(pusher.count > 3 for pusher in pushers), "pushes are acknowledged")
    hub.stop()
    for pusher in pushers:
        pusher.stop()
        assert pusher.failure is None or "503" in pusher.failure.error, pusher.failure
    hub.start()
    refs = Connection(hub.url, token).refs(path)
    for number, pusher in enumerate(pushers):
        assert refs[f"refs/heads/p{number}"] in (pusher.acknowledged, pusher.sent)
    hub.fsck()
