"""Every error Gatehouse raises on purpose. A refusal is a value (`flows.outcomes`), never one of these."""

from __future__ import annotations


class GatehouseError(Exception):
    """Base of all errors of this package."""


class SettingsError(GatehouseError):
    """A setting is unknown or its value cannot be read; the text names the setting and the mend."""


class SetupError(GatehouseError):
    """The app is wired in a way that would leave a hole, such as a label that is lost; the text names the line."""


class ForgottenObjectError(GatehouseError):
    """A body that streams asked a guarded helper for an object and no `authorize()` followed: a bug of the view."""


class DatabaseUnavailableError(GatehouseError):
    """The database does not answer; requests end as 503 and work again by themselves once it does."""


class SchemaOutdatedError(DatabaseUnavailableError):
    """The tables are older or newer than this release; `gatehouse db upgrade` mends the first."""


class HashingBusyError(GatehouseError):
    """The bounded hashing pool had no place within its waiting time; requests end as 503."""


class LostKeyError(GatehouseError):
    """What is sealed cannot be opened with the secrets that are set; the text names the key and the mend."""


class FileUnusableError(GatehouseError):
    """A file cannot be written; the text names it and says why. Nothing of it is left behind."""


class InvalidFieldError(GatehouseError):
    """A value that a person or a program gave cannot be taken.

    Attributes:
        field: the name of the form field or parameter.
    """

    field = ""


class InvalidName(InvalidFieldError):  # noqa: N818 - the public face names it so
    """The login name does not fit the pattern (3 to 80 of `A-Za-z0-9_.-`)."""

    field = "username"


class NameTaken(InvalidFieldError):  # noqa: N818 - the public face names it so
    """Another user holds this login name, upper and lower case aside."""

    field = "username"


class WeakPassword(InvalidFieldError):  # noqa: N818 - the public face names it so
    """The password is too short or long, common, one's own name or the service's, or holds control characters."""

    field = "password"


class InvalidEmail(InvalidFieldError):  # noqa: N818 - a sibling of the names above
    """The e-mail address cannot be one."""

    field = "email"


class InvalidReason(InvalidFieldError):  # noqa: N818 - a sibling of the names above
    """The reason is missing where one is required, too long, or holds control characters."""

    field = "reason"


class UnknownRole(InvalidFieldError):  # noqa: N818 - the public face names it so
    """No role of this name exists, neither declared in code nor in the database."""

    field = "role"
