"""The administrators' first page: counts, what needs attention with its mend, a picture of the last day, the users."""

from __future__ import annotations

import html
import re

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.audit import Event
from flask_gatehouse.flows import administer, register
from flask_gatehouse.flows import overview as flow
from flask_gatehouse.flows.acts import Act
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import APP, CLI, GUEST, SYSTEM
from flask_gatehouse.web.picture import HEIGHT, LEAST, picture_of
from tests.support.people import Elements, logged_in, make_person, newcomer, services_of
from tests.support.statements import sent_to
from tests.support.visitor import submit

HOUR = 3600 * 10**6


@pytest.fixture
def app(make_app, database_url):
    """Return an app with two administrators, root (1) and ruth (2), and bob (3)."""
    del database_url
    made = make_app(lambda _, gate: gate.role("helper", ["users:read"]))
    for name, *roles in (("root", "admin"), ("ruth", "admin"), ("bob",)):
        make_person(made, name, *roles)
    return made


def overview(client):
    """Return the page as text."""
    answer = client.get("/admin")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def without_tags(text):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def matters(text):
    """Return what needs attention, each without its tags."""
    part = text.partition('id="attention"')[2].partition("</section>")[0]
    return [without_tags(found) for found in re.findall(r"<li[^>]*>(.*?)</li>", part, re.DOTALL)]


def links(text):
    """Return where what needs attention leads."""
    part = text.partition('id="attention"')[2].partition("</section>")[0]
    return [link["href"] for link in Elements(part).named("a")]


def change(app, statement, rows=None):
    with services_of(app).database.unit() as connection:
        connection.execute(statement, rows)


def record(app, *events, ago=0):
    held = services_of(app)
    with held.database.unit() as connection:
        held.audit.append(connection, events, held.clock.now() - ago)


def test_it_shows_counts_and_the_users_with_their_roles(app, root):
    administer.suspend(services_of(app), Act(CLI, None, "x"), 3)
    text = overview(root)
    counts = dict(re.findall(r"<dt>(\w+)</dt><dd>(\d+)</dd>", text))
    assert counts == {"Users": "3", "Active": "2", "Suspended": "1", "Closed": "0"}
    users = without_tags(text.partition('id="users"')[2])
    assert "bob none suspended root admin active ruth admin active" in users


def test_nothing_needs_attention_where_all_is_well(root):
    text = overview(root)
    assert matters(text) == []
    assert "Nothing at present." in text


def test_each_matter_says_what_is_wrong_and_leads_to_where_it_is_mended(app, root):
    held, now = services_of(app), services_of(app).clock.now()
    register.create(held, register.NewUser("carol", "quiet river stone", None), [], APP)
    for key, total, blocked in (("user:3", 100, 0), ("user:4", 6, now + HOUR)):
        values = {"key": key, "count": total, "total": total, "ends_at": now, "blocked_until": blocked}
        change(app, sa.insert(schema.counter).values(**values))
    with held.database.unit() as connection:
        held.roles.add_grant(connection, 2, "admin", now, by=1, until_at=now + 24 * HOUR)
        held.roles.create(connection, "shadow", [], now)
    held.roles.declare("shadow", [])
    change(app, sa.update(schema.chain_head).values(mac=bytes(32)))
    record(app, Event("audit.verified", APP, outcome="refused"))
    text = overview(root)
    titles = [found.partition(".")[0].partition(" after")[0] for found in matters(text)]
    assert sorted(titles[:2]) == ["The audit log does not agree", "The audit log was changed, or its secret was"]
    assert titles[2:] == [
        "Fewer than two lasting administrators",
        "Password disabled",
        "In a delay",
        "Grants that end within seven days",
        "Roles declared twice",
    ]
    assert f"carol until {as_text(now + HOUR)[11:16]} UTC" in " ".join(matters(text))
    assert f"ruth (admin, {as_text(now + 24 * HOUR)[:10]} )" in " ".join(matters(text))
    found = links(text)
    assert {"/admin/audit?kind=audit.unsealed", "/admin/audit?kind=audit.verified", "/admin/audit#chain"} <= set(found)
    assert [link for link in found if "/users" in link] == [
        "/admin/users",
        "/admin/users/3",
        "/admin/users/4",
        "/admin/users/2",
    ]
    assert all(root.get(link.partition("#")[0]).status_code == 200 for link in found)


def test_a_matter_goes_away_when_it_is_mended_where_its_link_leads(app, root):
    values = {"key": "user:3", "count": 100, "total": 100, "ends_at": 0, "blocked_until": 0}
    change(app, sa.insert(schema.counter).values(**values))
    (link,) = links(overview(root))
    assert submit(root, f"{link}/unlock", page=link).status_code == 303
    assert matters(overview(root)) == []


