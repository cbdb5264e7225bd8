"""Repositories of every shape that real ones have, as bare repositories made by real git, each with the same ids every time."""

import random
from pathlib import Path

from . import packs

WHEN = 1_600_000_000
WHO = "A U Thor <author@example.com>"


class Stream:
    """A fast-import stream under construction."""

    def __init__(self):
        self.out = bytearray()
        self.marks = 0
        self.clock = WHEN

    def mark(self):
        self.marks += 1
        return f":{self.marks}"

    def line(self, text):
        self.out += text.encode(errors="surrogateescape") + b"\n"

    def data(self, content):
        content = content if isinstance(content, bytes) else content.encode()
        self.out += b"data %d\n" % len(content) + content + b"\n"

    def blob(self, content):
        mark = self.mark()
        self.line("blob")
        self.line(f"mark {mark}")
        self.data(content)
        return mark

    def commit(self, ref, changes, parents=(), message="message\n", seconds=60):
        """`changes` are {path: content | (mode, mark or oid) | None}. Returns the commit's mark."""
        blobs = {path: self.blob(change) for path, change in changes.items() if isinstance(change, (bytes, str))}
        mark = self.mark()
        self.clock += seconds
        self.line(f"commit {ref}")
        self.line(f"mark {mark}")
        self.line(f"author {WHO} {self.clock} +0000")
        self.line(f"committer {WHO} {self.clock} +0000")
        self.data(message)
        for number, parent in enumerate(parents):
            self.line(f"{'from' if number == 0 else 'merge'} {parent}")
        for path, change in changes.items():
            if change is None:
                self.line(f"D {path}")
            elif path in blobs:
                self.line(f"M 100644 {blobs[path]} {path}")
            else:
                self.line(f"M {change[0]} {change[1]} {path}")
        self.line("")
        return mark

    def tag(self, name, target):
        """An annotated tag. Returns its mark."""
        mark = self.mark()
        self.clock += 1
        self.line(f"tag {name}")
        self.line(f"mark {mark}")
        self.line(f"from {target}")
        self.line(f"tagger {WHO} {self.clock} +0000")
        self.data(f"tag {name}\n")
        return mark

    def reset(self, ref, target):
        self.line(f"reset {ref}")
        self.line(f"from {target}")
        self.line("")

    def load(self, git):
        git.run("fast-import", "--quiet", "--date-format=raw", "--force", input=bytes(self.out), seconds=300)


def words(seed, count):
    source = random.Random(seed)
    return "\n".join(" ".join(source.choice(_WORDS) for _ in range(8)) for _ in range(count)) + "\n"


_WORDS = "layer weight token model shard epoch loss grad norm head embed batch learn rate warm decay fold mask".split()


def empty(git):
    """No refs, no objects."""


def unborn_head(git):
    """Branches, none of them the one HEAD names."""
    stream = Stream()
    stream.commit("refs/heads/trunk", {"file": "content\n"})
    stream.load(git)
    git("symbolic-ref", "HEAD", "refs/heads/main")


def simple(git):
    """A straight history with deltas, two tags, a second branch."""
    stream = Stream()
    tip = None
    for number in range(30):
        tip = stream.commit("refs/heads/main", {
            "README.md": words(1, 60 + number), f"src/module{number % 7}.py": words(number, 40),
            "config.json": '{"layers": %d}\n' % number,
        }, [tip] if tip else [])
        if number == 10:
            stream.tag("v1", tip)
            middle = tip
    stream.reset("refs/tags/light", tip)
    stream.commit("refs/heads/topic", {"topic.txt": "topic\n"}, [middle])
    stream.load(git)


def many_refs(git, count=100_000):
    """100k light tags on ten commits. Written as packed-refs: update-ref takes seconds for so many."""
    stream = Stream()
    marks = [stream.commit("refs/heads/main", {"n": str(n)}, [f":{2 * n}"] if n else []) for n in range(10)]
    stream.load(git)
    ids = git("rev-list", "main").split()
    assert len(ids) == len(marks)
    rows = sorted(f"refs/tags/r/{n % 100:02d}/{n:06d} {ids[n % 10]}" for n in range(count))
    lines = [f"{oid} {name}\n" for name, oid in (row.split() for row in [f"refs/heads/main {ids[0]}", *rows])]
    (git.cwd / "refs/heads/main").unlink()
    (git.cwd / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines))


def wide_tree(git, files=10_000):
    """10k files in one directory, edited a few times."""
    stream = Stream()
    tip = stream.commit("refs/heads/main", {f"data/file-{n:05d}.txt": f"row {n}\n" for n in range(files)})
    for n in range(20):
        tip = stream.commit("refs/heads/main", {f"data/file-{n * 37:05d}.txt": f"edited {n}\n"}, [tip])
    stream.load(git)


def long_history(git, commits=2_000):
    """2k commits with merges of two, and octopus merges of four."""
    stream = Stream()
    tips = {}
    main = stream.commit("refs/heads/main", {"main.txt": "0\n"})
    for number in range(1, commits):
        if number % 50 == 0 and len(tips) >= 3:
            others = [tips.pop(name) for name in sorted(tips)[:3]]
            main = stream.commit("refs/heads/main", {"main.txt": f"octopus {number}\n"}, [main, *others])
        elif number % 11 == 0 and tips:
            main = stream.commit("refs/heads/main", {"main.txt": f"merge {number}\n"}, [main, tips.pop(sorted(tips)[0])])
        elif number % 3 == 0:
            name = f"side{number % 5}"
            tips[name] = stream.commit(f"refs/heads/{name}", {f"{name}.txt": f"{number}\n"}, [tips.get(name, main)])
        else:
            main = stream.commit("refs/heads/main", {"main.txt": f"{number}\n", f"d{number % 13}/f": f"{number}\n"}, [main])
    stream.load(git)


