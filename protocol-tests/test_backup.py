"""A backup taken under load, restored elsewhere: sound, complete up to its moment, and usable."""

import shutil

import pytest

from harness import wait, wire
from harness.hub import Hub
from harness.load import Connection, History, Pusher


@pytest.fixture
def loaded(fresh_hub):
    hub = fresh_hub(debug=True)
    token = hub.admin_token
    pushers = [Pusher(hub, hub.repo(f"admin/r{number}"), token, number, size=size) for number, size in enumerate((500, 5000, 100_000))]
    for pusher in pushers:
        pusher.start()
    yield hub, pushers
    for pusher in pushers:
        pusher.stop()
        assert pusher.failure is None, pusher.failure


def restore(hub, backup, directory):
    other = Hub(directory)
    other.run("restore", backup)
    return other


@pytest.mark.alone
def test_backup_under_load(loaded, git, tmp):
    hub, pushers = loaded
    for turn in range(3):
        base = [pusher.count for pusher in pushers]
        wait.until(lambda: all(pusher.count >= start + 3 for pusher, start in zip(pushers, base)), "pushes are acknowledged")
        before = [(pusher.path, pusher.acknowledged) for pusher in pushers]
        hub.run("backup", tmp / f"backup{turn}")
        hub.run("maintain", "--now")
        other = restore(hub, tmp / f"backup{turn}", tmp / f"restored{turn}")
        other.fsck()
        other.start()
        connection = Connection(other.url, hub.admin_token)
        for number, (path, acknowledged) in enumerate(before):
            tip = connection.refs(path)["refs/heads/main"]
            copy = git.clone(other.git_url(path, hub.admin_token), tmp / f"copy{turn}-{number}.git", "--bare")
            copy("merge-base", "--is-ancestor", acknowledged, tip)
            copy.fsck()
        connection.close()
        other.stop()
        other.check_log()


def test_a_restored_hub_goes_on(loaded, git, tmp):
    hub, pushers = loaded
    wait.until(lambda: all(pusher.count > 2 for pusher in pushers), "pushes are acknowledged")
    hub.run("backup", tmp / "backup")
    other = restore(hub, tmp / "backup", tmp / "restored").start()
    for pusher in pushers:
        path = pusher.path
        work = git.clone(other.git_url(path, hub.admin_token), tmp / path.replace("/", "-"))
        work.commit("after-restore", "yes\n")
        work("push", "-q", "origin", "HEAD")
    other.run("maintain", "--now")
    other.fsck()
    assert other.run("user", "list").stdout == hub.run("user", "list").stdout
    other.stop()


def test_backup_offline(stopped_hub, tmp):
    hub = stopped_hub().start()
    Pusher(hub, hub.repo("admin/r"), hub.admin_token, 1)
    hub.stop()
    hub.run("backup", tmp / "backup")
    other = restore(hub, tmp / "backup", tmp / "restored")
    other.fsck()
    assert "admin/r" in other.run("repo", "list").stdout


def test_what_is_refused(fresh_hub, tmp):
    hub = fresh_hub()
    hub.repo("admin/r")
    hub.run("backup", tmp / "backup")
    again = hub.run("backup", tmp / "backup", check=False)
    assert again.returncode == 1 and "empty" in again.stderr, "never over another backup"
    occupied = Hub(tmp / "occupied")
    occupied.run("restore", tmp / "backup")
    over = occupied.run("restore", tmp / "backup", check=False)
    assert over.returncode == 1 and "already" in over.stderr, "never over data"
    running = hub.run("restore", tmp / "backup", check=False)
    assert running.returncode == 1, "never into a running hub"
    (tmp / "half").mkdir()
    shutil.copyfile(tmp / "backup/granary.db", tmp / "half/granary.db")
    half = Hub(tmp / "from-half").run("restore", tmp / "half", check=False)
    assert half.returncode == 1 and "complete" in half.stderr, "a backup without its mark was cut short"
    nothing = Hub(tmp / "from-nothing").run("restore", tmp / "missing", check=False)
    assert nothing.returncode == 1 and "missing" in nothing.stderr


def test_a_pack_missing_from_a_backup_is_noticed(fresh_hub, tmp):
    hub = fresh_hub()
    connection = Connection(hub.url, hub.admin_token)
    _, tip, pack = History(1, 200_000).next()
    assert connection.push(hub.repo("admin/r"), [(wire.ZERO, tip, "refs/heads/main")], pack).ok
    hub.run("backup", tmp / "backup")
    stored = next(file for file in (tmp / "backup/packs").rglob("*") if file.is_file())
    stored.write_bytes(stored.read_bytes()[:-100])
    done = Hub(tmp / "restored").run("restore", tmp / "backup", check=False)
    assert done.returncode == 1, "a size that its row does not say"
