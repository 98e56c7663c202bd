"""The administrators' page of the audit log: who sees it, what it finds, how it is paged, how the chain verifies."""

from __future__ import annotations

import html
import re

import pytest
import sqlalchemy as sa

from flask_gatehouse.domain.audit import Event
from flask_gatehouse.domain.audit import search as audit_search
from flask_gatehouse.flows import verify_log
from flask_gatehouse.kernel import schema
from flask_gatehouse.kernel.clock import as_text
from flask_gatehouse.kernel.identity import APP, GUEST, Source
from tests.support.people import HOUR, PROGRAM, Elements, let_pass, logged_in, make_person, newcomer, services_of
from tests.support.plans import fill_log
from tests.support.statements import sent_to
from tests.support.visitor import csrf_token, submit

PAGE, VERIFY = "/admin/audit", "/admin/audit/verify"
EVENT, HEAD = schema.event, schema.chain_head


@pytest.fixture
def app(make_app, database_url):
    """Return an app with root (1, administrator) and bob (2)."""
    del database_url
    made = make_app(lambda _, gate: [gate.role("auditor", ["audit:read"]), gate.role("helper", ["users:read"])])
    make_person(made, "root", "admin")
    make_person(made, "bob")
    return made


def record(app, *events):
    """Append events past the flows."""
    held = services_of(app)
    with held.database.unit() as connection:
        held.audit.append(connection, events, held.clock.now())


def shown(client, **query):
    """Return the page as text."""
    answer = client.get(PAGE, query_string=query)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def numbers(text):
    """Return the numbers of the rows on a page."""
    return [int(found) for found in re.findall(r">row (\d+)</span>", text)]


def kinds(text):
    """Return the kinds of the rows on a page."""
    return re.findall(r'aria-label="Only ([a-z_]+\.?[a-z_]+)"', text)


def row(text, number):
    """Return the text of one row, without its tags."""
    found = next(part for part in text.split("<tr ") if f">row {number}</span>" in part)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found.partition(">")[2])).split())


def test_v8_3_1_it_needs_the_permission_to_read_the_log(app, root):
    for client, status in ((logged_in(app, "bob"), 403), (newcomer(app, "helper", "helper"), 403), (root, 200)):
        assert client.get(PAGE).status_code == status
    assert app.test_client().get(PAGE).location == "/login?next=/admin/audit"
    assert submit(logged_in(app, "bob"), VERIFY, page="/account").status_code == 403


def test_an_auditor_finds_the_way_there_and_no_link_that_is_closed(app):
    auditor = newcomer(app, "auditor", "auditor")
    links = [link["href"] for link in Elements(auditor.get("/account").get_data(as_text=True)).named("a")]
    assert PAGE in links
    text = shown(auditor)
    assert "/admin/users" not in text
    assert 'href="/admin"' not in text
    assert "root" in row(text, numbers(text)[-1])
    links = [
        link["href"] for link in Elements(newcomer(app, "helper", "helper").get("/admin").get_data(True)).named("a")
    ]
    assert PAGE not in links


def test_v16_2_1_a_row_tells_when_what_whom_who_and_where_from(app, root):
    submit(root, "/admin/users/2/suspend", page="/admin/users/2", reason="left <b>us</b>")
    text = shown(root)
    newest = row(text, numbers(text)[0])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC row \d+ A user was suspended; all sessions ended\.", newest)
    assert "left <b>us</b> user.suspended" in newest
    assert newest.endswith("bob root 127.0.0.1 · Werkzeug/" + newest.rpartition("Werkzeug/")[2])
    assert "<b>us</b>" not in text
    links = [link["href"] for link in Elements(text.partition("<tbody")[2]).named("a")]
    assert links[:4] == [f"{PAGE}?kind=user.suspended", "/admin/users/2", "/admin/users/1", f"{PAGE}?address=127.0.0.1"]


HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "%00")


def test_v1_2_1_whatever_stands_in_a_row_is_shown_as_text(app, root):
    for hostile in HOSTILE:
        source = Source(hostile[:64], hostile, hostile[:64])
        detail = {"path": hostile, "reason": hostile, hostile: [hostile]}
        record(app, Event("access.denied", GUEST, 2, source, detail=detail))
        text = shown(root)
        assert hostile not in text or hostile in HOSTILE[2:]
        assert row(text, numbers(text)[0]).count(hostile) >= 4