def tags(git):
    """Nested tags, tags of a blob and of a tree, a light tag of a blob."""
    stream = Stream()
    tip = stream.commit("refs/heads/main", {"file": "1\n"})
    inner = stream.tag("inner", tip)
    middle = stream.tag("middle", inner)
    stream.tag("outer", middle)
    stream.commit("refs/heads/main", {"file": "2\n"}, [tip])
    stream.load(git)
    tree = git("rev-parse", "main^{tree}")
    blob = git("hash-object", "-w", "--stdin", input="only a tag names me\n")
    other = git("hash-object", "-w", "--stdin", input="only a light tag names me\n")
    git.at(git.cwd, GIT_COMMITTER_DATE=f"{WHEN} +0000")("tag", "-a", "-m", "of a tree", "of-tree", tree)
    git.at(git.cwd, GIT_COMMITTER_DATE=f"{WHEN} +0000")("tag", "-a", "-m", "of a blob", "of-blob", blob)
    git("update-ref", "refs/tags/light-tree", tree)
    git("update-ref", "refs/tags/light-blob", other)


def odd_files(git):
    """Submodules, symlinks, executables, names that shells and terminals dislike."""
    stream = Stream()
    link = stream.blob("README.md")
    script = stream.blob("#!/bin/sh\n")
    tip = stream.commit("refs/heads/main", {
        "README.md": "hello\n", "link": ("120000", link), "run.sh": ("100755", script),
        "vendor/lib": ("160000", "1" * 40), '"with \\"quotes\\" and \\n"': "q\n", "with space": "s\n",
        "ünïcödé": "u\n", "-dash": "d\n", "dir.with.dots/...": "dots\n", "a": "a\n", "a.b": "ab\n", "a0/b": "a0b\n",
        "empty": "", ".gitmodules": '[submodule "lib"]\n\tpath = vendor/lib\n\turl = https://example.com/lib\n',
        "binary": bytes(range(256)) * 4,
    })
    stream.commit("refs/heads/main", {"vendor/lib": ("160000", "2" * 40), "link": None}, [tip])
    stream.load(git)


def deep(git, levels=300):
    """Directories three hundred deep."""
    stream = Stream()
    path = "/".join(f"d{n}" for n in range(levels))
    tip = stream.commit("refs/heads/main", {f"{path}/leaf": "1\n", "top": "1\n"})
    stream.commit("refs/heads/main", {f"{path}/leaf": "2\n"}, [tip])
    stream.load(git)


def old_defects(git):
    """What old tools wrote and real histories carry; design.md accepts it by name."""

    def write(kind, data):
        return git("hash-object", "-t", kind, "--literally", "-w", "--stdin", input=data)

    blob = write("blob", b"content\n")
    subtree = write("tree", packs.tree(("100644", "file", blob)))
    padded = write("tree", packs.tree(("100644", "file", blob), ("040000", "sub", subtree)))  # zeroPaddedFilemode
    group = write("tree", packs.tree(("100664", "file", blob)))  # badFilemode
    who = "A U Thor <author@example.com>"
    tip = write("commit", packs.commit(padded))
    for tree, author in [
        (group, None),
        (subtree, f"{who} 1600000001 -0000000"),  # badTimezone
        (subtree, f"{who} 1600000002 +051800"),
        (subtree, "A U Thor<author@example.com> 1600000003 +0000"),  # missingSpaceBeforeEmail
        (subtree, "A U Thor 1600000004 +0000"),  # missingEmail
        (subtree, "<author@example.com> 1600000005 +0000"),  # missingNameBeforeEmail
        (subtree, f"{who} 01600000006 +0000"),  # zeroPaddedDate
    ]:
        tip = write("commit", packs.commit(tree, tip, author=author))
    tip = write("commit", packs.commit(subtree, tip, message="before\0after\n"))  # nulInCommit
    git("update-ref", "refs/heads/main", tip)
    no_tagger = f"object {tip}\ntype commit\ntag old\n\nmessage\n".encode()  # missingTaggerEntry
    git("update-ref", "refs/tags/old", write("tag", no_tagger))


ALL = {
    "empty": empty, "unborn-head": unborn_head, "simple": simple, "many-refs": many_refs, "wide-tree": wide_tree,
    "long-history": long_history, "tags": tags, "odd-files": odd_files, "deep": deep, "old-defects": old_defects,
}

# Cheap enough for a loop over all of them.
SMALL = ("empty", "unborn-head", "simple", "tags", "odd-files", "deep", "old-defects")


class Shapes:
    """Builds each shape once per run."""

    def __init__(self, git, directory):
        self.git = git
        self.directory = Path(directory)
        self.built = {}

    def bare(self, name):
        """git at the bare repository of that shape. Read only: copy it before changing it."""
        if name not in self.built:
            repository = self.git.init(self.directory / f"{name}.git", "--bare")
            ALL[name](repository)
            self.built[name] = repository
        return self.built[name]
