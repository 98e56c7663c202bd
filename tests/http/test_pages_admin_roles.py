"""Administrators' pages of roles: what they show, what would change for whom, and who may change it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.people import HOUR, PROGRAM, Elements, let_pass, logged_in, make_person, newcomer, services_of
from tests.support.visitor import csrf_token, submit

PAGE = "/admin/roles"
ROLE = f"{PAGE}/auditor"


BEFORE = ["role.granted", "role.created", "role.granted"]


def declare(_app, gate):
    """Declare what the tests' roles are made of."""
    gate.permission("invoice:read", "Read <b>invoices</b>")
    gate.role("clerk", ["invoice:read"])
    gate.role("in/voice", [])
    gate.role("editor", ["users:read", "roles:edit", "roles:grant", "audit:read"])


@pytest.fixture
def app(make_app, database_url):
    """Return an app with root (1, administrator), bob (2, auditor) and the role auditor."""
    del database_url
    made = make_app(declare)
    root = newcomer(made, "root", "admin")
    make_person(made, "bob")
    assert create(root, "auditor", "audit:read").status_code == 303
    assert submit(root, "/admin/users/2/grant", page="/admin/users/2", role="auditor").status_code == 303
    return made


def create(client, name, *permissions, **fields):
    """Send the form that makes a role."""
    return submit(client, PAGE, page=PAGE, **{"role": name, "permission": list(permissions), **fields})


def preview(client, *permissions, role="auditor"):
    """Ask what would change, as the form does, and return the page."""
    seen = Elements(client.get(f"{PAGE}/{role}").get_data(as_text=True)).field("seen")["value"]
    query = {"seen": seen, "permission": list(permissions)}
    return client.get(f"{PAGE}/{role}", query_string=query).get_data(as_text=True)


def save(client, shown, **fields):
    """Send the form that a preview ends with."""
    found = Elements(shown)
    form = next(form for form in found.named("form") if form["action"].endswith("/edit"))
    hidden = [(item["name"], item["value"]) for item in found.named("input") if item.get("type") == "hidden"]
    sent: dict[str, Any] = {"permission": [value for name, value in hidden if name == "permission"]}
    sent["seen"] = next(value for name, value in hidden if name == "seen")
    return submit(client, form["action"], page="/account", **sent, **fields)


def permissions_of(app, name="auditor"):
    """Return what a role in the database permits."""
    with services_of(app).reading() as connection:
        return services_of(app).roles.stored(connection, name)


def kinds(app):
    """Return the kinds of what the log says of roles, newest first."""
    with services_of(app).reading() as connection:
        return [entry.kind for entry in services_of(app).audit.search(connection) if entry.kind.startswith("role.")]


# --- what is shown ----------------------------------------------------------------------------------------


def test_every_role_and_permission_is_listed_with_where_it_is_defined(root):
    shown = root.get(PAGE).get_data(as_text=True)
    for text in ("built in", "declared in code", "made here or by a command", "everything", "audit:read"):
        assert text in shown
    assert "Read &lt;b&gt;invoices&lt;/b&gt;" in shown
    links = {link["href"] for link in Elements(shown).named("a")}
    assert {f"{PAGE}/admin", f"{PAGE}/clerk", ROLE} <= links
    assert not [link for link in links if "voice" in link]  # a name that cannot stand in a URL leads nowhere


def test_one_role_is_shown_with_what_it_permits_and_who_holds_it(root):
    shown = root.get(ROLE).get_data(as_text=True)
    assert "Read the audit log" in shown
    assert 'href="/admin/users/2"' in shown
    assert "permits everything" in root.get(f"{PAGE}/ADMIN").get_data(as_text=True)
    assert "changed there" in root.get(f"{PAGE}/clerk").get_data(as_text=True)
    assert Elements(root.get(f"{PAGE}/clerk").get_data(as_text=True)).named("fieldset") == []


@pytest.mark.parametrize("name", ["nobody", "%00", "a%0Ab", "%ED%A0%80", "x" * 5000, "%C5%BF"])
def test_a_role_that_is_not_there_is_not_found(root, name):
    assert root.get(f"{PAGE}/{name}").status_code == 404
    for action in ("edit", "delete"):
        assert submit(root, f"{PAGE}/{name}/{action}", page=PAGE, reason="x").status_code == 404


def test_v2_2_1_a_query_that_cannot_be_taken_is_refused(root):
    for query in ("after=x", "after=1&after=2", "seen=%00", "permission=%00"):
        assert root.get(f"{ROLE}?{query}").status_code == 422, query


def test_holders_come_a_page_at_a_time_with_what_was_tried_on(app, root, monkeypatch):
    monkeypatch.setattr("flask_gatehouse.web.admin_roles.PER_PAGE", 1)
    make_person(app, "carol", "auditor")
    shown = preview(root, "audit:read", "users:read")
    (following,) = [link["href"] for link in Elements(shown).named("a") if link.get("rel") == "next"]
    asked = parse_qs(urlsplit(following).query)
    assert (asked["permission"], asked["after"]) == (["audit:read", "users:read"], ["2"])
    assert "carol" in root.get(following).get_data(as_text=True)


# --- what would change ------------------------------------------------------------------------------------


