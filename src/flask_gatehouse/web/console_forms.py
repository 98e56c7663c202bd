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


class Read(Line):
    """A line that is read into a value, where one was typed. A class of it gives `read`."""

    def read(self, text: str) -> None:
        """Keep the value.

        Raises:
            ValueError: it is none; the text is the message.
        """
        raise NotImplementedError

    def pre_validate(self, form: Any) -> None:
        """Read what was typed.

        Raises:
            StopValidation: it cannot be read.
        """
        super().pre_validate(form)
        try:
            if self.data:
                self.read(self.data)
        except ValueError as error:
            raise StopValidation(str(error)) from None


class Key(Read):
    """The key that a page of a list begins after, as a number that the database can hold."""

    number: int = 0

    def read(self, text: str) -> None:  # noqa: D102
        if not (text.isascii() and text.isdecimal() and len(text) <= KEY_DIGITS):
            raise ValueError(NO_NUMBER)
        self.number = int(text)


class SessionPlace(Read):
    """The session that a page of the list begins after: when it began, and its public id."""

    place: Place | None = None

    def read(self, text: str) -> None:  # noqa: D102
        found = _PLACE.fullmatch(text)
        if found is None:
            raise ValueError(NO_PLACE)
        self.place = Place(int(found[1]), found[2])


def place_text(place: Place | None) -> str:
    """Return a place as `SessionPlace` reads it; empty: none."""
    return "" if place is None else f"{place.created_at}-{place.public_id}"


class Moment(Read):
    """A time in ISO 8601 with its offset."""

    at: Instant | None = None

    def read(self, text: str) -> None:  # noqa: D102
        self.at = from_text(text)


class NetworkAddress(Read):
    """An address, in the one form that the audit log holds it in."""

    canonical: str = ""

    def read(self, text: str) -> None:  # noqa: D102
        try:
            self.canonical = address_of(text)
        except ValueError as error:
            told = str(error)
            raise ValueError(f"{told[:1].upper()}{told[1:]}.") from None


class EventKind(Read):
    """A kind of event; empty: any."""

    def read(self, text: str) -> None:  # noqa: D102
        if text not in KINDS:
            raise ValueError("No event is called so.")


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
