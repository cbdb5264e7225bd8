"""S3 for the tests: a real SeaweedFS, a small signed client of it, and what a hub's settings say about it.

`python -m harness.s3 DIRECTORY` starts SeaweedFS, prints its URL for GRANARY_TEST_S3 and stays until its input ends.
"""

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from . import wait
from .hub import HOST, free_port

ACCESS, SECRET, REGION, BUCKET = "granarytests", "granary-tests-secret", "us-east-1", "granary"
WEED = Path(sys.prefix) / "bin/weed"


@dataclass
class S3:
    """A client of one bucket. Bodies are signed in the headers; everything is in memory."""

    endpoint: str
    bucket: str = BUCKET
    access: str = ACCESS
    secret: str = field(default=SECRET, repr=False)

    @staticmethod
    def of(url):
        """From the form of GRANARY_TEST_S3: http://ACCESS:SECRET@HOST:PORT/BUCKET"""
        parts = urlsplit(url)
        return S3(f"{parts.scheme}://{parts.hostname}:{parts.port}", parts.path.strip("/"), parts.username, parts.password)

    @property
    def url(self):
        return self.endpoint.replace("//", f"//{self.access}:{self.secret}@") + f"/{self.bucket}"

    def settings(self, prefix, endpoint=None, public=None):
        """Of a hub whose large objects are here. `endpoint` and `public` lead through a proxy."""
        return {
            "storage.url": f"s3://{self.bucket}/{prefix}", "storage.s3_endpoint": endpoint or self.endpoint,
            **({"storage.s3_public_endpoint": public} if public else {}), "storage.s3_region": REGION, "storage.s3_path_style": "true",
            "storage.s3_access_key": self.access, "storage.s3_secret_key": self.secret,
        }

    def request(self, method, key="", query=None, body=b"", check=True, **headers):
        """(status, headers, body); signed by SigV4 in the Authorization header."""
        path = quote(f"/{self.bucket}" + (f"/{key}" if key else ""))
        pairs = sorted((quote(name, safe=""), quote(str(value), safe="")) for name, value in (query or {}).items())
        asked = "&".join(f"{name}={value}" for name, value in pairs)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": urlsplit(self.endpoint).netloc, "x-amz-content-sha256": digest, "x-amz-date": now,
                  **{name.replace("_", "-"): value for name, value in headers.items()}}
        names = ";".join(sorted(signed))
        canonical = "\n".join([method, path, asked, *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names, digest])
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        request = urllib.request.Request(f"{self.endpoint}{path}" + (f"?{asked}" if asked else ""), method=method, data=body or None, headers={
            **signed, "Content-Type": "application/octet-stream",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature(self.secret, scope, now, canonical)}"})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                assert not check, f"{method} {key} -> {error.code} {error.read()[:500]!r}"
                return error.code, error.headers, b""

    def create(self):
        self.request("PUT")

    def keys(self, prefix):
        found, more = [], ""
        while True:
            _, _, body = self.request("GET", query={"list-type": "2", "prefix": prefix, **({"continuation-token": more} if more else {})})
            text = body.decode()
            found += re.findall(r"<Key>([^<]+)</Key>", text)
            token = re.search(r"<NextContinuationToken>([^<]+)<", text)
            if "<IsTruncated>true" not in text or not token:
                return found
            more = token.group(1)

    def multiparts(self, prefix):
        """Keys of multipart uploads under way."""
        _, _, body = self.request("GET", query={"uploads": "", "prefix": prefix})
        return [key for key in re.findall(r"<Key>([^<]+)</Key>", body.decode()) if key.startswith(prefix)]

    def parts(self, key):
        """In how many parts it was uploaded; 0: in one piece."""
        _, headers, _ = self.request("HEAD", key)
        return int(headers["ETag"].strip('"').partition("-")[2] or 0)

    def get(self, key):
        return self.request("GET", key)[2]

    def put(self, key, body, checksum=False):
        extra = {"x_amz_checksum_sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()} if checksum else {}
        self.request("PUT", key, body=body, **extra)

    def delete(self, key):
        self.request("DELETE", key)


def signature(secret, scope, at, canonical):
    """SigV4 of a canonical request."""
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.digest(key, text.encode(), "sha256").hex()


@contextlib.contextmanager
def seaweedfs(directory):
    """A server of its own with an empty bucket; SIGKILLed at the end, since it takes its time over SIGTERM."""
    assert WEED.exists(), f"{WEED} is missing: protocol-tests/run installs it"
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "identities.json").write_text(json.dumps({"identities": [{
        "name": "tests", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
    ports = {name: _port() for name in ("-master.port", "-volume.port", "-filer.port", "-s3.port")}
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [WEED, "server", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={directory}", "-volume.max=200", "-master.volumeSizeLimitMB=1024",
             "-master.telemetry=false", "-s3", f"-s3.config={directory}/identities.json", "-s3.port.iceberg=0", "-s3.port.lance=0",
             *(f"{name}={port}" for name, port in ports.items())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, start_new_session=True)
    try:
        bucket = S3(f"http://{HOST}:{ports['-s3.port']}")

        def is_ready():
            assert process.poll() is None, (directory / "log").read_text(errors="replace")[-2000:]
            with contextlib.suppress(AssertionError, OSError):
                bucket.create()
                bucket.put("ready", b"ready")
                bucket.delete("ready")
                return True

        wait.until(is_ready, "SeaweedFS takes an object", seconds=60, every=0.1)
        yield bucket
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port():
    """Free, and so that port + 10000 (SeaweedFS' gRPC) exists."""
    while True:
        port = free_port()
        if port < 55_000:
            return port


@contextlib.contextmanager
def shared(directory):
    """The server that `run` started, in it a bucket that no other run knows; or one of our own."""
    given = os.environ.get("GRANARY_TEST_S3")
    if given:
        bucket = replace(S3.of(given), bucket=f"{BUCKET}-{secrets.token_hex(4)}")
        bucket.create()
        yield bucket
        return
    with seaweedfs(directory) as bucket:
        yield bucket
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with seaweedfs(sys.argv[1]) as started:
        print(started.url, flush=True)
        sys.stdin.read()
