"""Push and clone with each git-lfs on each engine: what arrives is what was sent. `test_lfs_trouble` has what goes wrong between."""

import json
import shutil

import pytest

from harness import lfs, metrics, wait
from harness.client import GitFailed, text
from harness.httpd import Proxy
from harness.lfs import add, content


@pytest.mark.shows("push", "clone")
def test_every_size(lfs_work, clone_back):
    for name, size in lfs.SIZES.items():
        add(lfs_work, f"{name.replace(' ', '')}.bin", size)
    lfs_work("push", "-q", "origin", "main", seconds=240)
    copy = clone_back(lfs_work.path)
    lfs.same_files(lfs_work, copy, *(f"{name.replace(' ', '')}.bin" for name in lfs.SIZES))


def test_what_is_there_is_not_sent_again(lfs_hub, lfs_work):
    with Proxy(lfs_hub.url) as proxy:
        base = proxy.listen()
        lfs_work("remote", "set-url", "origin", lfs.url(base, lfs_work.path, lfs_hub.tokens['alice']))
        add(lfs_work, "a.bin", 100_000)
        lfs_work("push", "-q", "origin", "main")
        proxy.seen.clear()
        add(lfs_work, "b.bin", 1000)
        lfs_work("push", "-q", "origin", "main")
        granted = [row["oid"] for row in batches(proxy) if row.get("actions")]
        assert granted == [lfs.oid((lfs_work.cwd / "b.bin").read_bytes())]
        lfs_work("lfs", "push", "--all", "origin")


def batches(proxy):
    return [row for seen in proxy.seen if seen.path.endswith("/objects/batch") and seen.status == 200 for row in json.loads(seen.kept)["objects"]]


def test_the_same_object_from_two_repositories_at_once(passage, lfs_client, lfs_size, lfs_parts, git, tmp):
    """Each proves its own copy, in parts if it can; each has it afterwards; one is kept."""
    works = []
    for number in range(2):
        work = lfs_client.init(git, tmp / f"work{number}", passage.hub.url)
        work.commit("same.bin", content(lfs_size, "same"))
        _, work.url = passage.repo(f"r{number}")
        works.append(work)
    pushes = [work.start("push", work.url, "main") for work in works]
    for push in pushes:
        _, err = push.communicate(timeout=120)
        assert push.returncode == 0, text(err)
    assert len(passage.parts()) == 2 * lfs_parts
    assert passage.bytes.received(role="client", method="PUT") == 2 * lfs_size, "neither was told that it is there"
    passage.assert_stored(1)
    for number, work in enumerate(works):
        copy = lfs_client.of(git, passage.hub.url).clone(work.url, tmp / f"copy{number}")
        lfs.same_files(work, copy, "same.bin")


@pytest.mark.shows("push without the object is refused by name")
def test_a_pointer_without_its_object_is_refused(lfs_work):
    """`GIT_LFS_SKIP_PUSH`: the server itself names path and oid and says what to do."""
    data = add(lfs_work, "sub/dir/model.bin", 1000)
    said = lfs_work.at(lfs_work.cwd, GIT_LFS_SKIP_PUSH="1").fails("push", "origin", "main")
    assert "sub/dir/model.bin" in said and lfs.oid(data) in said and "git lfs push" in said, said
    assert lfs_work("ls-remote", "origin") == ""
    lfs_work("push", "-q", "origin", "main")


def test_no_attributes_no_questions(lfs_hub, lfs_client, lfs_repo, git, tmp):
    """A repository without LFS pushes as ever with git-lfs installed; an empty batch is never needed."""
    work = lfs_client.of(git, lfs_hub.url).init(tmp / "plain")
    work("lfs", "install", "--local")
    work.commit("file", "content\n")
    work("push", "-q", lfs_hub.git_url(lfs_repo(), lfs_hub.tokens["alice"]), "main")


def test_a_client_without_rights(lfs_hub, lfs_work, lfs_repo):
    """Strangers learn nothing, readers may not upload; in the client's words."""
    add(lfs_work, "a.bin", 1000)
    said = lfs_work.fails("push", lfs_hub.git_url(lfs_work.path, lfs_hub.tokens["bob"]), "main")
    assert "not found" in said.lower() or "404" in said, said
    public = lfs_repo(public=True)
    with pytest.raises(GitFailed) as failed:
        lfs_work("push", lfs_hub.git_url(public, lfs_hub.tokens["bob"]), "main")
    assert "403" in text(failed.value.done.stderr) or "denied" in text(failed.value.done.stderr).lower() or "not allowed" in text(failed.value.done.stderr)


# -- more than S3 takes in one piece ------------------------------------------------------------------------------

HUGE = (5 << 30) + 1
ROOM = 4 * HUGE
"""Where it is stored, twice in a clone, and some to spare."""


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_over_five_gib(passage, lfs_client, git, tmp):
    """To a bucket a stock git-lfs sends it through the hub, once and streamed; the agent sends parts, past the hub."""
    # What the test before took is still being removed.
    wait.until(lambda: shutil.disk_usage(tmp).free >= ROOM, f"{ROOM >> 30} GiB are free in {tmp}", seconds=120)
    work = lfs_client.init(git, tmp / "work", passage.hub.url)
    _, url = passage.repo()
    with open(work.cwd / "big.bin", "wb") as file:
        file.truncate(HUGE)
        file.seek(HUGE - 1000)
        file.write(content(1000, str(tmp)))
    work("add", "big.bin", seconds=600)
    work("commit", "-q", "-m", "big")
    name = lfs.digest(work.cwd / "big.bin")
    (work.cwd / "big.bin").unlink()  # the room is needed
    through_to_s3 = passage.engine == "s3" and not lfs_client.agent
    left_at_half = watch_half(passage) if through_to_s3 else None
    with metrics.Change(passage.hub) as moved:
        work("push", "-q", url, "main", seconds=2000)
    assert lfs.stored(work, name).stat().st_size == HUGE
    through = HUGE if passage.engine == "disk" or not lfs_client.agent else 0
    assert moved["lfs_bytes_in"] == through
    if passage.engine == "s3":
        assert moved["lfs_read_back_bytes"] == (HUGE if lfs_client.agent else 0)
        assert passage.bytes.received(role="hub", method="PUT") == through
        assert passage.bytes.received(role="client", method="PUT") == HUGE - through
    if through_to_s3:
        assert left_at_half[0] > HUGE // 4, "bytes leave the hub while others arrive"
    lfs.stored(work, name).unlink()
    lfs_client.of(git, passage.hub.url).run("clone", "-q", url, tmp / "copy", seconds=2000)
    assert lfs.digest(tmp / "copy/big.bin") == name


def watch_half(passage):
    """[bytes that the bucket had from the hub when half of them had come in]"""
    seen = []

    def counted(exchange):
        def edit(piece):
            if not seen and exchange.body_bytes >= HUGE // 2:
                seen.append(passage.bytes.received(role="hub", method="PUT"))
            return piece
        passage.door.forward(exchange, edit=edit)

    passage.door.order(counted, passage.takes_an_object)
    return seen
