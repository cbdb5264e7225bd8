"""An HTTP/1.1 server of the tests' own: it counts what passes, and misbehaves on order. `Proxy` stands in front of another server.

A proxy keeps the Host header and every other byte of the head, so that S3 signatures, which cover them, stay valid.
"""

import contextlib
import http.client
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

HOST = "127.0.0.1"
PIECE = 64 * 1024


class Cut(Exception):
    """The connection to the client is broken off."""


@dataclass
class Exchange:
    """One request. An action answers it by `answer`, `forward` or by raising `Cut`."""

    handler: BaseHTTPRequestHandler
    role: str
    method: str
    target: str
    headers: object
    status: int = 0
    body_bytes: int = 0  # received of the request's body
    sent_bytes: int = 0  # of the answer's body
    answer_headers: dict = field(default_factory=dict)
    kept: bytes = b""  # the answer's body, if it is JSON

    def __post_init__(self):
        parts = urlsplit(self.target)
        self.path = unquote(parts.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self._drained = False
        self.rest = ()  # of the body, if the answer came before its end

    @property
    def length(self):
        return int(self.headers.get("content-length") or 0)

    @property
    def reads_an_object(self):
        """Of a bucket: its bytes, not which parts of an upload there are."""
        return self.method == "GET" and "/objects/" in self.path and "uploadId" not in self.query

    def body(self):
        """The request's body, piece by piece."""
        self._drained = True
        read = self.handler.rfile.read
        if "chunked" in (self.headers.get("transfer-encoding") or ""):
            while size := int(self.handler.rfile.readline().split(b";")[0], 16):
                self.body_bytes += size
                yield read(size)
                self.handler.rfile.readline()
            self.handler.rfile.readline()
            return
        left = self.length
        while left:
            piece = self.handler.rfile.read1(min(left, PIECE))
            if not piece:
                raise Cut
            left -= len(piece)
            self.body_bytes += len(piece)
            yield piece

    def whole_body(self):
        return b"".join(self.body())

    def answer(self, status, body=b"", **headers):
        """Header names may be written with underscores."""
        if not self._drained:
            for _ in self.body():
                pass
        self.start(status, {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}})
        if self.method != "HEAD":
            self.send(body)

    def start(self, status, headers):
        self.status = status
        self.answer_headers = {name.lower(): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '')}", *(f"{name}: {value}" for name, value in headers.items())]
        self.handler.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def send(self, data):
        if "json" in self.answer_headers.get("content-type", ""):
            self.kept += data
        self.handler.wfile.write(data)
        self.sent_bytes += len(data)


