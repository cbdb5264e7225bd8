"""Pushers that know what was acknowledged: small packs made in memory, pushed over kept-alive connections."""

import http.client
import random
import threading
import time
from urllib.parse import urlsplit

from . import packs, wire


class Connection:
    """One kept-alive connection; every call is one request."""

    def __init__(self, hub_url, token=None, seconds=60):
        parts = urlsplit(hub_url)
        self.http = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
        self.headers = {"Authorization": wire.basic(token)} if token else {}

    def post(self, path, service, body, **headers):
        self.http.request("POST", f"/{path}/{service}", body, {
            **self.headers, "Content-Type": f"application/x-{service}-request", **headers})
        answer = self.http.getresponse()
        return answer.status, answer.read()

    def get(self, target, **headers):
        self.http.request("GET", target, headers={**self.headers, **headers})
        answer = self.http.getresponse()
        return answer.status, answer.read()

    def push(self, path, updates, pack=b"", **options):
        status, body = self.post(path, "git-receive-pack", wire.push_body(updates, pack, **options))
        return wire.parse_push(body) if status == 200 else wire.Pushed(error=f"HTTP {status} {body[:200]!r}")

    def refs(self, path, *arguments):
        status, body = self.post(path, "git-upload-pack", wire.ls_refs_body(*(arguments or ("ref-prefix refs/",))),
                                 **{"Git-Protocol": "version=2"})
        assert status == 200, (status, body[:200])
        rows = [row.decode().split() for row in wire.Answer(status, {}, body).packets() if row]
        return {name: oid for oid, name, *_ in rows}

    def fetch(self, path, *arguments, **options):
        status, body = self.post(path, "git-upload-pack", wire.fetch_body(*arguments, **options), **{"Git-Protocol": "version=2"})
        assert status == 200, (status, body[:200])
        return wire.parse_fetch(body)

    def close(self):
        self.http.close()


class History:
    """A growing line of commits: `next()` gives (old tip, new tip, pack of what is new).

    Every commit says in its subject how many there are, rewrites a file and keeps the files before it, so that a lost
    pack breaks later commits.
    """

    def __init__(self, seed, size=1000):
        self.random = random.Random(seed)
        self.size = size
        self.tip = wire.ZERO
        self.count = 0
        self.length = 0
        self.rows = {}

    def next(self):
        builder = packs.Builder()
        self.count += 1
        content = self.random.randbytes(self.size)
        name = f"f{self.count % 20:02d}"
        rows = {**self.rows, name: builder.add("blob", content)}
        root = builder.add("tree", packs.tree(*(("100644", key, rows[key]) for key in sorted(rows))))
        parents = [] if self.tip == wire.ZERO else [self.tip]
        commit = builder.add("commit", packs.commit(root, *parents, when=1_700_000_000 + self.count, message=f"{self.length + 1}\n"))
        self.pending_rows = rows
        return self.tip, commit, builder.pack()

    def moved(self, commit):
        self.tip, self.rows = commit, self.pending_rows
        self.length += 1


class Pusher(threading.Thread):
    """Pushes one history to one ref until told to stop or until the server goes away.

    `acknowledged` is the last tip the server said ok to; `sent` the one on its way when it ended, if any.
    """

    def __init__(self, hub, path, token, seed, ref="refs/heads/main", size=1000, history=None):
        super().__init__(daemon=True)
        self.hub, self.path, self.token, self.ref = hub, path, token, ref
        self.history = history or History(seed, size)
        self.acknowledged = self.history.tip
        self.sent = None
        self.count = 0
        self.failure = None
        self.finish = threading.Event()

    def run(self):
        try:
            connection = Connection(self.hub.url, self.token)
            while not self.finish.is_set():
                old, new, pack = self.history.next()
                self.sent = new
                result = connection.push(self.path, [(old, new, self.ref)], pack)
                if not result.ok:
                    self.failure = result
                    return
                self.history.moved(new)
                self.acknowledged, self.sent = new, None
                self.count += 1
        except (OSError, http.client.HTTPException):
            pass  # the server was killed: what is in `sent` may have been applied or not

    def stop(self):
        self.finish.set()
        self.join(60)
        assert not self.is_alive()


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
