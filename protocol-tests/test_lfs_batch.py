"""The Batch API: lenient in, strict out, one object's fault never another's."""

import json
import random
import time

import pytest

from harness import lfs, lfs_api, wire
from harness.lfs import content
from harness.lfs_api import MEDIA, Api, message

NOWHERE = "0123456789abcdef" * 4


def row(name, size=1):
    return {"oid": name, "size": size}


# -- lenient in ---------------------------------------------------------------------------------------------------


LENIENT = {
    "ref null": {"ref": None}, "ref {}": {"ref": {}}, "ref unqualified": {"ref": {"name": "main"}}, "ref other": {"ref": {"name": "refs/tags/v1"}},
    "transfers in any order": {"transfers": ["ssh", "lfs-standalone-file", "multipart", "basic"]}, "transfers null": {"transfers": None},
    "transfers empty": {"transfers": []}, "transfers unknown": {"transfers": ["tus", "carrier-pigeon"]},
    "unknown fields": {"colour": "green", "deep": {"er": [1, 2]}}, "hash_algo null": {"hash_algo": None},
}


@pytest.mark.parametrize("what", LENIENT)
def test_what_clients_send(api, what):
    at = api()
    assert at.upload(content(100, f"{at.path} {what}"), **{"transfers": ["basic"], **LENIENT[what]})


@pytest.mark.parametrize("absent", ["ref", "transfers", "hash_algo"])
def test_what_old_clients_leave_out(api, absent):
    at = api()
    data = content(100, at.path)
    document = {"operation": "upload", "objects": [row(lfs.oid(data), 100)], "ref": {"name": "refs/heads/main"}, "transfers": ["basic"], "hash_algo": "sha256"}
    del document[absent]
    answer = at.post("objects/batch", document)
    assert answer.status == 200
    found, = json.loads(answer.body)["objects"]
    lfs_api.check_row(found)
    assert found["actions"]["upload"]


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.git-lfs+json", "text/plain", ""])
def test_any_content_type(api, kind):
    at = api()
    answer = at.post("objects/batch", {"operation": "download", "objects": [row(NOWHERE)]}, Content_Type=kind, Accept="*/*")
    assert answer.status == 200 and answer.headers["content-type"].startswith(MEDIA)


def test_a_download_without_sizes(api):
    at = api()
    data = content(1000, at.path)
    at.upload(data)
    found, = at.ask("download", {"oid": lfs.oid(data)})
    assert found["size"] == 1000 and found["actions"]["download"]


def test_with_and_without_the_git_suffix(api):
    at = api()
    data = content(100, at.path)
    at.upload(data)
    document = json.dumps({"operation": "download", "objects": [row(lfs.oid(data), 100)]}).encode()
    for base in (at.base, at.base.replace(".git/", "/")):
        answer = wire.http(f"{base}/objects/batch", document, at.token, headers={"Content-Type": MEDIA})
        assert json.loads(answer.body)["objects"][0]["actions"]


def test_a_renamed_repository_is_served_in_place(api):
    at = api()
    data = content(100, at.path)
    at.upload(data)
    at.hub.run("repo", "rename", at.path, f"{at.path}-new")
    assert at.download(data) == data
    assert Api(at.hub, f"{at.path}-new", at.token).download(data) == data


# -- per object ---------------------------------------------------------------------------------------------------


BAD_OBJECTS = {
    "uppercase": row(NOWHERE.upper()), "short": row(NOWHERE[:-1]), "long": row(NOWHERE + "0"), "not hex": row("g" * 64), "empty": row(""),
    "a path": row("../" * 20 + "etc/passwd"), "negative size": row(NOWHERE, -1), "a huge size": row(NOWHERE, 2**63), "2**64": row(NOWHERE, 2**64),
    "a fraction": row(NOWHERE, 1.5), "size as text": row(NOWHERE, "12"), "no size": {"oid": NOWHERE},
    "size 0 of something": row(NOWHERE, 0), "a size of nothing": row(lfs.oid(b""), 5),
}


