"""The Hub's own clients, unmodified, with nothing set but HF_ENDPOINT and a token: every huggingface_hub in use, and its commands."""

import pytest

from harness import lfs
from harness.hf import VERSIONS, Hf
from harness.lfs import MIB, content

client = {version: pytest.param(version, marks=pytest.mark.client("huggingface_hub", version)) for version in VERSIONS}
shows = pytest.mark.shows


def only(*versions):
    """Those which offer it."""
    return pytest.mark.parametrize("version", [client[version] for version in versions])


@pytest.fixture(params=client.values())
def version(request):
    return request.param


@pytest.fixture
def hf(hub, alice, tmp, version):
    """alice's, of each version in turn."""
    return Hf(hub.url, alice, tmp / "hf-home", VERSIONS[version])


@pytest.fixture
def bob(hub, tmp, version):
    return Hf(hub.url, hub.tokens["bob"], tmp / "bob", VERSIONS[version])


@pytest.fixture
def named(hub):
    return lambda: f"alice/c{next(hub.names)}"


def write(folder, files):
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def same(folder, files):
    for path, data in files.items():
        assert (folder / path).read_bytes() == data, path


@shows("hf upload", "hf download", "hf_hub_download", "list_repo_files")
def test_upload_and_download(hub, hf, named, git, tmp, alice, version):
    """What `hf upload` writes every other door sees, and the reverse."""
    name = named()
    files = {"config.json": b'{"model_type": "bert"}', "README.md": b"---\nlicense: mit\n---\n# Hi\n", "model.safetensors": content(3 * MIB, name),
             "sub/notes.txt": "déjà\n".encode(), "empty.bin": b""}
    write(tmp / "folder", files)
    done = hf.run("upload", name, tmp / "folder", ".", "--commit-message", "by hf")
    assert f"{hub.url}/{name}" in done.stdout, done.stdout
    hf.run("download", name, "--local-dir", tmp / "back")
    same(tmp / "back", files)
    clone = lfs.CLIENTS[0].of(git, hub.url).clone(hub.git_url(name, alice), tmp / "clone")
    same(clone.cwd, files)
    clone("lfs", "fsck")
    clone.commit("by-git.txt", "from git\n")
    clone("push", "-q", "origin", "HEAD:main")
    told = hf.python("""
import huggingface_hub
tell([open(hf_hub_download(sys.argv[1], 'by-git.txt')).read(), api.list_repo_files(sys.argv[1]), huggingface_hub.__version__])
""", name)
    assert told[0] == "from git\n" and set(told[1]) == {*files, "by-git.txt", ".gitattributes"} and told[2] == version


@shows("hf auth whoami", "hf download --include", "hf upload --include", "hf upload --repo-type --revision", "hf lfs-enable-largefiles")
def test_the_commands_of_every_version(hf, named, git, tmp):
    name = named()
    write(tmp / "folder", {"a.txt": b"a", "b.md": b"b", "c/d.txt": b"d"})
    git.init(tmp / "work")
    who, *_ = hf.commands(
        "auth whoami",
        f"upload {name} {tmp}/folder in --include *.txt --repo-type dataset --revision dev",
        f"download {name} --include in/c/* --repo-type dataset --revision dev --local-dir {tmp}/back",
        f"lfs-enable-largefiles {tmp}/work")
    assert "alice" in who
    same(tmp / "back/in", {"c/d.txt": b"d"})
    assert not (tmp / "back/in/a.txt").exists()
    told = hf.python("tell([api.list_repo_files(sys.argv[1], repo_type='dataset', revision=r) for r in ('main', 'dev')])", name)
    assert told == [[".gitattributes"], [".gitattributes", "in/a.txt", "in/c/d.txt"]]


