"""Xet by hand: hashes, xorbs, shards, and the calls of a client, which may lie in any of them.

Servers do not care where a client cuts its chunks, so these are all of one size.
"""

import contextlib
import struct
import sys
import time
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from . import lfs, wire
from .api import Answer, HubApi
from .hf import CLIENTS

sys.path.append(str(CLIENTS / "xet-codec"))
import lz4.frame  # noqa: E402
from blake3 import blake3  # noqa: E402

DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
VERIFICATION_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
ZERO = bytes(32)
CHUNK = 64 * 1024
CHUNK_MAX = 128 * 1024
XORB_MAX = 64 * 1024 * 1024

NONE, LZ4, BG4 = range(3)
FIRST_OF_FILE = 1 << 31
VERIFICATION, SHA256 = 1 << 31, 1 << 30
RECORD = 48
BOOKEND = b"\xff" * 32 + bytes(16)
TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")


# -- hashes -------------------------------------------------------------------------------------------------------


def text(value):
    """As paths and JSON have it: each group of eight bytes backwards."""
    return "".join(value[at : at + 8][::-1].hex() for at in range(0, 32, 8))


def of_text(name):
    value = bytes.fromhex(name)
    return b"".join(value[at : at + 8][::-1] for at in range(0, 32, 8))


def chunk_hash(data):
    return blake3(data, key=DATA_KEY).digest()


def keyed(value, key):
    """What a chunk's hash is in an answer to a question for chunks."""
    return blake3(value, key=key).digest()


def merkle(leaves):
    """The root over (hash, length)."""
    level = list(leaves)
    if not level:
        return ZERO
    while len(level) > 1:
        above, at = [], 0
        while at < len(level):
            group = level[at : at + _group(level[at : at + 9])]
            lines = "".join(f"{text(value)} : {length}\n" for value, length in group)
            above.append((blake3(lines.encode(), key=NODE_KEY).digest(), sum(length for _, length in group)))
            at += len(group)
        level = above
    return level[0][0]


def _group(level):
    if len(level) <= 2:
        return len(level)
    for at in range(2, len(level)):
        if struct.unpack("<Q", level[at][0][24:])[0] % 4 == 0:
            return at + 1
    return len(level)


def file_hash(leaves):
    return blake3(merkle(leaves), key=ZERO).digest() if leaves else ZERO


def range_hash(hashes):
    return blake3(b"".join(hashes), key=VERIFICATION_KEY).digest()


def _crc64_row(value):
    for _ in range(8):
        value = value >> 1 ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
    return value


CRC64 = [_crc64_row(byte) for byte in range(256)]


def crc64(data):
    """CRC-64/NVME, by which clients announce a xorb."""
    value = (1 << 64) - 1
    for byte in data:
        value = value >> 8 ^ CRC64[(value ^ byte) & 255]
    return value ^ (1 << 64) - 1


# -- xorbs --------------------------------------------------------------------------------------------------------


def packed(data, scheme):
    """A chunk as it is in a xorb."""
    if scheme == BG4:
        data, raw = b"".join(data[plane::4] for plane in range(4)), data
    else:
        raw = data
    body = data if scheme == NONE else lz4.frame.compress(data)
    return header(len(body), scheme, len(raw)) + body


def header(packed_length, scheme, raw_length, version=0):
    return bytes([version]) + packed_length.to_bytes(3, "little") + bytes([scheme]) + raw_length.to_bytes(3, "little")


