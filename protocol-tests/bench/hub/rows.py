"""The rows of the table: what is asked, and which figures must be reached."""

import json
import statistics
import time
import urllib.request
from urllib.parse import quote

from harness import wire

import calls
import many as many_rows

from table import Bound, Row, Sample, cpu_of, millis, per_cpu_second, per_second
from world import MODEL

CLIENTS = 16
SMALL_FILE = "config.json"
MANY_REPOS = 64
PAGE = 1000


def answer(request):
    """What one request is answered, for a look at it before it is repeated."""
    got = wire.http(request.href, request.tail or None, method=request.method, headers=request.headers)
    assert got.status == 200, (got.status, got.text()[:500])
    return got


# -- the same question again and again, by several clients ---------------------------------------------------------


def rates(request_of, count):
    """Answers per second, and per second of CPU."""
    def prepare(world, side, round):
        run = world.generator.prepare([request_of(world, side)] * count, CLIENTS)

        def measured():
            timings, cpu = cpu_of(side, run)
            return Sample(count / timings.wall_seconds, count / cpu)
        return measured
    return prepare


def small_file(method):
    def request_of(world, side):
        request = side.file_request(method, world.model(), SMALL_FILE)
        got = answer(request)
        assert int(got.headers["content-length"]) == len(MODEL[SMALL_FILE])
        assert got.body == (b"" if method == "HEAD" else MODEL[SMALL_FILE])
        assert side.name == "nginx" or got.headers["x-repo-commit"]
        return request
    return request_of


def model_info(world, side):
    request = side.request("GET", f"/api/models/{world.model()}")
    info = json.loads(answer(request).body)
    assert {row["rfilename"] for row in info["siblings"]} == {".gitattributes", *MODEL} and info["pipeline_tag"] == "sentence-similarity"
    return request


# -- one question after the other ---------------------------------------------------------------------------------


def first_page(repo_of, count=100):
    """The median time of an answer, and the CPU for it."""
    def prepare(world, side, round):
        request = side.request("GET", f"/api/models/{repo_of(world)}/tree/main?recursive=true&expand=false")
        got = answer(request)
        assert len(json.loads(got.body)) == PAGE and 'rel="next"' in got.headers["link"]
        run = world.generator.prepare([request] * count)

        def measured():
            timings, cpu = cpu_of(side, run)
            return Sample(timings.median, cpu / count)
        return measured
    return prepare


def expanded(folders, files, commits):
    """The time of the first page of a folder that nobody has looked at, 100 entries with the last commit of each."""
    def prepare(world, side, round):
        repo, folder = world.history(folders, files, commits), f"{round:03}"
        paths = [f"{folder}/{number:03}.txt" for number in range(100)]
        if side.name == "git":
            run = lambda: [side("log", "-1", "--format=%H", "main", "--", path) for path in paths]
        else:
            run = lambda: [row["lastCommit"]["id"] for row in side.api.get(f"/api/models/{repo}/tree/main/{folder}?expand=true").json()]

        def measured():
            started = time.perf_counter()
            found, cpu = cpu_of(side, run)
            seconds = time.perf_counter() - started
            last = world.side("git")("log", "-1", "--format=%H", "main", "--", paths[-1])
            assert len(found) == 100 and found[-1] == last
            return Sample(seconds, cpu)
        return measured
    return prepare


# -- lists of very many repositories ------------------------------------------------------------------------------


def asked(paths, figure, rounds=4):
    """One question after the other, over 100,000 repositories; `figure` makes one of the timings. By somebody who is nobody."""
    def prepare(world, side, round):
        world.many_repos()
        requests = [calls.request("GET", side.hub.url + path, None) for path in paths()]
        for request in requests:
            answer(request)
        run = world.generator.prepare(requests * rounds)

        def measured():
            timings, cpu = cpu_of(side, run)
            return Sample(figure(timings), cpu / len(requests) / rounds)
        return measured
    return prepare


def listed():
    return [f"/api/models?{query}&limit=100" for query in many_rows.lists()]


def searched():
    return [f"/api/quicksearch?q={quote(question)}&type=model" for question in many_rows.questions()]


def median(timings):
    return timings.median


def slowest(timings):
    return timings.percentile(99)


# -- commits of one small file each -------------------------------------------------------------------------------


def commits(repos_of, path_of, count, clients, sample):
    """To one repository after the other; `path_of(n)` names the file. `sample` makes figures of timings and CPU seconds."""
    def prepare(world, side, round):
        repos, numbers = repos_of(world), range(round * count, (round + 1) * count)
        files = [(repos[number % len(repos)], path_of(number), world.text()) for number in numbers]
        run = world.generator.prepare([side.commit_request(repo, {path: text}) for repo, path, text in files], clients)

        def measured():
            timings, cpu = cpu_of(side, run)
            repo, path, text = files[-1]
            assert answer(side.file_request("GET", repo, path)).text() == text
            return sample(timings, cpu)
        return measured
    return prepare


def one_by_one(repo_of, path_of, count):
    """The median time of a commit, and the CPU for it."""
    return commits(lambda world: [repo_of(world)], path_of, count, 1, lambda timings, cpu: Sample(timings.median, cpu / count))


def all_at_once(repos_of, path_of, count):
    """Commits per second, and per second of CPU."""
    return commits(repos_of, path_of, count, CLIENTS, lambda timings, cpu: Sample(count / timings.wall_seconds, count / cpu))