@only("0.36.2")
@shows("hf repos create", "hf repos tag", "hf repos delete-files", "huggingface-cli upload", "huggingface-cli download")
def test_the_commands_of_old(hub, hf, named, tmp):
    """What is `repos` now was `repo` and `repo-files`."""
    name = named()
    write(tmp, {"a.txt": b"a"})
    created, _, tags, *_ = hf.commands(f"repo create {name} --private", f"repo tag create {name} v1", f"repo tag list {name}", f"repo tag delete {name} v1 -y")
    assert f"{hub.url}/{name}" in created and "v1" in tags
    uploaded, _ = hf.commands(f"upload {name} {tmp}/a.txt", f"download {name} a.txt --local-dir {tmp}/out", module="huggingface_hub.commands.huggingface_cli")
    assert f"{hub.url}/{name}" in uploaded
    same(tmp / "out", {"a.txt": b"a"})
    hf.commands(f"repo-files delete {name} a.txt")
    assert hf.python("tell([api.list_repo_files(sys.argv[1]), [t.name for t in api.list_repo_refs(sys.argv[1]).tags]])", name) == [[".gitattributes"], []]


@only("1.19.0", "2.4.0")
@shows("hf repos create", "hf repos tag", "hf repos branch", "hf repos settings", "hf repos delete-files", "hf repos cp", "hf repos move", "hf repos delete",
       "hf models card", "hf models info", "hf models list", "hf datasets list")
def test_the_commands_of_now(hub, hf, named, tmp):
    name, other = named(), named()
    write(tmp, {"a.txt": b"a", "README.md": b"---\nlicense: mit\n---\n# Title\n"})
    printed = dict(zip(steps := [
        f"repos create {name} --private",
        f"upload {name} {tmp}/README.md",
        f"repos cp {tmp}/a.txt hf://{name}/a.txt",
        f"repos cp hf://{name}/a.txt {tmp}/out.txt",
        f"repos tag create {name} v1",
        f"repos tag list {name}",
        f"repos tag delete {name} v1 -y",
        f"repos branch create {name} dev",
        f"repos branch delete {name} dev",
        f"repos settings {name} --public",
        f"repos delete-files {name} a.txt",
        f"models card {name}",
        f"models info {name} --format json",
        f"models list --author alice --search {name.split('/')[1]} --format json",
        f"datasets list --author alice --search {name.split('/')[1]}",
        f"repos move {name} {other}",
    ], hf.commands(*steps), strict=True))
    assert f"{hub.url}/{name}" in printed[steps[0]] and "v1" in printed[steps[5]] and "# Title" in printed[steps[11]]
    assert "license:mit" in printed[steps[12]] and f'"{name}"' in printed[steps[13]]
    same(tmp, {"out.txt": b"a"})
    told = hf.python("""
info, refs = api.model_info(sys.argv[1]), api.list_repo_refs(sys.argv[1])
tell([info.private, api.list_repo_files(sys.argv[1]), len(refs.branches)])
""", other)
    assert told == [False, [".gitattributes", "README.md"], 1]
    hf.commands(f"repos delete {other} -y")
    assert hf.python("tell(api.repo_exists(sys.argv[1]))", other) is False


@shows("whoami", "create_repo", "upload_file", "create_commit", "create_branch", "create_tag", "list_repo_refs", "model_info", "get_paths_info",
       "list_repo_commits", "update_repo_settings", "repo_exists", "file_exists", "revision_exists", "delete_branch", "delete_tag", "delete_file")
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
api.delete_branch(name, branch="dev"); api.delete_tag(name, tag="v1")
api.delete_file("a.txt", name)
tell(dict(url=str(url), again=str(again), commit=info.oid, branches=[b.name for b in refs.branches], tags=[t.name for t in refs.tags],
     siblings={s.rfilename: s.size for s in model.siblings}, sha=model.sha, paths=[p.path for p in paths], commits=commits, exists=exists,
     files=api.list_repo_files(name), who=api.whoami()["name"]))
""", name := named())
    assert told["url"].endswith(name) and told["again"] == told["url"] and told["branches"] == ["dev", "main"] and told["tags"] == ["v1"]
    assert told["siblings"] == {".gitattributes": 1519, "a.txt": 3, "copy.bin": 5000, "x.bin": 5000} and told["paths"] == ["copy.bin"]
    assert told["commits"][0] == "copy" and told["exists"] == [True, True, False, True, False]
    assert set(told["files"]) == {".gitattributes", "copy.bin", "x.bin"} and told["who"] == "alice"


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
@shows("create_repo of each type", "repo_info", "list_models", "list_datasets", "list_spaces", "list_repo_tree", "get_hf_file_metadata", "auth_check",
       "delete_files", "delete_folder", "move_repo", "delete_repo", "snapshot_download of a revision")
def test_the_life_of_a_repository(hf, named, kind):
    told = hf.python("""
