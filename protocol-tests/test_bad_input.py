"""Bad input: each gets an answer a git user understands, the server goes on serving, nothing half-written is visible."""

import os
import random
import shutil
import struct
import subprocess
import zlib

import pytest

from harness import packs, pktline, wait, wire
from harness.packs import Builder, commit, delta, entry, ofs_delta, oid, pack, ref_delta, tag, tree

UPLOAD = {"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"}
BLOB = b"content\n"
BLOB_ID = oid("blob", BLOB)


def label(value):
    """A readable test id for bytes and text of any kind."""
    return "".join(character for character in ascii(value)[1:] if character.isalnum())[:24] or "empty"


@pytest.fixture
def victim(hub, repo, alice):
    """An existing repository, and a check that a bad push changed nothing in it and the server still serves."""
    return Victim(hub, repo(), alice)


class Victim:
    def __init__(self, hub, path, token):
        self.hub, self.path, self.token = hub, path, token
        self.url = f"{hub.url}/{path}"
        self.tip, data = packs.single_commit()
        assert self.push(self.tip, data, ref="refs/heads/main").ok

    def push(self, new, data, ref="refs/heads/bad", old=wire.ZERO, status=200):
        answer = wire.receive_pack(self.url, wire.push_body([(old, new, ref)], data), token=self.token)
        assert answer.status == status, answer.text()[:500]
        return wire.parse_push(answer.body) if status == 200 else answer

    def refused(self, new, data, *words, ref="refs/heads/bad", old=wire.ZERO):
        """The push fails, says one of `words`, and leaves no trace."""
        before = self.listing()
        result = self.push(new, data, ref, old)
        said = result.all_text()
        assert not result.ok and result.refs.get(ref, "ng") != "ok", said
        assert not words or any(word in said for word in words), said
        assert "internal error" not in said and "panic" not in said
        assert self.listing() == before
        return said

    def accepted(self, new, data, ref="refs/heads/good"):
        result = self.push(new, data, ref)
        assert result.ok, result.all_text()

    def listing(self):
        return wire.upload_pack(self.url, wire.ls_refs_body("ref-prefix refs/"), token=self.token).body

    def has(self, wanted):
        fetched = wire.parse_fetch(wire.upload_pack(self.url, wire.fetch_body(wants=[wanted]), token=self.token).body)
        return bool(fetched.pack) and not fetched.error


def head_of(root):
    """(id, entry) of a commit on a root tree."""
    data = commit(root)
    return oid("commit", data), entry("commit", data)


def tree_push(*rows, extra=()):
    """(commit id, pack) of a commit whose root tree has these rows; BLOB is there."""
    data = tree(*rows)
    tip, tip_entry = head_of(oid("tree", data))
    return tip, pack(tip_entry, entry("tree", data), entry("blob", BLOB), *extra)


# -- pkt-lines and commands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    b"", b"0", b"000", b"0003", b"00", b"zzzz", b"-001", b"+004", b" 004", b"0x04", b"fff5" + b"a" * 10, b"ffff" + b"a" * 70000,
    b"0005", b"0014command=ls-refs\n", b"0014command=ls-refs\n0001", b"0014command=ls-refs\n0001000", b"00010000", b"0002", b"0000", b"00000000",
    pktline.data("command=no-such\n") + b"0000", pktline.data("command=ls-refs\n") + pktline.data("command=fetch\n") + b"0000",
    pktline.data("command=ls-refs\n") + b"0001" + pktline.data("no-such-argument\n") + b"0000",
    pktline.data("command=fetch\n") + b"0001" + pktline.data("want xyz\n") + b"0000",
    pktline.data("command=fetch\n") + b"0001" + pktline.data("done\n") + b"0000",
    pktline.data("command=fetch\n") + b"0001" + pktline.data("deepen -1\n") + pktline.data("want " + "1" * 40 + "\n") + b"0000",
    pktline.data("command=fetch\n") + b"0001" + pktline.data("deepen 99999999999999999999\n") + b"0000",
    pktline.data("command=fetch\n") + b"0001" + pktline.data("shallow 12\n") + b"0000",
    pktline.data("command=ls-refs\n") + pktline.data("object-format=sha256\n") + b"0001" + b"0000",
    pktline.data(b"command=\xff\xfe\0\n") + b"0000", random.Random(1).randbytes(3000)],
    ids=label)
