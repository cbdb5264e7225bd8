"""The command line: over the control socket while the server runs, by itself otherwise; one owner of a data directory."""

import sqlite3
import stat
import subprocess

import pytest

from harness import wait, wire
from harness.hub import BINARY, HOST, free_port
from harness.load import Connection, History


@pytest.fixture(params=["online", "offline"])
def either_way(request, stopped_hub):
    """A hub whose commands go through the server, or a data directory without one."""
    hub = stopped_hub(debug=True).start()
    if request.param == "offline":
        hub.stop()
    yield hub
    if hub.process:
        hub.stop()


def test_users_tokens_repositories(either_way):
    hub = either_way
    hub.run("user", "create", "dora")
    hub.run("user", "create", "root2", "--admin")
    assert [line.split("\t")[:3] for line in hub.run("user", "list").stdout.splitlines()] == [
        ["admin", "admin", "active"], ["dora", "user", "active"], ["root2", "admin", "active"]]
    assert hub.run("user", "create", "DORA", check=False).returncode == 1
    token = hub.token("dora", "read")
    listed = hub.run("token", "list", "dora").stdout
    assert token not in listed and "read" in listed
    hub.run("token", "revoke", listed.split()[0])
    assert "revoked" in hub.run("token", "list", "dora").stdout
    hub.repo("dora/one")
    hub.repo("datasets/dora/two", public=True)
    assert [line.split("\t")[:2] for line in hub.run("repo", "list").stdout.splitlines()] == [
        ["dora/one", "private"], ["datasets/dora/two", "public"]]
    hub.run("repo", "rename", "dora/one", "root2/uno")
    assert hub.run("repo", "rename", "datasets/dora/two", "dora/two", check=False).returncode == 1, "a kind is for ever"
    hub.run("repo", "delete", "root2/uno")
    hub.repo("root2/uno")
    hub.run("user", "disable", "dora")
    assert "disabled" in hub.run("user", "list").stdout
    hub.run("user", "enable", "dora")
    assert "disabled" not in hub.run("user", "list").stdout


def test_whole_house_commands(either_way, tmp):
    hub = either_way
    hub.repo("admin/x")
    assert "no problems" in hub.fsck()
    hub.run("gc", "--dry-run")
    hub.run("gc")
    hub.run("maintain")
    hub.run("maintain", "--now")
    doctor = hub.run("doctor", check=False)
    for word in ("schema", "SQLite", "free", "clock", "blob_bytes", "granary"):
        assert word in doctor.stdout, doctor.stdout
    hub.run("backup", tmp / "backup")
    assert (tmp / "backup").is_dir()
    assert len(hub.run("debug", "faults").stdout.splitlines()) >= 13


def test_exit_codes_and_messages(either_way):
    hub = either_way
    for arguments, code, words in (
        (["repo", "delete", "admin/none"], 1, "admin/none"), (["token", "create", "nobody", "--role", "read"], 1, "nobody"),
        (["token", "revoke", "99999"], 1, "99999"), (["user", "disable", "nobody"], 1, "nobody"), (["repo", "create", "nobody/x"], 1, "nobody"),
        (["nonsense"], 2, "nonsense"), (["repo", "create", "one"], 2, "one"), (["token", "create", "admin"], 2, "--role"),
        (["fsck", "--repo", "admin/none"], 1, "admin/none"), (["repo", "export", "admin/none", "/tmp/x"], 1, "admin/none")):
        done = hub.run(*arguments, check=False)
        assert done.returncode == code and words in done.stderr and not done.stdout, (arguments, done)
        assert "panicked" not in done.stderr


def test_import_of_a_known_token(either_way):
    hub = either_way
    hub.run("user", "create", "eve")
    value = "any-old-form:of/token_1234567890"
    hub.run("token", "create", "eve", "--role", "write", "--import", input=value + "\n")
    if not hub.process:
        hub.start()
    hub.repo("eve/r")
    assert wire.advertisement(f"{hub.url}/eve/r", token=value).status == 200
    hub.run("token", "revoke", "--stdin", input=value)
    assert wire.advertisement(f"{hub.url}/eve/r", token=value).status == 401


def test_a_second_server_is_refused(fresh_hub):
    hub = fresh_hub()
    again = subprocess.run([BINARY, "serve", "--data-dir", hub.data, "--listen", f"{HOST}:{free_port()}"],
                           capture_output=True, text=True, timeout=30, env=hub._environment())
    assert again.returncode == 1
    assert "in use" in again.stderr and str(hub.pid) in again.stderr and str(hub.data) in again.stderr
    assert hub.is_ready()


def test_a_taken_port_is_said(fresh_hub, tmp):
    hub = fresh_hub()
    again = subprocess.run([BINARY, "serve", "--data-dir", tmp / "other", "--listen", f"{HOST}:{hub.port}"],
                           capture_output=True, text=True, timeout=30, env=hub._environment())
    assert again.returncode != 0 and str(hub.port) in again.stderr