@pytest.mark.parametrize("what", BAD_OBJECTS)
def test_one_bad_object_among_good_ones(api, what):
    """422 for that one; the others go on."""
    at = api()
    data = content(100, f"{at.path} {what}")
    good, bad = None, None
    answer = at.batch("upload", data, BAD_OBJECTS[what])
    assert answer.status == 200, answer.text()
    for found in json.loads(answer.body)["objects"]:
        if found["oid"] == lfs.oid(data):
            good = found
        else:
            bad = found
    assert good["actions"]["upload"]
    assert bad["error"]["code"] == 422 and bad["error"]["message"]
    assert lfs_api.put(good["actions"]["upload"], data).status // 100 == 2


def test_sizes_at_the_bound(fresh_hub, engine_settings):
    hub = fresh_hub(settings=engine_settings(**{"lfs.object_bytes": "1MiB"}))
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    assert at.grant((NOWHERE, 1 << 20))
    error = at.error("upload", (NOWHERE, (1 << 20) + 1))
    assert error["code"] == 422 and ("1 MiB" in error["message"] or str(1 << 20) in error["message"])


def test_what_is_not_there(api):
    """404 in the row, never for the whole request, though all be missing."""
    at = api()
    rows = at.ask("download", (NOWHERE, 1), ("f" * 64, 2))
    assert [found["error"]["code"] for found in rows] == [404, 404]


def test_a_wrong_size_on_download(api):
    at = api()
    data = content(1000, at.path)
    at.upload(data)
    error = at.error("download", (lfs.oid(data), 999))
    assert error["code"] == 422 and "1000" in error["message"]


def test_a_wrong_size_on_upload_of_what_is_there(api):
    """Nobody re-announces an object with another size."""
    at = api()
    data = content(1000, at.path)
    at.upload(data)
    error = at.error("upload", (lfs.oid(data), 999))
    assert error["code"] == 422 and "1000" in error["message"], error
    assert at.download(data) == data


def test_removed_objects(api):
    at = api()
    data = content(1000, at.path)
    at.upload(data)
    at.hub.run("lfs", "remove", at.path, lfs.oid(data))
    assert at.error("download", data)["code"] == 410
    assert at.grant(data), "it may come again"
    at.upload(data)
    assert at.download(data) == data


def test_the_same_object_twice_in_a_request(api):
    at = api()
    data = content(1000, at.path)
    rows = at.ask("upload", data, data)
    actions = [found["actions"]["upload"] for found in rows if found.get("actions")]
    assert actions and all(found["oid"] == lfs.oid(data) for found in rows)
    assert lfs_api.put(actions[0], data).status // 100 == 2


def test_there_already(api):
    at = api()
    data = content(1000, at.path)
    at.upload(data)
    found, = at.ask("upload", data)
    assert "actions" not in found and "error" not in found


def test_possession_is_per_repository(api):
    """Knowing an oid gives nothing: not to see whether it is here, nor to have it without the bytes."""
    first, second = api(), api()
    data = content(100_000, first.path)
    first.upload(data)
    assert second.error("download", data)["code"] == 404
    actions = second.grant(data)
    assert actions["upload"], "all of it again, though the store has it"
    if "verify" in actions:
        assert lfs_api.verify(actions["verify"], data).status // 100 == 4, "a claim alone proves nothing"
    assert second.error("download", data)["code"] == 404
    assert lfs_api.put(actions["upload"], content(100_000, "lie")).status // 100 == 4
    assert second.error("download", data)["code"] == 404
    second.upload(data)
    assert second.download(data) == data


# -- whole requests -----------------------------------------------------------------------------------------------


