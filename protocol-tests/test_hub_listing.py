"""Lists of repositories and search: what is found, in which order, by whom; downloads that are counted."""

import socket
import threading
import time

import pytest

from harness import wait
from harness.api import HubApi, file
from harness.hf import NEWEST, Hf
from harness.hub import HOST, Hub

shows = pytest.mark.shows
newest = pytest.mark.client("huggingface_hub", NEWEST)


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def word(hub):
    """A word that no other test's names have in them."""
    return f"w{next(hub.names)}q"


def made(api, name, kind="model", card="", **more):
    more = {"private": False, **({"sdk": "static"} if kind == "space" else {}), **more}
    assert api.create(name, kind, **more).status == 200
    if card:
        assert api.commit(f"{kind}s/{name}", file("README.md", card)).status == 200
    return name


def ids(answer):
    assert answer.status == 200, answer.body
    return [row["id"] for row in answer.json()]


@pytest.mark.covers("hub.list")
def test_filters(hub, api, word):
    one = made(api, f"alice/{word}-Bert-one", card="---\nlicense: mit\nlanguage: en\ntags: [a, both]\npipeline_tag: fill-mask\n---\n")
    two = made(api, f"alice/{word}-bert-two", card="---\nlicense: mit\ntags: [b, Both]\ndatasets: [alice/data]\n---\n")
    hidden = made(api, f"alice/{word}-bert-hidden", card="---\ntags: [both]\n---\n", private=True)
    bob, nobody = HubApi(hub.url, hub.tokens["bob"]), HubApi(hub.url)
    of = lambda who, query: set(ids(who.get(f"/api/models?search={word}&{query}")))
    assert of(api, "") == {one, two, hidden} and of(bob, "") == of(nobody, "") == {one, two}
    for query, expected in {
        "filter=both": {one, two}, "filter=both&filter=a": {one}, "filter=a,both": {one}, "filter=a,b": set(), "filter=license:mit": {one, two},
        "license=mit": {one, two}, "language=en": {one}, "pipeline_tag=fill-mask": {one}, "filter=bot": set(), "filter=no-such-tag": set(),
        "trained_dataset=alice/data": {two}, "filter=dataset:alice/data": {two}, "author=alice": {one, two}, "author=bob": set(), "author=ALICE": {one, two},
        "search=bert%20one": {one}, "search=BERT&search=two": {two}, "search=e": {one, two}, "search=rt": {one, two}, "search=%22": set(), "search=x*": set(),
        "search=" + "z" * 500: set(), "gated=true": set(), "gated=false": {one, two},
    }.items():
        assert of(nobody, query) == expected, query
    api.request("PUT", f"/api/models/{one}/settings", {"gated": "manual"})
    assert of(nobody, "gated=true") == {one} and of(nobody, "gated=false") == {two}
    # The card of a moment ago counts, the former one does not.
    api.commit(f"models/{one}", file("README.md", "---\ntags: [c]\n---\n"))
    assert of(nobody, "filter=both") == {two} and of(nobody, "filter=c") == {one}
    api.request("PUT", f"/api/models/{two}/settings", {"private": True})
    assert of(nobody, "") == {one} and of(api, "") == {one, two, hidden}
    api.post("/api/repos/move", {"fromRepo": one, "toRepo": f"alice/{word}-renamed", "type": "model"})
    assert of(nobody, "search=bert") == set() and of(nobody, "search=renamed") == {f"alice/{word}-renamed"}
    api.delete("/api/repos/delete", {"name": f"{word}-renamed", "organization": "alice", "type": "model"})
    assert of(nobody, "") == set()
    assert api.get("/api/models?" + "&".join(f"filter=t{n}" for n in range(40))).status == 400


@pytest.mark.covers("hub.list")
def test_what_is_not_known_fits_nothing_and_is_said_so(api):
    for query in ("num_parameters=min:6B,max:128B", "apps=ollama", "inference=warm", "inference_provider=all"):
        answer = api.get(f"/api/models?{query}")
        assert (answer.status, answer.json()) == (200, []) and "does not know" in answer.headers["x-hf-warning"], query


