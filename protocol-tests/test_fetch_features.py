"""Fetch as real git does it: every protocol version, shallow and partial clones, negotiation, ls-remote."""

import pytest

from harness import packs, wire
from harness.client import text

VERSIONS = (0, 1, 2)


@pytest.fixture(scope="module")
def published(server, shapes, run_directory):
    """Imports a shape once into a public repository of the admin's; returns (path, bare source)."""
    done = {}

    def publish(name):
        if name not in done:
            bare = shapes.bare(name)
            path = f"admin/shape-{name}-{next(server.names)}"
            server.run("repo", "import", bare.cwd, path, "--public")
            done[name] = (path, bare)
        return done[name]

    return publish


def versioned(git, version):
    return git.with_config(f"protocol.version={version}")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", ["simple", "tags", "odd-files", "deep", "unborn-head", "old-defects"])
@pytest.mark.shows("protocol v0, v1, v2")
def test_clone(hub, any_git, tmp, published, shape, version):
    path, bare = published(shape)
    copy = versioned(any_git, version).clone(hub.git_url(path), tmp / "copy", "--mirror")
    assert copy.refs() == bare.refs()
    assert copy.all_objects() == bare.objects("--all"), "exactly the closure"
    if shape != "old-defects":
        copy.fsck()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_asked_for_is_spoken(hub, git, published, version):
    path, _ = published("simple")
    traced = versioned(git, version).at(git.cwd, GIT_TRACE_PACKET="1").run("ls-remote", hub.git_url(path))
    assert ("< version 2" in text(traced.stderr)) == (version == 2)
    assert ("< version 1" in text(traced.stderr)) == (version == 1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", ["simple", "tags", "unborn-head"])
@pytest.mark.shows("ls-remote")
def test_ls_remote(hub, any_git, published, shape, version):
    path, bare = published(shape)
    local = any_git("ls-remote", bare.cwd)
    user = versioned(any_git, version)
    assert user("ls-remote", hub.git_url(path)) == local
    for options in (["--heads"], ["--tags"], ["--refs"]):
        assert user("ls-remote", *options, hub.git_url(path)) == any_git("ls-remote", *options, bare.cwd)


def test_ls_remote_symref(hub, any_git, published):
    path, _ = published("simple")
    assert "ref: refs/heads/main\tHEAD" in any_git("ls-remote", "--symref", hub.git_url(path))


@pytest.mark.parametrize("version", VERSIONS)
def test_server_options_are_accepted(hub, any_git, tmp, published, version):
    path, _ = published("simple")
    if version == 2:
        any_git.clone(hub.git_url(path), tmp / "copy", "--server-option=a", "--server-option=b=c")


# -- shallow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("depth", [1, 2, 7, 1000])
@pytest.mark.shows("shallow clone")
def test_depth(hub, any_git, tmp, published, version, depth):
    path, bare = published("long-history")
    user = versioned(any_git, version)
    ours = user.clone(hub.git_url(path), tmp / "ours", f"--depth={depth}", "--bare", "--no-single-branch")
    theirs = user.clone(f"file://{bare.cwd}", tmp / "theirs", f"--depth={depth}", "--bare", "--no-single-branch")
    same_shallow(ours, theirs)


def same_shallow(ours, theirs):
    def boundary(repository):
        directory = repository.cwd / repository("rev-parse", "--git-dir")
        file = directory / "shallow"
        return sorted(file.read_text().split()) if file.exists() else []

    assert boundary(ours) == boundary(theirs)
    assert ours.objects("--all") == theirs.objects("--all")
    ours.fsck()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.shows("deepen, unshallow")
def test_deepen_and_unshallow(hub, any_git, tmp, published, version):
    path, bare = published("long-history")
    user = versioned(any_git, version)
    pair = [user.clone(url, tmp / name, "--depth=1") for name, url in
            (("ours", hub.git_url(path)), ("theirs", f"file://{bare.cwd}"))]
    for step in (["--depth=5"], ["--deepen=3"], ["--depth=2"], ["--shallow-since=2020-09-14T03:00:00Z"], ["--unshallow"]):
        for repository in pair:
            repository("fetch", "-q", *step)
        same_shallow(*pair)
    assert pair[0]("rev-parse", "--is-shallow-repository") == "false"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.shows("shallow-since, shallow-exclude")
def test_since_and_exclude(hub, any_git, tmp, published, version):
    path, bare = published("long-history")
    user = versioned(any_git, version)
    middle = bare("log", "-1", "--skip=500", "--format=%ct", "main")
    for number, options in enumerate((
        [f"--shallow-since=@{middle}"], ["--shallow-exclude=side0"], ["--shallow-exclude=side1", "--shallow-exclude=side2"],
    )):
        ours = user.clone(hub.git_url(path), tmp / f"ours{number}", "--bare", *options)
        theirs = user.clone(f"file://{bare.cwd}", tmp / f"theirs{number}", "--bare", *options)
        same_shallow(ours, theirs)


def test_since_after_everything(hub, any_git, tmp, published):
    path, _ = published("simple")
    ours = any_git.fails("clone", "--bare", "--shallow-since=@4000000000", hub.git_url(path), tmp / "a")
    assert "no commits selected for shallow requests" in ours


def test_fetch_into_a_shallow_clone(hub, any_git, tmp, pushed, alice):
    path, work = pushed
    shallow = any_git.clone(hub.git_url(path, alice), tmp / "shallow", "--depth=1")
    for number in range(3):
        work.commit("file", f"later {number}\n")
    work("push", "-q", "origin", "main")
    shallow("pull", "-q", "--ff-only")
    assert shallow("rev-list", "--count", "HEAD") == "4", "the boundary stays"
    shallow.fsck()


@pytest.mark.shows("push from a shallow clone")
def test_push_from_a_shallow_clone(hub, any_git, tmp, pushed, alice):
    path, _ = pushed
    shallow = any_git.clone(hub.git_url(path, alice), tmp / "shallow", "--depth=1")
    tip = shallow.commit("more", "from a shallow clone\n")
    shallow("push", "-q", "origin", "main")
    full = any_git.clone(hub.git_url(path, alice), tmp / "full")
    assert full("rev-parse", "HEAD") == tip and full("rev-list", "--count", "HEAD") == "4"
    full.fsck()


# -- partial ------------------------------------------------------------------------------------------------------


FILTERS = ["blob:none", "blob:limit=100", "blob:limit=1k", "tree:0", "tree:1", "tree:3", "object:type=commit",
           "object:type=tree", "object:type=blob", "object:type=tag", "combine:blob:none+tree:2"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("spec", FILTERS)
@pytest.mark.shows("partial clone")
def test_filter(hub, any_git, tmp, published, version, spec):
    path, bare = published("odd-files")
    allowed = any_git.clone(bare.cwd, tmp / "allowed.git", "--mirror")
    allowed("config", "uploadpack.allowFilter", "true")
    pair = {}
    for name, url in (("ours", hub.git_url(path)), ("theirs", f"file://{allowed.cwd}")):
        pair[name] = versioned(any_git, version).clone(url, tmp / name, "--bare", f"--filter={spec}")
    assert pair["ours"].all_objects() == pair["theirs"].all_objects()


def test_partial_clone_fetches_what_it_needs(hub, any_git, tmp, published):
    path, bare = published("simple")
    copy = any_git.clone(hub.git_url(path), tmp / "copy", "--filter=blob:none")
    assert (tmp / "copy/README.md").read_text() == bare("show", "main:README.md") + "\n"
    copy("log", "-p", "--all", seconds=300)
    copy("checkout", "-q", "HEAD~7")
    copy("fsck", "--no-progress")

    treeless = any_git.clone(hub.git_url(path), tmp / "treeless", "--filter=tree:0", "--no-checkout")
    treeless("checkout", "-q", "main", seconds=300)
    assert treeless("status", "--porcelain") == ""


def test_partial_and_shallow_together(hub, any_git, tmp, published):
    path, _ = published("long-history")
    copy = any_git.clone(hub.git_url(path), tmp / "copy", "--filter=blob:none", "--depth=3")
    copy("fetch", "-q", "--deepen=10")
    copy("checkout", "-q", "HEAD~2")


def test_refused_filters(hub, git, published):
    path, bare = published("simple")
    tip = bare("rev-parse", "main")
    for spec, words in (("sparse:oid=main:x", "not supported"), ("no:such", "invalid filter-spec 'no:such'"),
                        ("tree:-1", "tree"), ("blob:limit=", "filter"), ("combine:", "combine:")):
        fetched = wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body(f"filter {spec}", wants=[tip])).body)
        assert words in fetched.error, (spec, fetched.error)


