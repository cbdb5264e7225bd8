"""COMPATIBILITY.md: which client does what here, from the marks of the tests that show it.

`@pytest.mark.client(name, version)` names the client, on a test, a module (`pytestmark`), or the parameter of a fixture;
`@pytest.mark.shows(operation, ...)` says what the test does with it. A test with both is a cell of the table, and it must run:
skipped, it fails.
"""

import pytest

from . import client, hf

HEAD = """# Which client does what

Each `ok` is a test that drives the unmodified client, found by its address and a token, against a running Granary (or sends the
requests that the client was seen to send, where it says so); when it fails, so does the run. `-`: this version of the client does not offer it, or only at its maker's own address. Clients of which only one version
is in use have one column. Written by `python -m pytest protocol-tests --collect-only --write-tables`.
"""


def git(version, path):
    """A parameter. Another git than Debian's is tested where there is one, but is no row."""
    marks = [pytest.mark.client("git", ".".join(version.split(".")[:2]))] if path == client.CANDIDATES[-1] else []
    return pytest.param((version, path), id=f"git-{version}", marks=marks)


def git_lfs(item):
    """A parameter: one of lfs.CLIENTS."""
    name, version = ("git-lfs with the agent of hf", hf.NEWEST) if item.agent else ("git-lfs", item.name.removeprefix("git-lfs-"))
    return pytest.param(item, id=item.name, marks=pytest.mark.client(name, version))


def clients(item):
    return [mark.args for mark in item.iter_markers("client")]


def operations(item):
    return [operation for mark in item.iter_markers("shows") for operation in mark.args]


def table(items):
    """What these tests show: {client: {operation: {version}}}."""
    shown = {}
    for item in items:
        for name, version in clients(item):
            for operation in operations(item):
                shown.setdefault(name, {}).setdefault(operation, set()).add(version)
    return shown


def age(version):
    return [int(part) if part.isdigit() else -1 for part in version.split(".")]


def markdown(shown):
    lines = [HEAD]
    for name, rows in sorted(shown.items()):
        versions = sorted(set.union(*rows.values()), key=age)
        lines += [f"## {name}", "", f"| | {' | '.join(versions)} |", f"|---|{'---|' * len(versions)}"]
        lines += [f"| {operation} | {' | '.join('ok' if version in rows[operation] else '-' for version in versions)} |"
                  for operation in sorted(rows, key=str.casefold)]
        lines.append("")
    return "\n".join(lines)
