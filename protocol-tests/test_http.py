"""HTTP itself, over raw sockets: framing, encodings, keep-alive, deadlines, the errors git's HTTP client meets."""

import gzip
import random
import zlib

import pytest

from harness import packs, pktline, wait, wire

UPLOAD = {"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"}
RECEIVE = {"Content-Type": "application/x-git-receive-pack-request"}
LS_REFS = wire.ls_refs_body("peel", "symrefs", "ref-prefix refs/heads/")


@pytest.fixture
def public(hub, git, tmp, repo, alice):
    path = repo(public=True)
    work = git.init(tmp / "public")
    work.commit()
    work("push", "-q", hub.git_url(path, alice), "main")
    return path


def is_listing(answer):
    return answer.status == 200 and b"refs/heads/main" in answer.body


# -- headers ------------------------------------------------------------------------------------------------------


def test_smart_answers_are_never_cached(hub, public):
    for answer in (wire.advertisement(f"{hub.url}/{public}"), wire.upload_pack(f"{hub.url}/{public}", LS_REFS)):
        assert answer.headers["cache-control"] == "no-cache, max-age=0, must-revalidate"
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["expires"] == "Fri, 01 Jan 1980 00:00:00 GMT"


def test_content_types(hub, public):
    for service in ("upload-pack",):
        answer = wire.advertisement(f"{hub.url}/{public}", f"git-{service}")
        assert answer.headers["content-type"] == f"application/x-git-{service}-advertisement"
    assert wire.upload_pack(f"{hub.url}/{public}", LS_REFS).headers["content-type"] == "application/x-git-upload-pack-result"


def test_request_ids(hub, public):
    given = wire.http(f"{hub.url}/{public}/info/refs?service=git-upload-pack", headers={"X-Request-Id": "given-1234"})
    assert given.headers["x-request-id"] == "given-1234"
    made = [wire.http(f"{hub.url}/healthz").headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    hostile = wire.http(f"{hub.url}/healthz", headers={"X-Request-Id": "x" * 5000 + '"'})
    assert len(hostile.headers["x-request-id"]) < 200


@pytest.mark.parametrize("method, target, status, allow", [
    ("POST", "/info/refs?service=git-upload-pack", 405, "GET"), ("GET", "/git-upload-pack", 405, "POST"),
    ("GET", "/git-receive-pack", 405, "POST"), ("PUT", "/git-upload-pack", 405, "POST"),
    ("DELETE", "/info/refs?service=git-upload-pack", 405, "GET")])
def test_wrong_methods(hub, public, method, target, status, allow):
    answer = wire.http(f"{hub.url}/{public}{target}", b"" if method in ("POST", "PUT") else None, method=method)
    assert answer.status == status and allow in answer.headers["allow"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-git-receive-pack-request", "application/x-git-upload-pack-result"])
def test_wrong_content_type(hub, public, content_type):
    answer = wire.upload_pack(f"{hub.url}/{public}", LS_REFS, headers={"Content-Type": content_type})
    assert answer.status == 415


def test_dumb_http_is_refused_with_a_word(hub, public):
    for target in ("/info/refs", "/HEAD", "/objects/info/packs", "/objects/00/" + "0" * 38):
        answer = wire.http(f"{hub.url}/{public}{target}")
        assert answer.status in (403, 404) and answer.body
    assert wire.http(f"{hub.url}/{public}/info/refs?service=git-upload-archive").status in (400, 403, 404)
    assert wire.http(f"{hub.url}/{public}/git-upload-archive", b"0000").status in (403, 404)


@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/alice%2frepo/info/refs", "/alice/%00/info/refs", "//", "/alice//x/info/refs",
    "/%ff%fe/x/info/refs", "/" + "a" * 8000, "/alice/repo/info/refs/../../x", "/alice/..%2f..%2fetc/info/refs?service=git-upload-pack",
    "/api/unknown", "/alice", "/%zz/x/info/refs?service=git-upload-pack"])
def test_hostile_paths(raw, path):
    with raw() as connection:
        connection.request("GET", path)
        assert connection.answer().status in (400, 401, 404, 414, 431)


def test_authorization_is_checked_before_the_service(hub, repo):
    path = repo()
    for target in ("/info/refs", "/HEAD", "/git-upload-pack"):
        answer = wire.http(f"{hub.url}/{path}{target}")
        assert answer.status in (401, 403, 404, 405)
        assert answer.status == wire.http(f"{hub.url}/alice/never-was{target}").status


