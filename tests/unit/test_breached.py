"""Lists of stolen passwords: a file, and a service on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flask_gatehouse.domain.passwords import breached
from flask_gatehouse.kernel import parsing
from flask_gatehouse.kernel.errors import SetupError
from tests.support import certificates

WORDS = [f"password number {number}" for number in range(500)]


def digest(word):
    return hashlib.sha1(word.encode(), usedforsecurity=False).hexdigest().upper()


@pytest.fixture(params=["plain", "counted", "windows"])
def listed(request, tmp_path):
    """Return a list of five hundred passwords, in each form that such files have."""
    form = {"plain": "{}\n", "counted": "{}:17\n", "windows": "{}:17\r\n"}[request.param]
    path = tmp_path / "stolen.txt"
    path.write_bytes("".join(form.format(one) for one in sorted(map(digest, WORDS))).encode())
    return path


def test_v6_2_12_a_file_is_asked_for_whole_passwords_first_and_last_line_too(listed):
    found = breached.list_of(str(listed))
    assert all(found.holds(word) for word in WORDS)
    assert not any(found.holds(f"{word}!") for word in WORDS)


def test_the_last_line_may_have_no_end(listed):
    listed.write_bytes(listed.read_bytes().rstrip())
    assert all(breached.list_of(str(listed)).holds(word) for word in WORDS)


@pytest.mark.parametrize("text", [b"", b"password\n", b"5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8\n", b"5BAA61\n"])
def test_another_file_is_an_error_that_says_what_it_should_be(tmp_path, text):
    (tmp_path / "stolen.txt").write_bytes(text)
    with pytest.raises(SetupError, match=r"stolen\.txt is no list of SHA-1 digests"):
        breached.list_of(str(tmp_path / "stolen.txt"))
    with pytest.raises(SetupError, match="missing"):
        breached.list_of(str(tmp_path / "missing"))


def test_a_file_that_goes_away_says_neither_yes_nor_no(listed):
    found = breached.list_of(str(listed))
    listed.unlink()
    assert found.holds(WORDS[0]) is None


def test_no_list_holds_nothing():
    assert breached.list_of("").holds(WORDS[0]) is False


class Service(http.server.BaseHTTPRequestHandler):
    """Answers as such services do; what it was asked is kept."""

    asked: list[str]
    done: threading.Event

    def do_GET(self):
        self.asked.append(self.path)
        kind, prefix = self.path.strip("/").split("/")
        if kind == "slow":
            self.done.wait(60)
        if kind == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "/range/" + prefix)
            self.end_headers()
            return
        found = sorted(one for one in map(digest, WORDS) if one.startswith(prefix))
        lines = [f"{one[5:]}:3" for one in found] + [f"{'0' * 35}:0", f"{digest('padding only')[5:]}:0"]
        body = "\r\n".join(lines).encode()
        self.send_response(500 if kind == "broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        """Keep quiet."""


@pytest.fixture
def service():
    Service.asked, Service.done = [], threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Service.done.set()
        server.shutdown()


def test_v6_2_12_a_service_learns_five_digits_and_tells_the_rest(service):
    found = breached.list_of(f"{service}/range/")
    assert found.holds(WORDS[7]) is True
    assert found.holds("never seen anywhere") is False
    assert found.holds("padding only") is False
    assert Service.asked == [f"/range/{digest(word)[:5]}" for word in (WORDS[7], "never seen anywhere", "padding only")]


@pytest.mark.parametrize("kind", ["slow", "broken", "elsewhere"])
def test_v6_2_12_v13_2_6_v15_3_2_a_service_that_fails_says_neither_yes_nor_no(service, kind, monkeypatch, caplog):
    monkeypatch.setattr(breached, "WAIT_SECONDS", 0.3 if kind == "slow" else 60)
    assert breached.list_of(f"{service}/{kind}/").holds(WORDS[7]) is None
    deadline = time.monotonic() + 60
    while not Service.asked:  # a busy machine hears of it later than it was given up
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert len(Service.asked) == 1
    assert WORDS[7] not in caplog.text
    assert digest(WORDS[7])[:5] not in caplog.text
    assert breached.list_of("http://127.0.0.1:1/range/").holds(WORDS[7]) is None


def test_v12_3_2_a_service_whose_certificate_nobody_vouches_for_is_not_asked(tmp_path, monkeypatch):
    Service.asked = []
    path = certificates.make(tmp_path / "service.pem", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.socket = certificates.context_of(path).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}/range/"
        assert breached.list_of(url).holds(WORDS[7]) is None
        assert Service.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert breached.list_of(url).holds(WORDS[7]) is True
        server.shutdown()


@pytest.mark.parametrize("url", ["http://stolen.example/range/", "file:///etc/passwd/", "ftp://x/", "https:///range/"])
def test_v1_3_6_nothing_but_tls_leaves_this_machine(url):
    with pytest.raises(ValueError, match="must be a file, or an https"):
        parsing.breached_passwords(url)


def test_v16_5_2_v15_2_2_a_service_that_hangs_holds_a_few_threads_and_no_more(service, monkeypatch):
    monkeypatch.setattr(breached, "WAIT_SECONDS", 30)
    found = breached.list_of(f"{service}/slow/")
    with ThreadPoolExecutor(breached.ASKED_AT_ONCE) as threads:
        waiting = [threads.submit(found.holds, WORDS[7]) for _ in range(breached.ASKED_AT_ONCE)]
        while len(Service.asked) < breached.ASKED_AT_ONCE:
            time.sleep(0.01)
        assert found.holds(WORDS[7]) is None
        assert len(Service.asked) == breached.ASKED_AT_ONCE
        Service.done.set()
        assert [one.result(30) for one in waiting] == [True] * breached.ASKED_AT_ONCE
    assert found.holds(WORDS[7]) is True
