"""Flask-Gatehouse: who is asking, what they may do, what they did. One extension, the whole perimeter of an app."""

from __future__ import annotations

from flask_login import current_user, login_user, logout_user

from .extension import Gatehouse
from .http.labels import (
    fresh_login_required,
    login_required,
    public,
    requires,
    role_required,
    roles_accepted,
    roles_required,
    step_up_required,
)
from .http.logs import JsonLines
from .http.rights import authorize, can
from .kernel.errors import (
    DatabaseUnavailableError,
    GatehouseError,
    HashingBusyError,
    InvalidEmail,
    InvalidName,
    NameTaken,
    SchemaOutdatedError,
    SettingsError,
    SetupError,
    UnknownRole,
    WeakPassword,
)
from .kernel.schema import include_name

__all__ = [
    "DatabaseUnavailableError",
    "Gatehouse",
    "GatehouseError",
    "HashingBusyError",
    "InvalidEmail",
    "InvalidName",
    "JsonLines",
    "NameTaken",
    "SchemaOutdatedError",
    "SettingsError",
    "SetupError",
    "UnknownRole",
    "WeakPassword",
    "authorize",
    "can",
    "current_user",
    "fresh_login_required",
    "include_name",
    "login_required",
    "login_user",
    "logout_user",
    "public",
    "requires",
    "role_required",
    "roles_accepted",
    "roles_required",
    "step_up_required",
]
