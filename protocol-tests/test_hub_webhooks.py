"""Webhooks: their settings by the Hub's own clients, what they are sent and when, targets that misbehave, and crashes."""

import contextlib
import http.client
import json
import shutil
import ssl
import subprocess
import time

import pytest

from harness import metrics, wait
from harness.api import HubApi, file
from harness.hf import CLIENTS, NEWEST, VENV, VERSIONS, Hf
from harness.hub import free_port
from harness.receiver import Endless, Hang, Receiver, cut, status

versions = pytest.mark.parametrize("version", [pytest.param(version, marks=pytest.mark.client("huggingface_hub", version)) for version in VERSIONS])
by_python = pytest.mark.client("huggingface_hub", NEWEST)
shows = pytest.mark.shows
HOOKS = "/api/settings/webhooks"
LOCAL = {"webhooks.allow_private": "true", "webhooks.timeout": "2s"}
"""Targets are on this machine."""
POINTS = ["webhook.sending", "webhook.answered"]


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def named(hub):
    return lambda: f"alice/w{next(hub.names)}"


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def made(api, receiver):
    """Makes webhooks of alice's, deletes them afterwards: made(path, *watched) -> id."""
    ids = []

    def make(path, *watched, **more):
        ids.append(create(api, receiver.url + path, *watched, **more))
        return ids[-1]
    yield make
    for webhook in ids:
        api.delete(f"{HOOKS}/{webhook}")


def create(api, url, *watched, **more):
    """Watched are `model:alice/x`."""
    watched = [dict(zip(("type", "name"), item.split(":", 1))) for item in watched]
    answer = api.post(HOOKS, {"url": url, "watched": watched, "domains": ["repo", "discussion"], **more})
    assert answer.status == 200, answer.body
    return answer.json()["webhook"]["id"]


def log(api, webhook):
    return api.get(f"{HOOKS}/{webhook}/deliveries").json()


def explained(api, webhook, wait):
    """What `wait()` gives; if it fails, what the log says."""
    try:
        return wait()
    except AssertionError as error:
        rows = [(row["event"]["action"], row["event"]["scope"], row["state"], row["attempts"], row["status"], row["error"]) for row in reversed(log(api, webhook))]
        raise AssertionError("\n".join([str(error), *map(str, rows)])) from None


def has(api, webhook, state, count=1, seconds=20):
    """So many of the log are in this state; returns them, the oldest first."""
    of = lambda: [row for row in reversed(log(api, webhook)) if row["state"] == state]
    return wait.until(lambda: len(of()) >= count and of(), f"{count} deliveries are {state}", seconds=seconds)


def commit(api, name, text="text", revision="main", kind="models"):
    assert api.commit(f"{kind}/{name}", file("a.txt", text), revision=revision).status == 200


# -- settings ---------------------------------------------------------------------------------------------------------


@versions
@shows("create_webhook, get_webhook, list_webhooks", "update_webhook, enable_webhook, disable_webhook, delete_webhook")
@pytest.mark.covers("hub.webhooks", "hub.webhook.create", "hub.webhook", "hub.webhook.edit", "hub.webhook.enable", "hub.webhook.disable", "hub.webhook.delete")
def test_settings_by_the_client(hub, api, alice, tmp, named, version):
    name = named()
    assert api.create(name, "dataset").status == 200
    told = Hf(hub.url, alice, tmp / "hf", VERSIONS[version]).python("""
from dataclasses import asdict
url, name = sys.argv[1:]
made = api.create_webhook(url=url, watched=[WebhookWatchedItem(type="user", name="alice"), {"type": "dataset", "name": name}], secret="s3cret")
assert asdict(api.get_webhook(made.id)) == asdict(made)
assert made.id in [hook.id for hook in api.list_webhooks()]
updated = api.update_webhook(made.id, url=url + "/other", domains=["repo"], secret="other")
watched = api.update_webhook(made.id, watched=[{"type": "user", "name": "bob"}])
disabled = api.disable_webhook(made.id)
enabled = api.enable_webhook(made.id)
api.delete_webhook(made.id)
gone = fails(errors.HfHubHTTPError, api.get_webhook, made.id)
bucket = fails(errors.HfHubHTTPError, api.create_webhook, url=url, watched=[{"type": "bucket", "name": "alice/b"}])
job = fails(errors.HfHubHTTPError, api.create_webhook, job_id="687f911eaea852de79c4a50a", watched=[{"type": "user", "name": "alice"}])
tell([asdict(hook) for hook in (made, updated, watched, disabled, enabled)] + [gone, bucket, job])
""", "http://8.8.8.8/hook", name)
    first, updated, watched, disabled, enabled, gone, bucket, job = told
    assert len(first["id"]) == 24 and (first["url"], first["secret"], first["disabled"], first.get("job")) == ("http://8.8.8.8/hook", "s3cret", False, None)
    assert first["watched"] == [{"type": "user", "name": "alice"}, {"type": "dataset", "name": name}] and first["domains"] == ["repo", "discussion"]
    assert updated == {**first, "url": "http://8.8.8.8/hook/other", "domains": ["repo"], "secret": "other"}, "what is watched stays"
    assert watched == {**updated, "watched": [{"type": "user", "name": "bob"}]}
    assert disabled == {**watched, "disabled": True} and enabled == watched
    assert "Webhook not found" in gone and "do not watch buckets" in bucket and "does not support jobs" in job