def test_a_newer_schema_is_refused(stopped_hub):
    hub = stopped_hub().start()
    hub.stop()
    with sqlite3.connect(hub.data / "granary.db") as rows:
        version = rows.execute("pragma user_version").fetchone()[0]
        rows.execute(f"pragma user_version = {version + 1}")
    rows.close()
    for arguments in (["user", "list"], ["serve", "--listen", f"{HOST}:{free_port()}"]):
        done = hub.run(*arguments, check=False, seconds=30)
        assert done.returncode != 0 and "newer" in done.stderr and str(version + 1) in done.stderr, done.stderr


def test_commands_do_not_create_a_data_directory_by_mistake(stopped_hub, tmp):
    hub = stopped_hub()
    done = hub.run("user", "list", data=tmp / "typo", check=False)
    assert done.returncode == 1 and "typo" in done.stderr and not (tmp / "typo").exists()


def test_permissions(fresh_hub):
    hub = fresh_hub()
    assert stat.S_IMODE(hub.data.stat().st_mode) == 0o700
    control = hub.data / "control.sock"
    assert stat.S_ISSOCK(control.stat().st_mode) and stat.S_IMODE(control.stat().st_mode) == 0o600
    for file in hub.data.rglob("*"):
        assert file.is_dir() or not stat.S_IMODE(file.stat().st_mode) & 0o022, f"{file} can be written by others"


def test_a_long_path(stopped_hub, tmp):
    """Longer than a socket address holds."""
    hub = stopped_hub()
    hub.data = tmp / ("d" * 100) / ("e" * 100) / "data"
    hub.data.parent.mkdir(parents=True)
    hub.start()
    hub.repo("admin/x")
    assert "admin/x" in hub.run("repo", "list").stdout
    hub.stop()
    assert "admin/x" in hub.run("repo", "list").stdout


def test_a_stale_socket_is_no_obstacle(stopped_hub):
    hub = stopped_hub().start()
    hub.kill()
    assert (hub.data / "control.sock").exists()
    hub.run("user", "list")
    hub.start()
    hub.run("user", "list")
    hub.stop()


