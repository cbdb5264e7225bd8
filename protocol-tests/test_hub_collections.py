"""Collections: repositories under a title, in an order, with notes; shown to whoever may see each of them."""

import pytest

from harness.api import HubApi
from harness.hf import NEWEST, VERSIONS, Hf

shows = pytest.mark.shows
versions = pytest.mark.parametrize("version", [pytest.param(version, marks=pytest.mark.client("huggingface_hub", version)) for version in VERSIONS])


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def named(hub):
    return lambda: f"k{next(hub.names)}"


@pytest.fixture
def repo(api, named):
    def of(kind="model", **more):
        name = f"alice/{named()}"
        more = {"private": False, **({"sdk": "static"} if kind == "space" else {}), **more}
        assert api.create(name, kind, **more).status == 200
        return name
    return of


def items(answer):
    assert answer.status == 200, answer.body
    return [(item["id"], item["type"], item["position"]) for item in answer.json()["items"]]


@pytest.mark.covers("hub.collection.create", "hub.collection", "hub.collection.edit", "hub.collection.delete", "hub.collections")
def test_a_collection(hub, api, named):
    title, nobody, bob = f"Our {named()}!", HubApi(hub.url), HubApi(hub.url, hub.tokens["bob"])
    made = api.post("/api/collections", {"title": title, "namespace": "alice", "description": "what we have", "private": False})
    told = made.json()
    slug = told["slug"]
    assert made.status == 200 and slug.startswith(f"alice/our-{title[4:-1]}-") and (told["items"], told["position"] >= 0, told["upvotes"]) == ([], True, 0)
    again = api.post("/api/collections", {"title": title, "namespace": "alice"})
    assert (again.status, again.json()["slug"]) == (409, slug)
    assert nobody.get(f"/api/collections/{slug}").json()["description"] == "what we have"
    assert nobody.get(f"/api/collections/{slug.replace('/', '%2F')}").status == 200
    edited = api.request("PATCH", f"/api/collections/{slug}", {"title": f"{title} II", "theme": "pink", "private": True, "position": 3}).json()["data"]
    assert edited["slug"] != slug and edited["slug"][-24:] == slug[-24:] and (edited["theme"], edited["private"], edited["position"]) == ("pink", True, 3)
    assert nobody.get(f"/api/collections/{slug}").status == bob.get(f"/api/collections/{slug}").status == 404
    assert api.get(f"/api/collections/{slug}").status == 200, "by its former address"
    mine = lambda who: [row["slug"] for row in who.get("/api/collections?owner=alice&limit=100").json()]
    assert edited["slug"] in mine(api) and edited["slug"] not in mine(bob) + mine(nobody)
    api.request("PATCH", f"/api/collections/{slug}", {"private": False})
    assert edited["slug"] in mine(nobody)
    bad = [api.post("/api/collections", {"title": "", "namespace": "alice"}), api.post("/api/collections", {"title": "x" * 61}),
           api.post("/api/collections", {"title": "x", "description": "y" * 151}), api.post("/api/collections", {"title": "x", "namespace": "bob"}),
           nobody.post("/api/collections", {"title": "x"}), bob.request("PATCH", f"/api/collections/{slug}", {"title": "mine"}), bob.delete(f"/api/collections/{slug}"),
           nobody.delete(f"/api/collections/{slug}"), api.request("PATCH", f"/api/collections/{slug}", {"theme": "plaid"}),
           api.get("/api/collections/alice/nothing-000000000000000000000000"), api.get("/api/collections/zzz"), api.get("/api/collections?sort=zzz"),
           api.get("/api/collections?cursor=zzz"), api.get(f"/api/collections/bob/{slug.split('/')[1]}")]
    assert [answer.status for answer in bad] == [400, 400, 400, 403, 401, 403, 403, 401, 400, 404, 404, 400, 400, 404]
    assert api.delete(f"/api/collections/{slug}").status == 200 and api.delete(f"/api/collections/{slug}").status == 404


@pytest.mark.covers("hub.collection.add", "hub.collection.item", "hub.collection.drop")
def test_items(hub, api, named, repo):
    slug = api.post("/api/collections", {"title": named()}).json()["slug"]
    at, nobody, bob = f"/api/collections/{slug}", HubApi(hub.url), HubApi(hub.url, hub.tokens["bob"])
    model, data, space, hidden = repo(), repo("dataset"), repo("space"), repo(private=True)
    add = lambda name, kind, by=api, **more: by.post(f"{at}/items", {"item": {"id": name, "type": kind}, **more})
    for name, kind in ((model, "model"), (hidden, "model"), (data, "dataset"), (space, "space")):
        assert add(name, kind, note=f"about {name}").status == 200
    assert items(api.get(at)) == [(model, "model", 0), (hidden, "model", 1), (data, "dataset", 2), (space, "space", 3)]
    assert items(nobody.get(at)) == [(model, "model", 0), (data, "dataset", 2), (space, "space", 3)]
    assert hidden not in str(nobody.get("/api/collections?owner=alice").body) and nobody.get(f"/api/collections?item=models/{hidden}").json() == []
    assert [row["slug"] for row in nobody.get(f"/api/collections?item=datasets/{data}").json()] == [slug]
    ids = {item["id"]: item["_id"] for item in api.get(at).json()["items"]}
    assert api.request("PATCH", f"{at}/items/{ids[space]}", {"position": 0, "note": "first"}).status == 200
    assert [name for name, *_ in items(api.get(at))] == [space, model, hidden, data]
    assert api.get(at).json()["items"][0]["note"]["text"] == "first"
    assert api.delete(f"{at}/items/{ids[model]}").status == 200
    assert items(api.get(at)) == [(space, "space", 0), (hidden, "model", 1), (data, "dataset", 2)]
    bad = [add(space, "space"), add(space, "model"), add("alice/no-such", "model"), add(hidden, "model", by=bob), add(data, "gadget"), add("2307.09288", "paper"),
           add(model, "model", note="x" * 501), api.delete(f"{at}/items/{ids[model]}"), api.request("PATCH", f"{at}/items/zz", {"note": "x"}),
           bob.delete(f"{at}/items/{ids[data]}"), add(model, "model", by=nobody)]
    assert [answer.status for answer in bad] == [409, 404, 404, 403, 400, 501, 400, 404, 404, 403, 401]
    # What is gone is in no collection.
    api.delete("/api/repos/delete", {"name": space.split("/")[1], "organization": "alice", "type": "space"})
    assert items(api.get(at)) == [(hidden, "model", 0), (data, "dataset", 1)]
    api.post("/api/repos/move", {"fromRepo": data, "toRepo": f"{data}-new", "type": "dataset"})
    assert items(api.get(at))[1][0] == f"{data}-new"


