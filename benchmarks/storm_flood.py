"""The attacker: connections that guess without pause and never wait. The one argument is a `Plan` as JSON."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlencode

from benchmarks.browser import HEADERS, ORIGIN
from benchmarks.keep_alive import spread

HOST = ORIGIN.removeprefix("https://")
_COOKIE = re.compile(rb"(?im)^set-cookie: ([^=;]+=[^;\r]*)")
_TOKEN = re.compile(rb'name="csrf_token"[^>]*value="([^"]+)"')
_LENGTH = re.compile(rb"(?im)^content-length: (\d+)")


class Connection:
    """One kept-alive connection from a source address."""

    def __init__(self, port: int, source: str, first: socket.socket | None = None) -> None:
        self._port = port
        self._source = source
        self._first = first
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes, bytes]:
        """Send a request and return status, head and body."""
        reader, writer = self._streams = self._streams or await self._open()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        content = await reader.readexactly(int(length[1]) if length else 0)
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split(b" ", 2)[1]), head, content

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._first is None:
            return await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._source, 0))
        first, self._first = self._first, None
        return await asyncio.open_connection(sock=first)

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass(frozen=True)
class Plan:
    """An attack: connections from sources, each with the names it guesses at in turn.

    Attributes:
        forged: each request names another client address, as a proxy would.
        password: tried at every name; empty: a new wrong one each time.
        workers: of the server; connections are spread evenly over them before the attack, which begins when a line is
            read. 0: they open as it happens, and at once.
    """

    port: int
    sources: list[str]
    names: list[list[str]]
    seconds: float
    forged: bool = False
    password: str = ""
    workers: int = 0

    def connections(self) -> list[Connection]:
        """One from each source."""
        if not self.workers:
            return [Connection(self.port, source) for source in self.sources]
        opened = spread(self.port, self.workers, self.sources)
        return [Connection(self.port, source, one.taken()) for source, one in zip(self.sources, opened, strict=True)]


async def guesser(plan: Plan, place: int, connection: Connection, until: float, found: Counter[int]) -> None:
    """Open the login page once, then guess until the time is over."""
    names = plan.names[place]
    _, head, page = await connection.ask("GET", "/login", HEADERS)
    token = _TOKEN.search(page)
    cookies = "; ".join(match.decode() for match in _COOKIE.findall(head))
    sent = HEADERS | {"Origin": ORIGIN, "Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    if plan.forged:
        sent["X-Forwarded-For"] = f"198.51.100.{place + 1}"
    number = 0
    while time.monotonic() < until:
        fields = {"csrf_token": token[1].decode() if token else "", "username": names[number % len(names)]}
        body = urlencode(fields | {"password": plan.password or f"a wrong guess {number}"}).encode()
        try:
            status, _, _ = await connection.ask("POST", "/login", sent, body)
            found[status] += 1
        except (OSError, asyncio.IncompleteReadError):
            connection.close()
            found[0] += 1
        number += 1


async def flood(plan: Plan, connections: list[Connection]) -> Counter[int]:
    """Let all guess at once; return how often each status came, 0 for a lost connection."""
    found: Counter[int] = Counter()
    until = time.monotonic() + plan.seconds
    await asyncio.gather(*(guesser(plan, place, one, until, found) for place, one in enumerate(connections)))
    return found


def main() -> None:
    """Attack as the first argument says, and write what came of it."""
    plan = Plan(**json.loads(sys.argv[1]))
    connections = plan.connections()
    if plan.workers:
        print("ready", flush=True)
        sys.stdin.readline()
    counted = asyncio.run(flood(plan, connections))
    print(json.dumps({str(status): number for status, number in sorted(counted.items())}))


if __name__ == "__main__":
    main()
