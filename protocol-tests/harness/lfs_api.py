"""The LFS API by hand, as any client may speak it."""

import contextlib
import json
import re
from urllib.parse import urlsplit

from . import lfs, wire

MEDIA = "application/vnd.git-lfs+json"
GIT_LFS = "git-lfs/3.6.1 (GitHub; linux amd64; go 1.23.3)"
HF = "unknown/None; hf_hub/2.4.0; python/3.11.7"


class Api:
    """One repository as one user sees it."""

    def __init__(self, hub, path, token=None, agent=GIT_LFS):
        self.hub, self.path, self.token, self.agent = hub, path, token, agent

    @property
    def base(self):
        return f"{self.hub.url}/{self.path}.git/info/lfs"

    def post(self, route, document, **headers):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return wire.http(f"{self.base}/{route}", body, self.token, "POST", {
            "Accept": MEDIA, "Content-Type": f"{MEDIA}; charset=utf-8", "User-Agent": self.agent,
            **{name.replace("_", "-"): value for name, value in headers.items()}})

    def get(self, route):
        return wire.http(f"{self.base}/{route}", token=self.token, headers={"Accept": MEDIA, "User-Agent": self.agent})

    # -- objects --------------------------------------------------------------------------------------------------

    def batch(self, operation, *objects, **fields):
        """`objects` are contents, (oid, size) or rows as sent; `fields` override those of the request."""
        return self.post("objects/batch", {
            "operation": operation, "transfers": ["basic"], "objects": [_row(item) for item in objects], "hash_algo": "sha256",
            "ref": {"name": "refs/heads/main"}, **fields})

    def ask(self, operation, *objects, **fields):
        """The object rows of a batch that must succeed; checked for what every client needs."""
        answer = self.batch(operation, *objects, **fields)
        assert answer.status == 200, f"{answer.status} {answer.text()}"
        assert answer.headers["content-type"].startswith(MEDIA)
        document = json.loads(answer.body)
        for row in document["objects"]:
            check_row(row)
        self.transfer = document.get("transfer", "basic")
        assert document.get("hash_algo", "sha256") == "sha256"
        return document["objects"]

    def grant(self, data, operation="upload", **fields):
        """The actions for one object; None if there is nothing to do."""
        row, = self.ask(operation, data, **fields)
        assert "error" not in row, row
        return row.get("actions")

    def upload(self, data, **fields):
        """All of an upload; returns the oid."""
        actions = self.grant(data, **fields)
        if actions:
            if "chunk_size" in actions["upload"].get("header", {}):
                done = complete(actions["upload"], data, put_parts(actions["upload"], data))
            else:
                done = put(actions["upload"], data)
            assert done.status // 100 == 2, f"{done.status} {done.text()}"
            if "verify" in actions:
                said = verify(actions["verify"], data)
                assert said.status == 200, f"{said.status} {said.text()}"
        return lfs.oid(data)

    def download(self, data_or_pair):
        """The bytes, through a fresh batch."""
        got = get(self.grant(data_or_pair, "download")["download"])
        assert got.status == 200, f"{got.status} {got.text()}"
        return got.body

    def error(self, operation, data_or_pair, **fields):
        """The error of the one object."""
        row, = self.ask(operation, data_or_pair, **fields)
        assert "error" in row, row
        return row["error"]

    def has(self, data):
        """Whether this repository gives the object out."""
        row, = self.ask("download", data)
        return "actions" in row


def _row(item):
    if isinstance(item, bytes):
        return {"oid": lfs.oid(item), "size": len(item)}
    return dict(zip(("oid", "size"), item)) if isinstance(item, tuple) else item


def check_row(row):
    """What git-lfs and huggingface_hub demand of a row, types included."""
    assert isinstance(row["oid"], str) and type(row["size"]) is int
    if "error" in row:
        assert type(row["error"]["code"]) is int and isinstance(row["error"]["message"], str) and row["error"]["message"]
        assert not row.get("actions")
        return
    for name, action in row.get("actions", {}).items():
        assert name in ("upload", "download", "verify")
        assert action["href"].startswith("http://")
        header = action.get("header") or {}
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in header.items()), "git-lfs decodes strings alone"
        assert not any(key.lower() == "authorization" for key in header), "never beside a signed query"
        assert row["authenticated"] is True
        assert 0 < action["expires_in"] < 2**31
        if "chunk_size" in header:
            assert all(re.fullmatch(r"\d{5}", key) for key in header if key != "chunk_size"), "zero-padded: the agent takes them in text order"
        else:
            assert re.search(r"[?&](token|X-Amz-Signature)=", action["href"]), "an href proves itself"


# -- transfers, without any credentials but the href's ------------------------------------------------------------


def put(action, data, **headers):
    return wire.http(action["href"], data, method="PUT", headers={
        "Content-Type": "application/octet-stream", **(action.get("header") or {}), **_named(headers)})


def put_until_answered(action, data):
    """A PUT that may be answered before its end, as clients see it that read while they write."""
    target = urlsplit(action["href"])
    with wire.Raw(f"{target.scheme}://{target.netloc}") as raw:
        with contextlib.suppress(ConnectionError):
            raw.request("PUT", f"{target.path}?{target.query}", {"Content-Length": str(len(data)), **(action.get("header") or {})}, data)
        return raw.answer()


def get(action, method="GET", **headers):
    return wire.http(action["href"], method=method, headers={**(action.get("header") or {}), **_named(headers)})


def parts(action):
    """[url] in order, and the size of a part."""
    header = dict(action["header"])
    size = int(header.pop("chunk_size"))
    return [header[name] for name in sorted(header)], size


def put_parts(action, data, only=None):
    """Puts each part as huggingface_hub does; returns [(number, etag)]."""
    urls, size = parts(action)
    done = []
    for number, url in enumerate(urls, 1):
        if only is None or number in only:
            answer = put({"href": url}, data[(number - 1) * size : number * size])
            assert answer.status // 100 == 2, f"part {number}: {answer.status} {answer.text()}"
            done.append((number, answer.headers["etag"]))
    return done


def complete(action, data, etags, **headers):
    document = {"oid": lfs.oid(data), "parts": [{"partNumber": number, "etag": etag} for number, etag in etags]}
    return wire.http(action["href"], json.dumps(document).encode(), method="POST",
                     headers={"Accept": MEDIA, "Content-Type": MEDIA, **_named(headers)})


def verify(action, data, size=None, **headers):
    document = {"oid": lfs.oid(data), "size": len(data) if size is None else size}
    return wire.http(action["href"], json.dumps(document).encode(), method="POST",
                     headers={"Accept": "*/*", "Content-Type": "application/json", **(action.get("header") or {}), **_named(headers)})


def message(answer):
    """The message of an LFS error; it must be one."""
    assert answer.headers["content-type"].startswith(MEDIA), answer.headers
    document = json.loads(answer.body)
    assert document["message"] and document["request_id"], document
    return document["message"]


def _named(headers):
    return {name.replace("_", "-"): value for name, value in headers.items()}
