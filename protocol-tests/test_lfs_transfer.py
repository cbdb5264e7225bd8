"""Transfers over our own hrefs, byte by byte: ranges, conditions, bodies of the wrong size, clients that leave."""

import socket
import threading
from urllib.parse import urlsplit

import pytest

from harness import lfs, lfs_api, wait, wire
from harness.lfs import MIB, content
from harness.lfs_api import Api, message
from harness.load import percentile, timed

GIB = 1 << 30


@pytest.fixture
def engine():
    return "disk"


@pytest.fixture
def at(api):
    return api()


@pytest.fixture
def data(at):
    """Stored in the repository of `at`."""
    data = content(300_000, at.path)
    at.upload(data)
    return data


@pytest.fixture
def href(at, data):
    return at.grant(data, "download")["download"]


# -- GET ----------------------------------------------------------------------------------------------------------


def test_a_whole_object(data, href):
    answer = lfs_api.get(href)
    assert answer.status == 200 and answer.body == data
    headers = answer.headers
    assert headers["content-length"] == str(len(data)) and headers["accept-ranges"] == "bytes"
    assert headers["etag"] == f'"{lfs.oid(data)}"'
    assert headers["content-type"] == "application/octet-stream" and headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert "private" in headers["cache-control"] and "immutable" in headers["cache-control"]


def test_requests_one_behind_the_other(at):
    """Large and small answers on one connection, the requests sent before any answer is read: each comes whole and in its turn."""
    large, small = content(5 * MIB + 7, f"{at.path} large"), content(1000, f"{at.path} small")
    at.upload(large), at.upload(small)
    large_href, small_href = (at.grant(data, "download")["download"]["href"] for data in (large, small))
    asked = [(large_href, None, large), (small_href, None, small), (large_href, "bytes=1048575-3145729", large[1048575:3145730]),
             (small_href, "bytes=5-9", small[5:10]), (large_href, "bytes=5000000-", large[5000000:])] * 3
    with wire.Raw(large_href) as raw:
        for href, range, _ in asked:
            parts = urlsplit(href)
            raw.request("GET", f"{parts.path}?{parts.query}", {"Range": range} if range else {})
        for href, range, expected in asked:
            answer = raw.answer()
            assert answer.status == (206 if range else 200) and answer.body == expected, (href, range, answer.status)


def test_head(data, href):
    answer = lfs_api.get(href, "HEAD")
    assert answer.status == 200 and answer.body == b"" and answer.headers["content-length"] == str(len(data))
    part = lfs_api.get(href, "HEAD", Range="bytes=0-9")
    assert part.status in (200, 206) and part.body == b""


RANGES = {
    "bytes=0-0": (0, 1), "bytes=0-": (0, 300_000), "bytes=100-199": (100, 200), "bytes=299999-": (299_999, 300_000),
    "bytes=-1": (299_999, 300_000), "bytes=-300000": (0, 300_000), "bytes=-999999": (0, 300_000), "bytes=5-999999": (5, 300_000),
    "bytes=262143-262145": (262_143, 262_146), "bytes=5-18446744073709551615": (5, 300_000),
}


@pytest.mark.parametrize("asked", RANGES)
def test_a_range(data, href, asked):
    first, end = RANGES[asked]
    answer = lfs_api.get(href, Range=asked)
    assert answer.status == 206 and answer.body == data[first:end]
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(data)}"
    assert answer.headers["content-length"] == str(end - first)


@pytest.mark.parametrize("asked", ["bytes=300000-", "bytes=300000-300001", "bytes=999999999999-", "bytes=-0"])
def test_a_range_beyond_the_end(data, href, asked):
    answer = lfs_api.get(href, Range=asked)
    assert answer.status == 416 and answer.headers["content-range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=7-3", "bytes=a-b", "bytes=", "bytes", "items=0-1", "bytes=--1", "bytes=0x1-2"])
def test_a_range_that_is_none(data, href, asked):
    """Several ranges, other units and nonsense: the whole object, as if nothing had been asked."""
    answer = lfs_api.get(href, Range=asked)
    assert answer.status == 200 and answer.body == data


def test_if_range(data, href):
    etag = f'"{lfs.oid(data)}"'
    assert lfs_api.get(href, Range="bytes=10-19", If_Range=etag).status == 206
    for other in ('"other"', f"W/{etag}", "Thu, 01 Jan 2026 00:00:00 GMT"):
        answer = lfs_api.get(href, Range="bytes=10-19", If_Range=other)
        assert answer.status == 200 and answer.body == data


