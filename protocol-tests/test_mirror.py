"""Mirrors both ways, hub to hub, a hundred repositories: equal refs, equal trees, a clean fsck."""

import random
import re
import subprocess

import pytest

from harness import lfs, shapes as shape_module
from harness.hub import BINARY, ROOT
from harness.shapes import Stream


def same(left, right):
    assert left.refs() == right.refs()
    assert left.objects("--all") == right.objects("--all")


def mirror_repo(hub):
    return hub.repo(f"admin/mirror{next(hub.names)}", "--mirror")


@pytest.mark.shows("push --mirror, clone --mirror")
def test_push_mirror_and_clone_mirror(hub, any_git, tmp, shapes):
    admin = hub.tokens["admin"]
    for name in shape_module.SMALL:
        bare = shapes.bare(name)
        path = mirror_repo(hub)
        if bare.refs():
            any_git.at(bare.cwd)("push", "-q", "--mirror", hub.git_url(path, admin))
        copy = any_git.clone(hub.git_url(path, admin), tmp / f"{name}.git", "--mirror")
        same(copy, bare)
        if name != "old-defects":
            copy.fsck()


@pytest.mark.shows("remote update --prune")
def test_remote_update_prune(hub, any_git, tmp, pushed, alice):
    path, work = pushed
    work("push", "-q", "origin", "main:old", "main:refs/tags/t1", "main:dir/x")
    mirror = any_git.clone(hub.git_url(path, alice), tmp / "mirror.git", "--mirror")
    work("push", "-q", "origin", ":old", ":refs/tags/t1", ":dir/x")
    work.commit("file", "newer\n")
    work("commit", "-q", "--amend", "-m", "rewritten")
    work("push", "-q", "--force", "origin", "main", "main:dir", "main:new")
    mirror("remote", "update", "--prune")
    remote = any_git.refs(hub.git_url(path, alice))
    remote.pop("HEAD")
    assert mirror.refs() == remote
    mirror.fsck()


def test_hub_to_hub_with_pull_request_refs(hub, any_git, tmp, shapes):
    """An administrator moves a repository to another hub path, refs/pr and refs/convert too."""
    admin = hub.tokens["admin"]
    first, second = mirror_repo(hub), mirror_repo(hub)
    source = any_git.clone(shapes.bare("simple").cwd, tmp / "source.git", "--mirror")
    for name in ("refs/pr/1", "refs/pr/2", "refs/convert/parquet", "refs/notes/commits"):
        source("update-ref", name, "main~3")
    source("push", "-q", "--mirror", hub.git_url(first, admin))
    between = any_git.clone(hub.git_url(first, admin), tmp / "between.git", "--mirror")
    same(between, source)
    between("push", "-q", "--mirror", hub.git_url(second, admin))
    again = any_git.clone(hub.git_url(second, admin), tmp / "again.git", "--mirror")
    same(again, source)
    again.fsck()

    # the source moves on; the mirror follows, deletions included
    source("update-ref", "-d", "refs/heads/topic")
    source("update-ref", "refs/heads/main", "main~1")
    source("push", "-q", "--mirror", hub.git_url(second, admin))
    again("remote", "update", "--prune")
    same(again, source)


