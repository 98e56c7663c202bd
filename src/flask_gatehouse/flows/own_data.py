"""All that is stored about a user, for the user: no secret, no digest, and nobody else's whereabouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_gatehouse.domain import devices, passwords, throttle, users
from flask_gatehouse.domain.audit import Event
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import Actor, Identity, Source

from . import seeds
from .outcomes import Refusal, Refused, refused

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.domain.audit import Entry
    from flask_gatehouse.kernel.clock import Instant

    from .seeds import EnrolledFactor
    from .services import Services

EVENTS_AT_MOST = 10_000
_PAGE = 500


def collect(services: Services, identity: Identity, source: Source) -> dict[str, Any] | Refused:
    """Return everything that is stored about a user, as it is written to JSON; the deed is recorded.

    Args:
        services: the app's services.
        identity: who asks, about themselves.
        source: where the request comes from.
    """
    user_id, now = identity.user_id, services.clock.now()
    charge = services.throttle.spend(throttle.CHANGE, source.address, now, target=f"data:{user_id}")
    if charge.wait:  # each time is a row of the log for ever, and a walk through ten thousand others
        return refused(Refusal.THROTTLED, wait=charge.wait)
    with services.unit() as unit:
        unit.record(Event("user.data_taken", Actor.of(identity), user_id, source, identity.session_id))
    with services.reading() as connection:
        return {
            "made_at": as_text(now),
            "user": _user(connection, identity),
            "roles": [
                {"role": one.role, "granted_at": as_text(one.granted_at), "until": _text(one.until_at)}
                for one in services.roles.grants_of(connection, user_id, now)
            ],
            "second_factors": [_factor(one) for one in seeds.enrolled_of(services, connection, user_id)],
            "sessions": _sessions(services, connection, identity, now),
            "known_browsers": [
                {"known_since": as_text(one.created_at), "last_login_at": as_text(one.seen_at)}
                for one in devices.of_user(connection, user_id)
            ],
            "events": _events(services, connection, user_id),
        }


def _text(at: Instant | None) -> str | None:
    return None if at is None else as_text(at)


def _user(connection: Connection, identity: Identity) -> dict[str, Any]:
    stored = users.find(connection, identity.user_id)
    if stored is None:
        msg = "a user whose session lives has no row"
        raise RuntimeError(msg)
    credential = passwords.find_credential_of(connection, stored.id)
    return {
        "id": stored.id,
        "username": stored.username,
        "email": stored.email,
        "is_email_verified": stored.is_email_verified,
        "second_email": stored.second_email,
        "email_before": stored.email_before,
        "email_changed_at": _text(stored.email_at),
        "alarm_since": _text(stored.alarm_at),
        "registered_at": as_text(stored.created_at),
        "password_chosen_at": _text(passwords.find_changed_at(connection, stored.id)),
        "password_compromised_at": _text(credential.compromised_at if credential else None),
    }


def _factor(one: EnrolledFactor) -> dict[str, Any]:
    told: dict[str, Any] = {"method": one.method, "name": one.name, "left": one.left}
    told |= {"enrolled_at": _text(one.created_at), "last_used_at": _text(one.used_at)}
    return {key: value for key, value in told.items() if value not in {None, ""}}


def _sessions(services: Services, connection: Connection, identity: Identity, now: Instant) -> list[dict[str, Any]]:
    live = services.sessions.live_of_user(connection, identity.user_id, now, is_admin=identity.is_admin)
    return [
        {
            "id": one.public_id,
            "is_present": one.public_id == identity.session_id,
            "began_at": as_text(one.created_at),
            "last_seen_at": as_text(one.seen_at),
            "address": one.address,
            "browser": one.agent,
        }
        for one in live
    ]


def _events(services: Services, connection: Connection, user_id: int) -> list[dict[str, Any]]:
    """Return the newest events about a user; where an administrator was when they acted is not the user's."""
    found: list[Entry] = []
    before = 0
    while len(found) < EVENTS_AT_MOST:
        page = services.audit.search(connection, user_id=user_id, before=before, limit=_PAGE)
        found += page
        if len(page) < _PAGE:
            break
        before = page[-1].id
    return [_event(one, user_id) for one in found]


def _event(entry: Entry, user_id: int) -> dict[str, Any]:
    told = {"at": as_text(entry.at), "event": entry.kind, "outcome": entry.outcome}
    if entry.is_anothers_deed(user_id):
        return {**told, "by": "an administrator"}
    return {**told, "address": entry.address, "browser": entry.agent}
