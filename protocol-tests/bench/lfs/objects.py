"""What is moved: one large random file in memory, and objects that no server has seen."""

import hashlib
import itertools
import os
import random

MIB = 1 << 20
TAIL_BYTES = 64


class Source:
    """`size` random bytes in a file. An object is all of it but the last bytes, which differ from object to object."""

    def __init__(self, path, size):
        self.path, self.size = path, size
        prefix = hashlib.sha256()
        with open(path, "wb") as file:
            for left in range(size, 0, -MIB):
                block = os.urandom(min(MIB, left))
                file.write(block)
                prefix.update(block if left > MIB else block[: max(0, left - TAIL_BYTES)])
        self._prefix, self._numbers = prefix, itertools.count()

    @property
    def file_bytes(self):
        return self.size - TAIL_BYTES

    def object(self):
        """(oid, size, tail), with another tail each time."""
        tail = next(self._numbers).to_bytes(TAIL_BYTES, "big")
        digest = self._prefix.copy()
        digest.update(tail)
        return digest.hexdigest(), self.size, tail


def small(count, size=1024, seed=0):
    """[(oid, content)], the same for the same seed."""
    source = random.Random(f"{seed} {size}")
    contents = [source.randbytes(size) for _ in range(count)]
    return [(hashlib.sha256(content).hexdigest(), content) for content in contents]


def unknown(count, size=1024):
    """Rows of a batch for objects that nobody has."""
    digits = os.urandom(32 * count).hex()
    return [{"oid": digits[64 * n : 64 * n + 64], "size": size} for n in range(count)]


def rows(pairs):
    """Rows of a batch for what `small` made."""
    return [{"oid": oid, "size": len(content)} for oid, content in pairs]
