"""The app that `gatehouse init` writes where there is none, and the command that starts an app."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask_gatehouse.kernel.settings import is_loopback

if TYPE_CHECKING:
    from flask import Flask

    from flask_gatehouse.kernel.settings import Settings

NAME = "app.py"
BEHIND_PROXY = 8000
TEXT = '''"""A Flask app behind Gatehouse, made by `gatehouse init`. It is yours now: change it as you like."""

import logging.config

from flask import Flask, render_template_string

from flask_gatehouse import Gatehouse, login_required

# One line of JSON for each record, to standard error; the audit log's events and heads too.
logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "flask_gatehouse.JsonLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {"flask_gatehouse": {"level": "INFO"}},
    }
)

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1_000_000  # bytes of a request's body
gate = Gatehouse(app)  # from here on every route needs a login unless it says @public

HOME = """
{% extends "gatehouse/layout.html" %}
{% block content %}
<h1>Hello {{ current_user.username }}</h1>
{% endblock %}
"""


@app.get("/")
@login_required
def home():
    return render_template_string(HOME)
'''


def start_command(app: Flask, named: str | None, settings: Settings) -> str:
    """Return the command that serves an app on loopback, where its first origin says or a proxy would ask.

    Args:
        app: the app that was found.
        named: how it was named to us, if it was.
        settings: its settings.
    """
    port = _port(settings)
    variable = _variable(app)
    if find_spec("granian") is not None and variable:
        return f"granian --interface wsgi --port {port} {variable}"
    return f"flask {f'--app {named} ' if named else ''}run --port {port}"


def _port(settings: Settings) -> int:
    places = [urlsplit(origin) for origin in settings.origins]
    ports = [place.port or 80 for place in places if place.scheme == "http" and is_loopback(place.netloc)]
    return ports[0] if ports else BEHIND_PROXY


def _variable(app: Flask) -> str:
    """Return `module:name` of the variable that holds the app, or `""`: a factory made it."""
    module = sys.modules.get(app.import_name)
    found = next((name for name, value in vars(module).items() if value is app), "") if module else ""
    return f"{app.import_name}:{found}" if found else ""
