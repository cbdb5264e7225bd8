"""The Xet CAS by hand: tokens, every address that clients of ten versions use, ranges, links, and who is told what."""

import json
import random
import struct
import time

import pytest

from harness import metrics, wait, xet
from harness.api import HubApi
from harness.hf import Hf
from harness.lfs import MIB, content
from harness.lfs_api import Api
from harness.xet import CHUNK, Cas, File, Known, Term, Xorb

disk = pytest.mark.parametrize("engine", ["disk"], indirect=True)
NOWHERE = "0123456789abcdef" * 4


@pytest.fixture
def made(lfs_hub):
    """made(public=True): the path of a new model of alice's."""
    def of(public=False):
        answer = HubApi(lfs_hub.url, lfs_hub.tokens["alice"]).create(name := f"alice/p{next(lfs_hub.names)}", private=not public)
        assert answer.status == 200, answer.body
        return name
    return of


@pytest.fixture
def cas(lfs_hub, made):
    """cas(name, user, scope): the CAS for a model."""
    def of(name=None, user="alice", scope="write", **options):
        return Cas(lfs_hub, lfs_hub.tokens.get(user), f"models/{name or made()}", scope, **options)
    return of


@pytest.mark.parametrize("engine, policy", [("disk", "none"), ("s3", "lz4"), ("disk", "bg4-lz4")], indirect=["engine"])
def test_the_harness_speaks_as_clients_do(lfs_hub, cas, policy, tmp):
    """Real chunks, of a file that hf_xet cut and packed, have the hashes that hf_xet gave their xorb and their file."""
    at = cas()
    own = random.Random(at.repo).random()
    data = b"".join(struct.pack("<f", own + number / 7) for number in range(600_000)) + content(MIB, at.repo)
    (tmp / "a.bin").write_bytes(data)
    name = at.repo.removeprefix("models/")
    Hf(lfs_hub.url, lfs_hub.tokens["alice"], tmp / "hf").with_environment(HF_XET_XORB_COMPRESSION_POLICY=policy).python(
        "api.upload_file(path_or_fileobj=sys.argv[1], path_in_repo='a.bin', repo_id=sys.argv[2])", tmp / "a.bin", name)
    said = at.hub.head(f"/{name}/resolve/main/a.bin").headers["x-xet-hash"]
    plan, chunks = at.chunks(said)
    xorb = Xorb(tuple(chunks))
    assert b"".join(chunks) == data and len(chunks) > 20
    assert xet.text(xet.file_hash(xorb.leaves)) == said and {term["hash"] for term in plan["terms"]} == {xorb.name}


# -- tokens -------------------------------------------------------------------------------------------------------


@pytest.mark.covers("hub.xet-token")
def test_tokens(hub, alice, repo):
    """In the answer's document and in its headers, for each kind of client; who may not have one is told as everywhere."""
    private, public = repo(), repo(public=True)
    owner, bob, nobody, reader = (HubApi(hub.url, token) for token in (alice, hub.tokens["bob"], None, hub.token("alice", "read")))
    owner.commit(f"models/{private}", ("file", {"path": "a", "content": "a", "encoding": "utf-8"}))
    sha = owner.get(f"/api/models/{private}").json()["sha"]
    for scope in ("read", "write"):
        for revision in ("main", sha, "refs%2Fheads%2Fmain", "None"):
            answer = owner.get(f"/api/models/{private}/xet-{scope}-token/{revision}")
            assert answer.status == 200, (scope, revision, answer.body)
            told = answer.json()
            assert set(told) == {"accessToken", "exp", "casUrl"} and told["casUrl"].startswith(f"{hub.url}/cas/")
            assert time.time() + 600 < told["exp"] < time.time() + 24 * 3600
            head = answer.headers
            assert (head["x-xet-cas-url"], head["x-xet-access-token"], head["x-xet-token-expiration"]) == (told["casUrl"], told["accessToken"], str(told["exp"]))
            assert head["cache-control"].startswith("no-") and len(told["accessToken"]) < 4096
    assert owner.head(f"/api/models/{private}/xet-read-token/main").headers["x-xet-access-token"]
    assert owner.get(f"/api/models/{private}/xet-read-token/nope").code == "RevisionNotFound"
    assert owner.get("/api/models/alice/nope/xet-read-token/main").code == "RepoNotFound"
    for who, name, read, write in ((nobody, public, 200, 401), (nobody, private, 401, 401), (bob, public, 200, 403), (bob, private, 404, 404),
                                   (reader, private, 200, 403)):
        assert who.get(f"/api/models/{name}/xet-read-token/None").status == read, (who.token, name)
        assert who.get(f"/api/models/{name}/xet-write-token/main").status == write, (who.token, name)
        # For a pull request whoever may read a public repository may write.
        proposing = 200 if who is bob and name == public else write
        for address in ("main?create_pr=1", "refs%2Fpr%2F1"):
            assert who.get(f"/api/models/{name}/xet-write-token/{address}").status == proposing, (who.token, name)


