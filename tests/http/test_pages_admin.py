"""Administrators' pages: who may see them, what may be done there, and what the page says when it may not."""

from __future__ import annotations

import pytest

from flask_gatehouse.flows import administer
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel.identity import CLI
from tests.support.people import (
    HOUR,
    PASSWORD,
    PROGRAM,
    Elements,
    let_pass,
    logged_in,
    make_person,
    newcomer,
    services_of,
)
from tests.support.visitor import csrf_token, submit

PAGES = ("/admin", "/admin/users", "/admin/users/1", "/admin/roles", "/admin/roles/admin", "/admin/sessions")
ACTIONS = (
    *("suspend", "restore", "unlock", "grant", "withdraw", "end-sessions", "reset-factors", "demand-factor"),
    "mark-compromised",
)
FIELDS = {"reason": "for the test", "role": "admin"}


def act(client, user_id, action, **fields):
    return submit(client, f"/admin/users/{user_id}/{action}", page=f"/admin/users/{user_id}", **fields)


def roles_of(app, user_id):
    held = services_of(app)
    with held.reading() as connection:
        return {grant.role: grant.until_at for grant in held.roles.grants_of(connection, user_id, held.clock.now())}


@pytest.fixture
def app(make_app):
    """Return an app with root (1, administrator) and bob (2)."""
    made = make_app()
    make_person(made, "root", "admin")
    make_person(made, "bob")
    return made


# --- who may -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_v8_2_1_the_pages_are_the_administrators(app, path):
    guest, bob = app.test_client(), logged_in(app, "bob")
    assert guest.get(path).location == f"/login?next={path}"
    assert bob.get(path).status_code == 403
    assert "Not allowed" in bob.get(path).get_data(as_text=True)
    assert bob.get(path, headers=PROGRAM).status_code == 403
    assert logged_in(app, "root").get(path).status_code == 200


@pytest.mark.parametrize("action", ACTIONS)
def test_v8_3_1_an_action_is_refused_to_whoever_lacks_the_permission(app, action):
    bob = logged_in(app, "bob")
    assert submit(bob, f"/admin/users/1/{action}", page="/account", **FIELDS).status_code == 403
    assert submit(app.test_client(), f"/admin/users/1/{action}", page="/login", **FIELDS).status_code == 302
    assert roles_of(app, 1) == {"admin": None}


@pytest.mark.parametrize("action", ACTIONS)
def test_v3_5_3_actions_take_a_post(root, action):
    assert root.get(f"/admin/users/2/{action}").status_code == 405


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_a_fresh_proof(app, root, monkeypatch, action):
    let_pass(app, monkeypatch, HOUR / 4)
    shown = root.get("/admin/users/2").get_data(as_text=True)
    assert 'href="/reauthenticate?next=/admin/users/2"' in shown
    answer = act(root, 2, action, **FIELDS)
    assert (answer.status_code, answer.location) == (302, "/reauthenticate")


@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_acts_on_themselves(root, action):
    answer = act(root, 1, action, **FIELDS)
    assert answer.status_code == 403
    assert "ask another administrator" in answer.get_data(as_text=True)


def test_a_user_who_is_not_there_is_not_found(make_app, database_url):
    client = newcomer(make_app(), "root", "admin")
    for user_id in ("77", str(2**63 - 1), str(2**63), "9" * 40, "-1", "x", "%00"):
        assert client.get(f"/admin/users/{user_id}").status_code == 404, user_id
        for action in ACTIONS:
            answer = submit(client, f"/admin/users/{user_id}/{action}", page="/account", **FIELDS)
            assert answer.status_code == 404, (user_id, action)


def test_a_role_with_some_permissions_sees_and_does_just_that(make_app):
    app = make_app(lambda _, gate: gate.role("support", ["users:read", "users:unlock"]))
    make_person(app, "root", "admin")
    make_person(app, "bob")
    client = newcomer(app, "helper", "support")
    shown = client.get("/admin/users/2").get_data(as_text=True)
    actions = {
        form["action"].rpartition("/")[2] for form in Elements(shown).named("form") if "users/2/" in form["action"]
    }
    assert actions == {"unlock"}
    assert "Recent activity" not in shown
    assert act(client, 2, "unlock").status_code == 303
    assert act(client, 2, "suspend", reason="no").status_code == 403
    beyond = act(client, 1, "unlock")
    assert beyond.status_code == 403
    assert "all the permissions of the role or user" in beyond.get_data(as_text=True)


# --- what is shown -----------------------------------------------------------------------------------------