def test_a_row_that_somebody_wrote_past_us_is_shown_too(app, root):
    with services_of(app).database.unit() as connection:
        for number, detail in enumerate(("{", "[1]", '"x"', "7", "null")):
            values = {"id": 900 + number, "at": 1, "kind": "no.kind", "outcome": "ok", "actor": "?", "user_id": 77}
            connection.execute(sa.insert(EVENT).values(**values, detail=detail, hash=b""))
    text = shown(root)
    assert numbers(text)[:5] == [904, 903, 902, 901, 900]
    assert "An event that this release does not know. no.kind · detail {" in row(text, 900)
    assert "user 77 ?" in row(text, 900)


def test_long_facts_are_cut_short(app, root):
    record(app, Event("session.ended", APP, 2, detail={"sessions": [f"{n:016x}" for n in range(20)], "why": "w" * 300}))
    text = shown(root)
    newest = row(text, numbers(text)[0])
    assert f"sessions {0:016x}, {1:016x}, {2:016x} and 17 more" in newest
    assert f"why {'w' * 200}…" in newest


def test_when_a_grant_ends_is_a_time_and_a_grant_without_end_says_nothing_of_it(app, root):
    old, ends = 4_070_908_800_000_000, "2099-01-01T00:00:00Z"
    ways = (ends, old, None, 10**30)
    record(app, *(Event("role.granted", APP, 2, detail={"role": "staff", "until": at}) for at in ways))
    text = shown(root)
    beyond, without, with_instant, with_end = (row(text, number) for number in numbers(text)[:4])
    assert f"role.granted · role staff · until {ends}" in with_end
    assert f"role.granted · role staff · until {ends}" in with_instant
    assert "until" not in without
    assert f"until {10**30}" in beyond


# --- filters ------------------------------------------------------------------------------------------------


def test_each_filter_finds_what_it_says_and_stays_in_its_field(app, root):
    record(app, Event("logout", APP, 2, Source("2001:db8::7")))
    since, until = (as_text(services_of(app).clock.now() + seconds * 10**6) for seconds in (-60, 60))
    found = [
        shown(root, username="BOB"),
        shown(root, kind="logout"),
        shown(root, address="2001:DB8:0::7"),
        shown(root, since=since, until=until),
        shown(root, username="bob", kind="logout", address="2001:db8::7", since=since),
    ]
    for text in found:
        assert kinds(text)[0] == "logout", text
    assert [len(numbers(text)) for text in found] == [2, 1, 1, numbers(found[0])[0], 1]
    fields = Elements(found[-1])
    assert [fields.field(name)["value"] for name in ("username", "address", "since", "until")] == [
        *("bob", "2001:db8::7", since, ""),
    ]
    assert re.findall(r"<option selected>([^<]*)", found[-1]) == ["logout"]


def test_a_list_without_rows_says_whether_anything_was_asked_for(root):
    span = {"since": "1970-01-01T00:00:00Z", "until": "1970-01-01T00:00:01Z"}
    assert "No event fits." in shown(root, **span)
    assert "No older event fits." in shown(root, **span, before=5)
    assert "No event here." in shown(root, before=1)


def test_a_network_whose_refusals_were_counted_can_be_looked_for(app, root):
    detail = {"kind": "login.throttled", "number": 12, "until": "2026-01-01T00:00:00Z"}
    record(app, Event("failures.counted", APP, source=Source("2001:db8:0:1::/64"), detail=detail))
    text = shown(root, address="2001:db8:0:1::/64")
    assert "kind login.throttled · number 12 · until 2026-01-01T00:00:00Z" in row(text, numbers(text)[0])


def test_an_unknown_login_name_shows_nothing_and_says_so(root):
    for name in ("nobody", "%", "' OR 1=1 --", "root\u017f"):
        text = shown(root, username=name)
        assert numbers(text) == []
        assert "No user has this login name." in text


