"""Granary with a repository, and what is uploaded to it."""

import shutil
import struct

from harness import api
from harness.xet import BOOKEND, SHA256, TAG, VERIFICATION, Cas, of_text

import objects
import servers
from load import Generator, Request
from servers import Dd

REPO = "admin/bench"


class Granary(servers.Granary):
    def start(self):
        super().start()
        self.hub.repo(REPO)
        self.api = api.HubApi(self.hub.url, self.token)
        self.cas = Cas(self.hub, self.token, f"models/{REPO}")

    def request(self, method, path, file_bytes=0, tail=b"", **headers):
        headers = {"Authorization": f"Bearer {self.cas.given['accessToken']}", **headers}
        return Request(method, self.cas.given["casUrl"] + path, headers, file_bytes, tail)

    def xorb_request(self, made):
        return self.request("POST", f"/v1/xorbs/default/{made.name}", made.stock.file_bytes, made.tail)

    def register(self, terms, hash, oid):
        """A file of whole xorbs, or of (xorb, first chunk, end, verification hash)."""
        terms = [term if isinstance(term, tuple) else (term, 0, objects.CHUNKS, term.range_hash) for term in terms]
        rows = [hash + struct.pack("<IIQ", VERIFICATION | SHA256, len(terms), 0)]
        rows += [xorb.hash + struct.pack("<IIII", 0, (end - start) * objects.CHUNK, start, end) for xorb, start, end, _ in terms]
        rows += [verification + bytes(16) for _, _, _, verification in terms]
        rows.append(of_text(oid) + bytes(16))
        body = TAG + struct.pack("<QQ", 2, 0) + b"".join(rows) + BOOKEND + BOOKEND
        return self.request("POST", "/v1/shards", tail=body)

    def commit(self, path, oid, size):
        answer = self.api.commit(f"models/{REPO}", ("lfsFile", {"path": path, "algo": "sha256", "oid": oid, "size": size}))
        assert answer.status == 200, answer.body

    def drop_xorbs(self):
        """Behind its back: the room is needed again."""
        shutil.rmtree(self.hub.data / "xorbs", ignore_errors=True)


class World:
    def __init__(self, disk, memory, stack):
        self.places = {"disk": disk, "tmpfs": memory}
        self.stack, self.made = stack, {}

    def _once(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _started(self, side):
        self.stack.callback(side.stop)
        side.start()
        return side

    def granary(self, name, place):
        """One for each purpose: what one row deletes behind its back another may need."""
        return self._once((name, place), lambda: self._started(Granary(self.places[place] / name)))

    def dd(self):
        return self._once("dd", lambda: Dd(self.places["disk"]))

    def stock(self, kind):
        return self._once(("stock", kind), lambda: objects.Stock(self.places["tmpfs"], kind))

    def generator(self, kind):
        return self._once(("generator", kind), lambda: Generator(self.places["tmpfs"], self.stock(kind).path))

    def gibibyte(self, kind):
        """(side, size, path) of a file of 16 xorbs that is committed, on a tmpfs."""
        def make():
            side = self.granary("reading", "tmpfs")
            made = [self.stock(kind).made() for _ in range(16)]
            self.generator(kind).run([side.xorb_request(xorb) for xorb in made])
            hash, oid, size = objects.file_of(made)
            self.generator(kind).run([side.register(made, hash, oid)])
            side.commit(f"{kind}.bin", oid, size)
            return side, size, f"/{REPO}/resolve/main/{kind}.bin"
        return self._once(("gibibyte", kind), make)