@pytest.mark.covers("hub.collection.create")
def test_of_an_organisation(hub, api, named):
    org, member = named(), f"m{named()}"
    token = hub.user(member)
    hub.run("org", "create", org, "--owner", "alice")
    hub.run("org", "add", org, member, "--role", "read")
    slug = api.post("/api/collections", {"title": "Ours", "namespace": org, "private": True}).json()["slug"]
    reader, bob = HubApi(hub.url, token), HubApi(hub.url, hub.tokens["bob"])
    assert reader.get(f"/api/collections/{slug}").status == 200 and bob.get(f"/api/collections/{slug}").status == 404
    assert reader.request("PATCH", f"/api/collections/{slug}", {"title": "Mine"}).status == 403
    assert reader.post("/api/collections", {"title": "Mine", "namespace": org}).status == 403


@shows("create_collection", "get_collection", "list_collections", "update_collection_metadata", "add_collection_item", "update_collection_item",
       "delete_collection_item", "delete_collection")
@versions
def test_clients_collect(hub, alice, repo, named, tmp, version):
    model, data = repo(), repo("dataset")
    told = Hf(hub.url, alice, tmp / "hf", VERSIONS[version]).python("""
title, model, data = sys.argv[1:]
made = api.create_collection(title, namespace="alice", description="ours")
conflict = fails(errors.HfHubHTTPError, api.create_collection, title, namespace="alice")
assert api.create_collection(title, namespace="alice", exists_ok=True).slug == made.slug
slug = made.slug
api.add_collection_item(slug, model, "model", note="one")
with_two = api.add_collection_item(slug, data, "dataset")
again = fails(errors.HfHubHTTPError, api.add_collection_item, slug, data, "dataset")
assert len(api.add_collection_item(slug, data, "dataset", exists_ok=True).items) == 2
missing = fails(errors.HfHubHTTPError, api.add_collection_item, slug, "alice/no-such", "model")
api.update_collection_item(slug, with_two.items[1].item_object_id, note="two", position=0)
got = api.get_collection(slug)
renamed = api.update_collection_metadata(slug, title=title + " new", theme="green", private=True)
listed = [each.slug for each in api.list_collections(owner="alice", item=f"datasets/{data}", sort="lastModified")]
api.delete_collection_item(slug, got.items[0].item_object_id)
api.delete_collection_item(slug, got.items[0].item_object_id, missing_ok=True)
gone = fails(errors.HfHubHTTPError, api.delete_collection_item, slug, got.items[0].item_object_id)
left = [item.item_id for item in api.get_collection(renamed.slug).items]
api.delete_collection(slug)
api.delete_collection(slug, missing_ok=True)
tell(dict(made=[made.title, made.description, made.private, made.url], conflict=conflict, again=again, missing=missing, gone=gone,
          items=[[item.item_id, item.item_type, item.position, item.note] for item in got.items], renamed=[renamed.title, renamed.theme, renamed.private],
          listed=listed == [renamed.slug], left=left, end=fails(errors.HfHubHTTPError, api.get_collection, slug)))
""", title := named(), model, data)
    assert told["made"][:3] == [title, "ours", False] and told["made"][3].startswith(f"{hub.url}/collections/alice/")
    assert told["items"] == [[data, "dataset", 0, "two"], [model, "model", 1, "one"]] and told["left"] == [model]
    assert told["renamed"] == [f"{title} new", "green", True] and told["listed"]
    assert "409" in told["conflict"] and "already" in told["again"] and "404" in told["missing"] and "404" in told["gone"] and "404" in told["end"]


@shows("hf collections")
@pytest.mark.client("huggingface_hub", NEWEST)
def test_the_command(hub, alice, api, repo, named, tmp):
    model, title = repo(), named()
    hf = Hf(hub.url, alice, tmp / "hf")
    hf.commands(f"collections create {title} --description ours")
    slug = next(row["slug"] for row in api.get("/api/collections?owner=alice").json() if row["title"] == title)
    printed = hf.commands(f"collections add-item {slug} {model} model --note hi", f"collections info {slug}", f"collections ls --owner alice --item models/{model} --json",
                          f"collections update {slug} --title {title}-new")
    assert model in printed[1] and slug in printed[2]
    item, = api.get(f"/api/collections/{slug}").json()["items"]
    hf.commands(f"collections update-item {slug} {item['_id']} --note ho", f"collections delete-item {slug} {item['_id']}", f"collections delete {slug}")
    assert api.get(f"/api/collections/{slug}").status == 404