# -- negotiation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.shows("fetch")
def test_incremental_fetch_sends_what_is_new(hub, any_git, tmp, pushed, alice, version):
    path, work = pushed
    copy = versioned(any_git, version).clone(hub.git_url(path, alice), tmp / "copy")
    for number in range(5):
        work.commit(f"new{number}", "new\n")
        work("push", "-q", "origin", "main")
        fetched = copy.at(copy.cwd, GIT_TRACE_PACKET="1").run("fetch", "origin", "--progress")
        assert "Total 3" in text(fetched.stderr) or "(3/3)" in text(fetched.stderr), text(fetched.stderr)[-2000:]
    assert copy("rev-parse", "origin/main") == work("rev-parse", "main")
    copy.fsck()


@pytest.mark.parametrize("algorithm", ["consecutive", "skipping", "noop"])
@pytest.mark.parametrize("version", VERSIONS)
def test_many_haves(hub, any_git, tmp, published, version, algorithm):
    """A client with thousands of commits of its own: several rounds until a common one is found."""
    path, bare = published("long-history")
    user = versioned(any_git, version).with_config(f"fetch.negotiationAlgorithm={algorithm}")
    copy = user.clone(hub.git_url(path), tmp / "copy", "--single-branch")
    copy("reset", "-q", "--hard", "HEAD~40")
    stream = "".join(
        f"commit refs/heads/local\ncommitter A <a@b> {1700000000 + n} +0000\ndata 1\nx\n"
        + ("from refs/heads/main^0\n" if n == 0 else "") + f"M 100644 inline f\ndata {len(str(n))}\n{n}\n\n" for n in range(600))
    copy("fast-import", "--quiet", "--date-format=raw", input=stream)
    copy("update-ref", "-d", "refs/remotes/origin/main")
    copy("fetch", "-q", "origin", "refs/heads/*:refs/remotes/all/*")
    assert copy("rev-parse", "all/main") == bare("rev-parse", "main")
    copy.fsck()


