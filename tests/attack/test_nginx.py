"""Behind a real nginx with the manual's configuration: one address for all who ask for it, and no forged one."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flask_gatehouse.kernel import schema
from tests.docs import pages
from tests.support import apps, house
from tests.support.databases import sqlite_copy
from tests.support.nginx import HOST, PAGE, Nginx, TlsVisitor, start_nginx
from tests.support.processes import ServerProcess, start_gunicorn
from tests.support.visitor import Answer, Visitor, csrf_token

pytestmark = pytest.mark.xdist_group("nginx")

PASSWORD = house.PASSWORD
FORGED = "203.0.113.77"


@dataclass(frozen=True)
class Town:
    """A server behind nginx, and a look at its database from below."""

    nginx: Nginx
    server: ServerProcess
    below: house.House

    def client(self, source: str) -> TlsVisitor:
        """Return a browser at an address of loopback."""
        return self.nginx.client(source)

    def addresses(self, kind: str) -> set[str]:
        """Return the addresses of the events of a kind."""
        return {entry.address for entry in self.below.events(kind)}


@contextmanager
def running(run_folder: Path, folder: Path, settings: dict[str, str], config: dict[str, object]) -> Iterator[Town]:
    url = sqlite_copy(run_folder, folder / "gatehouse.sqlite3")
    told = {"INSTANCE_FOLDER": str(folder / "instance"), "GATEHOUSE_DATABASE_URL": url, **config}
    env = {apps.CONFIG_VARIABLE: json.dumps(told), **settings}
    server = start_gunicorn("tests.support.apps:create_app()", folder=folder, env=env, workers=1, threads=16)
    below = house.build(url)
    try:
        nginx = start_nginx(server.port, folder / "nginx")
        try:
            yield Town(nginx, server, below)
        finally:
            nginx.server.stop()
    finally:
        house.close(below)
        server.stop()


def settings_of_the_page() -> dict[str, str]:
    """Return the settings that the page names beside its nginx."""
    texts = [block.text for block in pages.blocks(pages.page(PAGE))]
    (text,) = [text for text in texts if "GATEHOUSE_ORIGINS=" in text and "GATEHOUSE_TRUSTED_PROXIES=" in text]
    return dict(line.split("=", 1) for line in text.split())


@pytest.fixture(scope="module")
def town(run_folder, tmp_path_factory) -> Iterator[Town]:
    """Return a server that trusts its proxy, both as the page says."""
    with running(run_folder, tmp_path_factory.mktemp("town"), settings_of_the_page(), {}) as found:
        yield found


def test_v15_3_4_audit_log_session_list_and_throttle_see_the_one_address_of_the_client(town):
    town.below.person("alice")
    alice = town.client("127.0.5.1")
    assert alice.log_in("alice", "a wrong password").status == 401
    assert alice.log_in("alice", PASSWORD).status == 303
    for kind in ("login.failed", "login.succeeded"):
        assert town.addresses(kind) == {"127.0.5.1"}, kind
    assert town.below.rows(schema.session.select().with_only_columns(schema.session.c.address)) == [("127.0.5.1",)]
    assert "127.0.5.1" in alice.get("/account/sessions").text
    assert town.below.counter("login@127.0.5.1")[0] >= 1
    assert town.below.counter("login@127.0.0.1")[0] == 0


def test_v3_3_1_v3_5_1_behind_tls_cookies_are_secure_and_only_the_apps_own_origin_passes(town):
    town.below.person("bob")
    bob = town.client("127.0.5.2")
    answer = bob.log_in("bob", PASSWORD)
    cookies = [value for name, value in answer.headers if name.lower() == "set-cookie"]
    (session,) = [cookie for cookie in cookies if cookie.startswith("__Host-gatehouse=")]
    assert re.search(r"; Secure; HttpOnly; Path=/; SameSite=Lax$", session)
    assert answer.header("Strict-Transport-Security")
    fields = {"csrf_token": csrf_token(bob.get("/account").text)}
    for origin in (f"http://{HOST}", "https://evil.example", f"http://127.0.0.1:{town.server.port}", "null"):
        assert bob.post("/logout", fields, {"Origin": origin}).status == 403, origin
    assert bob.post("/logout", fields, {"Origin": f"https://{HOST}"}).status == 303


def test_v4_1_2_plain_http_is_led_to_tls_and_a_foreign_host_is_refused(town):
    plain = Visitor(town.nginx.server.url).get("/login?next=/protected", Host=HOST)
    assert (plain.status, plain.location) == (308, f"https://{HOST}/login?next=/protected")
    assert town.client("127.0.5.3").get("/login", Host="evil.example").status == 400


def test_v15_3_4_v4_1_3_a_client_that_forges_forwarding_headers_gets_its_real_address(town):
    liar = town.client("127.0.5.4").forging(FORGED)
    assert liar.log_in("nobody4", "a wrong password").status == 401
    for value in ("127.0.0.1", f"{FORGED}, 127.0.0.1", "unix", "127.0.5.9, 127.0.0.1"):
        liar.forging(value).log_in("nobody4", "a wrong password")
    assert "127.0.5.4" in town.addresses("login.failed")
    assert not town.addresses("") & {FORGED, "127.0.0.1", "127.0.5.9"}


def test_v16_2_1_a_request_has_one_name_in_the_proxy_and_in_the_audit_log_and_it_is_the_proxys(town):
    client = town.client("127.0.5.8")
    client.lies = {"X-Request-ID": "chosen-by-the-client"}
    client.log_in("nobody8", "a wrong password")
    (entry,) = [entry for entry in town.below.events("login.failed") if entry.address == "127.0.5.8"]
    assert re.fullmatch(r"[0-9a-f]{32}", entry.request_id)


def test_rule_03_fifty_forged_addresses_get_no_more_guesses_than_one(town):
    statuses: Counter[int] = Counter()
    liar = town.client("127.0.5.5")
    token = csrf_token(liar.get("/login").text)
    for number in range(50):
        fields = {"csrf_token": token, "username": f"nobody5.{number}", "password": "a wrong password"}
        headers = {"Origin": liar.url, "X-Forwarded-For": f"203.0.113.{number}, 198.51.100.{number}"}
        statuses[liar.post("/login", fields, headers).status] += 1
    assert statuses == {401: 20, 429: 30}
    assert liar.log_in("nobody5", "a wrong password").status == 429
    assert town.client("127.0.5.6").log_in("nobody5", "a wrong password").status == 401


def test_rule_06_what_the_layer_in_front_answers_keeps_its_retry_after(town):
    client = town.client("127.0.5.7")
    token = csrf_token(client.get("/login").text)
    for accept in ("text/html", "application/json"):
        names = [f"nobody7.{number}" for number in range(22)]
        fields = {"csrf_token": token, "password": "a wrong password"}
        headers = {"Accept": accept, "Origin": client.url}
        answer = [client.post("/login", {**fields, "username": name}, headers) for name in names][-1]
        assert answer.status == 429
        assert 1 <= int(answer.header("Retry-After") or 0) <= 600
        assert (answer.header("Content-Type") or "").startswith(
            "text/html" if accept == "text/html" else "application/"
        )


def test_rule_07_a_full_queue_is_503_with_retry_after_through_the_proxy(run_folder, tmp_path):
    config: dict[str, object] = {"GATEHOUSE_ARGON2": "65536,3,1"}
    with running(run_folder, tmp_path, settings_of_the_page(), config) as town:
        clients = [town.client(f"127.0.6.{number}") for number in range(1, 13)]
        tokens = {client.source: csrf_token(client.get("/login").text) for client in clients}

        def guess(client: TlsVisitor) -> Answer:
            fields = {"csrf_token": tokens[client.source], "username": client.source, "password": "a wrong password"}
            return client.post("/login", fields, {"Accept": "application/json", "Origin": client.url})

        answers: list[Answer] = []
        deadline = time.monotonic() + 120
        with ThreadPoolExecutor(12) as threads:
            while 401 not in {answer.status for answer in answers}:  # a busy machine may take over 5 s for every hash
                assert time.monotonic() < deadline
                answers += threads.map(guess, clients)
    refused = [answer for answer in answers if answer.status == 503]
    assert {answer.status for answer in answers} == {401, 503}
    assert all(int(answer.header("Retry-After") or 0) >= 1 for answer in refused)


def test_v4_1_3_without_trusted_proxies_the_header_is_ignored_and_warned_about_once(run_folder, tmp_path):
    settings = settings_of_the_page()
    del settings["GATEHOUSE_TRUSTED_PROXIES"]
    with running(run_folder, tmp_path, settings, {}) as town:
        for source in ("127.0.7.1", "127.0.7.2"):
            assert town.client(source).forging(FORGED).log_in("nobody", "a wrong password").status == 401
        assert town.addresses("") == {"127.0.0.1"}
        log = town.server.tail()
    assert log.count("GATEHOUSE_TRUSTED_PROXIES is none: it is ignored") == 1
    assert FORGED not in log
