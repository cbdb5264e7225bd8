"""The addresses of the Hub's API: what the program says of them, and which tests ask for them."""

import functools
import json
import re
import subprocess

import pytest

from .hub import BINARY

HEAD = """# The addresses of the Hub's API

`{type}` is `models`, `datasets` or `spaces`; `{repo}` is `namespace/name`, which at the beginning of an address stands behind
`datasets/` or `spaces/` if it is one of these; `{…}` with three dots is the rest of the address. Git and Git LFS have
addresses of their own, below those of the repositories.
"""
SERVED = """
## Served

Each of the tests asks for the route: it fails unless the route's counter in `/metrics` has moved.

| addresses | methods | route | tests |
|---|---|---|---|"""
REFUSED = """
## Refused on purpose

What other hubs have there and this one does not. The answer is JSON with `X-Error-Code`, `X-Error-Message` and
`X-Request-Id`; `test_hub_routes::test_what_is_refused_is_refused_in_words` asks for each.

| address | methods | status | the message says |
|---|---|---|---|"""


@functools.cache
def catalogue():
    """[{label, methods, address, status of a refusal or None, what its message says}]"""
    done = subprocess.run([BINARY, "debug", "routes"], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [{**row, "methods": row["methods"].split(", ")} for row in rows]


def example(row):
    """Such an address: (path, headers)."""
    host, path = re.fullmatch(r"([^/]*)(/.*)", row["address"].replace("{type}", "models").replace("{repo}", "alice/x")).groups()
    path = re.sub(r"\{\w+…\}", "a/b", path)
    return re.sub(r"\{\w+\}", "v1", path), {"host": host.replace("{host}", "hub.test")} if host else {}


def covered(item):
    return {label for mark in item.iter_markers("covers") for label in mark.args}


def markdown(items):
    tests = {row["label"]: {} for row in catalogue()}
    for item in items:
        for label in covered(item):
            if label not in tests:
                raise pytest.UsageError(f"{item.nodeid} covers {label}, which is no route")
            tests[label][f"`{item.nodeid.split('[')[0].replace('.py::', '::')}`"] = True
    if untested := [label for label, of in tests.items() if not of]:
        raise pytest.UsageError(f"no test covers {', '.join(untested)}")
    served = [row for row in catalogue() if not row["status"]]
    addresses = lambda label: "<br>".join(f"`{row['address']}`" for row in served if row["label"] == label)
    # Addresses of one route share its counter, and so the row.
    rows = {row["label"]: f"{', '.join(row['methods'])} | {row['label']} | {', '.join(sorted(tests[row['label']]))}" for row in served}
    lines = [HEAD, SERVED.lstrip(), *(f"| {addresses(label)} | {row} |" for label, row in rows.items()), REFUSED]
    lines += [f"| `{row['address']}` | {', '.join(row['methods'])} | {row['status']} | {row['what']} |" for row in catalogue() if row["status"]]
    return "\n".join(lines) + "\n"
