"""`granary fsck` finds one flipped bit in every kind of blob and row, and names what is wrong."""

import json
import shutil
import sqlite3
import subprocess

import pytest

from harness import lfs, packs, wire
from harness.api import HubApi, file
from harness.hub import Hub
from harness.lfs_api import Api
from harness.load import Connection, History
from harness.xet import Cas, File

@pytest.fixture(scope="module")
def sound(run_directory):
    """A stopped data directory with every kind of blob and row in it."""
    hub = Hub(run_directory / "fsck-source", settings={"webhooks.allow_private": "true"}, debug=True).start()
    token = hub.admin_token
    hub.user("alice")
    path = hub.repo("alice/r")
    connection = Connection(hub.url, token)
    history = History(1, 100_000)
    for _ in range(3):
        old, new, pack = history.next()
        assert connection.push(path, [(old, new, "refs/heads/main")], pack).ok
        history.moved(new)
    hub.run("maintain", "--now")
    small = History(2, 600)
    for _ in range(2):
        old, new, pack = small.next()
        assert connection.push(path, [(old, new, "refs/heads/small")], pack).ok
        small.moved(new)
    tag = packs.tag(new)
    assert connection.push(path, [(wire.ZERO, packs.oid("tag", tag), "refs/tags/v1")], packs.pack(packs.entry("tag", tag))).ok
    pack_two = History(3, 200_000)
    old, new, pack = pack_two.next()
    assert connection.push(path, [(old, new, "refs/heads/stored")], pack).ok
    hub.repo("alice/before")
    hub.run("repo", "rename", "alice/before", "alice/after")
    large_objects(hub, path, token)
    discussion(hub, path, token)
    people(hub, token)
    webhook(hub, path, token)
    bucket(hub, token)
    assert HubApi(hub.url, token).post(f"/api/models/{path}/duplicate", {"repository": "alice/copy"}).status == 200
    hub.stop()
    hub.fsck()
    with sqlite3.connect(hub.data / "granary.db") as rows:
        kinds = rows.execute("select count(*) filter (where inline is not null and state = 1),"
                             " count(*) filter (where inline is null and state = 1), count(*) filter (where state = 2) from pack").fetchone()
        assert all(kinds), f"inline, stored and condemned packs: {kinds}"
        assert rows.execute("select count(*) from ref where peeled is not null").fetchone()[0]
        assert rows.execute("select count(*) from pack_share").fetchone()[0]
    rows.close()
    return hub


def discussion(hub, path, token):
    """A pull request that was merged, and a comment that was edited."""
    api, at = HubApi(hub.url, token), f"/api/models/{path}/discussions"
    assert api.post(at, {"title": "a change", "description": "why", "pullRequest": True}).json()["num"] == 1
    assert api.commit(f"models/{path}", file("changed.txt", "changed"), revision="refs/pr/1").status == 200
    comment = api.get(f"{at}/1").json()["events"][0]["id"]
    assert api.post(f"{at}/1/comment/{comment}/edit", {"content": "because"}).status == 200
    assert api.post(f"{at}/1/status", {"status": "open"}).status == 200
    assert api.post(f"{at}/1/merge").status == 200


def large_objects(hub, path, token):
    """A row of every kind: linked, removed, condemned, an upload under way, a lock, a quota."""
    at = Api(hub, path, token)
    at.upload(lfs.content(100_000, "linked"))
    hub.run("lfs", "remove", path, at.upload(lfs.content(1000, "removed")))
    at.grant(lfs.content(5000, "under way"))
    assert at.post("locks", {"path": "a.bin"}).status == 201
    hub.run("quota", "alice", "1GiB")


def people(hub, token):
    """A like, a request for access, a collection, downloads, and a card that is found."""
    owner, bob = HubApi(hub.url, token), HubApi(hub.url, hub.user("bob"))
    owner.create("alice/liked", private=False)
    assert owner.commit("models/alice/liked", file("README.md", "---\ntags: [a]\n---\nwords"), file("config.json", "{}")).status == 200
    assert bob.head("/alice/liked/resolve/main/config.json").status == 200
    assert owner.get("/api/models").status == 200
    assert owner.request("PUT", "/api/models/alice/liked/settings", {"gated": "manual"}).status == 200
    assert bob.post("/alice/liked/ask-access").status == 303 and bob.post("/api/models/alice/liked/like").status == 200
    item = {"id": "alice/liked", "type": "model"}
    assert owner.post("/api/collections", {"title": "Liked", "namespace": "alice", "item": item}).status == 200


