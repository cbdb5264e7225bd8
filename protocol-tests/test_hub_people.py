"""Likes, and requests for access to gated repositories: who is let in, by which door, and for how long."""

import pytest

from harness.api import HubApi, file
from harness.hf import VERSIONS, Hf
from harness.lfs_api import Api

shows = pytest.mark.shows
versions = pytest.mark.parametrize("version", [pytest.param(version, marks=pytest.mark.client("huggingface_hub", version)) for version in VERSIONS])


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def named(hub):
    return lambda: f"alice/p{next(hub.names)}"


@pytest.fixture
def someone(hub):
    """A new user: (name, API)."""
    def of(role="write"):
        name = f"some{next(hub.names)}"
        return name, HubApi(hub.url, hub.user(name, role))
    return of


def made(api, name, **more):
    assert api.create(name, **{"private": False, **more}).status == 200
    return name


@pytest.mark.covers("hub.like", "hub.likers", "hub.likes")
def test_likes(hub, api, named, someone):
    name, hidden = made(api, named()), made(api, named(), private=True)
    (one, first), (two, second), (_, reader) = someone(), someone(), someone("read")
    for who in (first, second, first):
        assert who.post(f"/api/models/{name}/like").status == 200
    assert api.post(f"/api/models/{hidden}/like").status == 200
    nobody = HubApi(hub.url)
    assert {row["user"] for row in nobody.get(f"/api/models/{name}/likers").json()} == {one, two}
    assert api.get(f"/api/models/{name}").json()["likes"] == 2
    likes = first.get(f"/api/users/{one}/likes").json()
    assert [row["repo"] for row in likes] == [{"name": name, "type": "model"}] and likes[0]["createdAt"].endswith("Z")
    mine = lambda who: [row["repo"]["name"] for row in who.get("/api/users/alice/likes").json()]
    assert hidden in mine(api) and hidden not in mine(first), "a like tells nobody what is there"
    for _ in range(2):
        assert second.delete(f"/api/models/{name}/like").status == 200
    assert [row["user"] for row in nobody.get(f"/api/models/{name}/likers").json()] == [one]
    answers = [nobody.post(f"/api/models/{name}/like"), reader.post(f"/api/models/{name}/like"), first.post(f"/api/models/{hidden}/like"),
               first.get(f"/api/models/{hidden}/likers"), first.get("/api/users/nobody-at-all/likes"), first.get(f"/api/models/{name}/likers?cursor=x")]
    assert [answer.status for answer in answers] == [401, 403, 404, 404, 404, 400]
    api.delete("/api/repos/delete", {"name": name.split("/")[1], "organization": "alice", "type": "model"})
    assert first.get(f"/api/users/{one}/likes").json() == []


@shows("list_liked_repos", "list_repo_likers", "unlike")
@versions
def test_clients_see_likes(hub, api, named, someone, tmp, version):
    name = made(api, named())
    who, liker = someone()
    liker.post(f"/api/models/{name}/like")
    told = Hf(hub.url, liker.token, tmp / "hf", VERSIONS[version]).python("""
name, who = sys.argv[1:]
before = [api.list_liked_repos().models, [user.username for user in api.list_repo_likers(name)], api.model_info(name).likes]
api.unlike(name)
tell([before, api.list_liked_repos(who).total, fails(errors.RepositoryNotFoundError, api.unlike, name + "x")])
""", name, who)
    assert told[0] == [[name], [who], 1] and told[1] == 0


@pytest.fixture
def gated(api, named):
    def of(gating):
        name = made(api, named())
        assert api.commit(f"models/{name}", file("config.json", "{}"), file("model.safetensors", b"\0" * 5000)).status == 200
        assert api.request("PUT", f"/api/models/{name}/settings", {"gated": gating}).status == 200
        return name
    return of


