"""How a mail leaves: SMTP with verified TLS, or the console."""

from __future__ import annotations

import smtplib
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import TYPE_CHECKING, NoReturn, Self

from flask_gatehouse.kernel.mail_url import NO_MAIL, MailUrl

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS = 15.0
POLICY = SMTP.clone(max_line_length=900)  # no line of ours is folded: a link stays in one piece
PERMANENT = 500
"""SMTP replies from here on will be the same tomorrow (RFC 5321 4.2.1)."""
CLOSING = 421
"""The server says that it ends the connection, whatever was asked (RFC 5321 4.2.3)."""
NO_SENDER = "gatehouse@localhost"


class RejectedError(Exception):
    """The server will never take this mail."""


class DeferredError(Exception):
    """The server takes mails, and does not take this one now."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A mail that is ready to leave.

    Attributes:
        address: where it goes.
        text: its plain part.
        html: its HTML part.
    """

    address: str
    subject: str
    text: str
    html: str


class Mailer:
    """Hands mails over.

    Args:
        url: from `GATEHOUSE_MAIL_URL`.
        sender: from `GATEHOUSE_MAIL_SENDER`.
    """

    def __init__(self, url: MailUrl = NO_MAIL, sender: str = "") -> None:
        self._url = url
        self._sender = sender or NO_SENDER
        self._taker: Callable[[EmailMessage], object] | None = None

    @property
    def is_on(self) -> bool:
        """Whether mail is sent at all."""
        return bool(self._url) or self._taker is not None

    def divert(self, taker: Callable[[EmailMessage], object]) -> None:
        """Give every mail to a function in place of a server, whatever the settings say: for tests."""
        self._taker = taker

    def courier(self) -> Courier:
        """Return who hands over several mails in one connection, made when the first one is there."""
        is_served = self._taker is None and self._url.scheme in {"smtp", "smtps"}
        return Courier(self._connect if is_served else None, self._sender, self._taker or _print)

    def _connect(self) -> smtplib.SMTP:
        """Open a connection; off loopback nothing is said before TLS is there and the certificate is checked.

        Raises:
            OSError: the server does not answer, or offers no TLS (`smtplib.SMTPException` is one).
        """
        url = self._url
        if url.scheme == "smtps":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(url.host, url.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(url.host, url.port, timeout=TIMEOUT_SECONDS)
        try:
            if url.scheme == "smtp" and not url.is_plain and not url.is_loopback:
                server.starttls(context=ssl.create_default_context())
            if url.username:
                server.login(url.username, url.password)
        except smtplib.SMTPNotSupportedError as error:  # the server's set-up, and no fault of the mail
            server.close()
            raise ConnectionError("the server offers no STARTTLS, or no login") from error
        except BaseException:
            server.close()
            raise
        return server


def _print(message: EmailMessage) -> None:
    sys.stderr.write(f"{message.as_string()}\n")


class Courier:
    """Hands over mails one after the other. Use it in a `with`.

    Args:
        connect: opens a connection; None: mails go to the taker.
        sender: who they are from.
        taker: takes mails where there is no connection to make.
    """

    def __init__(
        self,
        connect: Callable[[], smtplib.SMTP] | None,
        sender: str,
        taker: Callable[[EmailMessage], object] = _print,
    ) -> None:
        self._taker = taker
        self._connect = connect
        self._sender = sender
        self._server: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._leave()

    def _leave(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            with suppress(OSError):
                server.quit()
            server.close()

    def send(self, envelope: Envelope) -> None:
        """Hand a mail over.

        Raises:
            RejectedError: it will never be taken.
            DeferredError: it was not taken; perhaps it will be later. Others may be.
            OSError: the server cannot be talked to.
        """
        message = message_of(envelope, self._sender)
        if self._connect is None:
            self._taker(message)
            return
        try:
            if self._server is None:
                self._server = self._connect()
            self._server.send_message(message, to_addrs=[envelope.address])
        except smtplib.SMTPRecipientsRefused as error:
            self._refused(error, max(code for code, _ in error.recipients.values()))
        except smtplib.SMTPDataError as error:  # perhaps the server's day, perhaps this mail: it is tried again
            self._leave()
            raise DeferredError from error
        except smtplib.SMTPNotSupportedError as error:  # an address beyond ASCII, and a server that knows none
            raise RejectedError from error
        except BaseException:
            self._leave()
            raise

    def _refused(self, error: smtplib.SMTPRecipientsRefused, code: int) -> NoReturn:
        """Say whether a refusal is this recipient's, for good or for now, or that of all."""
        if code == CLOSING:
            self._leave()
            raise error
        if code >= PERMANENT:
            raise RejectedError from error
        raise DeferredError from error


def message_of(envelope: Envelope, sender: str) -> EmailMessage:
    """Return the message with its two parts.

    Raises:
        RejectedError: the address would mean another one in a header.
    """
    message = EmailMessage(POLICY)
    message["From"] = sender
    try:
        message["To"] = envelope.address
    except ValueError as error:
        raise RejectedError from error
    if str(message["To"]) != envelope.address:
        raise RejectedError
    message["Subject"] = envelope.subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2].rstrip(">") or "localhost")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notice comes back
    message.set_content(envelope.text)
    message.add_alternative(envelope.html, subtype="html")
    return message