@pytest.mark.covers("hub.list", "hub.like")
def test_orders_and_pages(hub, api, word):
    names = [made(api, f"alice/{word}-{n}") for n in range(5)]
    others = [HubApi(hub.url, hub.user(f"{word}{n}")) for n in range(3)]
    for name, likes in zip(names, (1, 3, 0, 3, 2), strict=True):
        for who in others[:likes]:
            assert who.post(f"/api/models/{name}/like").status == 200

    def paged(query):
        found, url = [], f"/api/models?search={word}&limit=2&{query}"
        while url:
            answer = api.get(url)
            found += ids(answer)
            link = answer.headers["link"]
            url = link[1:link.index(">")].removeprefix(api.url) if link else None
        return [name.rsplit("-", 1)[1] for name in found]

    assert paged("sort=likes") == paged("sort=trendingScore") == ["3", "1", "4", "0", "2"]
    assert paged("sort=createdAt") == paged("") == paged("sort=downloads") == ["4", "3", "2", "1", "0"]
    assert paged("sort=likes&direction=1") == ["2", "0", "4", "1", "3"]

    def newest():
        """Git's times are in seconds: one of them has to pass."""
        api.commit(f"models/{names[1]}", file("x", str(time.monotonic())))
        return paged("sort=lastModified")[0]

    wait.until(lambda: newest() == "1", "what was changed last comes first")
    rows = {row["id"]: row for row in api.get(f"/api/models?search={word}&expand=likes&expand=trendingScore&expand=downloadsAllTime").json()}
    assert rows[names[1]] == {"_id": rows[names[1]]["_id"], "id": names[1], "likes": 3, "trendingScore": 30, "downloadsAllTime": 0}
    assert api.get(f"/api/models/{names[4]}").json()["likes"] == 2


@pytest.mark.covers("hub.list", "hub.quicksearch")
def test_lists_search_names_and_quicksearch_cards_too(hub, api, word):
    """`search` of lists is "a string that will be contained in the returned model ids", as huggingface_hub documents it, in
    whatever order is asked for; names first and then cards is what quicksearch has."""
    named = made(api, f"alice/{word}-named")
    card = made(api, f"alice/other{next(hub.names)}", card=f"about {word}")
    assert ids(api.get(f"/api/models?search={word}")) == [named]
    assert [row["id"] for row in api.get(f"/api/quicksearch?q={word}&type=model").json()["models"]] == [named, card]


