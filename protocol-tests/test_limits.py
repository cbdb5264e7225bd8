"""Every limit, exactly at its bound and one beyond, with what the user is told; then the server goes on."""

import gzip
import http.client
import os
import threading

import pytest

from harness import packs, wait, wire
from harness.load import Connection, History


class Limited:
    """A hub of its own with some limits, a repository in it, and what it answers."""

    def __init__(self, fresh_hub, settings):
        self.hub = fresh_hub(settings=settings)
        self.path, self.token = self.hub.repo("admin/limited"), self.hub.admin_token
        self.url = f"{self.hub.url}/{self.path}"
        self.count = 0

    def push(self, updates, pack=packs.pack(), **options):
        answer = wire.receive_pack(self.url, wire.push_body(updates, pack, **options), token=self.token)
        if answer.status != 200:
            return wire.Pushed(error=f"{answer.status} {answer.text()}")
        return wire.parse_push(answer.body)

    def push_blob(self, size, path=None):
        """One commit with one incompressible file; returns (outcome, size of the pack)."""
        self.count += 1
        new, pack = packs.single_commit(content=os.urandom(size))
        answer = wire.receive_pack(f"{self.hub.url}/{path or self.path}", wire.push_body(
            [(wire.ZERO, new, f"refs/heads/b{self.count}")], pack), token=self.token)
        return wire.parse_push(answer.body), len(pack)

    def start(self):
        tip, pack = packs.single_commit()
        assert self.push([(wire.ZERO, tip, "refs/heads/main")], pack).ok
        return tip

    def error(self, body, version=2, **headers):
        """What a fetch request is refused with, or nothing."""
        answer = wire.upload_pack(self.url, body, version, token=self.token, headers=headers)
        return answer.text() if answer.status != 200 else wire.parse_fetch(answer.body).error


@pytest.fixture
def limited(fresh_hub):
    return lambda **settings: Limited(fresh_hub, {key.replace("__", "."): value for key, value in settings.items()})


def ids(count):
    return ["%040x" % number for number in range(1, count + 1)]


# -- pushes -------------------------------------------------------------------------------------------------------


def test_blob_bytes(limited):
    at = limited(limits__blob_bytes="100KiB")
    assert at.push_blob(100 * 1024)[0].ok
    over, _ = at.push_blob(100 * 1024 + 1)
    assert not over.ok and "file" in over.all_text() and "git lfs" in over.all_text(), "names the file and the way out"
    at.hub.run("repo", "create", "admin/roomy", "--private", "--blob-max", "1MiB")
    assert at.push_blob(1 << 20, "admin/roomy")[0].ok
    assert not at.push_blob((1 << 20) + 1, "admin/roomy")[0].ok


def test_the_default_blob_limit_names_the_whole_path(limited):
    at = limited()
    content = os.urandom((10 << 20) + 1)
    inner = packs.tree(("100644", "weights.bin", packs.oid("blob", content)))
    root = packs.tree(("40000", "checkpoints", packs.oid("tree", inner)))
    commit = packs.commit(packs.oid("tree", root))
    pack = packs.pack(packs.entry("commit", commit), packs.entry("tree", root), packs.entry("tree", inner),
                      packs.entry("blob", content, level=0))
    over = at.push([(wire.ZERO, packs.oid("commit", commit), "refs/heads/main")], pack)
    assert not over.ok and "checkpoints/weights.bin" in over.all_text() and "git lfs" in over.all_text()
    assert at.push_blob(10 << 20)[0].ok


def test_pack_bytes(limited):
    new, pack = packs.single_commit(content=os.urandom(50_000))
    at = limited(limits__pack_bytes=str(len(pack)))
    assert at.push([(wire.ZERO, new, "refs/heads/at")], pack).ok
    # How well the ids in trees and commits deflate differs by a byte or two.
    candidates = (packs.single_commit(content=os.urandom(50_001)) for _ in range(200))
    longer, pack_over = next(candidate for candidate in candidates if len(candidate[1]) == len(pack) + 1)
    over = at.push([(wire.ZERO, longer, "refs/heads/over")], pack_over)
    assert not over.ok and "pack" in over.all_text() and str(len(pack)) in over.all_text(), over


def test_pack_bytes_as_git_shows_it(limited, git, tmp):
    at = limited(limits__pack_bytes="1MiB")
    work = git.init(tmp / "work")
    work.commit("big", os.urandom(8 << 20))
    said = work.fails("push", at.hub.git_url(at.path, at.token), "main")
    assert "1048576" in said or "1 MiB" in said, said
    assert git.refs(at.hub.git_url(at.path, at.token)) == {}


def test_objects(limited):
    at = limited(limits__objects="3")
    assert at.push_blob(10)[0].ok
    builder = packs.Builder()
    tip = builder.file_commit()
    builder.add("blob", b"a fourth")
    over = at.push([(wire.ZERO, tip, "refs/heads/four")], builder.pack())
    assert not over.ok and "objects" in over.all_text(), over


