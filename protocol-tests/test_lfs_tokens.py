"""An href proves itself: for one thing, for a time, as long as the right is still there. Nobody else's word counts."""

import base64
import json

import pytest

from harness import lfs, lfs_api, wait, wire
from harness.lfs import MIB, content
from harness.lfs_api import Api, message

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
    data = content(1000, at.path)
    at.upload(data)
    return data


@pytest.fixture
def href(at, data):
    return at.grant(data, "download")["download"]


def grant(at, data):
    return at.grant(data)["upload"]


def token(href):
    return href.split("token=")[1].split("&")[0]


def with_token(href, value):
    return {"href": href.replace(token(href), value)}


def test_forged_tokens(at, data, href):
    genuine = token(href["href"])
    head, claims, signature = genuine.split(".")
    document = json.loads(base64.urlsafe_b64decode(claims + "=="))

    def b64(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    later = {**document, **{key: value + 10**9 for key, value in document.items() if key in ("exp", "e")}}
    forged = {
        "unsigned": f"{b64({'alg': 'none', 'typ': 'JWT'})}.{claims}.", "later": f"{head}.{b64(later)}.{signature}",
        "changed": f"{genuine[:-2]}{'AA' if genuine[-2:] != 'AA' else 'BB'}", "no signature": f"{head}.{claims}", "empty": "", "garbage": "garbage",
        "long": "x" * 5000, "an access token": at.token, "not ascii": "%FF%FE",
    }
    for what, value in forged.items():
        answer = lfs_api.get(with_token(href["href"], value))
        assert answer.status in (401, 403, 414), f"{what}: {answer.status}"
        assert answer.status == 414 or message(answer)
    assert wire.http(href["href"].split("?")[0]).status in (401, 403)
    assert wire.http(href["href"].split("?")[0], token=at.token).status in (401, 403), "not even with an access token"


def test_tokens_are_for_one_thing(at, api, data, href):
    """A token replayed for another object, operation or repository does nothing."""
    other = content(1000, f"{at.path} other")
    upload = grant(at, other)
    at_other = api()
    foreign = content(1000, f"{at_other.path} foreign")
    at_other.upload(foreign)
    # another oid in the path
    swapped = href["href"].replace(lfs.oid(data), lfs.oid(foreign))
    assert lfs_api.get({"href": swapped}).status in (403, 404)
    assert lfs_api.put({"href": upload["href"].replace(lfs.oid(other), lfs.oid(foreign))}, foreign).status in (403, 404)
    # another operation
    assert lfs_api.put(href, data).status == 403
    assert lfs_api.get(upload).status == 403
    for tail in ("/verify", "/complete"):
        base, query = upload["href"].split("?")
        assert wire.http(f"{base}{tail}?{query}", b"{}", method="POST").status in (400, 403)
    assert wire.http(upload["href"].replace("?", "/parts/1?"), other, method="PUT").status in (403, 404)
    # what it is for still works
    assert lfs_api.put(upload, other).status == 200


def test_expired_tokens(fresh_hub):
    """Checked when the request starts; a transfer that has begun goes on."""
    hub = fresh_hub(debug=True)
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    data = content(2 * MIB, "expires")
    action = grant(at, data)
    raw = wire.Raw(hub.url)
    raw.request("PUT", action["href"].removeprefix(hub.url), {"Content-Length": str(len(data))}, data[:MIB])
    wait.until(lambda: list((hub.data / "staging").iterdir()), "it has begun")
    late = content(1000, "late")
    never = grant(at, late)
    hub.run("debug", "clock", f"+{action['expires_in'] + 60}s")
    answer = lfs_api.put(never, late)
    assert answer.status == 403 and "expired" in message(answer)
    raw.send(data[MIB:])
    assert raw.answer().status == 200, "it had begun in time"
    assert at.download(data) == data
    got = at.grant(data, "download")["download"]
    hub.run("debug", "clock", f"+{got['expires_in'] + 60}s")
    assert "expired" in message(lfs_api.get(got))


def test_lifetimes_grow_with_size(at):
    small, large = at.grant((lfs.oid(b"a"), 1))["upload"], at.grant((lfs.oid(b"b"), 20 * GIB))
    large = large["upload"]
    assert 3000 <= small["expires_in"] <= 3700
    assert 3600 + 20 * 1024 - 100 <= large["expires_in"] <= 86_400


def test_rights_are_decided_anew(fresh_hub):
    """Handing out is not for ever: a revoked token, a disabled user, a deleted repository."""
    hub = fresh_hub()
    hub.user("alice")
    at = Api(hub, hub.repo("alice/r"), hub.token("alice"))
    data = content(1000, "rights")
    at.upload(data)
    href = at.grant(data, "download")["download"]
    assert lfs_api.get(href).status == 200
    listed = hub.run("token", "list", "alice").stdout.splitlines()
    hub.run("token", "revoke", listed[-1].split()[0])
    assert lfs_api.get(href).status in (401, 403)
    at.token = hub.token("alice")
    href = at.grant(data, "download")["download"]
    hub.run("user", "disable", "alice")
    assert lfs_api.get(href).status in (401, 403)
    hub.run("user", "enable", "alice")
    assert lfs_api.get(href).status == 200
    hub.run("repo", "rename", "alice/r", "alice/renamed")
    assert lfs_api.get(href).body == data, "a name is not what it is bound to"
    hub.run("repo", "delete", "alice/renamed")
    assert lfs_api.get(href).status in (403, 404)


def test_new_keys_do_not_break_old_links(fresh_hub):
    hub = fresh_hub(debug=True)
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    data, later = content(1000, "before"), content(1000, "after")
    at.upload(data)
    down, up = at.grant(data, "download")["download"], grant(at, later)
    hub.run("lfs", "rotate-keys")
    assert lfs_api.get(down).body == data and lfs_api.put(up, later).status == 200
    new = at.grant(data, "download")["download"]
    assert token(new["href"]).split(".")[0] != token(down["href"]).split(".")[0]
    hub.stop()
    hub.run("lfs", "rotate-keys")
    hub.start()
    assert lfs_api.get(down).body == data and lfs_api.get(new).body == data
    hub.run("debug", "clock", "+2d")
    assert lfs_api.get(down).status == 403


def test_hrefs_are_not_in_the_log(fresh_hub):
    hub = fresh_hub(settings={"log.level": "trace"})
    at = Api(hub, hub.repo("admin/r"), hub.admin_token)
    data = content(1000, "log")
    at.upload(data)
    href = at.grant(data, "download")["download"]["href"]
    assert lfs_api.get({"href": href}).status == 200
    assert lfs_api.get({"href": href + "x"}).status == 403
    hub.stop()
    written = hub.log_path.read_text()
    assert token(href) not in written and token(href).split(".")[2] not in written and "token=ey" not in written
    hub.start()
