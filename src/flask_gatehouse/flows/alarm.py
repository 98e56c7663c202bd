"""How an alarm ends: the password was chosen anew by who proved something older than it (rule 32)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_gatehouse.domain import users
from flask_gatehouse.domain.audit import Event

if TYPE_CHECKING:
    from flask_gatehouse.kernel.identity import Actor, Source

    from .services import Unit


def end_within(unit: Unit, actor: Actor, user_id: int, source: Source) -> bool:
    """Trust a locked user's password again, for flows that have just stored a new one; False where no alarm stands.

    The caller has seen a mailed or an operator's link that was made after the alarm, for older ones died with the
    epoch; or a session with two factors, of which those that the alarm left are old.
    """
    if not users.end_alarm(unit.connection, user_id):
        return False
    unit.record(Event("user.alarm_ended", actor, user_id, source))
    return True
