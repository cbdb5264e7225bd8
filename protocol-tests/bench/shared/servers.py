"""Servers under test: Granary, and programs that are its peers. All of them run on one core."""

import contextlib
import os
import signal
import subprocess

from harness import hub, nginx

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