def test_what_would_change_for_whom_is_shown_before_it_is_saved(app, root):
    shown = preview(root, "users:read")
    assert permissions_of(app) == {"audit:read"}
    assert "What would change" in shown
    assert kinds(app) == BEFORE
    done = save(root, shown, reason="another task")
    assert (done.status_code, done.location) == (303, ROLE)
    assert permissions_of(app) == {"users:read"}
    assert kinds(app)[0] == "role.changed"


def test_trying_on_what_a_role_has_says_that_nothing_would_change(root):
    assert "permits just this already" in preview(root, "audit:read")


def test_v15_4_2_what_somebody_else_changed_meanwhile_is_looked_at_again(app, root):
    shown = preview(root, "audit:read", "invoice:read")
    assert save(logged_in(app, "root"), preview(root, "users:read"), reason="first").status_code == 303
    late = save(root, shown, reason="second")
    assert late.status_code == 422
    text = late.get_data(as_text=True)
    assert "changed meanwhile" in text
    assert permissions_of(app) == {"users:read"}
    assert save(root, text, reason="second, having looked").status_code == 303
    assert permissions_of(app) == {"audit:read", "invoice:read"}


def test_what_takes_away_asks_for_a_reason_beside_its_field(app, root):
    answer = save(root, preview(root, "users:read"))
    assert answer.status_code == 422
    assert 'id="edit-reason-error"' in answer.get_data(as_text=True)
    answer = submit(root, f"{ROLE}/delete", page=ROLE)
    assert answer.status_code == 422
    assert 'id="delete-reason-error"' in answer.get_data(as_text=True)
    assert permissions_of(app) == {"audit:read"}


def test_a_deleted_role_is_gone_for_who_held_it(app, root):
    done = submit(root, f"{ROLE}/delete", page=ROLE, reason="unused")
    assert (done.status_code, done.location) == (303, PAGE)
    assert root.get(ROLE).status_code == 404
    assert kinds(app)[:2] == ["role.deleted", "role.withdrawn"]


def test_a_program_gets_problems_and_the_way_on(root):
    token = csrf_token(root.get(PAGE).get_data(as_text=True))
    sent = {"csrf_token": token, "role": "reader", "permission": ["users:read"]}
    made = root.post(PAGE, data=sent, headers=PROGRAM)
    assert (made.status_code, made.json) == (201, {"next": f"{PAGE}/reader"})
    bad = root.post(PAGE, data=sent | {"permission": ["users:burn"]}, headers=PROGRAM)
    assert (bad.status_code, list(bad.json["errors"])) == (422, ["permission"])


@pytest.mark.parametrize(
    "name, permission, field", [("x", "audit:read", "role"), ("third", "audit:burn", "permission")]
)
def test_v2_2_1_a_role_that_cannot_be_made_is_refused_beside_its_field(app, root, name, permission, field):
    answer = create(root, name, permission)
    assert answer.status_code == 422
    assert f'id="new-{field}-error"' in answer.get_data(as_text=True)
    assert kinds(app) == BEFORE


# --- who may ----------------------------------------------------------------------------------------------

CHANGES = (PAGE, f"{ROLE}/edit", f"{ROLE}/delete")


@pytest.mark.parametrize("path", CHANGES)
def test_v8_3_1_a_change_asks_for_the_permission_and_a_fresh_proof(app, root, monkeypatch, path):
    fields: dict[str, Any] = {"role": "third", "permission": ["audit:read"], "reason": "x"}
    reader = newcomer(app, "reader", "clerk")
    assert submit(reader, path, page="/account", **fields).status_code == 403
    assert submit(app.test_client(), path, page="/login", **fields).status_code == 302
    let_pass(app, monkeypatch, HOUR / 4)
    answer = submit(root, path, page="/account", **fields)
    assert (answer.status_code, answer.location) == (302, "/reauthenticate")
    assert "/reauthenticate?next=" in root.get(ROLE).get_data(as_text=True)
    assert permissions_of(app) == {"audit:read"}
    assert permissions_of(app, "third") is None


def test_v3_5_3_changes_take_a_post(root):
    for path in CHANGES[1:]:
        assert root.get(path).status_code == 405


def test_v8_2_3_an_editor_sees_and_does_no_more_than_they_hold(app, root):
    editor = newcomer(app, "editor", "editor")
    shown = editor.get(ROLE).get_data(as_text=True)
    boxes = {box["value"]: "disabled" in box for box in Elements(shown).named("input") if box["name"] == "permission"}
    assert boxes["audit:read"] is boxes["users:read"] is False
    assert boxes["sessions:revoke"] is boxes["invoice:read"] is True
    assert save(editor, preview(editor, "audit:read", "sessions:revoke")).status_code == 403
    assert save(editor, preview(editor, "audit:read", "users:read")).status_code == 303
    assert create(root, "strong", "sessions:revoke").status_code == 303
    shown = editor.get(f"{PAGE}/strong").get_data(as_text=True)
    assert "all the permissions of the role or user" in shown
    assert [form["action"] for form in Elements(shown).named("form")] == ["/logout"]


def test_nobody_is_offered_to_change_a_role_that_they_hold(app, root):
    make_person(app, "second", "admin", "auditor")
    second = logged_in(app, "second")
    shown = second.get(ROLE).get_data(as_text=True)
    assert "ask another administrator" in shown
    assert "See what would change" not in shown
    assert submit(second, f"{ROLE}/edit", page=ROLE, permission=[], reason="x").status_code == 403
