"""The rows of the table that compare CPU: what one operation is, and how it is set up."""

import threading
from dataclasses import dataclass
from typing import Callable

import replay

EQUAL = 1 / 1.05
"""No worse than the peer, within 5 %."""
TENFOLD = 10.0


@dataclass
class Row:
    """`operations(side, corpus, round, count)` prepares and returns callables; running all of them is what is measured.

    `count` is of the peer; Granary gets `more` times as many, where the same operation can be repeated.
    """

    name: str
    title: str
    operations: Callable
    count: int
    bound: float = EQUAL
    more: int = 1


def repeated(operation):
    """The same operation again and again, warm: it runs once before it is measured."""
    def prepare(side, corpus, round, count):
        once = operation(side, corpus)
        once()
        return [once] * count
    return prepare


def reader(side, corpus, name):
    repo = corpus(name)
    return repo, replay.Repository(side.connect(), side.add(repo))


def clone(name):
    def operation(side, corpus):
        repo, remote = reader(side, corpus, name)
        body = replay.fetch_body([repo.tip])

        def once():
            remote.advertisement()
            remote.ls_refs()
            return remote.fetch(body)
        sent = replay.objects_in(once())
        assert sent == repo.objects, f"{side.name} sent {sent} objects of {repo.objects}"
        return once
    return repeated(operation)


def fetch(name, *arguments, haves=lambda repo: (), done=True):
    def operation(side, corpus):
        repo, remote = reader(side, corpus, name)
        body = replay.fetch_body([repo.tip], *arguments, haves=haves(repo), done=done)
        return lambda: remote.fetch(body)
    return repeated(operation)


def cold_fetch(name, body):
    """Every operation asks what nobody asked before: `body(repo, n)` with a new n."""
    def prepare(side, corpus, round, count):
        repo, remote = reader(side, corpus, name)
        remote.advertisement()
        bodies = [body(repo, round * count + n) for n in range(count)]
        return [lambda body=body: remote.fetch(body) for body in bodies]
    return prepare


def older(repo, number):
    """A commit that has at least twenty before it: each once, until `number` comes near their number."""
    choice = len(repo.commits) - 20
    assert number < choice, "a cold answer would be asked for twice: fewer rounds, please"
    return len(repo.commits) - 1 - number * 7 % choice


def incremental_body(repo, number):
    """The client has an older tip, and offers the sixteen commits before it as git does."""
    new = older(repo, number)
    old = max(0, new - 3 - number % 5)
    return replay.fetch_body([repo.commits[new]], haves=repo.commits[max(0, old - 15) : old + 1][::-1], done=False)


def poll(side, corpus):
    _, remote = reader(side, corpus, "history")

    def once():
        remote.advertisement()
        remote.ls_refs()
    return once


def all_refs(side, corpus):
    _, remote = reader(side, corpus, "many_refs")
    return lambda: remote.ls_refs("peel", "symrefs")


def all_refs_v0(side, corpus):
    _, remote = reader(side, corpus, "many_refs")
    return lambda: remote.advertisement(version=None)


def some_refs(side, corpus):
    _, remote = reader(side, corpus, "many_refs")
    return lambda: remote.ls_refs()


def cold_clones(side, corpus, round, count):
    """Distinct repositories, each cloned once."""
    repo = corpus("history")
    connection = side.connect()
    remotes = [replay.Repository(connection, side.fresh(repo)) for _ in range(count)]
    side.compact()
    body = replay.fetch_body([repo.tip])

    def once(remote):
        remote.advertisement()
        remote.ls_refs()
        remote.fetch(body)
    return [lambda remote=remote: once(remote) for remote in remotes]


def push(remote, change):
    remote.advertisement("git-receive-pack", version=None)
    remote.push(replay.push_body(*change))


def pushes(name):
    """One after the other to a fresh copy."""
    def prepare(side, corpus, round, count):
        repo = corpus(name)
        remote = replay.Repository(side.connect(push=True), side.fresh(repo))
        side.compact()
        assert count <= len(repo.pushes)
        return [lambda change=change: push(remote, change) for change in repo.pushes[:count]]
    return prepare


