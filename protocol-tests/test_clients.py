"""Other implementations of git: libgit2 (pygit2) and dulwich, both ways."""

import dulwich.client
import dulwich.porcelain
import dulwich.repo
import pygit2
import pytest


@pytest.fixture
def callbacks(alice):
    return pygit2.RemoteCallbacks(credentials=pygit2.UserPass("any", alice))


def pygit2_commit(repository, name, content, parents):
    blob = repository.create_blob(content)
    builder = repository.TreeBuilder(repository[parents[0]].tree) if parents else repository.TreeBuilder()
    builder.insert(name, blob, pygit2.enums.FileMode.BLOB)
    who = pygit2.Signature("P Y", "py@example.com", 1_700_000_000, 0)
    return repository.create_commit("refs/heads/main", who, who, f"write {name}\n", builder.write(), parents)


def test_pygit2_push_clone_fetch(hub, git, tmp, repo, callbacks, alice):
    path = repo()
    work = pygit2.init_repository(tmp / "work", bare=True)
    tip = pygit2_commit(work, "a.txt", b"from libgit2\n", [])
    remote = work.remotes.create("origin", hub.git_url(path))
    remote.push(["refs/heads/main"], callbacks=callbacks)
    assert git.refs(hub.git_url(path, alice))["refs/heads/main"] == str(tip)

    copy = pygit2.clone_repository(hub.git_url(path), tmp / "copy", callbacks=callbacks)
    assert copy.head.target == tip and (tmp / "copy/a.txt").read_text() == "from libgit2\n"
    for number in range(3):
        tip = pygit2_commit(work, f"{number}.txt", b"more\n", [tip])
    remote.push(["refs/heads/main"], callbacks=callbacks)
    copy.remotes["origin"].fetch(callbacks=callbacks)
    assert copy.references["refs/remotes/origin/main"].target == tip
    git.at(tmp / "copy").fsck()


def test_pygit2_tags_and_deletion(hub, git, tmp, repo, callbacks, alice):
    path = repo()
    work = pygit2.init_repository(tmp / "work", bare=True)
    tip = pygit2_commit(work, "a.txt", b"a\n", [])
    who = pygit2.Signature("P Y", "py@example.com", 1_700_000_000, 0)
    work.create_tag("v1", tip, pygit2.enums.ObjectType.COMMIT, who, "tagged\n")
    work.references.create("refs/heads/gone", tip)
    remote = work.remotes.create("origin", hub.git_url(path))
    remote.push(["refs/heads/main", "refs/heads/gone", "refs/tags/v1"], callbacks=callbacks)
    remote.push([":refs/heads/gone"], callbacks=callbacks)
    assert set(git.refs(hub.git_url(path, alice))) == {"HEAD", "refs/heads/main", "refs/tags/v1", "refs/tags/v1^{}"}


def test_pygit2_shallow_clone(hub, tmp, pushed, callbacks, git):
    path, work = pushed
    copy = pygit2.clone_repository(hub.git_url(path), tmp / "copy", depth=1, callbacks=callbacks)
    assert str(copy.head.target) == work("rev-parse", "HEAD") and copy.is_shallow
    git.at(tmp / "copy").fsck()


def test_pygit2_wrong_token(hub, tmp, pushed):
    path, _ = pushed
    wrong = pygit2.RemoteCallbacks(credentials=pygit2.UserPass("any", "hf_" + "w" * 34))
    with pytest.raises(pygit2.GitError):
        pygit2.clone_repository(hub.git_url(path), tmp / "copy", callbacks=wrong)


def test_pygit2_refused_push_names_the_reason(hub, tmp, repo, callbacks, alice):
    path = repo()
    work = pygit2.init_repository(tmp / "work", bare=True)
    tip = pygit2_commit(work, "a.txt", b"a\n", [])
    work.references.create("refs/pr/9", tip)
    messages = []

    class Watching(pygit2.RemoteCallbacks):
        def push_update_reference(self, name, message):
            messages.append((name, message))

    remote = work.remotes.create("origin", hub.git_url(path))
    remote.push(["refs/heads/main"], callbacks=callbacks)
    remote.push(["refs/pr/9"], callbacks=Watching(credentials=pygit2.UserPass("any", alice)))
    assert messages and messages[0][0] == "refs/pr/9" and messages[0][1]


def test_dulwich_push_clone_fetch(hub, git, tmp, repo, alice):
    path = repo()
    work = dulwich.porcelain.init(tmp / "work")
    (tmp / "work/a.txt").write_text("from dulwich\n")
    dulwich.porcelain.add(work, [str(tmp / "work/a.txt")])
    tip = dulwich.porcelain.commit(work, message=b"one", author=b"D <d@example.com>", committer=b"D <d@example.com>")
    branch = dulwich.porcelain.active_branch(work)
    dulwich.porcelain.push(work, hub.git_url(path, alice), branch + b":refs/heads/main", errstream=NULL, outstream=NULL)
    assert git.refs(hub.git_url(path, alice))["refs/heads/main"] == tip.decode()

    copy = dulwich.porcelain.clone(hub.git_url(path, alice), str(tmp / "copy"), errstream=NULL, depth=None)
    assert copy.refs[b"refs/heads/main"] == tip
    assert (tmp / "copy/a.txt").read_text() == "from dulwich\n"
    (tmp / "work/a.txt").write_text("more\n")
    dulwich.porcelain.add(work, [str(tmp / "work/a.txt")])
    tip = dulwich.porcelain.commit(work, message=b"two", author=b"D <d@example.com>", committer=b"D <d@example.com>")
    dulwich.porcelain.push(work, hub.git_url(path, alice), branch + b":refs/heads/main", errstream=NULL, outstream=NULL)
    fetched = dulwich.porcelain.fetch(copy, hub.git_url(path, alice), errstream=NULL, outstream=NULL)
    assert fetched.refs[b"refs/heads/main"] == tip
    git.at(tmp / "copy").fsck()


def test_dulwich_shallow_and_ls_remote(hub, git, tmp, pushed, alice):
    path, work = pushed
    listed = dulwich.porcelain.ls_remote(hub.git_url(path, alice))
    assert listed.refs[b"refs/heads/main"].decode() == work("rev-parse", "HEAD")
    dulwich.porcelain.clone(hub.git_url(path, alice), str(tmp / "copy"), depth=1, errstream=NULL).close()
    assert git.at(tmp / "copy")("rev-list", "--count", "HEAD") == "1"


class _Null:
    def write(self, data):
        return len(data)

    def flush(self):
        pass


NULL = _Null()