UNTAKEN = (
    ("username", "a\x00b", "Control characters"),
    ("kind", "no.kind", "No event is called so."),
    ("kind", "' OR 1=1 --", "No event is called so."),
    ("address", "192.0.2.0/24", "Write one address"),
    ("address", "x" * 5000, "Write one address"),
    ("since", "yesterday", "Write it in ISO 8601"),
    ("since", "2026-01-01T00:00:00", "Write it in ISO 8601"),
    ("until", "9999-12-31T23:59:59Z", "Write it in ISO 8601"),
)


def test_v2_2_1_a_filter_that_cannot_be_is_refused_beside_its_field(root):
    for field, value, text in UNTAKEN:
        answer = root.get(PAGE, query_string={field: value})
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422, (field, value)
        assert text in page.partition(f'id="{field}-error">')[2].partition("</p>")[0]
        assert f'href="#{field}"' in page
        assert numbers(page) == []


def test_v2_2_1_filters_that_contradict_or_repeat_each_other_are_refused(root):
    moments = {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    for query, field in (
        (moments, "until"),
        ("kind=logout&kind=logout", "kind"),
        ("address=::1&address=::1", "address"),
    ):
        answer = root.get(PAGE, query_string=query)
        assert answer.status_code == 422
        assert f'id="{field}-error"' in answer.get_data(as_text=True)
    for query in ("before=x", "before=-1", f"before={'9' * 19}", "before=1&before=2", "before=\u0661"):
        answer = root.get(f"{PAGE}?{query}")
        assert answer.status_code == 422
        assert f'<a href="{PAGE}">Begin with the newest</a>' in answer.get_data(as_text=True)


# --- paging -------------------------------------------------------------------------------------------------


def older(text):
    """Return where the link to older rows leads."""
    return next((link["href"] for link in Elements(text).named("a") if link.get("rel") == "next"), "")


def test_older_rows_are_a_page_away_and_the_filters_go_along(app, root):
    for number in range(120):
        record(app, Event("logout", APP, 2 - number % 2, Source("192.0.2.1")))
    text, seen, sizes = shown(root, username="bob", address="192.0.2.1", kind="logout"), list[int](), list[int]()
    while True:
        found = numbers(text)
        seen, sizes, link = [*seen, *found], [*sizes, len(found)], older(text)
        if not link:
            break
        assert "username=bob" in link
        assert "address=192.0.2.1" in link
        text = root.get(link).get_data(as_text=True)
        assert Elements(text).field("username")["value"] == "bob"
    assert sizes == [50, 10]
    assert seen == sorted(set(seen), reverse=True)


def test_a_page_that_found_nothing_yet_leads_further_back(app, root, monkeypatch):
    monkeypatch.setattr(audit_search, "READ_AT_MOST", 20)
    record(app, Event("logout", APP, 2, Source("192.0.2.9")))
    record(app, *(Event(("logout", "user.created")[n % 2], APP, 2, Source(f"192.0.2.{n % 2}")) for n in range(100)))
    text, pages = shown(root, kind="logout", address="192.0.2.1"), 1
    while link := older(text):
        assert numbers(text) == []
        assert "there may be older ones" in text
        text, pages = root.get(link).get_data(as_text=True), pages + 1
    assert pages > 2
    assert "No older event fits." in text


def test_statements_are_few_and_the_same_however_long_the_log_is(app, root):
    query = {"username": "bob", "kind": "logout", "address": "192.0.2.2", "since": "2000-01-01T00:00:00Z"}
    counts = []
    for first in (0, 1):
        if first:
            with services_of(app).database.unit() as connection:
                connection.execute(sa.delete(EVENT))
            columns = {"user_id": "1 + n % 2", "address": "'192.0.2.2'", "actor_id": "1 + n % 3"}
            fill_log(services_of(app).database, 5000, 10**15, 1000, **columns)
        for asked in ({}, query):
            with sent_to(services_of(app).database) as sent:
                shown(root, **asked)
            counts.append(len(sent))
    assert counts[:2] == counts[2:]
    assert max(counts) <= 6


# --- verifying ----------------------------------------------------------------------------------------------


def verify(client, query="", **fields):
    """Press the button."""
    return submit(client, VERIFY + query, page=PAGE + query, **fields)


def outcome(answer):
    """Return what the page says about the chain, without its tags."""
    text = answer.get_data(as_text=True).partition("gh-outcome")[2].partition("</div>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text.partition(">")[2])).split())


def test_rule_27_a_chain_that_agrees_shows_the_head_that_the_command_prints(app, root):
    with services_of(app).reading() as connection:
        head = services_of(app).audit.head(connection)
    last = head.partition(":")[0]
    answer = verify(root, "?kind=logout")
    assert answer.status_code == 200
    assert outcome(answer).startswith(f"The chain agrees: {last} rows, from row 1 to row {last}. Head: {head} Keep it")
    assert "were not looked at" not in outcome(answer)
    again = verify(root, head=head)
    assert outcome(again).startswith(f"The chain agrees: {int(last) + 1} rows")
    with services_of(app).reading() as connection:
        found = services_of(app).audit.search(connection, kind="audit.verified")
    assert [(entry.actor, entry.outcome, entry.address) for entry in found] == [("root", "ok", "127.0.0.1")] * 2
    assert "<option selected>logout</option>" in answer.get_data(as_text=True)


def test_rule_27_of_a_long_chain_the_page_says_what_it_did_not_look_at(app, root, monkeypatch):
    monkeypatch.setattr(verify_log, "ROWS_AT_MOST", 3)
    last = numbers(shown(root))[0]
    told = f"The chain agrees: 3 rows, from row {last - 2} to row {last}. Rows up to {last - 3} were not looked at: "
    assert outcome(verify(root)).startswith(f"{told}gatehouse audit verify checks all of them. Head: {last}:")


def test_rule_27_v16_4_2_where_the_chain_breaks_is_shown_with_what_to_do(app, root):
    with services_of(app).database.unit() as connection:
        connection.execute(sa.update(EVENT).where(EVENT.c.id == 2).values(kind="logout"))
    answer = verify(root)
    assert answer.status_code == 200
    assert outcome(answer).startswith("The chain does not agree: row 2 or one before it was changed. Change nothing")
    assert 'role="alert"' in answer.get_data(as_text=True)
    with services_of(app).database.unit() as connection:
        connection.execute(sa.delete(HEAD))
    assert outcome(verify(root)).startswith("The chain does not agree: row 2")


def test_a_program_is_told_the_same_as_the_command_prints(app, root):
    headers = {**PROGRAM, "X-CSRFToken": csrf_token(shown(root))}
    told = root.post(VERIFY, headers=headers).json
    assert (told["agrees"], told["first"], told["is_whole"], told["rows"]) == (
        True,
        1,
        True,
        int(told["head"].partition(":")[0]),
    )
    with services_of(app).database.unit() as connection:
        connection.execute(sa.update(EVENT).where(EVENT.c.id == 2).values(kind="logout"))
    expected = {"agrees": False, "row": 2, "finding": "row 2 or one before it was changed"}
    assert root.post(VERIFY, headers=headers).json == expected
    refused = root.post(VERIFY, headers=headers, data={"head": "x"})
    assert (refused.status_code, list(refused.json["errors"])) == (422, ["head"])


def test_v2_2_1_a_head_that_is_none_is_refused_beside_its_field(root):
    for head in ("x", "1:00", "1:" + "z" * 64, "a\x01b"):
        answer = verify(root, head=head)
        assert answer.status_code == 422
        text = answer.get_data(as_text=True).partition('id="head-error">')[2].partition("</p>")[0]
        assert text.startswith(("A head looks like", "Control characters"))


def test_a_head_that_another_chain_had_is_found(root):
    answer = verify(root, head=f"1:{'0' * 64}")
    assert outcome(answer).startswith("The chain does not agree: row 1 is not the one of the head given.")


def test_verifying_needs_a_fresh_proof_and_a_token(app, root, monkeypatch):
    assert root.post(VERIFY).status_code == 403
    let_pass(app, monkeypatch, HOUR / 4)
    assert 'href="/reauthenticate?next=/admin/audit?kind%3Dlogout"' in shown(root, kind="logout")
    assert verify(root).location == "/reauthenticate"


def test_looking_at_the_log_leaves_no_row(app, root):
    before = numbers(shown(root))
    shown(root, username="bob")
    assert numbers(shown(root)) == before
