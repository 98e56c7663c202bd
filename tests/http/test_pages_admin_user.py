"""The page of one user: why they cannot log in, who granted what, which browsers are known."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain import passwords, users
from flask_gatehouse.flows import administer, reset_password
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import CLI
from tests.support.people import PASSWORD, Elements, logged_in, make_person, newcomer, services_of
from tests.support.visitor import submit

ACT = Act(CLI, None, "a test")
PAGE = "/admin/users/2"


@pytest.fixture
def app(make_app):
    """Return an app with root (1, administrator) and bob (2)."""
    made = make_app(lambda _, gate: gate.role("clerk", ["users:read"]))
    make_person(made, "root", "admin")
    make_person(made, "bob")
    return made


def forget_password(app):
    """Leave bob without a password."""
    with services_of(app).database.unit() as connection:
        passwords.forget(connection, 2)


def disable_password(app):
    """Count a hundred wrong passwords for bob."""
    submit(app.test_client(), "/login", username="bob", password="wrong")
    key = services_of(app).throttle.account_key(2, "")
    with services_of(app).database.unit() as connection:
        connection.execute(sa.update(schema.counter).where(schema.counter.c.key == key).values(total=100))


def delay(app):
    """Send five wrong passwords for bob."""
    for _ in range(5):
        submit(app.test_client(), "/login", username="bob", password="wrong")


def end_temporary(app):
    """Give bob a temporary password that has run out."""
    reset_password.make_temporary(services_of(app), CLI, "bob")
    with services_of(app).database.unit() as connection:
        connection.execute(sa.update(schema.password).values(temporary_until=1).where(schema.password.c.user_id == 2))


WAYS = {
    "The user is suspended.": (lambda app: administer.suspend(services_of(app), ACT, 2), "restore"),
    "Closed for good.": (lambda app: administer.close(services_of(app), ACT, 2), ""),
    "The password is marked as compromised.": (
        lambda app: administer.mark_compromised(services_of(app), ACT, 2),
        "reset",
    ),
    "No password.": (forget_password, "reset"),
    "A temporary password.": (lambda app: reset_password.make_temporary(services_of(app), CLI, "bob"), ""),
    "The temporary password has run out": (end_temporary, "reset"),
    "The password is disabled": (disable_password, "unlock"),
    "In a delay": (delay, "unlock"),
}


def why_of(client):
    """Return what the page says about why bob cannot log in, `""` where it says nothing."""
    html = client.get(PAGE).get_data(as_text=True)
    return html.partition('class="gh-why"')[2].partition("</ul>")[0]


@pytest.mark.parametrize("words", WAYS)
def test_the_page_says_why_a_user_cannot_log_in_and_offers_what_mends_it(app, root, words):
    assert why_of(root) == ""
    way, mend = WAYS[words]
    way(app)
    told = why_of(root)
    assert f"<strong>{words}" in told
    offered = [form["action"].rpartition("/")[2] for form in Elements(told).named("form")]
    assert offered == ([mend] if mend in {"restore", "unlock"} else [])
    assert ("gatehouse user reset bob" in told) is (mend == "reset")
    forms = [form["action"] for form in Elements(root.get(PAGE).get_data(as_text=True)).named("form")]
    assert len(forms) == len(set(forms))


@pytest.mark.parametrize("words", ["The user is suspended.", "The password is disabled", "In a delay"])
def test_the_button_mends_it(app, root, words):
    way, mend = WAYS[words]
    way(app)
    assert submit(root, f"{PAGE}/{mend}", page=PAGE).status_code == 303
    assert why_of(root) == ""
    assert submit(app.test_client(), "/login", username="bob", password=PASSWORD).status_code == 303


def test_who_may_only_look_is_told_why_without_a_button(app):
    disable_password(app)
    told = why_of(newcomer(app, "watcher", "clerk"))
    assert "The password is disabled" in told
    assert Elements(told).named("form") == []


def test_an_administrator_whom_strangers_lock_out_meanwhile_sees_it_and_needs_another(app, root):
    for _ in range(5):
        submit(app.test_client(), "/login", username="root", password="wrong")
    html = root.get("/admin/users/1").get_data(as_text=True)
    assert "<strong>In a delay</strong> after 5 wrong passwords" in html
    assert [form["action"] for form in Elements(html).named("form")] == ["/logout"]


def test_a_refused_reason_leaves_the_act_open_where_it_stands(app, root):
    delay(app)
    answer = submit(root, f"{PAGE}/unlock", page=PAGE, reason="x" * 501)
    html = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "open" in Elements(html.partition('class="gh-why"')[2].partition("</ul>")[0]).named("details")[0]


def test_grants_say_who_granted_them_and_until_when(app, root):
    administer.grant(services_of(app), ACT, 2, "clerk")
    submit(root, f"{PAGE}/grant", page=PAGE, role="admin", until="2099-01-31T12:00:00Z")
    html = root.get(PAGE).get_data(as_text=True)
    rows = {row.partition("</th>")[0].rpartition(">")[2]: row for row in html.split("<tr>") if 'scope="row"' in row}
    assert 'by <a href="/admin/users/1">root</a>' in rows["admin"]
    assert "2099-01-31T12:00:00Z" in rows["admin"]
    assert "by a command or the app" in rows["clerk"]
    assert "without end" in rows["clerk"]


def test_known_browsers_are_shown_with_their_first_and_last_login(app, root):
    assert "None." in root.get(PAGE).get_data(as_text=True).partition('id="browsers"')[2]
    logged_in(app, "bob")
    with services_of(app).database.unit() as connection:
        connection.execute(
            sa.update(schema.device).where(schema.device.c.user_id == 2).values(created_at=86_400_000_000)
        )
    part = root.get(PAGE).get_data(as_text=True).partition('id="browsers"')[2].partition("</section>")[0]
    with services_of(app).reading() as connection:
        seen = connection.execute(sa.select(schema.device.c.seen_at).where(schema.device.c.user_id == 2)).scalar_one()
    assert [tag["datetime"] for tag in Elements(part).named("time")] == ["1970-01-02T00:00:00Z", as_text(seen)]
    assert "None." not in part


def test_the_address_is_shown_with_whether_it_is_verified(app):
    boss = logged_in(app, "root")
    assert "verified" not in boss.get(PAGE).text
    with services_of(app).database.unit() as connection:
        users.set_email(connection, 2, "bob@example.org")
    assert "bob@example.org" in boss.get(PAGE).text
    assert ">not verified<" in boss.get(PAGE).text
    with services_of(app).database.unit() as connection:
        assert users.verify_email(connection, 2, "bob@example.org")
    assert ">verified<" in boss.get(PAGE).text
