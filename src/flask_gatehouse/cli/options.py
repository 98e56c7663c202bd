"""Options and arguments that commands share, and how secrets come in: asked for or read, never as arguments."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flask_gatehouse.flows.acts import require_reason
from flask_gatehouse.kernel.clock import from_text
from flask_gatehouse.kernel.errors import InvalidReason
from flask_gatehouse.kernel.text import has_control

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_gatehouse.kernel.clock import Instant

F = TypeVar("F", bound="Callable[..., Any]")

NO_REASON = "none given"
"""Recorded where a reason belongs and a script gave none; at a terminal it is asked for."""


def text(value: str) -> str:
    """Return a text that can be shown and stored.

    Raises:
        click.BadParameter: it holds control characters, or bytes that are no UTF-8.
    """
    if has_control(value):
        raise click.BadParameter("control characters and bytes that are no UTF-8 cannot be part of it")
    return value


def time(value: str) -> Instant:
    """Return the instant that a text in ISO 8601 names.

    Raises:
        click.BadParameter: it names none, lacks its offset, or lies too far away to be shown.
    """
    try:
        return from_text(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _reason(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        return require_reason(value, is_required=False)
    except InvalidReason as error:
        raise click.BadParameter(str(error)) from error


def reason_option(command: F) -> F:
    """Let a command that changes something take `--reason`."""
    meaning = "Why; recorded in the audit log."
    return click.option("--reason", default="", metavar="TEXT", callback=_reason, help=meaning)(command)


def json_option(command: F) -> F:
    """Let a command take `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def name_argument(command: F) -> F:
    """Let a command take the login name of a user."""
    return click.argument("name", type=text)(command)


def is_terminal() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty()


def reason_or_ask(reason: str) -> str:
    """Return the reason for what takes something away: given, asked for, or said to be missing."""
    if reason:
        return reason
    if not is_terminal():
        return NO_REASON
    return click.prompt("Reason", value_proc=text, err=True)


def read_password(prompt: str) -> str:
    """Ask for a new password twice without showing it, or read one line of standard input.

    Raises:
        click.UsageError: standard input is no terminal and holds no line, or no UTF-8.
    """
    if is_terminal():
        return click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True)
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise click.UsageError("the password on standard input is no UTF-8") from error
    if not line:
        raise click.UsageError("give the password as one line of standard input, or run this at a terminal")
    return line.removesuffix("\n").removesuffix("\r")
