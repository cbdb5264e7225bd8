"""The same request bodies to `git http-backend` and to the hub.

Compared: advertisements and ref listings, shallow sections, acknowledgments, and the object sets of packs: equal where
there are no haves, otherwise closure(wants) - closure(haves) <= ours <= closure(wants) and a clean fsck at the client, since
git is not equal to itself there.
"""

import pytest

from harness import client, backend, packs, pktline, shapes as shape_module, wire

SHAPES = tuple(shape_module.ALL)
WITH_HISTORY = ("simple", "long-history", "tags", "odd-files", "deep", "wide-tree", "old-defects")

RECENT = tuple(int(number) for number in client.installed()[0][0].split(".")[:2]) >= (2, 45)


class Pair:
    """One repository, in both."""

    def __init__(self, hub, git, bare, path):
        self.hub, self.git, self.bare, self.path = hub, git, bare, path
        self.url = f"{hub.url}/{path}"

    def upload_pack(self, body, version=2):
        """(git's answer, ours), as parsed fetches."""
        theirs = backend.upload_pack(self.git, self.bare.cwd, body, version)
        ours = wire.upload_pack(self.url, body, version)
        assert ours.status == theirs.status == 200, ours.text()[:500]
        return theirs, ours

    def fetch(self, *arguments, **options):
        theirs, ours = self.upload_pack(wire.fetch_body(*arguments, **options))
        return wire.parse_fetch(theirs.body), wire.parse_fetch(ours.body)

    def contents(self, fetched, base=None):
        return packs.contents(self.git, fetched.pack, base)

    def tips(self):
        return sorted(set(self.bare.refs().values()))


@pytest.fixture(scope="module")
def pairs(server, newest_git, shapes, run_directory):
    """Imports a shape once."""
    git, made = newest_git, {}

    def pair(name):
        if name not in made:
            bare = git.clone(shapes.bare(name).cwd, run_directory / "differential" / f"{name}.git", "--mirror")
            if name == "unborn-head":
                bare("symbolic-ref", "HEAD", "refs/heads/main")
            backend.configure(bare)
            path = f"admin/differential-{name}-{next(server.names)}"
            server.run("repo", "import", bare.cwd, path, "--public")
            made[name] = Pair(server, git, bare, path)
        return made[name]

    return pair


# -- refs ---------------------------------------------------------------------------------------------------------


LISTINGS = [
    (), ("peel",), ("symrefs",), ("peel", "symrefs"), ("peel", "symrefs", "unborn"), ("unborn",), ("ref-prefix refs/heads/",),
    ("peel", "symrefs", "unborn", "ref-prefix refs/heads/", "ref-prefix refs/tags/", "ref-prefix HEAD"), ("ref-prefix HEAD", "symrefs"),
    ("ref-prefix refs/heads/main",), ("ref-prefix refs/heads/ma", "ref-prefix refs/heads/main"), ("ref-prefix no-such",), ("ref-prefix refs/tags/o", "peel"),
    ("ref-prefix ",), ("ref-prefix refs/",),
]


@pytest.mark.parametrize("arguments", LISTINGS, ids=",".join)
@pytest.mark.parametrize("shape", SHAPES)
def test_ls_refs(hub, pairs, shape, arguments):
    pair = pairs(shape)
    theirs, ours = pair.upload_pack(wire.ls_refs_body(*arguments))
    assert ours.body == theirs.body