@pytest.mark.covers("hub.ask-access", "hub.access.list", "hub.access.handle", "hub.access.cancel", "hub.access.report")
def test_who_asks_is_let_in_by_the_owner(hub, api, gated, someone):
    name = gated("manual")
    (who, asker), (other, _), nobody = someone(), someone(), HubApi(hub.url)
    path, requests = f"/{name}/resolve/main/config.json", f"/api/models/{name}/user-access-request"
    assert nobody.post(f"/{name}/ask-access").status == 401
    refused = asker.get(path)
    assert (refused.status, refused.code) == (403, "GatedRepo") and "you are not in the authorized list" in refused.headers["x-error-message"]
    asked = asker.post(f"/{name}/ask-access", b"company=Acme+%26+Co&why=research", content_type="application/x-www-form-urlencoded")
    assert asked.status == 303 and asked.headers["location"] == f"{hub.url}/{name}" and asked.json() == {"status": "pending"}
    assert asker.post(f"/{name}/ask-access").json() == {"status": "pending"}, "again is the same"
    refused = asker.get(path)
    assert (refused.status, refused.code) == (403, "GatedRepo") and "awaiting a review" in refused.headers["x-error-message"]
    row, = api.get(f"{requests}/pending").json()
    assert (row["user"]["user"], row["status"], row["fields"]) == (who, "pending", {"company": "Acme & Co", "why": "research"})
    handle = lambda by=api, **body: by.post(f"{requests}/handle", body)
    assert handle(user=who, status="accepted").status == 200
    assert asker.get(path).status == 200 and nobody.get(path).status == 401
    assert handle(user=who, status="accepted").status == 409
    assert handle(user=who, status="rejected", rejectionReason="no more").status == 200
    refused = asker.get(path)
    assert (refused.status, refused.code) == (403, "GatedRepo") and "has been rejected" in refused.headers["x-error-message"]
    assert api.get(f"{requests}/rejected").json()[0]["rejectionReason"] == "no more"
    assert handle(requestId=row["requestId"], status="pending").status == 200
    assert [each["status"] for each in api.get(f"/api/models/{name}/user-access-report").json()] == ["pending"]
    assert asker.post(f"{requests}/cancel").status == 200 and asker.post(f"{requests}/cancel").status == 404
    assert api.get(f"{requests}/pending").json() == []
    bad = [handle(user=other, status="accepted"), handle(user="nobody-at-all", status="accepted"), handle(user=who, status="perhaps"), handle(status="accepted"),
           handle(requestId="zz", status="accepted"), handle(user=who, status="accepted", rejectionReason="x"), handle(by=asker, user=who, status="accepted"),
           asker.get(f"{requests}/pending"), nobody.get(f"{requests}/pending"), asker.get(f"/api/models/{name}/user-access-report"),
           asker.post(f"/{name}/ask-access", {"x": "y" * 20_000}), api.post(f"/{name}/ask-access")]
    assert [answer.status for answer in bad] == [404, 404, 400, 400, 400, 400, 403, 403, 401, 403, 413, 409]


@pytest.mark.covers("hub.access.batch")
def test_many_are_let_in_at_once(api, gated, someone):
    name = gated("manual")
    people = [someone() for _ in range(3)]
    path, requests = f"/{name}/resolve/main/config.json", f"/api/models/{name}/user-access-request"
    for _, asker in people:
        assert asker.post(f"/{name}/ask-access").status == 303
    (one, first), (two, second), (three, third) = people
    by_id = {row["user"]["user"]: row["requestId"] for row in api.get(f"{requests}/pending").json()}
    batch = lambda body, by=api: by.post(f"{requests}/batch", body)
    answer = batch([{"user": one, "status": "accepted"}, {"user": "nobody-at-all", "status": "accepted"},
                    {"requestId": by_id[two], "status": "rejected", "rejectionReason": "no"}])
    assert answer.status == 200
    assert [row["success"] for row in answer.json()] == [True, False, True] and "not found" in answer.json()[1]["error"].lower()
    assert (answer.json()[0]["user"], answer.json()[2]["requestId"]) == (one, by_id[two])
    assert [who.get(path).status for who in (first, second, third)] == [200, 403, 403]
    assert api.get(f"{requests}/rejected").json()[0]["rejectionReason"] == "no"
    # The same in an object; what stands so already is said, and the rest is done.
    answer = batch({"requests": [{"user": one, "status": "accepted"}, {"user": three, "status": "accepted"}]})
    assert [row["success"] for row in answer.json()] == [False, True] and "already" in answer.json()[0]["error"]
    assert third.get(path).status == 200
    assert [row["success"] for row in batch([{"user": who, "status": "rejected"} for who in (one, three)]).json()] == [True, True]
    assert [who.get(path).status for who in (first, third)] == [403, 403]
    # A mistake in one of them, and nothing is done.
    good = {"user": one, "status": "accepted"}
    bad = [batch([good, {"user": two, "status": "perhaps"}]), batch([good, {"status": "accepted"}]), batch([good, {**good, "rejectionReason": "x"}]),
           batch([]), batch([good] * 1001), batch({"status": "accepted"}), batch("accepted"), batch([good], by=first)]
    assert [answer.status for answer in bad] == [400] * 7 + [403]
    assert first.get(path).status == 403


