"""How the text of a setting becomes its value. Each parser takes what a config, an environment or a file may hold."""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL

_ADDRESS = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,189}")
_DURATION = re.compile(r"(\d{1,9})\s?(s|m|h|d)?")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PORT_DEFAULTS = {"http": 80, "https": 443}
_DATABASES = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_ARGON2_NUMBERS = 3
_ARGON2_KIB_A_LANE = 8
_LONGEST_SECONDS = 36500 * 86400


def text(value: object) -> str:
    """Return a string as it is.

    Raises:
        ValueError: the value is no string.
    """
    if not isinstance(value, str):
        msg = "must be text"
        raise ValueError(msg)  # noqa: TRY004 - one error type for every parser
    return value


def words(value: object) -> tuple[str, ...]:
    """Return a comma or blank separated text, or a list of texts, as a tuple.

    Raises:
        ValueError: the value is neither.
    """
    if isinstance(value, str):
        return tuple(word for word in re.split(r"[,\s]+", value) if word)
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(text(word).strip() for word in value)
    msg = "must be a comma separated list"
    raise ValueError(msg)


def secrets_list(value: object) -> tuple[str, ...]:
    """Return secrets separated by commas, or a list of them; blanks inside a secret count.

    Raises:
        ValueError: the value is neither.
    """
    if isinstance(value, str):
        return tuple(secret for secret in value.split(",") if secret)
    if isinstance(value, (list, tuple)):
        return tuple(secret.decode() if isinstance(secret, bytes) else text(secret) for secret in value)
    msg = "must be a list of secrets"
    raise ValueError(msg)


def secret(value: object) -> str:
    """Return a secret, given as text or bytes.

    Raises:
        ValueError: the value is neither.
    """
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else text(value)


def whole(value: object) -> int:
    """Return a whole number, zero or more.

    Raises:
        ValueError: the value is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).strip().isdecimal():
        msg = "must be a whole number"
        raise ValueError(msg)
    return int(value)


def flag(value: object) -> bool:
    """Return a yes or no.

    Raises:
        ValueError: the value is something else.
    """
    if isinstance(value, bool):
        return value
    lowered = text(value).strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    msg = "must be on or off"
    raise ValueError(msg)


def duration(value: object) -> timedelta:
    """Return a timedelta; a number or bare text is seconds, `30m`, `12h` and `7d` work too.

    Raises:
        ValueError: the value is none of these, negative, or longer than a century.
    """
    found = value // timedelta(seconds=1) if isinstance(value, timedelta) else _seconds(value)
    if found is None or not 0 <= found <= _LONGEST_SECONDS:
        msg = "must be a duration: seconds, or 30m, 12h, 7d"
        raise ValueError(msg)
    return value if isinstance(value, timedelta) else timedelta(seconds=found)


def _seconds(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return int(match[1]) * _UNIT_SECONDS[match[2] or "s"]
    return None


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a parser that takes one of these words."""

    def parse(value: object) -> str:
        lowered = text(value).strip().lower()
        if lowered not in choices:
            msg = f"must be one of: {', '.join(choices)}"
            raise ValueError(msg)
        return lowered

    return parse


def origins(value: object) -> tuple[str, ...]:
    """Return web origins (`https://app.example`, port where it is not the scheme's own) in their one spelling.

    Raises:
        ValueError: one of them is no origin.
    """
    return tuple(_origin(word) for word in words(value))


def _origin(word: str) -> str:
    parts = urlsplit(word)
    host = (parts.hostname or "").lower()
    is_more = parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _PORT_DEFAULTS or not host or is_more:
        msg = f"must be origins such as https://app.example, not {word!r}"
        raise ValueError(msg)
    shown = f"[{host}]" if ":" in host else host
    if parts.port is None or parts.port == _PORT_DEFAULTS[parts.scheme]:
        return f"{parts.scheme}://{shown}"
    return f"{parts.scheme}://{shown}:{parts.port}"


def networks(value: object) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network | str, ...]:
    """Return CIDR networks, the word `unix` as it is; the word `none` is the empty list.

    Raises:
        ValueError: one of them is no network.
    """
    found = words(value)
    if found in {(), ("none",)}:
        return ()
    try:
        return tuple(word if word == "unix" else ipaddress.ip_network(word) for word in found)
    except ValueError as error:
        msg = f"must be none, unix or networks such as 10.0.0.0/8 ({error})"
        raise ValueError(msg) from error


def argon2(value: object) -> tuple[int, int, int]:
    """Return Argon2id parameters `m,t,p` (KiB, passes, lanes).

    Raises:
        ValueError: these are not three whole numbers, or ones that Argon2 does not take.
    """
    parts = words(value) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else ()
    if len(parts) != _ARGON2_NUMBERS:
        msg = "must be three numbers m,t,p such as 19456,2,1"
        raise ValueError(msg)
    m, t, p = (whole(part) for part in parts)
    if t < 1 or p < 1 or m < _ARGON2_KIB_A_LANE * p:
        msg = f"needs one pass, one lane and {_ARGON2_KIB_A_LANE} KiB a lane, or more"
        raise ValueError(msg)
    return m, t, p


def local_path(value: object) -> str:
    """Return a path of this app.

    Raises:
        ValueError: it would lead elsewhere.
    """
    path = text(value)
    if not re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", path):
        msg = "must be a path of this app such as /home"
        raise ValueError(msg)
    return path


def breached_passwords(value: object) -> str:
    """Return the path of a file, or the address of a service; empty stays empty.

    Raises:
        ValueError: it is an address without TLS, or one that no five digits can be added to.
    """
    found = text(value)
    if "://" not in found:
        return found
    parts = urlsplit(found)
    is_here = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if not (parts.scheme == "https" or is_here) or not parts.hostname or not found.endswith(("/", "=")):
        msg = "must be a file, or an https:// address to which five digits can be added, such as https://…/range/"
        raise ValueError(msg)
    return found


def contact(value: object) -> str:
    """Return an e-mail address, or the `https://` address of a page; empty stays empty.

    Raises:
        ValueError: it is neither.
    """
    found = text(value).strip()
    parts = urlsplit(found)
    is_page = parts.scheme == "https" and bool(parts.hostname) and found.isprintable() and " " not in found
    if found and not is_page and not _ADDRESS.fullmatch(found):
        msg = "must be an address such as help@app.example, or a page such as https://app.example/help"
        raise ValueError(msg)
    return found


def database_url(value: object) -> str:
    """Return a SQLAlchemy URL of SQLite or PostgreSQL, the latter through psycopg 3; empty stays empty.

    Raises:
        ValueError: it is no such URL. The text does not repeat it: it may hold a password.
    """
    url = text(value)
    if not url:
        return url
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in _DATABASES:
        msg = "must be sqlite:///… or postgresql+psycopg://…"
        raise ValueError(msg)
    return parsed.set(drivername=_DATABASES[parsed.drivername]).render_as_string(hide_password=False)


def database_path(url: URL) -> str:
    """Return the file of a SQLite database, also where the URL names it as a URI (`file:…?uri=true`)."""
    name = url.database or ""
    is_uri = name.startswith("file:") and url.get_dialect()().create_connect_args(url)[1].get("uri")
    return unquote(urlsplit(name).path) if is_uri else name


def url_path(value: object) -> str:
    """Return a URL prefix: empty, or `/` and a path without a slash at its end.

    Raises:
        ValueError: the value starts without a slash.
    """
    path = text(value).strip().rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        msg = "must be a path such as /auth"
        raise ValueError(msg)
    return path
