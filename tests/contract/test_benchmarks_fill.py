"""What the benchmarks fill a database with is what the app itself would have written, on both databases."""

from __future__ import annotations

from benchmarks import fill
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.keys import secret_digest


def test_users_and_sessions_in_bulk_can_be_used(home):
    fill.people(home.services.database, 30, "no digest", "an agent")
    assert home.count(schema.user) == home.count(schema.session) == home.count(schema.password) == 30
    found = home.services.sessions.store.find_live(secret_digest(fill.secret(7)), home.clock.now())
    assert found is not None
    row, identity, _, is_active = found
    assert (row.user_id, identity.user_id, identity.username, is_active) == (7, 7, fill.username(7, 30), True)
    assert home.person("somebody") > 30