import os
name, other, kind = sys.argv[1:]
of = dict(repo_type=kind)
api.create_repo(name, **of, **(dict(space_sdk="static") if kind == "space" else {}))
adds = [CommitOperationAdd(path, path.encode()) for path in ("a.txt", "b/c.txt", "b/d/e.md", "x.log", "y.log")]
first = api.create_commit(name, adds, commit_message="files", **of)
tree = {entry.path: entry for entry in api.list_repo_tree(name, recursive=True, expand=True, **of)}
top = sorted(entry.path for entry in api.list_repo_tree(name, "b", **of))
found = [each.id for each in getattr(api, f"list_{kind}s")(author="alice", search=name.split("/")[1])]
file = get_hf_file_metadata(hf_hub_url(name, "a.txt", **of))
api.auth_check(name, **of)
api.delete_files(name, ["*.log"], **of)
api.delete_folder("b", name, **of)
api.move_repo(name, other, **of)
old = snapshot_download(name, revision=first.oid, **of)
new = snapshot_download(name, **of)
files = lambda folder: sorted(os.path.relpath(os.path.join(base, file), folder) for base, _, names in os.walk(folder) for file in names)
info = api.repo_info(name, **of)
api.delete_repo(other, **of)
tell(dict(tree=sorted(tree), title=tree["b/c.txt"].last_commit.title, top=top, found=found, file=[file.commit_hash, file.size], first=first.oid,
          old=files(old), new=files(new), id=info.id, gone=api.repo_exists(name, **of) or api.repo_exists(other, **of)))
""", name := named(), other := named(), kind)
    own = ["README.md"] if kind == "space" else []
    assert told["tree"] == sorted([".gitattributes", "a.txt", "b", "b/c.txt", "b/d", "b/d/e.md", "x.log", "y.log", *own]), told
    assert told["title"] == "files" and told["top"] == ["b/c.txt", "b/d"] and told["found"] == [name] and told["file"] == [told["first"], 5]
    assert told["old"] == sorted([".gitattributes", "a.txt", "b/c.txt", "b/d/e.md", "x.log", "y.log", *own])
    assert told["new"] == sorted([".gitattributes", "a.txt", *own]) and told["id"] == other and told["gone"] is False


@shows("create_repo in an organisation", "upload to an organisation", "whoami with organisations", "get_user_overview", "get_organization_overview",
       "list_organization_members")
def test_an_organisation(hub, hf, bob, named):
    """alice owns it, bob writes to it."""
    organisation = named().replace("alice/", "acme-")
    hub.run("org", "create", organisation, "--owner", "alice")
    hub.run("org", "add", organisation, "bob", "--role", "write")
    name = f"{organisation}/model"
    hf.python("api.create_repo(sys.argv[1], private=True)", name)
    told = bob.python("""
organisation, name = sys.argv[1:]
api.upload_file(path_or_fileobj=b"bob's", path_in_repo="a.txt", repo_id=name)
tell(dict(text=open(hf_hub_download(name, "a.txt")).read(), orgs=[org["name"] for org in api.whoami()["orgs"]], author=api.model_info(name).author,
          me=api.get_user_overview("bob").username, overview=api.get_organization_overview(organisation).name,
          members=sorted(member.username for member in api.list_organization_members(organisation))))
""", organisation, name)
    assert told["text"] == "bob's" and organisation in told["orgs"] and told["author"] == organisation and told["me"] == "bob"
    assert told["overview"] == organisation and told["members"] == ["alice", "bob"]


@shows("upload_folder", "upload_folder delete_patterns", "snapshot_download", "snapshot_download allow_patterns", "snapshot_download local_files_only",
       "hf_hub_download to local_dir")
def test_folders(hf, named, tmp):
    """Small and large files at once; then one changed, one removed, one left as it is."""
    name = named()
    files = {"config.json": b"{}", "sub/model.safetensors": content(12 * MIB, name), "text.txt": b"t" * 11 * MIB, "data.bin": content(1000, name)}
    write(tmp / "folder", {**files, "skip.tmp": b"not this"})
    write(tmp / "next", {"config.json": b'{"a": 1}', "data.bin": files["data.bin"]})
    told = hf.python("""