# -- pull requests and differences ---------------------------------------------------------------------------------


def merges(repo_of, count, files=20):
    """The median time of a merge, and the CPU for it: of so many files, into a branch that has changed as many others."""
    def prepare(world, side, round):
        repo, numbers = repo_of(world), range(round * count, (round + 1) * count)

        def changed(number, other):
            return {f"{folder * 5:03}/{number * 2 % 1000 + other:03}.txt": world.text() for folder in range(files)}

        def opened(number):
            body = calls.commit_body(changed(number, 0))
            got = side.api.request("POST", f"/api/models/{repo}/commit/main?create_pr=1", body, content_type="application/x-ndjson")
            assert got.status == 200, got.body
            return f"/api/models/{repo}/discussions/{got.json()['pullRequestUrl'].rsplit('/', 1)[1]}"

        pulls = [opened(number) for number in numbers]
        for number in numbers:
            side.commit(repo, changed(number, 1))
        run = world.generator.prepare([side.request("POST", f"{pull}/merge", b"{}", content_type="application/json") for pull in pulls])

        def measured():
            timings, cpu = cpu_of(side, run)
            assert {side.api.get(pull).json()["status"] for pull in pulls} == {"merged"}
            return Sample(timings.median, cpu / count)
        return measured
    return prepare


def first_bytes(repo_of, files, count=10):
    """The median time until the first byte of a difference of so many files comes, and the CPU for all of it."""
    def prepare(world, side, round):
        repo = repo_of(world)
        side.commit(repo, {f"{number % 100:03}/{number // 100:03}.txt": world.text() for number in range(files)})
        newest, before = [row["id"] for row in side.api.get(f"/api/models/{repo}/commits/main?limit=2").json()]
        request = side.request("GET", f"/api/models/{repo}/compare/{before}..{newest}")
        assert answer(request).body.count(b"diff --git") == files

        def run():
            times = []
            for _ in range(count):
                asked = urllib.request.Request(request.href, headers=request.headers | {"Accept-Encoding": "identity"})
                started = time.perf_counter()
                with urllib.request.urlopen(asked) as got:
                    got.read(1)
                    times.append(time.perf_counter() - started)
                    got.read()
            return statistics.median(times)

        def measured():
            middle, cpu = cpu_of(side, run)
            return Sample(middle, cpu / count)
        return measured
    return prepare


def many(world):
    return [world.repo(f"many-{number}", lambda: {"README.md": b"# one of many\n"}) for number in range(MANY_REPOS)]


def small(world):
    return world.repo("small", lambda: {f"logs/{number}.txt": world.text() for number in range(16)})


def hundred_thousand(world):
    return world.folders(100, 1000)


def ten_thousand(world):
    return world.folders(100, 100)


def flat(world):
    return world.flat(10_000)


def in_small(number):
    return f"logs/{number % 16}.txt"


def in_folders(number):
    return f"{number * 37 % 100:03}/{number * 53 % 1000:03}.txt"


def in_flat(number):
    return f"{number * 37 % 10_000:05}.txt"


HOT = [Bound("cpu", least=15_000), Bound("cpu", least=0.2, against="nginx")]


def within(milliseconds):
    return [Bound("value", most=milliseconds / 1e3)]


ROWS = [
    Row("resolve-head", "HEAD of a small file", rates(small_file("HEAD"), 20_000), per_second, per_cpu_second, HOT, ("nginx", "granary")),
    Row("resolve-get", "GET of a small file", rates(small_file("GET"), 20_000), per_second, per_cpu_second, HOT, ("nginx", "granary")),
    Row("model-info", "model_info, 12 files and a card", rates(model_info, 5000), per_second, per_cpu_second, [Bound("cpu", least=5000)]),
    Row("tree", "tree, recursive, 10k files, first page", first_page(ten_thousand), millis, millis, within(5)),
    Row("tree-flat", "the same, all in one folder", first_page(flat), millis, millis, within(5)),
    Row("expand", "tree with last commits, 3,000 commits", expanded(100, 1000, 3000), millis, millis, within(200), ("git", "granary")),
    Row("commit", "commit of a small file, one repo", one_by_one(small, in_small, 50), millis, millis, within(10)),
    Row("commits", f"the same, {MANY_REPOS} repos, {CLIENTS} clients", all_at_once(many, in_small, 640), per_second, per_cpu_second,
        [Bound("value", least=300)]),
    Row("commit-100k", "the same, 100 folders of 1,000 files", one_by_one(hundred_thousand, in_folders, 30), millis, millis, within(30)),
    Row("commit-flat", "the same, one folder of 10,000 files", one_by_one(flat, in_flat, 30), millis, millis, within(50)),
    Row("merge-100k", "merge of a PR, 20 files each side", merges(hundred_thousand, 10), millis, millis, within(200)),
    Row("diff-1k", "difference of 1,000 files, its first byte", first_bytes(hundred_thousand, 1000), millis, millis, within(50)),
    Row("list-100k", "list by search, filter; 100k repos", asked(listed, median), millis, millis, within(20)),
    Row("cards-100k", "search in 100k names and cards", asked(searched, median), millis, millis, within(30)),
    Row("cards-100k-p99", "the same, the slowest of a hundred", asked(searched, slowest), millis, millis, within(150)),
]
