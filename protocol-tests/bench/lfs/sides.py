"""The servers: Granary, rudolfs, nginx; and dd, which is the disk alone."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from harness import hub, wait, wire

import calls
import proc
import servers

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "granary-bench"
RUDOLFS_VERSION = "0.3.8"


class LfsServer:
    """What Granary and rudolfs have in common: the batch, and what it leads to. `connections` fill it."""

    def batch_href(self, repo):
        raise NotImplementedError

    def batch_request(self, repo, operation, rows, transfers=("basic",)):
        return calls.post(self.batch_href(repo), {
            "operation": operation, "transfers": transfers, "ref": {"name": "refs/heads/main"}, "objects": rows, "hash_algo": "sha256",
        }, self.credentials)

    def batch(self, repo, operation, rows, transfers=("basic",)):
        """The rows of the answer; none is an error."""
        request = self.batch_request(repo, operation, rows, transfers)
        answer = wire.http(request.href, request.tail, method="POST", headers=request.headers)
        assert answer.status == 200, (answer.status, answer.text()[:500])
        answered = json.loads(answer.body)["objects"]
        assert len(answered) == len(rows) and not any("error" in row for row in answered), answered[:3]
        return answered

    def actions(self, repo, operation, rows):
        answered = self.batch(repo, operation, rows)
        assert all(row.get("actions") for row in answered), f"{self.name} has these already, or does not have them"
        return [row["actions"] for row in answered]

    def put_request(self, repo, object):
        """To upload an object of a Source."""
        oid, size, tail = object
        actions, = self.actions(repo, "upload", [{"oid": oid, "size": size}])
        return calls.put(actions["upload"], size - len(tail), tail)

    def get_requests(self, repo, rows):
        return [calls.get(actions["download"]) for actions in self.actions(repo, "download", rows)]

    def fill(self, generator, repo, pairs, at_once=1000):
        """Uploads small objects as clients do, several at a time."""
        for start in range(0, len(pairs), at_once):
            contents = dict(pairs[start : start + at_once])
            answered = self.batch(repo, "upload", [{"oid": oid, "size": len(content)} for oid, content in contents.items()])
            missing = [row for row in answered if row.get("actions")]
            generator.run([calls.put(row["actions"]["upload"], 0, contents[row["oid"]]) for row in missing], connections=16)
            generator.run([calls.post(row["actions"]["verify"]["href"], {"oid": row["oid"], "size": row["size"]},
                                     row["actions"]["verify"].get("header")) for row in missing if "verify" in row["actions"]], connections=16)

    def check(self, repo, row):
        """That what it sends is the object."""
        request, = self.get_requests(repo, [row])
        answer = wire.http(request.href, headers=request.headers)
        assert answer.status == 200 and hashlib.sha256(answer.body).hexdigest() == row["oid"], answer.status


class Granary(LfsServer, servers.Granary):
    def start(self):
        super().start()
        self.credentials = {"Authorization": wire.basic(self.token)}

    def create(self, repo):
        self.hub.repo(f"admin/{repo}")

    def batch_href(self, repo):
        return f"{self.hub.url}/admin/{repo}.git/info/lfs/objects/batch"

    def drop(self, oid):
        """Behind its back: the room is needed again."""
        shutil.rmtree(self.hub.data / "objects" / oid[:2] / oid)


class Rudolfs(LfsServer, servers.Programs):
    """On the local disk, without encryption, which would cost it time."""

    name, credentials = "rudolfs", {}

    def __init__(self, directory):
        super().__init__(directory / "rudolfs")
        self.objects = self.directory / "objects"
        self.port = hub.free_port()

    def start(self):
        self.run([rudolfs(), "--host", f"{hub.HOST}:{self.port}", "--log-level", "info", "local", "--path", self.objects])
        wait.until(self._answers, "rudolfs answers", seconds=30)

    def _answers(self):
        with contextlib.suppress(OSError):
            return wire.http(f"http://{hub.HOST}:{self.port}/").status > 0

    def create(self, repo):
        pass

    def batch_href(self, repo):
        return f"http://{hub.HOST}:{self.port}/api/bench/{repo}/objects/batch"

    def drop(self, oid):
        file, = self.objects.rglob(oid)
        file.unlink()

    def cpu_seconds(self):
        return sum(map(proc.cpu_seconds, self.pids()))


class Plain(servers.Programs):
    """plain.py"""

    name = "plain"

    def __init__(self, directory):
        super().__init__(directory / "plain")
        self.port = hub.free_port()

    def start(self):
        self.run([sys.executable, Path(__file__).with_name("plain.py"), self.port, self.directory])
        wait.until(self._answers, "plain.py listens", seconds=10)

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection((hub.HOST, self.port)):
            return True

    def put_request(self, repo, object):
        _, size, tail = object
        return calls.put({"href": f"http://{hub.HOST}:{self.port}/"}, size - len(tail), tail)

    def create(self, repo):
        pass

    def drop(self, oid):
        pass

    def cpu_seconds(self):
        return sum(map(proc.cpu_seconds, self.pids()))


class Nginx(servers.Nginx):
    """Objects by their ids."""

    def add_file(self, oid, path):
        shutil.copyfile(path, self.files / oid)

    def get_requests(self, repo, rows):
        return [calls.get({"href": self.href(row["oid"])}) for row in rows]


def rudolfs():
    """The program; built once, into a cache, with a target directory of its own."""
    binary = CACHE / "bin/rudolfs"
    if not binary.exists():
        print(f"building rudolfs {RUDOLFS_VERSION} into {CACHE} (about five minutes)", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["cargo", "install", "rudolfs", "--version", RUDOLFS_VERSION, "--locked", "--quiet", "--root", CACHE],
            cwd=CACHE, env={**os.environ, "CARGO_TARGET_DIR": str(CACHE / "target")}, check=True)
        shutil.rmtree(CACHE / "target", ignore_errors=True)
    return binary
