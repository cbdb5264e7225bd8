"""The Hub's own clients, unmodified, with nothing set but HF_ENDPOINT and a token."""

import pytest

from harness import lfs
from harness.hf import Hf
from harness.lfs import content


@pytest.fixture
def hf(hub, alice, tmp):
    return Hf(hub.url, alice, tmp / "hf-home")


@pytest.fixture
def named(hub):
    return lambda: f"alice/c{next(hub.names)}"


@pytest.mark.covers("hub.create", "hub.preupload", "hub.commit", "hub.resolve")
def test_upload_and_download(hub, hf, named, git, tmp, alice):
    """What `hf upload` writes every other door sees, and the reverse."""
    name = named()
    folder = tmp / "folder"
    files = {"config.json": b'{"model_type": "bert"}', "README.md": b"---\nlicense: mit\n---\n# Hi\n", "model.safetensors": content(3 << 20, name),
             "sub/notes.txt": "déjà\n".encode(), "empty.bin": b""}
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    done = hf.run("upload", name, folder, ".", "--commit-message", "by hf")
    assert f"{hub.url}/{name}" in done.stdout, done.stdout
    hf.run("download", name, "--local-dir", tmp / "back")
    for path, data in files.items():
        assert (tmp / "back" / path).read_bytes() == data, path
    clone = lfs.CLIENTS[0].of(git, hub.url).clone(hub.git_url(name, alice), tmp / "clone")
    for path, data in files.items():
        assert (clone.cwd / path).read_bytes() == data, path
    clone("lfs", "fsck")
    clone.commit("by-git.txt", "from git\n")
    clone("push", "-q", "origin", "HEAD:main")
    told = hf.python("tell([open(hf_hub_download(sys.argv[1], 'by-git.txt')).read(), api.list_repo_files(sys.argv[1])])", name)
    assert told[0] == "from git\n" and set(told[1]) == {*files, "by-git.txt", ".gitattributes"}


@pytest.mark.covers("hub.whoami", "hub.create", "hub.commit", "hub.commits", "hub.branch.create", "hub.tag.create", "hub.refs", "hub.info", "hub.paths-info", "hub.settings")
def test_the_api_of_python(hub, hf, named):
    told = hf.python("""
name = sys.argv[1]
url = api.create_repo(name, private=True)
again = api.create_repo(name, exist_ok=True)
info = api.upload_file(path_or_fileobj=b"one", path_in_repo="a.txt", repo_id=name)
api.create_commit(name, operations=[CommitOperationAdd("b/c.txt", b"two"), CommitOperationAdd("x.bin", b"\\0" * 5000)], commit_message="two")
api.create_commit(name, operations=[CommitOperationCopy("x.bin", "copy.bin"), CommitOperationDelete("b/")], commit_message="copy")
api.create_branch(name, branch="dev")
api.create_tag(name, tag="v1", tag_message="first")
refs = api.list_repo_refs(name)
model = api.model_info(name, files_metadata=True)
paths = api.get_paths_info(name, ["copy.bin", "nope"])
commits = [commit.title for commit in api.list_repo_commits(name)]
api.update_repo_settings(name, private=False)
exists = [api.repo_exists(name), api.file_exists(name, "a.txt"), api.file_exists(name, "zzz"), api.revision_exists(name, "dev"), api.revision_exists(name, "zzz")]
fs = HfFileSystem()
listed = sorted(fs.ls(name, detail=False))
text = fs.read_text(f"{name}/a.txt")
api.delete_branch(name, branch="dev"); api.delete_tag(name, tag="v1")
api.delete_file("a.txt", name)
tell(dict(url=str(url), again=str(again), commit=info.oid, branches=[b.name for b in refs.branches], tags=[t.name for t in refs.tags],
     siblings={s.rfilename: s.size for s in model.siblings}, sha=model.sha, paths=[p.path for p in paths], commits=commits, exists=exists,
     listed=listed, text=text, files=api.list_repo_files(name), who=api.whoami()["name"]))
""", name := named())
    assert told["url"].endswith(name) and told["again"] == told["url"] and told["branches"] == ["dev", "main"] and told["tags"] == ["v1"]
    assert told["siblings"] == {".gitattributes": 1519, "a.txt": 3, "copy.bin": 5000, "x.bin": 5000} and told["paths"] == ["copy.bin"]
    assert told["commits"][0] == "copy" and told["exists"] == [True, True, False, True, False] and told["text"] == "one"
    assert set(told["files"]) == {".gitattributes", "copy.bin", "x.bin"} and told["who"] == "alice"