def test_malformed_fetch_requests(hub, victim, body):
    for version in (2, 1, None):
        answer = wire.upload_pack(victim.url, body, version=version, token=victim.token)
        assert answer.status in (200, 400, 413), answer.text()[:300]
        assert b"internal error" not in answer.body
        if answer.status == 200:
            list(pktline.decode(answer.body))
    assert victim.listing()


@pytest.mark.parametrize("body, words", [
    (pktline.data("command=no-such\n") + b"0000", "no-such"),
    (pktline.data("command=ls-refs\n") + b"0001" + pktline.data("no-such-argument\n") + b"0000", "unexpected line: 'no-such-argument'"),
    (wire.fetch_body(wants=["1" * 40]), "upload-pack: not our ref " + "1" * 40),
    (wire.fetch_body("deepen 1", "deepen-since 5", wants=["1" * 40]), "cannot be used together"),
    (pktline.data("command=ls-refs\n") + pktline.data("object-format=sha256\n") + b"00010000", "mismatched object format"),
])
def test_messages_that_git_itself_gives(hub, victim, body, words):
    answer = wire.upload_pack(victim.url, body, token=victim.token)
    said = b" ".join(packet for packet in pktline.decode(answer.body) if isinstance(packet, bytes)).decode()
    assert words in said, said


def test_v0_messages(hub, victim):
    said = wire.upload_pack(victim.url, wire.want_body_v0(["1" * 40], ["ofs-delta"]), version=None, token=victim.token).body
    assert b"ERR upload-pack: not our ref " + b"1" * 40 in said


@pytest.mark.parametrize("body", [
    b"", b"0003", b"zzzz", b"0004", b"ffff", pktline.data("nonsense"), pktline.data("nonsense") + b"0000",
    pktline.data("1" * 40 + " " + "2" * 40), pktline.data("1" * 40 + " " + "2" * 40 + "\0 report-status") + b"0000",
    pktline.data("1" * 39 + " " + "2" * 40 + " refs/heads/x\0 report-status") + b"0000",
    pktline.data("g" * 40 + " " + "2" * 40 + " refs/heads/x\0 report-status") + b"0000",
    pktline.data(f"{wire.ZERO} {wire.ZERO} refs/heads/x\0 report-status") + b"0000",
    pktline.data(f"{wire.ZERO} {'1' * 40} refs/heads/x\0 report-status"),
    pktline.data("shallow 1\n") + b"0000", pktline.data(b"\xff" * 100) + b"0000",
    pktline.data("push-cert\0 report-status") + b"0000", random.Random(1).randbytes(3000)], ids=label)
def test_malformed_push_requests(hub, victim, body):
    before = victim.listing()
    answer = wire.receive_pack(victim.url, body, token=victim.token)
    assert answer.status in (200, 400), answer.text()[:300]
    assert b"internal error" not in answer.body
    assert victim.listing() == before


def test_the_same_ref_twice(hub, victim):
    new, data = packs.single_commit(content=b"twice\n")
    answer = wire.receive_pack(victim.url, wire.push_body(
        [(wire.ZERO, new, "refs/heads/x"), (wire.ZERO, victim.tip, "refs/heads/x")], data), token=victim.token)
    result = wire.parse_push(answer.body)
    assert answer.status == 400 or not result.ok or len(result.refs) == 1


# -- packs --------------------------------------------------------------------------------------------------------


def test_truncated_at_every_place(hub, victim):
    tip, data = packs.single_commit(content=b"truncated\n")
    for length in (*range(0, len(data), 7), len(data) - 1):
        victim.refused(tip, data[:length])
    victim.accepted(tip, data)


def test_every_byte_flipped(hub, victim):
    tip, data = packs.single_commit(content=b"flipped\n")
    for position in range(0, len(data), 3):
        tampered = bytearray(data)
        tampered[position] ^= 0x55
        victim.refused(tip, bytes(tampered))


def test_flips_with_a_right_checksum(hub, victim):
    tip, data = packs.single_commit(content=b"resigned\n")
    for position in range(0, len(data) - 20, 5):
        tampered = bytearray(data[:-20])
        tampered[position] ^= 0x55
        result = victim.push(tip, packs.resign(bytes(tampered)))
        assert not result.ok, f"byte {position}"


