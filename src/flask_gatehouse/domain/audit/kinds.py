"""Every kind of event, with a sentence that says what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "user.registered": "A user registered.",
    "user.created": "A user was created by a command, by `init` or by the app.",
    "user.suspended": "A user was suspended; all sessions ended.",
    "user.restored": "A suspended user may log in again.",
    "user.unlocked": "A user's counters of wrong passwords were zeroed.",
    "user.closed": "A user was closed for good; all sessions ended.",
    "user.email_asked": "A user named an e-mail address that counts once it is confirmed.",
    "user.email_changed": "The e-mail address was changed.",
    "user.email_verified": "An e-mail address was confirmed by the link that was mailed there.",
    "admin.claimed": "The first administrator's claim was spent.",
    "role.created": "A role was made.",
    "role.changed": "The permissions of a role were changed.",
    "role.deleted": "A role was deleted; who held it holds it no longer.",
    "role.granted": "A user was granted a role.",
    "role.withdrawn": "A role was withdrawn from a user.",
    "login.succeeded": "A login was completed.",
    "login.factor_due": "The password was right; a second factor is due.",
    "login.failed": "A login failed: wrong name, wrong password, or a user who may not log in.",
    "login.delayed": "Wrong passwords in a row put the account into its delay.",
    "login.throttled": "The first attempt of a window that was refused for its address.",
    "login.temporary": "A temporary password was used up; a link to choose a new one was made.",
    "failures.overflowed": "Failures of so many names or addresses that further ones are only counted for a while.",
    "failures.counted": "What was only counted in a window that has ended.",
    "logout": "A user logged out.",
    "session.ended": "Sessions were ended by their user, an administrator, a command or the cap.",
    "factor.enrolled": "A second factor was enrolled; with the first one all other sessions ended.",
    "factor.removed": "A second factor was removed; all other sessions ended.",
    "factor.renamed": "A passkey was given another name.",
    "factor.refused": "A second factor could not be enrolled: what was sent answers nothing that was asked here.",
    "passkey.copied": "A passkey's counter went back: there may be a copy of it. Its answer was refused.",
    "passkey.altered": "The row of a passkey was changed by somebody without the app's secret. Its answer was refused.",
    "recovery_codes.made": "New recovery codes were made; older ones count no longer.",
    "login.recovered": "A recovery code was used in place of the second factor, which must be replaced now.",
    "step_up.succeeded": "A user proved the password or a second factor again.",
    "step_up.failed": "A repeated proof failed.",
    "password.changed": "A user changed the password; all other sessions ended.",
    "password.change_failed": "A password change named a wrong present password.",
    "password.rehashed": "A digest was renewed at login with the present scheme and cost.",
    "password.forgotten": "A link to choose a new password was asked for, for somebody or for nobody.",
    "password.reset_link": "A link to choose a new password was made.",
    "password.temporary": "A temporary password was made.",
    "password.reset": "A password was chosen through a link; all sessions ended.",
    "mail.failed": "A mail was not handed over at its first try, or was given up.",
    "audit.unsealed": "The chain's head, when this was appended, bore no MAC of this key ring.",
    "audit.verified": "The newest part of the chain was verified.",
    "audit.sealed": "Rows that a file holds were deleted from the front of the chain; a segment stands for them.",
    "access.denied": "An authenticated user was refused.",
    "csrf.refused": "A request with a wrong token or origin was refused.",
}
