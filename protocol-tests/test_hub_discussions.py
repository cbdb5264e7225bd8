"""Discussions and pull requests: by the API's own clients, by hand, and by git."""

import concurrent.futures

import pytest

from harness import lfs
from harness.api import HubApi, file
from harness.hf import NEWEST, Hf
from harness.hub import Hub
from harness.js import PACKAGE, Js, version
from harness.lfs import MIB, content

by_python = pytest.mark.client("huggingface_hub", NEWEST)
shows = pytest.mark.shows


@pytest.fixture
def named(hub):
    return lambda: f"alice/d{next(hub.names)}"


@pytest.fixture
def api(hub, alice):
    return HubApi(hub.url, alice)


@pytest.fixture
def bob(hub):
    return HubApi(hub.url, hub.tokens["bob"])


@pytest.fixture
def made(api, named):
    """A new public model of alice's, and where the API has it."""
    def of(private=False):
        name = named()
        assert api.create(name, private=private).status == 200
        return name, f"/api/models/{name}"
    return of


@pytest.fixture
def by(hub, tmp):
    """The newest client of a user."""
    return lambda who, **more: Hf(hub.url, hub.tokens[who], tmp / f"hf-{who}").with_environment(**more)


def opened(api, at, title="A pull request", **more):
    answer = api.post(f"{at}/discussions", {"title": title, "description": "Why not?", "pullRequest": True, **more})
    assert answer.status == 200, answer.body
    return answer.json()["num"]


def is_open(api, at, num):
    assert api.post(f"{at}/discussions/{num}/status", {"status": "open"}).status == 200


def details(api, at, num):
    return api.get(f"{at}/discussions/{num}?diff=1").json()


def tips(api, at):
    """By full name."""
    told = api.get(f"{at}/refs?include_prs=1").json()
    return {row["ref"]: row["targetCommit"] for rows in told.values() for row in rows}


@by_python
@shows("get_repo_discussions", "get_discussion_details", "create_discussion", "create_pull_request", "comment_discussion",
       "rename_discussion", "change_discussion_status", "edit_discussion_comment", "hide_discussion_comment", "merge_pull_request")
@pytest.mark.covers("hub.discussions", "hub.discussion", "hub.discussion.open", "hub.discussion.comment", "hub.discussion.comment.edit",
                    "hub.discussion.comment.hide", "hub.discussion.title", "hub.discussion.status", "hub.discussion.merge")
