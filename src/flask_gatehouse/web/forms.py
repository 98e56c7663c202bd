"""The forms of the pages: field names as in `face.md`, and the shape of what may be sent.

What a name, a password or a reason may be is the domain's business; here stands only what every text field shares:
it is sent once, and holds no control characters, which PostgreSQL could not even store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import BooleanField, EmailField, Field, PasswordField, StringField
from wtforms.validators import EqualTo, InputRequired, StopValidation, ValidationError

from flask_gatehouse.domain.audit import KINDS, address_of
from flask_gatehouse.kernel.clock import from_text
from flask_gatehouse.kernel.text import has_control

if TYPE_CHECKING:
    from typing import Self

    from werkzeug.datastructures import MultiDict

    from flask_gatehouse.kernel.clock import Instant

CONTROL = "Control characters cannot be taken."
MISSING = "Fill this in."
DIFFERENT = "The two passwords differ."
REPEATED = "This was sent more than once."
NO_NUMBER = "The number after which the page begins is no number."
KEY_DIGITS = 18
"""So many fit into 64 bits, whatever they are."""

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


class Key(Line):
    """The key that a page of a list begins after, as a number that the database can hold."""

    number: int = 0

    def pre_validate(self, form: Any) -> None:
        """Read the number.

        Raises:
            StopValidation: it is none.
        """
        super().pre_validate(form)
        if not self.data:
            return
        if not (self.data.isascii() and self.data.isdecimal() and len(self.data) <= KEY_DIGITS):
            raise StopValidation(NO_NUMBER)
        self.number = int(self.data)


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


class Moment(Line):
    """A time in ISO 8601 with its offset."""

    at: Instant | None = None

    def pre_validate(self, form: Any) -> None:
        """Read the time.

        Raises:
            StopValidation: it is none, or none that can be shown again.
        """
        super().pre_validate(form)
        try:
            self.at = from_text(self.data) if self.data else None
        except ValueError as error:
            raise StopValidation(str(error)) from None


class NetworkAddress(Line):
    """An address as the audit log holds it."""

    canonical: str = ""

    def pre_validate(self, form: Any) -> None:
        """Bring the address into its one form.

        Raises:
            StopValidation: it is none.
        """
        super().pre_validate(form)
        try:
            self.canonical = address_of(self.data) if self.data else ""
        except ValueError as error:
            text = str(error)
            raise StopValidation(f"{text[:1].upper()}{text[1:]}.") from None


class Kind(Line):
    """A kind of event; empty: any."""

    def pre_validate(self, form: Any) -> None:
        """Take a kind that exists.

        Raises:
            StopValidation: there is none of this name.
        """
        super().pre_validate(form)
        if self.data and self.data not in KINDS:
            raise StopValidation("No event is called so.")


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


class FactorForm(GatehouseForm):
    """`/login/factor`: one of the two."""

    code = Once("Code", render_kw=CODE)
    recovery_code = Once("Recovery code", render_kw=PLAIN)

    def answer(self) -> tuple[str, str]:
        """Return the field that was filled in, and what stands there."""
        return ("code", self.code.data) if self.code.data else ("recovery_code", self.recovery_code.data)

    def validate_recovery_code(self, field: Line) -> None:
        """Ask for one answer, not none.

        Raises:
            ValidationError: both fields are empty.
        """
        if not field.data and not self.code.data:
            raise ValidationError(MISSING)


class ReauthenticateForm(GatehouseForm):
    """`/reauthenticate`: one of the two."""

    password = Secret("Password", render_kw=PRESENT)
    code = Once("Code", render_kw=CODE)

    def validate_password(self, field: Secret) -> None:
        """Ask for one proof, not none.

        Raises:
            ValidationError: both fields are empty.
        """
        if not field.data and not self.code.data:
            raise ValidationError(MISSING)


class CodeForm(GatehouseForm):
    """`/account/security/totp`."""

    code = Once("Code", [InputRequired(MISSING)], render_kw=CODE)


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


class ChangePasswordForm(NewPasswordForm):
    """`/account/password`."""

    current = Secret("Present password", [InputRequired(MISSING)], render_kw=PRESENT)


class EmailForm(GatehouseForm):
    """`/account`."""

    email = Address("E-mail", render_kw={"autocomplete": "email"})


class ReasonForm(GatehouseForm):
    """An administrator's act that gives something back."""

    reason = Line("Reason", render_kw=PLAIN)


class TakingForm(GatehouseForm):
    """An administrator's act that takes something away."""

    reason = Line("Reason", [InputRequired("Give a reason: it is recorded in the audit log.")], render_kw=PLAIN)


class DemandForm(TakingForm):
    """`…/demand-factor`, of a user or a role."""

    demanded = BooleanField("Demand a second factor")


class GrantForm(ReasonForm):
    """`…/grant`."""

    role = Line("Role", [InputRequired(MISSING)])
    until = Line("Until", render_kw=PLAIN)
    until_at: Instant | None = None

    def validate_until(self, field: Line) -> None:
        """Read the end of the grant.

        Raises:
            ValidationError: it is no moment in ISO 8601 that can be shown again.
        """
        try:
            self.until_at = from_text(field.data) if field.data else None
        except ValueError as error:
            raise ValidationError(str(error)) from None


class WithdrawForm(TakingForm):
    """`…/withdraw`."""

    role = Line("Role", [InputRequired(MISSING)])


class NewRoleForm(ReasonForm):
    """`/admin/roles`."""

    role = Line("Name", [InputRequired(MISSING)], render_kw=PLAIN)
    permission = Many("Permissions")
    demanded = BooleanField("Demand a second factor")


class EditRoleForm(ReasonForm):
    """`/admin/roles/<name>/edit`: every permission the role shall have, and those it had when they were chosen."""

    permission = Many("Permissions")
    seen = Line("Seen")


class DeleteRoleForm(TakingForm):
    """`/admin/roles/<name>/delete`."""

    seen = Line("Seen")


class RoleForm(GatehouseForm):
    """`/admin/roles/<name>`: permissions that are tried on, and where the list of holders begins."""

    permission = Many("Permissions")
    seen = Line("Seen")
    after = Key("After")


class SearchForm(GatehouseForm):
    """Where a list begins: the start of a name, the last name of the page before."""

    search = Line("Name begins with")
    after = Line("After")


class SessionsForm(GatehouseForm):
    """Where the list of sessions begins: whose, and the last one of the page before."""

    username = Line("Login name")
    after = Key("After")


class AuditForm(GatehouseForm):
    """Which events the audit log shows, and the last one of the page before."""

    username = Line("Login name", render_kw={**PLAIN, "autocapitalize": "none", "spellcheck": "false"})
    kind = Kind("Event")
    address = NetworkAddress("Address", render_kw={**PLAIN, "autocapitalize": "none", "spellcheck": "false"})
    since = Moment("Since", render_kw=PLAIN)
    until = Moment("Until", render_kw=PLAIN)
    before = Key("Before")

    def validate_until(self, field: Moment) -> None:
        """Ask for a span that holds something.

        Raises:
            ValidationError: it ends before it begins.
        """
        if self.since.at is not None and field.at is not None and self.since.at >= field.at:
            raise ValidationError("This is not after the time since which events are shown.")


class VerifyForm(GatehouseForm):
    """A verification of the audit log."""

    head = Line("Head", render_kw={**PLAIN, "autocapitalize": "none", "spellcheck": "false"})
