"""`gatehouse keys`: which secrets there are and what for; let an older one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_gatehouse.flows import rotate_keys, seeds
from flask_gatehouse.kernel.keys import PURPOSES

from .app import Commands, accepted, act, with_services
from .options import json_option, reason_option
from .output import SlowBar, print_json, print_table, say, when

if TYPE_CHECKING:
    from flask_gatehouse.flows.rotate_keys import Rotated, Secret
    from flask_gatehouse.flows.services import Services


@click.group("keys", cls=Commands)
def commands() -> None:
    """Look at the key ring, and let an older secret go."""


@commands.command("list")
@json_option
@with_services
def list_keys(services: Services, *, as_json: bool) -> None:
    """List the root secrets by their ids, what still needs an older one, and what keys are made for.

    An id says nothing about its secret, and no secret is shown. Exits with 1 where one that is needed is not set.
    """
    found = rotate_keys.listed(services)
    if as_json:
        print_json({"secrets": [_facts(one) for one in found], "purposes": dict(PURPOSES)})
    else:
        rows = ((one.id or "unknown", _state(one), when(one.since), _needs(one)) for one in found)
        print_table(("ID", "STATE", "ROTATED", "STILL NEEDED BY"), rows)
        say("")
        print_table(("KEYS ARE MADE FOR", "WHAT THAT IS"), PURPOSES.items())
    if not all(one.is_set for one in found):
        raise click.ClickException("a secret that is needed is not set: run gatehouse keys rotate to see whose")


def _facts(secret: Secret) -> dict[str, object]:
    told = {"id": secret.id, "state": _state(secret), "rotated_at": when(secret.since)}
    return {**told, "needed_by": dict(secret.needed_by)}


def _state(secret: Secret) -> str:
    if secret.is_present:
        return "present"
    return "fallback" if secret.is_set else "not set"


def _needs(secret: Secret) -> str:
    names = {seeds.TOTP: "seed", seeds.PASSKEY: "passkey"}
    counts = ((number, names.get(method, method)) for method, number in secret.needed_by.items())
    return ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in counts)


@commands.command("rotate")
@reason_option
@json_option
@with_services
def rotate(services: Services, reason: str, *, as_json: bool) -> None:
    """Seal every seed of a second factor under the present secret, and let it vouch for every passkey.

    Run it after a new GATEHOUSE_SECRET_KEY was set and the old one put into GATEHOUSE_SECRET_KEY_FALLBACKS. It may be
    ended at any moment and run again. Exits with 1 and names the users where a secret that is needed is not set.
    """
    with SlowBar("Sealing seeds", rotate_keys.due(services)) as bar:
        found = accepted(rotate_keys.rotate(services, act(reason), bar))
    if as_json:
        print_json({"sealed": found.number, "lost": found.lost, "users": [name for name, _ in found.names]})
    else:
        say(_done(found))
    if found.lost:
        raise click.ClickException(_lost(found))


def _done(found: Rotated) -> str:
    seeds = found.number - found.passkeys
    parts = ["1 seed" if seeds == 1 else f"{seeds} seeds"] if seeds or not found.passkeys else []
    if found.passkeys:
        parts.append("1 passkey" if found.passkeys == 1 else f"{found.passkeys} passkeys")
    return f"{' and '.join(parts)} {'was' if found.number == 1 else 'were'} sealed anew."


def _lost(found: Rotated) -> str:
    ids = ", ".join(sorted({key_id for _, key_id in found.names if key_id})) or "of another day"
    names = ", ".join(name for name, _ in found.names)
    more = f" and {found.lost - len(found.names)} more" if found.lost > len(found.names) else ""
    return (
        f"{found.lost} cannot be opened: sealed under secret {ids}, which is not set, or changed. Add that secret to "
        f"GATEHOUSE_SECRET_KEY_FALLBACKS, or run gatehouse user reset-factors for: {names}{more}"
    )