def test_the_api_of_python(hub, by, named):
    told = by("alice").python("""
import warnings
name = sys.argv[1]
api.create_repo(name, private=False)
talk = api.create_discussion(name, "  <b>A question</b> ", description="Why?")
assert (talk.num, talk.title, talk.status, talk.is_pull_request, talk.git_reference) == (1, "<b>A question</b>", "open", False, None)
assert (talk.author, talk.repo_id, talk.repo_type, talk.diff) == ("alice", name, "model", None)
assert talk.conflicting_files is None and talk.target_branch is None
assert [event.content for event in talk.events] == ["Why?"]
said = api.comment_discussion(name, 1, "Because <script>alert(1)</script>.")
assert (said.type, said.author, said.content, said.edited, said.hidden) == ("comment", "alice", "Because <script>alert(1)</script>.", False, False)
assert "<script>" not in said.rendered and said.number_of_edits == 0
edited = api.edit_discussion_comment(name, 1, said.id, "Because.")
assert edited.edited and edited.content == "Because." and edited.last_edited_by == "alice" and edited.last_edited_at >= said.created_at
assert [version["raw"] for version in edited.edit_history] == ["Because <script>alert(1)</script>."]
warnings.simplefilter("ignore")
hidden = api.hide_discussion_comment(name, 1, said.id)
assert hidden.hidden and hidden.content == "" and hidden.edit_history == []
renamed = api.rename_discussion(name, 1, "An answer")
assert (renamed.old_title, renamed.new_title) == ("<b>A question</b>", "An answer")
closed = api.change_discussion_status(name, 1, "closed", comment="done")
assert closed.new_status == "closed"
talk = api.get_discussion_details(name, 1)
assert (talk.title, talk.status) == ("An answer", "closed")
assert [event.type for event in talk.events] == ["comment", "comment", "title-change", "comment", "status-change"]
assert len({event.id for event in talk.events}) == 5

pull = api.create_pull_request(name, "Add a file", description="It is missing")
assert (pull.num, pull.status, pull.is_pull_request, pull.git_reference, pull.target_branch) == (2, "draft", True, "refs/pr/2", "refs/heads/main")
assert pull.conflicting_files == [] and pull.merge_commit_oid is None and pull.url == f"{api.endpoint}/{name}/discussions/2"
start = api.repo_info(name).sha
assert [ref.target_commit for ref in api.list_repo_refs(name, include_pull_requests=True).pull_requests] == [start]
assert "draft" in fails(errors.HfHubHTTPError, api.merge_pull_request, name, 2)
api.change_discussion_status(name, 2, "open")
done = api.create_commit(name, [CommitOperationAdd("new.txt", b"new\\n")], commit_message="the file", revision="refs/pr/2", parent_commit=start)
assert api.repo_info(name, revision="refs/pr/2").sha == done.oid and api.repo_info(name).sha == start
diff = api.get_discussion_details(name, 2).diff
assert diff.startswith("diff --git a/new.txt b/new.txt\\nnew file mode 100644\\n") and diff.endswith("@@ -0,0 +1 @@\\n+new\\n"), diff
api.create_commit(name, [CommitOperationAdd("other.txt", b"other\\n")], commit_message="meanwhile")
assert api.get_discussion_details(name, 2).diff == diff
api.merge_pull_request(name, 2, comment="thanks")
pull = api.get_discussion_details(name, 2)
assert pull.diff == diff
assert pull.status == "merged" and pull.merge_commit_oid == api.repo_info(name).sha and pull.conflicting_files == []
assert [(event.type, getattr(event, "summary", None)) for event in pull.events] == [
    ("comment", None), ("status-change", None), ("commit", "the file"), ("comment", None), ("status-change", None)]
assert pull.events[2].oid == done.oid and pull.events[4].new_status == "merged"
assert open(hf_hub_download(name, "new.txt")).read() == "new\\n"
assert "merged" in fails(errors.HfHubHTTPError, api.merge_pull_request, name, 2)
assert "merged" in fails(errors.HfHubHTTPError, api.change_discussion_status, name, 2, "open")
assert "pull request" in fails(errors.HfHubHTTPError, api.create_commit, name, [CommitOperationAdd("x", b"x")], commit_message="late", revision="refs/pr/2")

more = api.create_commit(name, [CommitOperationAdd("more.txt", b"more")], commit_message="More of it", commit_description="and why", create_pr=True)
assert (more.pr_num, more.pr_revision, more.pr_url) == (3, "refs/pr/3", f"{api.endpoint}/{name}/discussions/3")
pull = api.get_discussion_details(name, 3)
assert (pull.title, pull.status, pull.events[0].content, pull.events[1].oid) == ("More of it", "open", "and why", more.oid)

numbers = lambda **filters: [found.num for found in api.get_repo_discussions(name, **filters)]
assert numbers() == [3, 2, 1] and numbers(discussion_type="pull_request") == [3, 2] and numbers(discussion_type="discussion") == [1]
assert numbers(discussion_status="open") == [3] and numbers(discussion_status="closed") == [2, 1]
assert numbers(author="Alice") == [3, 2, 1] and numbers(author="bob") == [] and numbers(author="nobody") == []
fails(errors.HfHubHTTPError, api.get_discussion_details, name, 99)
fails(errors.RepositoryNotFoundError, api.get_discussion_details, name + "x", 1)
fails(errors.HfHubHTTPError, api.comment_discussion, name, 99, "hello")
fails(errors.BadRequestError, api.create_discussion, name, "ab")
fails(errors.BadRequestError, api.create_discussion, name, "x" * 201)
tell(numbers())
""", named())
    assert told == [3, 2, 1]