@by_python
@shows("hf webhooks create, ls, info, update, enable, disable, delete")
def test_settings_by_the_command(hub, alice, tmp):
    hf = Hf(hub.url, alice, tmp / "hf")
    hf.commands("webhooks create --url http://8.8.8.8/command --watch user:alice --watch user:bob --domain repo --secret s")
    listed = json.loads(hf.commands("webhooks ls --format json")[0])
    own = [hook for hook in listed if hook["url"] == "http://8.8.8.8/command"]
    assert [(hook["domains"], hook["watched"], hook["disabled"]) for hook in own] == [(["repo"], ["user:alice", "user:bob"], False)]
    webhook = own[0]["id"]
    _, _, info, _, _, after = hf.commands(
        f"webhooks update {webhook} --url http://8.8.8.8/new --watch user:bob", f"webhooks disable {webhook}", f"webhooks info {webhook} --format json",
        f"webhooks enable {webhook}", f"webhooks delete {webhook} --yes", "webhooks ls --format json")
    info = json.loads(info)
    assert (info["url"], info["disabled"], [item["name"] for item in info["watched"]]) == ("http://8.8.8.8/new", True, ["bob"])
    assert webhook not in after


def test_whose_they_are_and_who_may_do_what(hub, api, named, made):
    secret_repo, nobody, bob = named(), HubApi(hub.url), HubApi(hub.url, hub.tokens["bob"])
    reader = HubApi(hub.url, hub.token("alice", "read"))
    assert api.create(secret_repo, private=True).status == 200
    webhook = made("/whose", f"model:{secret_repo}", secret="s")
    at = f"{HOOKS}/{webhook}"
    assert [who.get(HOOKS).status for who in (nobody, bob, reader)] == [401, 200, 200]
    assert webhook not in [hook["id"] for hook in bob.get(HOOKS).json()]
    assert [bob.get(at).status, bob.delete(at).status, bob.post(at, {"secret": "x"}).status, bob.post(f"{at}/disable").status, bob.get(f"{at}/deliveries").status] == [404] * 5
    assert api.get(at).json()["webhook"]["secret"] == "s" and reader.get(at).json()["webhook"]["secret"] is None
    assert [reader.post(at, {"secret": "x"}).status, reader.delete(at).status, reader.post(f"{at}/enable").status] == [403] * 3
    new = {"url": "http://8.8.8.8/", "watched": [{"type": "model", "name": secret_repo}]}
    hidden, absent = bob.post(HOOKS, new), bob.post(HOOKS, {**new, "watched": [{"type": "model", "name": f"{secret_repo}x"}]})
    assert hidden.status == absent.status == 404 and hidden.json()["error"].replace(secret_repo, "") == absent.json()["error"].replace(f"{secret_repo}x", "")
    assert (nobody.post(HOOKS, new).status, reader.post(HOOKS, new).status) == (401, 403)
    inside = {**new, "url": "http://169.254.169.254/"}
    assert (nobody.post(HOOKS, inside).status, reader.post(HOOKS, inside).status, bob.post(HOOKS, inside).status) == (401, 403, 400), "names are looked up for writers only"


@pytest.mark.parametrize("change,words", [
    ({"url": None}, "needs a url"), ({"watched": []}, "something to watch"), ({"watched": [{"type": "paper", "name": "x"}]}, "user, org, model"),
    ({"watched": [{"type": "user", "name": "nobody-here"}]}, "there is no user called nobody-here"), ({"watched": [{"type": "org", "name": "alice"}]}, "there is no org"),
    ({"watched": [{"type": "user", "name": "alice"}] * 101}, "100 things at most"), ({"domains": []}, "for a domain"), ({"domains": ["papers"]}, "repo and discussion"),
    ({"secret": "x" * 257}, "256"), ({"secret": "a\r\nX-Evil: 1"}, "header"), ({"url": "http://8.8.8.8/" + "x" * 2048}, "2048"),
    ({"url": "ftp://8.8.8.8/"}, "http://HOST"), ({"url": "http://u:p@8.8.8.8/"}, "no user or password"), ({"url": "file:///etc/passwd"}, "http://HOST"),
    ({"url": "http://8.8.8.8:0/"}, "http://HOST"), ({"watched": "all"}, "JSON"), ({"url": 7}, "JSON"),
])
def test_what_cannot_be_set(api, change, words):
    answer = api.post(HOOKS, {"url": "http://8.8.8.8/", "watched": [{"type": "user", "name": "alice"}], **change})
    assert answer.status in (400, 404) and words in answer.json()["error"], answer.body


INWARD = ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "http://[::ffff:127.0.0.1]:9/", "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/",
          "http://100.64.0.1/", "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://0.0.0.0/", "http://[::]/", "http://224.0.0.1/",
          "http://[64:ff9b::169.254.169.254]/", "http://[2002:7f00:1::]/", "http://[2001:db8::1]/", "http://255.255.255.255/"]


