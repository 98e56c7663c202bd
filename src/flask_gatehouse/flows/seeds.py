"""What flows and pages about second factors share: which are on, how a seed is shown, what a wrong code is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from flask_gatehouse.domain.factors import RECOVERY, outstanding, passkey_rows
from flask_gatehouse.domain.factors.offers import Unconfirmed

from .outcomes import Refusal, Refused, refused, refused_value

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from flask_gatehouse.domain.sessions import Issued
    from flask_gatehouse.kernel.clock import Instant
    from flask_gatehouse.kernel.feature import CodesFactor, Factor, SealedFactor, SeedFactor

    from .services import Services

TOTP = "totp"
PASSKEY = "passkey"
RECOVERY_CODES = "recovery_code"
WRONG_CODE = "This is not the code that the app shows now. Wait for the next one and type that."
NONE_OFFERED = "This site offers no second factor: nobody could enrol one."
VOID = "Too many wrong codes: a new key was made. Scan it anew."


@dataclass(frozen=True, slots=True, repr=False)
class Offer:
    """A seed that waits to be confirmed by a code.

    Attributes:
        seed: to be typed into an authenticator app.
        link: the same as an `otpauth:` link.
        picture: the link as a QR code: the side in squares, and the SVG path of the dark ones.
    """

    seed: str
    link: str
    picture: tuple[int, str]


@dataclass(frozen=True, slots=True, repr=False)
class Enrolled:
    """A factor was enrolled.

    Attributes:
        issued: the session under its new id.
        codes: recovery codes made along with the first factor, to be shown once.
    """

    issued: Issued
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnrolledFactor:
    """A factor that a user has, as administrators see it.

    Attributes:
        method: such as `totp`.
        created_at: when it was enrolled, where that is known.
        used_at: when it was used last, where that is known.
        left: of recovery codes, how many are left.
        name: what the user calls it, of a passkey.
    """

    method: str
    created_at: Instant | None = None
    used_at: Instant | None = None
    left: int | None = None
    name: str = ""


def factor_of(services: Services, method: str) -> Factor | None:
    """Return the factor of a method, None where the feature is off."""
    return next((factor for factor in services.factors if factor.method == method), None)


def totp_of(services: Services) -> SeedFactor | None:
    """Return the factor `totp`, None where the feature is off."""
    return cast("SeedFactor | None", factor_of(services, TOTP))


def sealed_of(services: Services) -> list[SealedFactor]:
    """Return the factors whose rows need the root secret."""
    return [cast("SealedFactor", factor) for factor in services.factors if factor.method in {TOTP, PASSKEY}]


def codes_of(services: Services) -> CodesFactor | None:
    """Return the recovery codes, None where the feature is off."""
    return cast("CodesFactor | None", factor_of(services, RECOVERY_CODES))


def offer_of(services: Services, factor: SeedFactor, seed: str, username: str) -> Offer:
    """Return a seed as it is shown to its user; the site is named by its first origin."""
    issuer = urlsplit(services.settings.origins[0]).hostname if services.settings.origins else None
    link = factor.link(seed, name=username, issuer=issuer or "Gatehouse")
    return Offer(seed, link, factor.picture(link))


def offers_factor(services: Services) -> bool:
    """Tell whether there is a second factor to enrol at all; recovery codes are none."""
    return any(factor.kind != RECOVERY for factor in services.factors)


def has_factor(services: Services, connection: Connection, user_id: int) -> bool:
    """Tell whether a user has a second factor enrolled."""
    return bool(outstanding(connection, services.factors, user_id))


def enrolled_of(services: Services, connection: Connection, user_id: int) -> list[EnrolledFactor]:
    """Return what a user has enrolled, each passkey by itself, recovery codes too."""
    found, totp, codes = [], totp_of(services), codes_of(services)
    for factor in services.factors:
        if not factor.enrolled(connection, user_id):
            continue
        if factor.method == PASSKEY:
            own = passkey_rows.of_user(connection, user_id)
            found += [EnrolledFactor(PASSKEY, one.created_at, one.used_at, name=one.name) for one in own]
            continue
        times = totp.times(connection, user_id) if totp is not None and factor is totp else None
        left = codes.left(connection, user_id) if codes is not None and factor is codes else None
        created_at, used_at = times or (None, None)
        found.append(EnrolledFactor(factor.method, created_at, used_at, left))
    return found


def fields_of(services: Services, connection: Connection, user_id: int) -> frozenset[str]:
    """Return the form fields by which a user may answer for a second factor; none where none is enrolled."""
    return frozenset(factor.field for factor in outstanding(connection, services.factors, user_id))


def unconfirmed(why: Unconfirmed) -> Refused:
    """Return the refusal of a code that confirmed nothing."""
    if why is Unconfirmed.GONE:
        return refused(Refusal.GONE)
    return refused_value("code", VOID if why is Unconfirmed.VOID else WRONG_CODE)


def answering(services: Services, field: str, user_id: int) -> Factor | None:
    """Return the factor that a form field answers: the one the user has enrolled, where several share a field."""
    asked = [factor for factor in services.factors if factor.field == field]
    if len(asked) > 1:
        with services.reading() as connection:
            asked = [factor for factor in asked if factor.enrolled(connection, user_id)] or asked
    return asked[0] if asked else None
