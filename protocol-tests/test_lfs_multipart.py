"""Hugging Face's `multipart` transfer over our own hrefs."""

import pytest

from harness import lfs, lfs_api
from harness.lfs import MIB, content
from harness.lfs_api import Api, message
from harness.watched import Offering


@pytest.fixture
def engine():
    return "disk"


@pytest.fixture
def at(api):
    return api()


@pytest.fixture
def hf(at):
    """The same repository as Hugging Face's client sees it, which offers multipart."""
    return Offering(at.hub, at.path, at.token, agent=lfs_api.HF)


def test_keys_of_parts_are_zero_padded_and_values_are_text(hf):
    """The agent takes them in the order of their text; git-lfs decodes nothing but strings."""
    header = hf.grant(content(64 * MIB + 1, hf.path))["upload"]["header"]
    assert sorted(header) == [*(f"{number:05d}" for number in range(1, lfs.PARTS + 1)), "chunk_size"]
    assert all(isinstance(value, str) for value in header.values())


def test_twelve_parts(hf):
    data = content(64 * MIB + 1, hf.path)
    action = hf.grant(data)["upload"]
    urls, size = lfs_api.parts(action)
    assert len(urls) == lfs.PARTS and size * lfs.PARTS >= len(data) > size * (lfs.PARTS - 1)
    etags = lfs_api.put_parts(action, data)
    assert not hf.has(data), "not before it is complete"
    assert lfs_api.complete(action, data, etags).status == 200
    assert lfs_api.complete(action, data, etags).status == 200, "said twice"
    assert hf.download(data) == data


def test_parts_in_any_order_and_again(hf):
    data = content(64 * MIB + 1, hf.path)
    action = hf.grant(data)["upload"]
    urls, size = lfs_api.parts(action)
    etags = {}
    for number in (12, 3, 1, 2, 3, 4, 5, 6, 11, 10, 9, 8, 7):
        answer = lfs_api.put({"href": urls[number - 1]}, data[(number - 1) * size : number * size])
        assert answer.status == 200
        etags[number] = answer.headers["etag"]
    assert lfs_api.complete(action, data, sorted(etags.items())).status == 200
    assert hf.download(data) == data


def test_a_missing_part(hf):
    data = content(64 * MIB + 1, hf.path)
    action = hf.grant(data)["upload"]
    etags = lfs_api.put_parts(action, data, only=range(1, 12))
    answer = lfs_api.complete(action, data, etags)
    assert answer.status == 422 and message(answer)
    etags += lfs_api.put_parts(action, data, only=(12,))
    assert lfs_api.complete(action, data, etags).status == 200, "the others need not be sent again"


def test_parts_of_the_wrong_size_or_content(hf):
    data = content(64 * MIB + 1, hf.path)
    action = hf.grant(data)["upload"]
    urls, size = lfs_api.parts(action)
    assert lfs_api.put({"href": urls[0]}, data[: size - 1]).status == 422
    assert lfs_api.put({"href": urls[0]}, data[: size + 1]).status == 422
    assert lfs_api.put({"href": urls[11]}, data[:size]).status == 422, "the last is shorter"
    wrong = content(64 * MIB + 1, "wrong")
    answer = lfs_api.complete(action, data, lfs_api.put_parts(action, wrong))
    assert answer.status in (400, 422) and lfs.oid(data) in message(answer)
    assert not hf.has(data)


def test_git_lfs_gets_multipart_for_all_or_none(at):
    """The adapter is chosen once per answer, and the agent fails on an action that is not multipart."""
    small, large = content(1000, at.path), (lfs.oid(b"large"), 65 * MIB)
    rows = at.ask("upload", small, transfers=["ssh", "lfs-standalone-file", "multipart", "basic"])
    assert at.transfer == "basic" and "chunk_size" not in rows[0]["actions"]["upload"].get("header", {})
    rows = at.ask("upload", small, large, transfers=["multipart", "basic"])
    assert at.transfer == "multipart" and all("chunk_size" in row["actions"]["upload"]["header"] for row in rows)
    urls, size = lfs_api.parts(rows[0]["actions"]["upload"])
    assert len(urls) == 1
    action = rows[0]["actions"]["upload"]
    assert lfs_api.complete(action, small, lfs_api.put_parts(action, small)).status == 200
    assert at.download(small) == small


def test_a_restart_forgets_parts_on_disk(fresh_hub):
    hub = fresh_hub(settings=lfs.MULTIPART)
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    data = content(64 * MIB + 1, "restart")
    action = at.grant(data, transfers=["multipart", "basic"])["upload"]
    etags = lfs_api.put_parts(action, data, only=range(1, 6))
    hub.stop()
    hub.start()
    answer = lfs_api.complete(action, data, etags)
    assert answer.status // 100 == 4 and message(answer)
    at.upload(data, transfers=["multipart", "basic"])
    assert at.download(data) == data