@pytest.mark.parametrize("version", [None, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_advertisements(hub, pairs, shape, version):
    pair = pairs(shape)
    for service in ("git-upload-pack", "git-receive-pack"):
        theirs = backend.advertisement(pair.git, pair.bare.cwd, service, version)
        ours = wire.advertisement(pair.url, service, version, token=hub.tokens["admin"])
        their_refs, their_capabilities, their_service = wire.parse_advertisement(theirs.body)
        our_refs, our_capabilities, our_service = wire.parse_advertisement(ours.body)
        assert list(our_refs.items()) == list(their_refs.items())
        assert our_service == their_service
        ignored = ("agent=", "session-id=", "allow-", "push-cert", "filter", "push-options")
        missing = {item for item in set(their_capabilities) - set(our_capabilities) if not item.startswith(ignored)}
        assert not missing
        assert ours.headers["content-type"] == theirs.headers["content-type"]
        for name in ("cache-control", "pragma", "expires"):
            assert ours.headers[name] == theirs.headers[name]


def test_v2_capabilities(hub, pairs):
    pair = pairs("simple")
    theirs = [row for row in backend.advertisement(pair.git, pair.bare.cwd, version=2).body.split(b"\n")]
    ours = wire.advertisement(pair.url, version=2)
    names = {packet.split(b"=")[0].strip() for packet in ours.packets() if packet}
    assert {b"version 2", b"agent", b"ls-refs", b"fetch", b"server-option", b"object-format"} <= names
    assert any(b"ls-refs=unborn" in row for row in theirs)
    fetch = next(packet for packet in ours.packets() if packet and packet.startswith(b"fetch="))
    assert {b"shallow", b"wait-for-done", b"filter", b"ref-in-want"} <= set(fetch.strip()[6:].split())


# -- no haves: equal ----------------------------------------------------------------------------------------------


ARGUMENTS = [
    ("ofs-delta",), (), ("thin-pack", "include-tag", "ofs-delta"), ("no-progress", "ofs-delta"), ("deepen 1",), ("deepen 2", "include-tag"), ("deepen 3",),
    ("deepen 2147483647",), ("filter blob:none",), ("filter tree:0",), ("filter tree:1",), ("filter tree:2",), ("filter blob:limit=0",), ("filter blob:limit=30",),
    ("filter object:type=commit",), ("filter object:type=tree",), ("filter object:type=blob",), ("filter object:type=tag",), ("filter combine:blob:none+tree:3",),
    ("filter combine:blob:limit=20+object:type=blob",), ("deepen 1", "filter blob:none"), ("deepen 2", "filter tree:1"),
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=",".join)
@pytest.mark.parametrize("shape", WITH_HISTORY)
def test_clone_of_everything(hub, pairs, shape, arguments):
    pair = pairs(shape)
    theirs, ours = pair.fetch(*arguments, wants=pair.tips())
    if shape == "tags" and any("tree:1" in argument for argument in arguments):
        # A tree that is wanted by itself and is a commit's root too: by itself its entries have depth 0, below the commit
        # depth 1. git sends what it meets first; we what either allows.
        separately = [pair.fetch(*arguments, wants=[tip])[0] for tip in pair.tips()]
        assert pair.contents(theirs) <= pair.contents(ours) <= set().union(*map(pair.contents, separately))
        return
    same_answer(pair, theirs, ours)


@pytest.mark.parametrize("arguments", [("ofs-delta", "include-tag"), ("deepen 1", "include-tag"), ("filter blob:none", "include-tag")], ids=",".join)
@pytest.mark.parametrize("shape", WITH_HISTORY)
def test_clone_of_each_tip(hub, pairs, shape, arguments):
    pair = pairs(shape)
    for tip in pair.tips()[:12]:
        same_answer(pair, *pair.fetch(*arguments, wants=[tip]))


def same_answer(pair, theirs, ours):
    assert ours.error == theirs.error
    assert ours.shallow_info == sorted(set(theirs.shallow_info)), "git repeats a boundary that several wants share"
    assert sorted(ours.acknowledgments) == sorted(theirs.acknowledgments)
    assert list(ours.sections) == list(theirs.sections), "the same sections in the same order"
    if theirs.pack:
        assert pair.contents(ours) == pair.contents(theirs)


@pytest.mark.parametrize("shape", ["simple", "long-history"])
def test_depths_by_time_and_by_exclusion(hub, pairs, shape):
    pair = pairs(shape)
    times = sorted(int(row) for row in pair.bare("log", "--all", "--format=%ct").split())
    ids = pair.bare("rev-list", "--all").split()
    for position in (0, len(times) // 3, len(times) // 2, len(times) - 2):
        same_answer(pair, *pair.fetch(f"deepen-since {times[position]}", wants=pair.tips()))
    branches = [name for name in pair.bare.refs() if name.startswith("refs/heads/")]
    for branch in branches[:4]:
        same_answer(pair, *pair.fetch(f"deepen-not {branch}", wants=pair.tips()))
    for count in (1, 2, 5):
        shallow = pair.bare("rev-list", f"--skip={len(ids) // 2}", "-n1", "main")
        same_answer(pair, *pair.fetch(f"shallow {shallow}", f"deepen {count}", wants=pair.tips()))
        same_answer(pair, *pair.fetch(f"shallow {shallow}", "deepen-relative", f"deepen {count}", wants=pair.tips()))


def test_objects_of_every_kind_by_id(hub, pairs):
    pair = pairs("odd-files")
    for wanted in ("main", "main^{tree}", "main:README.md", "main:dir.with.dots"):
        oid = pair.bare("rev-parse", wanted)
        same_answer(pair, *pair.fetch("ofs-delta", wants=[oid]))
        same_answer(pair, *pair.fetch("filter tree:0", wants=[oid]))
        same_answer(pair, *pair.fetch("filter blob:none", wants=[oid]))


def test_many_refs(hub, pairs):
    pair = pairs("many-refs")
    same_answer(pair, *pair.fetch("ofs-delta", "include-tag", wants=pair.tips()))
    same_answer(pair, *pair.fetch("deepen 1", wants=pair.tips()))


def test_want_refs(hub, pairs):
    pair = pairs("simple")
    theirs, ours = pair.fetch("want-ref refs/heads/main", "want-ref refs/heads/topic")
    assert sorted(ours.sections["wanted-refs"]) == sorted(theirs.sections["wanted-refs"])
    same_answer(pair, theirs, ours)


# -- haves --------------------------------------------------------------------------------------------------------


def have_choices(pair):
    ids = pair.bare("rev-list", "--date-order", "--all").split()
    count = len(ids)
    picks = {position % count for position in (0, 1, 2, count // 4, count // 2, count - 2, count - 1)}
    singles = [[ids[position]] for position in sorted(picks)]
    several = [[ids[count // 2], ids[count // 3]], ids[count // 2 :: max(1, count // 40)][:16]]
    return singles + several


@pytest.mark.parametrize("arguments", [("ofs-delta",), ("thin-pack", "ofs-delta"), ("thin-pack", "include-tag", "no-progress")], ids=",".join)
@pytest.mark.parametrize("shape", ["simple", "long-history", "tags", "wide-tree"])
def test_incremental(hub, pairs, git, tmp, shape, arguments):
    pair = pairs(shape)
    everything = pair.bare.objects(*pair.tips())
    for number, haves in enumerate(have_choices(pair)):
        theirs, ours = pair.fetch(*arguments, wants=pair.tips(), haves=haves)
        assert not ours.error and list(ours.sections) == list(theirs.sections)
        client = client_with(pair, git, tmp / f"client{number}", haves)
        sent = pair.contents(ours, client.cwd)
        had = client.objects("--all")
        assert everything - had <= sent <= everything
        client.run("index-pack", "--stdin", "--fix-thin", input=ours.pack)
        for position, tip in enumerate(pair.tips()):
            client("update-ref", f"refs/tips/{position}", tip)
        client.fsck()


def client_with(pair, git, path, haves):
    """A repository that holds exactly what `haves` reach."""
    client = git.init(path, "--bare")
    data = pair.bare.run("pack-objects", "--revs", "--stdout", "-q", input="\n".join(haves) + "\n").stdout
    client.run("index-pack", "--stdin", input=data)
    for number, have in enumerate(haves):
        client("update-ref", f"refs/haves/{number}", have)
    return client


@pytest.mark.parametrize("shape", ["simple", "long-history"])
def test_negotiation_rounds(hub, pairs, shape):
    """Acknowledgments without `done`: the same commons, and ready no later than git, which cuts its search short by dates."""
    pair = pairs(shape)
    unknown = ["%040x" % n for n in range(1, 20)]
    for haves in [unknown, *have_choices(pair), unknown + have_choices(pair)[2]]:
        theirs, ours = pair.fetch("ofs-delta", wants=pair.tips(), haves=haves, done=False)
        ours_common, theirs_common = commons(ours.acknowledgments), commons(theirs.acknowledgments)
        # Older gits also acknowledge what is common only by what was acknowledged before.
        assert ours_common == theirs_common if RECENT else set(ours_common) <= set(theirs_common)
        assert ("ready" in ours.acknowledgments) == bool(ours.pack)
        assert ours.pack or not theirs.pack
        theirs, ours = pair.fetch("ofs-delta", "wait-for-done", wants=pair.tips(), haves=haves, done=False)
        if RECENT:
            assert sorted(ours.acknowledgments) == sorted(theirs.acknowledgments)
        assert not ours.pack and not theirs.pack


def commons(lines):
    return sorted({line for line in lines if line != "ready"})


CAPABILITIES_V0 = [
    ("multi_ack_detailed", "no-done", "side-band-64k", "thin-pack", "ofs-delta"), ("multi_ack_detailed", "side-band-64k", "ofs-delta"),
    ("multi_ack", "side-band-64k", "ofs-delta"), ("multi_ack", "side-band"), ("side-band-64k",), ("ofs-delta",), (),
]


@pytest.mark.parametrize("capabilities", CAPABILITIES_V0, ids=",".join)
@pytest.mark.parametrize("done", [True, False])
def test_version_0_negotiation(hub, pairs, capabilities, done):
    pair = pairs("simple")
    unknown = ["%040x" % n for n in range(1, 20)]
    for haves in [[], unknown, *have_choices(pair), have_choices(pair)[1] + unknown]:
        body = wire.want_body_v0(pair.tips(), (*capabilities, wire.AGENT), haves, done=done)
        theirs, ours = pair.upload_pack(body, version=None)
        split = [split_v0(answer.body, capabilities) for answer in (theirs, ours)]
        detailed = "multi_ack_detailed" in capabilities
        if detailed and any(b"ready" in line for line in split[1][0]):  # perhaps earlier than git
            acknowledged = [{line.split()[1] for line in lines if line.startswith(b"ACK")} for lines, _ in split]
            assert acknowledged[1] == acknowledged[0]
        else:
            assert split[1][0] == split[0][0], "the same ACK and NAK lines"
        assert split[1][1] or not split[0][1]
        if split[0][1] and not haves:
            assert packs.contents(pair.git, split[1][1]) == packs.contents(pair.git, split[0][1])


def split_v0(body, capabilities):
    """(lines before the pack, the pack)."""
    lines, position = [], 0
    while position < len(body) and body[position : position + 4] != b"PACK":
        length = int(body[position : position + 4], 16)
        payload = body[position + 4 : position + max(length, 4)]
        if payload[:1] in (b"\1", b"\2", b"\3"):
            pack, _, error = pktline.parse_bands(pktline.decode(body[position:]))
            assert not error
            return lines, pack
        lines.append(payload)
        position += max(length, 4)
    return lines, body[position:]


@pytest.mark.parametrize("extra", [("deepen 1",), ("deepen 3",), ("deepen-since 1600000600",), ("filter blob:none",), ("deepen 2", "filter tree:1")], ids=",".join)
def test_version_0_shallow_and_filters(hub, pairs, extra):
    pair = pairs("simple")
    capabilities = ("multi_ack_detailed", "side-band-64k", "ofs-delta", "filter", "deepen-since", wire.AGENT)
    theirs, ours = pair.upload_pack(wire.want_body_v0(pair.tips(), capabilities, extra=extra), version=None)
    (their_lines, their_pack), (our_lines, our_pack) = (split_v0(answer.body, capabilities) for answer in (theirs, ours))
    assert sorted(our_lines) == sorted(their_lines)
    assert packs.contents(pair.git, our_pack) == packs.contents(pair.git, their_pack)


# -- pushes -------------------------------------------------------------------------------------------------------


def test_pushes_are_judged_alike(hub, git, tmp, repo, alice):
    """Good and bad packs: where git accepts, so do we; where git's fsck refuses, so do we."""
    tip, good = packs.single_commit()
    other, _ = packs.single_commit(content=b"other\n")
    cases = {
        "good": (tip, good, True), "truncated": (tip, good[:-5], False), "flipped": (tip, good[:30] + b"\0" + good[31:], False),
        "tip missing": (other, good, False), "empty": (tip, packs.pack(), False),
        "missing tree": (tip, packs.pack(packs.entry("commit", packs.commit(packs.oid("tree", b"")))), False),
    }
    for name, (new, pack, accepted) in cases.items():
        bare = git.init(tmp / f"{name.replace(' ', '-')}.git", "--bare")
        for key, value in {**backend.CONFIG, "receive.fsckObjects": "true"}.items():
            bare("config", key, value)
        body = wire.push_body([(wire.ZERO, new, "refs/heads/main")], pack)
        headers = {"Content-Type": "application/x-git-receive-pack-request"}
        theirs = wire.parse_push(backend.http(git, bare.cwd, "/git-receive-pack", body, headers=headers).body)
        ours = wire.parse_push(wire.receive_pack(f"{hub.url}/{repo()}", body, token=alice).body)
        assert theirs.ok == ours.ok == accepted, (name, theirs, ours)


def test_answers_do_not_depend_on_how_objects_are_stored(hub, pairs, git, tmp, alice, repo):
    """The same clone from forty small packs, after compaction, and after a collection."""
    pair = pairs("simple")
    path = repo(public=True)
    for oid in pair.bare("rev-list", "--reverse", "main").split():
        pair.bare("push", "-q", hub.git_url(path, alice), f"{oid}:refs/heads/main")
    wants = [pair.bare("rev-parse", "main")]
    expected = pair.bare.objects(*wants)

    def answers():
        for arguments in ((), ("ofs-delta",), ("deepen 2",), ("filter blob:none",)):
            ours = wire.parse_fetch(wire.upload_pack(f"{hub.url}/{path}", wire.fetch_body(*arguments, wants=wants)).body)
            theirs = wire.parse_fetch(backend.upload_pack(git, pair.bare.cwd, wire.fetch_body(*arguments, wants=wants)).body)
            assert ours.shallow_info == theirs.shallow_info
            yield packs.contents(git, ours.pack), packs.contents(git, theirs.pack)

    for command in (None, ("maintain", "--now"), ("gc", "--purge", path)):
        if command:
            hub.run(*command)
        for ours, theirs in answers():
            assert ours == theirs
        assert next(iter(answers()))[0] == expected