def test_object_bytes(limited):
    at = limited(limits__object_bytes="64KiB", limits__blob_bytes="1MiB")
    assert at.push_blob(64 * 1024)[0].ok
    assert not at.push_blob(64 * 1024 + 1)[0].ok
    base = b"x" * 60_000
    bomb = packs.pack(packs.entry("blob", base), packs.ref_delta(
        packs.oid("blob", base), packs.delta(60_000, 120_000, (0, 60_000), (0, 60_000))))
    assert not at.push([(wire.ZERO, packs.oid("blob", base * 2), "refs/tags/delta")], bomb).ok, "made from deltas too"


def test_inflated_bytes(limited):
    """All objects of a pack together: what a small pack may cost in time."""
    at = limited(limits__inflated_bytes="1MiB")
    builder = packs.Builder()
    tip = builder.file_commit()
    for number in range(20):
        builder.add("blob", bytes([number]) * 100_000)
    assert len(builder.pack()) < 20_000
    over = at.push([(wire.ZERO, tip, "refs/heads/bomb")], builder.pack())
    assert not over.ok and "inflated" in over.all_text().lower() or "bytes" in over.all_text(), over
    assert at.push_blob(100_000)[0].ok


def test_refs(limited):
    at = limited(limits__refs="5")
    tip = at.start()
    assert at.push([(wire.ZERO, tip, f"refs/heads/{number}") for number in range(4)]).ok
    sixth = at.push([(wire.ZERO, tip, "refs/heads/sixth")])
    assert not sixth.ok and "limit of 5" in sixth.all_text()
    assert at.push([(tip, wire.ZERO, "refs/heads/0"), (wire.ZERO, tip, "refs/heads/sixth")]).ok, "one gone, one come"


def test_ref_name_bytes(limited):
    at = limited(limits__ref_name_bytes="40")
    tip = at.start()
    assert at.push([(wire.ZERO, tip, "refs/heads/" + "n" * 29)]).ok
    over = at.push([(wire.ZERO, tip, "refs/heads/" + "n" * 30)])
    assert not over.ok and over.all_text().strip()


def test_commands(limited):
    at = limited(limits__commands="8")
    tip = at.start()
    assert at.push([(wire.ZERO, tip, f"refs/heads/at{number}") for number in range(8)]).ok
    over = at.push([(wire.ZERO, tip, f"refs/heads/over{number}") for number in range(9)])
    assert not over.ok and "8" in over.all_text(), over


def test_push_options(limited):
    at = limited(limits__push_options="3")
    tip = at.start()
    capabilities = [*wire.PUSH_CAPABILITIES, "push-options"]
    assert at.push([(wire.ZERO, tip, "refs/heads/at")], capabilities=capabilities, options=["a", "b", "c"]).ok
    over = at.push([(wire.ZERO, tip, "refs/heads/over")], capabilities=capabilities, options=["a", "b", "c", "d"])
    assert not over.ok and "3" in over.all_text(), over


# -- fetches ------------------------------------------------------------------------------------------------------


def test_wants_haves_shallows(limited):
    at = limited(limits__wants="3", limits__haves="3", limits__shallow="3")
    tip = at.start()
    blob = packs.oid("blob", b"content\n")
    three = [tip, packs.oid("tree", packs.tree(("100644", "file", blob))), blob]
    assert not at.error(wire.fetch_body(wants=three, haves=ids(3)))
    assert "3" in at.error(wire.fetch_body(wants=[*three, ids(1)[0]]))
    assert "3" in at.error(wire.fetch_body(wants=[tip], haves=ids(4)))
    assert "3" in at.error(wire.fetch_body(*(f"shallow {oid}" for oid in ids(4)), wants=[tip]))
    old = wire.upload_pack(at.url, wire.want_body_v0([tip], ["ofs-delta"], ids(4)), version=None, token=at.token)
    assert old.status != 200 or b"ERR " in old.body, "version 0 too"


def test_prefixes(limited):
    """From 65,536 on git lists everything; so do we."""
    at = limited()
    at.start()
    for count, narrowed in ((65_535, True), (65_536, False)):
        body = wire.ls_refs_body(*(f"ref-prefix refs/none/{number}" for number in range(count)))
        listing = wire.upload_pack(at.url, body, token=at.token)
        assert listing.status == 200, listing.text()[:200]
        assert (b"refs/heads/main" in listing.body) is not narrowed


def test_walks(limited):
    """A boundary that takes too many commits to find is refused, not computed."""
    at = limited(limits__walk_commits="20")
    builder, tip = packs.Builder(), None
    for number in range(40):
        tip = builder.file_commit(*([tip] if tip else []), content=b"%d" % number, when=1_700_000_000 + number)
    assert at.push([(wire.ZERO, tip, "refs/heads/main")], builder.pack()).ok
    assert not at.error(wire.fetch_body("deepen 5", wants=[tip]))
    assert at.error(wire.fetch_body("deepen-since 1", wants=[tip]))


