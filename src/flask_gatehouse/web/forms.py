"""The forms of door and account, and what every form rests on: fields named as in `face.md`, and their shape.

What a name, a password or a reason may be is the domain's business; here stands only what every text field shares:
it is sent once, and holds no control characters, which PostgreSQL could not even store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import BooleanField, EmailField, Field, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, StopValidation, ValidationError

from flask_gatehouse.kernel.text import has_control

if TYPE_CHECKING:
    from typing import Self

    from werkzeug.datastructures import MultiDict

CONTROL = "Control characters cannot be taken."
MISSING = "Fill this in."
DIFFERENT = "The two passwords differ."
REPEATED = "This was sent more than once."

NAME = {"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
PRESENT = {"autocomplete": "current-password"}
NEW = {"autocomplete": "new-password"}
CODE = {"autocomplete": "one-time-code", "autocapitalize": "none", "spellcheck": "false"}
PLAIN = {"autocomplete": "off"}


class _OneLine(Field):
    """A field of one line of text: never None, and without control characters (rule 10)."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        """Take the first value; what was not sent is empty."""
        self.data = valuelist[0] if valuelist else ""

    def pre_validate(self, form: Any) -> None:
        """Refuse control characters and lone surrogates.

        Raises:
            StopValidation: there is one.
        """
        del form
        if has_control(self.data):
            raise StopValidation(CONTROL)


class Line(_OneLine, StringField):
    """A line of text."""

    data: str = ""


class Once(Line):
    """A code that counts once: it is never shown again."""

    def _value(self) -> str:
        return ""


class Address(_OneLine, EmailField):
    """An e-mail address."""

    data: str = ""


def must_be_sent(_form: Any, field: Field) -> None:
    """Tell a field that was sent empty from one that was not sent, as by a program that sends JSON.

    Raises:
        ValidationError: it was not sent.
    """
    if not field.raw_data:
        raise ValidationError(MISSING)


class Many(Field):
    """Boxes of which several may be ticked: every value that was sent, each once."""

    data: list[str]

    def process_formdata(self, valuelist: list[Any]) -> None:
        """Take every value."""
        self.data = sorted(set(valuelist))

    def process_data(self, value: Any) -> None:
        """Begin with none."""
        self.data = value or []

    def pre_validate(self, form: Any) -> None:
        """Refuse control characters and lone surrogates.

        Raises:
            StopValidation: there is one.
        """
        del form
        if any(has_control(value) for value in self.data):
            raise StopValidation(CONTROL)


class Secret(_OneLine, PasswordField):
    """A password, never shown again."""

    data: str = ""


class GatehouseForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no types
    """A form of ours. It reads form fields only: neither files nor JSON, whose values might be no text.

    The gate has checked the CSRF token before any view runs (rule 21), so the form itself does not.
    """

    class Meta(FlaskForm.Meta):  # type: ignore[misc]  # Flask-WTF ships no types
        """What Flask-WTF asks of a form."""

        csrf = False

    def __init__(self, formdata: MultiDict[str, str] | None = None) -> None:
        super().__init__(formdata=formdata)
        self._sent = formdata

    @classmethod
    def of_request(cls) -> Self:
        """Return the form as it was sent, or an empty one for a page that is only shown."""
        return cls(request.form if request.method == "POST" else None)

    def validate(self, extra_validators: Any = None) -> bool:
        """Validate every field, and refuse what was sent twice (ASVS V15.3.7)."""
        is_valid: bool = super().validate(extra_validators=extra_validators)
        sent = self._sent
        single = [name for name, field in self._fields.items() if not isinstance(field, Many)]
        repeated = [name for name in (*single, "next") if sent is not None and len(sent.getlist(name)) > 1]
        for name in repeated:
            if name in self._fields:
                self._fields[name].errors = [REPEATED]
            else:
                self.form_errors.append(f"{name}: {REPEATED}")
        return is_valid and not repeated


class LoginForm(GatehouseForm):
    """`/login`."""

    username = Line("Login name", [InputRequired(MISSING)], render_kw=NAME)
    password = Secret("Password", [InputRequired(MISSING)], render_kw=PRESENT)
    remember = BooleanField("Keep me logged in on this browser")


class NewPasswordForm(GatehouseForm):
    """`/reset-password/<token>`, and part of the others that choose a password."""

    password = Secret("New password", [InputRequired(MISSING)], render_kw=NEW)
    confirm = Secret("The same once more", [InputRequired(MISSING), EqualTo("password", DIFFERENT)], render_kw=NEW)


class RegisterForm(NewPasswordForm):
    """`/register`; `code` stands there only while the first administrator is looked for from afar."""

    username = Line("Login name", [InputRequired(MISSING)], render_kw={**NAME, "minlength": 3, "maxlength": 80})
    email = Address("E-mail", render_kw={"autocomplete": "email"})
    password = Secret("Password", [InputRequired(MISSING)], render_kw=NEW)
    code = Line("Code of the first administrator", render_kw=CODE)


class RegisterWithAddressForm(RegisterForm):
    """`/register` where an e-mail address may be typed to log in; where nothing else is, there is no `username`."""

    email = Address("E-mail", [InputRequired(MISSING)], render_kw={"autocomplete": "email"})


class ChangePasswordForm(NewPasswordForm):
    """`/account/password`."""

    current = Secret("Present password", [InputRequired(MISSING)], render_kw=PRESENT)


class EmailForm(GatehouseForm):
    """`/account`. An empty address removes the one that is there; a field that was not sent removes nothing."""

    email = Address("E-mail", [must_be_sent], render_kw={"autocomplete": "email"})


class SecondEmailForm(GatehouseForm):
    """`/account/second-email`; empty as in `EmailForm`."""

    second_email = Address("Second address", [must_be_sent], render_kw={"autocomplete": "off"})
