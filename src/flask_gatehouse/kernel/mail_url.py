"""Where mail is handed over, and who it is from: the values of `GATEHOUSE_MAIL_URL` and `GATEHOUSE_MAIL_SENDER`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from .parsing import text
from .text import has_control

PORTS = {"smtp": 25, "smtps": 465}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CONTACT_MAX = 200
_SENDER = re.compile(r"(?:[^<>@\"]{0,80}<)?[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,189}>?")


@dataclass(frozen=True, slots=True)
class MailUrl:
    """A mail server, or the console; false where there is none.

    Attributes:
        scheme: `smtp`, `smtps`, `console`, or `""` for none.
        is_plain: whether TLS was given up by `?starttls=never`.
    """

    scheme: str = ""
    host: str = ""
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    is_plain: bool = False

    def __bool__(self) -> bool:
        """Be false where there is no mail."""
        return bool(self.scheme)

    def __str__(self) -> str:
        """Return the URL without name and password."""
        if self.scheme not in PORTS:
            return f"{self.scheme}:" if self.scheme else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        return self.host in LOOPBACK

    @property
    def is_readable(self) -> bool:
        """Whether others on the way could read what is sent."""
        return self.scheme == "smtp" and self.is_plain and not self.is_loopback


NO_MAIL = MailUrl()


def parse_mail_url(value: object) -> MailUrl:
    """Return where mail goes: `smtp://`, `smtps://` or `console:`; empty: nowhere.

    Raises:
        ValueError: it is no such URL. The text does not repeat it: it may hold a password.
    """
    given = text(value).strip()
    if not given:
        return NO_MAIL
    if given in {"console:", "console://"}:
        return MailUrl("console")
    msg = "must be smtp://host:port, smtps://user:password@host:port or console:"
    try:
        parts = urlsplit(given)
        port = parts.port
        asked = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        raise ValueError(msg) from None
    is_plain = asked == {"starttls": ["never"]} and parts.scheme == "smtp"
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError(msg)
    if asked and not is_plain:
        msg = "takes one option, ?starttls=never of smtp://"
        raise ValueError(msg)
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    return MailUrl(parts.scheme, parts.hostname, port or PORTS[parts.scheme], name, password, is_plain)


def parse_contact(value: object) -> str:
    """Return whom to turn to, as one line; empty stays empty.

    Raises:
        ValueError: it is more than a line, or very long.
    """
    given = text(value).strip()
    if has_control(given) or len(given) > CONTACT_MAX:
        msg = f"must be one line of at most {CONTACT_MAX} characters, such as help@app.example"
        raise ValueError(msg)
    return given


def parse_sender(value: object) -> str:
    """Return an address, or `Name <address>`; empty stays empty.

    Raises:
        ValueError: it is neither.
    """
    given = text(value).strip()
    if given and (has_control(given) or not _SENDER.fullmatch(given) or given.endswith(">") != ("<" in given)):
        msg = "must be an address such as no-reply@app.example, or Name <no-reply@app.example>"
        raise ValueError(msg)
    return given