def test_the_overview_counts_and_lists_users_with_their_roles(app, root):
    administer.suspend(services_of(app), Act(CLI, None, "for the test"), 2)
    shown = root.get("/admin").get_data(as_text=True)
    counts = dict(zip(("Users", "Active", "Suspended", "Closed"), ("2", "1", "1", "0"), strict=True))
    for name, count in counts.items():
        assert f"<dt>{name}</dt><dd>{count}</dd>" in shown
    rows = [" ".join(row.split()) for row in shown.split("<tr>")[2:]]
    assert "bob" in rows[0]
    assert "suspended" in rows[0]
    assert "root" in rows[1]
    assert "admin" in rows[1]


def test_users_are_paged_by_name_and_searched_by_its_beginning(app, root):
    held = services_of(app)
    for number in range(120):
        make_person(app, f"user{number:03}")
    pages, path, seen = 0, "/admin/users", []
    while path:
        shown = root.get(path).get_data(as_text=True)
        seen += [link["href"] for link in Elements(shown).named("a") if link["href"].startswith("/admin/users/")]
        following = [link["href"] for link in Elements(shown).named("a") if link.get("rel") == "next"]
        pages, path = pages + 1, following[0] if following else ""
    assert (pages, len(seen), len(set(seen))) == (3, 122, 122)
    found = root.get("/admin/users?search=USER01").get_data(as_text=True)
    assert found.count("/admin/users/") == 10
    with held.reading():
        assert "No user here." in root.get("/admin/users?search=nobody").get_data(as_text=True)


def test_v2_2_1_a_search_that_cannot_be_is_refused(make_app, database_url):
    client = newcomer(make_app(), "root", "admin")
    for query in ("search=%00", "after=%00", "search=a%0Ab", "search=a&search=b", "after=a&after=b"):
        answer = client.get(f"/admin/users?{query}")
        assert answer.status_code == 422, query
        assert 'id="search-error"' in answer.get_data(as_text=True)


def test_v1_2_9_a_search_is_taken_literally(make_app, database_url):
    client = newcomer(make_app(), "root", "admin")
    for text in (".*(", "%", "_%", "' OR 1=1 --", "\u017f", "{{7*7}}", "\ud7ff" * 300):
        answer = client.get("/admin/users", query_string={"search": text, "after": text})
        assert answer.status_code == 200, text
        assert "No user here." in answer.get_data(as_text=True)


def test_v1_2_1_what_people_gave_is_shown_and_never_run(app, root):
    reason = "<script>alert(1)</script>{{7*7}} & \"quotes\" 'too'"
    agent = '<b>Agent</b>" onmouseover=x'
    logged_in(app, "bob", agent=agent)
    assert act(root, 2, "end-sessions", reason=reason).status_code == 303
    logged_in(app, "bob", agent=agent)
    shown = root.get("/admin/users/2").get_data(as_text=True)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}} &amp; &#34;quotes&#34; &#39;too&#39;" in shown
    assert "&lt;b&gt;Agent&lt;/b&gt;&#34; onmouseover=x" in shown
    assert "<script>alert" not in shown


def test_an_administrator_sees_who_acted_and_why(app, root):
    act(root, 2, "suspend", reason="left the company")
    shown = root.get("/admin/users/2").get_data(as_text=True)
    assert "<q>left the company</q>" in shown
    assert "by root" in shown


# --- what may be done --------------------------------------------------------------------------------------


def test_v7_4_2_suspending_refuses_the_users_next_click(app, root):
    bob = logged_in(app, "bob")
    assert bob.get("/protected").status_code == 200
    done = act(root, 2, "suspend", reason="left the company")
    assert (done.status_code, done.location) == (303, "/admin/users/2")
    assert bob.get("/protected").location == "/login?next=/protected"
    assert submit(bob, "/login", username="bob", password=PASSWORD).status_code == 401
    assert act(root, 2, "restore").status_code == 303
    assert bob.get("/protected").status_code == 302
    assert submit(bob, "/login", username="bob", password=PASSWORD).status_code == 303


def test_v8_3_2_a_role_counts_from_the_next_click_on_and_no_longer_after_it_is_withdrawn(app, root):
    bob = logged_in(app, "bob")
    assert bob.get("/for-admins").status_code == 403
    assert act(root, 2, "grant", role="Admin", until="2099-01-31T13:00:00+01:00").status_code == 303
    assert roles_of(app, 2) == {"admin": 4073544000_000000}
    assert bob.get("/for-admins").status_code == 200
    assert "2099-01-31T12:00:00Z" in root.get("/admin/users/2").get_data(as_text=True)
    assert act(root, 2, "withdraw", role="admin", reason="covered enough").status_code == 303
    assert bob.get("/for-admins").status_code == 403


