"""Which settings are unsafe, doubtful or could be better, each with its mend."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .settings import FLASKS_SECRETS, PREFIX, Settings, is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MIN_SECRET_LENGTH = 32
MIN_CHARACTERS = 10
"""A secret with fewer different characters was typed, not made."""
PLACEHOLDERS = ("changeme", "placeholder", "yoursecret", "replaceme", "insecure", "topsecret", "devsecret")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ARGON2_FLOOR_KIB, ARGON2_ONE_PASS_KIB = 19456, 47104
"""OWASP's pairs: 19456 KiB with two passes, 47104 KiB with one."""
SHORTEST_PASSWORD, LONGEST_MINIMUM = 8, 64
"""NIST SP 800-63B 3.1.1.2: 8 at least; passwords of 64 must be possible."""
WIDEST_NETWORK = {4: 8, 6: 7}
"""IP version → the widest private network that there is (RFC 1918, RFC 4193): a wider one has strangers in it."""
LONGEST: Mapping[str, tuple[timedelta, str]] = {
    "session_absolute": (30 * DAY, "30d"),
    "remember": (30 * DAY, "30d"),
    "session_idle": (DAY, "24h"),
    "admin_idle": (HOUR, "1h"),
    "fresh": (HOUR, "1h"),
}
"""Lifetimes beyond which a session or a proof says little (NIST SP 800-63B 2.1.3, 2.2.3; ASVS V7.3.1, V7.3.2)."""
FACTORS = frozenset({"totp", "passkeys"})
"""Features that offer a second factor."""
FRESH_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"


@dataclass(frozen=True, slots=True)
class Problem:
    """An unsafe setting and its mend.

    Attributes:
        setting: its full name.
        text: what is wrong and what to set instead; never the value of a secret.
    """

    setting: str
    text: str


def as_told(config: Mapping[str, object]) -> dict[str, object]:
    """Return what a config says of our settings at the moment they are read, for `problems()` to compare later."""
    return {key: value for key, value in config.items() if key.startswith(PREFIX) or key in FLASKS_SECRETS}


def problems(
    settings: Settings, config: Mapping[str, object], *, relaxed: bool, told: Mapping[str, object] | None = None
) -> list[Problem]:
    """Return what makes these settings unsafe to serve with.

    Args:
        settings: the settings.
        config: the Flask app's config, for the keys of Flask, Flask-Login and Flask-WTF that could weaken ours.
        relaxed: `app.debug or app.testing`.
        told: `as_told()` of the config when the settings were read; what differs by now came too late.
    """
    found = list(_always(settings, config, testing=bool(config.get("TESTING"))))
    found += _set_too_late(told, config, relaxed=relaxed) if told is not None else ()
    if not relaxed:
        found += _outside_debug_and_tests(settings)
    return found


def _always(settings: Settings, config: Mapping[str, object], *, testing: bool) -> Iterator[Problem]:
    yield from _own(settings, testing=testing)
    if config.get("WTF_CSRF_ENABLED") is False and not testing:
        yield Problem("WTF_CSRF_ENABLED", "False leaves every form open to other sites: remove it")
    if config.get("WTF_CSRF_FIELD_NAME", "csrf_token") != "csrf_token":
        yield Problem("WTF_CSRF_FIELD_NAME", "the token is bound to its session under the name csrf_token: remove it")
    if config.get("LOGIN_DISABLED") and not testing:
        yield Problem("LOGIN_DISABLED", "opens every page: remove it")
    if config.get("SESSION_COOKIE_HTTPONLY") is False:
        yield Problem("SESSION_COOKIE_HTTPONLY", "False would show the cookie to scripts: remove it")
    if config.get("SESSION_COOKIE_DOMAIN"):
        yield Problem("SESSION_COOKIE_DOMAIN", "would share the session with other hosts: remove it")
    if str(config.get("SESSION_COOKIE_SAMESITE") or "Lax").lower() == "none":
        yield Problem("SESSION_COOKIE_SAMESITE", "'None' sends the session along from other sites: remove it")


def _set_too_late(told: Mapping[str, object], config: Mapping[str, object], *, relaxed: bool) -> Iterator[Problem]:
    """Find what was set after `Gatehouse(app)` had read the settings: it looks as if it counted."""
    now = as_told(config)
    for key in sorted(told.keys() | now.keys()):
        is_spared = key in FLASKS_SECRETS and (relaxed or f"{PREFIX}{key}" in now)
        if told.get(key) != now.get(key) and not is_spared:
            yield Problem(key, "was changed after Gatehouse(app) had read it: set it before, or call init_app() later")


