"""Xorbs that no server has seen, at the cost of one chunk each; and files that are made of them."""

import array
import hashlib
import os
import random

from harness.xet import BG4, NONE, Xorb, chunk_hash, file_hash, merkle, packed, range_hash, text

CHUNK = 64 << 10
CHUNKS = 1023
"""As many of 64 KiB as fit beside their headers into a xorb of 64 MiB."""
RAW = CHUNK * CHUNKS
KINDS = {"raw": NONE, "bg4": BG4}


class Stock:
    """All chunks of a xorb but the last, in a file, packed as `kind` says."""

    def __init__(self, directory, kind):
        self.scheme = KINDS[kind]
        self.chunks = [self.content(number) for number in range(CHUNKS - 1)]
        self.leaves = [(chunk_hash(chunk), len(chunk)) for chunk in self.chunks]
        self.path = directory / f"stock-{kind}"
        with open(self.path, "wb") as file:
            file.writelines(packed(chunk, self.scheme) for chunk in self.chunks)
        self.file_bytes = self.path.stat().st_size

    def content(self, number):
        """Random bytes; or 32-bit floats around 0, as weights are."""
        if self.scheme == NONE:
            return os.urandom(CHUNK)
        source = random.Random(number)
        return array.array("f", (source.gauss(0, 0.02) for _ in range(CHUNK // 4))).tobytes()

    def made(self):
        """Another one."""
        last = self.content(int.from_bytes(os.urandom(8)))
        return Made(self, last)


class Made:
    def __init__(self, stock, last):
        self.stock, self.last = stock, last
        self.leaves = [*stock.leaves, (chunk_hash(last), len(last))]
        self.hash = merkle(self.leaves)
        self.name = text(self.hash)
        self.tail = packed(last, stock.scheme)
        self.range_hash = range_hash([value for value, _ in self.leaves])

    @property
    def chunks(self):
        return [*self.stock.chunks, self.last]


def file_of(made):
    """(hash, SHA-256, size) of the file that these xorbs are, one after the other."""
    digest = hashlib.sha256()
    for xorb in made:
        for chunk in xorb.chunks:
            digest.update(chunk)
    return file_hash([leaf for xorb in made for leaf in xorb.leaves]), digest.hexdigest(), RAW * len(made)
