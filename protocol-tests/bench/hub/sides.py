"""The servers: Granary, and nginx with the same file."""

import contextlib
import sqlite3

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


class Nginx(servers.Nginx):
    """The files of one repository, by their paths."""

    def file_request(self, method, repo, path):
        return calls.request(method, self.href(path), "hf_ignored")
