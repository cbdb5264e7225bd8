"""The servers: Granary, and nginx with the same file."""

import contextlib
import resource
import sqlite3
import subprocess

from harness import api

import calls
import servers

OWNER = "admin"


class Granary(servers.Granary):
    def start(self):
        super().start()
        self.api = api.HubApi(self.hub.url, self.token)

    def request(self, method, path, body=b"", **headers):
        return calls.request(method, self.hub.url + path, self.token, body, **headers)

    def create(self, name):
        answer = self.api.create(f"{OWNER}/{name}")
        assert answer.status == 200, answer.body
        return f"{OWNER}/{name}"

    def commit(self, repo, files):
        """{path: content} in one commit."""
        answer = self.api.commit(f"models/{repo}", *(api.file(path, content) for path, content in files.items()))
        assert answer.status == 200, answer.body[:500]

    def commit_request(self, repo, files):
        return self.request("POST", f"/api/models/{repo}/commit/main", calls.commit_body(files), content_type="application/x-ndjson")

    def compact(self):
        self.hub.run("maintain", "--now", seconds=300)

    def packs_bytes(self):
        """Of all packs, wherever they are."""
        with contextlib.closing(sqlite3.connect(f"file:{self.hub.data / 'granary.db'}?mode=ro", uri=True)) as rows:
            return rows.execute("SELECT sum(bytes) FROM pack").fetchone()[0]

    def file_request(self, method, repo, path):
        return self.request(method, f"/{repo}/resolve/main/{path}")


class Git:
    """The same history as git has it, and asked of git: a process for each question."""

    name = "git"

    def __init__(self, directory):
        self.directory = directory / "history.git"

    def start(self):
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", self.directory], check=True)

    def stop(self):
        pass

    def fill(self, stream):
        """`stream` is what fast-import takes; packed well, and with a commit-graph that knows which paths each commit changed."""
        self("fast-import", "--quiet", input=b"".join(stream))
        self("repack", "-adq")
        self("commit-graph", "write", "--reachable", "--changed-paths")

    def __call__(self, *arguments, **options):
        done = subprocess.run(["git", "-C", self.directory, *arguments], check=True, stdout=subprocess.PIPE, **options)
        return done.stdout.decode().strip()

    def cpu_seconds(self):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime


class Nginx(servers.Nginx):
    """The files of one repository, by their paths."""

    def file_request(self, method, repo, path):
        return calls.request(method, self.href(path), "hf_ignored")