def webhook(hub, path, token):
    """One that is told of what waits, and of what was delivered to nobody."""
    api = HubApi(hub.url, token)
    hook = {"url": "http://127.0.0.1:1/", "watched": [{"type": "model", "name": path}], "domains": ["repo"], "secret": "s"}
    made = api.post("/api/settings/webhooks", hook)
    assert made.status == 200, made.body
    at = f"/api/settings/webhooks/{made.json()['webhook']['id']}"
    assert api.post(f"/api/models/{path}/branch/dropped", {}).status == 200
    assert api.post(f"{at}/disable").status == api.post(f"{at}/enable").status == 200
    assert api.post(f"/api/models/{path}/branch/waiting", {}).status == 200


def bucket(hub, token):
    """With files at paths and at none, one that left, and a former name."""
    api = HubApi(hub.url, token)
    assert api.post("/api/buckets/admin/before", {}).status == 200
    cas = Cas(hub, token, "buckets/admin/before")
    one, two, three = (cas.upload(File.of(lfs.content(1000, seed)).saying(flags=1 << 31)).name for seed in ("one", "two", "three"))
    for operations in ([{"type": "addFile", "path": "a/b", "xetHash": one, "mtime": 5, "contentType": "text/plain"}, {"type": "addFile", "path": "c", "xetHash": two}],
                       [{"type": "deleteFile", "path": "c"}]):
        done = api.post("/api/buckets/admin/before/batch", b"\n".join(json.dumps(operation).encode() for operation in operations))
        assert done.status == 200 and not done.json()["failed"] and three, done.body
    assert api.post("/api/repos/move", {"fromRepo": "admin/before", "toRepo": "admin/after", "type": "bucket"}).status == 200


@pytest.fixture
def copy(sound, tmp):
    """A copy to damage: (hub, connection to its rows)."""
    hub = Hub(tmp / "copy")
    shutil.copytree(sound.data, hub.data, symlinks=True)
    rows = sqlite3.connect(hub.data / "granary.db")
    rows.execute("pragma ignore_check_constraints = on")
    rows.execute("pragma foreign_keys = off")
    yield hub, rows
    rows.close()


def finds(hub, *words):
    done = hub.run("fsck", check=False)
    assert done.returncode == 1, f"nothing was found\n{done.stdout}{done.stderr}"
    said = done.stdout + done.stderr
    assert "panicked" not in said and said.strip()
    for word in words:
        assert word in said, said


def flip(data, position, bit=0x10):
    changed = bytearray(data)
    changed[position] ^= bit
    return bytes(changed)