def test_negotiate_only(hub, any_git, tmp, published):
    path, bare = published("simple")
    copy = any_git.clone(hub.git_url(path), tmp / "copy")
    copy.commit("mine", "mine\n")
    common = copy("fetch", "--negotiate-only", "--negotiation-tip=HEAD", "origin")
    assert common == bare("rev-parse", "main")


@pytest.mark.shows("fetch by object id")
def test_fetch_by_id(hub, any_git, tmp, published):
    path, bare = published("simple")
    middle = bare("rev-parse", "main~5")
    copy = any_git.init(tmp / "copy")
    copy("fetch", "-q", "--depth=1", hub.git_url(path), middle)
    assert copy("rev-parse", "FETCH_HEAD") == middle
    blob = bare("rev-parse", "main:README.md")
    fetched = wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body(wants=[blob])).body)
    assert packs.contents(any_git, fetched.pack) == {blob}


def test_tags_follow(hub, any_git, tmp, published):
    path, bare = published("tags")
    copy = any_git.clone(hub.git_url(path), tmp / "copy", "--single-branch")
    assert {"inner", "middle", "outer"} <= set(copy("tag").split())
    none = any_git.clone(hub.git_url(path), tmp / "none", "--single-branch", "--no-tags")
    assert none("tag") == ""
    none("fetch", "-q", "--tags")
    assert set(none("tag").split()) == {name.removeprefix("refs/tags/") for name in bare.refs() if name.startswith("refs/tags/")}
    none.fsck()


def test_want_ref(hub, published):
    path, bare = published("simple")
    fetched = wire.parse_fetch(
        wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body("want-ref refs/heads/main", wants=[])).body)
    assert fetched.sections["wanted-refs"] == [f"{bare('rev-parse', 'main')} refs/heads/main"]
    assert fetched.pack.startswith(b"PACK")
    unknown = wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body("want-ref refs/heads/no", wants=[])).body)
    assert "unknown ref refs/heads/no" in unknown.error


def test_progress_and_quiet(hub, any_git, tmp, published):
    path, _ = published("simple")
    shown = text(any_git.run("clone", "--progress", hub.git_url(path), tmp / "loud").stderr)
    assert "remote: " in shown
    quiet = text(any_git.run("clone", "-q", hub.git_url(path), tmp / "quiet").stderr)
    assert quiet == ""


