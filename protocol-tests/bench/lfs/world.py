"""The servers and what is in them, each made when a row first needs it."""

from harness import s3

import objects
from load import Generator
from servers import Dd
from sides import Granary, Nginx, Plain, Rudolfs


class World:
    def __init__(self, disk, memory, source_bytes, stack):
        """`disk` and `memory` are directories: of a real disk, and of a tmpfs."""
        self.places = {"disk": disk, "tmpfs": memory}
        self.stack, self.made = stack, {}
        self.source_bytes = source_bytes

    def _once(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _started(self, side):
        self.stack.callback(side.stop)
        side.start()
        return side

    @property
    def source(self):
        """In memory, so that to read it costs nothing."""
        return self._once("source", lambda: objects.Source(self.places["tmpfs"] / "source", self.source_bytes))

    @property
    def generator(self):
        return self._once("generator", lambda: Generator(self.places["tmpfs"]))

    @property
    def large_generator(self):
        return self._once("large generator", lambda: Generator(self.places["tmpfs"], self.source.path))

    # -- sides, by place: "disk", "tmpfs", and for Granary "s3" ---------------------------------------------------

    def granary(self, place="disk"):
        def make():
            if place == "s3":
                return self._started(Granary(self.places["disk"] / "s3", self.bucket.settings("bench")))
            return self._started(Granary(self.places[place]))
        return self._once(("granary", place), make)

    def rudolfs(self, place="disk"):
        return self._once(("rudolfs", place), lambda: self._started(Rudolfs(self.places[place])))

    def nginx(self, place="disk"):
        return self._once(("nginx", place), lambda: self._started(Nginx(self.places[place])))

    def plain(self, place="disk"):
        return self._once(("plain", place), lambda: self._started(Plain(self.places[place])))

    def dd(self, place="disk"):
        return self._once(("dd", place), lambda: Dd(self.places[place]))

    @property
    def bucket(self):
        """SeaweedFS; on the generator's core, where it does nothing while batches are signed."""
        return self._once("bucket", lambda: self.stack.enter_context(s3.shared(self.places["disk"] / "seaweedfs")))

    def side(self, name, place):
        return getattr(self, name)(place)

    # -- content --------------------------------------------------------------------------------------------------

    def repo(self, side, name):
        """Created once for each side."""
        def make():
            side.create(name)
            return name
        return self._once((id(side), "repo", name), make)

    def large(self, side):
        """The row of a large object that is there."""
        object = self._once("large object", self.source.object)
        row = {"oid": object[0], "size": object[1]}

        def make():
            if isinstance(side, Nginx):
                content = side.files / row["oid"]
                side.add_file(row["oid"], self.source.path)
                with open(content, "r+b") as file:
                    file.seek(-len(object[2]), 2)
                    file.write(object[2])
            else:
                repo = self.repo(side, "large")
                self.large_generator.run([side.put_request(repo, object)])
                side.check(repo, row)
            return row
        return self._once((id(side), "large"), make)

    def small(self, side, repo, count, size=1024):
        """Rows of `count` small objects that are there; in each repository the same ones."""
        pairs = self._once(("small", count, size), lambda: objects.small(count, size))
        rows = objects.rows(pairs)

        def make():
            if isinstance(side, Nginx):
                for oid, content in pairs:
                    side.add(oid, content)
            else:
                side.fill(self.generator, self.repo(side, repo), pairs)
                side.check(repo, rows[0])
        self._once((id(side), repo, "small", count, size), make)
        return rows