def stored(hub):
    return sorted((file for file in (hub.data / "packs").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def live_stored(hub, rows):
    ids = {bytes(row[0]) for row in rows.execute("select id from pack where state = 1 and inline is null")}
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

    def ulid(name):
        number = 0
        for character in name:
            number = number * 32 + alphabet.index(character)
        return number.to_bytes(16, "big")

    return [file for file in stored(hub) if ulid(file.name) in ids]


@pytest.mark.parametrize("share", [0, 0.0001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999, 1])
def test_a_stored_pack(copy, share):
    hub, rows = copy
    for file in live_stored(hub, rows):
        whole = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(flip(whole, int((len(whole) - 1) * share)))
        finds(hub, "alice/r")
        file.write_bytes(whole)
    hub.fsck()


def test_every_part_of_an_inline_pack(copy):
    hub, rows = copy
    found = rows.execute("select rowid, inline from pack where inline is not null and state = 1").fetchall()
    assert found
    for rowid, blob in found[:2]:
        for position in range(0, len(blob), max(1, len(blob) // 60)):
            rows.execute("update pack set inline = ? where rowid = ?", (flip(blob, position), rowid))
            rows.commit()
            finds(hub)
        rows.execute("update pack set inline = ? where rowid = ?", (blob, rowid))
        rows.commit()
    hub.fsck()


@pytest.mark.parametrize("damage", ["missing", "empty", "shorter", "longer", "swapped"])
def test_a_stored_pack_as_a_whole(copy, damage):
    hub, rows = copy
    first, second = live_stored(hub, rows)[:2]
    first.chmod(0o600)
    if damage == "missing":
        first.unlink()
    elif damage == "swapped":
        content = first.read_bytes()
        second.chmod(0o600)
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    else:
        whole = first.read_bytes()
        first.write_bytes({"empty": b"", "shorter": whole[:-1], "longer": whole + b"\0"}[damage])
    finds(hub)


ROWS = {
    "ref.oid": "update ref set oid = x'1111111111111111111111111111111111111111' where name = 'refs/heads/main'",
    "ref.peeled": "update ref set peeled = (select oid from ref where name = 'refs/heads/main') where peeled is not null",
    "ref.peeled missing": "update ref set peeled = null where peeled is not null",
    "ref.peeled too much": "update ref set peeled = oid where name = 'refs/heads/main'",
    "ref.name refused by git": "update ref set name = 'refs/heads/ma..in' where name = 'refs/heads/main'",
    "ref.name clashes": "update ref set name = 'refs/heads/main/x' where name = 'refs/heads/small' and repo_id = 1",
    "ref.repo_id": "update ref set repo_id = 999 where name = 'refs/heads/small' and repo_id = 1",
    "ref lost": "delete from ref where name = 'refs/heads/small' and repo_id = 1",
    "ref is a tree": "update ref set oid = (select oid from ref where name = 'refs/tags/v1') where name = 'refs/heads/small' and repo_id = 1",
    "pack.objects": "update pack set objects = objects + 1 where state = 1 and inline is null",
    "pack.bytes": "update pack set bytes = bytes + 1 where state = 1 and inline is null",
    "pack.bytes inline": "update pack set bytes = bytes + 1 where state = 1 and inline is not null",
    "pack.closure": "update pack set closure = 1 where state = 1",
    "pack.kind": "update pack set kind = 77 where state = 1",
    "pack.state": "update pack set state = 9 where state = 1 and inline is not null",
    "pack.repo_id": "update pack set repo_id = 999 where state = 1 and inline is null and repo_id = 1",
    "pack.id": "update pack set id = x'11111111111111111111111111111111' where rowid = (select max(rowid) from pack where state = 1 and inline is null)",
    "pack lost": "delete from pack where state = 1 and inline is not null",
    "pack_share lost": "delete from pack_share",
    "pack_share.repo_id": "update pack_share set repo_id = 999 where repo_id = (select max(repo_id) from pack_share)",
    "pack.not_before_ms": "update pack set not_before_ms = null where state = 2",
    "pack.inline lost": "update pack set inline = null where state = 1 and inline is not null",
    "repo.folded": "update repo set folded = 'alice/else' where name = 'r'",
    "repo.namespace": "update repo set namespace = 'nobody' where name = 'r'",
    "repo.kind": "update repo set kind = 9 where name = 'r'",
    "repo.state": "update repo set state = 7 where name = 'r'",
    "repo.head_ref": "update repo set head_ref = 'main' where name = 'r'",
    "repo.refs_count": "update repo set refs_count = refs_count + 1 where name = 'r'",
    "repo.packs_count": "update repo set packs_count = packs_count + 1 where name = 'r'",
    "repo.packs_bytes": "update repo set packs_bytes = packs_bytes + 1 where name = 'r'",
    "account.folded": "update account set folded = 'carol' where name = 'alice'",
    "account lost": "delete from account where name = 'alice'",
    "token.account_id": "update token set account_id = 999",
    "redirect.repo_id": "update redirect set repo_id = 999",
    "redirect.folded": "update redirect set folded = 'Alice/Before'",
    "ref_log.repo_id": "update ref_log set repo_id = 999 where name = 'refs/heads/small' and repo_id = 1",
    "ref_log lost": "delete from ref_log where name = 'refs/heads/small' and repo_id = 1",
    "ref_log.new": "update ref_log set new = x'2222222222222222222222222222222222222222' where name = 'refs/heads/small' "
                   "and generation = (select max(generation) from ref_log where name = 'refs/heads/small')",
    "sequence.next": "update sequence set next = 1 where name = 'repo'",
}


@pytest.mark.parametrize("what", ROWS)
def test_a_row(copy, what):
    hub, rows = copy
    assert rows.execute(ROWS[what]).rowcount >= 1, "nothing was damaged"
    rows.commit()
    finds(hub)


def changed(value):
    """The same value with one small difference."""
    if value is None:
        return 1
    if isinstance(value, bytes):
        return flip(value, len(value) // 2) if value else b"x"
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"
    return 1 - value if value in (0, 1) else value ^ 1


def test_every_column_of_every_table(copy):
    """One cell at a time; the rows carry checksums, so what nothing else determines is covered too."""
    hub, rows = copy
    tables = [row[0] for row in rows.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")]
    # Those of FTS5 have a test of their own: there are bits in them that mean nothing.
    tables = [table for table in tables if not table.startswith(("name_text", "card_text"))]
    missed = []
    for table in tables:
        columns = [row[1] for row in rows.execute(f"pragma table_info({table})")]
        found = rows.execute(f"select * from {table} limit 1").fetchone()
        if found is None:
            continue
        for column, value in zip(columns, found):
            damage = changed(value)
            here = " and ".join(f"{name} is ?" for name in columns)
            there = dict(zip(columns, found)) | {column: damage}
            try:
                assert rows.execute(f"update {table} set {column} = ? where {here}", (damage, *found)).rowcount == 1
            except sqlite3.IntegrityError:  # the schema itself refuses it: a flip on the disk does not ask, but integrity_check does
                continue
            rows.commit()
            try:
                code = hub.run("fsck", check=False, seconds=10).returncode
                verdict = {0: "not found", 1: None}.get(code, f"exit code {code}")
            except subprocess.TimeoutExpired:
                verdict = "fsck does not end"
            if verdict:
                missed.append(f"{table}.{column}: {value!r} -> {damage!r}: {verdict}")
            rows.execute(f"update {table} set {column} = ? where {here}", (value, *there.values()))
            rows.commit()
    assert not missed, "\n".join(missed)
    hub.fsck()


@pytest.mark.parametrize("damage", [
    "update card_text_content set c0 = 'other'", "update name_text_content set c0 = 'alice/other' where c0 = 'alice/liked'", "delete from card_text_content",
    "update card_text_data set block = zeroblob(length(block)) where id > 10", "update name_text_data set block = x'00' where id > 10",
    "delete from name_text where model = 'alice/liked'"])
def test_what_is_searched(copy, damage):
    hub, rows = copy
    assert rows.execute(damage).rowcount
    rows.commit()
    finds(hub)


def test_a_page_of_the_database(copy):
    hub, rows = copy
    size = rows.execute("pragma page_size").fetchone()[0]
    root = rows.execute("select rootpage from sqlite_master where name = 'ref'").fetchone()[0]
    rows.close()
    file = hub.data / "granary.db"
    data = bytearray(file.read_bytes())
    data[(root - 1) * size : (root - 1) * size + 8] = b"\xff" * 8
    file.write_bytes(data)
    done = hub.run("fsck", check=False)
    assert done.returncode == 1 and "panicked" not in done.stderr, done.stderr


def test_a_manifest(copy):
    hub, _ = copy
    found = sorted(file for file in (hub.data / "manifests").rglob("*") if file.is_file())
    assert found
    for file in found:
        whole = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(flip(whole, len(whole) // 2))
        finds(hub, "journal" if "buckets" in file.parts else "manifest")
        file.write_bytes(whole)
    hub.fsck()


def test_a_large_object(copy):
    hub, _ = copy
    file, = (file for file in (hub.data / "objects").rglob("*") if file.is_file() and file.stat().st_size == 100_000)
    whole = file.read_bytes()
    file.chmod(0o600)
    for damaged in (flip(whole, 0), flip(whole, 99_999), whole[:-1], whole + b"\0", b""):
        file.write_bytes(damaged)
        finds(hub, lfs.oid(whole))
    file.unlink()
    finds(hub, lfs.oid(whole))
    file.write_bytes(whole)
    hub.fsck()


def test_one_repository_alone(copy):
    hub, rows = copy
    file = live_stored(hub, rows)[0]
    file.chmod(0o600)
    file.write_bytes(flip(file.read_bytes(), 5000))
    assert hub.run("fsck", "--repo", "alice/r", check=False).returncode == 1
    assert hub.run("fsck", "--repo", "alice/after", check=False).returncode == 0


def test_while_the_server_runs(stopped_hub, sound):
    hub = stopped_hub()
    shutil.copytree(sound.data, hub.data, symlinks=True, dirs_exist_ok=True)
    hub.start()
    assert "no problems" in hub.fsck()
    hub.stop()


def test_a_corrupt_pack_is_an_error_for_readers_not_an_answer(copy, git, tmp):
    """What fsck would find is never served as if it were whole."""
    hub, rows = copy
    for file in live_stored(hub, rows):
        whole = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(flip(whole, len(whole) // 3))
    rows.close()
    hub.start()
    token = hub.token("alice")
    said = git.fails("clone", "-q", "--bare", hub.git_url("alice/r", token), tmp / "clone.git")
    assert said
    hub.kill()