@by_python
@shows("hf discussions")
def test_the_command(hub, by, named, git, tmp, alice):
    name = named()
    hf = by("alice")
    hf.run("repos", "create", name, "--public")
    printed = hf.commands(
        f"discussions create {name} --title 'A question' --body 'Why?'",
        f"discussions create {name} --title 'A change' --pull-request",
        f"discussions comment {name} 1 --body Because",
        f"discussions rename {name} 1 'An answer'",
        f"discussions close {name} 1 --yes --comment done",
        f"discussions reopen {name} 1 --yes",
        f"discussions reopen {name} 2 --yes",
        f"discussions list {name} --format json",
        f"discussions info {name} 1 --format json",
        f"upload {name} {__file__} test.py --revision refs/pr/2",
        f"discussions diff {name} 2",
        f"discussions merge {name} 2 --yes --comment thanks",
        f"discussions list {name} --status merged --kind pull_request --format json",
    )
    assert "An answer" in printed[7] and "A change" in printed[7] and "Because" in printed[8] and "diff --git a/test.py b/test.py" in printed[10] and "A change" in printed[12]
    clone = git.clone(hub.git_url(name, alice), tmp / "clone")
    assert clone("log", "-1", "--format=%s %P").startswith("A change (#2) ") and (clone.cwd / "test.py").exists()


@pytest.mark.parametrize("xet", ["default", "disabled"])
@pytest.mark.parametrize("what", ["file", "folder"])
@by_python
@shows("hf upload --create-pr", "a pull request by who may only read")
def test_a_reader_proposes(hub, by, api, made, git, tmp, alice, xet, what):
    """From `hf upload --create-pr` over a push of what was forgotten to a merge; the small and the large."""
    name, at = made()
    bob = by("bob", **({"HF_HUB_DISABLE_XET": "1"} if xet == "disabled" else {}))
    large = content(3 * MIB, f"{name} {xet}")
    (tmp / "folder").mkdir()
    (tmp / "folder/large.bin").write_bytes(large)
    if what == "folder":
        (tmp / "folder/small.txt").write_text("small\n")
    done = bob.run("upload", name, tmp / "folder" / ("" if what == "folder" else "large.bin"),
                   "." if what == "folder" else "large.bin", "--create-pr", "--commit-message", "By bob")
    pull = details(api, at, 1)
    assert f"{name}/commit/{tips(api, at)['refs/pr/1']}" in done.stdout, done
    is_draft = what == "folder" and xet == "default"  # which is opened first, and committed to
    assert (pull["title"], pull["author"]["name"], pull["status"]) == ("By bob", "bob", "draft" if is_draft else "open")
    refused = bob.run("upload", name, tmp / "folder/large.bin", "mine.bin", check=False)
    assert refused.returncode and "403" in refused.stderr, "without --create-pr it is not for readers"

    client = lfs.CLIENTS[0].of(git, hub.url)
    work = client.clone(hub.git_url(name, hub.tokens["bob"]), tmp / "work")
    work("fetch", "-q", "origin", "refs/pr/1")
    work("checkout", "-q", "FETCH_HEAD")
    assert (work.cwd / "large.bin").read_bytes() == large
    work.commit("forgotten.txt", "and this\n")
    work("push", "-q", "origin", "HEAD:refs/pr/1")
    assert "read this repository" in work.fails("push", "origin", "HEAD:refs/heads/main")
    pull = details(api, at, 1)
    commits = [event for event in pull["events"] if event["type"] == "commit"]
    assert [commit["data"]["oid"] for commit in commits][-1] == work("rev-parse", "HEAD") and len(commits) == 2
    assert commits[-1]["author"]["name"] == "bob" and commits[-1]["data"]["subject"] == work("log", "-1", "--format=%s")

    if is_draft:
        is_open(api, at, 1)
    assert HubApi(hub.url, hub.tokens["bob"]).post(f"{at}/discussions/1/merge").status == 403
    merged = api.post(f"{at}/discussions/1/merge")
    assert merged.status == 200, merged.body
    elsewhere = git.__class__(git.binary, tmp / "home-copy", tmp)
    copy = lfs.CLIENTS[0].of(elsewhere, hub.url).clone(hub.git_url(name, alice), tmp / "copy")
    assert copy("rev-parse", "HEAD") == details(api, at, 1)["changes"]["mergeCommitId"] == merged.json()["mergeCommitId"]
    assert copy("log", "-1", "--format=%s %an") == "By bob (#1) alice"
    assert (copy.cwd / "large.bin").read_bytes() == large and (copy.cwd / "forgotten.txt").read_text() == "and this\n"
    assert len(copy("log", "-1", "--format=%P").split()) == 2
    copy("fsck", "--strict")


