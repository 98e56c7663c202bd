"""Where a request comes from: trusted proxies, forged forwarding headers, and who is this machine itself (rule 26)."""

from __future__ import annotations

import logging

import pytest

from flask_gatehouse import authorize, role_required
from tests.http.people import JSON, add_user, come_in, entries, is_inside, log_in, problem, token_of

WRONG = "wrong horse battery"
FORGED = [
    "203.0.113.7",
    "203.0.113.7, 198.51.100.1",
    "127.0.0.1",
    "::1",
    "unknown",
    "",
    ",",
    "é",
    "1.2.3.4.5",
    "a" * 9000,
]


def pages(app, gate):
    gate.permission("invoice:read", "Read invoices")
    app.get("/protected", endpoint="protected")(lambda: "inside")
    app.get("/clerks", endpoint="clerks")(role_required("clerk")(lambda: "clerk"))


def recorded_address(app, peer, **headers):
    """Return the address that the log gives to a failed login."""
    environ = {"REMOTE_ADDR": peer, **{f"HTTP_{name.upper()}": value for name, value in headers.items()}}
    client = app.test_client()
    token = token_of(client)
    data = {"csrf_token": token, "username": "nobody", "password": WRONG}
    assert client.post("/login", data=data, environ_overrides=environ).status_code == 401
    return entries(app, "login.failed")[0].address


@pytest.mark.parametrize("forwarded", FORGED)
def test_v4_1_3_v15_3_4_without_trusted_proxies_a_forwarding_header_changes_nothing(build, forwarded):
    app = build(pages, GATEHOUSE_THROTTLE="off")
    address = recorded_address(
        app, "192.0.2.5", x_forwarded_for=forwarded, forwarded=f"for={forwarded}", x_real_ip=forwarded
    )
    assert address == "192.0.2.5"


