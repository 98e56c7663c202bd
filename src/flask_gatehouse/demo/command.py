"""`gatehouse demo`: run the demo program on this machine, its data and secret in a folder of their own."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from werkzeug.serving import WSGIRequestHandler, make_server

from flask_gatehouse.cli.app import site_of
from flask_gatehouse.cli.output import say
from flask_gatehouse.flows.register import first_admin_code
from flask_gatehouse.http import logs
from flask_gatehouse.kernel.settings import is_loopback

from . import create_app
from .defaults import DATA_FOLDER, PORT, demo_defaults

if TYPE_CHECKING:
    from flask_gatehouse.flows.services import Services


@click.command("demo")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Port to listen on.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(DATA_FOLDER),
    show_default=True,
    metavar="DIR",
    help="Folder of the database and the secret; made when it is missing.",
)
def demo(host: str, port: int, data: Path) -> None:
    """Run the demo program. Its first user becomes the administrator."""
    logs.write_to_stderr()
    listener = _listen(host, port)
    with listener:
        port = listener.getsockname()[1]
        app = create_app(_config(data, port))
        app.debug = False
        site = site_of(app)
        site.gate.prepare_database(app)
        server = make_server(host, port, app, threaded=True, request_handler=_Quiet, fd=listener.fileno())
        _announce(site.services, host, port)
        server.serve_forever()  # until Ctrl-C


class _Quiet(WSGIRequestHandler):
    """Answers requests without logging their addresses, which may hold one-time links, and without boasting."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""

    def version_string(self) -> str:
        """Return no versions (ASVS V13.4.6)."""
        return "gatehouse"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.ClickException(f"port {port} is taken: choose another with --port") from error
        raise click.ClickException(f"cannot listen on {host}, port {port}: {error.strerror}") from error


def _config(data: Path, port: int) -> dict[str, object]:
    """Make the data folder and its secret where they are missing, and return the settings of the demo."""
    try:
        return demo_defaults({}, data.resolve(), port)
    except OSError as error:
        raise click.ClickException(f"cannot use {data}: {error.strerror}; choose another with --data") from error


def _announce(services: Services, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    is_here = is_loopback(shown)
    is_behind_proxy = not all(is_loopback(urlsplit(origin).netloc) for origin in services.settings.origins)
    address = f"http://{shown if is_here else 'localhost'}:{port}"
    say(f"Gatehouse demo: {services.settings.origins[0] if is_behind_proxy else address}   (end it with Ctrl-C)")
    with services.reading() as connection:
        is_open = services.roles.is_first_admin_open(connection)
    if is_open and is_here and not is_behind_proxy:
        say("The first to register here becomes the administrator.")
    elif is_open:
        say(f"The first administrator registers with this one-time code: {first_admin_code(services)}")
    if not is_here and not is_behind_proxy:
        note = "Other machines are served over HTTPS only: name the address of your proxy in GATEHOUSE_ORIGINS."
        say(note, is_note=True)