def test_a_token_is_for_one_repository_and_one_purpose(lfs_hub, cas, made):
    private, public = made(), made(public=True)
    at, other = cas(private), cas(public)
    file = at.upload(File.of(content(300_000, private)))
    own, xorb = other.upload(File.of(content(300_000, public))), file.xorbs[0]
    assert at.read(file.name) == file.data
    assert at.commit(a_bin=file).status == 200
    # Of another repository, even of the same owner's: there is no such file.
    for elsewhere in (other, cas(public, "bob", "read"), cas(public, None, "read")):
        assert elsewhere.plan(file.name).status == 404
        assert elsewhere.plan(file.name, "v1").status == 404
        assert elsewhere.get(f"/v1/reconstructions?file_id={file.name}").status == 404
        assert elsewhere.head(f"/v1/files/{file.name}").status == 404
        assert elsewhere.head(f"/v1/xorbs/default/{xorb.name}").status == 404
    assert cas(public, None, "read").read(own.name) == own.data, "whoever may read, may read so"
    # To read is not to write.
    for reading in (cas(private, scope="read"), cas(public, "bob", "read"), cas(public, None, "read")):
        assert reading.put_xorb(xorb).status == 403
        assert reading.put_shard(file, xorbs=file.xorbs).status == 403
        assert reading.put_shard(file, xorbs=file.xorbs, route="/v2/shards").status == 403
    # What is no token of the CAS.
    for token in (None, "", "nonsense", lfs_hub.tokens["alice"], at.token[:-2], at.token + "x", "x" * 10_000):
        stranger = HubApi(at.url, token)
        assert stranger.get(f"/v2/reconstructions/{file.name}").status == 401, token
        assert stranger.post(f"/v1/xorbs/default/{xorb.name}", xorb.body).status == 401, token
        assert stranger.post("/v2/shards", xet.shard(file)).status == 401, token
        assert stranger.get(f"/v1/chunks/default/{NOWHERE}").status == 401, token
    # And one of the CAS is none of the hub.
    assert HubApi(lfs_hub.url, at.token).get(f"/api/models/{private}").status == 401


def test_a_token_ends(fresh_hub):
    """With its time, with the access token behind it, with the right, and with the repository."""
    hub = fresh_hub(debug=True)
    alice, bob = hub.user("alice"), hub.user("bob")
    hub.run("org", "create", "acme", "--owner", "alice")
    hub.run("org", "add", "acme", "bob", "--role", "write")
    HubApi(hub.url, alice).create("acme/x", private=True)
    at, bobs = Cas(hub, alice, "models/acme/x"), Cas(hub, bob, "models/acme/x")
    file = bobs.upload(File.of(content(200_000)))
    hub.run("org", "add", "acme", "bob", "--role", "read")
    assert bobs.put_xorb(Xorb.of(content(1000))).status == 200, "who reads may still propose"
    hub.run("org", "remove", "acme", "bob")
    assert bobs.put_xorb(Xorb.of(content(1001))).status in (401, 403, 404), "the right was taken away"
    assert bobs.plan(file.name).status in (401, 403, 404)
    assert at.read(file.name) == file.data
    hub.run("debug", "clock", "+61m")
    for answer in (at.plan(file.name), at.put_xorb(file.xorbs[0]), at.put_shard(file)):
        assert answer.status == 401, answer.body
    again = Cas(hub, alice, "models/acme/x")
    assert again.read(file.name) == file.data
    assert again.hub.delete("/api/repos/delete", {"name": "x", "organization": "acme", "type": "model"}).status == 200
    assert again.plan(file.name).status == 404


