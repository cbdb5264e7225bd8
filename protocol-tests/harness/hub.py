"""A `granary serve` under test: its process, its command line, its log."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from . import wait

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("GRANARY_BINARY", ROOT / "target/release/granary"))
HOST = "127.0.0.1"


class CommandFailed(AssertionError):
    def __init__(self, done):
        super().__init__(f"{' '.join(map(str, done.args))} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        self.done = done


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


class Hub:
    """One data directory and, while started, the process that owns it.

    `settings` are configuration keys like `limits.pack_bytes`; they reach the program as GRANARY__SECTION__KEY.
    The server runs with a PATH that holds nothing: whatever it answers, it did not get from a git binary.
    """

    def __init__(self, directory, settings=None, environment=None, debug=False, wrapper=()):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data = self.directory / "data"
        self.log_path = self.directory / "log.jsonl"
        self.port = free_port()
        self.proxy_port = None
        self.settings = {"storage.min_free": "64MiB", **(settings or {})}
        own = self.settings.get("server.metrics_listen")
        self.probe_url = own and f"http://{own}"  # where /readyz is then
        self.environment = dict(environment or {})
        if debug:
            self.environment["GRANARY_DEBUG"] = "1"
        self.wrapper = list(wrapper)
        self.process = None
        self.expected_log = []
        self._log_read = 0

    # -- process ------------------------------------------------------------------------------------------------

    @property
    def url(self):
        return f"http://{HOST}:{self.proxy_port or self.port}"

    def start(self, ready=True, may_die=False, **environment):
        """`may_die`: a fault point may be reached before the server is ready."""
        if not BINARY.exists():
            raise AssertionError(f"{BINARY} is missing: build it with `cargo build --release`")
        assert self.process is None, "already started"
        command = [*self.wrapper, BINARY, "serve", "--data-dir", self.data, "--listen", f"{HOST}:{self.port}"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=self.directory,
                env={**self._environment(), **environment}, start_new_session=True,
            )
        self.stdout = []
        self._reader = threading.Thread(target=self._read_stdout, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        if ready:
            died = self.process.poll if may_die else lambda: None
            wait.until(lambda: died() is not None or self.is_ready(), f"{self.url}/readyz answers 200", seconds=60)
        return self

    def _read_stdout(self, pipe):
        for line in pipe:
            self.stdout.append(line.decode())

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode} before it was ready\n{self.log_tail()}")
        try:
            with urllib.request.urlopen(f"{self.probe_url or self.url}/readyz", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, seconds=30):
        """SIGTERM; the exit must be clean."""
        process, self.process = self.process, None
        if process is None:
            return
        self._signal(process, signal.SIGTERM)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._signal(process, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"no exit within {seconds} s of SIGTERM\n{self.log_tail()}") from None
        self._close(process)
        assert code == 0, f"exit code {code} after SIGTERM\n{self.log_tail()}"

    def kill(self):
        """`kill -9`, as a power cut seen from inside the process."""
        process, self.process = self.process, None
        self._signal(process, signal.SIGKILL)
        process.wait()
        self._close(process)

    def wait_killed(self, seconds=30):
        """The process ends by itself, by SIGKILL: a fault point was reached."""
        process, self.process = self.process, None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process = process
            raise AssertionError(f"the fault point was not reached\n{self.log_tail()}") from None
        self._close(process)
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL), f"ended with {code}, not by the fault\n{self.log_tail()}"

    @staticmethod
    def _signal(process, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def _close(self, process):
        self._reader.join(5)
        process.stdout.close()

    @property
    def pid(self):
        """Of the server itself, not of a wrapper such as strace."""
        if not self.wrapper:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    # -- command line -------------------------------------------------------------------------------------------

    def _environment(self):
        nothing = self.directory / "empty-path"
        nothing.mkdir(exist_ok=True)
        keys = {"GRANARY__" + key.upper().replace(".", "__"): str(value) for key, value in self.settings.items()}
        return {"PATH": str(nothing), "HOME": str(nothing), "LC_ALL": "C", **keys, **self.environment}

    def run(self, *arguments, input=None, check=True, seconds=120, data=None, **environment):
        """One command of the program; while the server runs it goes through the control socket."""
        done = subprocess.run(
            [str(BINARY), *map(str, arguments), "--data-dir", str(data or self.data)],
            input=input, capture_output=True, text=True, timeout=seconds, cwd=self.directory,
            env={**self._environment(), **environment},
        )
        if check and done.returncode != 0:
            raise CommandFailed(done)
        return done

    def user(self, name, role="write", admin=False):
        """A user that exists, and a token of theirs."""
        known = self.run("user", "list").stdout.split()
        if name not in known:
            self.run("user", "create", name, *(["--admin"] if admin else []))
        return self.token(name, role)

    def token(self, name, role="write"):
        value = self.run("token", "create", name, "--role", role).stdout.strip()
        assert re.fullmatch(r"hf_[A-Za-z0-9]{34,}", value), "the token alone on stdout"
        return value

    @property
    def admin_token(self):
        return (self.data / "initial-admin-token").read_text().strip()

    def repo(self, path, *options, public=False):
        self.run("repo", "create", path, "--public" if public else "--private", *options)
        return path

    def git_url(self, repo, token=None, user="any"):
        """With the credentials in the URL, as `git clone http://user:token@host/repo`."""
        userinfo = f"{user}:{token}@" if token else ""
        return f"http://{userinfo}{HOST}:{self.proxy_port or self.port}/{repo}"

    def rebuild(self):
        """From packs and manifests, after the rows were lost."""
        for file in self.data.glob("granary.db*"):
            file.unlink()
        return self.run("rebuild")

    def fsck(self, **options):
        done = self.run("fsck", check=False, **options)
        assert done.returncode == 0, f"fsck found something\n{done.stdout}\n{done.stderr}"
        return done.stdout

    # -- log ----------------------------------------------------------------------------------------------------

    def log_tail(self, lines=30):
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def log(self, whole=False):
        """Parsed lines since the last call (or all of them)."""
        if not self.log_path.exists():
            return []
        with open(self.log_path, "rb") as file:
            file.seek(0 if whole else self._log_read)
            raw = file.read()
        complete = raw[: raw.rfind(b"\n") + 1]
        if not whole:
            self._log_read += len(complete)
        return [self._parse(line) for line in complete.decode().splitlines() if line.strip()]

    @staticmethod
    def _parse(line):
        try:
            return json.loads(line)
        except ValueError:
            return {"level": "RAW", "line": line}

    def expect_log(self, pattern):
        """The test provokes this WARN or ERROR; any other one fails it."""
        self.expected_log.append(re.compile(pattern))

    def check_log(self):
        """Every line is JSON, and no WARN or ERROR but the expected ones."""
        surprises = []
        for line in self.log():
            text = json.dumps(line)
            noteworthy = line.get("level") in ("WARN", "ERROR", "RAW")
            if noteworthy and not any(pattern.search(text) for pattern in self.expected_log):
                surprises.append(text)
        self.expected_log.clear()
        assert not surprises, "unexpected in the log:\n" + "\n".join(surprises)


@contextlib.contextmanager
def running(directory=None, **options):
    """A hub on a fresh data directory; leaving checks the exit and the log."""
    own = directory is None
    directory = Path(directory or tempfile.mkdtemp(prefix="granary-test-"))
    hub = Hub(directory, **options)
    try:
        yield hub.start()
        hub.stop()
        hub.check_log()
    finally:
        if hub.process is not None:
            hub.kill()
        if own:
            shutil.rmtree(directory, ignore_errors=True)
