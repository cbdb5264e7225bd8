"""The Hub's API by hand."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote


@dataclass
class Answer:
    status: int
    headers: object
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.headers.get("x-error-code")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class HubApi:
    """As one user, or as nobody."""

    def __init__(self, url, token=None):
        self.url, self.token = url, token

    def request(self, method, path, body=None, **headers):
        """`body` is bytes, or what becomes JSON. Header names are written with underscores. Redirects are not followed."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("content_type", "application/json")
        request = urllib.request.Request(self.url + path, data=body, method=method, headers={
            name.replace("_", "-"): value for name, value in headers.items()})
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
        try:
            with opener.open(request, timeout=60) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path, **headers):
        return self.request("GET", path, **headers)

    def head(self, path, **headers):
        return self.request("HEAD", path, **headers)

    def post(self, path, body=None, **headers):
        return self.request("POST", path, {} if body is None else body, **headers)

    def delete(self, path, body=None, **headers):
        return self.request("DELETE", path, body, **headers)

    def create(self, name, kind="model", **more):
        namespace, name = name.split("/")
        return self.post("/api/repos/create", {"name": name, "organization": namespace, "type": kind, **more})

    def commit(self, repo, *lines, summary="a commit", parent=None, revision="main"):
        """`repo` as in the API: models/alice/x. Lines are (key, value)."""
        header = {"summary": summary, "description": "", **({"parentCommit": parent} if parent else {})}
        rows = [{"key": "header", "value": header}, *({"key": key, "value": value} for key, value in lines)]
        body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        return self.post(f"/api/{repo}/commit/{quote(revision, safe='')}", body, content_type="application/x-ndjson")


def file(path, content):
    """The line of a file, as `huggingface_hub` orders its members."""
    import base64
    content = content.encode() if isinstance(content, str) else content
    return "file", {"content": base64.b64encode(content).decode(), "path": path, "encoding": "base64"}