name, folder, following, out = sys.argv[1:]
api.create_repo(name)
api.upload_folder(repo_id=name, folder_path=folder, ignore_patterns="*.tmp")
snapshot_download(name, local_dir=out)
part = snapshot_download(name, allow_patterns=["*.json"])
lfs = sorted(file.path for file in api.list_repo_tree(name, recursive=True) if getattr(file, "lfs", None))
api.upload_folder(repo_id=name, folder_path=following, delete_patterns=["*.txt", "sub/*"])
again = hf_hub_download(name, "config.json", local_dir=out)
kept = snapshot_download(name, allow_patterns=["*.json"], local_files_only=True)
tell([lfs, [file.name for file in __import__("pathlib").Path(part).iterdir()], open(again).read(), api.list_repo_files(name), kept == part])
""", name, tmp / "folder", tmp / "next", tmp / "out", seconds=300)
    assert told == [["data.bin", "sub/model.safetensors", "text.txt"], ["config.json"], '{"a": 1}', [".gitattributes", "config.json", "data.bin"], True]
    same(tmp / "out", {**files, "config.json": b'{"a": 1}'})
    assert not (tmp / "out/skip.tmp").exists()


@only("0.36.2", "1.19.0")
@shows("upload_large_folder", "hf upload-large-folder")
def test_large_folders_of_older_clients(hf, named, tmp):
    """Many commits, resumable; since 2.0 upload_folder does that."""
    name = named()
    files = {f"{number % 3}/part-{number:02}.bin": content(20_000, f"{name} {number}") for number in range(60)}
    write(tmp / "large", files)
    hf.python("api.create_repo(sys.argv[1]); api.upload_large_folder(repo_id=sys.argv[1], folder_path=sys.argv[2], repo_type='model', print_report=False)",
              name, tmp / "large", seconds=300)
    hf.run("upload-large-folder", name, tmp / "large", "--repo-type", "model", "--no-report", "--no-bars")
    hf.python("snapshot_download(sys.argv[1], local_dir=sys.argv[2])", name, tmp / "out")
    same(tmp / "out", files)


@only("2.4.0")
@pytest.mark.parametrize("xet", ["default", "disabled"])
def test_many_files_with_and_without_xet(hf, named, tmp, xet):
    hf = hf.with_environment(**({"HF_HUB_DISABLE_XET": "1"} if xet == "disabled" else {}))
    name = named()
    files = {f"part-{number:02}.bin": content(20_000, f"{xet} {number}") for number in range(60)}
    write(tmp / "large", files)
    told = hf.python("""
name, folder, out = sys.argv[1:]
api.create_repo(name)
api.upload_folder(repo_id=name, folder_path=folder)
snapshot_download(name, local_dir=out)
tell(len(api.list_repo_files(name)))
""", name, tmp / "large", tmp / "out", seconds=300)
    assert told == 61
    same(tmp / "out", files)


@shows("HfFileSystem read", "HfFileSystem write", "HfFileSystem ls, glob, find, walk", "HfFileSystem cp, mv, rm", "HfFileSystem ranges of a file")
def test_the_file_system(hf, named):
    told = hf.python("""
name = sys.argv[1]
api.create_repo(name)
fs = HfFileSystem()
with fs.open(f"{name}/a.txt", "w") as file:
    file.write("one\\n")
with fs.open(f"{name}/sub/b.bin", "wb") as file:
    file.write(bytes(range(256)) * 400)
fs.pipe_file(f"{name}/sub/c.txt", b"three")
with fs.open(f"{name}/sub/b.bin", "rb", block_size=1000) as file:
    file.seek(50_000)
    middle = list(file.read(4))
