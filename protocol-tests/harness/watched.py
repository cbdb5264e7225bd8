"""A hub whose traffic with its bucket is counted, and disturbed on order."""

from . import lfs, lfs_api
from .lfs_api import Api


class Watched:
    """A hub whose bucket is reached by two counted ways: "hub" is the hub's own traffic, "client" that of presigned URLs."""

    def __init__(self, fresh_hub, bucket, store, prefix, **settings):
        self.bucket, self.store, self.prefix = bucket, store, prefix
        self.public = store.listen("client")
        self.hub = fresh_hub(debug=True, settings={
            **lfs.MULTIPART, **bucket.settings(prefix, endpoint=store.listen("hub"), public=self.public), **settings})
        self.alice = self.hub.user("alice")
        self.path = self.hub.repo("alice/r")
        self.api = Api(self.hub, self.path, self.alice)
        self.hf = Offering(self.hub, self.path, self.alice, agent=lfs_api.HF)
        store.seen.clear()  # the probe of the start

    @property
    def url(self):
        return self.hub.git_url(self.path, self.alice)

    def keys(self):
        return self.bucket.keys(f"{self.prefix}/objects/")

    def age(self, rounds=3):
        for _ in range(rounds):
            self.hub.run("debug", "clock", "+30d")
            self.hub.run("maintain", "--now")


class Offering(Api):
    """A client that offers multipart."""

    def batch(self, *arguments, **fields):
        return super().batch(*arguments, **{"transfers": ["multipart", "basic"], **fields})