@pytest.mark.covers("hub.tags", "hub.quicksearch", "hub.trending")
def test_search_of_everything(hub, api, word):
    name = made(api, f"alice/{word}-named")
    card = made(api, f"alice/card{next(hub.names)}", card=f"---\nlicense: mit\ntags: [tag-{word}]\n---\n# Title\nIt speaks of {word} and größe.\n")
    secret = made(api, f"alice/card{next(hub.names)}", card=f"{word}\n---\ntags: [x]\n", private=True)
    data = made(api, f"alice/{word}-data", "dataset", card=f"---\ntask_categories: [fill-mask]\nlanguage: [en]\ntags: [d-{word}]\n---\n")
    nobody = HubApi(hub.url)
    told = nobody.get(f"/api/quicksearch?q={word}").json()
    assert [row["id"] for row in told["models"]] == [name, card] and told["modelsCount"] == 2, told
    assert [row["id"] for row in told["datasets"]] == [data] and told["spaces"] == [] and told["q"] == word
    assert {row["id"] for row in api.get(f"/api/quicksearch?q={word}").json()["models"]} == {name, card, secret}
    assert nobody.get(f"/api/quicksearch?q={word}+GROSSE&type=model").json()["models"] == []
    assert [row["id"] for row in nobody.get(f"/api/quicksearch?q={word}+GR%C3%96%C3%9FE&type=model").json()["models"]] == [card]
    assert [row["user"] for row in nobody.get("/api/quicksearch?q=alic&type=user").json()["users"]] == ["alice"]
    for odd in ("%22", "AND", "*", "(", "model:", "%00", "NEAR(", "a" * 3000, ""):
        assert nobody.get(f"/api/quicksearch?q={odd}").status == 200, odd
    tags = nobody.get("/api/models-tags-by-type").json()
    assert {"id": "license:mit", "label": "mit", "type": "license"} in tags["license"]
    assert f"tag-{word}" in [row["id"] for row in tags["other"]]
    only = nobody.get("/api/datasets-tags-by-type?type=task_categories").json()
    assert list(only) == ["task_categories"] and {"id": "task_categories:fill-mask", "label": "Fill-Mask", "type": "task_categories"} in only["task_categories"]
    api.request("PUT", f"/api/models/{card}/settings", {"private": True})
    assert f"tag-{word}" not in str(nobody.get("/api/models-tags-by-type").json()), "a tag of private repositories alone"
    liked = HubApi(hub.url, hub.user(f"{word}fan"))
    assert liked.post(f"/api/models/{name}/like").status == 200
    rows = nobody.get("/api/trending?type=model&limit=100").json()["recentlyTrending"]
    assert name in [row["repoData"]["id"] for row in rows] and {row["repoType"] for row in rows} == {"model"}
    scores = [row["repoData"]["trendingScore"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert api.get("/api/trending?type=zzz").status == 400


@shows("list_models with filters", "list_datasets with filters", "list_spaces with filters", "get_model_tags", "get_dataset_tags")
@newest
def test_clients_list(hub, alice, api, word, tmp):
    model = made(api, f"alice/{word}-m", card="---\nlicense: mit\npipeline_tag: fill-mask\ndatasets: [squad]\n---\n")
    data = made(api, f"alice/{word}-d", "dataset", card="---\nlanguage: [en]\nsize_categories: [n<1K]\ntask_categories: [fill-mask]\n---\n")
    space = made(api, f"alice/{word}-s", "space", card=f"---\nsdk: static\nmodels: [{model}]\ndatasets: [{data}]\n---\n")
    told = Hf(hub.url, alice, tmp / "hf").python("""
word, model, data, space = sys.argv[1:]
m = lambda **asked: [row.id for row in api.list_models(search=word, **asked)]
d = lambda **asked: [row.id for row in api.list_datasets(search=word, **asked)]
s = lambda **asked: [row.id for row in api.list_spaces(search=word, **asked)]
info, = api.list_models(search=word, expand=["downloads", "likes", "trendingScore", "tags", "gated"])
tell(dict(
    m=[m(), m(filter=["license:mit", "fill-mask"]), m(pipeline_tag="fill-mask", author="alice"), m(trained_dataset="squad"), m(sort="likes", limit=1),
       m(sort="trending_score"), m(sort="last_modified"), m(sort="downloads"), m(sort="created_at"), m(full=True), m(cardData=True, fetch_config=True), m(gated=False)],
    none=[m(filter="nope"), m(gated=True), m(num_parameters="min:1B"), m(apps="ollama"), m(inference="warm"), m(inference_provider="all")],
    d=[d(), d(language="en"), d(size_categories="n<1K", task_categories="fill-mask"), d(dataset_name="-d"), d(filter="language:en", full=True)],
    s=[s(), s(models=model), s(datasets=[data]), s(linked=True), s(filter="static", full=True)], elsewhere=s(models="alice/other"),
    info=[info.downloads, info.likes, info.trending_score, info.gated, info.sha], tags=["license" in api.get_model_tags(), "language" in api.get_dataset_tags()],
    bad=fails(errors.BadRequestError, list, api.list_models(sort="zzz"))))
""", word, model, data, space)
    assert all(row == [model] for row in told["m"]), told["m"]
    assert not any(told["none"]) and all(row == [data] for row in told["d"]), told
    assert all(row == [space] for row in told["s"]) and told["elsewhere"] == [], told
    assert told["info"] == [0, 0, 0, False, None] and told["tags"] == [True, True] and "sort is" in told["bad"]


@shows("hf models ls", "hf datasets ls", "hf spaces ls")
@newest
def test_the_commands_list(hub, alice, api, word, tmp):
    names = [made(api, f"alice/{word}-{kind}", kind) for kind in ("model", "dataset", "space")]
    printed = Hf(hub.url, alice, tmp / "hf").commands(*(f"{kind}s ls --search {word} --sort likes --limit 3 --quiet" for kind in ("model", "dataset", "space")))
    for text, name in zip(printed, names, strict=True):
        assert text.split() == [name], text


def counted(hub, api, repo):
    hub.run("maintain", "--now")
    info = api.get(f"/api/{repo}?expand=downloads&expand=downloadsAllTime").json()
    return info["downloads"], info["downloadsAllTime"]


def test_downloads_are_counted_by_the_hubs_rules(tmp):
    hub = Hub(tmp / "hub", debug=True).start()
    api = HubApi(hub.url, hub.user("alice"))
    model = made(api, "alice/model")
    api.commit(f"models/{model}", file("config.json", "{}"), file("model.safetensors", "x"))
    for path, requests in {"config.json": 5, "model.safetensors": 3}.items():
        for n in range(requests):
            assert api.request(("GET", "HEAD")[n % 2], f"/{model}/resolve/main/{path}").status == 200
    assert api.get(f"/{model}/resolve/main/nope/config.json").status == 404
    assert api.get(f"/{model}/raw/main/config.json").status == 200
    assert counted(hub, api, f"models/{model}") == (5, 5)
    quantized = made(api, "alice/quantized")
    api.commit(f"models/{quantized}", file("sub/q.gguf", "x"), file("sub/q5.gguf", "x"))
    for path in ("q.gguf", "q5.gguf", "q5.gguf"):
        api.get(f"/{quantized}/resolve/main/sub/{path}")
    assert counted(hub, api, f"models/{quantized}") == (3, 3)
    adapter = made(api, "alice/adapter", card="---\nlibrary_name: adapter-transformers\n---\n")
    api.commit(f"models/{adapter}", file("config.json", "{}"), file("adapter_config.json", "{}"))
    api.get("/api/models")
    for path in ("config.json", "adapter_config.json"):
        api.get(f"/{adapter}/resolve/main/{path}")
    assert counted(hub, api, f"models/{adapter}") == (1, 1)
    data = made(api, "alice/data", "dataset")
    for _ in range(4):
        api.get(f"/datasets/{data}/resolve/main/.gitattributes")
    assert counted(hub, api, f"datasets/{data}") == (1, 1)
    hub.run("debug", "clock", "+6m")
    api.get(f"/datasets/{data}/resolve/main/.gitattributes")
    assert counted(hub, api, f"datasets/{data}") == (2, 2)
    assert ids(api.get("/api/models?sort=downloads")) == [model, quantized, adapter]
    # What was counted last is written when the server stops.
    api.head(f"/{model}/resolve/main/config.json")
    hub.stop()
    hub.fsck()
    hub.start()
    assert counted(hub, api, f"models/{model}") == (6, 6)
    assert api.get(f"/api/models/{model}?expand=trendingScore").json()["trendingScore"] > 0
    hub.run("debug", "clock", "+31d")
    assert counted(hub, api, f"models/{model}") == (0, 6)
    assert api.get(f"/api/models/{model}?expand=trendingScore").json()["trendingScore"] == 0
    hub.stop()
    hub.fsck()


def test_heads_are_counted_without_a_write_each(tmp):
    hub = Hub(tmp / "hub", debug=True).start()
    api = HubApi(hub.url, hub.user("alice"))
    model = made(api, "alice/model")
    api.commit(f"models/{model}", file("config.json", "{}"))
    assert counted(hub, api, f"models/{model}") == (0, 0)
    wal = hub.data / "granary.db-wal"
    before = wal.stat().st_size
    for _ in range(300):
        assert api.head(f"/{model}/resolve/main/config.json").status == 200
    # A write rewrites some pages of 2 KiB; the timer may have written once or twice.
    assert wal.stat().st_size - before < 300 * 2048
    assert counted(hub, api, f"models/{model}") == (300, 300)
    hub.stop()


def flood(hub, path, count, at_once=50):
    """HEADs over one kept-alive connection, each batch sent before its answers are read; all must succeed."""
    request = f"HEAD {path} HTTP/1.1\r\nHost: {HOST}:{hub.port}\r\n\r\n".encode()
    with socket.create_connection((HOST, hub.port), timeout=60) as connection:
        for _ in range(count // at_once):
            connection.sendall(request * at_once)
            answers = b""
            while answers.count(b"\r\n\r\n") < at_once:
                received = connection.recv(1 << 16)
                assert received, "the connection was closed"
                answers += received
            assert answers.count(b"HTTP/1.1 200 ") == at_once, answers[:500]


def commits(wal):
    """Transactions in the log of the rows, and which log that is: the last page of each says how large the database is then."""
    data = wal.read_bytes()
    page, salt = int.from_bytes(data[8:12], "big"), data[16:24]
    frames = [data[at : at + 24] for at in range(32, len(data) - page - 23, 24 + page)]
    return sum(frame[8:16] == salt and frame[4:8] != b"\0" * 4 for frame in frames), salt


def test_a_flood_of_heads_is_counted_in_few_transactions(tmp):
    hub = Hub(tmp / "hub", debug=True).start()
    api = HubApi(hub.url, hub.user("alice"))
    model = made(api, "alice/model")
    api.commit(f"models/{model}", file("config.json", "{}"))
    assert counted(hub, api, f"models/{model}") == (0, 0)
    connections, each = 8, 4000
    before, log = commits(hub.data / "granary.db-wal")
    started = time.monotonic()
    threads = [threading.Thread(target=flood, args=(hub, f"/{model}/resolve/main/config.json", each)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    seconds = time.monotonic() - started
    assert seconds < 120
    after, same = commits(hub.data / "granary.db-wal")
    assert log == same, "the log was begun anew, and cannot be counted"
    print(f"{connections * each / seconds:,.0f} HEADs/s, {after - before} transactions")
    # Every ten seconds those of all requests since, and what else is looked after now and then.
    assert after - before <= 5 + seconds
    assert counted(hub, api, f"models/{model}") == (connections * each, connections * each)
    hub.stop()
    hub.fsck()
