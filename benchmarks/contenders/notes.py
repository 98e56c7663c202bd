"""The stack of the notes: Flask-Login, Flask-SQLAlchemy and Flask-WTF, with session protection "strong"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, redirect, render_template_string
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, login_required, login_user
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect, FlaskForm
from werkzeug.security import check_password_hash, generate_password_hash
from wtforms import PasswordField, StringField
from wtforms.validators import DataRequired, Length

from benchmarks.browser import cookie_header, submit
from benchmarks.contender import (
    NOTES,
    NOTES_POSTGRES,
    PASSWORD,
    PROTECTED_PATH,
    PROTECTED_TEXT,
    PUBLIC_PATH,
    PUBLIC_TEXT,
    SECRET,
    USERNAME,
    Card,
    Contender,
)

FORM = "<form method=post>{{ form.hidden_tag() }}{{ form.username() }}{{ form.password() }}<button>Send</button></form>"


class Credentials(FlaskForm):  # type: ignore[misc]
    """Registration and login ask for the same two things here."""

    username = StringField("Username", validators=[DataRequired(), Length(min=3, max=80)])
    password = PasswordField("Password", validators=[DataRequired(), Length(min=8)])


def create(folder: Path) -> Contender:
    """The notes' program on an SQLite file."""
    return _contender(NOTES, folder, f"sqlite:///{folder / 'notes.sqlite'}")


def create_postgres(folder: Path, url: str) -> Contender:
    """The notes' program on PostgreSQL."""
    return _contender(NOTES_POSTGRES, folder, url)


def _contender(name: str, folder: Path, url: str) -> Contender:
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(
        SECRET_KEY=SECRET,
        SQLALCHEMY_DATABASE_URI=url,
        SQLALCHEMY_TRACK_MODIFICATIONS=False,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    CSRFProtect(app)
    _accounts(app, SQLAlchemy(app))

    @app.get(PUBLIC_PATH)
    def public() -> str:
        return PUBLIC_TEXT

    @app.get(PROTECTED_PATH)
    @login_required  # type: ignore[untyped-decorator]
    def protected() -> str:
        return PROTECTED_TEXT

    return Contender(Card(name, peer=name), app, log_in)


def _accounts(app: Flask, db: SQLAlchemy) -> None:
    manager = LoginManager(app)
    manager.login_view = "login"
    manager.session_protection = "strong"

    class User(UserMixin, db.Model):  # type: ignore[misc, name-defined]
        id = db.Column(db.Integer, primary_key=True)
        username = db.Column(db.String(80), unique=True, nullable=False)
        password_hash = db.Column(db.String(256), nullable=False)
        role = db.Column(db.String(20), default="user")

    def named(username: str | None) -> Any:
        return db.session.execute(db.select(User).filter_by(username=username)).scalar_one_or_none()

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load_user(user_id: str) -> Any:
        return db.session.get(User, int(user_id))

    @app.route("/register", methods=["GET", "POST"])
    def register() -> ResponseReturnValue:
        form = Credentials()
        if form.validate_on_submit() and named(form.username.data) is None:
            hashed = generate_password_hash(form.password.data or "")
            db.session.add(User(username=form.username.data, password_hash=hashed))
            db.session.commit()
            return redirect("/login")
        return render_template_string(FORM, form=form)

    @app.route("/login", methods=["GET", "POST"])
    def login() -> ResponseReturnValue:
        form = Credentials()
        if form.validate_on_submit():
            user = named(form.username.data)
            if user and check_password_hash(user.password_hash, form.password.data or ""):
                login_user(user, remember=False, fresh=True)
                return redirect(PROTECTED_PATH)
        return render_template_string(FORM, form=form)

    with app.app_context():
        db.create_all()


def log_in(client: FlaskClient) -> dict[str, str]:
    """Register and log in through the two forms."""
    submit(client, "/register", username=USERNAME, password=PASSWORD)
    submit(client, "/login", username=USERNAME, password=PASSWORD)
    return cookie_header(client)