# -- every address ------------------------------------------------------------------------------------------------


XORBS = ["/xorb/default", "/xorbs/default", "/v1/xorbs/default"]
SHARDS = ["/shard/default/{name}", "/shards", "/v1/shards", "/v2/shards"]
RECONSTRUCTIONS = ["/reconstruction/{name}", "/reconstructions/{name}", "/v1/reconstructions/{name}", "/v2/reconstructions/{name}"]
CHUNKS = ["/chunk/default/{name}", "/chunks/default/{name}", "/v1/chunks/default/{name}", "/v1/chunks/default-merkledb/{name}"]


@disk
def test_all_forms_of_addresses(cas):
    at = cas()
    for number, (xorb, shard) in enumerate([*zip(XORBS, SHARDS), (XORBS[-1], SHARDS[-1])]):
        file = File.of(content(100_000, f"{at.repo} {number}"))
        assert at.put_xorb(file.xorbs[0], route=xorb).json() == {"was_inserted": True}
        answer = at.put_shard(file, xorbs=file.xorbs, route=shard.format(name=NOWHERE))
        assert answer.status == 200, (shard, answer.body)
        plans = [at.get(route.format(name=file.name)) for route in RECONSTRUCTIONS]
        assert all(plan.status == 200 for plan in plans)
        assert [set(plan.json()) for plan in plans] == [{"offset_into_first_range", "terms", part} for part in ("fetch_info", "fetch_info", "fetch_info", "xorbs")]
        first = xet.text(file.xorbs[0].leaves[0][0])
        assert len({at.get(route.format(name=first)).body[:100] for route in CHUNKS}) == 1
    for method, path in (("GET", "/v3/shards"), ("GET", "/v1/reconstructions/xyz"), ("POST", "/v1/xorbs/default/xyz"), ("GET", f"/v2/reconstructions/{NOWHERE[1:]}")):
        answer = at.request(method, path)
        assert answer.status == 404 and answer.json()["error"], path
    answer = at.request("PUT", "/v1/shards", b"")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@disk
def test_what_is_not_offered_and_what_is_dropped(cas):
    """Grants are answered 404, and clients upload through the hub; so are edits by chunks; telemetry is swallowed."""
    at = cas()
    grant = at.post(f"/v1/xorb-grants/default/{NOWHERE}", {"length": 100, "checksum": {"algo": "crc64nvme", "value": "1"}})
    assert grant.status == 404 and "grants" in grant.json()["error"]
    assert at.post(f"/v1/xorb-commits/default/{NOWHERE}/grant/1").status == 404 == at.post(f"/v1/xorb-commits/default/{NOWHERE}/grant/{'0' * 26}").status
    assert at.get(f"/v2/file-chunk-hashes/{NOWHERE}", x_range_dirty="bytes=0-1").status == 404
    assert at.post("/v1/telemetry", {"any": ["thing"]}).status == 200


