"""git-lfs as a user has it: each version on this machine, and Hugging Face's transfer agent under git-lfs."""

import hashlib
import os
import random
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

VENV = Path(__file__).resolve().parents[1] / ".venv"
CANDIDATES = ("/usr/bin/git-lfs", VENV / "git-lfs/git_lfs/bin/git-lfs")
HF = VENV / "bin/hf"

MIB = 1 << 20
SIZES = {"empty": 0, "one byte": 1, "5 MiB + 1": 5 * MIB + 1, "64 MiB + 1": 64 * MIB + 1}
LARGE = SIZES["64 MiB + 1"]
# LARGE is then sent in twelve parts by those who can: more than nine, so that their order shows.
MULTIPART = {"lfs.multipart_from": "64MiB", "lfs.part_size": "5600KiB"}
PARTS = 12
# A bucket takes its time: there two parts must do, of the least size that there is.
TWO_PARTS = SIZES["5 MiB + 1"]
SMALL_MULTIPART = {"lfs.multipart_from": "5MiB", "lfs.part_size": "5MiB"}


@dataclass(frozen=True)
class Client:
    """One git-lfs; `agent`: repositories are set up by `hf lfs-enable-largefiles`."""

    name: str
    binary: str
    agent: bool = False

    def of(self, git, hub_url="http://127.0.0.1:9"):
        """`git` with this git-lfs on its PATH, installed for its user."""
        programs = git.home / f"bin-{self.name}"
        programs.mkdir(exist_ok=True)
        for name, target in (("git-lfs", self.binary), *((("hf", HF),) if self.agent else ())):
            if not (programs / name).exists():
                (programs / name).symlink_to(target)
        mine = git.at(
            git.cwd, PATH=f"{programs}:{git.environment['PATH']}", HF_HOME=str(git.home / "hf"), HF_ENDPOINT=hub_url,
            HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
        mine("lfs", "install", "--skip-repo")
        return mine

    def init(self, git, path, hub_url="http://127.0.0.1:9"):
        """A work tree on main in which *.bin goes to LFS."""
        work = self.of(git, hub_url).init(path)
        work("lfs", "install", "--local")
        self.enable(work)
        work.commit(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
        return work

    def enable(self, work):
        if self.agent:
            done = subprocess.run(["hf", "lfs-enable-largefiles", str(work.cwd)], env=work.environment, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


def installed():
    """Every git-lfs here, oldest first, and the agent under the newest."""
    found = {}
    for path in CANDIDATES:
        if os.access(path, os.X_OK):
            version = subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout.split()[0].split("/")[1]
            found.setdefault(version, str(path))
    versions = sorted(found, key=lambda version: tuple(map(int, version.split(".")[:2])))
    clients = [Client(f"git-lfs-{version}", found[version]) for version in versions]
    if clients and HF.exists():
        clients.append(Client("hf-agent", clients[-1].binary, agent=True))
    return clients


CLIENTS = installed()


def multipart(engine):
    """Settings of a hub on that engine."""
    return MULTIPART if engine == "disk" else SMALL_MULTIPART


def content(size, seed=0):
    """Bytes that nobody else sends, the same for the same seed."""
    return random.Random(f"{size} {seed}").randbytes(size)


def oid(data):
    return hashlib.sha256(data).hexdigest()


def digest(path):
    """The oid of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pointer(data_or_oid, size=None):
    """The text of a pointer file."""
    name, size = (data_or_oid, size) if isinstance(data_or_oid, str) else (oid(data_or_oid), len(data_or_oid))
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {size}\n"


def stored(work, name):
    """The file of an object in a repository's own LFS store."""
    root = Path(work("rev-parse", "--absolute-git-dir"))
    return root / "lfs/objects" / name[:2] / name[2:4] / name


def add(work, name, size, seed=0):
    """Commits a file of `size` bytes that no other repository has; `work.path` is where it will be pushed."""
    data = content(size, f"{work.path} {seed}")
    work.commit(name, data)
    return data


def commit_pointer(work, name, data_or_oid, size=None):
    """Commits a pointer whose object this client does not have."""
    blob = work("hash-object", "-w", "--stdin", input=pointer(data_or_oid, size))
    work("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    work("commit", "-q", "-m", f"point to {name}")
    return work("rev-parse", "HEAD")


def url(base, path, token):
    """The remote `path` below any base URL, with credentials in it."""
    return f"{base.replace('//', f'//any:{token}@')}/{path}"


def same_files(left, right, *names):
    for name in names:
        assert (left.cwd / name).read_bytes() == (right.cwd / name).read_bytes(), name


def end(process):
    """kill -9 of a git that was started with start_new_session, and of the git-lfs below it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
