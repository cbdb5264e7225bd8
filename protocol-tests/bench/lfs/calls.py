"""What git-lfs sends."""

import json

from load import Request

AGENT = "git-lfs/3.6.1 (GitHub; linux amd64; go 1.23.3)"
MEDIA = "application/vnd.git-lfs+json"
COMMON = {"User-Agent": AGENT, "Accept-Encoding": "gzip"}


def get(action):
    return Request("GET", action["href"], {**COMMON, **(action.get("header") or {})})


def put(action, file_bytes, tail):
    headers = {**COMMON, "Content-Type": "application/octet-stream", **(action.get("header") or {})}
    return Request("PUT", action["href"], headers, file_bytes, tail)


def post(href, document, headers=None):
    return Request("POST", href, {**COMMON, "Accept": MEDIA, "Content-Type": f"{MEDIA}; charset=utf-8", **(headers or {})},
                   tail=json.dumps(document, separators=(",", ":")).encode())