def test_wrong_trailer(hub, victim):
    tip, data = packs.single_commit(content=b"trailer\n")
    victim.refused(tip, data[:-20] + b"\0" * 20, "checksum", "SHA-1", "sha1", "SHA1", "trailer")


def test_bytes_after_the_pack(hub, victim):
    tip, data = packs.single_commit(content=b"tail\n")
    victim.refused(tip, data + b"garbage")


@pytest.mark.parametrize("count", [0, 2, 4, 0xFFFFFFFF])
def test_wrong_object_count(hub, victim, count):
    tip, data = packs.single_commit(content=b"count\n")
    body = data[:8] + struct.pack(">I", count) + data[12:-20]
    victim.refused(tip, packs.resign(body))


@pytest.mark.parametrize("start", [b"JUNK", b"PACK\0\0\0\1", b"PACK\0\0\0\4", b"PACK\0\0\0\2"])
def test_not_a_pack(hub, victim, start):
    victim.refused("1" * 40, packs.resign(start + b"\0" * 20))


@pytest.mark.parametrize("kind", [0, 5])
def test_unknown_entry_kinds(hub, victim, kind):
    victim.refused("1" * 40, pack(entry(kind, b"x")))


@pytest.mark.parametrize("claimed", [0, 5, 8, 10, 1 << 20, 1 << 62])
def test_wrong_inflated_size(hub, victim, claimed):
    tip_tree = tree(("100644", "file", BLOB_ID))
    tip, tip_entry = head_of(oid("tree", tip_tree))
    victim.refused(tip, pack(tip_entry, entry("tree", tip_tree), entry("blob", BLOB + b"!", claimed_size=claimed)))


def test_missing_base(hub, victim):
    data = pack(ref_delta("1" * 40, delta(10, 10, (0, 10))))
    victim.refused("1" * 40, data, "base", "unresolved", "missing")
    victim.refused("1" * 40, pack(entry("blob", b"x"), ofs_delta(5, delta(1, 1, (0, 1)))))
    victim.refused("1" * 40, pack(ofs_delta(0, delta(1, 1, (0, 1)))))
    victim.refused("1" * 40, pack(ofs_delta(1 << 40, delta(1, 1, (0, 1)))))


def test_delta_cycle(hub, victim):
    """Two deltas on each other: no order resolves them."""
    one, two = b"a" * 50, b"b" * 50
    first = ref_delta(oid("blob", two), delta(50, 50, one))
    second = ref_delta(oid("blob", one), delta(50, 50, two))
    victim.refused(oid("blob", one), pack(first, second))
    itself = ref_delta(oid("blob", one), delta(50, 50, one))
    victim.refused(oid("blob", one), pack(itself))


@pytest.mark.parametrize("broken", [
    b"", b"\x01", delta(len(BLOB), 8, (0, 9)), delta(len(BLOB), 8, (4, 8)), delta(len(BLOB), 9, (0, 8)), delta(len(BLOB) + 1, 8, (0, 8)),
    delta(len(BLOB), 1) + b"\0", delta(len(BLOB), 20) + b"\x14abc", b"\xff" * 20, delta(len(BLOB), 1 << 60, (0, 8))], ids=label)
def test_broken_deltas(hub, victim, broken):
    base = entry("blob", BLOB)
    victim.refused("1" * 40, pack(base, ofs_delta(len(base), broken)))


def test_delta_bomb(hub, victim):
    """Sixteen kilobytes that claim to become petabytes: each delta copies its base many times."""
    size, entries, offset = 65536, [entry("blob", b"\0" * 65536)], 12
    offsets = [offset]
    for _ in range(10):
        operations = [(0, min(size, 0xFFFFFF))] * 60
        result = sum(length for _, length in operations)
        offsets.append(offsets[-1] + len(entries[-1]))
        entries.append(ofs_delta(len(entries[-1]), delta(size, result, *operations)))
        size = result
    before = rss(hub)
    victim.refused("1" * 40, pack(*entries), "more than the")
    assert rss(hub) - before < 256 << 20


def test_zip_bomb(hub, victim):
    compressor = zlib.compressobj(9)
    body = b"".join(compressor.compress(b"\0" * (1 << 20)) for _ in range(2048)) + compressor.flush()
    before = rss(hub)
    for claimed in (2048 << 20, 100):
        victim.refused("1" * 40, pack(packs.header(3, claimed) + body))
    assert rss(hub) - before < 256 << 20


