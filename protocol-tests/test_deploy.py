"""deploy/: the unit and the site are valid, and git works through nginx with that site."""

import os
import re
import shutil
import subprocess

import pytest

from harness import nginx, packs, wire
from harness.hub import BINARY, ROOT

needs_nginx = pytest.mark.skipif(not nginx.binary(), reason="nginx is not installed: protocol-tests/run installs it")


def test_systemd_unit(tmp):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    unit = (ROOT / "deploy/granary.service").read_text()
    # verify wants the program to exist
    unit, replaced = re.subn(r"^ExecStart=\S+", f"ExecStart={BINARY}", unit, flags=re.M)
    assert replaced == 1
    file = tmp / "granary.service"
    file.write_text(unit)
    done = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if "granary" in line]
    assert done.returncode == 0 and not ours, done.stderr


def test_the_units_command_is_one_the_program_knows(hub):
    command = re.search(r"^ExecStart=\S+ (.*)$", (ROOT / "deploy/granary.service").read_text(), re.M).group(1).split()
    options = [word for word in command if word.startswith("--")]
    known = subprocess.run([BINARY, command[0], "--help"], capture_output=True, text=True).stdout
    assert all(option in known for option in options), known


def test_dockerfile_copies_what_exists():
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert re.search(r"^FROM ", text, re.M) and "granary" in text
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.M):
        assert source == "." or (ROOT / source).exists(), source
    assert "ca-certificates" in text.rsplit("FROM ", 1)[1], "the slim image has none, and buckets are reached by TLS"


@needs_nginx
def test_nginx_accepts_the_site(tmp):
    done = nginx.check(nginx.configuration(tmp / "nginx", 18080, 18081))
    assert done.returncode == 0, done.stderr


@needs_nginx
def test_git_through_nginx(fresh_hub, any_git, tmp):
    hub = fresh_hub()
    with nginx.in_front_of(hub, tmp / "nginx"):
        assert hub.proxy_port != hub.port
        path, token = hub.repo("admin/proxied"), hub.admin_token
        work = any_git.init(tmp / "work")
        work.commit("big", os.urandom(5 << 20))
        work("push", "-q", hub.git_url(path, token), "main")
        copy = any_git.clone(hub.git_url(path, token), tmp / "copy")
        assert copy("rev-parse", "HEAD") == work("rev-parse", "HEAD")
        copy.fsck()
        assert "could not read Username" in any_git.fails("ls-remote", hub.git_url(path))
        renamed = f"admin/renamed-{any_git('version').split()[-1]}"
        hub.run("repo", "rename", path, renamed)
        location = wire.advertisement(f"{hub.url}/{path}", token=token).headers["location"]
        assert location.startswith(("/", hub.url)), "a redirect leads through the proxy again"
        assert any_git.refs(hub.git_url(path, token)) == any_git.refs(hub.git_url(renamed, token))


@needs_nginx
def test_a_limit_speaks_through_nginx(fresh_hub, git, tmp):
    hub = fresh_hub(settings={"limits.pack_bytes": "1MiB"})
    with nginx.in_front_of(hub, tmp / "nginx"):
        path = hub.repo("admin/limited")
        work = git.init(tmp / "work")
        work.commit("big", os.urandom(4 << 20))
        said = work.fails("push", hub.git_url(path, hub.admin_token), "main")
        assert "limit" in said or "larger" in said, said


@needs_nginx
def test_slow_answers_stream_through_nginx(fresh_hub, tmp):
    """Neither side buffers a whole pack: the first bytes of a clone arrive before the last are taken."""
    hub = fresh_hub()
    with nginx.in_front_of(hub, tmp / "nginx"):
        path, token = hub.repo("admin/stream"), hub.admin_token
        tip, pack = packs.single_commit(content=os.urandom(8 << 20))
        body = wire.push_body([(wire.ZERO, tip, "refs/heads/main")], pack)
        assert wire.parse_push(wire.receive_pack(f"{hub.url}/{path}", body, token=token).body).ok
        with wire.Raw(hub.url) as connection:
            connection.request("POST", f"/{path}/git-upload-pack", {
                "Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2",
                "Authorization": wire.basic(token)}, wire.fetch_body(wants=[tip]))
            assert connection.head()[0] == 200
            connection.exactly(10_000)
        assert sum(file.stat().st_size for file in (tmp / "nginx/proxy").rglob("*") if file.is_file()) < 1 << 20
