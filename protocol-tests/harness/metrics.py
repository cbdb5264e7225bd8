"""/metrics of a hub, as numbers."""

import re

from . import wire


def read(hub):
    """{name: value}, summed over labels."""
    totals = {}
    for line in wire.http(f"{hub.probe_url or hub.url}/metrics").text().splitlines():
        if row := re.match(r"(\w+)(?:\{[^}]*\})? (\S+)$", line):
            totals[row[1]] = totals.get(row[1], 0) + float(row[2])
    return totals


def requests(hub):
    """{route: number of requests that were answered}."""
    totals = {}
    for line in wire.http(f"{hub.probe_url or hub.url}/metrics").text().splitlines():
        if row := re.match(r'granary_http_requests_total\{.*?route="([^"]+)".*?\} (\S+)$', line):
            totals[row[1]] = totals.get(row[1], 0) + float(row[2])
    return totals


class Change:
    """`with Change(hub) as change:` … `change["lfs_bytes_in"]` is by how much the counter moved; the counter must exist."""

    def __init__(self, hub):
        self.hub = hub

    def __enter__(self):
        self.before, self.after = read(self.hub), None
        return self

    def __exit__(self, *_):
        self.after = read(self.hub)

    def __getitem__(self, name):
        full = f"granary_{name}_total"
        now = self.after or read(self.hub)
        assert full in now, f"no {full} among {sorted(name for name in now if 'lfs' in name)}"
        return now[full] - self.before.get(full, 0)