REFUSED = {
    "not json": (b"not json", 422), "empty": (b"", 422), "null": (b"null", 422), "a list": (b"[]", 422), "no operation": ({"objects": [row(NOWHERE)]}, 422),
    "another operation": ({"operation": "verify", "objects": [row(NOWHERE)]}, 422), "no objects": ({"operation": "upload", "objects": []}, 422),
    "objects absent": ({"operation": "upload"}, 422),
    "deep": (b'{"operation":"upload","objects":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422),
    "not utf-8": (b'{"operation":"upload\xff","objects":[]}', 422),
}


@pytest.mark.parametrize("what", REFUSED)
def test_requests_that_are_refused(api, what):
    body, status = REFUSED[what]
    answer = api().post("objects/batch", body)
    assert answer.status in (status, 400) and message(answer), answer.text()
    assert "x-request-id" in answer.headers and json.loads(answer.body)["request_id"] == answer.headers["x-request-id"]


def test_another_hash(api):
    """The documentation gives 409 to the objects, not to the request."""
    answer = api().post("objects/batch", {"operation": "upload", "objects": [row(NOWHERE), row(NOWHERE)], "hash_algo": "sha512"})
    rows = json.loads(answer.body)["objects"]
    assert answer.status == 200 and [found["error"]["code"] for found in rows] == [409, 409]
    assert all(found["oid"] == NOWHERE and "actions" not in found for found in rows)


@pytest.mark.parametrize("extra", [0, 1])
def test_five_thousand_objects(api, extra):
    at = api()
    source = random.Random(at.path)
    pairs = [(source.randbytes(32).hex(), number + 1) for number in range(5000 + extra)]
    start = time.monotonic()
    answer = at.batch("upload", *pairs)
    if extra:
        assert answer.status == 413 and "5000" in message(answer)
        return
    assert answer.status == 200 and time.monotonic() - start < 5
    rows = json.loads(answer.body)["objects"]
    assert [(found["oid"], found["size"]) for found in rows] == pairs and all(found["actions"]["upload"] for found in rows)
    answer = at.batch("download", *pairs)
    assert {found["error"]["code"] for found in json.loads(answer.body)["objects"]} == {404}


def test_a_body_too_large(api):
    answer = api().post("objects/batch", b'{"operation":"upload","x":"' + b"x" * (5 << 20) + b'"}')
    assert answer.status == 413 and message(answer)


def test_who_may(api, lfs_hub, lfs_repo):
    private, public = lfs_repo(), lfs_repo(public=True)
    data = content(100, public)
    Api(lfs_hub, public, lfs_hub.tokens["alice"]).upload(data)
    anonymous = Api(lfs_hub, private).batch("download", (NOWHERE, 1))
    assert anonymous.status == 401 and message(anonymous)
    assert anonymous.headers["lfs-authenticate"] == 'Basic realm="Granary"'
    assert Api(lfs_hub, private, lfs_hub.tokens["bob"]).batch("download", (NOWHERE, 1)).status == 404
    assert Api(lfs_hub, "alice/none", lfs_hub.tokens["bob"]).batch("download", (NOWHERE, 1)).status == 404
    assert Api(lfs_hub, "alice/none").batch("download", (NOWHERE, 1)).status == 401
    assert Api(lfs_hub, public).download(data) == data, "anonymous readers of a public repository"
    assert Api(lfs_hub, public).batch("upload", (NOWHERE, 1)).status == 401
    assert Api(lfs_hub, public, lfs_hub.tokens["bob"]).batch("upload", (NOWHERE, 1)).status == 200, "a pull request may need it"
    assert Api(lfs_hub, public, lfs_hub.token("bob", "read")).batch("upload", (NOWHERE, 1)).status == 403
    wrong = Api(lfs_hub, public, "hf_" + "x" * 34).batch("download", data)
    assert wrong.status == 401 and "lfs-authenticate" in wrong.headers
    reader = lfs_hub.token("alice", "read")
    assert Api(lfs_hub, private, reader).batch("upload", (NOWHERE, 1)).status == 403
    bearer = wire.http(f"{Api(lfs_hub, public).base}/objects/batch", json.dumps({"operation": "upload", "objects": [row(NOWHERE)]}).encode(),
                       headers={"Authorization": f"Bearer {lfs_hub.tokens['alice']}"})
    assert bearer.status == 200


def test_other_methods(api):
    at = api()
    assert at.get("objects/batch").status in (404, 405)
    assert at.get("nothing").status == 404