def test_targets_inside_are_refused(fresh_hub):
    hub = fresh_hub()
    api, at = HubApi(hub.url, hub.admin_token), {"watched": [{"type": "user", "name": "admin"}]}
    for url in [*INWARD, hub.url]:
        answer = api.post(HOOKS, {"url": url, **at})
        assert answer.status == 400 and "the webhook's target" in answer.json()["error"], (url, answer.body)
    assert "webhooks.allow" in api.post(HOOKS, {"url": INWARD[0], **at}).json()["error"], "it says what an administrator can do"
    webhook = create(api, "http://8.8.8.8/", "user:admin")
    assert api.post(f"{HOOKS}/{webhook}", {"url": INWARD[8]}).status == 400
    assert api.get(f"{HOOKS}/{webhook}").json()["webhook"]["url"] == "http://8.8.8.8/"


def test_what_an_administrator_allows(fresh_hub, receiver):
    port = receiver.url.rsplit(":", 1)[1]
    hub = fresh_hub(settings={"webhooks.allow": '["localhost", "10.1.0.0/16"]'})
    api, at = HubApi(hub.url, hub.admin_token), {"watched": [{"type": "user", "name": "admin"}]}
    assert [api.post(HOOKS, {"url": url, **at}).status for url in (receiver.url, "http://10.2.0.1/", "http://169.254.169.254/")] == [400] * 3
    create(api, f"http://localhost:{port}/named", "user:admin")
    create(api, "http://10.1.2.3/", "user:admin")
    assert "this hub itself" in api.post(HOOKS, {"url": hub.url.replace("127.0.0.1", "localhost"), **at}).json()["error"]
    assert api.create("admin/x").status == 200
    assert receiver.wait("/named", 1)[0].headers["host"] == f"localhost:{port}"


# -- what is sent -----------------------------------------------------------------------------------------------------


@by_python
@shows("WebhookPayload of what webhooks are sent")
def test_what_happens_is_told(hub, api, alice, receiver, made, named, tmp):
    """Each scope, in order; the client's model reads each payload."""
    name, other = named(), named()
    webhook = made("/all", "user:alice", secret="s3cret")
    assert api.create(name, "dataset", private=True).status == 200
    first, at = len(receiver.wait("/all", 2)), f"/api/datasets/{name}"
    commit(api, name, kind="datasets")
    assert api.post(f"{at}/tag/main", {"tag": "v1"}).status == 200
    assert api.request("PUT", f"{at}/settings", {"private": False, "gated": "auto"}).status == 200
    assert api.request("PUT", f"{at}/settings", {"gated": False}).status == 200
    num = api.post(f"{at}/discussions", {"title": "Why so", "description": "first words"}).json()["num"]
    comment = api.post(f"{at}/discussions/{num}/comment", {"comment": "second words"}).json()["newMessage"]["id"]
    assert api.post(f"{at}/discussions/{num}/comment/{comment}/edit", {"content": "better words"}).status == 200
    explained(api, webhook, lambda: receiver.wait("/all", first + 7))  # before the comment is hidden
    assert api.post(f"{at}/discussions/{num}/comment/{comment}/hide").status == 200
    assert api.post(f"{at}/discussions/{num}/title", {"title": "Why not"}).status == 200
    assert api.post(f"{at}/discussions/{num}/status", {"status": "closed"}).status == 200
    pull = api.post(f"{at}/discussions", {"title": "A change", "description": "to be made", "pullRequest": True}).json()["num"]
    commit(api, name, "proposed", f"refs/pr/{pull}", "datasets")
    assert api.post(f"{at}/discussions/{pull}/status", {"status": "open"}).status == 200
    assert api.post(f"{at}/discussions/{pull}/merge").status == 200
    assert api.post("/api/repos/move", {"fromRepo": name, "toRepo": other, "type": "dataset"}).status == 200
    explained(api, webhook, lambda: receiver.wait("/all", first + 17))  # what was said goes with the repository
    assert api.delete("/api/repos/delete", {"name": other.split("/")[1], "organization": "alice", "type": "dataset"}).status == 200
    expected = [
        "create repo", "update repo.content", "update repo.content", "update repo.content", "update repo.config", "update repo.config", "create discussion",
        "create discussion.comment", "update discussion.comment", "update discussion.comment", "update discussion", "update discussion",
        "create discussion", "update repo.content", "update repo.content", "update discussion", "update discussion", "update repo.content", "move repo", "delete repo"]
    taken = explained(api, webhook, lambda: receiver.wait("/all", len(expected)))
    assert [item.what for item in taken] == [f"{what} {other if what == 'delete repo' else name}" for what in expected]
    payloads = [item.payload for item in taken]
    for item, payload in zip(taken, payloads):
        assert item.headers["x-webhook-secret"] == "s3cret" and item.is_signed("s3cret") and not item.is_signed("S3cret")
        assert item.headers["x-webhook-id"] == payload["webhook"]["id"] == webhook and len(item.id) == 26
        assert item.headers["content-type"] == "application/json" and item.headers["user-agent"].startswith("granary/")
        assert abs(int(item.headers["x-webhook-timestamp"]) - time.time()) < 60
    assert len({item.id for item in taken}) == len(taken)
    created, _, content, tag, config, gated, opened, commented, edited, hidden, titled, closed, *_ = payloads
    row = api.get("/api/whoami-v2").json()
    assert created["repo"]["owner"]["id"] == row["id"] and created["repo"]["private"] is True and "headSha" not in created["repo"]
    web = f"{hub.url}/datasets/{name}"
    assert created["repo"]["url"] == {"web": web, "api": f"{hub.url}{at}"}
    assert content["updatedRefs"][0]["ref"] == "refs/heads/main" and content["updatedRefs"][0]["newSha"] == content["repo"]["headSha"]
    assert tag["updatedRefs"] == [{"ref": "refs/tags/v1", "oldSha": None, "newSha": tag["updatedRefs"][0]["newSha"]}]
    assert (config["updatedConfig"], gated["updatedConfig"]) == ({"private": False, "gated": "auto"}, {"gated": False})
    assert (opened["discussion"]["num"], opened["discussion"]["status"], opened["discussion"]["isPullRequest"], opened["comment"]["content"]) == (num, "open", False, "first words")
    assert opened["discussion"]["url"] == {"web": f"{web}/discussions/{num}", "api": f"{hub.url}{at}/discussions/{num}"}
    assert commented["comment"]["id"] == comment and commented["comment"]["content"] in ("second words", "better words"), "as it is when it is sent"
    assert edited["comment"]["content"] == "better words" and hidden["comment"]["hidden"] and "content" not in hidden["comment"]
    assert titled["discussion"]["title"] == "Why not" and closed["discussion"]["status"] == "closed"
    pulled, moved, deleted = [payload for payload in payloads if payload.get("discussion", {}).get("isPullRequest")], payloads[-2], payloads[-1]
    assert [payload["discussion"]["status"] for payload in pulled] == ["draft", "open", "merged"]
    assert pulled[0]["discussion"]["changes"] == {"base": "refs/heads/main"} and len(pulled[-1]["discussion"]["changes"]["mergeCommitId"]) == 40
    assert moved["movedTo"] == {"name": other, "owner": {"id": row["id"]}} and deleted["repo"]["name"] == other
    (tmp / "payloads").write_text(json.dumps(payloads))
    told = Hf(hub.url, alice, tmp / "hf", CLIENTS / "webhooks").python("""
payloads = [WebhookPayload.model_validate(payload) for payload in json.load(open(sys.argv[1]))]
tell([[payload.event.action, payload.event.scope, payload.repo.name, payload.repo.type, payload.webhook.version] for payload in payloads])
""", tmp / "payloads")
    assert told == [[*what.split(), other if what == "delete repo" else name, "dataset", 3] for what in expected]