def test_v7_4_5_all_sessions_of_a_user_end(app, root):
    one, other = logged_in(app, "bob"), logged_in(app, "bob")
    assert act(root, 2, "end-sessions", reason="a lost laptop").status_code == 303
    assert "2 sessions ended." in root.get("/admin/users/2").get_data(as_text=True)
    assert one.get("/protected").status_code == other.get("/protected").status_code == 302
    assert root.get("/protected").status_code == 200


def test_unlocking_lets_the_right_password_in_again(app, root):
    guest = app.test_client()
    for _ in range(5):
        submit(guest, "/login", username="bob", password="wrong")
    assert submit(guest, "/login", username="bob", password=PASSWORD).status_code == 429
    assert act(root, 2, "unlock").status_code == 303
    assert submit(guest, "/login", username="bob", password=PASSWORD).status_code == 303


UNTAKEABLE = (
    ("suspend", {"reason": ""}, "suspend-reason", "Give a reason"),
    ("suspend", {"reason": "  "}, "suspend-reason", "Give a reason"),
    ("suspend", {"reason": "a\x00b"}, "suspend-reason", "Control characters"),
    ("suspend", {"reason": "x" * 501}, "suspend-reason", "at most 500"),
    ("unlock", {"reason": "a\nb"}, "unlock-reason", "Control characters"),
    ("end-sessions", {}, "end-sessions-reason", "Give a reason"),
    ("reset-factors", {}, "reset-factors-reason", "Give a reason"),
    ("mark-compromised", {}, "mark-compromised-reason", "Give a reason"),
    ("demand-factor", {}, "demand-factor-reason", "Give a reason"),
    ("withdraw", {"role": "admin"}, "withdraw-reason", "Give a reason"),
    ("withdraw", {"role": "admin", "reason": "x"}, "withdraw-role", "does not hold"),
    ("grant", {}, "grant-role", "Fill this in"),
    ("grant", {"role": "nothing"}, "grant-role", "no role of this name"),
    ("grant", {"role": "a\x00"}, "grant-role", "Control characters"),
    ("grant", {"role": "x" * 9000}, "grant-role", "no role of this name"),
    ("grant", {"role": "admin", "until": "2000-01-01T00:00:00Z"}, "grant-until", "in the future"),
    ("grant", {"role": "admin", "until": "0001-01-01T00:00:00+23:59"}, "grant-until", "in the future"),
    *(
        ("grant", {"role": "admin", "until": text}, "grant-until", "ISO 8601")
        for text in (
            "soon",
            "2030-01-31",
            "2030-01-31T12:00:00",
            "9999-12-31T23:59:59-23:59",
            "9999-12-31T23:59:59Z",
            "2030-01-31T12:00:00+99:00",
        )
    ),
)


def test_a_field_that_cannot_be_taken_is_refused_beside_the_field(make_app, database_url):
    app = make_app()
    root, bob = newcomer(app, "root", "admin"), newcomer(app, "bob")
    for action, fields, field, text in UNTAKEABLE:
        answer = act(root, 2, action, **fields)
        html = answer.get_data(as_text=True)
        assert answer.status_code == 422, (action, fields)
        assert text in html.partition(f'id="{field}-error">')[2].partition("</p>")[0], (action, fields)
        assert [tag for tag in Elements(html).named("details") if "open" in tag]
        headers = {**PROGRAM, "X-CSRFToken": csrf_token(html)}
        program = root.post(f"/admin/users/2/{action}", data=fields, headers=headers)
        assert program.status_code == 422
        assert program.json is not None
        assert field.rpartition("-")[2] in program.json["errors"]
    assert bob.get("/protected").status_code == 200
    assert roles_of(app, 2) == {}


def test_rule_24_the_last_administrator_stays(app, root):
    make_person(app, "second", "admin")
    assert act(root, 3, "withdraw", role="admin", reason="one is enough").status_code == 303
    second = logged_in(app, "second")
    assert act(root, 3, "grant", role="admin").status_code == 303
    assert act(second, 1, "grant", role="admin", until="2099-01-31T12:00:00Z", reason="a test").status_code == 303
    refused = act(root, 3, "suspend", reason="for the test")
    assert refused.status_code == 403
    assert "last administrator" in refused.get_data(as_text=True)
    assert second.get("/protected").status_code == 200


def test_a_closed_user_can_only_be_looked_at(app, root):
    administer.close(services_of(app), Act(CLI, None, "for the test"), 2)
    shown = root.get("/admin/users/2").get_data(as_text=True)
    assert "closed" in shown
    assert [form["action"] for form in Elements(shown).named("form")] == ["/logout"]
    assert act(root, 2, "restore").status_code == 404