@pytest.mark.parametrize(
    "peer, forwarded, address",
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the rightmost hop: the rest anybody may write
        ("10.0.0.1", "127.0.0.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.9, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),  # two proxies of ours
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, garbage", "10.0.0.1"),
        ("10.0.0.1", " 203.0.113.7 ,", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:1234", "203.0.113.7"),  # some proxies write the port, and brackets
        ("10.0.0.1", "198.51.100.1, [2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "[203.0.113.7", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7:port", "10.0.0.1"),
        ("10.0.0.1", "[fe80::1%eth0]:443", "10.0.0.1"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("fd00::1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("192.0.2.5", "203.0.113.7", "192.0.2.5"),  # no proxy of ours
        ("192.0.2.5", "10.0.0.1", "192.0.2.5"),
        ("", "203.0.113.7", ""),
    ],
)
def test_v15_3_4_with_trusted_proxies_the_rightmost_foreign_hop_counts(build, peer, forwarded, address):
    app = build(pages, GATEHOUSE_TRUSTED_PROXIES="10.0.0.0/8, fd00::/8", GATEHOUSE_THROTTLE="off")
    assert recorded_address(app, peer, x_forwarded_for=forwarded) == address


@pytest.mark.parametrize("peer", ["", "localhost", "<local>"])  # what servers say of a unix socket
def test_v15_3_4_a_proxy_on_a_unix_socket_is_named_by_a_word(build, peer, caplog):
    app = build(pages, GATEHOUSE_TRUSTED_PROXIES="unix, 10.0.0.0/8", GATEHOUSE_THROTTLE="off")
    assert recorded_address(app, peer, x_forwarded_for="198.51.100.1, 203.0.113.7") == "203.0.113.7"
    assert recorded_address(app, peer, x_forwarded_for="203.0.113.7, 10.0.0.2") == "203.0.113.7"
    assert recorded_address(app, "192.0.2.5", x_forwarded_for="203.0.113.7") == "192.0.2.5"
    assert recorded_address(app, "fe80::1%eth0", x_forwarded_for="203.0.113.7") == "fe80::1%eth0"
    assert "GATEHOUSE_TRUSTED_PROXIES" not in caplog.text


@pytest.mark.parametrize("proxies", ["none", "10.0.0.0/8"])
def test_requests_without_an_address_are_warned_of_once(build, caplog, proxies):
    app = build(pages, GATEHOUSE_TRUSTED_PROXIES=proxies, GATEHOUSE_THROTTLE="off")
    for _ in range(2):
        assert recorded_address(app, "", x_forwarded_for="203.0.113.7") == ""
    warnings = [record for record in caplog.records if "GATEHOUSE_TRUSTED_PROXIES" in record.message]
    assert ["the word unix" in record.message for record in warnings] == [True]


@pytest.mark.parametrize("scope", ["fe80::1%eth0", "fe80::1%\x00", "fe80::1%" + "a" * 200, "fe80::1%<script>"])
def test_v15_3_4_a_hop_with_a_scope_is_no_address_of_a_client(build, scope, database_url):
    app = build(pages, GATEHOUSE_TRUSTED_PROXIES="10.0.0.0/8, fe80::/10", GATEHOUSE_THROTTLE="off")
    assert recorded_address(app, "10.0.0.1", x_forwarded_for=scope) == "10.0.0.1"


def test_v15_3_4_forged_hops_do_not_change_what_the_throttle_charges(build):
    app = build(pages)
    add_user(app)
    statuses = []
    for number in range(25):
        client = app.test_client()
        client.environ_base["HTTP_X_FORWARDED_FOR"] = f"203.0.113.{number}"
        client.environ_base["HTTP_FORWARDED"] = f"for=203.0.113.{number}"
        statuses.append(log_in(client, f"nobody{number}", WRONG).status_code)
    assert statuses == [401] * 20 + [429] * 5


def test_a_forwarding_header_without_trusted_proxies_is_warned_of_once(build, caplog):
    app = build(pages)
    with caplog.at_level(logging.WARNING, "flask_gatehouse.origin"):
        for _ in range(3):
            recorded_address(app, "192.0.2.5", x_forwarded_for="203.0.113.7")
    warnings = [record for record in caplog.records if "GATEHOUSE_TRUSTED_PROXIES" in record.message]
    assert len(warnings) == 1
    assert "203.0.113.7" not in caplog.text


def test_no_warning_without_the_header_or_with_trusted_proxies(build, caplog):
    plain, trusting = build(pages), build(pages, GATEHOUSE_TRUSTED_PROXIES="10.0.0.0/8")
    recorded_address(plain, "192.0.2.5")
    recorded_address(trusting, "10.0.0.1", x_forwarded_for="203.0.113.7")
    assert "GATEHOUSE_TRUSTED_PROXIES" not in caplog.text


# --- explanations (rule 26) ---------------------------------------------------------------------------------

PROXIED = [
    *("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "Via", "X-Forwarded-Proto"),
    *("X-Forwarded", "X-Forwarded-Server", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP"),
]


def refused(client, **options):
    """Return the text of a refusal, as a page and as a problem."""
    page = client.get("/clerks", **options)
    assert page.status_code == 403
    options["headers"] = {**options.get("headers", {}), **JSON}
    return page.text + problem(client.get("/clerks", **options))["detail"]


def test_rule_26_a_refusal_is_explained_in_debug_to_this_machine(build):
    alice = come_in(build(pages, DEBUG=True))
    assert refused(alice).count("Missing: clerk.") == 2
    assert "Missing: clerk." in refused(alice, environ_overrides={"REMOTE_ADDR": "::1"})


def test_rule_26_and_to_nobody_else(build):
    alice = come_in(build(pages, DEBUG=True))
    for peer in ("192.0.2.5", "10.0.0.1", "::ffff:192.0.2.5", "", "localhost", "127.0.0.1.evil"):
        assert "clerk" not in refused(alice, environ_overrides={"REMOTE_ADDR": peer})
    for name in PROXIED:
        assert "clerk" not in refused(alice, headers={name: "127.0.0.1"})


def test_rule_26_and_never_outside_debug(build):
    alice = come_in(build(pages))
    assert "clerk" not in refused(alice)


def test_rule_26_an_object_rule_is_named_as_one(build):
    def setup(app, gate):
        pages(app, gate)
        gate.rule("invoice:read")(lambda identity, invoice: False)
        app.get("/invoice", endpoint="invoice")(lambda: authorize("invoice:read", object()))

    root = come_in(build(setup, DEBUG=True), "root", "admin")
    assert "The rule of permission: invoice:read." in root.get("/invoice").text


def test_the_address_of_somebody_inside_may_change(build):
    app = build(pages)
    alice = come_in(app)
    assert all(
        is_inside(alice, environ_overrides={"REMOTE_ADDR": peer})
        for peer in ("192.0.2.5", "2001:db8::1", "", "garbage")
    )