def test_domains_and_orgs(hub, api, receiver, made, named):
    hub.run("org", "create", "hooked", "--owner", "alice")
    made("/repos", "org:hooked", domains=["repo"])
    made("/talk", "org:hooked", domains=["discussion"])
    assert api.create("hooked/x", private=True).status == 200
    assert api.post("/api/models/hooked/x/discussions", {"title": "A title", "description": "text"}).status == 200
    commit(api, "hooked/x")
    assert {item.what for item in receiver.wait("/repos", 3)} == {"create repo hooked/x", "update repo.content hooked/x"}
    assert [item.what for item in receiver.wait("/talk", 1)] == ["create discussion hooked/x"]


def test_pushes_by_git_are_told(pushed, api, receiver, made):
    path, work = pushed
    made("/git", f"model:{path}")
    head = work.commit("file", "more\n")
    work("tag", "v1")
    work("push", "-q", "origin", "main", "v1", "main:refs/heads/other")
    payload = receiver.wait("/git", 1)[0].payload
    assert {(row["ref"], row["oldSha"] is None) for row in payload["updatedRefs"]} == {("refs/heads/main", False), ("refs/heads/other", True), ("refs/tags/v1", True)}
    assert payload["repo"]["headSha"] == work("rev-parse", "main").strip()
    work("push", "-q", "origin", ":other")
    assert receiver.wait("/git", 2)[1].payload["updatedRefs"][0]["newSha"] is None


def test_what_one_may_not_see_is_not_told(hub, api, receiver, named):
    """Bob watches alice: he hears of her public repositories, and of a private one nothing, though it was public once."""
    bob, public, private = HubApi(hub.url, hub.tokens["bob"]), named(), named()
    webhook = create(bob, f"{receiver.url}/bob", "user:alice")
    assert api.create(private, private=True).status == 200 and api.create(public, private=False).status == 200
    commit(api, private)
    commit(api, public)
    receiver.wait("/bob", 3)
    assert api.request("PUT", f"/api/models/{private}/settings", {"private": False}).status == 200
    receiver.wait("/bob", 4)
    assert api.request("PUT", f"/api/models/{private}/settings", {"private": True}).status == 200
    commit(api, private, "once more")
    assert api.delete("/api/repos/delete", {"name": private.split("/")[1], "organization": "alice"}).status == 200
    commit(api, public, "at last")
    has(bob, webhook, "delivered", 5)
    names = [item.payload["repo"]["name"] for item in receiver.at("/bob")]
    assert names.count(private) == 1 and set(names) == {public, private}, "the moment at which it was made public"
    assert [(row["state"], row["event"]["scope"]) for row in reversed(log(bob, webhook))] == [("delivered", item.payload["event"]["scope"]) for item in receiver.at("/bob")], "nor does its log say that anything happened"
    assert bob.delete(f"{HOOKS}/{webhook}").status == 200


