"""Whole repositories: a real model, thousands of small objects, mirrors."""

import random
import shutil

import pytest

from harness import lfs, nginx
from harness.client import text
from harness.lfs import content


def model(client, git, model_files, hub, path):
    """A work tree with the real model in it; large files by the attributes it brings along."""
    work = client.of(git, hub.url).init(path)
    work("lfs", "install", "--local")
    client.enable(work)
    shutil.copytree(model_files, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    work("lfs", "track", "tokenizer.json", "vocab.txt")
    work("add", "-A")
    work("commit", "-q", "-m", "the model")
    assert "model.safetensors" in work("lfs", "ls-files", "--name-only")
    return work


def identical(left, right):
    files = sorted(file.relative_to(left) for file in left.rglob("*") if file.is_file() and ".git" not in file.relative_to(left).parts)
    assert files == sorted(file.relative_to(right) for file in right.rglob("*") if file.is_file() and ".git" not in file.relative_to(right).parts)
    for file in files:
        assert (left / file).read_bytes() == (right / file).read_bytes(), file


@pytest.mark.shows("a real model")
def test_a_real_model(lfs_hub, lfs_client, lfs_repo, git, tmp, model_files):
    work = model(lfs_client, git, model_files, lfs_hub, tmp / "work")
    url = lfs_hub.git_url(lfs_repo(), lfs_hub.tokens["alice"])
    work("push", "-q", url, "main", seconds=240)
    copy = lfs_client.of(git, lfs_hub.url).clone(url, tmp / "copy")
    identical(work.cwd, copy.cwd)
    copy("lfs", "fsck")
    copy.fsck()


@pytest.mark.skipif(not nginx.binary(), reason="nginx is not installed: protocol-tests/run installs it")
def test_a_real_model_through_nginx(fresh_hub, engine_settings, lfs_client, git, tmp, model_files):
    """Hrefs lead through it as well; nothing of a body, either way, is spooled on its disk."""
    hub = fresh_hub(settings=engine_settings())
    with nginx.in_front_of(hub, tmp / "nginx"):
        path = hub.repo("admin/model")
        work = model(lfs_client, git, model_files, hub, tmp / "work")
        url = hub.git_url(path, hub.admin_token)
        work("push", "-q", url, "main", seconds=240)
        copy = lfs_client.of(git, hub.url).clone(url, tmp / "copy")
        identical(work.cwd, copy.cwd)
    assert not nginx.spooled(tmp / "nginx")


def test_small_objects_by_the_thousand(lfs_hub, lfs_repo, git, tmp):
    """Fifty batches of a hundred each."""
    client = lfs.CLIENTS[1] if len(lfs.CLIENTS) > 1 else lfs.CLIENTS[0]
    count = 5000
    work = client.init(git, tmp / "work", lfs_hub.url)
    source = random.Random(str(tmp))
    for number in range(count):
        directory = work.cwd / f"d{number % 50:02d}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number:04d}.bin").write_bytes(source.randbytes(source.randint(1, 2000)))
    work("add", "-A", seconds=240)
    work("commit", "-q", "-m", f"{count} files")
    url = lfs_hub.git_url(lfs_repo(), lfs_hub.tokens["alice"])
    work("push", "-q", url, "main", seconds=280)
    copy = client.of(git, lfs_hub.url).clone(url, tmp / "copy")
    identical(work.cwd, copy.cwd)
    assert len(copy("lfs", "ls-files").splitlines()) == count


@pytest.mark.shows("mirrors")
def test_mirrors(lfs_hub, lfs_client, lfs_repo, git, tmp):
    """`fetch --all` and `push --all` take every object of every branch and tag from one repository to another."""
    alice = lfs_hub.tokens["alice"]
    work = lfs_client.init(git, tmp / "work", lfs_hub.url)
    sent = []
    for number, branch in enumerate(("main", "topic", "old")):
        if number:
            work("switch", "-q", "-c", branch)
        for step in range(3):
            sent.append(data := content(20_000 + number, f"{tmp} {branch} {step}"))
            work.commit("a.bin", data)
    work("tag", "-a", "-m", "v1", "v1", "old~1")
    work("push", "-q", "--mirror", first := lfs_hub.git_url(lfs_repo(), alice))
    mirror = lfs_client.of(git, lfs_hub.url).clone(first, tmp / "mirror.git", "--mirror")
    mirror("lfs", "fetch", "--all")
    for data in sent:
        assert lfs.stored(mirror, lfs.oid(data)).read_bytes() == data
    second = lfs_hub.git_url(lfs_repo(), alice)
    refused = mirror.at(mirror.cwd, GIT_LFS_SKIP_PUSH="1").fails("push", "--mirror", second)
    assert "git lfs push" in refused, refused
    mirror("remote", "add", "second", second)
    mirror("lfs", "push", "--all", "second")
    mirror("push", "-q", "--mirror", second)
    again = lfs_client.of(git, lfs_hub.url).clone(second, tmp / "again.git", "--mirror")
    again("lfs", "fetch", "--all")
    assert again.refs() == mirror.refs()
    for data in sent:
        assert lfs.stored(again, lfs.oid(data)).read_bytes() == data


@pytest.mark.shows("pull, fetch, checkout, prune")
def test_pull_fetch_checkout_prune(lfs_hub, lfs_client, lfs_repo, git, tmp):
    """What people do all day."""
    url = lfs_hub.git_url(lfs_repo(), lfs_hub.tokens["alice"])
    work = lfs_client.init(git, tmp / "work", lfs_hub.url)
    first, second = content(10_000, f"{tmp} 1"), content(10_000, f"{tmp} 2")
    work.commit("a.bin", first)
    work("remote", "add", "origin", url)
    work("push", "-q", "-u", "origin", "main")
    copy = lfs_client.of(git, lfs_hub.url).at(tmp, GIT_LFS_SKIP_SMUDGE="1").clone(url, tmp / "copy")
    assert (copy.cwd / "a.bin").read_text() == lfs.pointer(first)
    copy = lfs_client.of(git, lfs_hub.url).at(tmp / "copy")
    copy("lfs", "pull")
    assert (copy.cwd / "a.bin").read_bytes() == first
    work.commit("a.bin", second)
    work("push", "-q")
    copy("pull", "-q")
    assert (copy.cwd / "a.bin").read_bytes() == second
    copy("switch", "-q", "--detach", "HEAD~1")
    copy("lfs", "checkout")
    assert (copy.cwd / "a.bin").read_bytes() == first
    copy("lfs", "prune")
    copy.commit("a.bin", content(10_000, f"{tmp} 3"))
    copy("push", "-q", "origin", "HEAD:refs/heads/side")
    assert "a.bin" in text(copy.run("lfs", "ls-files").stdout)


@pytest.mark.shows("partial clone")
def test_a_partial_clone_with_lfs(lfs_hub, lfs_client, lfs_repo, git, tmp):
    url = lfs_hub.git_url(lfs_repo(), lfs_hub.tokens["alice"])
    work = lfs_client.init(git, tmp / "work", lfs_hub.url)
    data = content(50_000, str(tmp))
    work.commit("a.bin", data)
    work("push", "-q", url, "main")
    copy = lfs_client.of(git, lfs_hub.url).clone(url, tmp / "copy", "--filter=blob:none", "--depth=1")
    assert (copy.cwd / "a.bin").read_bytes() == data