@pytest.mark.skipif(not PACKAGE.is_dir(), reason=f"{PACKAGE} is missing: protocol-tests/run installs it")
@pytest.mark.client("@huggingface/hub", version() if PACKAGE.is_dir() else "")
@shows("commit with isPullRequest")
def test_the_api_of_javascript(hub, made, api, tmp):
    name, at = made()
    large = content(2 * MIB, name)
    (tmp / "large.bin").write_bytes(large)
    told = Js(hub.url, hub.tokens["bob"], tmp / "js").run("""
const [name, large] = args, repo = {type: "model", name}, {pathToFileURL} = await import("node:url");
const done = await hub.uploadFiles({...at, repo, isPullRequest: true, commitTitle: "By node", files: [
    {path: "a.txt", content: new Blob(["a"])}, {path: "large.bin", content: pathToFileURL(large)}]});
tell({url: done.pullRequestUrl, oid: done.commit.oid, refused: await fails(() => hub.uploadFile({...at, repo, file: {path: "b", content: new Blob(["b"])}}))});
""", name, tmp / "large.bin")
    assert told["url"] == f"{hub.url}/{name}/discussions/1" and told["refused"]["status"] == 403
    assert tips(api, at)["refs/pr/1"] == told["oid"]
    assert api.post(f"{at}/discussions/1/merge").status == 200
    assert api.get(f"/{name}/resolve/main/large.bin").body == large


def test_conflicts_are_told_file_by_file(hub, api, bob, made, git, tmp, alice):
    name, at = made()
    repo = f"models/{name}"
    api.commit(repo, file("both.txt", "0"), file("x/mine.txt", "0"), file("x/theirs.txt", "0"), summary="base")
    num = opened(bob, at)
    is_open(bob, at, num)
    theirs = bob.commit(repo, file("both.txt", "theirs"), file("x/theirs.txt", "theirs"), revision=f"refs/pr/{num}")
    assert theirs.status == 200, theirs.body
    assert details(api, at, num)["filesWithConflicts"] == []
    api.commit(repo, file("both.txt", "ours"), file("x/mine.txt", "ours"), summary="ours")
    assert details(api, at, num)["filesWithConflicts"] == ["both.txt"]
    before = tips(api, at)
    answer = api.post(f"{at}/discussions/{num}/merge", {"comment": "try"})
    assert answer.status == 409 and "both.txt" in answer.headers["x-error-message"]
    assert tips(api, at) == before and details(api, at, num)["status"] == "open"
    assert "try" not in str(details(api, at, num)["events"]), "nothing is half done"
    # By hand, as the message says.
    work = git.clone(hub.git_url(name, hub.tokens["bob"]), tmp / "work")
    work("fetch", "-q", "origin", f"refs/pr/{num}")
    work("checkout", "-q", "FETCH_HEAD")
    work("merge", "-q", "-X", "ours", "-m", "merge main", "origin/main")
    work("push", "-q", "origin", f"HEAD:refs/pr/{num}")
    subjects = [event["data"]["subject"] for event in details(api, at, num)["events"] if event["type"] == "commit"]
    assert subjects == ["a commit", "merge main"], "what is in main already is not told again"
    assert details(api, at, num)["filesWithConflicts"] == []
    assert api.post(f"{at}/discussions/{num}/merge").status == 200
    read = {path: api.get(f"/{name}/resolve/main/{path}").body for path in ("both.txt", "x/mine.txt", "x/theirs.txt")}
    assert read == {"both.txt": b"theirs", "x/mine.txt": b"ours", "x/theirs.txt": b"theirs"}