# -- uploads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("footer", [False, True])
@pytest.mark.parametrize("scheme", [xet.NONE, xet.LZ4, xet.BG4], ids=["none", "lz4", "bg4"])
@disk
def test_xorbs_of_every_scheme(lfs_hub, cas, scheme, footer):
    """With and without the footer that older clients append, which is never given out."""
    at = cas()
    data = bytes(random.Random(f"{at.repo}").choices(range(7), k=501)) * 1000 + content(1003, at.repo)
    file = File.of(data, scheme=scheme)
    xorb, = file.xorbs
    body = xorb.body + (xorb.footer() if footer else b"")
    assert at.put_xorb(xorb, body).json() == {"was_inserted": True}
    assert at.put_xorb(xorb, xorb.body).json() == {"was_inserted": False}, "it proves to have it, too"
    answer = at.put_shard(file, xorbs=file.xorbs, footer=200, tail=bytes(200) if footer else b"")
    assert answer.json() == {"result": 1}
    assert at.put_shard(file, xorbs=file.xorbs).json() == {"result": 0}
    assert at.head(f"/v1/xorbs/default/{xorb.name}").headers["content-length"] == str(len(xorb.body))
    assert at.head(f"/v1/files/{file.name}").headers["content-length"] == str(len(data))
    assert at.read(file.name) == at.read(file.name, "v1") == data
    (_, url, _, (first, last)), = xet.fetches(at.plan(file.name).json())
    assert (first, last) == (0, len(xorb.body) - 1)
    answer = HubApi(url).get("", range=f"bytes=0-{len(xorb.body) + 50}")
    assert answer.status == 206 and answer.body == xorb.body, "nothing lies behind it"


@disk
def test_a_shard_is_answered_in_lines(cas):
    at = cas()
    files = [File.of(content(200_000, f"{at.repo} {number}")) for number in range(5)]
    for file in files:
        at.put_xorb(file.xorbs[0])
    answer = at.put_shard(*files, xorbs=[file.xorbs[0] for file in files], route="/v2/shards")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    *before, last = [json.loads(line) for line in answer.body.splitlines()]
    assert last["type"] == "result" and answer.body.endswith(b"\n")
    for line in before:
        assert line["type"] == "committing" or line["type"] == "validating" and line["verified"] <= line["total"], line
    for file in files:
        assert at.read(file.name) == file.data
    # A fault is the last line, or a status before the first.
    answer = at.put_shard(files[0].saying(says_hash=xet.of_text(NOWHERE)), route="/v2/shards")
    assert answer.status == 200
    last = json.loads(answer.body.splitlines()[-1])
    assert (last["type"], last["retryable"]) == ("error", False) and NOWHERE in last["message"]


@disk
def test_a_commit_names_what_was_uploaded(lfs_hub, cas, made):
    """By its SHA-256, in that repository, and by nothing else."""
    at, other = cas(), cas()
    file = at.upload(File.of(content(300_000, at.repo)))
    assert other.commit(a_bin=file).status == 400, "another repository has no such object"
    wrong = at.hub.commit(at.repo, ("lfsFile", {"path": "a.bin", "algo": "sha256", "oid": file.oid, "size": len(file.data) + 1}))
    assert wrong.status == 400
    assert at.commit(a_bin=file).status == 200
    name = at.repo.removeprefix("models/")
    answer = at.hub.get(f"/{name}/resolve/main/a.bin")
    assert answer.status == 200 and answer.body == file.data and answer.headers["x-xet-hash"] == file.name


# -- reconstructions ----------------------------------------------------------------------------------------------


@pytest.fixture
def pieced(cas):
    """A file of five terms from two xorbs, some chunks twice; in a repository with something else in these xorbs."""
    at = cas()
    first, second = Xorb.of(content(10 * CHUNK + 77, at.repo)), Xorb.of(content(6 * 50_000, f"{at.repo} second"), 50_000, xet.LZ4)
    file = File((Term(first, 2, 5), Term(second, 1, 2), Term(first, 0, 1), Term(first, 4, 11), Term(second, 3, 6)))
    at.upload(file)
    return at, file


