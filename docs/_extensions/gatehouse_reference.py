"""Reference pages made from the code: the directive `{from-code} settings` and its siblings.

Each writer returns Markdown, so a table in the manual cannot say anything else than the code does.
"""
# ruff: noqa: INP001 - Sphinx finds its extensions by path, not as a package

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from flask_gatehouse.__main__ import gatehouse
from flask_gatehouse.cli.findings import KINDS as FINDINGS
from flask_gatehouse.cli.findings import OF_SETTINGS
from flask_gatehouse.domain.audit import KINDS
from flask_gatehouse.domain.policy import BUILT_IN
from flask_gatehouse.kernel import parsing, schema
from flask_gatehouse.kernel.mail_url import parse_mail_url, parse_sender
from flask_gatehouse.kernel.problems import LONGEST, problems
from flask_gatehouse.kernel.settings import PREFIX, Settings

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SAFE: dict[str, Any] = {"secret_key": "0123456789abcdef0123456789abcdef", "origins": ("https://app.example",)}
"""Settings that an app may serve with."""

KINDS_OF_VALUE: dict[Callable[[object], Any], str] = {
    parsing.text: "text",
    parsing.words: "list of words",
    parsing.secret: "secret",
    parsing.secrets_list: "list of secrets",
    parsing.whole: "whole number",
    parsing.flag: "on or off",
    parsing.duration: "duration",
    parsing.origins: "list of origins",
    parsing.networks: "`none`, or list of networks and `unix`",
    parsing.argon2: "`m,t,p`",
    parsing.url_path: "path",
    parsing.local_path: "path",
    parsing.database_url: "database URL",
    parse_mail_url: "mail URL",
    parse_sender: "address",
    parsing.contact: "address or URL",
}

UNSAFE: tuple[tuple[str, dict[str, Any], dict[str, object]], ...] = (
    ("missing, or under 32 characters", {"secret_key": "short"}, {}),
    ("a placeholder", {"secret_key": "change-me-change-me-change-me-change-me"}, {}),
    ("an entry under 32 characters", {"secret_key_fallbacks": ("short",)}, {}),
    ("missing", {"origins": ()}, {}),
    ("`http://` off loopback", {"origins": ("http://app.example",)}, {}),
    ("0", {"session_absolute": timedelta(0)}, {}),
    ("0", {"session_idle": timedelta(0)}, {}),
    ("0", {"admin_idle": timedelta(0)}, {}),
    ("0", {"max_sessions": 0}, {}),
    ("less memory than 19456 KiB, or than 47104 KiB for one pass", {"argon2": (1024, 1, 1)}, {}),
    (
        "a network wider than any private one, such as `0.0.0.0/0`",
        {"trusted_proxies": parsing.networks("0.0.0.0/0")},
        {},
    ),
    ("under 8 or over 64", {"password_min": 6}, {}),
    ("`demanded`, without a feature that offers a factor", {"user_factor": "demanded"}, {}),
    ("`email`, `both`, without `GATEHOUSE_MAIL_URL`", {"login_name": "email"}, {}),
    ("missing, with `smtp://` or `smtps://`", {"mail_url": parse_mail_url("smtps://mail.example")}, {}),
    ("`console:` with an origin off loopback", {"mail_url": parse_mail_url("console:")}, {}),
    (
        "a password, and `?starttls=never` off loopback",
        {
            "mail_url": parse_mail_url("smtp://user:password@mail.example?starttls=never"),
            "mail_sender": "a@app.example",
        },
        {},
    ),
    ("missing under the profile `strict`", {"profile": "strict", "pepper": ""}, {}),
    ("a placeholder, or under 32 characters", {"pepper": "short"}, {}),
    ("an entry under 32 characters", {"pepper_fallbacks": ("short",)}, {}),
    ("`off`", {"throttle": "off"}, {}),
    ("under a minute", {"fresh": timedelta(seconds=5)}, {}),
    ("`False`", {}, {"WTF_CSRF_ENABLED": False}),
    ("anything but `csrf_token`", {}, {"WTF_CSRF_FIELD_NAME": "token"}),
    ("`True`", {}, {"LOGIN_DISABLED": True}),
    ("`False`", {}, {"SESSION_COOKIE_HTTPONLY": False}),
    ("any", {}, {"SESSION_COOKIE_DOMAIN": "app.example"}),
    ("`None` as text", {}, {"SESSION_COOKIE_SAMESITE": "None"}),
)
"""What is unsafe: in words, the field that shows it, or the key of Flask that does."""