def test_configuration(stopped_hub, tmp):
    hub = stopped_hub()
    file = tmp / "granary.toml"
    port = free_port()
    file.write_text(f'[storage]\ndata_dir = "below"\nmin_free = "64MiB"\n[limits]\nblob_bytes = "3MiB"\n[server]\nlisten = "{HOST}:{port}"\n')

    def doctor(**environment):
        return subprocess.run([BINARY, "doctor", "--config", file], capture_output=True, text=True, cwd="/",
                              env={"PATH": "", **environment})

    process = subprocess.Popen([BINARY, "serve", "--config", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": ""})
    try:
        hub.port = port
        wait.until(lambda: _ready(hub), "ready")
        assert (tmp / "below/granary.db").exists(), "relative to the file"
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert "3" in next(row for row in doctor().stdout.splitlines() if "blob_bytes" in row)
    assert "5" in next(row for row in doctor(GRANARY__LIMITS__BLOB_BYTES="5MiB").stdout.splitlines() if "blob_bytes" in row)
    for environment in ({"GRANARY__LIMITS__NO_SUCH": "1"}, {"GRANARY__NONE__X": "1"}, {"GRANARY__LIMITS__BLOB_BYTES": "many"}):
        done = doctor(**environment)
        assert done.returncode == 2 and next(iter(environment)).split("__")[-1].lower() in done.stderr.lower(), done.stderr
    file.write_text("[limits]\nblob_byte = 1\n")
    assert doctor().returncode == 2 and "blob_byte" in doctor().stderr


def _ready(hub):
    try:
        return wire.http(f"{hub.url}/readyz", seconds=5).status == 200
    except OSError:
        return False


def test_settings_that_change_who_may_read(fresh_hub):
    hub = fresh_hub(settings={"auth.anonymous_read": "false", "repos.default_visibility": "public"})
    hub.run("repo", "create", "admin/open")
    assert wire.advertisement(f"{hub.url}/admin/open").status == 401
    assert wire.advertisement(f"{hub.url}/admin/open", token=hub.user("frank")).status == 200


def test_metrics_on_their_own_listener(fresh_hub):
    port = free_port()
    hub = fresh_hub(settings={"server.metrics_listen": f"{HOST}:{port}"})
    assert "# TYPE" in wire.http(f"{hub.probe_url}/metrics").text()
    assert wire.http(f"{hub.probe_url}/healthz").status == 200
    assert wire.http(f"{hub.url}/metrics").status in (401, 404)


def test_public_url_is_used(fresh_hub):
    hub = fresh_hub(settings={"server.public_url": "https://hub.example.com"})
    wait.until(lambda: "https://hub.example.com" in "".join(hub.stdout), "printed")
    hub.repo("admin/a", public=True)
    hub.run("repo", "rename", "admin/a", "admin/b")
    location = wire.advertisement(f"{hub.url}/admin/a").headers["location"]
    assert location.startswith(("/", "https://hub.example.com/"))


def test_delete_hides_at_once_and_frees_the_bytes_later(fresh_hub):
    hub = fresh_hub(debug=True)
    path, connection = hub.repo("admin/big"), Connection(hub.url, hub.admin_token)
    history = History(1, 300_000)
    for _ in range(3):
        old, new, pack = history.next()
        assert connection.push(path, [(old, new, "refs/heads/main")], pack).ok
        history.moved(new)
    before = stored_bytes(hub)
    assert before > 900_000
    hub.run("repo", "delete", path)
    assert wire.advertisement(f"{hub.url}/{path}", token=hub.admin_token).status == 404
    for _ in range(2):
        hub.run("debug", "clock", "+30d")
        hub.run("maintain", "--now")
    wait.until(lambda: stored_bytes(hub) == 0, "its packs are deleted")
    hub.fsck()


def stored_bytes(hub):
    return sum(file.stat().st_size for file in (hub.data / "packs").rglob("*") if file.is_file())


def test_collection_keeps_for_its_retention_and_purges_on_demand(fresh_hub):
    hub = fresh_hub(debug=True)
    path, connection = hub.repo("admin/gc"), Connection(hub.url, hub.admin_token)
    keep, secret = History(1, 100_000), History(2, 200_000)
    _, kept, pack = keep.next()
    assert connection.push(path, [(wire.ZERO, kept, "refs/heads/main")], pack).ok

    def push_and_delete(ref):
        _, gone, data = secret.next()
        assert connection.push(path, [(wire.ZERO, gone, ref)], data).ok
        assert connection.push(path, [(gone, wire.ZERO, ref)]).ok
        return gone

    gone = push_and_delete("refs/heads/gone")
    hub.run("gc")
    assert not connection.fetch(path, wants=[gone]).error, "younger than the retention"
    hub.run("debug", "clock", "+15d")
    hub.run("gc", "--dry-run")
    assert not connection.fetch(path, wants=[gone]).error, "a dry run drops nothing"
    hub.run("gc")
    assert f"not our ref {gone}" in connection.fetch(path, wants=[gone]).error

    again = push_and_delete("refs/heads/secret")
    assert not connection.fetch(path, wants=[again]).error
    hub.run("gc", "--purge", path)
    assert f"not our ref {again}" in connection.fetch(path, wants=[again]).error, "cached answers are gone too"
    assert connection.fetch(path, wants=[kept]).pack
    hub.run("debug", "clock", "+15d")
    hub.run("maintain", "--now")
    wait.until(lambda: stored_bytes(hub) < 200_000, "the bytes are deleted")
    hub.fsck()


def test_small_idle_repositories_become_one_pack(fresh_hub):
    """By the clock alone: the background does it once a repository has been idle for a while."""
    hub = fresh_hub(debug=True)
    path, connection = hub.repo("admin/idle"), Connection(hub.url, hub.admin_token)
    history = History(1, 2000)
    for _ in range(20):
        old, new, pack = history.next()
        assert connection.push(path, [(old, new, "refs/heads/main")], pack).ok
        history.moved(new)
    before = connection.fetch(path, "ofs-delta", wants=[history.tip]).pack
    hub.run("debug", "clock", "+5m")

    def live_packs():
        with sqlite3.connect(f"file:{hub.data}/granary.db?mode=ro", uri=True) as rows:
            return rows.execute("select count(*), min(closure) from pack where state = 1").fetchone()

    wait.until(lambda: live_packs() == (1, 1), "one pack that is exactly the closure", seconds=30)
    after = connection.fetch(path, "ofs-delta", wants=[history.tip]).pack
    assert len(after) <= len(before) * 1.1


def test_the_clock_moves_only_for_tests(fresh_hub):
    hub = fresh_hub()
    done = hub.run("debug", "clock", "+1d", check=False)
    assert done.returncode == 1 and "GRANARY_DEBUG" in done.stderr


def test_rows_can_be_rebuilt_from_packs_and_manifests(stopped_hub, git, tmp):
    hub = stopped_hub(debug=True).start()
    connection, expected = Connection(hub.url, hub.admin_token), {}
    for number, size in enumerate((500, 3000, 100_000)):
        path = hub.repo(f"datasets/admin/m{number}")
        history = History(number, size)
        for _ in range(4):
            old, new, pack = history.next()
            assert connection.push(path, [(old, new, "refs/heads/main"), (old, new, "refs/tags/t")], pack).ok
            history.moved(new)
        expected[path] = connection.refs(path)
    hub.run("maintain", "--now")
    hub.stop()
    hub.rebuild()
    hub.fsck()
    token = hub.token("admin")
    hub.start()
    rebuilt = Connection(hub.url, token)
    for path, refs in expected.items():
        assert rebuilt.refs(path) == refs
        git.clone(hub.git_url(path, token), tmp / path.replace("/", "-"), "--bare").fsck()
    hub.stop()


def test_shutdown_is_prompt_and_clean(stopped_hub):
    """Open idle connections do not hold it up."""
    hub = stopped_hub().start()
    idle = [wire.Raw(hub.url) for _ in range(20)]
    for connection in idle[:10]:
        connection.request("GET", "/healthz")
        connection.answer()
    hub.stop(seconds=10)
    for connection in idle:
        connection.socket.close()
