"""The forms by which second factors are answered, enrolled and named."""

from __future__ import annotations

from wtforms import BooleanField
from wtforms.validators import InputRequired, ValidationError

from .forms import CODE, MISSING, PLAIN, PRESENT, GatehouseForm, Line, Once, Secret


class PasskeyLoginForm(GatehouseForm):
    """`/login/passkey`."""

    passkey = Once("Passkey", [InputRequired(MISSING)])
    remember = BooleanField("Keep me logged in on this browser")


class FactorForm(GatehouseForm):
    """`/login/factor`: one of them."""

    code = Once("Code", render_kw=CODE)
    recovery_code = Once("Recovery code", render_kw=PLAIN)
    passkey = Once("Passkey")

    def answer(self) -> tuple[str, str]:
        """Return the field that was filled in, and what stands there."""
        filled = [field for field in (self.code, self.passkey, self.recovery_code) if field.data]
        return filled[0].name, filled[0].data

    def validate_recovery_code(self, field: Line) -> None:
        """Ask for one answer, not none.

        Raises:
            ValidationError: both fields are empty.
        """
        if not field.data and not self.code.data and not self.passkey.data:
            raise ValidationError(MISSING)


class ReauthenticateForm(GatehouseForm):
    """`/reauthenticate`: one of them."""

    password = Secret("Password", render_kw=PRESENT)
    code = Once("Code", render_kw=CODE)
    passkey = Once("Passkey")

    def validate_password(self, field: Secret) -> None:
        """Ask for one proof, not none.

        Raises:
            ValidationError: both fields are empty.
        """
        if not field.data and not self.code.data and not self.passkey.data:
            raise ValidationError(MISSING)


class CodeForm(GatehouseForm):
    """`/account/security/totp`."""

    code = Once("Code", [InputRequired(MISSING)], render_kw=CODE)


class NameForm(GatehouseForm):
    """`/account/security/passkeys/<id>/rename`."""

    name = Line("Name", [InputRequired(MISSING)], render_kw={**PLAIN, "maxlength": 80})


class PasskeyForm(GatehouseForm):
    """`/account/security/passkeys`."""

    passkey = Once("Passkey", [InputRequired(MISSING)])
    name = Line("Name", render_kw={**PLAIN, "maxlength": 80})
