"""What the Hub's API refuses: by which exception `huggingface_hub` raises and what it shows, and that nothing of it stays."""

import base64
import collections
import contextlib
import hashlib
import http.client
import itertools
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest

from bench.shared.proc import PeakRssAnon
from harness import lfs, wire
from harness.api import HubApi, file
from harness.hf import Hf
from harness.lfs import MIB

HELPERS = """
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status
def refused(call, *args, **kwargs):
    "[exception, status, what the server said]; None if it was done."
    try:
        call(*args, **kwargs)
    except Exception as error:
        return [type(error).__name__, getattr(getattr(error, "response", None), "status_code", None), getattr(error, "server_message", None) or str(error)]
def ask(method, path, **request):
    "What the client would not ask, by its own session and with its own errors."
    headers = {**build_hf_headers(token=request.pop("token", None)), **request.pop("headers", {})}
    hf_raise_for_status(get_session().request(method, api.endpoint + path, headers=headers, **request))
def commit(name, rows, **more):
    rows = [{"key": "header", "value": {"summary": "x", "description": ""}}, *rows]
    body = "\\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()
    ask("POST", f"/api/models/{name}/commit/main", content=body, headers={"Content-Type": "application/x-ndjson"}, **more)
def add(*paths):
    "Operations, past the client's own checks of paths."
    operations = [CommitOperationAdd("x", b"x") for _ in paths]
    for operation, path in zip(operations, paths):
        operation.path_in_repo = path
    return operations
def commits(name, *operations, **more):
    return refused(api.create_commit, name, list(operations), commit_message="x", **more)
name, cases = sys.argv[1], json.load(open(sys.argv[2]))
"""


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def named(hub):
    return lambda: f"alice/b{next(hub.names)}"


@pytest.fixture
def name(api, named):
    """A model of alice's with the files `plain` and `dir/inner`."""
    assert api.create(name := named()).status == 200
    assert api.commit(f"models/{name}", file("plain", "x"), file("dir/inner", "x")).status == 200
    return name


@pytest.fixture
def tell(hub, tmp, name):
    """Runs a script behind HELPERS, as alice or by another token; `cases` is anything that JSON can say."""
    numbers = itertools.count()

    def run(script, cases=None, token=hub.tokens["alice"], seconds=120):
        (tmp / "cases.json").write_text(json.dumps(cases))
        return Hf(hub.url, token, tmp / f"hf{next(numbers)}").python(HELPERS + script, name, tmp / "cases.json", seconds=seconds)
    return run


@pytest.fixture
def unchanged(api, name):
    """Afterwards every branch and tag is where it was."""
    before = api.get(f"/api/models/{name}/refs").json()
    yield
    assert api.get(f"/api/models/{name}/refs").json() == before


def check(told, expected):
    """`expected` is {case: (exception, status, part of the message)}."""
    assert told.keys() == expected.keys()
    for case, (exception, status, text) in expected.items():
        assert told[case] is not None, f"{case[:80]!r} was accepted"
        assert told[case][:2] == [exception, status] and text in told[case][2], (case[:80], told[case])
        assert len(told[case][2]) < 2000, f"{case[:80]!r}: a message is for reading"


def test_paths(tell, unchanged):
    invalid = lambda why: ("HfHubHTTPError", 422, why)
    expected = {
        **dict.fromkeys(("../x", "a/../x", ".", "a/."), invalid("'.' and '..' are no names of files")),
        **dict.fromkeys((".git/config", "a/.GIT/x", "git~1/x", ".git"), invalid("no file can be in a repository's own '.git'")),
        **dict.fromkeys(("a\0b", "a\nb", "a\x7fb"), invalid("control characters cannot be in a name")),
        **dict.fromkeys(("", "/x", "a//b", "x/"), invalid("it is empty, or a part of it is")),
        **dict.fromkeys(("n" * 256, "a/" + "n" * 256, "m" * MIB, "n/" * 3000 + "n"), invalid("invalid path")),
        "d/" * 128 + "x": invalid("it leads through more than 127 folders"),
        **dict.fromkeys(("plain/below", "dir"), ("BadRequestError", 400, "cannot be both a file and a folder")),
    }
    check(tell("tell({path: commits(name, *add(path)) for path in cases})", list(expected)), expected)
    both = ("BadRequestError", 400, "'new' cannot be both a file and a folder")
    check(tell("tell({'/'.join(paths): commits(name, *add(*paths)) for paths in cases})", [["new", "new/x"], ["new/x", "new"]]),
          {"new/new/x": both, "new/x/new": both})