def test_whose_ref_it_is(hub, api, bob, made, git, tmp, alice):
    """Fetched by name by everybody, pushed to by its author and by writers, made and deleted by nobody."""
    name, at = made()
    carol = f"carol{next(hub.names)}"
    hub.tokens["carol"] = hub.user(carol)
    num = opened(bob, at)
    remote = {who: hub.git_url(name, hub.tokens[who]) for who in ("alice", "bob", "carol")}
    work = git.clone(remote["bob"], tmp / "work")
    for protocol in "02":
        assert "refs/pr" not in work("-c", f"protocol.version={protocol}", "ls-remote", "origin")
    work("fetch", "-q", "origin", "refs/pr/*:refs/remotes/origin/pr/*")
    assert work("rev-parse", "origin/pr/1") == tips(api, at)["refs/pr/1"]
    work.commit("a.txt", "a")
    for who, ref, reason in (("carol", "refs/pr/1", "403"), ("bob", "refs/pr/2", "no such pull request"), ("alice", "refs/pr/2", "no such pull request"),
                             ("alice", "refs/pr/x", "no such pull request"), ("alice", "refs/pr/01", "no such pull request")):
        assert reason in work.fails("push", remote[who], f"HEAD:{ref}"), (who, ref)
    assert "closed through the hub" in work.fails("push", remote["alice"], ":refs/pr/1")
    work("push", "-q", remote["bob"], "HEAD:refs/pr/1")
    work.commit("a.txt", "b")
    work("push", "-q", remote["alice"], "HEAD:refs/pr/1")
    work("push", "-q", "--force", remote["bob"], "HEAD~1:refs/pr/1")
    tag = work("rev-parse", "HEAD^{tree}")
    assert "non-commit" in work.fails("push", "--force", remote["bob"], f"{tag}:refs/pr/1")
    # Another's, once one has one of one's own.
    other = opened(HubApi(hub.url, hub.tokens["carol"]), at)
    assert "not yours" in work.fails("push", remote["carol"], f"+HEAD:refs/pr/{num}")
    commit = HubApi(hub.url, hub.tokens["carol"]).commit(f"models/{name}", file("x", "x"), revision=f"refs/pr/{num}")
    assert commit.status == 403 and "not yours" in commit.headers["x-error-message"]
    assert bob.post(f"{at}/discussions/{num}/status", {"status": "closed"}).status == 200
    assert "closed" in work.fails("push", remote["alice"], f"HEAD:refs/pr/{num}")
    work("fetch", "-q", "origin", f"refs/pr/{num}")
    # Who may not even propose any more.
    work("push", "-q", remote["carol"], f"HEAD:refs/pr/{other}")
    assert api.request("PUT", f"{at}/settings", {"private": True}).status == 200
    assert "not found" in work.fails("push", remote["carol"], f"+HEAD~1:refs/pr/{other}")
    gone = HubApi(hub.url, hub.tokens["carol"])
    for answer in (gone.get(f"{at}/discussions"), gone.get(f"{at}/discussions/{other}"), gone.post(f"{at}/discussions/{other}/comment", {"comment": "hi"}),
                   gone.post(f"{at}/discussions", {"title": "hello"}), gone.commit(f"models/{name}", file("x", "x"), revision=f"refs/pr/{other}")):
        assert (answer.status, answer.code) == (404, "RepoNotFound")
    assert HubApi(hub.url).get(f"{at}/discussions").code == "RepoNotFound"
    is_open(api, at, other)
    assert api.post(f"{at}/discussions/{other}/merge").status == 200, "its owner may still take it"


