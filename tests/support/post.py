"""A real mail server for tests: aiosmtpd on loopback, which keeps what it is given and can be taken down."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from aiosmtpd.controller import Controller

LINK = re.compile(r"https?://\S+/(?:reset-password|verify-email)/([A-Za-z0-9_-]{43})\b")


def part(message: EmailMessage, kind: str) -> str:
    """Return the text or HTML of a mail: `plain` or `html`."""
    found = message.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def token_of(message: EmailMessage) -> str:
    """Return the secret of the link in a mail."""
    found = LINK.search(part(message, "plain"))
    assert found is not None, part(message, "plain")
    return found[1]


class _Controller(Controller):
    """A server that remembers whom it serves."""

    def __init__(self, *args: Any, **told: Any) -> None:
        super().__init__(*args, **told)
        self.served: list[Any] = []

    def factory(self) -> Any:
        """Serve one connection."""
        self.served.append(super().factory())
        return self.served[-1]

    async def hang_up(self) -> None:
        """End what is still open: a mail thread may be in the middle of a sentence."""
        for transport in [one.transport for one in self.served if one.transport is not None]:
            transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@dataclass
class PostOffice:
    """The server, and the mails that arrived."""

    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    port: int = 0
    _controller: _Controller | None = None

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a recipient, or answer what the test says."""
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail."""
        self.mails.append(message_from_bytes(envelope.content, policy=SMTP))
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def open(self) -> None:
        """Listen, always on the same port."""
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self._controller = _Controller(self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=True)
        self._controller.start()

    def close(self) -> None:
        """Answer no more."""
        if self._controller is not None:
            asyncio.run_coroutine_threadsafe(self._controller.hang_up(), self._controller.loop).result(30)
            self._controller.stop()
            self._controller = None

    @property
    def url(self) -> str:
        """What to set as `GATEHOUSE_MAIL_URL`."""
        return f"smtp://127.0.0.1:{self.port}"

    def to(self, address: str) -> list[EmailMessage]:
        """Return the mails that went to an address, oldest first."""
        return [mail for mail in self.mails if mail["To"] == address]

    def subjects(self, address: str = "") -> list[str]:
        """Return the subjects of all mails, or of those to one address."""
        return [str(mail["Subject"]) for mail in (self.to(address) if address else self.mails)]