# -- many refs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_100k_refs(hub, git, tmp, published, version):
    path, bare = published("many-refs")
    user = versioned(git, version)
    local = bare.refs()
    assert len(local) > 100_000
    ours = user.refs(hub.git_url(path))
    ours.pop("HEAD")
    assert ours == local
    one = user.clone(hub.git_url(path), tmp / "copy", "--single-branch", "--no-tags")
    assert one("rev-parse", "HEAD") == local["refs/heads/main"]


def test_prefixes_narrow_the_listing(hub, published):
    path, _ = published("many-refs")
    body = wire.ls_refs_body("ref-prefix refs/heads/", "ref-prefix refs/tags/r/07/")
    answer = wire.upload_pack(f"{hub.url}/{path}", body)
    names = [row.split()[1] for row in answer.packets() if row]
    assert len(names) == 1001 and names[0] == b"refs/heads/main"


def test_pull_request_refs_are_hidden_unless_asked_for(hub, git, tmp, published, shapes):
    bare = git.clone(shapes.bare("simple").cwd, tmp / "with-pr.git", "--mirror")
    bare("update-ref", "refs/pr/1", "main")
    path = hub.repo(f"admin/pr{next(hub.names)}", "--mirror", public=True)
    bare("push", "-q", "--mirror", hub.git_url(path, hub.tokens["admin"]))
    url = hub.git_url(path)
    listing = wire.upload_pack(f"{hub.url}/{path}", wire.ls_refs_body()).body
    assert b"refs/pr/" not in listing
    for prefix in ("refs/", "refs/pr", "refs/pr/", "refs/pr/1"):
        assert b"refs/pr/1" in wire.upload_pack(f"{hub.url}/{path}", wire.ls_refs_body(f"ref-prefix {prefix}")).body
    for version in (None, 1):
        assert b"refs/pr/" not in wire.advertisement(f"{hub.url}/{path}", version=version).body
    work = git.clone(url, tmp / "work")
    work("fetch", "-q", "origin", "refs/pr/1:refs/pr/1")
    assert work("rev-parse", "refs/pr/1") == bare("rev-parse", "main")
    assert git.clone(url, tmp / "mirror.git", "--mirror").refs() == bare.refs()


# -- answers that were given before --------------------------------------------------------------------------------


def test_an_answer_given_before_is_never_stale(hub, git, pushed, alice):
    """The same request again after something it depends on has changed."""
    path, work = pushed
    tip = work("rev-parse", "HEAD")
    body = wire.fetch_body("include-tag", "ofs-delta", "no-progress", wants=[tip])

    def contents():
        fetched = wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", body, token=alice).body)
        assert not fetched.error
        return packs.contents(git, fetched.pack)

    before = contents()
    assert contents() == before == work.objects(tip)
    work("tag", "-a", "-m", "annotated", "v1", tip)
    work("push", "-q", "origin", "v1")
    tagged = contents()
    assert tagged == before | {work("rev-parse", "v1")}, "a tag on what is sent comes along"
    hub.run("maintain", "--now")
    assert contents() == tagged
    work("push", "-q", "origin", ":v1")
    assert contents() == before
    hub.run("gc", "--purge", path)
    assert contents() == before


def test_a_name_used_again_is_another_repository(hub, git, pushed, alice):
    path, work = pushed
    tip = work("rev-parse", "HEAD")
    body = wire.fetch_body(wants=[tip])
    assert wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", body, token=alice).body).pack
    hub.run("repo", "delete", path)
    hub.repo(path)
    fetched = wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", body, token=alice).body)
    assert f"not our ref {tip}" in fetched.error and not fetched.pack


def test_a_hidden_repository_stays_hidden_however_often_it_was_read(hub, pushed, alice):
    path, work = pushed
    body = wire.fetch_body(wants=[work("rev-parse", "HEAD")])
    for _ in range(3):
        assert wire.upload_pack(f"{hub.url}/{path}", body, token=alice).status == 200
    assert wire.upload_pack(f"{hub.url}/{path}", body).status == 401
    assert wire.upload_pack(f"{hub.url}/{path}", body, token=hub.tokens["bob"]).status == 404