def test_who_may_say_what(hub, api, bob, made):
    name, at = made()
    nobody, reader = HubApi(hub.url), HubApi(hub.url, hub.token("bob", role="read"))
    talk = bob.post(f"{at}/discussions", {"title": "by bob", "description": "text"}).json()["num"]
    assert nobody.get(f"{at}/discussions").json()["count"] == 1
    for who, status in ((nobody, 401), (reader, 403)):
        for path, body in ((f"/{talk}/comment", {"comment": "x"}), ("", {"title": "abc"}), (f"/{talk}/title", {"title": "abc"}),
                           (f"/{talk}/status", {"status": "closed"}), (f"/{talk}/merge", {})):
            assert who.post(f"{at}/discussions{path}", body).status == status, path
    comment = api.post(f"{at}/discussions/{talk}/comment", {"comment": "by alice"}).json()["newMessage"]["id"]
    first = details(api, at, talk)["events"][0]["id"]
    edit = {"content": "changed"}
    assert bob.post(f"{at}/discussions/{talk}/comment/{comment}/edit", edit).status == 403
    assert api.post(f"{at}/discussions/{talk}/comment/{first}/edit", edit).status == 403, "nobody speaks for others"
    assert bob.post(f"{at}/discussions/{talk}/comment/{comment}/hide").status == 403
    assert api.post(f"{at}/discussions/{talk}/comment/{first}/hide").status == 200, "who may write may hide"
    assert bob.post(f"{at}/discussions/{talk}/comment/{first}/edit", edit).status == 404
    theirs = api.post(f"{at}/discussions", {"title": "by alice"}).json()["num"]
    for path, body in (("title", {"title": "abc"}), ("status", {"status": "closed"})):
        assert bob.post(f"{at}/discussions/{theirs}/{path}", body).status == 403
        assert api.request("PATCH", f"{at}/discussions/{talk}/{path}", body).status == 200
    assert api.post(f"{at}/discussions/{talk}/merge").status == 404, "it is no pull request"


def test_bad_input(hub, api, bob, made):
    name, at = made()
    talk = api.post(f"{at}/discussions", {"title": "<img src=x onerror=alert(1)>", "description": ""}).json()["num"]
    answer = api.get(f"{at}/discussions/{talk}")
    assert answer.headers["content-type"] == "application/json" and answer.json()["title"] == "<img src=x onerror=alert(1)>"
    huge = api.post(f"{at}/discussions/{talk}/comment", {"comment": "x" * (1 << 20)})
    assert huge.status == 413 and "65536" in huge.headers["x-error-message"]
    assert api.post(f"{at}/discussions", {"title": "abc", "description": "x" * (1 << 20)}).status == 413
    assert api.post(f"{at}/discussions/{talk}/comment", {"comment": "é" * (1 << 15)}).status == 200
    for path, body in ((f"/{talk}/comment", {"comment": "  "}), (f"/{talk}/comment", {}), (f"/{talk}/title", {"title": "a"}), (f"/{talk}/title", {"title": "two\nlines"}),
                       (f"/{talk}/status", {"status": "merged"}), (f"/{talk}/status", {"status": 1}), ("", {"title": "x" * 201}), ("", {"description": "no title"})):
        assert api.post(f"{at}/discussions{path}", body).status == 400, (path, body)
    assert api.post(f"{at}/discussions/{talk}/status", {"status": "open"}).status == 409
    assert api.post(f"{at}/discussions/{talk}/status", {"status": "draft"}).status == 409
    for num in ("0", "99", "-1", "x", "9" * 30):
        assert api.get(f"{at}/discussions/{num}").status == 404
        assert api.post(f"{at}/discussions/{num}/comment", {"comment": "hi"}).status == 404
        assert api.post(f"{at}/discussions/{num}/merge").status == 404
    for comment in ("0" * 24, "x", "%C3%A9", "f" * 24):
        assert api.post(f"{at}/discussions/{talk}/comment/{comment}/hide").status == 404
    for query in ("type=nope", "status=nope", "p=x"):
        assert api.get(f"{at}/discussions?{query}").status == 400
    assert api.get(f"{at}/discussions?p=999999999").json() == {"count": 1, "start": 999999999 * 50, "discussions": []}
    nothing = bob.request("POST", f"{at}/commit/main?create_pr=1", b'{"key":"header","value":{"summary":"nothing"}}\n', content_type="application/x-ndjson")
    assert nothing.status == 400 and "nothing to propose" in nothing.headers["x-error-message"]
    elsewhere = bob.request("POST", f"{at}/commit/nope?create_pr=1", b'{"key":"header","value":{"summary":"nothing"}}\n', content_type="application/x-ndjson")
    assert (elsewhere.status, elsewhere.code) == (404, "RevisionNotFound")


