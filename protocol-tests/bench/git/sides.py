"""The two servers, behind one interface: Granary, and git behind nginx."""

import contextlib
import itertools
import mmap
import shutil
import struct
import subprocess
from pathlib import Path

from harness import hub, wait, wire

import proc
import replay
import servers

FCGI_PROCESSES = 64


class Granary(servers.Granary):
    def __init__(self, directory, settings=None):
        super().__init__(directory, settings)
        self.fresh_names = itertools.count()
        self.paths = {}

    def connect(self, push=False, **options):
        return replay.Connection(hub.HOST, self.hub.port, self.token if push else None, **options)

    def url(self, path):
        return self.hub.git_url(path[1:], self.token)

    def add(self, repo):
        """Import it once, for reading; `compact` follows."""
        if repo.name not in self.paths:
            self.paths[repo.name] = f"/{self._import(repo)}"
            self.compact()
        return self.paths[repo.name]

    def compact(self):
        self.hub.run("maintain", "--now", seconds=300)

    def fresh(self, repo):
        """A copy that may be pushed to."""
        return f"/{self._import(repo)}"

    def _import(self, repo):
        name = f"admin/{repo.name.replace('_', '-')}-{next(self.fresh_names)}"
        if repo.commits:
            self.hub.run("repo", "import", repo.path, name, "--public", seconds=300)
        else:
            self.hub.run("repo", "create", name, "--public")
        return name


class Peer(servers.Programs):
    """nginx, fcgiwrap and `git http-backend` of the newest git, over repositories that are packed with bitmaps."""

    name = "peer"

    def __init__(self, directory, git):
        super().__init__(directory / "peer")
        self.repositories = self.directory / "repositories"
        self.repositories.mkdir(parents=True)
        self.git = git
        self.port = hub.free_port()
        self.fresh_names = itertools.count()
        self.paths = {}

    def start(self):
        reap = self.directory / "reap"
        subprocess.run(["cc", "-O2", "-o", reap, Path(__file__).parent / "reap.c"], check=True)
        self.counters_file = self.directory / "counters"
        self.counters_file.write_bytes(bytes(24))
        with open(self.counters_file, "r+b") as file:
            self.counters = mmap.mmap(file.fileno(), 24)
        socket = self.directory / "fcgi.sock"
        self.run([fcgiwrap(), "-c", FCGI_PROCESSES, "-s", f"unix:{socket}"])
        wait.until(socket.exists, "fcgiwrap listens")
        self.run(self._nginx(socket, reap))
        wait.until(self._answers, "nginx answers")
        # The processes that live as long as the server; there are none of git yet.
        self.standing = self.pids()

    def _answers(self):
        """Through all of it: there is no such repository."""
        with contextlib.suppress(OSError):
            return wire.http(f"http://{hub.HOST}:{self.port}/none/info/refs?service=git-upload-pack").status == 404

    def _nginx(self, socket, reap):
        parameters = {
            "SCRIPT_FILENAME": reap, "BENCH_PROGRAM": f"{self.git('--exec-path')}/git-http-backend",
            "BENCH_COUNTERS": self.counters_file, "GIT_PROJECT_ROOT": self.repositories, "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": "$http_git_protocol", "REQUEST_METHOD": "$request_method", "QUERY_STRING": "$query_string",
            "CONTENT_TYPE": "$content_type", "CONTENT_LENGTH": "$content_length", "REMOTE_ADDR": "$remote_addr",
            "REMOTE_USER": "bench", "HTTP_CONTENT_ENCODING": "$http_content_encoding", "HOME": self.directory,
            "PATH": self.git.environment["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": '"*"',
        }
        common = "".join(f"        fastcgi_param {key} {value};\n" for key, value in parameters.items())
        common += f"        fastcgi_pass unix:{socket};\n        fastcgi_read_timeout 300s;\n"
        return servers.nginx_command(
            self.directory,
            f"    listen {hub.HOST}:{self.port};\n    client_max_body_size 0;\n"
            f"    location / {{\n        fastcgi_param PATH_INFO $uri;\n{common}    }}\n"
            "    location ~ ^/unbuffered(/.*)$ {\n        fastcgi_buffering off;\n"
            f"        fastcgi_param PATH_INFO $1;\n{common}    }}\n")

    def connect(self, push=False, **options):
        return replay.Connection(hub.HOST, self.port, **options)

    def url(self, path):
        return f"http://{hub.HOST}:{self.port}{path}"

    def add(self, repo):
        if repo.name not in self.paths:
            self.paths[repo.name] = self.fresh(repo)
        return self.paths[repo.name]

    def compact(self):
        pass

    def fresh(self, repo):
        name = f"{repo.name}-{next(self.fresh_names)}.git"
        shutil.copytree(repo.path, self.repositories / name)
        return f"/{name}"

    def _counters(self):
        """(microseconds of CPU, blocks of 512 bytes written, runs) of the CGI programs that have ended."""
        return struct.unpack("=3Q", self.counters[:24])

    def written_bytes(self):
        """Like proc.write_bytes, of git alone."""
        return self._counters()[1] * 512

    def cpu_seconds(self):
        """nginx and fcgiwrap, and the git processes that have ended."""
        total = self._counters()[0] / 1e6
        for pid in self.standing:
            total += proc.cpu_seconds(pid)
        return total

    def pss_kib(self):
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                if proc.name(pid) != "reap":
                    total += proc.pss_kib(pid)
        return total


def fcgiwrap():
    return shutil.which("fcgiwrap") or "/usr/sbin/fcgiwrap"