def test_ranges_at_every_edge(pieced):
    at, file = pieced
    data, edges = file.data, {0}
    for term in file.terms:
        for chunk in term.chunks:
            edges.add(max(edges) + len(chunk))
    assert at.read(file.name) == at.read(file.name, "v1") == data
    near = sorted({edge + shift for edge in edges for shift in (-1, 0, 1) if 0 <= edge + shift < len(data)})
    source = random.Random(1)
    ranges = [(0, 0), (len(data) - 1, len(data) - 1), (0, len(data) - 1), *(sorted(source.sample(near, 2)) for _ in range(40)),
              *(sorted(source.sample(range(len(data)), 2)) for _ in range(20))]
    for number, (first, last) in enumerate(ranges):
        got = at.read(file.name, ("v1", "v2")[number % 2], range=f"bytes={first}-{last}")
        assert got[: last - first + 1] == data[first : last + 1], (first, last)
        assert len(got) - (last - first + 1) < xet.CHUNK_MAX, "no chunk more than is needed"
    assert at.read(file.name, range="bytes=100000-") == data[100_000:]
    assert at.read(file.name, range=f"bytes=5-{len(data) * 10}") == data[5:]


@disk
def test_ranges_that_there_are_not(pieced):
    at, file = pieced
    size = len(file.data)
    for value in (f"bytes={size}-", f"bytes={size}-{size + 10}", f"bytes={2**40}-{2**41}", f"bytes={2**63}-{2**64 - 2}"):
        for version in ("v1", "v2"):
            answer = at.plan(file.name, version, range=value)
            assert answer.status == 416, (value, answer.body)
            assert answer.headers["content-range"] == f"bytes */{size}"
    for value in ("bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "bytes=x-y", "chunks=0-1", "bytes=0-99999999999999999999999", "bytes=", "0-1"):
        answer = at.plan(file.name, range=value)
        assert answer.status in (200, 400, 416), (value, answer.status)
    assert at.plan(NOWHERE).status == 404 and at.plan("0" * 64).status == 404


@disk
def test_ranges_that_touch_are_one(cas):
    at = cas()
    xorb = Xorb.of(content(20 * CHUNK, at.repo))
    at.upload(file := File((Term(xorb, 0, 5), Term(xorb, 5, 9), Term(xorb, 12, 15))))
    plan = at.plan(file.name).json()
    assert [term["range"] for term in plan["terms"]] == [{"start": 0, "end": 5}, {"start": 5, "end": 9}, {"start": 12, "end": 15}]
    assert [chunks for _, _, chunks, _ in xet.fetches(plan)] == [(0, 9), (12, 15)]
    assert all(set(entry) == {"url", "ranges"} and len(entry["ranges"]) == 1 for entries in plan["xorbs"].values() for entry in entries), "an address each"
    assert at.read(file.name) == file.data


@disk
def test_many_files_at_once(pieced):
    at, file = pieced
    other = at.upload(File.of(content(100_000, f"{at.repo} other")))
    asked = at.get(f"/v1/reconstructions?file_id={file.name}&file_id={other.name}").json()
    posted = at.post("/v1/reconstructions", [{"prefix": "default", "hash": name} for name in (file.name, other.name)]).json()
    for told in (asked, posted):
        assert set(told["files"]) == {file.name, other.name}
        assert sum(term["unpacked_length"] for term in told["files"][file.name]) == len(file.data)
        assert {xorb.name for each in (file, other) for xorb in each.xorbs} == set(told["fetch_info"])
    assert at.get(f"/v1/reconstructions?file_id={file.name}&file_id={NOWHERE}").status == 404
    assert at.post("/v1/reconstructions", b"{").status == 400
    assert at.post("/v1/reconstructions", [{"hash": file.name}] * 1001).status == 400


# -- links --------------------------------------------------------------------------------------------------------


def test_a_link_is_for_its_bytes(pieced, engine):
    at, file = pieced
    for _, url, _, (first, last) in xet.fetches(at.plan(file.name, range="bytes=0-300000").json()):
        link = HubApi(url)
        whole = link.get("", range=f"bytes={first}-{last}")
        assert whole.status == 206 and len(whole.body) == last - first + 1
        assert whole.headers["content-range"].startswith(f"bytes {first}-{last}/")
        for other in (f"bytes={first + 1}-{last + 1}", f"bytes=0-{last + 1}", f"bytes={last + 1}-{last + 2}", "bytes=0-", f"bytes={first}-"):
            answer = link.get("", range=other)
            assert answer.status == 403 or len(answer.body) <= last - first + 1 and answer.body == whole.body, other
        without = link.get("")
        assert without.status == 403 or without.body == whole.body
        assert link.request("PUT", "", b"x").status in (403, 405) and link.delete("").status in (403, 405)
        for at_ in (-1, -20):
            letter = "0" if url[at_] != "0" else "1"
            assert HubApi(url[:at_] + letter + url[at_:][1:]).get("", range=f"bytes={first}-{last}").status == 403
        if engine == "disk":
            base, token = url.rsplit("/", 1)
            xorb, start, end, *rest = token.split("-")
            for forged in ([str(int(xorb) + 1), start, end], [xorb, "0", end], [xorb, start, str(int(end) + 1000)]):
                if forged != [xorb, start, end]:
                    assert HubApi(f"{base}/{'-'.join(forged + rest)}").get("").status == 403
            for nonsense in ("x", "-", "1-2-3", "1-2-3-4-" + "0" * 64, "%00", "-".join(["9" * 30] * 5)):
                assert HubApi(f"{base}/{nonsense}").get("").status in (400, 403, 404), nonsense


def test_a_link_expires(fresh_hub, engine_settings, engine):
    """And what was signed by a key that is no longer the newest is good until then."""
    hub = fresh_hub(settings=engine_settings(), debug=True)
    alice = hub.user("alice")
    HubApi(hub.url, alice).create("alice/x")
    at = Cas(hub, alice, "models/alice/x")
    file = at.upload(File.of(content(300_000)))
    (_, url, _, (first, last)), = xet.fetches(at.plan(file.name).json())
    get = lambda: HubApi(url).get("", range=f"bytes={first}-{last}").status
    assert get() == 206
    if engine == "disk":  # a bucket has a clock of its own
        hub.run("debug", "clock", "+59m")
        assert get() == 206
        hub.run("debug", "clock", "+2m")
        assert get() == 403
        again = Cas(hub, alice, "models/alice/x")
        assert again.read(file.name) == file.data
    else:
        assert "X-Amz-Expires=" in url and "range" in url.lower().split("x-amz-signedheaders=")[1].split("&")[0]


# -- what is known of chunks --------------------------------------------------------------------------------------


@disk
def test_chunks_are_found_with_their_neighbours(lfs_hub, cas, made):
    """By keyed hashes, so that only who has a chunk knows it; and only by who may read a repository that has it."""
    private, public = made(), made(public=True)
    at = cas(private)
    xorbs = [Xorb.of(content(8 * CHUNK + 5, f"{at.repo} {number}")) for number in range(3)]
    file = at.upload(File(tuple(Term(xorb) for xorb in xorbs)))
    first = xet.text(xorbs[0].leaves[0][0])
    answer = at.get(f"/v1/chunks/default/{first}")
    assert answer.status == 200
    known = Known.of(answer.body)
    assert set(known.xorbs) == {xorb.name for xorb in xorbs}, "the other xorbs of the file, too"
    for xorb in xorbs:
        hashes = [value for value, _ in xorb.leaves]
        assert known.xorbs[xorb.name] == [xet.keyed(value, known.key) for value in hashes]
        assert not set(known.xorbs[xorb.name]) & set(hashes) and all(value not in answer.body for value in hashes)
    assert time.time() + 3600 < known.expires < time.time() + 15 * 24 * 3600
    assert at.get(f"/v1/chunks/default/{xet.text(xorbs[0].leaves[1][0])}").status == 404, "most chunks are not indexed"
    assert at.get(f"/v1/chunks/default/{NOWHERE}").status == 404
    # Elsewhere: whoever may read the repository, and nobody else.
    assert cas(public).get(f"/v1/chunks/default/{first}").status == 200
    for stranger in (cas(public, "bob", "read"), cas(public, None, "read")):
        assert stranger.get(f"/v1/chunks/default/{first}").status == 404
    open_ = cas(public)
    open_.upload(file)
    for reader in (cas(public, "bob", "read"), cas(public, None, "read")):
        told = Known.of(reader.get(f"/v1/chunks/default/{first}").body)
        assert set(told.xorbs) == {xorb.name for xorb in xorbs}


@disk
def test_a_private_neighbour_is_not_named(cas, made):
    """A public repository has one xorb of a private file: strangers hear of that one alone."""
    private, public = cas(made()), cas(made(public=True))
    shared, secret = Xorb.of(content(4 * CHUNK, private.repo)), Xorb.of(content(4 * CHUNK, f"{private.repo} secret"))
    private.upload(File((Term(shared), Term(secret))))
    public.upload(File((Term(shared),)))
    first = xet.text(shared.leaves[0][0])
    told = Known.of(cas(public.repo.removeprefix("models/"), None, "read").get(f"/v1/chunks/default/{first}").body)
    assert set(told.xorbs) == {shared.name}
    assert cas(public.repo.removeprefix("models/"), None, "read").get(f"/v1/chunks/default/{xet.text(secret.leaves[0][0])}").status == 404


# -- browsers -----------------------------------------------------------------------------------------------------


@disk
def test_pages_of_other_origins_may_ask(pieced):
    at, file = pieced
    asked = HubApi(at.url).request("OPTIONS", f"/v1/reconstructions/{file.name}", origin="https://elsewhere.example",
                                   access_control_request_method="GET", access_control_request_headers="authorization,range")
    assert asked.status == 204 and asked.headers["access-control-allow-origin"] == "*"
    assert {"authorization", "range"} <= set(asked.headers["access-control-allow-headers"].lower().split(","))
    for answer in (at.plan(file.name, origin="https://elsewhere.example"), at.plan(NOWHERE, origin="https://elsewhere.example")):
        assert answer.headers["access-control-allow-origin"] == "*"
    (_, url, _, (first, last)), *_ = xet.fetches(at.plan(file.name).json())
    got = HubApi(url).get("", range=f"bytes={first}-{last}", origin="https://elsewhere.example")
    assert got.headers["access-control-allow-origin"] == "*"


def test_a_file_that_others_have_whole_stays_what_readers_were_told(lfs_hub, cas, made):
    """Once its SHA-256 is known to be theirs: a client that was given the name of a file is in the middle of reading it."""
    at = cas()
    true = File.of(content(200_000, at.repo))
    Api(lfs_hub, made(), lfs_hub.tokens["alice"]).upload(true.data)
    with metrics.Change(lfs_hub) as moved:
        at.upload(true)
        wait.until(lambda: moved["lfs_read_back_bytes"] >= len(true.data), "its SHA-256 is computed")
    assert at.commit(a_bin=true).status == 200
    assert at.read(true.name) == true.data
    assert at.hub.head(f"/{at.repo.removeprefix('models/')}/resolve/main/a.bin").headers["x-xet-hash"] == true.name


def test_lfs_batches_lead_there(lfs_hub, made, api):
    """Clients that offer `xet` are sent to the CAS, with a token in the headers."""
    at = api()
    data = content(2 * MIB, at.path)
    told = json.loads(at.batch("upload", data, transfers=["basic", "multipart", "xet"]).body)
    upload = told["objects"][0]["actions"]["upload"]
    assert told["transfer"] == "xet" and upload["href"] == f"{lfs_hub.url}/api/models/{at.path}/xet-write-token/main"
    header = upload["header"]
    file, there = File.of(data), HubApi(header["X-Xet-Cas-Url"], header["X-Xet-Access-Token"])
    assert int(header["X-Xet-Token-Expiration"]) > time.time()
    assert there.post(f"/v1/xorbs/default/{file.xorbs[0].name}", file.xorbs[0].body).status == 200
    assert there.post("/v1/shards", xet.shard(file, xorbs=file.xorbs)).status == 200
    assert at.download(data) == data, "git-lfs gets it as ever"
    again = json.loads(at.batch("upload", data, transfers=["basic", "xet"]).body)["objects"][0]
    assert "actions" not in again
    down = json.loads(at.batch("download", data, transfers=["basic", "xet"]).body)
    assert down.get("transfer", "basic") == "basic" and down["objects"][0]["actions"]["download"]["href"]