def test_refusals_are_the_clients_own_exceptions(hub, hf, named, tmp):
    name = named()
    told = hf.python("""
name, missing = sys.argv[1:]
api.create_repo(name)
tell([
    fails(errors.RepositoryNotFoundError, api.model_info, missing),
    fails(errors.RevisionNotFoundError, api.model_info, name, revision="zzz"),
    fails(errors.RemoteEntryNotFoundError, hf_hub_download, name, "zzz"),
    fails(errors.HfHubHTTPError, api.create_repo, name),
    fails(errors.HfHubHTTPError, api.create_repo, "bob/x"),
    fails(errors.HfHubHTTPError, api.create_commit, name, [CommitOperationAdd("a", b"x")], commit_message="x", parent_commit="0" * 40),
    fails(errors.BadRequestError, api.create_branch, name, branch="bad..name"),
    fails(errors.HfHubHTTPError, api.delete_branch, name, branch="main"),
    fails(errors.RepositoryNotFoundError, HfApi(token=False).model_info, name),
])
""", name, named())
    assert all(told)
    gated = named()
    hf.python("api.create_repo(sys.argv[1], private=False); api.update_repo_settings(sys.argv[1], gated='auto')", gated)
    stranger = Hf(hub.url, hub.tokens["bob"], tmp / "bob")
    assert stranger.python("tell(fails(errors.GatedRepoError, hf_hub_download, sys.argv[1], '.gitattributes'))", gated)


@pytest.mark.parametrize("xet", ["default", "disabled"])
def test_large_folders_and_snapshots(hub, hf, named, tmp, xet):
    hf = hf.with_environment(**({"HF_HUB_DISABLE_XET": "1"} if xet == "disabled" else {}))
    folder = tmp / "large"
    folder.mkdir()
    for number in range(60):
        (folder / f"part-{number:02}.bin").write_bytes(content(20_000, f"{xet} {number}"))
    told = hf.python("""
name, folder, out = sys.argv[1:]
api.create_repo(name)
api.upload_folder(repo_id=name, folder_path=folder)
path = snapshot_download(name, local_dir=out)
tell(len(api.list_repo_files(name)))
""", named(), folder, tmp / "out", seconds=300)
    assert told == 61
    for path in folder.glob("*.bin"):
        assert (tmp / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.covers("hub.validate-yaml")
def test_the_card_is_a_repository_too(hub, hf, named):
    told = hf.python("""
name = sys.argv[1]
api.create_repo(name)
card = ModelCard("---\\nlicense: apache-2.0\\nlanguage: en\\ntags: [a, b]\\n---\\n# Title\\n")
card.validate()
card.push_to_hub(name)
info = api.model_info(name)
tell([ModelCard.load(name).data.license, info.tags, info.card_data.to_dict()])
""", named())
    assert told[0] == "apache-2.0" and {"a", "b", "license:apache-2.0"} <= set(told[1]) and told[2]["language"] == "en"


def test_a_real_model_there_and_back(hub, hf, named, model_files, tmp):
    name = named()
    hf.run("upload", name, model_files, ".", seconds=300)
    hf.run("download", name, "--local-dir", tmp / "back", seconds=300)
    for path in model_files.rglob("*"):
        if path.is_file() and ".cache" not in path.parts:
            assert (tmp / "back" / path.relative_to(model_files)).read_bytes() == path.read_bytes(), path
    told = hf.python("info = api.model_info(sys.argv[1]); tell([info.pipeline_tag, info.library_name, info.tags])", name)
    assert told[0] == "sentence-similarity" and told[1] == "sentence-transformers" and "safetensors" in told[2]
