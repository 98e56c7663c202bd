"""The program `gatehouse`: finds the app and hands over to a command. The top floor.

`commands` is what `flask gatehouse …` offers: the same, the options of `flask` in place of ours.
"""

from __future__ import annotations

import logging
import os

import click
from flask.cli import ScriptInfo, load_dotenv

from flask_gatehouse import cli
from flask_gatehouse.cli.app import Commands
from flask_gatehouse.demo.command import demo

ALL = (demo, *cli.commands.commands.values())


@click.group("gatehouse", cls=Commands)
def commands() -> None:
    """Set up, look after and check an app behind Gatehouse; or run the demo."""


@click.group("gatehouse", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-A", "--app", metavar="IMPORT", help="The Flask app or its factory, as module:name; else FLASK_APP.")
@click.option(
    "-e",
    "--env-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Read settings of the environment from this file before .env.",
)
@click.version_option(package_name="flask-gatehouse", prog_name="gatehouse")
@click.pass_context
def gatehouse(ctx: click.Context, app: str | None, env_file: str | None) -> None:
    """Set up, look after and check an app behind Gatehouse; or run the demo."""
    ctx.obj = ScriptInfo()
    if ctx.invoked_subcommand == demo.name:
        return  # needs no app, and takes nothing from the .env of one
    logging.getLogger("flask_gatehouse.database").addHandler(logging.NullHandler())  # a command says it itself
    os.environ["FLASK_RUN_FROM_CLI"] = "true"  # an app.run() at the foot of the file does not start a server
    load_dotenv(env_file, load_defaults=ctx.obj.load_dotenv_defaults)
    ctx.obj.app_import_path = app or os.environ.get("FLASK_APP")


for _command in ALL:
    commands.add_command(_command)
    gatehouse.add_command(_command)


def main() -> None:
    """Run the program."""
    gatehouse(prog_name="gatehouse")


if __name__ == "__main__":
    main()