def test_the_readmes_commands(fresh_hub, lfs_client, git, tmp):
    """As they stand there, with large files; only hosts and paths are others."""
    hub = fresh_hub()
    admin = hub.admin_token
    work = lfs_client.init(git, tmp / "work", hub.url)
    sent = []
    for branch in ("main", "topic"):
        work("switch", "-q", "-C", branch)
        for number in range(2):
            sent.append(lfs.content(20_000, f"{branch} {number}"))
            work.commit("model.bin", sent[-1])
    work("tag", "v1", "main~1")
    elsewhere = hub.repo("admin/model")
    work("push", "-q", hub.git_url(elsewhere, admin), "main", "topic", "v1")

    section = (ROOT / "README.md").read_text().partition("\nMirror a repository")[2]
    commands = re.search(r"\n\n((?: {4}.*\n)+)", section)[1]
    assert "git lfs fetch" in commands and "git push --mirror" in commands
    for written, real in (("https://elsewhere.example/some/model", hub.git_url(elsewhere, admin)), ("http://127.0.0.1:8080", hub.git_url("", admin).rstrip("/"))):
        assert written in commands
        commands = commands.replace(written, real)
    client = lfs_client.of(git, hub.url)
    shell = client.environment
    granary = tmp / "programs/granary"
    granary.parent.mkdir()
    granary.write_text(f'#!/bin/sh\nexec {BINARY} "$@" --data-dir {hub.data}\n')
    granary.chmod(0o755)
    done = subprocess.run(["sh", "-e", "-x"], input=commands, env={**shell, "PATH": f"{granary.parent}:{shell['PATH']}"}, cwd=tmp,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    copy = client.clone(hub.git_url("admin/copy", admin), tmp / "copy.git", "--mirror")
    copy("lfs", "fetch", "--all")
    same(copy, git.at(tmp / "model.git"))
    for data in sent:
        assert lfs.stored(copy, lfs.oid(data)).read_bytes() == data


def test_an_empty_ordinary_repository_takes_an_admins_mirror(hub, any_git, tmp, shapes, repo):
    path = repo()
    source = any_git.clone(shapes.bare("simple").cwd, tmp / "source.git", "--mirror")
    source("update-ref", "refs/pr/7", "main")
    source("push", "-q", "--mirror", hub.git_url(path, hub.tokens["admin"]))
    same(any_git.clone(hub.git_url(path, hub.tokens["admin"]), tmp / "copy.git", "--mirror"), source)


def test_a_hundred_repositories(hub, git, tmp, alice):
    sources = []
    for number in range(100):
        source = random.Random(number)
        bare = git.init(tmp / f"source{number}.git", "--bare")
        stream, tip = Stream(), None
        for step in range(source.randint(1, 8)):
            changes = {f"d{source.randint(0, 3)}/f{source.randint(0, 9)}": source.randbytes(source.randint(0, 4000)) for _ in range(3)}
            tip = stream.commit("refs/heads/main", changes, [tip] if tip else [])
        stream.tag("v1", tip)
        stream.load(bare)
        path = hub.repo(f"alice/hundred{number}-{next(hub.names)}")
        bare("push", "-q", hub.git_url(path, alice), "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")
        sources.append((path, bare))
    for number, (path, bare) in enumerate(sources):
        copy = git.clone(hub.git_url(path, alice), tmp / f"copy{number}.git", "--mirror")
        assert copy.refs() == bare.refs()
        assert copy("rev-parse", "main^{tree}") == bare("rev-parse", "main^{tree}")
        copy.fsck()


def test_export_and_import(hub, git, tmp, shapes):
    admin = hub.tokens["admin"]
    for name in shape_module.SMALL:
        bare = shapes.bare(name)
        path = f"admin/imported{next(hub.names)}"
        hub.run("repo", "import", bare.cwd, path)
        copy = git.clone(hub.git_url(path, admin), tmp / f"{name}-clone.git", "--mirror")
        same(copy, bare)
        hub.run("repo", "export", path, tmp / f"{name}-export.git")
        exported = git.at(tmp / f"{name}-export.git")
        same(exported, bare)
        assert exported("symbolic-ref", "HEAD") == bare("symbolic-ref", "HEAD")
        if name != "old-defects":
            exported.fsck()


def test_import_keeps_working_while_packed_oddly(hub, git, tmp, shapes):
    """Loose objects, alternates, packed refs, a work tree's .git."""
    work = git.clone(shapes.bare("simple").cwd, tmp / "work", "--no-local")
    work.commit("loose", "loose\n")
    borrowed = git.clone(work.cwd, tmp / "borrowed.git", "--bare", "--shared")
    borrowed("pack-refs", "--all")
    for source in (tmp / "work/.git", tmp / "borrowed.git"):
        path = f"admin/odd{next(hub.names)}"
        hub.run("repo", "import", source, path)
        copy = git.clone(hub.git_url(path, hub.tokens["admin"]), tmp / f"copy-{source.parent.name}-{source.name}", "--bare")
        assert copy("rev-parse", "main") == work("rev-parse", "main")
        copy.fsck()


def test_import_of_what_cannot_be_imported(hub, git, tmp, shapes):
    shallow = git.clone(f"file://{shapes.bare('simple').cwd}", tmp / "shallow.git", "--bare", "--depth=1")
    broken = git.clone(shapes.bare("simple").cwd, tmp / "broken.git", "--bare", "--no-hardlinks")
    blob = broken("rev-parse", "main:README.md")
    for pack in (broken.cwd / "objects/pack").iterdir():
        moved = tmp / pack.name
        pack.rename(moved)
        if moved.suffix == ".pack":
            data = moved.read_bytes()
    broken.run("unpack-objects", "-q", input=data)
    (broken.cwd / "objects" / blob[:2] / blob[2:]).unlink()
    for source, words in ((shallow.cwd, "shallow"), (broken.cwd, blob), (tmp / "nothing", "nothing"), (tmp, str(tmp))):
        path = f"admin/bad{next(hub.names)}"
        done = hub.run("repo", "import", source, path, check=False)
        assert done.returncode != 0 and words in done.stderr, done.stderr
        assert path not in hub.run("repo", "list").stdout or not git.refs(hub.git_url(path, hub.tokens["admin"]))
