"""The administrators' page of all live sessions: who sees it, how it is paged, and how one of them ends."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flask_gatehouse.flows import live_sessions
from flask_gatehouse.kernel import schema
from tests.support.people import HOUR, PROGRAM, Elements, let_pass, logged_in, make_person, newcomer, services_of
from tests.support.visitor import csrf_token, submit

PAGE = "/admin/sessions"


@pytest.fixture
def app(make_app, database_url):
    """Return an app with root (1, administrator) and bob (2)."""
    del database_url
    made = make_app(lambda _, gate: gate.role("helper", ["users:read", "sessions:revoke"]))
    make_person(made, "root", "admin")
    make_person(made, "bob")
    return made


def ids_of(app, user_id):
    """Return the public ids of a user's sessions, newest first."""
    with services_of(app).reading() as connection:
        return [row.public_id for row in services_of(app).sessions.store.of_user(connection, user_id)]


def shown_ids(client, query=""):
    """Return the public ids that the page offers to end."""
    forms = Elements(client.get(PAGE + query).get_data(as_text=True)).named("form")
    return [form["action"].split("/")[3] for form in forms if "/admin/sessions/" in form["action"]]


def end(client, public_id, query="", **fields):
    """Send the form that ends a session."""
    return submit(client, f"{PAGE}/{public_id}/end{query}", page=PAGE, **fields)


def entries(app):
    """Return what the log says of ended sessions."""
    with services_of(app).reading() as connection:
        return services_of(app).audit.search(connection, kind="session.ended")


def test_v7_4_5_one_session_ends_and_the_others_go_on(app, root):
    one, other = logged_in(app, "bob"), logged_in(app, "bob")
    newest, oldest = ids_of(app, 2)
    assert shown_ids(root) == [newest, oldest]
    done = end(root, oldest, reason="a lost laptop")
    assert (done.status_code, done.location) == (303, PAGE)
    assert one.get("/protected").status_code == 302
    assert other.get("/protected").status_code == root.get("/protected").status_code == 200
    (entry,) = entries(app)
    assert (entry.actor, entry.user_id) == ("root", 2)
    assert entry.detail == f'{{"reason":"a lost laptop","sessions":["{oldest}"]}}'
    assert end(root, oldest, reason="once more").status_code == 404


def test_one_needs_a_reason_and_the_refused_act_stays_open(app, root):
    bob = logged_in(app, "bob")
    (public_id,), html = ids_of(app, 2), ""
    for reason, text in (("", "Give a reason"), ("   ", "Give a reason"), ("a\nb", "Control characters")):
        answer = end(root, public_id, reason=reason)
        html = answer.get_data(as_text=True)
        assert answer.status_code == 422
        assert text in html.partition(f'id="end-{public_id}-reason-error">')[2].partition("</p>")[0]
        assert [tag for tag in Elements(html).named("details") if "open" in tag]
    headers = {**PROGRAM, "X-CSRFToken": csrf_token(html)}
    program = root.post(f"{PAGE}/{public_id}/end", headers=headers)
    assert program.status_code == 422
    assert program.json is not None
    assert "reason" in program.json["errors"]
    assert bob.get("/protected").status_code == 200
    assert entries(app) == []


def test_v8_3_1_it_needs_permission_and_rights_that_cover_the_users(app, root):
    bob, helper = logged_in(app, "bob"), newcomer(app, "helper", "helper")
    (roots,) = ids_of(app, 1)
    (bobs,) = ids_of(app, 2)
    assert bob.get(PAGE).status_code == 403
    assert submit(bob, f"{PAGE}/{roots}/end", page="/account", reason="x").status_code == 403
    refused = end(helper, roots, reason="too far up")
    assert refused.status_code == 403
    assert "all the permissions of the role or user" in refused.get_data(as_text=True)
    assert root.get("/protected").status_code == 200
    assert end(helper, bobs, reason="covered").status_code == 303
    assert bob.get("/protected").status_code == 302


def test_nobody_ends_their_own_there(app, root):
    (public_id,) = ids_of(app, 1)
    assert shown_ids(root) == []
    answer = end(root, public_id, reason="me")
    assert answer.status_code == 403
    assert "ask another administrator" in answer.get_data(as_text=True)