def test_without_discussions(hub, api, bob, made, git, tmp):
    name, at = made()
    num = opened(bob, at)
    work = git.clone(hub.git_url(name, hub.tokens["bob"]), tmp / "work")
    work.commit("a.txt", "a")
    assert api.request("PUT", f"{at}/settings", {"discussionsDisabled": True}).status == 200
    for answer in (api.get(f"{at}/discussions"), bob.get(f"{at}/discussions/{num}"), bob.post(f"{at}/discussions", {"title": "abc"}),
                   bob.post(f"{at}/discussions/{num}/comment", {"comment": "x"}), bob.get(f"{at}/xet-write-token/main?create_pr=1")):
        assert answer.status == 403, answer.body
    assert "disabled" in work.fails("push", "origin", f"HEAD:refs/pr/{num}")
    assert bob.commit(f"models/{name}", file("x", "x"), revision=f"refs/pr/{num}").status == 403
    assert api.request("PUT", f"{at}/settings", {"discussionsDisabled": False}).status == 200
    work("push", "-q", "origin", f"HEAD:refs/pr/{num}")
    assert bob.get(f"{at}/discussions/{num}").status == 200


def test_pages(hub, api, made):
    name, at = made()
    for number in range(55):
        assert api.post(f"{at}/discussions", {"title": f"number {number}"}).json()["num"] == number + 1
    pages = [api.get(f"{at}/discussions?p={page}").json() for page in range(3)]
    assert [(page["count"], page["start"], len(page["discussions"])) for page in pages] == [(55, 0, 50), (55, 50, 5), (55, 100, 0)]
    assert [row["num"] for page in pages for row in page["discussions"]] == [*range(55, 0, -1)]


def test_merges_race_with_pushes(hub, api, bob, made, git, tmp, alice):
    """Each pull request is merged once, no push is lost, and main ends with all of it."""
    name, at = made()
    repo = f"models/{name}"
    pulls = [opened(bob, at, f"pull {number}") for number in range(6)]
    for num in pulls:
        is_open(bob, at, num)
        assert bob.commit(repo, file(f"pull/{num}.txt", str(num)), revision=f"refs/pr/{num}").status == 200
    work = git.clone(hub.git_url(name, alice), tmp / "work")

    def push():
        done = []
        for number in range(8):
            work.commit(f"push/{number}.txt", str(number))
            while work.run("push", "-q", "origin", "HEAD:main", check=False).returncode:
                work("pull", "-q", "--rebase", "origin", "main")
            done.append(f"push/{number}.txt")
        return done

    def merge(num):
        answer = api.post(f"{at}/discussions/{num}/merge")
        while answer.status == 503:
            answer = api.post(f"{at}/discussions/{num}/merge")
        return answer.status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pushed = pool.submit(push)
        statuses = list(pool.map(merge, pulls * 2))
        pushed = pushed.result()
    assert sorted(statuses) == [200] * 6 + [409] * 6
    copy = git.clone(hub.git_url(name, alice), tmp / "copy")
    there = copy("ls-files").splitlines()
    assert {*pushed, *(f"pull/{num}.txt" for num in pulls)} <= {*there}
    assert sorted(copy("log", "--first-parent", "--merges", "--format=%s").splitlines()) == [f"pull {num - 1} (#{num})" for num in pulls]
    for num in pulls:
        events = [event["type"] for event in details(api, at, num)["events"]]
        assert events == ["comment", "status-change", "commit", "status-change"]


