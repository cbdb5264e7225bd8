"""The target of a webhook: takes what is sent to it, and misbehaves on order (see `httpd`)."""

import hashlib
import hmac
import json
import threading
from dataclasses import dataclass

from . import wait
from .httpd import Cut, Httpd


@dataclass
class Taken:
    """One attempt that arrived whole."""

    path: str
    headers: object
    body: bytes

    @property
    def payload(self):
        return json.loads(self.body)

    @property
    def id(self):
        return self.headers["x-webhook-delivery"]

    @property
    def what(self):
        """`update repo.content alice/x`"""
        event = self.payload["event"]
        return f"{event['action']} {event['scope']} {self.payload['repo']['name']}"

    def is_signed(self, secret):
        """As in the README."""
        expected = "sha256=" + hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, self.headers["x-hub-signature-256"])


class Receiver(Httpd):
    def __init__(self):
        super().__init__()
        self.taken = []
        self.url = self.listen("target")

    def take(self, exchange):
        self.taken.append(Taken(exchange.target, exchange.headers, exchange.whole_body()))

    def handle(self, exchange):
        self.take(exchange)
        exchange.answer(200, b"{}")

    def at(self, path):
        return [item for item in list(self.taken) if item.path == path]

    def wait(self, path, count, seconds=20):
        """So many have arrived there; returns all."""
        try:
            wait.until(lambda: len(self.at(path)) >= count, f"{count} deliveries at {path}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}, but these:\n" + "\n".join(item.what for item in self.at(path))) from None
        return self.at(path)

    def answers(self, path, action, times=None):
        """`action(exchange)` at this path instead of taking it with a 200; what comes is noted first."""
        def noted(exchange):
            self.take(exchange)
            action(exchange)
        self.order(noted, when=lambda exchange: exchange.target == path, times=times)


def status(code, **headers):
    return lambda exchange: exchange.answer(code, b"no", **headers)


def cut(exchange):
    raise Cut


class Hang:
    """Answers nothing before it is let go."""

    def __init__(self):
        self.go = threading.Event()

    def __call__(self, exchange):
        self.go.wait(60)
        raise Cut


class Endless:
    """An answer without end; `sent` is how much of it somebody took."""

    def __init__(self):
        self.sent = 0

    def __call__(self, exchange):
        exchange.start(200, {"Content-Type": "text/plain"})
        while self.sent < 1 << 30:
            exchange.send(b"x" * (64 << 10))
            self.sent += 64 << 10
