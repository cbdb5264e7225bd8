"""Servers under test: Granary, and programs that are its peers. All of them run on one core."""

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess

from harness import hub, nginx, wait, wire

import proc

SERVER_CORE, GENERATOR_CORE = 0, 1


class Granary:
    name = "granary"

    def __init__(self, directory, settings=None):
        self.hub = hub.Hub(directory / "granary", settings=settings)

    def start(self):
        with proc.on_core(SERVER_CORE):
            self.hub.start()
        self.token = self.hub.admin_token

    def stop(self):
        if self.hub.process is not None:
            self.hub.stop()

    @property
    def address(self):
        return hub.HOST, self.hub.port

    def cpu_seconds(self):
        return proc.cpu_seconds(self.hub.pid)

    def rss_anon_kib(self):
        return proc.status_kib(self.hub.pid, "RssAnon")

    def stored_bytes(self):
        """(pages of the database that are in use, packs beside it)"""
        rows = sqlite3.connect(f"file:{self.hub.data / 'granary.db'}?mode=ro", uri=True)
        pages, free, size = (
            rows.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
        rows.close()
        packs = sum(file.stat().st_size for file in (self.hub.data / "packs").rglob("*") if file.is_file())
        return (pages - free) * size, packs


class Programs:
    """The processes of a peer, each a group of its own; what they say goes to a file."""

    def __init__(self, directory):
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.processes = []

    def run(self, command, **environment):
        with open(self.directory / "stderr", "ab") as log, proc.on_core(SERVER_CORE):
            self.processes.append(subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **environment}, start_new_session=True))

    def stop(self):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def pids(self):
        return [pid for process in self.processes for pid in proc.tree(process.pid)]


class Nginx(Programs):
    """Files, by sendfile."""

    name = "nginx"

    def __init__(self, directory):
        super().__init__(directory / "nginx")
        self.files = self.directory / "files"
        self.files.mkdir()
        self.port = hub.free_port()

    def start(self):
        self.run(nginx_command(
            self.directory, http="    sendfile on;\n    tcp_nopush on;\n    tcp_nodelay on;\n    keepalive_timeout 600s;\n",
            server=f"    listen {hub.HOST}:{self.port};\n    root {self.files};\n"))
        wait.until(self._answers, "nginx answers", seconds=30)

    def _answers(self):
        with contextlib.suppress(OSError):
            return wire.http(self.href("none")).status == 404

    def href(self, name):
        return f"http://{hub.HOST}:{self.port}/{name}"

    def add(self, name, content):
        (self.files / name).write_bytes(content)

    def cpu_seconds(self):
        return sum(map(proc.cpu_seconds, self.pids()))


class Dd:
    """Writes the same bytes to the same disk and waits until they are there; no network, no hash."""

    name = "dd"

    def __init__(self, directory):
        self.directory = directory / "dd"
        self.directory.mkdir(parents=True)

    def start(self):
        pass

    def stop(self):
        pass

    def write(self, source):
        """(wall seconds, CPU seconds)"""
        target = self.directory / "written"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with proc.on_core(SERVER_CORE):
            done = subprocess.run(
                ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fdatasync"], env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
                capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        target.unlink()
        wall = float(done.stderr.splitlines()[-1].split(", ")[-2].split()[0])
        return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextlib.contextmanager
def running(side):
    """A server that has done nothing yet: memory that earlier rows left behind would hide what this one needs."""
    try:
        side.start()
        yield side
    finally:
        side.stop()


def nginx_command(directory, server, http=""):
    """One worker, nothing outside `directory`. `server` and `http` are what its blocks of these names hold."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    user = "user root;\n" if os.getuid() == 0 else ""
    file = directory / "nginx.conf"
    file.write_text(
        f"{user}pid {directory}/pid;\nerror_log {directory}/error.log;\ndaemon off;\nworker_processes 1;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{\n    access_log {directory}/access.log;\n"
        f"    keepalive_requests 1000000;\n{temporary}{http}    server {{\n{server}    }}\n}}\n")
    return [nginx.binary(), "-p", directory, "-c", file]