def rss(hub):
    for line in open(f"/proc/{hub.pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024


# -- closure ------------------------------------------------------------------------------------------------------


def test_missing_objects_behind_a_tip(hub, victim):
    builder = Builder()
    tip = builder.file_commit(content=b"missing\n")
    for dropped in range(3):
        kept = [entry(kind, data) for number, (kind, data) in enumerate(builder.entries) if number != dropped]
        victim.refused(tip, pack(*kept), "missing")
    victim.refused("1" * 40, pack(), "missing", "bad pack", "not a valid object", "unknown object")
    parentless = commit(oid("tree", b""), "1" * 40)
    victim.refused(oid("commit", parentless), pack(entry("tree", b""), entry("commit", parentless)), "missing")


def test_a_kind_that_contradicts_the_edge(hub, victim):
    inner = tree(("100644", "f", BLOB_ID))
    inner_id = oid("tree", inner)
    for rows in ([("40000", "dir", BLOB_ID)], [("100644", "file", inner_id)], [("120000", "link", inner_id)]):
        victim.refused(*tree_push(*rows, extra=[entry("tree", inner)]))
    on_blob = commit(BLOB_ID)
    victim.refused(oid("commit", on_blob), pack(entry("commit", on_blob), entry("blob", BLOB)))
    on_tree = commit(inner_id, inner_id)
    victim.refused(oid("commit", on_tree), pack(entry("commit", on_tree), entry("tree", inner), entry("blob", BLOB)))
    wrong = tag(BLOB_ID, "commit")
    victim.refused(oid("tag", wrong), pack(entry("tag", wrong), entry("blob", BLOB)), ref="refs/tags/wrong")


def test_a_kind_that_contradicts_what_is_stored(hub, victim):
    """The same with an object that the repository already has."""
    victim.refused(*tree_push(("40000", "dir", victim.tip)))
    gitlink, data = tree_push(("160000", "module", "1" * 40))
    victim.accepted(gitlink, data)


# -- object checks ------------------------------------------------------------------------------------------------

EMPTY_TREE = oid("tree", b"")


@pytest.mark.parametrize("defect, rows", [
    ("hasDot", [("100644", ".", BLOB_ID)]), ("hasDotdot", [("100644", "..", BLOB_ID)]), ("hasDotgit", [("40000", ".git", EMPTY_TREE)]),
    ("hasDotgit", [("100644", ".GIT", BLOB_ID)]), ("hasDotgit", [("100644", "git~1", BLOB_ID)]),
    ("hasDotgit", [("100644", ".g\u200cit", BLOB_ID)]), ("hasDotgit", [("100644", ".git ", BLOB_ID)]),
    ("fullPathname", [("100644", "a/b", BLOB_ID)]), ("emptyName", [("100644", "", BLOB_ID)]),
    ("nullSha1", [("100644", "null", "0" * 40)]), ("duplicateEntries", [("100644", "a", BLOB_ID), ("100644", "a", BLOB_ID)]),
    ("duplicateEntries", [("100644", "a", BLOB_ID), ("100644", "a.b", BLOB_ID), ("40000", "a", EMPTY_TREE)]),
    ("treeNotSorted", [("100644", "b", BLOB_ID), ("100644", "a", BLOB_ID)]),
    ("gitmodulesSymlink", [("120000", ".gitmodules", BLOB_ID)])], ids=lambda value: value if isinstance(value, str) else "")
def test_trees_that_are_refused(hub, victim, defect, rows):
    tip, data = tree_push(*rows, extra=[entry("tree", b"")])
    said = victim.refused(tip, data)
    assert defect in said, said


@pytest.mark.parametrize("defect, content", [
    ("gitmodulesUrl", b'[submodule "x"]\n\tpath = x\n\turl = -oops\n'), ("gitmodulesName", b'[submodule "../x"]\n\tpath = x\n\turl = u\n'),
    ("gitmodulesPath", b'[submodule "x"]\n\tpath = -x\n\turl = u\n')])
def test_gitmodules_that_are_refused(hub, victim, defect, content):
    data = tree(("100644", ".gitmodules", oid("blob", content)))
    tip, tip_entry = head_of(oid("tree", data))
    assert defect in victim.refused(tip, pack(tip_entry, entry("tree", data), entry("blob", content)))


@pytest.mark.parametrize("data", [
    b"100644 file", b"100644 file\0" + b"\1" * 19, b" file\0" + b"\1" * 20, b"10x644 file\0" + b"\1" * 20, b"file\0", b"\0"], ids=label)
def test_broken_trees(hub, victim, data):
    tip, tip_entry = head_of(oid("tree", data))
    victim.refused(tip, pack(tip_entry, entry("tree", data)))


WHO = "A U Thor <a@example.com> 1 +0000"


@pytest.mark.parametrize("data", [
    "", "tree", "tree xyz\n", f"tree {EMPTY_TREE}\n", f"tree {EMPTY_TREE}\nauthor {WHO}\n\nno committer\n", f"tree {EMPTY_TREE}\ncommitter {WHO}\n\nno author\n",
    f"author {WHO}\ncommitter {WHO}\n\nno tree\n", f"tree {EMPTY_TREE}\nparent 123\nauthor {WHO}\ncommitter {WHO}\n\nshort parent\n",
    f"tree {EMPTY_TREE}"], ids=label)
def test_broken_commits(hub, victim, data):
    data = data.encode()
    victim.refused(oid("commit", data), pack(entry("commit", data), entry("tree", b"")))


@pytest.mark.parametrize("data", [
    "", f"object {BLOB_ID}\n", f"object {BLOB_ID}\ntype nonsense\ntag x\n\n", "object 12\ntype blob\ntag x\n\n", f"type blob\nobject {BLOB_ID}\ntag x\n\n"],
    ids=label)
def test_broken_tags(hub, victim, data):
    data = data.encode()
    victim.refused(oid("tag", data), pack(entry("tag", data), entry("blob", BLOB)), ref="refs/tags/bad")


def test_old_defects_are_accepted(hub, git, tmp, shapes, repo, alice):
    """Real histories carry them; by name, not by accident. git itself refuses some."""
    path = repo()
    bare = shapes.bare("old-defects")
    bare("push", "-q", hub.git_url(path, alice), "main", "refs/tags/old")
    copy = git.clone(hub.git_url(path, alice), tmp / "copy.git", "--bare")
    assert copy("rev-parse", "main") == bare("rev-parse", "main")


# -- people -------------------------------------------------------------------------------------------------------


def test_token_revoked_in_mid_push(hub, victim):
    """Authorized at the first byte, revoked before the last: nothing moves."""
    hub.expect_log("revoked while the push was running")
    hub.user("mallory")
    path = hub.repo(f"mallory/r{next(hub.names)}")
    token = hub.token("mallory")
    new, data = packs.single_commit(content=b"revoked\n")
    body = wire.push_body([(wire.ZERO, new, "refs/heads/main")], data)
    with wire.Raw(hub.url) as connection:
        connection.request("POST", f"/{path}/git-receive-pack", {
            "Content-Type": "application/x-git-receive-pack-request", "Authorization": wire.basic(token),
            "Content-Length": str(len(body)), "Expect": "100-continue"})
        assert connection.head()[0] == 100, "authorized"
        connection.send(body[:-30])
        hub.run("user", "disable", "mallory")
        connection.send(body[-30:])
        answer = connection.answer()
    said = answer.text()
    assert answer.status in (401, 403) or not wire.parse_push(answer.body).ok, said
    assert b"refs/heads/main" not in wire.upload_pack(f"{hub.url}/{path}", wire.ls_refs_body(), token=hub.tokens["admin"]).body


def test_a_client_that_leaves_in_mid_push(hub, victim):
    new, data = packs.single_commit(content=os.urandom(300_000))
    body = wire.push_body([(wire.ZERO, new, "refs/heads/bad")], data)
    before = victim.listing()
    for sent in (10, 200, 5000, len(body) - 1):
        with wire.Raw(hub.url) as connection:
            connection.request("POST", f"/{victim.path}/git-receive-pack", {
                "Content-Type": "application/x-git-receive-pack-request", "Authorization": wire.basic(victim.token),
                "Content-Length": str(len(body))}, body[:sent])
    assert victim.listing() == before and not victim.has(new)
    staging = hub.data / "staging"
    wait.until(lambda: not any(staging.iterdir()), "nothing is left in staging")
    victim.accepted(new, data)


def test_a_push_outlives_its_client(hub, victim):
    """Once the last body byte is in, the push is done even if nobody reads the answer."""
    new, data = packs.single_commit(content=os.urandom(300_000))
    body = wire.push_body([(wire.ZERO, new, "refs/heads/outlived")], data)
    with wire.Raw(hub.url) as connection:
        connection.request("POST", f"/{victim.path}/git-receive-pack", {
            "Content-Type": "application/x-git-receive-pack-request", "Authorization": wire.basic(victim.token)}, body)
    wait.until(lambda: b"refs/heads/outlived" in victim.listing(), "the push is applied")


def test_what_a_refused_push_brought_is_not_readable(hub, victim):
    secret, data = packs.single_commit(content=b"secret\n")
    result = victim.push(secret, data, ref="refs/pr/1")
    assert not result.ok
    assert not victim.has(secret)
    result = victim.push(secret, data, ref="refs/heads/main", old="1" * 40)
    assert not result.ok
    assert not victim.has(secret)


def test_objects_of_other_repositories_are_not_reachable(hub, victim, repo, alice):
    other = Victim(hub, repo(), alice)
    secret, data = packs.single_commit(content=b"in the other one\n")
    other.accepted(secret, data)
    assert other.has(secret) and not victim.has(secret)
    victim.refused(secret, pack(), "missing", "not a valid object", "unknown object", "bad pack")
    on_top = commit(oid("tree", b""), secret)
    victim.refused(oid("commit", on_top), pack(entry("commit", on_top), entry("tree", b"")), "missing")


# -- disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    directory = tmp / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", directory], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def disk_hub(stopped_hub, directory, **settings):
    hub = stopped_hub(settings=settings)
    hub.data.parent.mkdir(exist_ok=True)
    hub.data = directory / "data"
    return hub.start()


def test_nearly_full_disk_refuses_writes_and_serves_reads(stopped_hub, tiny_disk, git, tmp):
    hub = disk_hub(stopped_hub, tiny_disk, **{"storage.min_free": "8MiB"})
    path, token = hub.repo("admin/r"), hub.admin_token
    work = git.init(tmp / "work")
    work.commit()
    work("push", "-q", hub.git_url(path, token), "main")
    filler = tiny_disk / "filler"
    filler.write_bytes(b"\0" * (shutil.disk_usage(tiny_disk).free - (4 << 20)))

    def refused():
        work.commit("more", os.urandom(10))
        done = work.run("push", hub.git_url(path, token), "main", check=False)
        return done.returncode != 0 and done.stderr.decode()

    said = wait.until(refused, "writes are refused")
    assert "space" in said or "full" in said, said
    assert git.clone(hub.git_url(path, token), tmp / "copy")("rev-list", "--count", "HEAD") >= "1"
    filler.unlink()
    wait.until(lambda: work.run("push", "-q", hub.git_url(path, token), "main", check=False).returncode == 0, "writes are taken again")
    hub.stop()
    hub.fsck()


def test_disk_full_in_mid_push(stopped_hub, tiny_disk, git, tmp):
    """The reserve is set to nothing, so that the failure comes from the file system itself."""
    hub = disk_hub(stopped_hub, tiny_disk, **{"storage.min_free": "0"})
    path, token = hub.repo("admin/r"), hub.admin_token
    first, data = packs.single_commit()
    url = f"{hub.url}/{path}"
    assert wire.parse_push(wire.receive_pack(url, wire.push_body([(wire.ZERO, first, "refs/heads/main")], data), token=token).body).ok
    (tiny_disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(tiny_disk).free - (1 << 20)))
    big, data = packs.single_commit(content=os.urandom(4 << 20))
    answer = wire.receive_pack(url, wire.push_body([(wire.ZERO, big, "refs/heads/big")], data), token=token)
    if answer.status == 200:
        assert not wire.parse_push(answer.body).ok
    else:
        assert answer.status in (503, 507), answer.text()
    listing = wire.upload_pack(url, wire.ls_refs_body(), token=token).body
    assert b"refs/heads/main" in listing and b"refs/heads/big" not in listing
    (tiny_disk / "filler").unlink()
    again = wire.receive_pack(url, wire.push_body([(wire.ZERO, big, "refs/heads/big")], data), token=token)
    assert wire.parse_push(again.body).ok
    hub.stop()
    hub.fsck()