def test_who_is_disabled_or_no_member_is_told_nothing(fresh_hub, receiver):
    hub = fresh_hub(settings=LOCAL)
    owner = HubApi(hub.url, hub.admin_token)
    hub.run("org", "create", "lab", "--owner", "admin")
    carol, dave = HubApi(hub.url, hub.user("carol")), HubApi(hub.url, hub.user("dave"))
    for member in ("carol", "dave"):
        hub.run("org", "add", "lab", member, "--role", "read")
    hooks = [create(who, f"{receiver.url}/{path}", "org:lab") for who, path in ((carol, "carol"), (dave, "dave"))]
    assert owner.create("lab/x", private=True).status == 200
    for path in ("/carol", "/dave"):
        receiver.wait(path, 2)
    hub.run("org", "remove", "lab", "carol")
    hub.run("user", "disable", "dave")
    commit(owner, "lab/x")
    wait.until(lambda: metrics.read(hub)["granary_webhook_withheld_total"] == 2, "both are withheld")
    assert len(log(carol, hooks[0])) == 2 and all(row["state"] == "delivered" for row in log(carol, hooks[0]))
    assert (len(receiver.at("/carol")), len(receiver.at("/dave"))) == (2, 2)


def test_in_order(api, receiver, made, named):
    name = named()
    assert api.create(name).status == 200
    made("/order", f"model:{name}")
    receiver.answers("/order", status(500), times=1)
    for number in range(30):
        assert api.post(f"/api/models/{name}/branch/b{number}", {}).status == 200
    told = receiver.wait("/order", 31, seconds=40)
    refs = [item.payload["updatedRefs"][0]["ref"] for item in told]
    assert refs == ["refs/heads/b0"] + [f"refs/heads/b{number}" for number in range(30)]
    assert told[0].id == told[1].id and len({item.id for item in told}) == 30


@pytest.mark.covers("hub.webhook.deliveries", "hub.webhook.replay")
def test_the_log_and_once_more(hub, api, receiver, made, named):
    name = named()
    assert api.create(name).status == 200
    webhook = made("/log", f"model:{name}")
    for number in range(3):
        assert api.post(f"/api/models/{name}/branch/b{number}", {}).status == 200
    has(api, webhook, "delivered", 3)
    rows = log(api, webhook)
    assert [row["id"] for row in reversed(rows)] == [item.id for item in receiver.at("/log")]
    assert all((row["state"], row["status"], row["attempts"], row["error"], row["nextAt"]) == ("delivered", 200, 1, None, None) for row in rows)
    assert [row["payload"] for row in reversed(rows)] == [item.payload for item in receiver.at("/log")]
    page = api.get(f"{HOOKS}/{webhook}/deliveries?limit=2")
    assert page.json() == rows[:2] and "rel=\"next\"" in page.headers["link"]
    assert api.get(f"{HOOKS}/{webhook}/deliveries?limit=2&cursor={rows[1]['id']}").json() == rows[2:]
    again = api.post(f"{HOOKS}/{webhook}/replay/{rows[-1]['id']}").json()
    taken = receiver.wait("/log", 4)[3]
    assert again["success"] is True and taken.id == again["id"] != rows[-1]["id"] and taken.body == receiver.at("/log")[0].body
    assert api.post(f"{HOOKS}/{webhook}/replay/{'0' * 26}").status == 404 and api.post(f"{HOOKS}/{webhook}/replay/x").status == 404
    assert api.post(f"{HOOKS}/{webhook}/disable").status == 200
    refused = api.post(f"{HOOKS}/{webhook}/replay/{rows[0]['id']}")
    assert refused.status == 409 and "enable it first" in refused.json()["error"]
    assert api.post(f"/api/models/{name}/branch/unseen", {}).status == 200
    assert api.post(f"{HOOKS}/{webhook}/enable").status == 200
    assert api.post(f"/api/models/{name}/branch/seen", {}).status == 200
    assert receiver.wait("/log", 5)[4].payload["updatedRefs"][0]["ref"] == "refs/heads/seen"


# -- targets that misbehave ---------------------------------------------------------------------------------------------


@pytest.fixture
def local(fresh_hub):
    """A hub of the test's own, whose clock may be moved, and its administrator."""
    hub = fresh_hub(settings=LOCAL, debug=True)
    return hub, HubApi(hub.url, hub.admin_token)


def branch(api, name, branch):
    assert api.post(f"/api/models/{name}/branch/{branch}", {}).status == 200