@pytest.mark.parametrize("public_id", ["a" * 16, "x", "%00", "\u017f", "A" * 16])
def test_a_session_that_is_not_there_is_not_found(root, public_id):
    assert end(root, public_id, reason="x").status_code == 404


def test_it_needs_a_fresh_proof(app, root, monkeypatch):
    logged_in(app, "bob")
    (public_id,) = ids_of(app, 2)
    let_pass(app, monkeypatch, HOUR / 4)
    assert 'href="/reauthenticate?next=/admin/sessions"' in root.get(PAGE).get_data(as_text=True)
    assert end(root, public_id, reason="x").location == "/reauthenticate"


def test_the_list_is_of_one_user_where_the_name_is_given(app, root):
    bob = logged_in(app, "bob")
    newcomer(app, "carol")
    (public_id,) = ids_of(app, 2)
    assert shown_ids(root, "?username=BOB") == [public_id]
    for name in ("nobody", "%25", "' OR 1=1 --"):
        assert "No live session here." in root.get(PAGE, query_string={"username": name}).get_data(as_text=True)
    assert end(root, public_id, "?username=bob", reason="x").location == f"{PAGE}?username=bob"
    assert bob.get("/protected").status_code == 302


def test_v2_2_1_a_query_that_cannot_be_is_refused(root):
    fine = "1-" + "a" * 16
    wrong = (
        "x",
        "-1",
        "1",
        "1-",
        f"1-{'A' * 16}",
        f"{'9' * 19}-{'a' * 16}",
        f"{fine}&after={fine}",
        f"\u0661-{'a' * 16}",
    )
    for query in ("username=%00", *(f"after={one}" for one in wrong)):
        answer = root.get(f"{PAGE}?{query}")
        assert answer.status_code == 422, query
        assert 'id="username-error"' in answer.get_data(as_text=True)
        assert 'value="None"' not in answer.get_data(as_text=True)
    assert root.get(f"{PAGE}?after={'9' * 18}-{'f' * 16}").status_code == 200


def add_sessions(app, number, *, seen_ago=0):
    """Add rows for bob past all floors."""
    held = services_of(app)
    now = held.clock.now()
    with held.database.unit() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(schema.session)).scalar_one()
        rows = [
            {
                "id": before + n,
                "public_id": f"{before + n:016x}",
                "digest": (before + n).to_bytes(32, "big"),
                "user_id": 2,
                "epoch": 0,
                "created_at": now,
                "seen_at": now - seen_ago,
                "expires_at": now + 10**10,
            }
            for n in range(number)
        ]
        connection.execute(sa.insert(schema.session), rows)


def test_sessions_are_paged_by_key_newest_first(app, root):
    add_sessions(app, 120)
    seen: list[str] = []
    sizes: list[int] = []
    query: str | None = ""
    while query is not None:
        found = shown_ids(root, query)
        html = root.get(PAGE + query).get_data(as_text=True)
        following = [link["href"] for link in Elements(html).named("a") if link.get("rel") == "next"]
        sizes.append(len(found))
        seen, query = seen + found, following[0].removeprefix(PAGE) if following else None
    assert sizes == [50, 50, 20]
    assert seen == ids_of(app, 2)


def test_a_page_looks_at_a_bounded_number_of_rows_and_goes_on(app, root):
    logged_in(app, "bob")
    (live,) = ids_of(app, 2)
    add_sessions(app, 6000, seen_ago=7200 * 10**6)  # ended by time, not deleted yet
    held = services_of(app)
    with held.reading() as connection:
        first = live_sessions.page(held, connection)
        assert (first.sessions, first.after is not None) == ([], True)
        found: list[live_sessions.LiveSession] = []
        pages, after = 1, first.after
        while after is not None:
            got = live_sessions.page(held, connection, after=after)
            pages, after, found = pages + 1, got.after, found + got.sessions
    assert pages <= 6000 // live_sessions.READ_AT_MOST + 1
    assert live in [session.row.public_id for session in found]
    assert "there may be older ones" in root.get(PAGE).get_data(as_text=True)
