"""`gatehouse mail`: send what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flask_gatehouse.domain import mail
from flask_gatehouse.flows import post, unconfirmed

from .app import Commands, with_services
from .options import json_option
from .output import SlowBar, print_json, say

if TYPE_CHECKING:
    from flask_gatehouse.flows.services import Services

NO_MAIL = "no mail is sent: set GATEHOUSE_MAIL_URL"


@click.group("mail", cls=Commands)
def commands() -> None:
    """Look after mail that waits to be sent."""


@commands.command("flush")
@json_option
@with_services
@click.pass_context
def flush(ctx: click.Context, services: Services, /, *, as_json: bool) -> None:
    """Send all mail that waits now, also what would be tried again later; exit 1 when some could not be handed over.

    The app sends mail by itself. This is for when a mail server is back, or for a cron job. Like the app, it also
    closes users who registered by mail and never confirmed the address.
    """
    if not services.mailer.is_on:
        raise click.ClickException(NO_MAIL)
    with services.reading() as connection:
        number = mail.count(connection)
    with SlowBar("Sending", number) as bar:
        told = post.deliver(services, is_forced=True, progress=bar)
    closed = sum(iter(lambda: unconfirmed.close_batch(services), 0))
    with services.reading() as connection:
        left = mail.count(connection)
    if as_json:
        counts = {"sent": told.sent, "dropped": told.dropped, "failed": told.failed, "waiting": left}
        print_json(counts | {"closed": closed})
    else:
        say(f"{told.sent} sent, {told.dropped} not needed any more, {told.failed} failed, {left} waiting.")
        if closed:
            say(f"{closed} users were closed who never confirmed their address.")
    if told.failed:
        ctx.exit(1)