def test_it_is_tried_again_later(local, receiver):
    hub, api = local
    webhook = create(api, f"{receiver.url}/later", "user:admin")
    receiver.answers("/later", status(503), times=1)
    receiver.answers("/later", cut, times=1)
    receiver.answers("/later", status(429), times=1)
    assert api.create("admin/x").status == 200
    for attempts, pause in ((1, 12), (2, 24), (3, 48)):
        receiver.wait("/later", attempts)
        row = wait.until(lambda: (row := log(api, webhook)[-1])["attempts"] == attempts and row, f"attempt {attempts} is in the log")
        assert row["state"] == "waiting" and row["nextAt"] and row["error"]
        hub.run("debug", "clock", f"+{pause}s")
    first, *others = receiver.wait("/later", 4)[:4]
    assert {item.id for item in others} == {first.id} and {item.body for item in others} == {first.body}
    row = has(api, webhook, "delivered")[0]
    assert (row["attempts"], row["status"], row["error"]) == (4, 200, None)
    counted = metrics.read(hub)
    assert counted["granary_webhook_failed_total"] == 3 and counted["granary_webhook_delivered_total"] >= 1


def test_one_that_hangs_holds_up_itself_alone(local, receiver):
    hub, api = local
    hangs, works = create(api, f"{receiver.url}/hangs", "user:admin"), create(api, f"{receiver.url}/works", "user:admin")
    hang = Hang()
    receiver.answers("/hangs", hang)
    started = time.monotonic()
    assert api.create("admin/x").status == 200
    for number in range(10):
        branch(api, "admin/x", f"b{number}")
    receiver.wait("/works", 12)
    assert time.monotonic() - started < 60 and len(receiver.at("/hangs")) >= 1
    row = wait.until(lambda: (row := log(api, hangs)[-1])["attempts"] >= 1 and row, "the hanging one is in the log")
    assert row["error"] == "no answer within 2s" and row["state"] == "waiting"
    assert {row["state"] for row in log(api, works)} <= {"delivered", "waiting"}
    hang.go.set()


def test_one_user_s_targets_hold_up_nobody_else_s(fresh_hub, receiver):
    hub = fresh_hub(settings={**LOCAL, "webhooks.concurrency": "4", "webhooks.timeout": "20s"})
    api, bob, hang = HubApi(hub.url, hub.admin_token), HubApi(hub.url, hub.user("bob")), Hang()
    assert api.create("admin/x", private=False).status == 200
    for number in range(8):
        receiver.answers(f"/hangs{number}", hang)
        create(api, f"{receiver.url}/hangs{number}", "model:admin/x")
    create(bob, f"{receiver.url}/bob", "model:admin/x")
    for number in range(5):
        branch(api, "admin/x", f"b{number}")
    receiver.wait("/bob", 5, seconds=15)
    assert metrics.read(hub)["granary_webhook_delivered_total"] <= 5 and metrics.read(hub)["granary_webhook_failed_total"] == 0, "the others hang still"
    hang.go.set()


def test_redirects_are_not_followed(local, receiver):
    hub, api = local
    for number, goes in enumerate(["http://169.254.169.254/latest/meta-data/", f"{hub.url}/api/repos/create", f"{receiver.url}/inside", "file:///etc/passwd"]):
        path = f"/redirects{number}"
        webhook = create(api, receiver.url + path, "user:admin")
        receiver.answers(path, status(302 + 5 * (number % 2), Location=goes), times=1)
        assert api.create(f"admin/x{number}").status == 200
        row = wait.until(lambda: (row := log(api, webhook)[-1])["attempts"] == 1 and row, "it is in the log")
        assert row["status"] in (302, 307) and "redirects are not followed" in row["error"]
        assert api.delete(f"{HOOKS}/{webhook}").status == 200
    assert receiver.at("/inside") == []


def test_endless_answers_are_cut_off(local, receiver):
    hub, api = local
    endless = Endless()
    receiver.answers("/endless", endless)
    webhook = create(api, f"{receiver.url}/endless", "user:admin")
    before = metrics.read(hub)["granary_process_resident_anon_bytes"]
    assert api.create("admin/x").status == 200
    assert has(api, webhook, "delivered", 2)[0]["status"] == 200, "it has answered"
    assert endless.sent < 64 << 20, "what the kernel's buffers took, and little more"
    assert metrics.read(hub)["granary_process_resident_anon_bytes"] - before < 32 << 20


