"""nginx in front of a hub, with the site of deploy/nginx.conf: only addresses are changed, as a user would."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from . import wait
from .hub import HOST, ROOT, free_port

SITE = ROOT / "deploy/nginx.conf"


def binary():
    return shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx", "/sbin/nginx") if Path(path).exists()), None)


def configuration(directory, port, upstream_port, edit=lambda site: site):
    """A whole nginx.conf that includes the site, as `edit` leaves it; everything nginx writes goes below `directory`."""
    site, replaced = re.subn(r"127\.0\.0\.1:8080", f"{HOST}:{upstream_port}", edit(SITE.read_text()))
    assert replaced >= 1, "the site names the upstream"
    site, replaced = re.subn(r"listen 80;", f"listen {HOST}:{port};", site)
    assert replaced == 1, "the site listens"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "site.conf").write_text(site)
    temporary = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    file = directory / "nginx.conf"
    user = "user root;\n" if os.getuid() == 0 else ""  # whoever runs the tests owns the directory
    file.write_text(
        f"{user}pid {directory}/pid;\nerror_log {directory}/error.log warn;\ndaemon off;\nworker_processes 1;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{\n    access_log off;\n{temporary}    include {directory}/site.conf;\n}}\n")
    return file


def check(file):
    return subprocess.run([binary(), "-t", "-p", str(file.parent), "-c", str(file)], capture_output=True, text=True)


def spooled(directory):
    """What nginx says of bodies that it wrote to its disk, whichever way they went; the files themselves are gone at once."""
    return [line for line in (directory / "error.log").read_text().splitlines() if "buffered to a temporary file" in line]


@contextlib.contextmanager
def in_front_of(hub, directory, edit=lambda site: site):
    """While inside, `hub.url` and `hub.git_url` lead through nginx, with the site as `edit` leaves it."""
    assert binary(), "nginx is not installed"
    port = free_port()
    file = configuration(directory, port, hub.port, edit)
    process = subprocess.Popen([binary(), "-p", str(directory), "-c", str(file)], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        hub.proxy_port = port
        wait.until(hub.is_ready, "nginx answers")
        yield
    finally:
        hub.proxy_port = None
        process.terminate()
        process.wait(10)
