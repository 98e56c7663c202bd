"""What pages say that ask for a passkey: the options of the browser's own dialogue, or where passkeys work."""

from __future__ import annotations

from typing import Any

from flask_wtf.csrf import generate_csrf

from flask_gatehouse.flows import ceremonies
from flask_gatehouse.http.context import here, services
from flask_gatehouse.kernel.keys import secret_digest


def browser_place() -> str:
    """Return what the CSRF tokens of this browser are made of, hidden: a login by passkey is bound to it."""
    generate_csrf()
    return secret_digest(here()["csrf_token"]).hex()


def asked(options: str) -> dict[str, Any]:
    """Return what a page shows of a question to passkeys.

    Args:
        options: JSON for the browser; `""` where nothing is asked.

    Returns:
        `passkey_options`, empty where this page's own address has no passkeys, and then `passkey_place`: where they
        work.
    """
    party, origin = ceremonies.party_of(services()), here().origin
    if not options or party is None or origin is None:
        return {"passkey_options": "", "passkey_place": ""}
    if party.accepts(origin.text):
        return {"passkey_options": options, "passkey_place": ""}
    return {"passkey_options": "", "passkey_place": party.origins[0] if party.origins else f"http://{party.id}"}