@pytest.mark.covers("hub.ask-access")
def test_the_card_says_what_has_to_be_filled_in(hub, api, gated, someone):
    name = gated("manual")
    card = """---
extra_gated_fields:
  Company: text
  Country: country
  Since: date_picker
  Use:
    type: select
    options:
      - Research
      - label: Something else
        value: other
  I agree: checkbox
  Where: ip_location
---
"""
    assert api.commit(f"models/{name}", file("README.md", card)).status == 200
    (who, asker), (_, other) = someone(), someone()
    ask = lambda by=asker, **fields: by.post(f"/{name}/ask-access", fields)
    refused = ask()
    assert refused.status == 400 and asker.get(f"/{name}/resolve/main/config.json").code == "GatedRepo"
    assert all(f'"{label}"' in refused.headers["x-error-message"] for label in ("Company", "Country", "Since", "Use", "I agree"))
    good = {"Company": "Acme", "Country": "France", "Since": "2026-01-31", "Use": "other", "I agree": True}
    for label, value in {"Company": " ", "Since": "soon", "Use": "Mischief", "I agree": False}.items():
        refused = ask(**{**good, label: value})
        assert refused.status == 400 and f'"{label}"' in refused.headers["x-error-message"] and "Country" not in refused.headers["x-error-message"]
    assert api.get(f"/api/models/{name}/user-access-request/pending").json() == []
    assert ask(**good, why="because").status == 303
    assert ask().json() == {"status": "pending"}, "who asked need not fill it in again"
    row, = api.get(f"/api/models/{name}/user-access-request/pending").json()
    assert row["user"]["user"] == who and row["fields"] == {**good, "why": "because"}
    # As a form has it.
    form = b"Company=Acme&Country=FR&Since=2026-01-31&Use=Something+else&I+agree=on"
    assert other.post(f"/{name}/ask-access", form, content_type="application/x-www-form-urlencoded").status == 303
    assert other.post(f"/{name}/ask-access", form[:20], content_type="application/x-www-form-urlencoded").status == 303, "again"


@pytest.mark.covers("hub.ask-access", "hub.access.grant")
def test_gating_says_who_decides(api, gated, named, someone):
    name = gated("auto")
    (_, asker), (granted, friend), (_, waits) = someone(), someone(), someone()
    path = f"/{name}/resolve/main/config.json"
    assert asker.post(f"/{name}/ask-access").json() == {"status": "accepted"} and asker.get(path).status == 200
    grant = lambda user: api.post(f"/api/models/{name}/user-access-request/grant", {"user": user})
    assert grant(granted).status == 200 and friend.get(path).status == 200
    assert grant(granted).status == 409 and grant("nobody-at-all").status == 404
    row = next(row for row in api.get(f"/api/models/{name}/user-access-request/accepted").json() if row["user"]["user"] == granted)
    assert row["grantedBy"] == "owner" and "fields" not in row
    api.request("PUT", f"/api/models/{name}/settings", {"gated": "manual"})
    assert asker.get(path).status == 200, "who is in stays in"
    assert waits.post(f"/{name}/ask-access").json() == {"status": "pending"}
    api.request("PUT", f"/api/models/{name}/settings", {"gated": "auto"})
    assert waits.get(path).status == 403
    assert waits.post(f"/{name}/ask-access").json() == {"status": "accepted"} and waits.get(path).status == 200
    # To be let in is not to see what is hidden.
    api.request("PUT", f"/api/models/{name}/settings", {"private": True})
    assert friend.get(path).status == 404
    open_ = made(api, named())
    assert asker.post(f"/{open_}/ask-access").status == 409 and api.post(f"/api/models/{open_}/user-access-request/grant", {"user": granted}).status == 400