relative = lambda paths: sorted(path.removeprefix(name + "/") for path in paths)
globbed = relative(fs.glob(f"{name}/**/*.txt"))
found = relative(fs.find(f"{name}/sub"))
walked = [[relative([base]), folders, sorted(files)] for base, folders, files in fs.walk(name)]
fs.cp_file(f"{name}/sub/b.bin", f"{name}/copy.bin")
fs.mv(f"{name}/sub/c.txt", f"{name}/moved.txt")
fs.rm(f"{name}/a.txt")
fs.invalidate_cache()
tell(dict(text=fs.read_text(f"{name}/moved.txt"), middle=middle, range=list(fs.cat_file(f"{name}/copy.bin", 254, 258)), globbed=globbed, found=found,
          walked=walked, left=relative(fs.ls(name, detail=False)), exists=[fs.exists(f"{name}/a.txt"), fs.isdir(f"{name}/sub"), fs.isfile(f"{name}/copy.bin")],
          size=fs.info(f"{name}/copy.bin")["size"], title=fs.info(f"{name}/copy.bin", expand_info=True)["last_commit"].title))
""", name := named())
    assert told["text"] == "three" and told["middle"] == [80, 81, 82, 83] and told["range"] == [254, 255, 0, 1] and told["size"] == 102_400
    assert told["globbed"] == ["a.txt", "sub/c.txt"] and told["found"] == ["sub/b.bin", "sub/c.txt"]
    assert told["walked"][0][1:] == [["sub"], [".gitattributes", "a.txt"]] and told["walked"][1][1:] == [[], ["b.bin", "c.txt"]]
    assert told["left"] == [".gitattributes", "copy.bin", "moved.txt", "sub"] and told["exists"] == [False, True, True]
    assert told["title"].startswith("Copy ")


@shows("CommitScheduler")
def test_the_commit_scheduler(hf, named, tmp):
    told = hf.python("""
from pathlib import Path
name, folder = sys.argv[1], Path(sys.argv[2])
with CommitScheduler(repo_id=name, repo_type="dataset", folder_path=folder, path_in_repo="data", every=60, squash_history=False) as scheduler:
    with scheduler.lock:
        (folder / "log.jsonl").write_text('{"n": 1}\\n')
    scheduler.trigger().result()
    with scheduler.lock, open(folder / "log.jsonl", "a") as log:
        log.write('{"n": 2}\\n')
text = open(hf_hub_download(name, "data/log.jsonl", repo_type="dataset")).read()
tell([text, len(api.list_repo_commits(name, repo_type="dataset"))])
""", named(), tmp / "scheduled")
    assert told == ['{"n": 1}\n{"n": 2}\n', 3]


@shows("RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "GatedRepoError", "BadRequestError",
       "HfHubHTTPError with the server's message")
def test_refusals_are_the_clients_own_exceptions(hf, bob, named):
    name, gated = named(), named()
    told = hf.python("""
name, missing, gated = sys.argv[1:]
api.create_repo(name)
api.create_repo(gated, private=False)
api.update_repo_settings(gated, gated="auto")
tell(dict(
    repository=fails(errors.RepositoryNotFoundError, api.model_info, missing),
    download=fails(errors.RepositoryNotFoundError, hf_hub_download, missing, "a"),
    private=fails(errors.RepositoryNotFoundError, HfApi(token=False).model_info, name),
    revision=fails(errors.RevisionNotFoundError, api.model_info, name, revision="zzz"),
    tree=fails(errors.RevisionNotFoundError, lambda: list(api.list_repo_tree(name, revision="zzz"))),
    entry=fails(errors.EntryNotFoundError, hf_hub_download, name, "zzz"),
    folder=fails(errors.EntryNotFoundError, lambda: list(api.list_repo_tree(name, "zzz"))),
    exists=fails(errors.HfHubHTTPError, api.create_repo, name),
    others=fails(errors.HfHubHTTPError, api.create_repo, "bob/x"),
    stale=fails(errors.HfHubHTTPError, api.create_commit, name, [CommitOperationAdd("a", b"x")], commit_message="x", parent_commit="0" * 40),
    branch=fails(errors.BadRequestError, api.create_branch, name, branch="bad..name"),
    again=fails(errors.HfHubHTTPError, api.create_branch, name, branch="main"),
    default=fails(errors.HfHubHTTPError, api.delete_branch, name, branch="main"),
    token=fails(OSError, HfApi(token="hf_" + "x" * 34).whoami),
))
""", name, named(), gated)
    assert "already" in told["exists"] and "bob" in told["others"] and "main" in told["default"] and "bad..name" in told["branch"]
    told = bob.python("""