def test_if_none_match(data, href):
    etag = f'"{lfs.oid(data)}"'
    for value in (etag, "*", f'"x", W/{etag}'):
        answer = lfs_api.get(href, If_None_Match=value)
        assert answer.status == 304 and answer.body == b""
    assert lfs_api.get(href, If_None_Match='"x"').status == 200


def test_the_empty_object(at):
    row, = at.ask("download", b"")
    if "actions" in row:
        answer = lfs_api.get(row["actions"]["download"])
        assert answer.status == 200 and answer.body == b""
    assert at.grant(b"") is None, "never uploaded"


def test_a_small_get_is_one_write(at):
    """Head and body together: a second small write would wait for the peer's delayed acknowledgement, 40 ms."""
    data = content(1024, at.path)
    at.upload(data)
    action = at.grant(data, "download")["download"]
    with wire.Raw(at.hub.url) as raw:
        target = action["href"].removeprefix(at.hub.url)

        def once():
            raw.request("GET", target)
            assert raw.answer().body == data

        once()
        times = [timed(once) for _ in range(200)]
    assert percentile(times, 0.5) < 0.005, f"median {percentile(times, 0.5) * 1000:.2f} ms"


@pytest.mark.long
def test_offsets_over_four_gib(at, tmp):
    """A sparse file of 5 GiB + 1: 64-bit offsets all the way."""
    size = 5 * GIB + 1
    tail = content(1000, "tail")
    name = _sparse(tmp / "big", size, tail)
    action = at.grant((name, size))["upload"]
    with open(tmp / "big", "rb") as file:
        assert wire.http(action["href"], file, method="PUT", headers={"Content-Length": str(size)}, seconds=280).status == 200
    action = at.grant((name, size), "download")["download"]
    first = size - 1000
    answer = lfs_api.get(action, Range=f"bytes={first}-")
    assert answer.status == 206 and answer.body == tail and answer.headers["content-range"] == f"bytes {first}-{size - 1}/{size}"
    answer = lfs_api.get(action, Range=f"bytes={4 * GIB - 1}-{4 * GIB}")
    assert answer.status == 206 and answer.body == b"\0\0"
    assert lfs_api.get(action, Range=f"bytes={size}-").headers["content-range"] == f"bytes */{size}"


def _sparse(path, size, tail):
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(size - len(tail))
        file.write(tail)
    return lfs.digest(path)


# -- PUT ----------------------------------------------------------------------------------------------------------


def grant(at, data):
    return at.grant(data)["upload"]


def nothing_stored(at, data):
    assert not at.has(data)
    assert at.grant(data), "it is to be uploaded again"
    wait.until(lambda: not list((at.hub.data / "staging").iterdir()), "nothing stays in staging")


def test_wrong_bytes(at):
    data = content(100_000, at.path)
    other = content(100_000, "other")
    answer = lfs_api.put(grant(at, data), other)
    assert answer.status in (400, 422)
    assert lfs.oid(other) in message(answer) and lfs.oid(data) in message(answer)
    nothing_stored(at, data)


@pytest.mark.parametrize("difference", [-1, 1, 100_000])
def test_a_wrong_content_length(at, difference):
    data = content(100_000, at.path)
    answer = lfs_api.put(grant(at, data), (data * 2)[: len(data) + difference])
    assert answer.status == 422 and "100000" in message(answer) and str(100_000 + difference) in message(answer)
    nothing_stored(at, data)


@pytest.mark.parametrize("difference", [-1, 0, 1, 1_000_000])
def test_a_chunked_body_is_counted(at, difference):
    data = content(100_000, at.path)
    body = (data * 20)[: len(data) + difference]
    with wire.Raw(at.hub.url) as raw:
        raw.request("PUT", grant(at, data)["href"].removeprefix(at.hub.url), {"Transfer-Encoding": "chunked"}, wire.chunked(body, 8000), length=False)
        answer = raw.answer()
    if difference == 0:
        assert answer.status == 200 and at.has(data)
    else:
        assert answer.status in (400, 422) and "100000" in message(answer)
        nothing_stored(at, data)