def test_every_door_opens_and_closes(hub, api, gated, someone, git, tmp):
    """git, Git LFS, Xet and the files: one decision, at once."""
    name = gated("manual")
    who, asker = someone()
    large = b"\0" * 5000

    def doors():
        opened = set()
        if asker.get(f"/{name}/resolve/main/model.safetensors").status in (200, 302):
            opened.add("resolve")
        if asker.get(f"/api/models/{name}/tree/main").status == 200:
            opened.add("tree")
        if asker.get(f"/api/models/{name}/xet-read-token/main").status == 200:
            opened.add("xet")
        if Api(hub, name, asker.token).batch("download", large).status == 200:
            opened.add("lfs")
        if git.run("ls-remote", hub.git_url(name, asker.token), check=False).returncode == 0:
            opened.add("git")
        return opened

    everything = {"resolve", "tree", "xet", "lfs", "git"}
    assert doors() == set()
    api.post(f"/api/models/{name}/user-access-request/grant", {"user": who})
    assert doors() == everything
    link = Api(hub, name, asker.token).grant(large, "download")["download"]
    for status, expected in (("rejected", set()), ("accepted", everything), ("pending", set())):
        assert api.post(f"/api/models/{name}/user-access-request/handle", {"user": who, "status": status}).status == 200
        assert doors() == expected, status
        fetched = HubApi("").get(link["href"], **{key.replace("-", "_"): value for key, value in link.get("header", {}).items()})
        assert (fetched.status == 200) == bool(expected), "an address that was handed out before"


@shows("list_pending_access_requests", "accept_access_request", "reject_access_request", "cancel_access_request", "grant_access")
@versions
def test_clients_let_in(hub, alice, gated, someone, tmp, version):
    name = gated("manual")
    (who, asker), (other, _) = someone(), someone()
    asker.post(f"/{name}/ask-access", {"company": "Acme"})
    owner, reader = Hf(hub.url, alice, tmp / "owner", VERSIONS[version]), Hf(hub.url, asker.token, tmp / "reader", VERSIONS[version])
    refused = 'tell([fails(errors.GatedRepoError, hf_hub_download, sys.argv[1], sys.argv[2]), fails(errors.GatedRepoError, api.list_repo_files, sys.argv[1])])'
    assert "awaiting a review" in reader.python(refused, name, "config.json")[0]
    told = owner.python("""
name, who, other = sys.argv[1:]
names = lambda: [[row.username for row in each(name)] for each in (api.list_pending_access_requests, api.list_accepted_access_requests, api.list_rejected_access_requests)]
request, = api.list_pending_access_requests(name)
steps = [names()]
api.accept_access_request(name, who); steps.append(names())
again = fails(errors.HfHubHTTPError, api.accept_access_request, name, who)
api.reject_access_request(name, who, rejection_reason="why not"); steps.append(names())
api.cancel_access_request(name, who); steps.append(names())
api.accept_access_request(name, who)
api.grant_access(name, other); steps.append(names())
tell(dict(steps=steps, fields=request.fields, status=request.status, again=again, time=request.timestamp.year > 2000,
          nobody=fails(errors.HfHubHTTPError, api.accept_access_request, name, "nobody-at-all")))
""", name, who, other)
    assert told["steps"] == [[[who], [], []], [[], [who], []], [[], [], [who]], [[who], [], []], [[], [other, who], []]], told
    assert told["fields"] == {"company": "Acme"} and told["status"] == "pending" and told["time"]
    assert "already" in told["again"] and "User not found" in told["nobody"]
    assert reader.python('tell(open(hf_hub_download(sys.argv[1], "config.json")).read())', name) == "{}"
    owner.python("api.reject_access_request(sys.argv[1], sys.argv[2], rejection_reason=None)", name, who)
    # Another file: of this one they have a copy.
    assert "has been rejected" in reader.python(refused, name, "model.safetensors")[0]
