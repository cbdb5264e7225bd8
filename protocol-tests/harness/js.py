"""`@huggingface/hub` under Node, unmodified, as a program of its own uses it."""

import json
import shutil
import subprocess

from .hf import VENV

PACKAGE = VENV / "node/node_modules/@huggingface/hub"

PRELUDE = """
import * as hub from %s;
const [hubUrl, accessToken, ...args] = process.argv.slice(1);
const at = {hubUrl, ...(accessToken ? {accessToken} : {})};
const tell = value => console.log("TOLD " + JSON.stringify(value));
const all = async (iterator) => { const found = []; for await (const item of iterator) found.push(item); return found; };
const fails = async (call) => {
    try { await call(); } catch (error) { return {type: error.constructor.name, status: error.statusCode, message: error.message}; }
    throw new Error("did not fail: " + call);
};
"""


class Js:
    """One user's programs."""

    def __init__(self, url, token, home):
        home.mkdir(parents=True, exist_ok=True)
        self.url, self.token, self.home = url, token, home

    def run(self, script, *arguments, seconds=120):
        """Runs `script` behind the prelude with `arguments` in `args`; returns what it told."""
        prelude = PRELUDE % json.dumps((PACKAGE / "dist/index.mjs").as_uri())
        done = subprocess.run(
            [shutil.which("node"), "--input-type=module", "-e", prelude + script, "--", self.url, self.token or "", *map(str, arguments)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "HF_HOME": str(self.home / "hf")}, cwd=self.home,
            capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        told = [line[5:] for line in done.stdout.splitlines() if line.startswith("TOLD ")]
        return json.loads(told[-1]) if told else None


def version():
    return json.loads((PACKAGE / "package.json").read_text())["version"]
