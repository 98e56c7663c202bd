"""The counts that the administrators' overview shows, kept with every change."""

from __future__ import annotations

from flask_gatehouse.domain import users
from flask_gatehouse.flows import administer
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel.identity import CLI

PASSWORD = "correct horse battery"


def test_counts_follow_every_change_of_state(make_app, database_url):
    app = make_app(GATEHOUSE_DATABASE_URL=database_url)
    gate = app.extensions["gatehouse"]
    services, act = gate.services(app), Act(CLI, None, "because")

    def counts() -> dict[str, int]:
        with services.reading() as connection:
            return users.count_by_state(connection)

    with app.app_context():
        ids = [gate.create_user(name, PASSWORD).id for name in ("anna", "bert", "carl")]
    assert counts() == {"active": 3, "suspended": 0, "closed": 0}
    administer.suspend(services, act, ids[0])
    administer.suspend(services, act, ids[0])
    administer.close(services, act, ids[1])
    assert counts() == {"active": 1, "suspended": 1, "closed": 1}
    administer.restore(services, act, ids[0])
    administer.close(services, act, ids[0])
    assert counts() == {"active": 1, "suspended": 0, "closed": 2}