def pushes_of_many(side, corpus, round, count):
    """To sixteen repositories at the same time; an operation is one push, `count` of them in all."""
    repo = corpus("tiny")
    remotes = [replay.Repository(side.connect(push=True), side.fresh(repo)) for _ in range(16)]
    side.compact()
    failures = []

    def pusher(remote):
        try:
            for change in repo.pushes[: count // 16]:
                push(remote, change)
        except Exception as error:
            failures.append(error)

    def together():
        threads = [threading.Thread(target=pusher, args=(remote,)) for remote in remotes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
    return Counted([together], count)


def real_clones(side, corpus, round, count):
    """By git itself, every time into a new directory, which must hold everything."""
    repo = corpus("history")
    url, git = side.url(side.add(repo)), corpus.git
    targets = [corpus.directory / f"clone-{side.name}-{round}-{n}" for n in range(count)]

    def once(target):
        git("clone", "-q", "--bare", url, target)
        assert git.at(target)("rev-parse", "main") == repo.tip
    return [lambda target=target: once(target) for target in targets]


def real_pushes(side, corpus, round, count):
    repo = corpus("history")
    url, git = side.url(side.fresh(repo)), corpus.git.at(repo.path.with_name("history-pushed.git"))
    side.compact()
    return [lambda new=new: git("push", "-q", url, f"{new}:refs/heads/main") for _, new, _ in repo.pushes[:count]]


class Counted(list):
    """Callables that stand for another number of operations."""

    def __init__(self, operations, count):
        super().__init__(operations)
        self.count_of_operations = count


def haves_before(distance):
    return lambda repo: repo.commits[-distance - 16 : -distance][::-1]


ROWS = [
    Row("clone", "hot clone, 1 MB, 1,029 objects", clone("history"), 16, TENFOLD, more=24),
    Row("tiny", "hot clone, 4 KB, 5 objects", clone("tiny"), 16, TENFOLD, more=24),
    Row("poll", "poll: info/refs + ls-refs", repeated(poll), 24, TENFOLD, more=24),
    Row("depth1", "fetch depth 1, hot", fetch("history", "deepen 1"), 24, more=24),
    Row("depth1-cold", "fetch depth 1, cold", cold_fetch(
        "history", lambda repo, n: replay.fetch_body([repo.commits[older(repo, n)]], "deepen 1")), 24),
    Row("blobless", "fetch blob:none, hot", fetch("history", "filter blob:none"), 24, more=24),
    Row("blobless-cold", "fetch blob:none, cold", cold_fetch(
        "history", lambda repo, n: replay.fetch_body([repo.commits[older(repo, n)]], "filter blob:none")), 24),
    Row("incremental", "incremental fetch, hot", fetch("history", haves=haves_before(5), done=False), 24, more=24),
    Row("incremental-cold", "incremental fetch, cold", cold_fetch("history", incremental_body), 24),
    Row("clone-cold", "cold clones, distinct 1 MB repos", cold_clones, 12),
    Row("push", "small push, one repo", pushes("history"), 24),
    Row("push16", "small push, 16 repos at once", pushes_of_many, 48),
    Row("push-wide", "one-line push, 10k-file tree", pushes("wide"), 16),
    Row("push-100k", "push of 100k objects", pushes("many_objects"), 1),
    Row("push-big", "push of 64 MiB, 16 files", pushes("big"), 1),
    Row("refs", "100k refs, all, v2", repeated(all_refs), 4, more=2),
    Row("refs-v0", "100k refs, all, v0", repeated(all_refs_v0), 4, more=2),
    Row("refs-prefix", "100k refs, HEAD+heads+tags", repeated(some_refs), 24, more=24),
    Row("wide", "hot clone, 10k-file tree", clone("wide"), 4, more=4),
    Row("wide-depth1-cold", "fetch depth 1, 10k files, cold", cold_fetch(
        "wide", lambda repo, n: replay.fetch_body([repo.commits[older(repo, n)]], "deepen 1")), 2),
    Row("git-clone", "git clone, 1 MB, by git itself", real_clones, 6),
    Row("git-push", "git push, one commit, by git itself", real_pushes, 6),
    Row("clone-big", "hot clone, 64 MiB", clone("big_full"), 2, more=2),
]
