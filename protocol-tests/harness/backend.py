"""`git http-backend` run as the CGI program it is: the baseline that answers are compared with."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from .wire import Answer

CONFIG = {
    "uploadpack.allowFilter": "true", "uploadpack.allowAnySHA1InWant": "true", "uploadpack.allowRefInWant": "true",
    "receive.advertisePushOptions": "true", "http.receivepack": "true",
}


def configure(git):
    """What environment.md asks of a repository that is compared: features on, packed with bitmaps."""
    for key, value in CONFIG.items():
        git("config", key, value)
    git("repack", "-adbq", seconds=300)


def http(git, repository, target, body=None, method=None, headers=None):
    """`target` is the path and query below the repository, such as `/info/refs?service=git-upload-pack`."""
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    parts = urlsplit(target)
    repository = Path(repository).resolve()
    environment = {
        **git.environment, "GIT_PROJECT_ROOT": str(repository.parent), "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{repository.name}{parts.path}", "QUERY_STRING": parts.query,
        "REQUEST_METHOD": method or ("GET" if body is None else "POST"), "REMOTE_USER": "tester",
        "REMOTE_ADDR": "127.0.0.1", "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body or b"")), "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
    }
    if "git-protocol" in headers:
        environment["GIT_PROTOCOL"] = headers["git-protocol"]
    if "content-encoding" in headers:
        environment["HTTP_CONTENT_ENCODING"] = headers["content-encoding"]
    done = subprocess.run([git.binary, "http-backend"], input=body or b"", env=environment, capture_output=True, timeout=300)
    head, _, payload = done.stdout.partition(b"\r\n\r\n")
    rows = dict(row.split(": ", 1) for row in head.decode().split("\r\n") if row)
    status = int(rows.pop("Status", "200 OK").split()[0])
    return Answer(status, {name.lower(): value for name, value in rows.items()}, payload)


def ls_refs(git, repository, body):
    return upload_pack(git, repository, body)


def upload_pack(git, repository, body, version=2):
    headers = {"Content-Type": "application/x-git-upload-pack-request"}
    if version:
        headers["Git-Protocol"] = f"version={version}"
    return http(git, repository, "/git-upload-pack", body, headers=headers)


def advertisement(git, repository, service="git-upload-pack", version=None):
    headers = {"Git-Protocol": f"version={version}"} if version else {}
    return http(git, repository, f"/info/refs?service={service}", headers=headers)