COLUMN_CLASSES: dict[str, frozenset[str]] = {
    "digest": frozenset({"*.digest", "gatehouse_session.id"}),
    "personal": frozenset(
        {
            "*.username",
            "*.username_key",
            "*.email",
            "*.email_key",
            "*.second_email",
            "*.email_before",
            "*.address",
            "*.agent",
            "*.actor",
            "*.detail",
        }
        | {"gatehouse_session.data", "gatehouse_counter.key"}
    ),
    "security": frozenset(
        {
            "*.state",
            "*.epoch",
            "*.is_pending",
            "*.is_remembered",
            "*.proofs",
            "*.expires_at",
            "*.temporary_until",
            "*.compromised_at",
        }
        | {"*.role", "*.permission", "*.until_at", "*.granted_by", "*.purpose", "*.kind", "*.outcome"}
        | {"*.count", "*.total", "*.ends_at", "*.blocked_until", "*.refunded_until", "*.hash", "*.mac"}
        | {"*.judging", "*.refused", "*.purge_at"}
        | {"*.aal", "*.sealed", "*.last_step", "*.slot", "*.used_at", "*.wrong", "*.must_verify"}
        | {"*.alarm_at", "*.email_at", "*.second_email_at"}
        | {"*.credential_id", "*.public_key", "*.sign_count", "*.handle", "*.can_be_backed_up", "*.is_backed_up"}
    ),
    "plain": frozenset(
        {
            "gatehouse_user.id",
            "gatehouse_device.id",
            "gatehouse_mail.id",
            "gatehouse_passkey.id",
            "gatehouse_event.id",
            "gatehouse_chain_head.id",
            "*.public_id",
            "*.user_id",
            "*.actor_id",
            "*.session_id",
            "*.request_id",
            "*.event_id",
            "*.name",
            "*.key_id",
            "*.aaguid",
            "*.transports",
        }
        | {
            "*.at",
            "*.created_at",
            "*.seen_at",
            "*.changed_at",
            "*.granted_at",
            "*.sealed_at",
            "*.due_at",
            "*.sending_until",
            "*.tries",
            "*.template",
            "*.first_id",
            "*.last_id",
        }
    ),
}
"""How sensitive a column is: `*.name` for every table, `table.name` for one."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# --- settings ----------------------------------------------------------------------------------------------


def kind_of(parse: Callable[[object], Any]) -> str:
    """Return in words what a setting takes."""
    if parse in KINDS_OF_VALUE:
        return KINDS_OF_VALUE[parse]
    choices = inspect.getclosurevars(parse).nonlocals.get("choices", ())
    return ", ".join(f"`{choice}`" for choice in choices) or parse.__name__.replace("_", " ")


def shown(value: object) -> str:
    """Return a value as one would write it into the environment."""
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    if isinstance(value, timedelta):
        return f"`{in_words(value)}`"
    if isinstance(value, tuple):
        value = ",".join(str(part) for part in value)
    return f"`{value}`" if str(value) else "empty"


def in_words(duration: timedelta) -> str:
    """Return a duration in the largest unit that fits."""
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (timedelta(minutes=1), "m")):
        if duration >= unit and not duration % unit and (letter != "d" or duration > DAY):
            return f"{duration // unit}{letter}"
    return str(int(duration.total_seconds()))


def settings_table() -> str:
    """Return every setting with what it takes, its defaults and its meaning."""
    return table(("setting", "takes", "default", "`strict`", "meaning"), map(_setting, fields(Settings)))


def _setting(item: Field[Any]) -> tuple[str, ...]:
    strict = item.metadata["strict"]
    default = item.default if item.default is not MISSING else ""
    return (
        f"`{PREFIX}{item.name.upper()}`",
        kind_of(item.metadata["parse"]),
        shown(default),
        "" if strict is None else shown(strict),
        item.metadata["meaning"],
    )


def unsafe_table() -> str:
    """Return the values that an app refuses to serve with, each with the mend that `gatehouse check` names."""
    return table(("setting", "value", "in debug and tests", "what the log says"), _unsafe_rows())


def _unsafe_rows() -> Iterator[tuple[str, ...]]:
    for words, changed, config in UNSAFE:
        settings = Settings(**{**SAFE, **changed})
        problem = problems(settings, config, relaxed=False)[0]
        in_tests = problems(settings, {**config, "TESTING": True}, relaxed=True)
        in_debug = problems(settings, config, relaxed=True)
        taken = "refused" if in_tests else "refused in debug" if in_debug else "taken"
        yield f"`{problem.setting}`", words, taken, problem.text


# --- findings of check -------------------------------------------------------------------------------------


def findings_table() -> str:
    """Return everything that `gatehouse check` can find."""
    rows = (
        (f"`{name}`", kind.severity.value, kind.meaning, ", ".join(kind.requirements))
        for name, kind in FINDINGS.items()
    )
    return table(("finding", "how grave", "meaning", "requirement"), rows)


def findings_of_settings_table() -> str:
    """Return the requirements of single settings."""
    rows = ((f"`{name}`", ", ".join(ids)) for name, ids in OF_SETTINGS.items())
    return table(("setting", "requirement"), rows)


def longest_lifetimes_table() -> str:
    """Return the lifetimes beyond which `gatehouse check` warns."""
    rows = ((f"`{PREFIX}{name.upper()}`", f"`{shown}`") for name, (_, shown) in LONGEST.items())
    return table(("setting", "warned of above"), rows)


# --- events, permissions, tables ---------------------------------------------------------------------------


def events_table() -> str:
    """Return the catalogue of events."""
    return table(("kind", "meaning"), ((f"`{kind}`", meaning) for kind, meaning in sorted(KINDS.items())))


def permissions_table() -> str:
    """Return the permissions that Gatehouse itself declares."""
    return table(("permission", "meaning"), ((f"`{name}`", text) for name, text in sorted(BUILT_IN.items())))


def tables_list() -> str:
    """Return every table with its columns by class; a column without a class stops the build."""
    return table(("table", "holds", *COLUMN_CLASSES), map(_table_row, sorted(schema.metadata.tables)))


def _table_row(name: str) -> tuple[str, ...]:
    found = schema.metadata.tables[name]
    classes = {column.name: class_of(name, column.name) for column in found.columns}
    columns = (", ".join(f"`{column}`" for column in classes if classes[column] == wanted) for wanted in COLUMN_CLASSES)
    return f"`{name}`", found.comment or "", *columns


def class_of(table_name: str, column: str) -> str:
    """Return how sensitive a column is.

    Raises:
        LookupError: nobody has said so yet.
    """
    full = f"{table_name}.{column}"
    found = [name for name, columns in COLUMN_CLASSES.items() if {full, f"*.{column}"} & columns]
    if len(found) != 1:
        msg = f"{full} has {len(found)} classes: give it one in COLUMN_CLASSES"
        raise LookupError(msg)
    return found[0]


# --- commands ----------------------------------------------------------------------------------------------


def commands_list() -> str:
    """Return every command with its arguments and options, as a definition list."""
    return "\n\n".join(_command(path, command) for path, command in leaves("gatehouse", gatehouse))


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.commands:
        yield from leaves(f"{path} {name}", command.commands[name])


def _command(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *(part for part in command.collect_usage_pieces(context) if part != "[OPTIONS]")])
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(command.help or "").split("\n\n")]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    listed = [f"- `{names}`: {text}" for names, text in records]
    body = "\n\n".join([*paragraphs, *(["\n".join(listed)] if listed else [])])
    first, *rest = body.split("\n")
    return "\n".join([f"`{usage}`", f": {first}", *(f"  {line}" if line else "" for line in rest)])


WRITERS: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "unsafe-settings": unsafe_table,
    "events": events_table,
    "permissions": permissions_table,
    "tables": tables_list,
    "commands": commands_list,
    "findings": findings_table,
    "findings-of-settings": findings_of_settings_table,
    "longest-lifetimes": longest_lifetimes_table,
}


class FromCode(SphinxDirective):
    """Puts Markdown made from the code where it stands."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the page part."""
        text = WRITERS[self.arguments[0]]()
        found = nodes.Element()
        self.state.nested_parse(StringList(text.splitlines(), source="from-code"), self.content_offset, found)
        return found.children


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive; pages that use it are read anew at each build."""
    app.add_directive("from-code", FromCode)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