def _own(settings: Settings, *, testing: bool) -> Iterator[Problem]:
    for origin in settings.origins:
        if origin.startswith("http://") and not is_loopback(urlsplit(origin).netloc):
            yield Problem("GATEHOUSE_ORIGINS", f"{origin} is plain HTTP off loopback: serve it as https://")
    for name in ("session_absolute", "session_idle", "admin_idle"):
        if not getattr(settings, name):
            yield Problem(PREFIX + name.upper(), "0 leaves sessions without an end: set it above zero")
    if settings.max_sessions < 1:
        yield Problem("GATEHOUSE_MAX_SESSIONS", "must be 1 or more")
    memory, passes, _ = settings.argon2
    if memory < (ARGON2_FLOOR_KIB if passes > 1 else ARGON2_ONE_PASS_KIB) and not testing:
        text = f"memory below {ARGON2_FLOOR_KIB} KiB, or {ARGON2_ONE_PASS_KIB} KiB for a single pass"
        yield Problem("GATEHOUSE_ARGON2", f"{text}: set {ARGON2_FLOOR_KIB},2,1 or more")
    networks = [proxy for proxy in settings.trusted_proxies if not isinstance(proxy, str)]
    if any(network.prefixlen < WIDEST_NETWORK[network.version] for network in networks):
        text = "a network wider than any private one lets strangers name their address: name your proxies"
        yield Problem("GATEHOUSE_TRUSTED_PROXIES", text)
    if not SHORTEST_PASSWORD <= settings.password_min <= LONGEST_MINIMUM:
        yield Problem("GATEHOUSE_PASSWORD_MIN", f"must be {SHORTEST_PASSWORD} to {LONGEST_MINIMUM}")
    yield from _mail(settings)


def _mail(settings: Settings) -> Iterator[Problem]:
    if settings.login_name != "username" and not settings.mail_url:
        text = "addresses are verified by mail, and none is sent: set GATEHOUSE_MAIL_URL, or username"
        yield Problem("GATEHOUSE_LOGIN_NAME", text)
    if settings.mail_url.is_readable and settings.mail_url.password:
        text = "sends its password without TLS off loopback: remove starttls=never, or use smtps://"
        yield Problem("GATEHOUSE_MAIL_URL", text)


def _outside_debug_and_tests(settings: Settings) -> Iterator[Problem]:
    yield from _secrets(settings)
    if not settings.origins:
        yield Problem("GATEHOUSE_ORIGINS", "missing: set where the app is served, such as https://app.example")
    if settings.profile == "strict":
        yield from _looser_than_strict(settings)
    yield from _mail_from_elsewhere(settings)
    if settings.throttle == "off":
        yield Problem("GATEHOUSE_THROTTLE", "off outside debug and tests: remove it")
    for name in ("session_idle", "session_absolute", "admin_idle", "fresh", "remember"):
        value = getattr(settings, name)
        if value < MINUTE and (value or name == "fresh"):  # of the others 0 is refused everywhere, or means none
            yield Problem(PREFIX + name.upper(), "under a minute outside debug and tests: set 60 or more")


def _mail_from_elsewhere(settings: Settings) -> Iterator[Problem]:
    if settings.mail_url.scheme in {"smtp", "smtps"} and not settings.mail_sender:
        yield Problem(
            "GATEHOUSE_MAIL_SENDER", "missing: set the address that mail is from, such as no-reply@app.example"
        )
    is_far = any(not is_loopback(urlsplit(origin).netloc) for origin in settings.origins)
    if settings.mail_url.scheme == "console" and is_far:
        text = "console: prints links that open accounts: set smtps://user:password@host"
        yield Problem("GATEHOUSE_MAIL_URL", text)


def _secrets(settings: Settings) -> Iterator[Problem]:
    if len(settings.secret_key) < MIN_SECRET_LENGTH:
        text = f"missing or under {MIN_SECRET_LENGTH} characters: set the output of {FRESH_ONE}"
        yield Problem("GATEHOUSE_SECRET_KEY", text)
    elif is_made_up(settings.secret_key):
        yield Problem("GATEHOUSE_SECRET_KEY", f"a placeholder that others know: set the output of {FRESH_ONE}")
    if any(len(fallback) < MIN_SECRET_LENGTH for fallback in settings.secret_key_fallbacks):
        yield Problem("GATEHOUSE_SECRET_KEY_FALLBACKS", f"one is under {MIN_SECRET_LENGTH} characters: remove it")
    if settings.profile == "strict" and not settings.pepper:
        yield Problem("GATEHOUSE_PEPPER", f"the strict profile needs one: set the output of {FRESH_ONE}")
    elif settings.pepper and (len(settings.pepper) < MIN_SECRET_LENGTH or is_made_up(settings.pepper)):
        text = f"a placeholder, or under {MIN_SECRET_LENGTH} characters: set the output of {FRESH_ONE}"
        yield Problem("GATEHOUSE_PEPPER", text)


