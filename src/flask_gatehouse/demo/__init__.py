"""The demo program: a small app behind Gatehouse. `gatehouse demo` runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, render_template_string

from flask_gatehouse import Gatehouse, fresh_login_required, public

from .defaults import demo_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping

LAYOUT = '{% extends "gatehouse/layout.html" %}{% block title %}Demo{% endblock %}{% block content %}'
HOME = """
{% if current_user.is_authenticated %}
<h1>Welcome {{ current_user.username }} ({{ current_user.role }})</h1>
<ul>
  <li><a href="{{ url_for('protected') }}">Your dashboard</a></li>
  <li><a href="{{ url_for('sensitive_action') }}">A sensitive action</a></li>
  {% if can('users:read') %}<li><a href="{{ url_for('gatehouse.admin') }}">Admin area</a></li>{% endif %}
</ul>
{% else %}
<h1>Welcome, guest</h1>
<p><a href="{{ url_for('gatehouse.login') }}">Log in</a>{% if gatehouse_registration %} or
<a href="{{ url_for('gatehouse.register') }}">register</a>{% endif %}.</p>
{% endif %}
"""
PROTECTED = """
<h1>Protected dashboard</h1>
<p>Hello {{ current_user.username }} (role: {{ current_user.role }})</p>
<p><a href="{{ url_for('index') }}">Home</a></p>
"""
SENSITIVE = "<h1>Sensitive action performed</h1><p>The password was proven a moment ago.</p>"


def show(content: str) -> str:
    """Render a page of the demo inside Gatehouse's layout."""
    return render_template_string(f"{LAYOUT}{content}{{% endblock %}}")


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Return the demo app.

    Args:
        config: Flask and `GATEHOUSE_` settings; they win over the environment and over the demo's own.
    """
    app = Flask(__name__)
    app.config.update(demo_defaults(config or {}))
    Gatehouse(app)

    @app.get("/")
    @public
    def index() -> str:
        return show(HOME)

    @app.get("/protected")
    def protected() -> str:
        return show(PROTECTED)

    @app.get("/sensitive-action")
    @fresh_login_required
    def sensitive_action() -> str:
        return show(SENSITIVE)

    return app
