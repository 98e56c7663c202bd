"""The attacker: connections that guess without pause and never wait. `python -m benchmarks.storm_flood PORT …`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from urllib.parse import urlencode

from benchmarks.browser import HEADERS, ORIGIN

HOST = ORIGIN.removeprefix("https://")
_COOKIE = re.compile(rb"(?im)^set-cookie: ([^=;]+=[^;\r]*)")
_TOKEN = re.compile(rb'name="csrf_token"[^>]*value="([^"]+)"')
_LENGTH = re.compile(rb"(?im)^content-length: (\d+)")


class Connection:
    """One kept-alive connection from a source address."""

    def __init__(self, port: int, source: str) -> None:
        self._port = port
        self._source = source
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes, bytes]:
        """Send a request and return status, head and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._source, 0))
        reader, writer = self._streams
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

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def guesser(port: int, source: str, names: list[str], until: float, found: Counter[int]) -> None:
    """Open the login page once, then guess until the time is over."""
    connection = Connection(port, source)
    _, head, page = await connection.ask("GET", "/login", HEADERS)
    token = _TOKEN.search(page)
    cookies = "; ".join(match.decode() for match in _COOKIE.findall(head))
    sent = HEADERS | {"Origin": ORIGIN, "Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    number = 0
    while time.monotonic() < until:
        fields = {"csrf_token": token[1].decode() if token else "", "username": names[number % len(names)]}
        body = urlencode(fields | {"password": f"a wrong guess {number}"}).encode()
        try:
            status, _, _ = await connection.ask("POST", "/login", sent, body)
            found[status] += 1
        except (OSError, asyncio.IncompleteReadError):
            connection.close()
            found[0] += 1
        number += 1


async def flood(port: int, sources: list[str], names: list[list[str]], seconds: float) -> Counter[int]:
    """Let all guess at once; return how often each status came, 0 for a lost connection."""
    found: Counter[int] = Counter()
    until = time.monotonic() + seconds
    pairs = zip(sources, names, strict=True)
    await asyncio.gather(*(guesser(port, source, held, until, found) for source, held in pairs))
    return found


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    counted = asyncio.run(flood(plan["port"], plan["sources"], plan["names"], plan["seconds"]))
    sys.stdout.write(json.dumps({str(status): number for status, number in sorted(counted.items())}))
