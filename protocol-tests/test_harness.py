"""The harness is checked against real git before it judges anything: a wrong oracle proves nothing."""

import pytest

from harness import backend, packs, shapes as shape_module, wire


@pytest.mark.parametrize("name", shape_module.ALL)
def test_shapes_are_sound(shapes, name):
    bare = shapes.bare(name)
    if name == "old-defects":  # that is what it is for
        assert "zeroPaddedFilemode" in bare.run("fsck", "--full", check=False).stderr.decode()
        bare.objects("--all")
        return
    bare("fsck", "--full", "--no-progress")
    assert name == "empty" or bare.objects("--all")


def test_packs_made_by_hand_are_read_by_git(git):
    commit, data = packs.single_commit()
    base = b"0123456789" * 10
    target = base[:50] + b"inserted" + base[50:]
    blob = packs.oid("blob", base)
    tampered = packs.pack(
        packs.entry("blob", base), packs.ref_delta(blob, packs.delta(100, 108, (0, 50), b"inserted", (50, 50))))
    assert commit in packs.contents(git, data)
    assert packs.contents(git, tampered) == {blob, packs.oid("blob", target)}


def test_backend_answers_a_clone(git, shapes, tmp):
    bare = git.clone(shapes.bare("simple").cwd, tmp / "copy.git", "--bare")
    backend.configure(bare)
    listing = backend.upload_pack(git, bare.cwd, wire.ls_refs_body("peel", "symrefs"))
    assert b"HEAD symref-target:refs/heads/main\n" in listing.body
    tips = sorted(set(bare.refs().values()))
    fetched = wire.parse_fetch(backend.upload_pack(git, bare.cwd, wire.fetch_body("ofs-delta", wants=tips)).body)
    assert not fetched.error
    assert packs.contents(git, fetched.pack) == bare.objects("--all")


def test_push_report_is_understood(git, tmp):
    bare = git.init(tmp / "repo.git", "--bare")
    backend.configure(bare)
    commit, data = packs.single_commit()
    body = wire.push_body([(wire.ZERO, commit, "refs/heads/main"), (commit, commit, "refs/heads/none")], data)
    answer = backend.http(
        git, bare.cwd, "/git-receive-pack", body, headers={"Content-Type": "application/x-git-receive-pack-request"})
    pushed = wire.parse_push(answer.body)
    assert pushed.unpack == "ok"
    assert pushed.refs["refs/heads/main"] == "ok"
    assert pushed.refs["refs/heads/none"] != "ok"