@pytest.mark.parametrize("answer,words", [
    (b"", "no answer"), (b"\x16\x03\x01\x02\x00\x01\x00", "no answer"), (b"SSH-2.0-x\r\n", "no answer"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * (1 << 20), "no answer"), (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", "no answer"),
    (b"HTTP/1.1 99999 OK\r\n\r\n", "no answer")])
def test_answers_that_are_none(local, receiver, answer, words):
    hub, api = local

    def say(exchange):
        exchange.handler.wfile.write(answer)
        cut(exchange) if not answer else exchange.handler.connection.shutdown(1)
        exchange.handler.close_connection = True
    receiver.answers("/none", say)
    webhook = create(api, f"{receiver.url}/none", "user:admin")
    assert api.create("admin/x").status == 200
    row = wait.until(lambda: (row := log(api, webhook)[-1])["attempts"] >= 1 and row, "it is in the log")
    assert row["state"] == "waiting" and row["status"] is None and words in row["error"], row


def test_a_target_that_is_gone_for_good(local, receiver):
    hub, api = local
    receiver.answers("/gone", status(410), times=1)
    webhook = create(api, f"{receiver.url}/gone", "user:admin")
    assert api.create("admin/x").status == 200
    wait.until(lambda: api.get(f"{HOOKS}/{webhook}").json()["webhook"]["disabled"] == "suspended-after-failure", "it is suspended")
    branch(api, "admin/x", "unseen")
    states = [row["state"] for row in log(api, webhook)]
    assert states.count("given-up") == 1 and set(states) <= {"given-up", "dropped"}
    assert api.post(f"{HOOKS}/{webhook}/enable").json()["webhook"]["disabled"] is False
    branch(api, "admin/x", "seen")
    assert receiver.wait("/gone", 2)[1].payload["updatedRefs"][0]["ref"] == "refs/heads/seen"
    assert metrics.read(hub)["granary_webhook_suspended_total"] == 1


def test_a_dead_target_is_given_up_after_a_day(local, receiver):
    hub, api = local
    receiver.answers("/dead", status(500))
    webhook = create(api, f"{receiver.url}/dead", "user:admin")
    assert api.create("admin/x").status == 200
    for attempts, pause in ((1, "+12s"), (2, "+25h"), (3, None)):
        receiver.wait("/dead", attempts)
        wait.until(lambda: log(api, webhook)[-1]["attempts"] == attempts, f"attempt {attempts} is in the log")
        if pause:
            hub.run("debug", "clock", pause)
    assert log(api, webhook)[-1]["state"] == "given-up"
    hub.run("debug", "clock", "+40d")
    wait.until(lambda: all(row["state"] == "waiting" for row in log(api, webhook)), "what ended long ago is forgotten")
    hub.fsck()


@pytest.mark.alone
def test_a_flood_for_a_dead_target(local, receiver):
    """Commits are as fast as without it, memory and rows stay bounded, and other webhooks are served."""
    hub, api = local
    assert api.create("admin/x").status == 200

    def moves(count, prefix):
        started = time.monotonic()
        for number in range(count):
            branch(api, "admin/x", f"{prefix}{number}")
        return time.monotonic() - started
    moves(20, "warm")
    calm = moves(100, "calm") / 100
    dead = create(api, "http://127.0.0.1:1/", "model:admin/x")
    before = metrics.read(hub)["granary_process_resident_anon_bytes"]
    flood = moves(1100, "flood") / 1100
    print(f"a branch took {calm * 1000:.2f} ms, watched {flood * 1000:.2f} ms")
    assert flood < 3 * calm + 0.02
    counted = metrics.read(hub)
    assert counted["granary_webhook_waiting"] == 1000 and counted["granary_process_resident_anon_bytes"] - before < 64 << 20
    assert has(api, dead, "waiting", 50)
    create(api, f"{receiver.url}/other", "model:admin/x")
    branch(api, "admin/x", "other")
    receiver.wait("/other", 1)
    assert api.delete(f"{HOOKS}/{dead}").status == 200
    assert metrics.read(hub)["granary_webhook_waiting"] == 0
    hub.fsck()


# -- over TLS, and over a restart -----------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp):
    """(of an authority, of localhost by it with its key)"""

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=tmp, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=localhost")
    (tmp / "ext").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "own.pem", "-days", "2", "-extfile", "ext")
    return tmp / "ca.pem", (tmp / "own.pem", tmp / "own.key")


def test_over_tls(fresh_hub, receiver, certificate):
    authority, own = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    server = receiver._servers[0]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    port = receiver.url.rsplit(":", 1)[1]
    trusting = fresh_hub(settings=LOCAL, environment={"SSL_CERT_FILE": str(authority)})
    api = HubApi(trusting.url, trusting.admin_token)
    create(api, f"https://localhost:{port}/tls", "user:admin")
    misnamed = create(api, f"https://127.0.0.1:{port}/misnamed", "user:admin")
    assert api.create("admin/x").status == 200
    assert receiver.wait("/tls", 2)[0].headers["host"] == f"localhost:{port}"
    row = wait.until(lambda: (row := log(api, misnamed)[-1])["attempts"] >= 1 and row, "it is in the log")
    assert row["error"].startswith("TLS: ") and row["state"] == "waiting"
    other = fresh_hub(settings=LOCAL, environment={"SSL_CERT_FILE": str(own[1])})
    api = HubApi(other.url, other.admin_token)
    webhook = create(api, f"https://localhost:{port}/unknown", "user:admin")
    assert api.create("admin/x").status == 200
    row = wait.until(lambda: (row := log(api, webhook)[-1])["attempts"] >= 1 and row, "it is in the log")
    assert "knows no certificate authorities" in row["error"] and receiver.at("/unknown") == receiver.at("/misnamed") == []


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(stopped_hub, receiver, point):
    """Between the commit and the delivery, and between the answer and its row: delivered, under the same name."""
    hub = stopped_hub(settings=LOCAL, debug=True).start()
    api = HubApi(hub.url, hub.admin_token)
    webhook = create(api, f"{receiver.url}/killed", "user:admin")
    hub.stop()
    hub.start(GRANARY_FAULT=point)
    with contextlib.suppress(OSError, http.client.HTTPException):  # it may die before it says that it is done
        api.create("admin/x")
    hub.wait_killed()
    before = len(receiver.at("/killed"))
    assert before == POINTS.index(point)
    hub.fsck()
    hub.start()
    taken = receiver.wait("/killed", before + 1)
    assert len({item.id for item in taken[:before + 1]}) == 1
    rows = has(api, webhook, "delivered", len(log(api, webhook)))
    assert rows[0]["id"] == taken[0].id
    hub.stop()
    hub.fsck()


