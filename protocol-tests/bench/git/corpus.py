"""The repositories that are served, made with git; each is a bare repository that both sides take as it is."""

import random
import shutil
from dataclasses import dataclass, field

from harness import wire

MAIN = "refs/heads/main"


@dataclass
class Repo:
    """`commits` of main, oldest first; `pushes` are (old, new, pack) on top of it, as git would send them."""

    name: str
    path: object
    commits: list
    objects: int = 0
    pushes: list = field(default_factory=list)

    @property
    def tip(self):
        return self.commits[-1]


class Corpus:
    """Makes each repository when it is first asked for. What is random repeats from run to run."""

    def __init__(self, git, directory):
        self.git, self.directory, self.made = git, directory, {}
        directory.mkdir(parents=True, exist_ok=True)

    def __call__(self, name):
        if name not in self.made:
            self.made[name] = getattr(self, name)()
        return self.made[name]

    def history(self):
        """1,029 objects in 1 MB: 257 commits, each of one file in one of eight directories."""
        data = random.Random(1)
        changes = [{f"d{n % 8}/f{n % 64}": data.randbytes(3900)} for n in range(257)]
        changes[0]["README.md"] = b"# read me\n"
        more = [{f"d{n % 8}/f{n % 64}": data.randbytes(1000)} for n in range(24)]
        return self._repo("history", changes, more)

    def tiny(self):
        """5 objects in 4 KB."""
        data = random.Random(2)
        changes = [{f"file{n}": data.randbytes(1300) for n in range(3)}]
        return self._repo("tiny", changes, [{"file0": data.randbytes(1000)} for _ in range(24)])

    def wide(self):
        """10,000 files in one directory, 64 commits of one line each."""
        changes = [{f"file-{n:05}.txt": b"line %d\n" % n for n in range(10_000)}]
        changes += [{f"file-{n * 37 % 10_000:05}.txt": b"changed %d\n" % n} for n in range(63)]
        return self._repo("wide", changes, [{f"file-{n * 53:05}.txt": b"pushed %d\n" % n} for n in range(24)])

    def many_refs(self):
        """100,000 refs, of which a clone asks for 200."""
        repo = self._repo("many_refs", [{"file": b"%d\n" % n} for n in range(10)])
        git = self.git.at(repo.path)
        for number in range(100):
            git("branch", f"b{number:03}", repo.commits[number % 10])
            git("tag", "-a", "-m", "t", f"v{number:03}", repo.commits[number % 10])
        git("pack-refs", "--all")
        packed = repo.path / "packed-refs"
        header, _, rest = packed.read_text().partition("\n")
        rows = "".join(f"{repo.commits[n % 10]} refs/changes/{n:06}\n" for n in range(99_800))
        packed.write_text(f"{header}\n{rows}{rest}")
        return repo

    def many_objects(self):
        """An empty repository and one push of 100,000 objects: 99,599 files in 400 directories."""
        changes = [{f"d{n % 400}/f{n}": b"content of file %d, which is short\n" % (n * 7919) for n in range(99_599)}]
        return self._first_push("many_objects", changes)

    def big(self):
        """64 MiB in 16 files that do not compress, and the push that brings them."""
        data = random.Random(3)
        repo = self._first_push("big", [{f"weights-{n}.bin": data.randbytes(4 << 20) for n in range(16)}])
        full = self._repo("big_full", [])
        self.git.at(full.path)("fetch", "-q", self.directory / "big-pushed.git", f"{MAIN}:{MAIN}")
        pack(self.git.at(full.path))
        self.made["big_full"] = Repo("big_full", full.path, [repo.pushes[0][1]], in_pack(self.git.at(full.path)))
        return repo

    def big_full(self):
        self("big")
        return self.made["big_full"]

    def empty(self):
        return self._repo("empty", [])

    # -- making them --------------------------------------------------------------------------------------------

    def _repo(self, name, changes, more=()):
        path = self.directory / f"{name}.git"
        git = self.git.init(path, "--bare")
        commits = self._commit(git, changes, wire.ZERO, 1_700_000_000) if changes else []
        pack(git)
        repo = Repo(name, path, commits, in_pack(git))
        if more:
            source = self.directory / f"{name}-pushed.git"
            shutil.copytree(path, source)
            later = self._commit(self.git.at(source), more, repo.tip, 1_710_000_000)
            repo.pushes = self._packs(self.git.at(source), [repo.tip, *later])
        return repo

    def _first_push(self, name, changes):
        source = self.git.init(self.directory / f"{name}-pushed.git", "--bare")
        repo = self._repo(name, [])
        repo.pushes = self._packs(source, [wire.ZERO, *self._commit(source, changes, wire.ZERO, 1_700_000_000)])
        return repo

    def _commit(self, git, changes, parent, when):
        """One commit on main per {path: content}; ids, oldest first."""
        stream = bytearray(b"feature done\n")
        for number, files in enumerate(changes):
            stream += b"commit %s\n" % MAIN.encode()
            stream += b"committer C O Mitter <committer@example.com> %d +0000\n" % (when + number)
            stream += b"data 10\n%9d\n" % number
            if number == 0 and parent != wire.ZERO:
                stream += b"from %s\n" % parent.encode()
            for path, content in files.items():
                stream += b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content)
        git.run("fast-import", "--quiet", "--force", input=bytes(stream + b"done\n"), seconds=300)
        listed = git("rev-list", "--reverse", MAIN, *([] if parent == wire.ZERO else [f"^{parent}"])).split()
        assert len(listed) == len(changes)
        return listed

    def _packs(self, git, commits):
        """What `git push` sends for each step."""
        pushes = []
        for old, new in zip(commits, commits[1:]):
            revisions = f"{new}\n" if old == wire.ZERO else f"{new}\n^{old}\n"
            done = git.run("pack-objects", "--thin", "--delta-base-offset", "--stdout", "--revs", "-q",
                           input=revisions, seconds=300)
            pushes.append((old, new, done.stdout))
        return pushes


def in_pack(git):
    counted = dict(line.split(": ") for line in git("count-objects", "-v").splitlines())
    assert counted["count"] == "0", "all packed"
    return int(counted["in-pack"])


def pack(git):
    """As a peer that is looked after: features on, one pack with bitmaps."""
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant", "http.receivepack"):
        git("config", key, "true")
    git("repack", "-adbq", seconds=300)