def test_a_client_gone_at_half(at):
    data = content(4 * MIB, at.path)
    action = grant(at, data)
    raw = wire.Raw(at.hub.url)
    raw.request("PUT", action["href"].removeprefix(at.hub.url), {"Content-Length": str(len(data))}, data[: len(data) // 2])
    raw.socket.close()
    nothing_stored(at, data)
    assert lfs_api.put(action, data).status == 200, "the same href, from the start"
    assert at.download(data) == data


def test_a_client_gone_after_the_last_byte(at):
    """What was sent whole is stored, whether or not its sender waits for the answer."""
    data = content(MIB, at.path)
    raw = wire.Raw(at.hub.url)
    raw.request("PUT", grant(at, data)["href"].removeprefix(at.hub.url), {"Content-Length": str(len(data))}, data)
    raw.socket.shutdown(socket.SHUT_WR)
    raw.socket.close()
    wait.until(lambda: at.has(data), "it is there")


def test_expect_100_continue(at):
    data = content(10_000, at.path)
    with wire.Raw(at.hub.url) as raw:
        target = grant(at, data)["href"].removeprefix(at.hub.url)
        raw.request("PUT", target, {"Content-Length": str(len(data)), "Expect": "100-continue"})
        assert raw.head()[0] == 100
        raw.send(data)
        assert raw.answer().status == 200
        raw.request("PUT", target + "x", {"Content-Length": str(len(data)), "Expect": "100-continue"})
        assert raw.head()[0] == 403, "refused before a byte of it"


def test_a_content_type_is_anybodys(at):
    """git-lfs guesses one from the first bytes."""
    for number, kind in enumerate(("text/html; charset=utf-8", "image/png", "application/octet-stream")):
        data = content(1000, f"{at.path} {number}")
        assert lfs_api.put(grant(at, data), data, Content_Type=kind).status == 200
        assert lfs_api.get(at.grant(data, "download")["download"]).headers["content-type"] == "application/octet-stream"


def test_an_encoded_body_is_refused(at):
    data = content(1000, at.path)
    answer = lfs_api.put(grant(at, data), data, Content_Encoding="gzip")
    assert answer.status in (400, 415, 422) and message(answer)
    nothing_stored(at, data)


def test_put_twice_and_at_once(at):
    data = content(2 * MIB, at.path)
    actions = [grant(at, data), grant(at, data)]
    answers = []
    threads = [threading.Thread(target=lambda action=action: answers.append(lfs_api.put(action, data))) for action in actions * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    statuses = [answer.status for answer in answers]
    assert len(statuses) == 4 and 200 in statuses and set(statuses) <= {200, 429}, statuses
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status == 429), "one at a time under each href"
    assert all(lfs_api.put(action, data).status == 200 for action in actions), "and again afterwards"
    assert at.download(data) == data
    wait.until(lambda: not list((at.hub.data / "staging").iterdir()), "nothing stays in staging")


def test_an_authorization_beside_the_token_is_not_looked_at(at):
    data = content(1000, at.path)
    assert lfs_api.put(grant(at, data), data, Authorization=wire.basic("hf_" + "x" * 34)).status == 200
    assert lfs_api.get(at.grant(data, "download")["download"], Authorization="Bearer nonsense").status == 200


def test_disk_full(stopped_hub):
    """Below the reserve no byte is taken and the client is told why; what is there is served."""
    hub = stopped_hub().start()
    at = Api(hub, hub.repo("admin/full"), hub.admin_token)
    kept, data = content(1000, "kept"), content(1000, "full")
    at.upload(kept)
    action = at.grant(data)["upload"]
    hub.stop()
    hub.settings["storage.min_free"] = 1 << 60
    hub.start(ready=False)
    wait.until(lambda: "free" in _readiness(hub), "it says that it is not ready, and why")
    refused = lfs_api.put(action, data)
    assert refused.status == 507 and "nearly full" in message(refused)
    assert at.download(kept) == kept
    hub.stop()
    hub.settings["storage.min_free"] = "64MiB"
    hub.start()
    nothing_stored(at, data)


def _readiness(hub):
    try:
        answer = wire.http(f"{hub.url}/readyz")
    except OSError:
        return ""
    assert answer.status == 503
    return answer.text()


def test_uploads_at_once_are_bounded(fresh_hub):
    """Nobody gets more than half of them, so somebody else is served meanwhile."""
    hub = fresh_hub(settings={"lfs.uploads": "4"})
    at = Api(hub, hub.repo("admin/busy"), hub.admin_token)
    held = []
    for number in range(2):
        data = content(10_000, number)
        raw = wire.Raw(hub.url)
        raw.request("PUT", grant(at, data)["href"].removeprefix(hub.url), {"Content-Length": "10000"}, data[:100])
        held.append((raw, data))
    third = content(10_000, 3)
    action = grant(at, third)
    busy = wait.until(lambda: (answer := lfs_api.put(action, third)).status == 429 and answer, "the third is told to come again")
    assert int(busy.headers["retry-after"]) >= 1 and message(busy)
    alice = hub.user("alice")
    Api(hub, hub.repo("alice/r"), alice).upload(third)
    for raw, data in held:
        raw.send(data[100:])
        assert raw.answer().status == 200
    assert lfs_api.put(action, third).status == 200
