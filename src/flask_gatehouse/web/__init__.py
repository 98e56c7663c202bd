"""Pages: parse the form, call the flow, answer. One blueprint named `gatehouse`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

from flask_gatehouse.http.browsers import browser_name, known_browser
from flask_gatehouse.kernel.clock import as_text

from . import (
    account,
    admin,
    admin_audit,
    admin_roles,
    admin_sessions,
    login,
    mailed,
    passkeys,
    second_factors,
    security,
)
from .shown import BIGGEST_ID, asks_factor

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import RouteCallable

    from flask_gatehouse.kernel.settings import Settings

USER = f"/users/<int(max={BIGGEST_ID}):user_id>"

ROLE = "/roles/<name>"

PASSKEY = f"/account/security/passkeys/<int(max={BIGGEST_ID}):passkey_id>"

PAGES: tuple[tuple[str, str, RouteCallable], ...] = (
    ("/register", "register", login.register_page),
    ("/login", "login", login.log_in),
    ("/login/factor", "factor", login.answer_factor),
    ("/reauthenticate", "reauthenticate", login.reauthenticate),
    ("/forgot-password", "forgot_password", mailed.forgot),
    ("/reset-password/<token>", "reset_password", login.choose_password),
    ("/verify-email/<token>", "verify_email", mailed.verify),
    ("/account/password", "password", account.change_password),
    ("/account/security/totp", "totp", second_factors.totp_page),
    ("/account/security/passkeys", "passkeys", passkeys.passkeys_page),
    ("/account/close", "close", security.close),
)
"""URL, endpoint, view: a form that is shown and sent."""

SHOWN: tuple[tuple[str, str, RouteCallable], ...] = (
    ("/account", "account", account.profile),
    ("/account/security", "security", security.security),
    ("/account/sessions", "sessions", account.list_sessions),
    ("/account/activity", "activity", account.activity),
)

ACTIONS: tuple[tuple[str, str, RouteCallable], ...] = (
    ("/login/passkey", "login_by_passkey", login.log_in_by_passkey),
    ("/logout", "logout", login.log_out),
    ("/account", "change_email", account.change_email),
    ("/account/second-email", "change_second_email", account.change_second_email),
    ("/account/data", "data", account.take_data),
    ("/account/security/not-me", "raise_alarm", security.raise_alarm),
    ("/account/security/totp/remove", "remove_totp", second_factors.remove_totp),
    (f"{PASSKEY}/rename", "rename_passkey", passkeys.rename_passkey),
    (f"{PASSKEY}/remove", "remove_passkey", passkeys.remove_passkey),
    ("/account/security/recovery-codes", "make_recovery_codes", second_factors.make_codes),
    ("/account/sessions/<public_id>/end", "end_session", account.end_session),
    ("/account/sessions/end-others", "end_other_sessions", account.end_others),
    ("/account/sessions/end-all", "end_all_sessions", account.end_all),
)

ADMIN_SHOWN: tuple[tuple[str, str, RouteCallable], ...] = (
    ("", "admin", admin.overview),
    ("/users", "admin_users", admin.list_users),
    (USER, "admin_user", admin.show_user),
    ("/roles", "admin_roles", admin_roles.list_roles),
    (ROLE, "admin_role", admin_roles.show_role),
    ("/sessions", "admin_sessions", admin_sessions.list_sessions),
    ("/audit", "admin_audit", admin_audit.show_log),
)

ADMIN_ACTIONS: tuple[tuple[str, str, RouteCallable], ...] = (
    (f"{USER}/suspend", "admin_suspend", admin.suspend),
    (f"{USER}/restore", "admin_restore", admin.restore),
    (f"{USER}/unlock", "admin_unlock", admin.unlock),
    (f"{USER}/mark-compromised", "admin_mark_compromised", admin.mark_compromised),
    (f"{USER}/grant", "admin_grant", admin.grant),
    (f"{USER}/withdraw", "admin_withdraw", admin.withdraw),
    (f"{USER}/end-sessions", "admin_end_sessions", admin.end_sessions),
    (f"{USER}/reset-factors", "admin_reset_factors", admin.reset_factors),
    (f"{USER}/demand-factor", "admin_demand_factor", admin.demand_factor),
    ("/roles", "admin_create_role", admin_roles.create),
    (f"{ROLE}/edit", "admin_edit_role", admin_roles.edit),
    (f"{ROLE}/demand-factor", "admin_demand_factor_of_role", admin_roles.demand_factor),
    (f"{ROLE}/delete", "admin_delete_role", admin_roles.delete),
    ("/sessions/<public_id>/end", "admin_end_session", admin_sessions.end_session),
    ("/audit/verify", "admin_audit_verify", admin_audit.verify),
)


WELL_KNOWN: tuple[tuple[str, str, RouteCallable], ...] = (
    ("/.well-known/change-password", "change_password_url", passkeys.change_password_url),
    ("/.well-known/passkey-endpoints", "passkey_endpoints", passkeys.passkey_endpoints),
)
"""What stands at the root of the site, whatever the prefix."""


def well_known(app: Flask) -> None:
    """Add the addresses that password managers ask for.

    Args:
        app: the Flask app.
    """
    for url, endpoint, view in WELL_KNOWN:
        app.add_url_rule(url, f"gatehouse.{endpoint}", view, methods=["GET"])


def blueprint(settings: Settings) -> Blueprint:
    """Return the pages of one app.

    Args:
        settings: for the administrators' prefix, and whether anyone may register.
    """
    made = Blueprint(
        "gatehouse",
        __name__,
        template_folder="../templates",
        static_folder="../static",
        static_url_path="/gatehouse-static",
    )
    prefix = settings.admin_prefix
    for url, endpoint, view in PAGES:
        if endpoint != "register" or settings.registration == "open":
            made.add_url_rule(url, endpoint, view, methods=["GET", "POST"])
    for url, endpoint, view in (*SHOWN, *((prefix + url or "/", name, view) for url, name, view in ADMIN_SHOWN)):
        made.add_url_rule(url, endpoint, view, methods=["GET"])
    for url, endpoint, view in (*ACTIONS, *((prefix + url, name, view) for url, name, view in ADMIN_ACTIONS)):
        made.add_url_rule(url, endpoint, view, methods=["POST"])
    made.add_app_template_filter(as_text, "gatehouse_time")
    made.add_app_template_filter(browser_name, "gatehouse_browser")
    made.add_app_template_filter(known_browser, "gatehouse_known_browser")
    made.add_app_template_global(asks_factor, "gatehouse_asks_factor")
    return made
