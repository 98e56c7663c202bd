"""Where a browser goes: the WHATWG URL parser, as far as the origin is concerned. Knows nothing of our validator.

https://url.spec.whatwg.org/#concept-basic-url-parser, for a base of `http` or `https`. A test holds it against
Chromium itself.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

SPECIAL = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SLASHES = "/\\"
NOWHERE = "null"


def destination(base: str, text: str) -> str:
    """Return the origin that a link or `Location` leads to; `null` for scripts, data and what cannot be parsed.

    Args:
        base: the origin of the page, such as `http://localhost`.
        text: the link as it stands there.
    """
    base_scheme = base.partition(":")[0]
    link = re.sub(r"[\t\n\r]", "", re.sub(r"\A[\x00-\x20]+|[\x00-\x20]+\Z", "", text))
    found = _SCHEME.match(link)
    if found is None:
        return _authority(base_scheme, link) if _begins_with_two_slashes(link) else base
    scheme, rest = found[1].lower(), found[2]
    if scheme not in SPECIAL:
        return NOWHERE
    if scheme == base_scheme and not rest.startswith("//"):
        # "special relative or authority state": `http:path` is relative to a page of the same scheme
        return _authority(scheme, rest) if _begins_with_two_slashes(rest) else base
    return _authority(scheme, rest)


def _begins_with_two_slashes(link: str) -> bool:
    return len(link) > 1 and link[0] in _SLASHES and link[1] in _SLASHES


def _authority(scheme: str, rest: str) -> str:
    """Return the origin of what follows any number of slashes, forward or backward."""
    rest = rest.lstrip(_SLASHES)
    authority = re.split(r"[/\\?#]", rest, maxsplit=1)[0]
    host_port = authority.rpartition("@")[2]
    host, colon, port = _split_port(host_port)
    host = unquote(host).lower()
    if not host or (colon and port and not (port.isascii() and port.isdecimal() and int(port) < 65536)):
        return NOWHERE
    if re.search(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]", host.strip("[]") if host.startswith("[") else host) and not (
        host.startswith("[") and host.endswith("]")
    ):
        return NOWHERE
    shown = "" if not port or int(port) == SPECIAL[scheme] else f":{int(port)}"
    return f"{scheme}://{host}{shown}"


def _split_port(host_port: str) -> tuple[str, str, str]:
    if host_port.startswith("["):
        host, bracket, rest = host_port.partition("]")
        return host + bracket, *rest.partition(":")[1:]
    return host_port.partition(":")