name, gated = sys.argv[1:]
tell([fails(errors.GatedRepoError, hf_hub_download, gated, ".gitattributes"),
      fails(errors.RepositoryNotFoundError, hf_hub_download, name, ".gitattributes"),
      fails(errors.HfHubHTTPError, api.upload_file, path_or_fileobj=b"x", path_in_repo="a", repo_id=gated),
      api.model_info(gated).gated])
""", name, gated)
    assert all(told) and told[-1] == "auto"


@shows("ModelCard.load", "get_safetensors_metadata")
def test_the_card_is_a_file(hf, named):
    told = hf.python("""
name = sys.argv[1]
api.create_repo(name)
api.upload_file(path_or_fileobj=b"---\\nlicense: apache-2.0\\nlanguage: en\\ntags: [a, b]\\n---\\n# Title\\n", path_in_repo="README.md", repo_id=name)
header = json.dumps({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
api.upload_file(path_or_fileobj=len(header).to_bytes(8, "little") + header + bytes(24), path_in_repo="model.safetensors", repo_id=name)
card, info = ModelCard.load(name), api.model_info(name)
tell([card.data.license, card.text.strip(), info.tags, info.card_data.to_dict(), api.get_safetensors_metadata(name).parameter_count])
""", named())
    assert told[:2] == ["apache-2.0", "# Title"] and {"a", "b", "license:apache-2.0"} <= set(told[2])
    assert told[3]["language"] == "en" and told[4] == {"F32": 6}


# Older clients have every card checked at its maker's own address, whatever HF_ENDPOINT says.
@only("2.4.0")
@shows("ModelCard.push_to_hub", "ModelCard.validate", "DatasetCard.push_to_hub", "metadata_update")
def test_the_card_is_checked_and_pushed(hf, named):
    told = hf.python("""
name = sys.argv[1]
api.create_repo(name)
api.create_repo(name, repo_type="dataset")
ModelCard("---\\nlicense: mit\\n---\\n# Title\\n").push_to_hub(name)
DatasetCard("---\\nlicense: mit\\ntask_categories: [text-generation]\\n---\\n# Data\\n").push_to_hub(name)
metadata_update(name, {"pipeline_tag": "text-classification"})
wrong = ModelCard("---\\nlicense: nonsense\\n---\\n")
info = api.model_info(name)
tell([ModelCard.load(name).text.strip(), info.tags, api.dataset_info(name).tags, fails(ValueError, wrong.push_to_hub, name), info.pipeline_tag])
""", named())
    assert told[0] == "# Title" and "license:mit" in told[1] and {"license:mit", "task_categories:text-generation"} <= set(told[2])
    assert "nonsense" in told[3] and told[4] == "text-classification"


@only("2.4.0")
def test_a_real_model_there_and_back(hf, named, model_files, tmp):
    name = named()
    hf.commands(f"upload {name} {model_files} .", f"download {name} --local-dir {tmp}/back", seconds=300)
    same(tmp / "back", {path.relative_to(model_files): path.read_bytes() for path in model_files.rglob("*") if path.is_file() and ".cache" not in path.parts})
    told = hf.python("""
info, safetensors = api.model_info(sys.argv[1]), api.get_safetensors_metadata(sys.argv[1])
tell([info.pipeline_tag, info.library_name, info.tags, safetensors.parameter_count])
""", name)
    assert told[0] == "sentence-similarity" and told[1] == "sentence-transformers" and "safetensors" in told[2]
    assert sum(told[3].values()) == 22_713_728, told


@shows("a GGUF file by hf upload and hf download")
def test_a_model_in_one_file(hf, named, gguf_file, tmp):
    name = named()
    hf.commands(f"upload {name} {gguf_file}", f"download {name} --include *.gguf --local-dir {tmp}/back", seconds=300)
    assert lfs.digest(tmp / "back" / gguf_file.name) == lfs.digest(gguf_file)
    told = hf.python("info = api.model_info(sys.argv[1]); tell([info.tags, [s.rfilename for s in info.siblings]])", name)
    assert "gguf" in told[0] and told[1] == [".gitattributes", gguf_file.name], told
