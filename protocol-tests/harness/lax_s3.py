"""A bucket in memory that believes everything but who asks: no checksum is checked, like the laxest S3 servers there are.

Presigned URLs need their signature (a bucket that needs none is open to everybody, which is another matter); of the signed headers of
the hub itself the access key must be known, the rest is believed. `is_open`: nothing is checked at all.
"""

import datetime
import hashlib
import hmac
import itertools
import re
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from .httpd import Httpd
from .s3 import ACCESS, SECRET, signature


class LaxS3(Httpd):
    """Path style, one bucket of any name. `objects` is {key: bytes}, `secrets` those of the access keys."""

    def __init__(self):
        super().__init__()
        self.objects = {}
        self.uploads = {}
        self.secrets = {ACCESS: SECRET}
        self.is_open = False
        self._ids = itertools.count(1)

    def handle(self, exchange):
        _, _, key = exchange.path.lstrip("/").partition("/")
        query, method = exchange.query, exchange.method
        if not self._may(exchange):
            self._xml(exchange, "<Error><Code>AccessDenied</Code></Error>", 403)
        elif not key:
            self._bucket(exchange)
        elif method == "POST" and "uploads" in query:
            upload = f"upload-{next(self._ids)}"
            self.uploads[upload] = (key, {})
            self._xml(exchange, f"<InitiateMultipartUploadResult><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        elif "uploadId" in query:
            self._multipart(exchange, key, query["uploadId"])
        elif method == "PUT":
            self.objects[key] = self._body(exchange)
            exchange.answer(200, ETag=self._etag(self.objects[key]))
        elif method == "DELETE":
            self.objects.pop(key, None)
            exchange.answer(204)
        elif key not in self.objects:
            self._xml(exchange, "<Error><Code>NoSuchKey</Code></Error>", 404)
        else:
            self._get(exchange, self.objects[key])

    def _may(self, exchange):
        if self.is_open:
            return True
        if authorization := exchange.headers.get("authorization"):
            return re.search("Credential=([^/]+)/", authorization)[1] in self.secrets
        path, _, asked = exchange.target.partition("?")
        pairs = [pair for pair in asked.split("&") if not pair.startswith("X-Amz-Signature=")]
        given = {name: unquote(value) for name, _, value in (pair.partition("=") for pair in asked.split("&"))}
        names = given.get("X-Amz-SignedHeaders", "")
        if not names or any(name not in exchange.headers for name in names.split(";")):
            return False
        canonical = "\n".join([exchange.method, path, "&".join(sorted(pairs)), *(f"{name}:{exchange.headers[name]}" for name in names.split(";")),
                               "", names, given.get("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")])
        access, _, scope = given["X-Amz-Credential"].partition("/")
        if access not in self.secrets:
            return False
        return hmac.compare_digest(signature(self.secrets[access], scope, given["X-Amz-Date"], canonical), given.get("X-Amz-Signature", ""))

    def _get(self, exchange, data):
        headers = {"ETag": self._etag(data), "Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT", "Accept_Ranges": "bytes", "Date": _now()}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", exchange.headers.get("range") or "")
        if exchange.method == "HEAD":
            exchange.start(200, {"Content-Length": str(len(data)), **{name.replace("_", "-"): value for name, value in headers.items()}})
        elif asked and int(asked[1]) < len(data):
            first, last = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
            exchange.answer(206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **headers)
        else:
            exchange.answer(200, data, **headers)

    def _multipart(self, exchange, key, upload):
        if upload not in self.uploads:
            self._xml(exchange, "<Error><Code>NoSuchUpload</Code></Error>", 404)
            return
        parts = self.uploads[upload][1]
        if exchange.method == "PUT":
            parts[int(exchange.query["partNumber"])] = data = self._body(exchange)
            exchange.answer(200, ETag=self._etag(data))
        elif exchange.method == "GET":
            rows = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(self._etag(parts[number]))}</ETag><Size>{len(parts[number])}</Size></Part>"
                           for number in sorted(parts))
            self._xml(exchange, f"<ListPartsResult><IsTruncated>false</IsTruncated>{rows}</ListPartsResult>")
        elif exchange.method == "DELETE":
            del self.uploads[upload]
            exchange.answer(204)
        else:
            numbers = [int(number) for number in re.findall(r"<PartNumber>(\d+)</PartNumber>", exchange.whole_body().decode())]
            self.objects[key] = b"".join(parts[number] for number in numbers)
            del self.uploads[upload]
            self._xml(exchange, f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key><ETag>\"x\"</ETag></CompleteMultipartUploadResult>")

    def _bucket(self, exchange):
        prefix = exchange.query.get("prefix", "")
        if "uploads" in exchange.query:
            rows = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
                           for upload, (key, _) in self.uploads.items() if key.startswith(prefix))
            self._xml(exchange, f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{rows}</ListMultipartUploadsResult>")
            return
        rows = "".join(f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size></Contents>"
                       for key in sorted(self.objects) if key.startswith(prefix))
        self._xml(exchange, f"<ListBucketResult><IsTruncated>false</IsTruncated><Prefix>{escape(quote(prefix))}</Prefix>{rows}</ListBucketResult>")

    @staticmethod
    def _body(exchange):
        data = exchange.whole_body()
        if "aws-chunked" not in (exchange.headers.get("content-encoding") or ""):
            return data
        out, rest = [], data
        while rest:
            line, _, rest = rest.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            out.append(rest[:size])
            rest = rest[size + 2 :]
        return b"".join(out)

    @staticmethod
    def _etag(data):
        return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'

    @staticmethod
    def _xml(exchange, text, status=200):
        exchange.answer(status, f'<?xml version="1.0"?>{text}'.encode(), Content_Type="application/xml", Date=_now())


def _now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