def test_inflated_requests(limited):
    at = limited(limits__request_inflated="100KiB")
    tip = at.start()

    def padded(size):
        body = wire.fetch_body(wants=[tip])
        line = b"0032have " + b"1" * 40 + b"\n"
        body = body.replace(b"0009done\n0000", line * ((size - len(body)) // len(line)) + b"0009done\n0000")
        return body

    assert not at.error(gzip.compress(padded(100 * 1024)), **{"Content-Encoding": "gzip"})
    assert at.error(gzip.compress(padded(100 * 1024 + 200)), **{"Content-Encoding": "gzip"})
    assert at.error(padded(200 * 1024)), "plain ones as well"


# -- the node -----------------------------------------------------------------------------------------------------


def test_staging(limited):
    """Bodies under way have a common cap; beyond it a push is told to come again."""
    at = limited(storage__staging_max="4MiB")
    tip = at.start()
    held = wire.Raw(at.hub.url)
    head = {"Content-Type": "application/x-git-receive-pack-request", "Authorization": wire.basic(at.token)}
    held.request("POST", f"/{at.path}/git-receive-pack", {**head, "Content-Length": str(8 << 20)},
                 wire.push_body([(wire.ZERO, tip, "refs/heads/held")], b"PACK" + os.urandom(3_500_000)))
    new, pack = packs.single_commit(content=os.urandom(2_000_000))

    def refused():
        answer = wire.receive_pack(at.url, wire.push_body([(wire.ZERO, new, f"refs/heads/x{os.urandom(4).hex()}")], pack), token=at.token)
        if answer.status in (429, 503):
            assert "retry-after" in answer.headers
            return True
        return not wire.parse_push(answer.body).ok and wire.parse_push(answer.body).all_text()

    wait.until(refused, "the second push is told to wait")
    held.socket.close()
    wait.until(lambda: at.push([(wire.ZERO, new, "refs/heads/later")], pack).ok, "and gets in once the first has gone")


def test_spool(limited):
    """Answers under way have a common cap; beyond it a fetch is told to come again, and half an answer is never a whole one."""
    at = limited(storage__spool_max="4MiB", storage__response_cache="0", storage__response_cache_memory="0")
    at.hub.expect_log("room for answers under way is used up")
    connection, histories = Connection(at.hub.url, at.token), []
    for number in range(4):
        history = History(number, 3_000_000)
        _, tip, pack = history.next()
        assert connection.push(at.path, [(wire.ZERO, tip, f"refs/heads/h{number}")], pack).ok
        histories.append(tip)
    held = []
    statuses = []
    for tip in histories:
        reader = wire.Raw(at.hub.url)
        held.append(reader)
        reader.request("POST", f"/{at.path}/git-upload-pack", {
            "Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2", "Authorization": wire.basic(at.token),
        }, wire.fetch_body("ofs-delta", wants=[tip]))
        statuses.append(reader.head())
    assert statuses[0][0] == 200
    for status, headers in statuses:
        assert status in (200, 429, 503)
        assert status == 200 or "retry-after" in headers
    for reader in held:
        reader.socket.close()

    def fetched():
        try:
            answer = wire.upload_pack(at.url, wire.fetch_body("ofs-delta", wants=[histories[0]]), token=at.token)
        except http.client.IncompleteRead:
            return False  # it began before the others had gone, and the room was used up underway
        return answer.status == 200 and wire.parse_fetch(answer.body).pack

    assert len(wait.until(fetched, "room again once they have gone")) > 3_000_000


def test_cold_builds(limited):
    """With one builder and nobody waiting, a crowd of different cold fetches gets answers or is told to come again."""
    at = limited(limits__cold_builds="1", limits__cold_builds_waiting="1")
    builder, tips = packs.Builder(), []
    for number in range(12):
        tips.append(builder.file_commit(content=os.urandom(400_000), when=1_700_000_000 + number))
    assert at.push([(wire.ZERO, tip, f"refs/heads/c{number}") for number, tip in enumerate(tips)], builder.pack()).ok
    answers = [None] * len(tips)

    def fetch(number):
        answers[number] = wire.upload_pack(at.url, wire.fetch_body(wants=[tips[number]]), token=at.token)

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(len(tips))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for answer in answers:
        if answer.status == 200:
            assert wire.parse_fetch(answer.body).pack.startswith(b"PACK")
        else:
            assert answer.status in (429, 503) and int(answer.headers["retry-after"]) > 0
    assert any(answer.status == 200 for answer in answers)
    assert wire.upload_pack(at.url, wire.fetch_body(wants=[tips[0]]), token=at.token).status == 200
