"""What huggingface_hub sends."""

import json

from harness import api
from load import Request

COMMON = {
    "User-Agent": "unknown/None; hf_hub/2.4.0; python/3.11.7", "Accept": "*/*", "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}


def request(method, href, token, body=b"", **headers):
    """`token` is None for nobody's. Header names are written with underscores. To HEAD nothing may be compressed: the length is asked for."""
    more = {name.replace("_", "-").title(): value for name, value in headers.items()}
    if method == "HEAD":
        more["Accept-Encoding"] = "identity"
    return Request(method, href, {**COMMON, **({"Authorization": f"Bearer {token}"} if token else {}), **more}, tail=body)


def commit_body(files):
    """{path: content}"""
    lines = [("header", {"summary": "a commit", "description": ""}), *(api.file(path, content) for path, content in files.items())]
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in lines)
