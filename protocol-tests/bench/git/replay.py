"""The load generator: the requests that git sends, over one kept-alive connection, their answers checked and counted.

Git itself would use more CPU than the servers under test, and most of the wall time.
"""

import base64
import socket

from harness import pktline, wire

CAPABILITIES = ("agent=git/2.47.3-Linux", "object-format=sha1")
FETCH_OPTIONS = ("thin-pack", "no-progress", "include-tag", "ofs-delta")
PUSH_CAPABILITIES = ("report-status-v2", "side-band-64k", "object-format=sha1", "agent=git/2.47.3-Linux")
PREFIXES = ("peel", "symrefs", "unborn", "ref-prefix HEAD", "ref-prefix refs/heads/", "ref-prefix refs/tags/")


class Connection:
    """One kept-alive connection, opened when needed. An answer that is not what git expects raises."""

    def __init__(self, host, port, token=None, receive_buffer=None):
        self.address = (host, port)
        self.common = f"Host: {host}:{port}\r\nUser-Agent: git/2.47.3\r\nAccept: */*\r\n"
        if token:
            self.common += "Authorization: Basic " + base64.b64encode(f"any:{token}".encode()).decode() + "\r\n"
        self.receive_buffer = receive_buffer
        self.socket = None
        self.view = memoryview(bytearray(1 << 18))
        self.rest = b""

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, method, target, headers, body=b""):
        if self.socket is None:
            self.socket = socket.socket()
            self.socket.settimeout(120)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
            self.socket.connect(self.address)
            self.rest = b""
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} {target} HTTP/1.1\r\n{self.common}{headers}{length}\r\n".encode()
        self.socket.sendall(head + body[:65536])
        if len(body) > 65536:
            self.socket.sendall(memoryview(body)[65536:])

    def _more(self):
        count = self.socket.recv_into(self.view)
        if not count:
            raise EOFError("the server closed the connection in the middle of an answer")
        return self.view[:count]

    def head(self):
        received = bytearray(self.rest)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        first, *rows = bytes(received[:end]).decode("latin-1").split("\r\n")
        self.rest = bytes(received[end + 4 :])
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}

    def body(self, headers):
        """The first 64 KiB, the last 64 KiB, and the length; that is the whole of most answers."""
        kept = Kept()
        if "content-length" in headers:
            left = int(headers["content-length"])
            kept.add(self.rest[:left])
            left, self.rest = left - min(left, len(self.rest)), self.rest[left:]
            while left > 0:
                part = self._more()
                kept.add(part[:left])
                left -= len(part)
            return kept
        assert headers.get("transfer-encoding") == "chunked", headers
        buffer = bytearray(self.rest)
        while True:
            while (end := buffer.find(b"\r\n")) < 0:
                buffer += self._more()
            left = int(buffer[:end], 16)
            del buffer[: end + 2]
            last, wanted = left == 0, left + 2
            while wanted > len(buffer):
                kept.add(buffer[: max(0, left)])
                left, wanted = left - min(left, len(buffer)), wanted - len(buffer)
                buffer = bytearray(self._more())
            kept.add(buffer[:left])
            del buffer[:wanted]
            if last:
                self.rest = bytes(buffer)
                return kept

    def request(self, method, target, headers="", body=b""):
        self.send(method, target, headers, body)
        status, answered = self.head()
        content = self.body(answered)
        assert status == 200, (method, target, status, bytes(content.first[:300]))
        return content


class Kept:
    EACH = 1 << 16

    def __init__(self):
        self.first, self.last, self.length = bytearray(), bytearray(), 0

    def add(self, part):
        self.length += len(part)
        if len(self.first) < self.EACH:
            self.first += part[: self.EACH - len(self.first)]
        self.last = (self.last + bytes(part[-self.EACH :]))[-self.EACH :]

    def whole(self):
        assert self.length <= self.EACH
        return bytes(self.first)


class Repository:
    """The requests of git for one repository. `path` is the URL path."""

    def __init__(self, connection, path):
        self.connection, self.path = connection, path

    def advertisement(self, service="git-upload-pack", version=2):
        protocol = f"Git-Protocol: version={version}\r\n" if version else ""
        answer = self.connection.request(
            "GET", f"{self.path}/info/refs?service={service}", f"{protocol}Accept-Encoding: identity\r\n")
        assert answer.last.endswith(pktline.FLUSH)
        return answer

    def ls_refs(self, *arguments):
        answer = self._post("git-upload-pack", ls_refs_body(*arguments), 2)
        assert answer.last.endswith(pktline.FLUSH)
        return answer

    def fetch(self, body):
        answer = self._post("git-upload-pack", body, 2)
        assert answer.last.endswith(pktline.FLUSH) and b"packfile\n" in answer.first, bytes(answer.first[:300])
        return answer

    def push(self, body):
        result = wire.parse_push(self._post("git-receive-pack", body).whole())
        assert result.ok, result

    def _post(self, service, body, version=None):
        protocol = f"Git-Protocol: version={version}\r\n" if version else ""
        return self.connection.request(
            "POST", f"{self.path}/{service}",
            f"{protocol}Content-Type: application/x-{service}-request\r\nAccept: application/x-{service}-result\r\n", body)


def objects_in(fetched):
    """What the header of the pack in an answer says. Git sends it in pieces."""
    stream, header = bytes(fetched.first), b""
    position = stream.index(b"packfile\n") + len(b"packfile\n")
    while len(header) < 12:
        length = int(stream[position : position + 4], 16)
        if stream[position + 4] == 1:
            header += stream[position + 5 : position + length]
        position += length
    assert header.startswith(b"PACK")
    return int.from_bytes(header[8:12], "big")


def ls_refs_body(*arguments):
    return wire.ls_refs_body(*(arguments or PREFIXES), capabilities=CAPABILITIES)


def fetch_body(wants, *arguments, haves=(), done=True):
    return wire.fetch_body(*FETCH_OPTIONS, *arguments, wants=wants, haves=haves, done=done, capabilities=CAPABILITIES)


def push_body(old, new, pack, ref="refs/heads/main"):
    return wire.push_body([(old, new, ref)], pack, capabilities=PUSH_CAPABILITIES)
