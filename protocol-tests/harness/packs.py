"""Packs made object by object, right and wrong, and the contents of packs read by real git."""

import hashlib
import struct
import tempfile
import zlib
from pathlib import Path

KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
OFS_DELTA, REF_DELTA = 6, 7


def oid(kind, data):
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


def header(number, size):
    first = (number << 4) | (size & 15)
    size >>= 4
    out = bytearray()
    while size:
        out.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    out.append(first)
    return bytes(out)


def entry(kind, data, claimed_size=None, level=6):
    """A whole object as a pack entry."""
    number = KINDS[kind] if isinstance(kind, str) else kind
    return header(number, len(data) if claimed_size is None else claimed_size) + zlib.compress(data, level)


def ref_delta(base, delta):
    return header(REF_DELTA, len(delta)) + bytes.fromhex(base) + zlib.compress(delta)


def ofs_delta(distance, delta):
    out = [distance & 0x7F]
    distance >>= 7
    while distance:
        distance -= 1
        out.append(0x80 | (distance & 0x7F))
        distance >>= 7
    return header(OFS_DELTA, len(delta)) + bytes(reversed(out)) + zlib.compress(delta)


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def delta(base_size, result_size, *operations):
    """`operations` are bytes (insert) or (offset, length) (copy)."""
    out = varint(base_size) + varint(result_size)
    for operation in operations:
        if isinstance(operation, bytes):
            for start in range(0, len(operation), 127):
                part = operation[start : start + 127]
                out += bytes([len(part)]) + part
            continue
        offset, length = operation
        code, tail = 0x80, b""
        for bit in range(4):
            byte = offset >> (8 * bit) & 0xFF
            if byte:
                code |= 1 << bit
                tail += bytes([byte])
        for bit in range(3):
            byte = length >> (8 * bit) & 0xFF
            if byte:
                code |= 0x10 << bit
                tail += bytes([byte])
        out += bytes([code]) + tail
    return out


def pack(*entries, count=None, version=2):
    body = b"PACK" + struct.pack(">II", version, len(entries) if count is None else count) + b"".join(entries)
    return body + hashlib.sha1(body).digest()


def resign(body):
    """A right trailer for what was tampered with."""
    return body + hashlib.sha1(body).digest()


def tree(*rows):
    """`rows` are (mode as text, name, oid); in the given order."""
    return b"".join(
        mode.encode() + b" " + (name if isinstance(name, bytes) else name.encode()) + b"\0" + bytes.fromhex(target)
        for mode, name, target in rows)


def commit(tree_oid, *parents, message="message\n", when=1_700_000_000, author=None, committer=None):
    who = "A U Thor <author@example.com>"
    rows = [f"tree {tree_oid}", *(f"parent {parent}" for parent in parents),
            f"author {author or f'{who} {when} +0000'}", f"committer {committer or f'{who} {when} +0000'}", "", message]
    return "\n".join(rows).encode()


def tag(target, kind="commit", name="v1"):
    return (f"object {target}\ntype {kind}\ntag {name}\n"
            f"tagger A U Thor <author@example.com> 1700000000 +0000\n\nmessage\n").encode()


class Builder:
    """A small history in memory: objects by kind, and the pack of them."""

    def __init__(self):
        self.entries = []

    def add(self, kind, data):
        self.entries.append((kind, data))
        return oid(kind, data)

    def file_commit(self, *parents, name="file", content=b"content\n", mode="100644", **options):
        """A commit of one file; returns its id."""
        blob = self.add("blob", content)
        root = self.add("tree", tree((mode, name, blob)))
        return self.add("commit", commit(root, *parents, **options))

    def pack(self):
        return pack(*(entry(kind, data) for kind, data in self.entries))


def single_commit(content=b"content\n", **options):
    """(commit id, pack of its three objects)."""
    builder = Builder()
    return builder.file_commit(content=content, **options), builder.pack()


def contents(git, data, base=None):
    """Object ids in a pack, by real git's index-pack. `base` is a repository that holds the bases of a thin pack.

    What `--fix-thin` appends is not counted as sent.
    """
    with tempfile.TemporaryDirectory(prefix="granary-pack-") as directory:
        scratch = git.init(directory, "--bare")
        if base is not None:
            alternates = Path(directory) / "objects/info/alternates"
            alternates.write_text(f"{Path(base).resolve()}/objects\n")
        name = scratch("index-pack", "--stdin", "--fix-thin", input=data, seconds=300).split()[-1]
        index = (Path(directory) / f"objects/pack/pack-{name}.idx").read_bytes()
        rows = scratch.run("show-index", input=index).stdout.decode().splitlines()
        sent = {row.split()[1] for row in rows if int(row.split()[0]) < len(data) - 20}
        assert len(sent) == struct.unpack(">I", data[8:12])[0], "an object was sent twice"
        return sent
