"""Plain git as a user has it, cut off from this machine's configuration."""

import os
import subprocess
from pathlib import Path

CANDIDATES = ("/usr/local/bin/git", "/usr/bin/git")


def installed():
    """Every git on this machine, newest first: [(version, path)]."""
    found = {}
    for path in CANDIDATES:
        if os.access(path, os.X_OK):
            version = subprocess.run([path, "version"], capture_output=True, text=True, check=True).stdout.split()[2]
            found.setdefault(version, path)
    assert found, "no git is installed"
    return sorted(found.items(), key=lambda item: tuple(map(int, item[0].split(".")[:2])), reverse=True)


class GitFailed(AssertionError):
    def __init__(self, done):
        super().__init__(f"{done.args} -> {done.returncode}\n{text(done.stdout)}\n{text(done.stderr)}")
        self.done = done


def text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else (value or "")


class Git:
    """`git(...)` runs in `cwd` and returns stdout without the last newline; a failure raises."""

    def __init__(self, binary, home, cwd=None, config=(), environment=None):
        self.binary = binary
        self.home = Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.cwd = Path(cwd or home)
        self.config = tuple(config)
        self.extra = dict(environment or {})

    def at(self, cwd, **environment):
        return Git(self.binary, self.home, cwd, self.config, {**self.extra, **environment})

    def with_config(self, *config, **environment):
        """`config` are `key=value` strings, as for `git -c`."""
        return Git(self.binary, self.home, self.cwd, self.config + config, {**self.extra, **environment})

    @property
    def environment(self):
        return {
            "PATH": f"{Path(self.binary).parent}:/usr/bin:/bin",
            "HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "TZ": "UTC",
            "GIT_AUTHOR_NAME": "A U Thor", "GIT_AUTHOR_EMAIL": "author@example.com",
            "GIT_COMMITTER_NAME": "C O Mitter", "GIT_COMMITTER_EMAIL": "committer@example.com",
            "GIT_CONFIG_COUNT": "4",
            "GIT_CONFIG_KEY_0": "init.defaultBranch", "GIT_CONFIG_VALUE_0": "main",
            "GIT_CONFIG_KEY_1": "gc.auto", "GIT_CONFIG_VALUE_1": "0",
            "GIT_CONFIG_KEY_2": "maintenance.auto", "GIT_CONFIG_VALUE_2": "false",
            "GIT_CONFIG_KEY_3": "protocol.file.allow", "GIT_CONFIG_VALUE_3": "always",
            **self.extra,
        }

    def run(self, *arguments, input=None, check=True, seconds=120):
        """stdout and stderr as bytes."""
        options = [part for item in self.config for part in ("-c", item)]
        done = subprocess.run(
            [self.binary, *options, *map(str, arguments)], cwd=self.cwd, env=self.environment,
            input=input.encode() if isinstance(input, str) else input,
            stdin=subprocess.DEVNULL if input is None else None, capture_output=True, timeout=seconds,
        )
        if check and done.returncode != 0:
            raise GitFailed(done)
        return done

    def start(self, *arguments, **options):
        """A git left running: for concurrency and crash tests."""
        config = [part for item in self.config for part in ("-c", item)]
        return subprocess.Popen(
            [self.binary, *config, *map(str, arguments)], cwd=self.cwd, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )

    def __call__(self, *arguments, **options):
        return self.run(*arguments, **options).stdout.decode(errors="surrogateescape").removesuffix("\n")

    def fails(self, *arguments, **options):
        """What the user reads on stderr of a command that must fail."""
        done = self.run(*arguments, check=False, **options)
        assert done.returncode != 0, f"{arguments} succeeded: {text(done.stdout)} {text(done.stderr)}"
        return text(done.stderr)

    # -- short forms ----------------------------------------------------------------------------------------------

    def init(self, path, *options):
        self("init", "-q", *options, path)
        return self.at(path)

    def clone(self, url, path, *options):
        self("clone", "-q", *options, url, path)
        return self.at(path)

    def commit(self, name="file", content="content\n", message=None):
        """One commit that writes one file; returns its id. Dates are fixed so that ids repeat."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self("add", "--", name)
        self("commit", "-q", "-m", message or f"write {name}")
        return self("rev-parse", "HEAD")

    def refs(self, remote=None):
        """{name: oid}: of a remote as ls-remote shows it (peeled lines included), or of this repository."""
        if remote is None:
            lines = self("for-each-ref", "--format=%(objectname) %(refname)").splitlines()
            return {name: oid for oid, name in (line.split(" ", 1) for line in lines)}
        lines = self("ls-remote", remote).splitlines()
        return {name: oid for oid, name in (line.split("\t", 1) for line in lines)}

    def objects(self, *revisions):
        """Ids of everything reachable."""
        listing = self("rev-list", "--objects", "--no-object-names", *revisions, seconds=300)
        return set(listing.split())

    def all_objects(self):
        listing = self("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", "--unordered")
        return set(listing.split())

    def fsck(self):
        done = self.run("fsck", "--full", "--strict", "--no-progress", check=False, seconds=300)
        output = text(done.stdout) + text(done.stderr)
        complaints = [line for line in output.splitlines() if not line.startswith(("notice:", "dangling "))]
        assert done.returncode == 0 and not complaints, output