class Httpd:
    """Answers by `handle`, unless an order says otherwise. `seen` is every finished exchange."""

    def __init__(self):
        self.seen = []
        self.orders = []
        self.is_down = False
        self._servers = []

    def handle(self, exchange):
        raise NotImplementedError

    # -- what tests ask for ---------------------------------------------------------------------------------------

    def order(self, action, when=lambda exchange: True, times=None):
        """`action(exchange)` instead of the usual answer, for what `when` picks, at most `times` times."""
        self.orders.append([action, when, times])

    def obey(self):
        """All orders are forgotten."""
        self.orders.clear()

    def count(self, **wanted):
        """Finished exchanges with these attributes, like count(role="client", method="PUT")."""
        return [item for item in list(self.seen) if all(getattr(item, name) == value for name, value in wanted.items())]

    def received(self, **wanted):
        return sum(item.body_bytes for item in self.count(**wanted))

    def sent(self, **wanted):
        return sum(item.sent_bytes for item in self.count(**wanted))

    # -- serving --------------------------------------------------------------------------------------------------

    def listen(self, role="client"):
        """One more port; returns its base URL. Exchanges carry the role of the port they came by."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 120

            def handle_one_request(self):
                with contextlib.suppress(ConnectionError, TimeoutError, http.client.HTTPException):
                    self.raw_requestline = self.rfile.readline(65537)
                    if not self.raw_requestline or outer.is_down or not self.parse_request():
                        self.close_connection = True
                        return
                    outer._serve(Exchange(self, role, self.command, self.path, self.headers))
                    return
                self.close_connection = True

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # a client that is gone; what matters shows in `seen`

            def shutdown_request(self, request):
                if outer.is_down:  # a reset, not a polite end
                    request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                super().shutdown_request(request)

        server = Server((HOST, 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._servers.append(server)
        return f"http://{HOST}:{server.server_address[1]}"

    def _serve(self, exchange):
        action = self.handle
        for order in list(self.orders):
            if order[2] != 0 and order[1](exchange):
                if order[2] is not None:
                    order[2] -= 1
                action = order[0]
                break
        try:
            action(exchange)
        except Cut:
            exchange.handler.close_connection = True
            exchange.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            exchange.handler.close_connection = True
        finally:
            self.seen.append(exchange)

    def close(self):
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Proxy(Httpd):
    """Everything goes to `upstream`, a base URL."""

    def __init__(self, upstream):
        super().__init__()
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname, parts.port)

    def handle(self, exchange):
        self.forward(exchange)

    def ask(self, exchange, edit=None, cut_at=None):
        """Sends the request on; returns (connection, response)."""
        connection = http.client.HTTPConnection(*self.upstream, timeout=300)
        connection.putrequest(exchange.method, exchange.target, skip_host=True, skip_accept_encoding=True)
        for name, value in exchange.headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        chunked = "chunked" in (exchange.headers.get("transfer-encoding") or "")
        pieces = exchange.body()
        try:
            for piece in pieces:
                if cut_at is not None and exchange.body_bytes > cut_at:
                    connection.close()
                    raise Cut
                piece = edit(piece) if edit else piece
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                connection.send(b"0\r\n\r\n")
        except ConnectionError:  # answered early: the answer may be there
            exchange.handler.close_connection = True
            exchange.rest = pieces
        return connection, connection.getresponse()

    def forward(self, exchange, edit=None, cut_request=None, cut_answer=None, rewrite=None, pace=None):
        """`edit(piece)` changes the request's body, not its size. `cut_*`: the connections end after so many bytes of body.
        `rewrite(status, headers, body)` gives another answer; `pace()` is called before each piece of the real one."""
        connection, response = self.ask(exchange, edit, cut_request)
        with contextlib.closing(connection):
            self._pass_on(exchange, response, cut_answer, rewrite, pace)
        for _ in exchange.rest:  # closed with bytes unread, the connection would be reset, and the answer lost
            pass

    @staticmethod
    def _pass_on(exchange, response, cut_answer, rewrite, pace):
        headers = {name: value for name, value in response.getheaders() if name.lower() not in ("connection", "keep-alive")}
        if rewrite:
            status, headers, body = rewrite(response.status, headers, response.read())
            headers = {name: value for name, value in headers.items() if name.lower() not in ("content-length", "transfer-encoding")}
            exchange.start(status, {**headers, "Content-Length": str(len(body))})
            exchange.send(body)
            return
        bodyless = exchange.method == "HEAD" or response.status in (204, 304)
        chunked = response.chunked and not bodyless
        if not chunked and not bodyless and response.length is None:
            headers["Connection"] = "close"
            exchange.handler.close_connection = True
        exchange.start(response.status, headers)
        while not bodyless and (piece := response.read1(PIECE)):
            if pace:
                pace()
            if cut_answer is not None and exchange.sent_bytes + len(piece) > cut_answer:
                exchange.send(piece[: cut_answer - exchange.sent_bytes])
                raise Cut
            if chunked:
                exchange.handler.wfile.write(b"%x\r\n" % len(piece))
                exchange.send(piece)
                exchange.handler.wfile.write(b"\r\n")
            else:
                exchange.send(piece)
        if chunked:
            exchange.handler.wfile.write(b"0\r\n\r\n")