def _looser_than_strict(settings: Settings) -> Iterator[Problem]:
    """Find values that take back what the profile promises."""
    for item in fields(Settings):
        bound, value = item.metadata["strict"], getattr(settings, item.name)
        if bound is not None and _is_looser(value, bound):
            shown = ",".join(map(str, bound)) if isinstance(bound, tuple) else bound
            yield Problem(PREFIX + item.name.upper(), f"looser than the strict profile ({shown}): remove it")


def _is_looser(value: Any, bound: Any) -> bool:
    if isinstance(bound, timedelta):
        return bool(value > bound)
    if isinstance(bound, tuple):  # Argon2: memory and passes; lanes make it neither stronger nor weaker
        return any(mine < least for mine, least in zip(value[:2], bound[:2], strict=True))
    return bool(value < bound) if isinstance(bound, int) else value != bound


def is_made_up(secret: str) -> bool:
    """Tell whether a secret is long enough and yet no secret: a placeholder of an example, or one key held down."""
    plain = "".join(character for character in secret.lower() if character.isalnum())
    return len(set(secret)) < MIN_CHARACTERS or any(word in plain for word in PLACEHOLDERS)


def doubts(settings: Settings, *, relaxed: bool) -> Iterator[Problem]:
    """Yield what is no reason to refuse to serve, and should be mended all the same.

    Args:
        settings: the settings.
        relaxed: `app.debug or app.testing`.
    """
    if settings.valkey_url:
        yield Problem(f"{PREFIX}VALKEY_URL", "not used by this release: remove it")
    if settings.mail_url.is_readable:
        text = "mail with links that open accounts leaves this machine without TLS: remove starttls=never"
        yield Problem(f"{PREFIX}MAIL_URL", text)
    if settings.admin_factor == "demanded" and not FACTORS & {*settings.features}:
        text = "no feature offers the second factor that administrators must prove: add totp to GATEHOUSE_FEATURES"
        yield Problem(f"{PREFIX}ADMIN_FACTOR", text)
    if settings.first_user_admin and not relaxed:
        text = "made for the demo: remove it, and run gatehouse init --admin NAME"
        yield Problem(f"{PREFIX}FIRST_USER_ADMIN", text)
    for name, (most, shown) in LONGEST.items():
        if getattr(settings, name) > most:
            yield Problem(PREFIX + name.upper(), f"longer than a session or proof should count: set {shown} or less")
    if "passkeys" in settings.features and settings.origins and not any(map(_has_name, settings.origins)):
        text = "addresses alone, for which browsers make no passkeys: name the site, as https://app.example"
        yield Problem(f"{PREFIX}ORIGINS", text)
    if settings.session_idle > settings.session_absolute:
        text = "longer than GATEHOUSE_SESSION_ABSOLUTE, so that no session ever ends for it: set less"
        yield Problem(f"{PREFIX}SESSION_IDLE", text)


def _has_name(origin: str) -> bool:
    try:
        ipaddress.ip_address(urlsplit(origin).hostname or "")
    except ValueError:
        return True
    return False


def advice(settings: Settings, config: Mapping[str, object], *, relaxed: bool) -> Iterator[Problem]:
    """Yield what may be right, and is often forgotten.

    Args:
        settings: the settings.
        config: the Flask app's config.
        relaxed: `app.debug or app.testing`.
    """
    if not settings.mail_url:
        text = "not set: nobody gets a link for a forgotten password by mail, or hears of changes to their account"
        yield Problem(f"{PREFIX}MAIL_URL", text)
    if settings.mail_url and not settings.mail_contact:
        text = "not set: mails about something that people did not do name nobody to turn to: set an address"
        yield Problem(f"{PREFIX}MAIL_CONTACT", text)
    if settings.secret_key_fallbacks:
        text = "old secrets still verify: remove them 31 days after the rotation, or at once if they leaked"
        yield Problem(f"{PREFIX}SECRET_KEY_FALLBACKS", text)
    has_tls = any(origin.startswith("https://") for origin in settings.origins)
    if has_tls and not settings.trusted_proxies and not relaxed:
        text = "none: if a proxy ends TLS, all people share its address and its 20 logins in ten minutes: name it"
        yield Problem(f"{PREFIX}TRUSTED_PROXIES", text)
    for key in sorted(key for key in config if key.startswith("REMEMBER_COOKIE_")):
        yield Problem(key, f"of Flask-Login, without effect here: remove it, and see {PREFIX}REMEMBER")
    if config.get("MAX_CONTENT_LENGTH") is None:
        yield Problem("MAX_CONTENT_LENGTH", "not set, so that your own views take bodies of any size: set a number")