def test_a_locked_file_is_not_merged(hub, api, bob, made):
    name, at = made()
    num = opened(bob, at)
    is_open(bob, at, num)
    bob.commit(f"models/{name}", file("locked.txt", "x"), revision=f"refs/pr/{num}")
    admin = HubApi(hub.url, hub.tokens["admin"])
    lock = admin.post(f"/{name}.git/info/lfs/locks", b'{"path": "locked.txt"}', content_type="application/vnd.git-lfs+json", accept="application/vnd.git-lfs+json")
    assert lock.status == 201, lock.body
    answer = api.post(f"{at}/discussions/{num}/merge")
    assert answer.status == 403 and "locked by admin" in answer.headers["x-error-message"]
    assert details(api, at, num)["status"] == "open"


def test_a_broken_card_is_not_merged(hub, api, bob, made, git, tmp):
    name, at = made()
    num = opened(bob, at)
    is_open(bob, at, num)
    work = git.clone(hub.git_url(name, hub.tokens["bob"]), tmp / "work")
    work.commit("README.md", "---\nlicense: [\n---\n")
    work("push", "-q", "origin", f"HEAD:refs/pr/{num}")
    answer = api.post(f"{at}/discussions/{num}/merge")
    assert answer.status == 400 and "README.md" in answer.headers["x-error-message"]


def test_what_is_there_already_is_merged_without_a_commit(hub, api, made):
    name, at = made()
    num = opened(api, at)
    is_open(api, at, num)
    before = tips(api, at)["refs/heads/main"]
    assert api.post(f"{at}/discussions/{num}/merge").json()["mergeCommitId"] == before
    assert tips(api, at)["refs/heads/main"] == before and details(api, at, num)["status"] == "merged"


def test_they_outlive_everything(stopped_hub, git, tmp):
    """A restart, a collection, a backup. A rebuild from manifests has the refs, whose numbers are not given again."""
    hub = stopped_hub().start()
    api, name, at = HubApi(hub.url, hub.admin_token), "admin/lasting", "/api/models/admin/lasting"
    assert api.create(name, private=False).status == 200
    num = opened(api, at)
    assert api.commit(f"models/{name}", file("a.txt", "a"), revision=f"refs/pr/{num}").status == 200
    said, refs = details(api, at, num), tips(api, at)
    hub.run("gc", "--purge", name)
    hub.run("maintain", "--now")
    hub.run("backup", tmp / "backup")
    hub.stop()
    hub.fsck()
    hub.start()
    assert details(api.__class__(hub.url, hub.admin_token), at, num) == said
    other = Hub(tmp / "restored")
    other.run("restore", tmp / "backup")
    other.fsck()
    other.start()
    assert details(HubApi(other.url, hub.admin_token), at, num) == said
    other.stop()
    hub.stop()
    hub.rebuild()
    hub.fsck()
    token = hub.token("admin")
    hub.start()
    api = HubApi(hub.url, token)
    assert tips(api, at) == refs and api.get(f"{at}/discussions").json()["count"] == 0
    assert opened(api, at, "another") == num + 1
    work = git.clone(hub.git_url(name, token), tmp / "work")
    assert "no such pull request" in work.fails("push", "origin", f"+HEAD:refs/pr/{num}")
    hub.run("repo", "delete", name)
    hub.stop()
    hub.fsck()


def test_what_was_said_is_not_lost(stopped_hub):
    """Whatever was answered for is there after `kill -9`, in its order."""
    hub = stopped_hub().start()
    api, name, at = HubApi(hub.url, hub.admin_token), "admin/talk", "/api/models/admin/talk"
    assert api.create(name).status == 200
    said = []
    for round in range(3):
        num = opened(api, at, f"pull {round}")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: api.post(f"{at}/discussions/{num}/comment", {"comment": f"{round} {number}"}), range(10)))
        said += [(num, answer.json()["newMessage"]["id"], answer.json()["newMessage"]["data"]["latest"]["raw"]) for answer in answers]
        hub.kill()
        hub.fsck()
        hub.start()
        api = HubApi(hub.url, hub.admin_token)
        there = {(num, event["id"], event["data"]["latest"]["raw"]) for num in range(1, num + 1) for event in details(api, at, num)["events"]}
        assert {*said} <= there and f"refs/pr/{num}" in tips(api, at)
    hub.stop()