def test_a_matter_names_five_and_says_that_there_are_more(app, root):
    held = services_of(app)
    with held.database.unit() as connection:
        for number in range(9):
            held.roles.add_grant(
                connection, 3, f"role{number}", 0, by=1, until_at=held.clock.now() + (number + 1) * HOUR
            )
    (found,) = matters(overview(root))
    assert found.count("bob (role") == flow.NAMED_AT_MOST == 5
    assert found.endswith("and more.")


def test_v8_2_3_what_comes_from_the_log_is_for_those_who_may_read_it(app, root):
    change(app, sa.update(schema.chain_head).values(mac=bytes(32)))
    helper = newcomer(app, "helper", "helper")
    for text, shown in ((overview(root), 1), (overview(helper), 0)):
        assert len(matters(text)) == shown
        assert text.count("The last 24 hours") == shown
        assert text.count('role="img"') == 3 * shown
        assert ("/admin/audit" in text) == bool(shown)


# --- the picture --------------------------------------------------------------------------------------------


def table(text):
    """Return the numbers beside the picture, the newest hour first."""
    part = text.partition("<details")[2].partition("</details>")[0]
    rows = re.findall(r'<tr class="gh-hour">(.*?)</tr>', part, re.DOTALL)[1:]
    return [tuple(int(number) for number in re.findall(r'class="gh-number">(\d+)<', found)) for found in rows]


def test_the_picture_shows_logins_failures_and_refusals_of_each_hour(app, root):
    happened = (3, "login.failed", 7), (3, "access.denied", 2), (5, "login.succeeded", 4), (26, "login.failed", 9)
    for hours, kind, times in happened:
        record(app, *[Event(kind, GUEST)] * times, ago=hours * HOUR + HOUR // 2)
    until = as_text(services_of(app).clock.now() - 3 * HOUR - HOUR // 2)
    detail = {"kind": "login.failed", "number": 93, "until": until}
    record(app, Event("failures.counted", SYSTEM, detail=detail))
    text = overview(root)
    assert table(text) == [(1, 0, 0), *[(0, 0, 0)] * 2, (0, 100, 2), (0, 0, 0), (4, 0, 0), *[(0, 0, 0)] * 18]
    totals = re.findall(r'<strong>(\w+)</strong> <span class="gh-total">(\d+)</span>', text)
    assert totals == [("Logins", "5"), ("Failures", "100"), ("Refusals", "2")]
    pictures = re.findall(r"<svg[^>]*gh-bars.*?</svg>", text, re.DOTALL)
    assert [picture.count("<rect") for picture in pictures] == [2, 1, 1]
    for picture in pictures:
        tag = Elements(picture).named("svg")[0]
        assert tag["role"] == "img"
        named = {found["id"] for name, found in Elements(picture).found if name in {"title", "desc"} and "id" in found}
        assert set(tag["aria-labelledby"].split()) == named
    assert "100 in all; most in one hour: 100, from " in pictures[1]


def test_v3_4_3_the_page_has_no_inline_style_and_no_script_but_ours(root):
    text = overview(root)
    assert not re.search(r"<style|style=|\son\w+=", text)
    assert len(Elements(text).named("script")) == 1


def test_bars_stand_in_order_and_in_proportion():
    numbers = [0] * 24
    numbers[0], numbers[1], numbers[23] = 1, 1000, 500
    hours = tuple(range(0, 24 * HOUR, HOUR))
    found = picture_of(flow.Activity(hours, {"logins": numbers, "failures": [0] * 24}))
    logins, failures = found.rows
    assert [(bar.at, bar.number, bar.height) for bar in logins.bars] == [
        (0, 1, LEAST),
        (HOUR, 1000, HEIGHT),
        (23 * HOUR, 500, HEIGHT // 2),
    ]
    assert all(bar.y + bar.height == HEIGHT and 0 <= bar.x < found.width for bar in logins.bars)
    assert (logins.total, logins.most, logins.most_at) == (1501, 1000, HOUR)
    assert (failures.total, failures.most, failures.bars) == (0, 0, ())
    assert found.until - found.since == 24 * HOUR
    assert found.table[23] == (23 * HOUR, (500, 0))


def test_statements_are_few_and_the_same_however_much_there_is(app, root):
    counts = []
    for more in (False, True):
        if more:
            now = services_of(app).clock.now()
            rows = [
                {"key": f"user:{n}", "count": 9, "total": 9, "ends_at": now, "blocked_until": now + HOUR}
                for n in range(2, 300)
            ]
            change(app, sa.insert(schema.counter), rows)
            record(app, *[Event("login.failed", GUEST)] * 500, ago=HOUR)
        with sent_to(services_of(app).database) as sent:
            overview(root)
        counts.append(len(sent))
    assert counts[0] == counts[1] <= 16  # the session of who asks is one of them


def test_a_guest_and_somebody_without_the_permission_see_nothing_of_it(app):
    assert app.test_client().get("/admin").location == "/login?next=/admin"
    answer = logged_in(app, "bob").get("/admin")
    assert answer.status_code == 403
    assert "attention" not in answer.get_data(as_text=True)
