"""Every address of the Hub's API that the program knows of (hub/ROUTES.md), and those that no other suite asks for."""

import pytest

from harness import routes
from harness.api import HubApi
from harness.hf import Hf


@pytest.mark.covers("hub.refused", "hub.datasets-server", "none")
def test_what_is_refused_is_refused_in_words(hub, alice):
    api = HubApi(hub.url, alice)
    for number, row in enumerate(routes.catalogue()):
        path, headers = routes.example(row)
        for method in row["methods"] if row["status"] else ():
            answer = api.request(method, path, x_amzn_trace_id=f"{method}-{number}", **headers)
            assert (answer.status, answer.headers["content-type"]) == (row["status"], "application/json"), (method, path, answer.body)
            message = answer.headers["x-error-message"]
            assert row["what"] in message and answer.code and answer.headers["x-request-id"] == f"{method}-{number}", (method, path, message)
            assert answer.body == b"" if method == "HEAD" else answer.json() == {"error": message}, (method, path, answer.body)


def test_a_refusal_is_the_same_for_everybody(hub, alice, repo):
    """Or it would tell which repositories there are."""
    there, missing = repo(), "alice/missing"
    answers = {(who.get(f"/api/models/{name}/scan").body, who.get(f"/api/models/{name}/scan").status)
               for who in (HubApi(hub.url, alice), HubApi(hub.url, hub.tokens["bob"]), HubApi(hub.url)) for name in (there, missing)}
    assert len(answers) == 1, answers


def test_other_methods_are_told_which_there_are(hub, alice):
    api = HubApi(hub.url, alice)
    rows = routes.catalogue()
    for row in rows:
        path, headers = routes.example(row)
        known = {method for other in rows if other["address"] == row["address"] for method in other["methods"]}
        if row["methods"] != ["OPTIONS"] and "PATCH" not in row["methods"]:
            answer = api.request("PATCH" if "PATCH" not in known else "PUT", path, **headers)
            assert answer.status == 405 and set(row["methods"]) <= set(answer.headers["allow"].split(", ")), (path, answer.status, answer.body)
            assert answer.headers["x-error-message"] and answer.json()["error"], path


@pytest.mark.covers("hub.org", "hub.org.members", "hub.whoami")
def test_organizations(hub):
    number = next(hub.names)
    team, ann, ben = f"team{number}", f"ann{number}", f"ben{number}"
    owner, reader, nobody = HubApi(hub.url, hub.user(ann)), HubApi(hub.url, hub.user(ben)), HubApi(hub.url)
    hub.run("org", "create", team, "--owner", ann)
    hub.run("org", "add", team, ben, "--role", "read")
    overview = nobody.get(f"/api/organizations/{team.upper()}/overview").json()
    assert (overview["name"], overview["type"], overview["numUsers"]) == (team, "org", 2)
    assert {row["user"]: row["role"] for row in reader.get(f"/api/organizations/{team}/members").json()} == {ann: "admin", ben: "read"}
    assert nobody.get(f"/api/organizations/{team}/members").status == 403
    assert [row["name"] for row in reader.get("/api/whoami-v2").json()["orgs"]] == [team]
    assert owner.create(f"{team}/model").status == 200
    assert reader.get(f"/api/models/{team}/model").status == 200
    assert reader.create(f"{team}/other").status == 403
    for path in ("overview", "members"):
        answer = owner.get(f"/api/organizations/no-{team}/{path}")
        assert answer.status == 404 and answer.headers["x-error-message"], path
    hub.run("org", "remove", team, ben)
    assert reader.get(f"/api/models/{team}/model").code == "RepoNotFound"


@pytest.mark.covers("hub.auth-check")
def test_rights_are_checked_before_they_are_needed(hub, alice, repo):
    public, private = repo(public=True), repo()
    api, bob, nobody = HubApi(hub.url, alice), HubApi(hub.url, hub.tokens["bob"]), HubApi(hub.url)
    for who, name, read, write in ((api, public, 200, 200), (api, private, 200, 200), (bob, public, 200, 403), (bob, private, 404, 404),
                                   (nobody, public, 200, 401), (nobody, private, 401, 401)):
        assert who.get(f"/api/models/{name}/auth-check").status == read, (who.token, name)
        assert who.get(f"/api/models/{name}/auth-check/write").status == write, (who.token, name)
    assert bob.get(f"/api/models/{private}/auth-check").code == nobody.get(f"/api/models/{private}/auth-check").code == "RepoNotFound"
    reader = HubApi(hub.url, hub.token("alice", "read"))
    assert reader.get(f"/api/models/{private}/auth-check").status == 200
    assert reader.get(f"/api/models/{private}/auth-check/write").status == 403


@pytest.mark.covers("hub.info")
def test_a_revision_of_a_repository(hub, pushed, alice):
    path, work = pushed
    api = HubApi(hub.url, alice)
    first, head = work("rev-parse", "main~2"), work("rev-parse", "main")
    for revision, sha in (("main", head), ("HEAD", head), ("refs%2Fheads%2Fmain", head), (first, first), (first[:7], first)):
        assert api.get(f"/api/models/{path}/revision/{revision}").json()["sha"] == sha, revision
    answer = api.head(f"/api/models/{path}/revision/main")
    assert (answer.status, answer.body) == (200, b"") and int(answer.headers["content-length"]) > 100


def test_clients_show_why(hub, alice, repo, tmp):
    told = Hf(hub.url, alice, tmp / "hf-home").python("""
name = sys.argv[1]
tell([
    fails(errors.HfHubHTTPError, api.list_spaces_hardware),
    fails(errors.HfHubHTTPError, api.kernel_info, name),
    fails(errors.HfHubHTTPError, list, api.list_daily_papers()),
    fails(errors.HfHubHTTPError, list, api.list_jobs(namespace="alice")),
])
""", repo())
    things = ["running Spaces", "kernels", "papers", "jobs"]
    assert all(f"this hub does not support {thing}" in text for text, thing in zip(told, things, strict=True)), told