# -- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_gzip_requests(hub, public, encoding):
    answer = wire.upload_pack(f"{hub.url}/{public}", gzip.compress(LS_REFS), headers={"Content-Encoding": encoding})
    assert is_listing(answer)


def test_gzip_requests_that_are_wrong(hub, public):
    whole = gzip.compress(LS_REFS)
    bodies = {"not gzip": LS_REFS, "truncated": whole[:-9], "bad sum": whole[:-8] + b"\0" * 8}
    for name, body in bodies.items():
        answer = wire.upload_pack(f"{hub.url}/{public}", body, headers={"Content-Encoding": "gzip"})
        assert answer.status == 400 or b"ERR " in answer.body, (name, answer.status)
    for encoding in ("br", "deflate", "gzip, gzip"):
        assert wire.upload_pack(f"{hub.url}/{public}", LS_REFS, headers={"Content-Encoding": encoding}).status == 415


def test_a_gzip_bomb_is_not_inflated(hub, public):
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(compressor.compress(b"\0" * (1 << 20)) for _ in range(1024)) + compressor.flush()
    before = rss_anon(hub.pid)
    answer = wire.upload_pack(f"{hub.url}/{public}", bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status in (400, 413) or b"ERR " in answer.body
    assert rss_anon(hub.pid) - before < 128 << 20


def rss_anon(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_requests(raw, public, size):
    with raw() as connection:
        connection.request("POST", f"/{public}/git-upload-pack", {**UPLOAD, "Transfer-Encoding": "chunked"},
                           wire.chunked(LS_REFS, size))
        assert is_listing(connection.answer())


def test_chunked_gzip_push(hub, raw, git, repo, alice):
    path = repo()
    commit, pack = packs.single_commit()
    body = gzip.compress(wire.push_body([(wire.ZERO, commit, "refs/heads/main")], pack))
    with raw() as connection:
        connection.request("POST", f"/{path}/git-receive-pack", {
            **RECEIVE, "Authorization": wire.basic(alice), "Content-Encoding": "gzip", "Transfer-Encoding": "chunked",
        }, wire.chunked(body, 50))
        assert wire.parse_push(connection.answer().body).ok


def test_malformed_chunks(raw, public):
    for body in (b"zz\r\nabc\r\n", b"5\r\nabc", b"ffffffffffffffffff\r\n", b"-1\r\n\r\n"):
        with raw(seconds=5) as connection:
            connection.request("POST", f"/{public}/git-upload-pack", {**UPLOAD, "Transfer-Encoding": "chunked"}, body)
            connection.socket.shutdown(1)
            try:
                assert connection.answer().status >= 400
            except (EOFError, ConnectionResetError):
                pass


def test_both_lengths_is_not_a_way_to_smuggle(raw, public):
    with raw(seconds=5) as connection:
        connection.request("POST", f"/{public}/git-upload-pack", {
            **UPLOAD, "Content-Length": "4", "Transfer-Encoding": "chunked"}, wire.chunked(LS_REFS))
        try:
            answer = connection.answer()
        except (EOFError, ConnectionResetError):
            return
        assert answer.status == 400 or is_listing(answer)


def test_the_probe(hub, raw, repo, alice):
    """Before a large push git asks with the body `0000` whether it may."""
    path = repo()
    for headers, status in (({"Authorization": wire.basic(alice)}, 200), ({}, 401), ({"Authorization": wire.basic("hf_wrong")}, 401)):
        with raw() as connection:
            connection.request("POST", f"/{path}/git-receive-pack", {**RECEIVE, **headers}, b"0000")
            answer = connection.answer()
            assert answer.status == status
            if status == 200:
                assert answer.body in (b"", b"0000")
                assert answer.headers["content-type"] == "application/x-git-receive-pack-result"


def test_expect_is_answered_after_authorization(raw, repo, alice):
    path = repo()
    commit, pack = packs.single_commit()
    body = wire.push_body([(wire.ZERO, commit, "refs/heads/main")], pack)
    head = {**RECEIVE, "Content-Length": str(len(body)), "Expect": "100-continue"}
    with raw() as connection:
        connection.request("POST", f"/{path}/git-receive-pack", head)
        assert connection.head()[0] == 401, "no 100 for those who may not"
    with raw() as connection:
        connection.request("POST", f"/{path}/git-receive-pack", {**head, "Authorization": f"Bearer {alice}"})
        assert connection.head()[0] == 100
        connection.send(body)
        assert wire.parse_push(connection.answer().body).ok


# -- connections --------------------------------------------------------------------------------------------------


def test_keep_alive(raw, public):
    with raw() as connection:
        for _ in range(5):
            connection.request("POST", f"/{public}/git-upload-pack", UPLOAD, LS_REFS)
            assert is_listing(connection.answer())
            connection.request("GET", f"/{public}/info/refs?service=git-upload-pack")
            assert connection.answer().status == 200
            connection.request("GET", "/nothing/here/at/all")
            assert connection.answer().status in (401, 404)


def test_keep_alive_after_a_refused_body(raw, repo, alice):
    """A client that does not probe sends its pack along with the request; the 401 must not lose the connection's place."""
    path = repo()
    commit, pack = packs.single_commit(content=b"x" * 100_000)
    body = wire.push_body([(wire.ZERO, commit, "refs/heads/main")], pack)
    with raw() as connection:
        connection.request("POST", f"/{path}/git-receive-pack", RECEIVE, body)
        first = connection.answer()
        assert first.status == 401
        if first.headers.get("connection") != "close":
            connection.request("POST", f"/{path}/git-receive-pack", {**RECEIVE, "Authorization": wire.basic(alice)}, body)
            assert wire.parse_push(connection.answer().body).ok


def test_a_large_refused_body_is_answered(raw, repo):
    """More than any socket buffer holds: the answer arrives although nobody wants the body."""
    path = repo()
    with raw() as connection:
        connection.request("POST", f"/{path}/git-receive-pack", {**RECEIVE, "Content-Length": str(8 << 20)})
        try:
            connection.send(b"\0" * (8 << 20))
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert connection.answer().status == 401


def test_pipelining(raw, public):
    with raw() as connection:
        for number in range(6):
            if number % 2:
                connection.request("GET", f"/{public}/info/refs?service=git-upload-pack")
            else:
                connection.request("POST", f"/{public}/git-upload-pack", UPLOAD, LS_REFS)
        answers = [connection.answer() for _ in range(6)]
    assert all(answer.status == 200 for answer in answers)
    assert [answer.body.startswith(b"001e# service=") for answer in answers] == [False, True] * 3


def test_pipelined_behind_a_refusal(raw, public, repo):
    private = repo()
    with raw() as connection:
        connection.request("POST", f"/{private}/git-receive-pack", RECEIVE, b"A" * 5000)
        connection.request("POST", f"/{public}/git-upload-pack", UPLOAD, LS_REFS)
        first = connection.answer()
        assert first.status == 401
        try:
            assert is_listing(connection.answer())
        except (EOFError, ConnectionResetError):
            assert first.headers.get("connection") == "close"


def test_half_close(raw, public):
    with raw() as connection:
        connection.request("POST", f"/{public}/git-upload-pack", UPLOAD, LS_REFS)
        connection.socket.shutdown(1)
        assert is_listing(connection.answer())


def test_http_1_0(raw, public):
    with raw() as connection:
        connection.send(f"GET /{public}/info/refs?service=git-upload-pack HTTP/1.0\r\n\r\n".encode())
        answer = connection.answer()
        assert answer.status == 200 and answer.body.endswith(b"0000")


@pytest.mark.parametrize("request_bytes", [
    b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 100, b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: nope\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"])
def test_what_is_not_http(hub, raw, request_bytes):
    with raw(seconds=5) as connection:
        connection.send(request_bytes)
        try:
            connection.socket.shutdown(1)
            assert connection.answer().status >= 400
        except (EOFError, OSError):
            pass
    assert wire.http(hub.url + "/healthz").status == 200


def test_huge_headers(hub, raw):
    for headers in ({"X": "y" * 1_000_000}, {f"X-{n}": "y" for n in range(5000)}):
        with raw(seconds=10) as connection:
            try:
                connection.request("GET", "/healthz", headers)
                assert connection.answer().status in (400, 431)
            except (EOFError, OSError):
                pass
    assert wire.http(hub.url + "/healthz").status == 200


def test_slowloris(fresh_hub):
    """Connections that trickle headers or a body are closed at a deadline, and meanwhile cost nobody else."""
    hub = fresh_hub(settings={"server.header_timeout": "1s", "server.body_timeout": "1s"})
    hub.expect_log("timeout|timed out|deadline|slow")
    path = hub.repo("admin/slow", public=True)
    lazy = [wire.Raw(hub.url) for _ in range(100)]
    try:
        for number, connection in enumerate(lazy):
            if number % 2:
                connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            else:
                connection.request("POST", f"/{path}/git-upload-pack", {**UPLOAD, "Content-Length": "1000"}, b"00", length=False)
        assert wire.http(hub.url + "/healthz", seconds=2).status == 200
        for connection in lazy:
            connection.socket.settimeout(20)
            data = connection.socket.recv(4096)
            assert data == b"" or data.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")), data
    finally:
        for connection in lazy:
            connection.socket.close()
    assert wire.http(hub.url + "/healthz").status == 200


def test_more_connections_than_allowed(fresh_hub):
    hub = fresh_hub(settings={"server.max_connections": "20"})
    hub.expect_log("connection")
    idle = [wire.Raw(hub.url) for _ in range(60)]
    for connection in idle:
        connection.socket.close()
    wait.until(lambda: hub.is_ready(), "served again once they are gone")


def test_a_client_that_leaves_in_mid_answer(hub, git, tmp, repo, alice):
    path = repo(public=True)
    commit, pack = packs.single_commit(content=random.Random(2).randbytes(6 << 20))
    assert wire.parse_push(wire.receive_pack(f"{hub.url}/{path}", wire.push_body(
        [(wire.ZERO, commit, "refs/heads/main")], pack), token=alice).body).ok
    body = wire.fetch_body("ofs-delta", wants=[commit])
    for _ in range(20):
        with wire.Raw(hub.url) as connection:
            connection.request("POST", f"/{path}/git-upload-pack", UPLOAD, body)
            assert connection.head()[0] == 200
            connection.exactly(1000)
    assert git.clone(hub.git_url(path), tmp / "copy")("rev-parse", "HEAD") == commit


def test_listings_are_compressed_and_packs_are_not(hub, raw, server, shapes, git):
    path = hub.repo(f"admin/gz{next(hub.names)}", "--mirror", public=True)
    bare = shapes.bare("long-history")
    bare("push", "-q", "--mirror", hub.git_url(path, hub.tokens["admin"]))
    names = [(wire.ZERO, bare("rev-parse", "main"), f"refs/heads/many/{n}") for n in range(300)]
    wire.receive_pack(f"{hub.url}/{path}", wire.push_body(names, packs.pack()), token=hub.tokens["admin"])
    accept = {**UPLOAD, "Accept-Encoding": "deflate, gzip"}
    with raw() as connection:
        connection.request("POST", f"/{path}/git-upload-pack", accept, wire.ls_refs_body("peel"))
        listing = connection.answer()
        if listing.headers.get("content-encoding") == "gzip":
            listing.body = gzip.decompress(listing.body)
        assert listing.body.count(b"refs/heads/many/") == 300
        connection.request("POST", f"/{path}/git-upload-pack", accept, wire.fetch_body(wants=[bare("rev-parse", "main")]))
        assert "content-encoding" not in connection.answer().headers
        plain = {**UPLOAD}
        connection.request("POST", f"/{path}/git-upload-pack", plain, wire.ls_refs_body("peel"))
        assert "content-encoding" not in connection.answer().headers, "only for clients that accept it"


def test_unknown_protocol_versions_fall_back(hub, public):
    for header in ("version=3", "version=", "2", "foo=bar:version=2", "version=1:version=2", "x" * 5000, "version=2;rm -rf"):
        answer = wire.http(f"{hub.url}/{public}/info/refs?service=git-upload-pack", headers={"Git-Protocol": header})
        assert answer.status in (200, 400), header
        if header == "foo=bar:version=2":
            assert b"version 2" in answer.body


def test_keepalive_answers_are_whole_packets(hub, public):
    """An answer is a sequence of whole pkt-lines to the last byte."""
    answer = wire.upload_pack(f"{hub.url}/{public}", LS_REFS)
    assert list(pktline.decode(answer.body))[-1] is None
