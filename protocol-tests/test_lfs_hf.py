"""huggingface_hub's own LFS functions, called as its `upload_file` would without Xet."""

import os

os.environ.update(HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")

import pytest  # noqa: E402
from huggingface_hub import CommitOperationAdd  # noqa: E402
from huggingface_hub.errors import HfHubHTTPError  # noqa: E402
from huggingface_hub.lfs import lfs_upload, post_lfs_batch_info  # noqa: E402

from harness import lfs, lfs_api, metrics  # noqa: E402
from harness.api import HubApi  # noqa: E402
from harness.lfs import MIB, content  # noqa: E402
from harness.lfs_api import Api  # noqa: E402


@pytest.fixture(params=["model", "dataset", "space"])
def place(request, lfs_hub):
    """(kind, NS/NAME, path) of a new repository."""
    name = f"alice/h{next(lfs_hub.names)}"
    prefix = {"model": "", "dataset": "datasets/", "space": "spaces/"}[request.param]
    return request.param, name, lfs_hub.repo(prefix + name)


def send(hub, place, *contents, user="alice", transfers=None):
    """Batch and upload; returns (transfer, errors)."""
    kind, name, _ = place
    adds = [CommitOperationAdd(f"f{number}.bin", data) for number, data in enumerate(contents)]
    token = hub.tokens[user]
    actions, errors, transfer = post_lfs_batch_info(
        [add.upload_info for add in adds], token, kind, name, revision="main", endpoint=hub.url, transfers=transfers)
    by_oid = {action["oid"]: action for action in actions}
    for add in adds:
        if action := by_oid.get(add.upload_info.sha256.hex()):
            lfs_upload(add, action, token=token, endpoint=hub.url)
    return transfer, errors


def test_small_and_large_together(lfs_hub, place):
    """A mixed answer: one PUT for the small, twelve parts for the large; decided by each action."""
    small, large = content(MIB, place[2]), content(64 * MIB + 1, place[2])
    _, errors = send(lfs_hub, place, small, large)
    assert not errors
    at = Api(lfs_hub, place[2], lfs_hub.tokens["alice"])
    assert at.download(small) == small and at.download(large) == large


def test_again_is_nothing_to_do(lfs_hub, place):
    data = content(100_000, place[2])
    send(lfs_hub, place, data)
    received = metrics.read(lfs_hub).get("granary_lfs_bytes_in_total", 0)
    send(lfs_hub, place, data)
    assert metrics.read(lfs_hub).get("granary_lfs_bytes_in_total", 0) == received


def test_basic_alone(lfs_hub, place):
    data = content(64 * MIB + 1, f"basic {place[2]}")
    send(lfs_hub, place, data, transfers=["basic"])
    assert Api(lfs_hub, place[2], lfs_hub.tokens["alice"]).download(data) == data


def test_errors_are_read(fresh_hub, engine_settings):
    """507 with its message; 404 and 403 as the library's own errors."""
    hub = fresh_hub(settings=engine_settings())
    hub.tokens = {"alice": hub.user("alice"), "bob": hub.user("bob")}
    hub.run("quota", "alice", "1MiB")
    place = ("model", "alice/r", hub.repo("alice/r"))
    _, errors = send(hub, place, content(2 * MIB))
    assert [(error["error"]["code"], error["oid"]) for error in errors] == [(507, lfs.oid(content(2 * MIB)))]
    assert "alice has used" in errors[0]["error"]["message"]
    with pytest.raises(HfHubHTTPError) as raised:
        send(hub, place, content(10), user="bob")
    assert raised.value.response.status_code == 404
    hub.repo("alice/open", public=True)
    # Whoever reads may propose, unless nobody is to be asked for that.
    assert HubApi(hub.url, hub.tokens["alice"]).request("PUT", "/api/models/alice/open/settings", {"discussionsDisabled": True}).status == 200
    with pytest.raises(HfHubHTTPError) as raised:
        send(hub, ("model", "alice/open", "alice/open"), content(10), user="bob")
    assert raised.value.response.status_code == 403


def test_a_part_that_has_to_be_sent_again(lfs_hub, place):
    """http_backoff sends a part again after a 5xx: nothing breaks by that."""
    kind, name, path = place
    data = content(64 * MIB + 1, f"again {path}")
    at = Api(lfs_hub, path, lfs_hub.tokens["alice"], agent=lfs_api.HF)
    action = at.grant(data, transfers=["basic", "multipart"])["upload"]
    lfs_api.put_parts(action, data, only=(3,))
    etags = lfs_api.put_parts(action, data)
    answer = lfs_api.complete(action, data, etags, Content_Type="application/json", Accept="*/*")
    assert answer.status == 200, answer.text()
    assert at.download(data) == data
