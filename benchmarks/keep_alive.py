"""The smallest HTTP client that keeps a connection open: on few cores a load must cost less than what it measures."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Sequence

import psutil

from benchmarks.browser import WrongAnswerError
from benchmarks.served_app import WORKER_PATH
from benchmarks.servers import HOST

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_COOKIE = re.compile(rb"(?i)\r\nset-cookie: *([^=;]+=[^;\r]*)")
_RETRY = re.compile(rb"(?i)\r\nretry-after: *(\d+)")
MOST_TRIES, PATIENCE = 1000, 60.0


class Connection:
    """One connection to a server."""

    def __init__(self, port: int, timeout: float = PATIENCE, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout, (source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send a request as it stands; return status, head and body."""
        self.send(request)
        return self.receive()

    def send(self, request: bytes) -> None:
        """Send a request and wait for nothing."""
        self._socket.sendall(request)

    def fileno(self) -> int:
        """What a poll knows the connection by."""
        return self._socket.fileno()

    def receive(self) -> tuple[int, bytes, bytes]:
        """Wait for the answer to what was sent."""
        got = self._socket.recv(65536)
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._more()
        found = _LENGTH.search(got, 0, end)
        whole = end + 4 + (int(found[1]) if found else 0)
        while len(got) < whole:
            got += self._more()
        return int(got[9:12]), got[: end + 2], got[end + 4 :]

    def _more(self) -> bytes:
        more = self._socket.recv(65536)
        if not more:
            raise WrongAnswerError("the server closed a connection that it should have kept")
        return more

    def patient(self) -> Connection:
        """From now on wait as long as a person would."""
        self._socket.settimeout(PATIENCE)
        return self

    def taken(self) -> socket.socket:
        """The bare socket, for somebody else to use and close."""
        return self._socket

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", *(f"{name}: {value}" for name, value in headers.items())]
    if method == "POST":
        lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def cookies_of(head: bytes) -> str:
    """What a browser sends back of an answer's cookies."""
    return "; ".join(match.decode() for match in _COOKIE.findall(head))


def wait_of(head: bytes) -> float:
    """How many seconds an answer asks to wait."""
    found = _RETRY.search(head)
    return float(found[1]) if found else 1.0


def spread(port: int, workers: int, sources: Sequence[str]) -> list[Connection]:
    """Open a connection from each source, equally many to each worker: so they lie, on the average, at a busy site.

    While nothing else happens one and the same worker may take every connection: one that has its part is stopped until
    the others have theirs, and a connection that waits for a stopped one is given up.

    Args:
        port: of the server.
        workers: how many processes it has.
        sources: addresses of this machine to connect from, one for each connection.
    """
    held: dict[int, list[Connection]] = {}
    found: list[Connection] = []
    asked, part = request("GET", WORKER_PATH, {}), math.ceil(len(sources) / workers)
    try:
        for _ in range(MOST_TRIES):
            connection = Connection(port, timeout=0.2, source=sources[len(found)])
            try:
                pid = int(connection.ask(asked)[2])
            except TimeoutError:
                connection.close()
                continue
            found.append(connection.patient())
            held.setdefault(pid, []).append(connection)
            if len(held[pid]) == part:
                psutil.Process(pid).suspend()
            if len(found) == len(sources):
                return found
    finally:
        for pid in held:
            psutil.Process(pid).resume()
    raise WrongAnswerError(f"{len(found)} of {len(sources)} connections after {MOST_TRIES} tries")
