"""The Hub's own clients as a user has them: `huggingface_hub` in a process of its own, and the command `hf`."""

import json
import os
import subprocess
from pathlib import Path

VENV = Path(__file__).resolve().parents[1] / ".venv"
CLIENTS = VENV / "clients"
VERSIONS = {"0.36.2": CLIENTS / "huggingface_hub-0.36.2", "1.19.0": CLIENTS / "huggingface_hub-1.19.0", "2.4.0": None}
"""Of huggingface_hub, and where it is if not in the environment of the tests."""
NEWEST = [*VERSIONS][-1]

PRELUDE = """
import json, sys
from huggingface_hub import *
from huggingface_hub import errors
api = HfApi()
def tell(value):
    print("TOLD " + json.dumps(value, default=str))
def fails(exception, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except exception as error:
        return str(error)
    raise AssertionError(f"{call} did not raise {exception}")
"""

# A command starts much longer than it works, so a row of them shares a start, by the entry point that the program itself calls.
COMMANDS = """
import contextlib, importlib, io, shlex
main, lines = importlib.import_module(sys.argv[1]).main, sys.argv[2:]
printed = []
for line in lines:
    sys.argv = ["hf", *shlex.split(line)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as end:
            assert not end.code, f"{line}: {end}, {out.getvalue()}"
    printed.append(out.getvalue())
tell(printed)
"""


class Hf:
    """One user's clients, cut off from this machine's configuration."""

    def __init__(self, url, token, home, site=None):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.site = site
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": url,
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "LANG": "C.UTF-8", **({"HF_TOKEN": token} if token else {}), **({"PYTHONPATH": str(site)} if site else {}),
        }

    def with_environment(self, **more):
        other = object.__new__(Hf)
        other.home, other.site, other.environment = self.home, self.site, {**self.environment, **more}
        return other

    def python(self, script, *arguments, seconds=120, cwd=None):
        """Runs `script` behind the prelude, with `arguments` in sys.argv[1:]; returns what it told, the last if it told much."""
        done = subprocess.run([VENV / "bin/python", "-c", PRELUDE + script, *map(str, arguments)], env=self.environment,
                              cwd=cwd or self.home, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        told = [line[5:] for line in done.stdout.splitlines() if line.startswith("TOLD ")]
        return json.loads(told[-1]) if told else None

    def commands(self, *lines, module="huggingface_hub.cli.hf", seconds=120):
        """What each of these lines behind `hf` prints."""
        return self.python(COMMANDS, module, *lines, seconds=seconds)

    def run(self, *arguments, check=True, seconds=120, cwd=None):
        """The command `hf`, as it is typed."""
        done = subprocess.run([(self.site or VENV) / "bin/hf", *map(str, arguments)], env=self.environment, cwd=cwd or self.home,
                              capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"hf {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        return done