def unpacked(data):
    """The chunks that these bytes of a xorb are."""
    found, at = [], 0
    while at < len(data):
        length, scheme, raw = int.from_bytes(data[at + 1 : at + 4], "little"), data[at + 4], int.from_bytes(data[at + 5 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if scheme != NONE:
            body = lz4.frame.decompress(body)
        if scheme == BG4:
            planes, body, start = body, bytearray(raw), 0
            for plane in range(4):
                size = len(range(plane, raw, 4))
                body[plane::4] = planes[start : start + size]
                start += size
        assert len(body) == raw
        found.append(bytes(body))
        at += 8 + length
    return found


@dataclass(frozen=True)
class Xorb:
    """Chunks that go together."""

    chunks: tuple
    scheme: int = NONE

    @staticmethod
    def of(data, size=CHUNK, scheme=NONE):
        return Xorb(tuple(data[at : at + size] for at in range(0, len(data), size)), scheme)

    @property
    def leaves(self):
        return [(chunk_hash(chunk), len(chunk)) for chunk in self.chunks]

    @property
    def hash(self):
        return merkle(self.leaves)

    @property
    def name(self):
        return text(self.hash)

    @property
    def raw_length(self):
        return sum(map(len, self.chunks))

    @property
    def body(self):
        return b"".join(packed(chunk, self.scheme) for chunk in self.chunks)

    def footer(self, hashes=None):
        """As older clients append it; `hashes`: those that it claims."""
        hashes = hashes or [value for value, _ in self.leaves]
        ends, raw_ends, at, raw_at = [], [], 0, 0
        for chunk in self.chunks:
            at, raw_at = at + len(packed(chunk, self.scheme)), raw_at + len(chunk)
            ends.append(at)
            raw_ends.append(raw_at)
        count = len(self.chunks)
        first = b"XETBLOB\1" + self.hash
        second = b"XBLBHSH\0" + struct.pack("<I", count) + b"".join(hashes)
        third = b"XBLBBND\1" + struct.pack("<I", count) + struct.pack(f"<{2 * count}I", *ends, *raw_ends)
        tail = struct.pack("<III", count, len(second) + len(third) + 28, len(third) + 28) + bytes(16)
        footer = first + second + third + tail
        return footer + struct.pack("<I", len(footer))

    def record(self):
        """Of a shard."""
        rows, at = [], 0
        for number, (value, length) in enumerate(self.leaves):
            rows.append(value + struct.pack("<IIII", at, length, 0 if number else FIRST_OF_FILE, 0))
            at += length
        return self.hash + struct.pack("<IIII", 0, len(rows), at, len(self.body)) + b"".join(rows)


# -- shards -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """Chunks of a xorb. What is given besides is said instead of the truth."""

    xorb: Xorb
    start: int = 0
    end: int = None
    says_xorb: bytes = None
    says_range: tuple = None
    says_length: int = None
    says_hash: bytes = None

    @property
    def chunks(self):
        return self.xorb.chunks[self.start : self.end]

    @property
    def leaves(self):
        return self.xorb.leaves[self.start : self.end]

    def row(self):
        start, end = self.says_range or (self.start, len(self.xorb.chunks) if self.end is None else self.end)
        length = sum(map(len, self.chunks)) if self.says_length is None else self.says_length
        return (self.says_xorb or self.xorb.hash) + struct.pack("<IIII", 0, length, start, end)

    def verification(self):
        return (self.says_hash or range_hash([value for value, _ in self.leaves])) + bytes(16)


@dataclass(frozen=True)
class File:
    """Made of terms. What is given besides is said instead of the truth; `flags` leave records out."""

    terms: tuple
    says_hash: bytes = None
    says_sha256: str = None
    flags: int = VERIFICATION | SHA256

    @staticmethod
    def of(data, **options):
        """All in one xorb of its own."""
        return File((Term(Xorb.of(data, **options)),))

    def saying(self, **what):
        return replace(self, **what)

    @property
    def data(self):
        return b"".join(chunk for term in self.terms for chunk in term.chunks)

    @property
    def hash(self):
        return file_hash([leaf for term in self.terms for leaf in term.leaves])

    @property
    def name(self):
        return text(self.hash)

    @property
    def oid(self):
        return self.says_sha256 or lfs.oid(self.data)

    @property
    def xorbs(self):
        return list(dict.fromkeys(term.xorb for term in self.terms))

    def record(self):
        rows = [(self.says_hash or self.hash) + struct.pack("<IIQ", self.flags, len(self.terms), 0), *(term.row() for term in self.terms)]
        if self.flags & VERIFICATION:
            rows += [term.verification() for term in self.terms]
        if self.flags & SHA256:
            rows.append(of_text(self.oid) + bytes(16))
        return b"".join(rows)


def shard(*files, xorbs=(), footer=0, tail=b""):
    """`footer` is what the head claims, `tail` what really follows."""
    head = TAG + struct.pack("<QQ", 2, footer)
    return head + b"".join(file.record() for file in files) + BOOKEND + b"".join(xorb.record() for xorb in xorbs) + BOOKEND + tail


@dataclass(frozen=True)
class Known:
    """The answer to a question for a chunk."""

    key: bytes
    expires: int
    xorbs: dict  # name -> the keyed hashes of its chunks

    @staticmethod
    def of(answer):
        assert answer[:32] == TAG and struct.unpack("<QQ", answer[32:48]) == (2, 200)
        assert answer[48:96] == BOOKEND, "no files"
        xorbs, at = {}, 96
        while answer[at : at + 32] != BOOKEND[:32]:
            name, (_, count, _, _) = text(answer[at : at + 32]), struct.unpack("<IIII", answer[at + 32 : at + 48])
            xorbs[name] = [answer[at + RECORD * row : at + RECORD * row + 32] for row in range(1, count + 1)]
            at += RECORD * (count + 1)
        footer = answer[at + 48 :]
        assert len(footer) == 200 and struct.unpack("<Q", footer[:8]) == (1,)
        created, expires = struct.unpack("<QQ", footer[104:120])
        assert created < expires
        return Known(footer[72:104], expires, xorbs)


# -- a client -----------------------------------------------------------------------------------------------------


class Cas(HubApi):
    """The CAS for one repository or bucket, as the user with `token` reaches it; `repo` is as in the API: models/alice/x, buckets/alice/x."""

    def __init__(self, hub, token, repo, scope="write", revision="main"):
        self.hub, self.repo = HubApi(hub.url, token), repo
        behind = "" if repo.startswith("buckets/") else f"/{revision}"
        given = self.hub.get(f"/api/{repo}/xet-{scope}-token{behind}")
        assert given.status == 200, given.body
        self.given = given.json()
        assert self.given["exp"] > time.time()
        super().__init__(self.given["casUrl"], self.given["accessToken"])

    def put_xorb(self, xorb, body=None, name=None, route="/v1/xorbs/default"):
        return self.post(f"{route}/{name or xorb.name}", xorb.body if body is None else body, content_type="application/octet-stream")

    def ask_grant(self, xorb, body=None):
        """To put it into the bucket; `body`: what is announced instead."""
        body = xorb.body if body is None else body
        return self.post(f"/v1/xorb-grants/default/{xorb.name}", {"length": len(body), "checksum": {"algo": "crc64nvme", "value": str(crc64(body))}})

    def grant(self, xorb, body=None):
        answer = self.ask_grant(xorb, body)
        assert answer.status == 201, (answer.status, answer.body)
        return answer.json()

    @staticmethod
    def put_granted(given, body):
        """The status."""
        return wire.http(given["url"], method=given["method"], headers=given["headers"], body=body).status

    def commit_grant(self, xorb, grant):
        return self.post(f"/v1/xorb-commits/default/{xorb.name}/grant/{quote(grant, safe='')}")

    def put_shard(self, *files, xorbs=(), route="/v1/shards", **options):
        return self.post(route, shard(*files, xorbs=xorbs, **options), content_type="application/octet-stream")

    def post_until_answered(self, path, body):
        """A POST that may be answered before its end, as clients see it that read while they write."""
        base = urlsplit(self.url)
        with wire.Raw(f"{base.scheme}://{base.netloc}") as raw:
            with contextlib.suppress(ConnectionError):
                raw.request("POST", base.path + path, {"Authorization": f"Bearer {self.token}", "Content-Length": str(len(body))}, body)
            answer = raw.answer()
        return Answer(answer.status, answer.headers, answer.body)

    def upload(self, file):
        """Xorbs, then the shard; all must succeed."""
        for xorb in file.xorbs:
            answer = self.put_xorb(xorb)
            assert answer.status == 200, answer.body
        answer = self.put_shard(file, xorbs=file.xorbs)
        assert answer.status == 200, answer.body
        return file

    def commit(self, **files):
        """Names uploaded files in the repository: commit(a_bin=file); an underscore is a dot."""
        return self.hub.commit(self.repo, *(
            ("lfsFile", {"path": path.replace("_", "."), "algo": "sha256", "oid": file.oid, "size": len(file.data)}) for path, file in files.items()))

    def plan(self, name, version="v2", **headers):
        return self.get(f"/{version}/reconstructions/{name}", **headers)

    def read(self, name, version="v2", **headers):
        """The file, or a range of it, as clients put it together."""
        plan, chunks = self.chunks(name, version, **headers)
        return b"".join(chunks)[plan["offset_into_first_range"] :]

    def chunks(self, name, version="v2", **headers):
        """(the reconstruction, the chunks that it names)"""
        answer = self.plan(name, version, **headers)
        assert answer.status == 200, answer.body
        plan = answer.json()
        have = {}
        for xorb, at, chunks, bytes_ in fetches(plan):
            got = HubApi(at).get("", range=f"bytes={bytes_[0]}-{bytes_[1]}")
            assert got.status == 206 and len(got.body) == bytes_[1] - bytes_[0] + 1, (got.status, got.body[:200])
            for number, chunk in zip(range(*chunks), unpacked(got.body), strict=True):
                have[xorb, number] = chunk
        return plan, [have[term["hash"], number] for term in plan["terms"] for number in range(term["range"]["start"], term["range"]["end"])]


def fetches(plan):
    """(xorb, url, (first chunk, end), (first byte, last)) of a reconstruction of either version."""
    for xorb, entries in plan.get("fetch_info", {}).items():
        for entry in entries:
            yield xorb, entry["url"], (entry["range"]["start"], entry["range"]["end"]), (entry["url_range"]["start"], entry["url_range"]["end"])
    for xorb, entries in plan.get("xorbs", {}).items():
        for entry in entries:
            for part in entry["ranges"]:
                yield xorb, entry["url"], (part["chunks"]["start"], part["chunks"]["end"]), (part["bytes"]["start"], part["bytes"]["end"])
