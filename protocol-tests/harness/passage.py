"""A hub on either engine, with a proxy wherever the bytes of its clients pass."""

import contextlib

from . import lfs
from .httpd import Proxy


class Passage:
    """`door` stands in front of the hub, `bytes` where objects pass: at the door, or before the bucket."""

    def __init__(self, engine, fresh_hub, bucket, prefix):
        self.engine, self.bucket, self.prefix = engine, bucket, prefix
        self._stack = contextlib.ExitStack()
        there = {}
        if engine == "s3":
            self.bytes = self._stack.enter_context(Proxy(bucket.endpoint))
            there = bucket.settings(prefix, endpoint=self.bytes.listen("hub"), public=self.bytes.listen("client"))
        self.hub = fresh_hub(settings={**lfs.multipart(engine), **there}, debug=True)
        self.door = self._stack.enter_context(Proxy(self.hub.url))
        self.base = self.door.listen("client")
        if engine == "disk":
            self.bytes = self.door
        self.alice = self.hub.user("alice")
        self.bytes.seen.clear()  # the probe of the start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def repo(self, name="r"):
        """(its path, its URL through the door)"""
        path = self.hub.repo(f"alice/{name}")
        return path, lfs.url(self.base, path, self.alice)

    @staticmethod
    def takes_an_object(exchange):
        """A client's PUT, of all of it or of a part."""
        return exchange.role == "client" and exchange.method == "PUT"

    @staticmethod
    def is_part(exchange):
        return "partNumber" in exchange.query or "/parts/" in exchange.path

    def parts(self):
        """The parts that clients put whole."""
        return [seen for seen in self.bytes.count(role="client", method="PUT", status=200) if self.is_part(seen)]

    @staticmethod
    def gives_an_object(exchange):
        return exchange.role == "client" and exchange.reads_an_object

    def keys(self):
        if self.engine == "s3":
            return self.bucket.keys(f"{self.prefix}/objects/")
        return [file for file in (self.hub.data / "objects").rglob("*") if file.is_file()]

    def assert_stored(self, count):
        """Once all is due that is not needed, so many objects are stored and nothing beside them."""
        for _ in range(3):
            self.hub.run("debug", "clock", "+30d")
            self.hub.run("maintain", "--now")
        assert len(self.keys()) == count, self.keys()
        assert not list((self.hub.data / "staging").iterdir())
        if self.engine == "s3":
            assert not self.bucket.multiparts(f"{self.prefix}/")