@pytest.mark.parametrize("door", ["resolve", "raw"])
def test_paths_that_are_read(api, name, door):
    """Nothing outside of the revision is to be had, and what is not there is a missing entry."""
    for path in ("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "dir/../plain", ".git/config", "nope", "dir", "plain/x", "n" * 3000, ""):
        answer = api.get(f"/{name}/{door}/main/{path}")
        assert (answer.status, answer.code) == (404, "EntryNotFound") and len(answer.headers["x-error-message"]) < 500, (path, answer.body)
    assert api.get(f"/{name}/{door}/main/a%00b").status == api.get(f"/{name}/{door}/main/%ff").status == 404


def test_what_may_be_written_may_be_read(api, name):
    """The longest of paths, in letters that an address spells in six characters each."""
    path = "/".join(["é" * 127] * 16)
    assert len(path.encode()) == 4079 and api.commit(f"models/{name}", file(path, "there")).status == 200
    assert path in files_of(api, name)
    answer = api.get(f"/{name}/resolve/main/{quote(path)}")
    assert (answer.status, answer.body) == (200, b"there")
    assert api.post(f"/api/models/{name}/paths-info/main", {"paths": [path]}).json()[0]["path"] == path


def test_addresses_that_are_too_long(api, name):
    for path in (f"/api/models/{name}/tree/main/{'n' * 65_000}", f"/{name}/resolve/main/{'n' * 65_000}"):
        answer = api.get(path)
        assert answer.status == 414 and answer.code and "the address is too long" in answer.headers["x-error-message"]


def test_lines_of_a_commit(tell, unchanged):
    line = lambda key, **value: {"key": key, "value": value}
    blob = lambda content, encoding="base64": line("file", content=content, path="x", encoding=encoding)
    large = lambda **more: line("lfsFile", **{"path": "x", "algo": "sha256", "oid": "0" * 64, "size": 1, **more})
    cases = {
        "an unknown key": (line("deletedFolders", path="dir"), 'the key "deletedFolders" is unknown; known are header, file, lfsFile'),
        "copyFile": (line("copyFile", path="x"), 'the key "copyFile" is unknown'),
        "an unknown member": (line("file", path="x", content="", encoding="base64", mode="100755"), 'file has no member "mode"'),
        "no base64": (blob("%%%"), "the content of x is not what its encoding says: the content is not base64: byte 0x25 at offset 0"),
        "base64 in lines": (blob("YWJj\nYW"), "byte 0x0a at offset 4; send it without line breaks"),
        "base64 cut short": (blob("YWJjYWJ"), "is it cut short?"),
        "base64 of another alphabet": (blob("_-_-"), "not base64"),
        "an unknown encoding": (blob("YWJj", "hex"), 'the encoding "hex" is unknown; use base64 or utf-8'),
        "no content": (line("file", path="x", encoding="base64"), 'file needs the member "content"'),
        "no path": (line("deletedFile"), 'deletedFile needs the member "path"'),
        "a path that is no text": (line("deletedFile", path=["x"]), '"path" is not'),
        "half a line": ('{"key": "file", "val', "it ends in the middle"), "no object": ("nonsense", "found 'n' instead of an object"),
        "two objects": ('{"key": "deletedFile", "value": {"path": "plain"}} {}', "instead of the end of the line"),
        "half a surrogate": ('{"key": "deletedFile", "value": {"path": "\\ud83d"}}', "half of a surrogate pair"),
        "a second header": (line("header", summary="x"), "a second header; a commit has one"),
        "no SHA-256": (large(oid="abc"), "the oid is not a SHA-256"), "another algorithm": (large(algo="md5"), 'named by sha256, not by "md5"'),
        "a negative size": (large(size=-1), "the size is not a whole number"), "a size of 2⁶⁴": (large(size=1 << 64), "the size is not a whole number"),
        "an object that was not uploaded": (large(), f"LFS pointer pointed to a file that does not exist: x: {'0' * 64}"),
        "a copy of nothing": (large(size=None), "a file that does not exist: x"),
    }
    told = tell("tell({case: refused(commit, name, [row]) for case, row in cases.items()})", {case: row for case, (row, _) in cases.items()})
    check(told, {case: ("BadRequestError", 400, text) for case, (_, text) in cases.items()})
    told = tell("tell({case: refused(commit, name, [{'key': key, 'value': {'path': 'nope'}}]) for case, key in cases.items()})",
                {key: key for key in ("deletedFile", "deletedFolder", "deletedEntry")})
    check(told, dict.fromkeys(told, ("RemoteEntryNotFoundError", 404, "A file with this name doesn't exist: nope")))


REVISION = """
calls = {
    "info": api.model_info, "tree": lambda name, revision: list(api.list_repo_tree(name, revision=revision)), "files": api.list_repo_files,
    "commits": api.list_repo_commits, "paths": lambda name, revision: api.get_paths_info(name, ["plain"], revision=revision),
    "download": lambda name, revision: hf_hub_download(name, "plain", revision=revision), "snapshot": snapshot_download,
    "branch": lambda name, revision: api.create_branch(name, branch="b", revision=revision),
    "tag": lambda name, revision: api.create_tag(name, tag="t", revision=revision)}
tell({revision: {case: refused(call, name, revision=revision) for case, call in calls.items()} for revision in cases})
"""


def test_unknown_revisions(tell, unchanged):
    revisions = ["nope", "0" * 40, "../x", "refs/pr/1", "main^", "main~1", "HEAD@{1}", "a b", "n" * 4000]
    for revision, told in tell(REVISION, revisions).items():
        check(told, dict.fromkeys(told, ("RevisionNotFoundError", 404, f"Invalid rev id: {revision[:200]}")))
    told = tell("""
tell({"commit": commits(name, *add("x"), revision=cases), "delete": refused(api.delete_file, "plain", name, revision=cases),
      "upload": refused(api.upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id=name, revision=cases)})""", "nope")
    check(told, dict.fromkeys(told, ("RevisionNotFoundError", 404, "Invalid rev id: nope")))


def test_ambiguous_revisions(hub, tell, name, git, tmp, alice):
    """Of these commits, which are the same in every run, two pairs begin alike."""
    work = git.init(tmp / "work")
    work("fast-import", "--quiet", input="".join(
        f"commit refs/heads/main\ncommitter A <a@b> {number} +0000\ndata 1\nx\nM 644 inline plain\ndata {len(str(number))}\n{number}\n" for number in range(1700)))
    work("push", "-q", "--force", hub.git_url(name, alice), "main")
    counts = collections.Counter(commit[:5] for commit in work("rev-list", "main").split())
    prefix = next(prefix for prefix, count in counts.items() if count > 1)
    told = tell(REVISION, [prefix])[prefix]
    # Of a 400 `hf_hub_download` says nothing, but to check the connection.
    check(told, dict.fromkeys(told, ("RevisionNotFoundError", 404, f"{prefix}: more than one commit begins with these digits")))
    alone = next(prefix for prefix, count in counts.items() if count == 1)
    assert tell("tell(api.model_info(name, revision=cases).sha)", alone).startswith(alone)


def test_names_of_repositories(tell):
    shape = "is not a valid name: use 1 to 96 of A-Z a-z 0-9"
    expected = {
        **dict.fromkeys(("..", ".", "a b", "a--b", "a..b", "-x", ".x", "x.", "é", "", "x\0y", "a/b/c", "n" * 97), ("BadRequestError", 400, shape)),
        **dict.fromkeys(("x.git", "api/x", "datasets/x", "models/x", "resolve/x", "v1/x"), ("BadRequestError", 400, "is reserved")),
    }
    told = tell("tell({name: refused(ask, 'POST', '/api/repos/create', json={'name': name, 'type': 'model'}) for name in cases})", list(expected))
    check(told, expected)
    expected = {"api/x": ("BadRequestError", 400, "'api' is reserved"), "spaces/x": ("BadRequestError", 400, "'spaces' is reserved"),
                "alice/a--b": ("BadRequestError", 400, shape), "bob/x": ("HfHubHTTPError", 403, ""), "nobody-there/x": ("HfHubHTTPError", 403, "")}
    check(tell("tell({to: refused(api.move_repo, name, to) for to in cases})", list(expected)), expected)


def test_a_name_of_a_megabyte(tell):
    """It is not said back in a header, which no client would read."""
    told = tell("tell({case: refused(ask, method, f'/api/repos/{path}', json=body) for case, (method, path, body) in cases.items()})", {
        "create": ("POST", "create", {"name": "m" * MIB}), "move": ("POST", "move", {"fromRepo": "alice/x", "toRepo": "m" * MIB}),
        "namespace": ("POST", "create", {"name": "x", "organization": "m" * MIB})})
    check(told, dict.fromkeys(told, ("BadRequestError", 400, "is not a valid name")))


def test_first_files_that_are_refused(api, tell, named):
    """Then there is no repository: the name is free for who tries again."""
    first = lambda path, content="x", encoding="utf-8": {"path": path, "content": content, "encoding": encoding}
    cases = {
        "path": ([first("../x")], ("HfHubHTTPError", 422, "invalid path '../x'")), "base64": ([first("x", "%%", "base64")], ("BadRequestError", 400, "x is not base64")),
        "clash": ([first("x"), first("x/y")], ("BadRequestError", 400, "'x' cannot be both a file and a folder")),
        "card": ([first("README.md", "---\na: [\n---\n")], ("BadRequestError", 400, "Invalid metadata in README.md"))}
    names = {case: named() for case in cases}
    told = tell("tell({case: refused(ask, 'POST', '/api/repos/create', json=body) for case, body in cases.items()})",
                {case: {"name": names[case], "type": "model", "files": files} for case, (files, _) in cases.items()})
    check(told, {case: expected for case, (_, expected) in cases.items()})
    assert {api.get(f"/api/models/{name}").status for name in names.values()} == {404}


def test_requests_that_are_no_such_thing(tell, unchanged):
    """Of JSON in the wrong shape, numbers that are none, too much at once."""
    of_repo = lambda what: f"/api/models/NAME/{what}"
    sample = {"path": "a", "sample": "", "size": 1}
    cases = {
        "half": ("POST", "/api/repos/create", b"{", "the request's JSON"), "not UTF-8": ("POST", "/api/repos/create", b'{"name": "\xff"}', "the request's JSON"),
        "deep": ("POST", "/api/repos/create", b'{"name":' + b"[" * 100_000, "recursion limit"), "an array": ("POST", "/api/repos/create", [], "the request's JSON"),
        "a name that is a number": ("POST", "/api/repos/create", {"name": 5}, "expected a string"), "a type": ("POST", "/api/repos/create", {"name": "x", "type": "y"}, "type is model"),
        "a visibility": ("POST", "/api/repos/create", {"name": "x", "visibility": "y"}, "visibility is"), "a sample": ("POST", of_repo("preupload/main"), {"files": [{**sample, "sample": "%"}]}, "not base64"),
        "a size": ("POST", of_repo("preupload/main"), {"files": [{**sample, "size": -1}]}, "the request's JSON"), "no files": ("POST", of_repo("preupload/main"), {}, "missing field `files`"),
        "too many files": ("POST", of_repo("preupload/main"), {"files": [sample] * 5001}, "at most 5000 files"),
        "too many paths": ("POST", of_repo("paths-info/main"), {"paths": ["a"] * 2001}, "at most 2000 paths"), "gated": ("PUT", of_repo("settings"), {"gated": "perhaps"}, "gated is"),
        "a cursor": ("GET", of_repo("tree/main?cursor=zzz"), None, "not one of ours"), "a limit": ("GET", "/api/models?limit=-1", None, "not a number"),
        "a page": ("GET", of_repo("commits/main?p=x"), None, "not a number"), "no body": ("POST", of_repo("commit/main"), b"", "there is no header"),
        "a parent": ("POST", of_repo("commit/main"), b'{"key": "header", "value": {"summary": "x", "parentCommit": "zzz"}}', "parentCommit is not the id of a commit"),
    }
    told = tell("""
import base64
def send(method, path, body):
    kind = "application/x-ndjson" if "/commit/" in path else "application/json"
    ask(method, path.replace("NAME", name, 1), content=body and base64.b64decode(body), headers={"Content-Type": kind})
tell({case: refused(send, *request) for case, request in cases.items()})""", {
        case: (method, path, None if body is None else base64.b64encode(body if isinstance(body, bytes) else json.dumps(body).encode()).decode())
        for case, (method, path, body, _) in cases.items()})
    check(told, {case: ("BadRequestError", 400, text) for case, (*_, text) in cases.items()})


def test_a_compressed_commit(api, name, unchanged):
    answer = api.post(f"/api/models/{name}/commit/main", b"x", content_type="application/x-ndjson", content_encoding="gzip")
    assert answer.status == 415 and "gzip" in answer.headers["x-error-message"] and "use gzip" not in answer.headers["x-error-message"]


def test_an_early_refusal_is_read(hub, tell, unchanged):
    """The client is still sending when it is answered, and shows what it was told, not that the connection broke."""
    tokens = {"alice": hub.tokens["alice"], "alice, to read": hub.token("alice", "read"), "bob": hub.tokens["bob"]}
    told = tell("""
line = json.dumps({"key": "file", "value": {"content": "%" + "A" * (32 << 20), "path": "x", "encoding": "base64"}})
tell({who: refused(commit, name, [line], token=token) for who, token in cases.items()})""", tokens)
    check(told, {"alice": ("BadRequestError", 400, "not base64"), "alice, to read": ("HfHubHTTPError", 403, ""), "bob": ("RepositoryNotFoundError", 404, "")})


def test_names_of_refs(tell, unchanged):
    bad = ["bad..name", "-x", "x.lock", "a b", "a~1", "a^", "a:b", "@", "a/", "/a", "a//b", "x/.y"]
    told = tell("tell({name_: refused(api.create_tag, name, tag=name_) for name_ in cases})", [*bad, "a\0b", "n" * MIB])
    check(told, dict.fromkeys(told, ("BadRequestError", 400, "Invalid reference for a branch or tag")))
    told = tell("tell({name_: refused(api.create_branch, name, branch=name_) for name_ in cases})", bad)
    check(told, dict.fromkeys(told, ("BadRequestError", 400, "Invalid reference for a branch or tag")))


def test_hostile_cards(tell, unchanged):
    """By the client, which asks before it uploads, and by a commit that nobody asked about."""
    letters = "abcdefghij"
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{here}: &{here} [{','.join([f'*{above}'] * 9)}]\n" for above, here in itertools.pairwise(letters))
    cards = {"a bomb of aliases": bomb, "an alias of itself": "a: &a [*a]\n", "deep": f"a: {'[' * 5000}{']' * 5000}\n", "wide": f"a: [{'x,' * 300_000}]\n",
             "long": f"a: {'x' * 3 * MIB}\n", "broken": "a: [\n", "twice the same key": "a: 1\na: 2\n", "a list": "- a\n",
             "a tag that runs": "a: !!python/object/apply:os.system [ls]\n"}
    started = time.monotonic()
    told = tell("""
def upload(card):
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=name)
def line(card):
    commit(name, [{"key": "file", "value": {"content": card, "path": "README.md", "encoding": "utf-8"}}])
tell([{case: refused(call, convert(f"---\\n{card}---\\n")) for case, card in cases.items()} for call, convert in ((upload, str.encode), (line, str))])""", cards)
    assert time.monotonic() - started < 20
    check(told[0], dict.fromkeys(cards, ("ValueError", None, "Invalid metadata in README.md")))
    check(told[1], dict.fromkeys(cards, ("BadRequestError", 400, "Invalid metadata in README.md")))


RIGHTS = """
import tempfile
def rights(repo, token):
    "Every way to write, then every way to read."
    api, cache = HfApi(token=token or False), tempfile.mkdtemp()
    writes = {
        "upload": lambda: api.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=repo), "branch": lambda: api.create_branch(repo, branch="b"),
        "commit": lambda: api.create_commit(repo, operations=[CommitOperationDelete("plain")], commit_message="x"), "tag": lambda: api.create_tag(repo, tag="t"),
        "settings": lambda: api.update_repo_settings(repo, private=False), "move": lambda: api.move_repo(repo, repo + "-moved"),
        "delete": lambda: api.delete_repo(repo), "auth check": lambda: api.auth_check(repo, write=True)}
    reads = {
        "list": lambda: api.list_repo_files(repo), "refs": lambda: api.list_repo_refs(repo), "paths": lambda: api.get_paths_info(repo, "plain"),
        "download": lambda: api.hf_hub_download(repo, "plain", cache_dir=cache), "snapshot": lambda: api.snapshot_download(repo, cache_dir=cache),
        "auth check": lambda: api.auth_check(repo)}
    return [{case: refused(call) for case, call in of.items()} for of in (writes, reads, {"info": lambda: api.model_info(repo)})]
tell([rights(*case) for case in cases])
"""


def test_tokens_without_the_right(hub, api, tell, name, named, unchanged):
    public, gated = named(), named()
    for repo in (public, gated):
        api.create(repo, visibility="public")
        api.commit(f"models/{repo}", file("plain", "x"))
    api.request("PUT", f"/api/models/{gated}/settings", {"gated": "auto"})
    reader, bob, nobody, wrong = hub.token("alice", "read"), hub.tokens["bob"], None, "hf_" + "x" * 37
    cases = {"her own, to read": (name, reader), "private, bob": (name, bob), "private, nobody": (name, nobody), "public, bob": (public, bob),
             "public, nobody": (public, nobody), "gated, bob": (gated, bob), "gated, nobody": (gated, nobody), "a wrong one": (public, wrong)}
    told = dict(zip(cases, tell(RIGHTS, list(cases.values()))))

    def each(case, writes, reads, info):
        for answers, expected in zip(told[case], (writes, reads, info)):
            if expected is None:
                assert not any(answers.values()), (case, answers)
            else:
                check(answers, dict.fromkeys(answers, expected))

    forbidden, missing, unknown = ("HfHubHTTPError", 403, ""), ("RepositoryNotFoundError", 404, ""), ("RepositoryNotFoundError", 401, "")
    each("her own, to read", forbidden, None, None)
    each("private, bob", missing, missing, missing)
    each("private, nobody", unknown, unknown, unknown)
    each("public, bob", forbidden, None, None)
    each("public, nobody", unknown, None, None)
    for who, status in (("bob", 403), ("nobody", 401)):
        restricted = ("GatedRepoError", status, "is restricted and you are not in the authorized list")
        each(f"gated, {who}", restricted, restricted, None)
    invalid = ("HfHubHTTPError", 401, "Invalid credentials in Authorization header")
    each("a wrong one", invalid, invalid, invalid)


def test_wrong_credentials_are_told_in_the_very_words(hub):
    """Over https `huggingface_hub` takes a 401 for a missing repository unless this is all of the message."""
    answer = HubApi(hub.url, "hf_" + "x" * 37).get("/api/models/alice/x")
    assert (answer.status, answer.headers["x-error-message"]) == (401, "Invalid credentials in Authorization header")


# -- much at once -------------------------------------------------------------------------------------------------


def test_a_commit_of_25_000_files(hub, api, name, git, tmp, alice):
    paths = [f"part-{number % 100:02}/{number:05}.txt" for number in range(25_000)]
    with PeakRssAnon(hub.pid) as memory:
        started = time.monotonic()
        answer = api.commit(f"models/{name}", *(file(path, path) for path in paths))
        seconds = time.monotonic() - started
    assert answer.status == 200, answer.body
    assert seconds < 20 and memory.growth_kib < 64 << 10, (seconds, memory.growth_kib)
    clone = git.clone(hub.git_url(name, alice), tmp / "clone", "--bare")
    assert set(clone("ls-tree", "-r", "--name-only", "main").splitlines()) == {".gitattributes", "plain", "dir/inner", *paths}
    assert clone("show", f"main:{paths[-1]}") == paths[-1]
    clone.fsck()
    assert api.commit(f"models/{name}", *(("deletedFile", {"path": path}) for path in paths[:12_500])).status == 200
    assert files_of(api, name) == {".gitattributes", "plain", "dir/inner", *paths[12_500:]}


def test_more_operations_than_one_commit_takes(tell, unchanged):
    told = tell("tell({'': refused(commit, name, [{'key': 'deletedFile', 'value': {'path': f'{number}'}} for number in range(50_001)])})")
    check(told, {"": ("BadRequestError", 400, "more than 50000 operations; split the commit into several")})


def race(clients, rounds, work):
    """work(client, round) of all clients at once; what each returned."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda pair: work(*pair), [(client, number) for number in range(rounds) for client in range(clients)]))


def files_of(api, name):
    return {row["rfilename"] for row in api.get(f"/api/models/{name}").json()["siblings"]}


def test_a_race_in_which_nobody_says_from_where(api, name, git, hub, tmp, alice):
    """Nothing that was acknowledged is lost, and each commit stands on the one before."""
    def work(client, number):
        path = f"{client}/{number}"
        while (answer := api.commit(f"models/{name}", file(path, path))).status in (409, 429, 503):
            assert answer.headers["retry-after"] or answer.status == 409
        return path, answer.json()["commitOid"] if answer.status == 200 else answer.status

    done = dict(race(12, 10, work))
    assert len(done) == len(set(done.values())) == 120 and all(isinstance(commit, str) for commit in done.values())
    assert files_of(api, name) == {".gitattributes", "plain", "dir/inner", *done}
    clone = git.clone(hub.git_url(name, alice), tmp / "clone")
    log = clone("rev-list", "--first-parent", "main").split()
    assert len(log) == 122 and set(done.values()) <= set(log) and not clone("rev-list", "--merges", "main")
    clone.fsck()


def test_a_race_from_one_parent(api, name):
    """One of each round wins; the others are told that the branch moved."""
    parents = [api.get(f"/api/models/{name}").json()["sha"]]
    won = []
    for number in range(8):
        answers = race(8, 1, lambda client, _: (client, api.commit(f"models/{name}", file(f"{number}/{client}", "x"), parent=parents[-1])))
        (winner, answer), = [pair for pair in answers if pair[1].status == 200]
        for _, lost in (pair for pair in answers if pair[0] != winner):
            assert lost.status == 412 and lost.headers["x-error-message"].startswith("The branch was updated since you opened this page")
        won.append(f"{number}/{winner}")
        parents.append(answer.json()["commitOid"])
    assert files_of(api, name) == {".gitattributes", "plain", "dir/inner", *won}


def test_a_race_of_the_clients_themselves(tell, api, name):
    """`huggingface_hub` in threads, each with the parent that it saw: who loses gets its exception, and comes through when it looks again."""
    told = tell("""
from concurrent.futures import ThreadPoolExecutor
def work(number):
    lost = 0
    while True:
        parent = api.model_info(name).sha
        answer = commits(name, *add(f"raced/{number}"), parent_commit=parent)
        if answer is None:
            return lost
        assert answer[:2] == ["HfHubHTTPError", 412] and "The branch was updated" in answer[2], answer
        lost += 1
with ThreadPoolExecutor(6) as pool:
    tell(list(pool.map(work, range(24))))""")
    assert len(told) == 24 and sum(told) > 0, "nobody was ever late: this was no race"
    assert files_of(api, name) >= {f"raced/{number}" for number in range(24)}


def test_a_race_for_a_name(api, named):
    """One makes it; the others are told where it is, which is all that `exist_ok` needs."""
    for _ in range(4):
        name = named()
        answers = race(8, 1, lambda *_: api.create(name))
        assert sorted(answer.status for answer in answers) == [200] + [409] * 7
        assert {answer.json()["url"] for answer in answers} == {f"{api.url}/{name}"}
        assert api.commit(f"models/{name}", file("f", "x")).status == 200


def test_a_race_for_a_branch(api, name):
    """Who comes second finds it there, or gone: a 503 `exist_ok` would not understand."""
    for number in range(4):
        statuses = lambda method, path, body=None: sorted(answer.status for answer in race(8, 1, lambda *_: api.request(method, f"/api/models/{name}/{path}", body)))
        assert statuses("POST", f"branch/b{number}", {}) == [200] + [409] * 7
        assert statuses("POST", "tag/main", {"tag": f"t{number}", "message": "m"}) == [200] + [409] * 7
        assert statuses("DELETE", f"branch/b{number}") == [200] + [404] * 7


def test_everything_at_once(api, named):
    """Whatever comes between is told as what it is: missing, stale, taken. Never is it an internal error."""
    names, oids = [named() for _ in range(3)], ["0" * 40]

    def step(client, number):
        chance = random.Random(f"{client} {number}")
        name, other = chance.sample(names, 2)
        answer = chance.choice([
            lambda: api.create(name), lambda: api.create(name),
            lambda: api.commit(f"models/{name}", file(f"{client}/{number}", "x"), file(f"{client}/{number}.bin", bytes([client, number]) * 1000)),
            lambda: api.commit(f"models/{name}", file("same", f"{number}"), parent=oids[-1]),
            lambda: api.post("/api/repos/move", {"fromRepo": name, "toRepo": other, "type": "model"}),
            lambda: api.delete("/api/repos/delete", {"name": name.split("/")[1], "type": "model"}),
            lambda: api.request("PUT", f"/api/models/{name}/settings", {"private": chance.random() < 0.5}),
            lambda: api.post(f"/api/models/{name}/branch/b{number % 3}"), lambda: api.delete(f"/api/models/{name}/branch/b{number % 3}"),
            lambda: api.get(f"/api/models/{name}/tree/main?recursive=true&expand=true"), lambda: api.get("/api/models?author=alice&full=true"),
            lambda: api.get(f"/{name}/resolve/main/same"), lambda: api.get(f"/api/models/{name}")])()
        if answer.status == 200 and b"commitOid" in answer.body:
            oids.append(answer.json()["commitOid"])
        return answer

    answers = race(8, 60, step)
    assert {answer.status for answer in answers} <= {200, 307, 403, 404, 409, 412, 429, 503}, [(answer.status, answer.body) for answer in answers if answer.status in (400, 500)]
    assert all(answer.headers["x-error-message"] and answer.code for answer in answers if answer.status >= 400)
    assert sum(answer.status == 200 for answer in answers) > 100
    for name in names:
        if api.get(f"/api/models/{name}").status == 200:
            assert api.get(f"/api/models/{name}/tree/main").status == 200


# -- lines without end --------------------------------------------------------------------------------------------


PIECE = lfs.content(3 * MIB)
LONG = {
    "base64": ("base64", PIECE, base64.b64encode(PIECE)),
    "utf-8": ("utf-8", b"hello world\n" * 300_000, b"hello world\\n" * 300_000),
    "utf-8 that could be base64": ("utf-8", base64.b64encode(PIECE), base64.b64encode(PIECE)),
}


@pytest.mark.parametrize("engine, text", [("disk", "base64"), ("s3", "base64"), ("disk", "utf-8"), ("disk", "utf-8 that could be base64")], indirect=["engine"])
def test_a_line_as_long_as_a_file(fresh_hub, engine_settings, text, long_run):
    """A gigabyte (here 200 MB) inside one line of a commit: it is never in memory, and what comes out is an object."""
    encoding, piece, written = LONG[text]
    count = (1 << 30 if long_run else 200_000_000) // len(written)
    hub = fresh_hub(settings=engine_settings())
    token = hub.user("alice")
    api = HubApi(hub.url, token)
    api.create("alice/x")
    head = b'{"key": "header", "value": {"summary": "long", "description": ""}}\n{"key": "file", "value": {"content": "'
    tail = b'", "path": "model.bin", "encoding": "%s"}}\n' % encoding.encode()
    connection = http.client.HTTPConnection(urlsplit(hub.url).netloc, timeout=600)
    with PeakRssAnon(hub.pid) as memory:
        connection.request("POST", "/api/models/alice/x/commit/main", itertools.chain([head], itertools.repeat(written, count), [tail]), {
            "Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson", "Content-Length": str(len(head) + count * len(written) + len(tail))})
        answer = connection.getresponse()
        body = answer.read()
    connection.close()
    assert answer.status == 200, body
    row, = api.post("/api/models/alice/x/paths-info/main", {"paths": ["model.bin"]}).json()
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    assert row["lfs"]["oid"] == digest.hexdigest() and row["size"] == count * len(piece)
    assert memory.peak <= 64 << 10, f"RssAnon was {memory.peak >> 10} MiB"


@pytest.mark.parametrize("start", [
    b'{"key": "header", "value": {"summary": "', b'{"key": "header", "value": {"summary": "", "description": "', b'{"key": "', b'{"',
    b'{"key": "header", "value": {"summary": ""}}\n{"key": "deletedFile", "value": {"path": "',
    b'{"key": "header", "value": {"summary": ""}}\n{"key": "lfsFile", "value": {"path": "x", "algo": "sha256", "size": 1', b" ", b"\n", b"[" * 10,
], ids=["summary", "description", "key", "member", "path", "number", "spaces", "empty lines", "depth"])
def test_lines_without_end(hub, name, alice, unchanged, start):
    """What is no file has its bound: the answer comes before the rest of the body."""
    filler = {b" ": b" ", b"\n": b"\n"}.get(start, b"[" if start.startswith(b"[") else b"1")
    total = 24 * MIB
    with PeakRssAnon(hub.pid) as memory, wire.Raw(hub.url) as raw:
        with contextlib.suppress(ConnectionError):
            raw.request("POST", f"/api/models/{name}/commit/main", {
                "Authorization": f"Bearer {alice}", "Content-Type": "application/x-ndjson", "Content-Length": str(total)}, start + filler * (total - len(start)))
        answer = raw.answer()
    assert answer.status == 400 and answer.headers["x-error-code"] == "BadRequest" and len(answer.headers["x-error-message"]) < 500, answer
    assert memory.growth_kib < 8 << 10
