"""The forms of the console: field names as in `face.md`, and what only lists and acts of an administrator ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wtforms import BooleanField
from wtforms.validators import InputRequired, StopValidation, ValidationError

from flask_gatehouse.domain.audit import KINDS, address_of
from flask_gatehouse.domain.sessions import Place
from flask_gatehouse.kernel.clock import from_text

from .forms import MISSING, PLAIN, GatehouseForm, Line, Many
from .shown import PUBLIC_ID

if TYPE_CHECKING:
    from flask_gatehouse.kernel.clock import Instant

NO_NUMBER = "The number after which the page begins is no number."
NO_PLACE = "Where the page begins cannot be read: begin with the newest."
KEY_DIGITS = 18
"""So many fit into 64 bits, whatever they are."""
_PLACE = re.compile(rf"([0-9]{{1,{KEY_DIGITS}}})-({PUBLIC_ID.pattern})")


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


class SessionPlace(Line):
    """The session that a page of the list begins after: when it began, and its public id."""

    place: Place | None = None

    def pre_validate(self, form: Any) -> None:
        """Read the place.

        Raises:
            StopValidation: it is none.
        """
        super().pre_validate(form)
        if not self.data:
            return
        found = _PLACE.fullmatch(self.data)
        if found is None:
            raise StopValidation(NO_PLACE)
        self.place = Place(int(found[1]), found[2])


def place_text(place: Place | None) -> str:
    """Return a place as `SessionPlace` reads it; empty: none."""
    return "" if place is None else f"{place.created_at}-{place.public_id}"


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


class EventKind(Line):
    """A kind of event; empty: any."""

    def pre_validate(self, form: Any) -> None:
        """Take a kind that exists.

        Raises:
            StopValidation: there is none of this name.
        """
        super().pre_validate(form)
        if self.data and self.data not in KINDS:
            raise StopValidation("No event is called so.")


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
    until = Moment("Until", render_kw=PLAIN)


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
    after = SessionPlace("After")


class AuditForm(GatehouseForm):
    """Which events the audit log shows, and the last one of the page before."""

    username = Line("Login name", render_kw={**PLAIN, "autocapitalize": "none", "spellcheck": "false"})
    kind = EventKind("Event")
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
