"""Git's HTTP requests made by hand: bodies, answers, raw sockets."""

import base64
import gzip
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from . import pktline

ZERO = "0" * 40
AGENT = "agent=git/protocol-tests"


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def text(self):
        return self.body.decode(errors="replace")

    def packets(self):
        return list(pktline.decode(self.body))


class _KeepRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_opener = urllib.request.build_opener(_KeepRedirects, urllib.request.ProxyHandler({}))


def basic(token, user="any"):
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


def http(url, body=None, token=None, method=None, headers=None, seconds=60):
    """One request; redirects and errors are answers. Header names are lower case."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    if token:
        request.add_header("Authorization", basic(token))
    try:
        with _opener.open(request, timeout=seconds) as answer:
            return _answer(answer)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error)


def _answer(response):
    body = response.read()
    headers = {name.lower(): value for name, value in response.headers.items()}
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Answer(response.status, headers, body)


def advertisement(repo_url, service="git-upload-pack", version=None, token=None, headers=None):
    protocol = {"Git-Protocol": f"version={version}"} if version else {}
    return http(f"{repo_url}/info/refs?service={service}", token=token, headers={**protocol, **(headers or {})})


def upload_pack(repo_url, body, version=2, token=None, headers=None, seconds=60):
    protocol = {"Git-Protocol": f"version={version}"} if version else {}
    return http(
        f"{repo_url}/git-upload-pack", body, token, headers={
            "Content-Type": "application/x-git-upload-pack-request",
            "Accept": "application/x-git-upload-pack-result", **protocol, **(headers or {}),
        }, seconds=seconds)


def receive_pack(repo_url, body, token=None, headers=None, seconds=120):
    return http(
        f"{repo_url}/git-receive-pack", body, token, headers={
            "Content-Type": "application/x-git-receive-pack-request",
            "Accept": "application/x-git-receive-pack-result", **(headers or {}),
        }, seconds=seconds)


# -- version 2 ----------------------------------------------------------------------------------------------------


def ls_refs_body(*arguments, capabilities=(AGENT, "object-format=sha1")):
    """`arguments` like "peel", "symrefs", "ref-prefix refs/heads/"."""
    return (pktline.lines("command=ls-refs") + b"".join(pktline.data(item) for item in capabilities)
            + pktline.DELIM + pktline.lines(*arguments) + pktline.FLUSH)


def fetch_body(*arguments, wants=(), haves=(), done=True, capabilities=(AGENT, "object-format=sha1")):
    rows = [*arguments, *(f"want {oid}" for oid in wants), *(f"have {oid}" for oid in haves)]
    if done:
        rows.append("done")
    return (pktline.lines("command=fetch") + b"".join(pktline.data(item) for item in capabilities)
            + pktline.DELIM + pktline.lines(*rows) + pktline.FLUSH)


@dataclass
class Fetched:
    """A v2 fetch answer, by section. `error` is the text of an ERR packet or of band 3."""

    sections: dict = field(default_factory=dict)
    pack: bytes = b""
    progress: bytes = b""
    error: str = ""

    @property
    def shallow_info(self):
        return sorted(self.sections.get("shallow-info", []))

    @property
    def acknowledgments(self):
        return self.sections.get("acknowledgments", [])


def parse_fetch(body):
    packets = iter(list(pktline.decode(body)))
    fetched = Fetched()
    for packet in packets:
        if packet in (None, "end"):
            continue
        assert isinstance(packet, bytes), packet
        if packet.startswith(b"ERR "):
            fetched.error = packet[4:].decode().strip()
            return fetched
        name = packet.decode().strip()
        if name == "packfile":
            fetched.pack, fetched.progress, error = pktline.parse_bands(packets)
            fetched.error = error.decode().strip()
            fetched.sections["packfile"] = []
            return fetched
        rows = fetched.sections.setdefault(name, [])
        for row in packets:
            if not isinstance(row, bytes):
                break
            rows.append(row.decode().strip())
    return fetched


# -- version 0 ----------------------------------------------------------------------------------------------------


def parse_advertisement(body):
    """v0/v1: ({ref: oid} in order, capabilities, whether `# service=` came first)."""
    packets = [packet for packet in pktline.decode(body) if packet is not None]
    service = bool(packets) and packets[0].startswith(b"# service=")
    packets = packets[1:] if service else packets
    if packets and packets[0].startswith(b"version "):
        packets = packets[1:]
    refs, capabilities, shallow = {}, [], []
    for number, packet in enumerate(packets):
        line = packet.rstrip(b"\n")
        if number == 0 and b"\0" in line:
            line, caps = line.split(b"\0", 1)
            capabilities = caps.decode().split()
        if line.startswith(b"shallow "):
            shallow.append(line.decode())
            continue
        oid, name = line.split(b" ", 1)
        refs[name.decode(errors="surrogateescape")] = oid.decode()
    if refs.keys() == {"capabilities^{}"}:
        refs = {}
    return refs, capabilities, service


def want_body_v0(wants, capabilities, haves=(), extra=(), done=True):
    first, *rest = wants
    rows = [f"want {first} {' '.join(capabilities)}", *(f"want {oid}" for oid in rest), *extra]
    return (pktline.lines(*rows) + pktline.FLUSH + pktline.lines(*(f"have {oid}" for oid in haves))
            + (pktline.lines("done") if done else pktline.FLUSH))


# -- push ---------------------------------------------------------------------------------------------------------


PUSH_CAPABILITIES = ("report-status", "side-band-64k", "delete-refs", "object-format=sha1", AGENT)


def push_body(updates, pack=b"", capabilities=PUSH_CAPABILITIES, shallow=(), options=None):
    """`updates` are (old, new, ref)."""
    def command(number, old, new, name):
        name = name if isinstance(name, bytes) else name.encode()
        tail = b"\0 " + " ".join(capabilities).encode() if number == 0 else b""
        return pktline.data(f"{old} {new} ".encode() + name + tail)

    body = pktline.lines(*(f"shallow {oid}" for oid in shallow))
    body += b"".join(command(number, *update) for number, update in enumerate(updates)) + pktline.FLUSH
    if options is not None:
        body += b"".join(pktline.data(option) for option in options) + pktline.FLUSH
    return body + pack


@dataclass
class Pushed:
    unpack: str = ""
    refs: dict = field(default_factory=dict)
    remote: str = ""
    error: str = ""

    @property
    def ok(self):
        return self.unpack == "ok" and bool(self.refs) and all(value == "ok" for value in self.refs.values())

    def all_text(self):
        return "\n".join([self.unpack, *self.refs.values(), self.remote, self.error])


def parse_push(body, side_band=True):
    """What report-status says; also accepts a bare ERR packet."""
    pushed = Pushed()
    packets = list(pktline.decode(body))
    if packets and isinstance(packets[0], bytes) and packets[0].startswith(b"ERR "):
        pushed.error = packets[0][4:].decode(errors="replace")
        return pushed
    report = body
    if side_band:
        report, remote, error = pktline.parse_bands(iter(packets))
        pushed.remote, pushed.error = remote.decode(errors="replace"), error.decode(errors="replace")
    for packet in pktline.decode(report):
        if packet is None:
            break
        word, _, rest = packet.decode(errors="surrogateescape").rstrip("\n").partition(" ")
        if word == "unpack":
            pushed.unpack = rest
        elif word == "ok":
            pushed.refs[rest] = "ok"
        elif word == "ng":
            name, _, reason = rest.partition(" ")
            pushed.refs[name] = reason or "ng"
    return pushed


# -- sockets ------------------------------------------------------------------------------------------------------


class Raw:
    """A TCP connection spoken to byte by byte."""

    def __init__(self, url, seconds=30):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host = f"{parts.hostname}:{parts.port}"
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, method, target, headers=None, body=b"", length=True):
        rows = {"Host": self.host, **(headers or {})}
        if length and (body or method == "POST") and "Transfer-Encoding" not in rows:
            rows.setdefault("Content-Length", str(len(body)))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in rows.items()) + "\r\n"
        self.send(head.encode("latin-1") + body)

    def _more(self):
        chunk = self.socket.recv(65536)
        self.rest += chunk
        return bool(chunk)

    def until(self, mark):
        while mark not in self.rest:
            if not self._more():
                raise EOFError(self.rest)
        taken, _, self.rest = self.rest.partition(mark)
        return taken

    def exactly(self, count):
        while len(self.rest) < count:
            if not self._more():
                raise EOFError(self.rest)
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def head(self):
        """(status, headers) of the next answer."""
        first, *rows = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
        return int(first.split()[1]), headers

    def chunk(self):
        """The next chunk of a chunked body; empty at its end."""
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        self.until(b"\r\n")
        return data

    def answer(self):
        """The next answer but interim ones, with its body."""
        status, headers = self.head()
        while status == 100:
            status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        elif "content-length" in headers:
            body = self.exactly(int(headers["content-length"]))
        else:
            while self._more():
                pass
            body, self.rest = self.rest, b""
        return Answer(status, headers, body)

    def closed(self):
        """Whether the peer closes without sending more."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        return self.rest == b""


def chunked(body, size=1000):
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