def test_a_restart_and_a_restored_backup_keep_the_names(stopped_hub, receiver, tmp):
    hub = stopped_hub(settings=LOCAL, debug=True).start()
    api = HubApi(hub.url, hub.admin_token)
    receiver.answers("/restored", status(500), times=1)
    webhook = create(api, f"{receiver.url}/restored", "user:admin")
    assert api.create("admin/x").status == 200
    first = receiver.wait("/restored", 1)[0]
    wait.until(lambda: log(api, webhook)[-1]["attempts"] == 1, "it is in the log")
    hub.run("backup", tmp / "backup")
    hub.kill()
    shutil.rmtree(hub.data)
    hub.run("restore", tmp / "backup")
    hub.start()
    hub.run("debug", "clock", "+15s")
    assert receiver.wait("/restored", 2)[1].id == first.id
    names = [item.id for item in receiver.wait("/restored", len(log(api, webhook)) + 1)]
    assert len(set(names)) == len(names) - 1
    hub.stop()


def test_events_of_a_killed_server_are_all_told(stopped_hub, receiver):
    """Pushes go on while the server is killed again and again: whatever was acknowledged is told, in order."""
    hub = stopped_hub(settings=LOCAL, debug=True).start()
    api = HubApi(hub.url, hub.admin_token)
    assert api.create("admin/x").status == 200
    create(api, f"{receiver.url}/kills", "model:admin/x")
    acknowledged = []
    for number in range(40):
        branch(api, "admin/x", f"b{number:02}")
        acknowledged.append(f"refs/heads/b{number:02}")
        if number % 8 == 7:
            hub.kill()
            hub.start()
    told = wait.until(lambda: len({item.id for item in receiver.at("/kills")}) == 40 and receiver.at("/kills"), "all are told")
    firsts = {item.id: item.payload["updatedRefs"][0]["ref"] for item in told}
    assert list(firsts.values()) == acknowledged
    hub.stop()
    hub.fsck()


# -- the client's own server ------------------------------------------------------------------------------------------------


@by_python
@shows("WebhooksServer receives")
def test_webhooks_server(hub, api, alice, named, tmp):
    """`huggingface_hub.WebhooksServer`, with its page by gradio, checks the secret and reads the payload."""
    hf, name, port = Hf(hub.url, alice, tmp / "hf", CLIENTS / "webhooks"), named(), free_port()
    assert api.create(name).status == 200
    told = tmp / "told"
    server = subprocess.Popen([str(VENV / "bin/python"), "-c", SERVER, str(port), str(told)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, env={**hf.environment, "GRADIO_ANALYTICS_ENABLED": "False", "SPACE_ID": "alice/hook"}, cwd=tmp)
    try:
        wait.until(lambda: server.poll() is not None or (tmp / "told").exists(), "it is ready", seconds=120)
        assert server.poll() is None, server.stderr.read()[-3000:]
        good, bad = (create(api, f"http://127.0.0.1:{port}/webhooks/hook", f"model:{name}", secret=secret) for secret in ("right", "wrong"))
        commit(api, name)
        assert has(api, good, "delivered")[0]["status"] == 200
        row = wait.until(lambda: (row := log(api, bad)[-1])["attempts"] >= 1 and row, "it is in the log")
        assert (row["status"], row["state"]) == (403, "waiting")
        lines = wait.until(lambda: told.read_text().split(), "it was told")
        assert lines == ["update", "repo.content", name, "refs/heads/main"]
        for webhook in (good, bad):
            assert api.delete(f"{HOOKS}/{webhook}").status == 200
    finally:
        server.terminate()
        server.wait(20)


SERVER = """
import sys
from pathlib import Path
from huggingface_hub import WebhookPayload, WebhooksServer
port, told = int(sys.argv[1]), Path(sys.argv[2])
app = WebhooksServer(webhook_secret="right")

@app.add_webhook("/hook")
async def hook(payload: WebhookPayload):
    told.write_text(f"{payload.event.action} {payload.event.scope} {payload.repo.name} {payload.updatedRefs[0].ref}")
    return {"taken": True}

app.launch(prevent_thread_lock=True, share=False, server_name="127.0.0.1", server_port=port, quiet=True)
told.touch()
import threading
threading.Event().wait()
"""
