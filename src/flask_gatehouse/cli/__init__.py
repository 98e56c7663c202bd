"""Commands: the door for operators. They call the flows that pages call; there is no SQL here.

The program `gatehouse` (`flask_gatehouse.__main__`) has these commands and the demo.
"""

from __future__ import annotations

import click

from . import audit, check, database, keys, mail, roles, routes, sessions, setup, users
from .app import Commands

__all__ = ["commands"]


@click.group("gatehouse", cls=Commands)
def commands() -> None:
    """Set up, look after and check an app behind Gatehouse."""


for _command in (
    setup.init,
    database.commands,
    users.commands,
    roles.commands,
    sessions.commands,
    audit.commands,
    keys.commands,
    mail.commands,
    routes.routes,
    check.check,
):
    commands.add_command(_command)
