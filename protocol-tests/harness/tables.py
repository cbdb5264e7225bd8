"""Tables in the repository that are made from the tests, by `pytest --collect-only --write-tables`."""

from pathlib import Path

from . import compatibility, routes

HERE = Path(__file__).resolve().parents[1]
OPTION = "--write-tables"
TABLES = {
    "hub/ROUTES.md": routes.markdown,
    "COMPATIBILITY.md": lambda items: compatibility.markdown(compatibility.table(items)),
}
"""Each from the collected tests."""


def write(directory, items):
    for name, markdown in TABLES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(markdown(items))
