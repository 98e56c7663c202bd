"""Everything that `gatehouse check` can find: how grave, what it means, which requirement asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(Enum):
    """How grave a finding is."""

    UNSAFE = "unsafe"
    WARNING = "warning"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        severity: how grave.
        meaning: a sentence for the manual.
        requirements: ids of OWASP ASVS 5.0 and NIST SP 800-63B that ask for it.
    """

    severity: Severity
    meaning: str
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """Something to mend.

    Attributes:
        kind: one of `KINDS`.
        subject: the setting, file, route or part concerned.
        text: what is wrong and how to mend it; never a secret.
    """

    kind: str
    subject: str
    text: str

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return KINDS[self.kind].severity

    @property
    def requirements(self) -> tuple[str, ...]:
        """What asks for it: of a setting its own, else its kind's."""
        return OF_SETTINGS.get(self.subject, ()) or KINDS[self.kind].requirements


KINDS: Mapping[str, FindingKind] = {
    "app": FindingKind(Severity.UNSAFE, "The app cannot be made, or its settings cannot be read.", ("V13.2.3",)),
    "unsafe-setting": FindingKind(Severity.UNSAFE, "A setting that the app refuses to serve with.", ("V13.2.3",)),
    "route": FindingKind(Severity.UNSAFE, "A label that is lost, misspelt or contradicts another.", ("V8.2.1",)),
    "rule": FindingKind(Severity.UNSAFE, "An object rule for a permission that nobody declared.", ("V8.1.1",)),
    "database": FindingKind(Severity.UNSAFE, "The database does not answer.", ("V16.5.2",)),
    "schema": FindingKind(Severity.UNSAFE, "The tables are missing, or not those of this release."),
    "audit-chain": FindingKind(Severity.UNSAFE, "The audit log was changed by somebody without the key.", ("V16.4.2",)),
    "debug": FindingKind(Severity.WARNING, "Debug is on.", ("V13.4.2",)),
    "testing": FindingKind(Severity.WARNING, "Testing is on.", ("V13.4.2",)),
    "setting": FindingKind(Severity.WARNING, "A setting without effect, or a lifetime too long.", ("V13.2.3",)),
    "file-mode": FindingKind(Severity.WARNING, "A file with secrets or rows that others can reach.", ("V13.3.2",)),
    "shadowed-role": FindingKind(Severity.WARNING, "A role that code and database both have.", ("V8.1.1",)),
    "old-hashes": FindingKind(
        Severity.WARNING, "Passwords still hashed by an older scheme, cost or pepper.", ("V11.4.2",)
    ),
    "lost-seals": FindingKind(Severity.WARNING, "Seeds or passkeys whose secret is not set.", ("V13.3.1",)),
    "database-password": FindingKind(
        Severity.WARNING, "A password of the database that anybody would try.", ("V13.2.3",)
    ),
    "database-tls": FindingKind(Severity.WARNING, "A database on another machine without verified TLS.", ("V12.3.1",)),
    "advised-setting": FindingKind(
        Severity.ADVICE, "A setting that may be right, and is often forgotten.", ("V13.2.3",)
    ),
    "unlabelled-routes": FindingKind(
        Severity.ADVICE, "Routes that say nothing, so that they need a login.", ("V8.1.1",)
    ),
    "old-seals": FindingKind(Severity.ADVICE, "Seeds or passkeys that an older secret protects.", ("V13.3.4",)),
    "no-administrator": FindingKind(Severity.ADVICE, "Nobody can log in as administrator.", ("V6.3.2",)),
    "one-administrator": FindingKind(Severity.ADVICE, "One administrator: nobody lets them back in."),
    "temporary-passwords": FindingKind(Severity.ADVICE, "Temporary passwords not replaced yet.", ("V6.4.1",)),
    "disabled-passwords": FindingKind(
        Severity.ADVICE, "Passwords disabled after 100 wrong ones.", ("V6.3.1", "63B-3.2.2-1")
    ),
    "audit-rights": FindingKind(
        Severity.ADVICE, "The database's role could change the audit log.", ("V16.4.2", "V13.2.2")
    ),
    "audit-unheard": FindingKind(Severity.ADVICE, "No log keeps the audit log's events and heads.", ("V16.4.3",)),
}
"""Name → kind, the gravest first."""

OF_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "GATEHOUSE_SECRET_KEY": ("V13.2.3", "V11.5.1"),
    "GATEHOUSE_SECRET_KEY_FALLBACKS": ("V13.3.4",),
    "GATEHOUSE_PEPPER": ("63B-3.1.1.2-25",),
    "GATEHOUSE_PEPPER_FALLBACKS": ("63B-3.1.1.2-25",),
    "GATEHOUSE_ORIGINS": ("V12.2.1", "V3.5.1"),
    "GATEHOUSE_TRUSTED_PROXIES": ("V15.3.4", "V4.1.3"),
    "GATEHOUSE_FEATURES": ("63B-2.2.2-3",),
    "GATEHOUSE_SESSION_ABSOLUTE": ("V7.3.2", "63B-2.1.3-1", "63B-2.2.3-1"),
    "GATEHOUSE_SESSION_IDLE": ("V7.3.1", "63B-2.2.3-2"),
    "GATEHOUSE_ADMIN_IDLE": ("V7.3.1", "63B-2.2.3-2"),
    "GATEHOUSE_ADMIN_FACTOR": ("V6.3.3",),
    "GATEHOUSE_USER_FACTOR": ("V6.3.3",),
    "GATEHOUSE_REMEMBER": ("V7.3.2", "63B-2.1.3-1"),
    "GATEHOUSE_FRESH": ("V7.5.1",),
    "GATEHOUSE_MAX_SESSIONS": ("V7.1.2",),
    "GATEHOUSE_ARGON2": ("V11.4.2", "63B-3.1.1.2-22"),
    "GATEHOUSE_PASSWORD_MIN": ("V6.2.1", "63B-3.1.1.2-01"),
    "GATEHOUSE_THROTTLE": ("V6.3.1", "63B-3.2.2-1"),
    "GATEHOUSE_MAIL_URL": ("V6.3.7", "V12.3.1", "63B-4.2.3-1"),
    "GATEHOUSE_SUPPORT": ("63B-2.4.4-1", "63B-4.6-2"),
    "GATEHOUSE_LOGIN_NAME": ("V6.3.8",),
    "GATEHOUSE_FIRST_USER_ADMIN": ("V6.3.2",),
    "WTF_CSRF_ENABLED": ("V3.5.1",),
    "WTF_CSRF_FIELD_NAME": ("V3.5.1",),
    "LOGIN_DISABLED": ("V8.2.1",),
    "SESSION_COOKIE_HTTPONLY": ("V3.3.4",),
    "SESSION_COOKIE_DOMAIN": ("V3.3.3",),
    "SESSION_COOKIE_SAMESITE": ("V3.3.2",),
    "MAX_CONTENT_LENGTH": ("V15.2.2",),
}
"""Setting → what asks for it, where that is more than the kind's."""
