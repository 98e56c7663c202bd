"""Mail leaves a machine through TLS with a checked certificate, or not at all; real servers on both sides."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import contextmanager

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from flask_gatehouse.domain.mail import Envelope, Mailer
from flask_gatehouse.kernel.mail_url import parse_mail_url
from tests.support import certificates
from tests.support.post import PostOffice
from tests.support.processes import free_port

FAR = "127.0.0.2"  # of this machine, and for Gatehouse as far as any other
LETTER = Envelope("alice@example.org", "A subject", "words\n", "<p>words</p>")


@pytest.fixture
def certificate(tmp_path):
    """Return key and certificate, which nobody trusts yet, in one file."""
    return certificates.make(tmp_path / "mail.pem", FAR)


class Logins:
    """Who has logged in at a server, and by what."""

    def __init__(self):
        self.seen = []

    def __call__(self, _server, _session, _envelope, _mechanism, told):
        self.seen.append((told.login, told.password))
        return AuthResult(success=told.password == b"p:w/", handled=False)


@contextmanager
def serving(office, *, logins=None, starttls=None, tls=None):
    """Run a server that is not on loopback's usual address."""
    options = {"authenticator": logins, "auth_require_tls": starttls is not None} if logins else {}
    options |= {"tls_context": starttls} if starttls else {}
    port = free_port()
    server = Controller(office, hostname=FAR, port=port, ssl_context=tls, **options)
    server.start()
    yield port
    server.stop()


def send(url):
    """Send a mail by a URL."""
    with Mailer(parse_mail_url(url), "no-reply@app.example").courier() as courier:
        courier.send(LETTER)


def test_v12_3_1_a_server_without_starttls_gets_nothing_and_the_mail_is_not_given_up():
    office, logins = PostOffice(), Logins()
    with serving(office) as port:
        with pytest.raises(ConnectionError, match="no STARTTLS"):
            send(f"smtp://app:hidden@{FAR}:{port}")
        assert office.mails == logins.seen == []
        send(f"smtp://{FAR}:{port}?starttls=never")
        assert len(office.mails) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_v12_3_1_v12_3_2_a_certificate_that_nobody_vouches_for_gets_neither_password_nor_mail(
    certificate, monkeypatch, scheme
):
    office, logins, context = PostOffice(), Logins(), certificates.context_of(certificate)
    told = {"starttls": context} if scheme == "smtp" else {"tls": context}
    with serving(office, logins=logins, **told) as port:
        url = f"{scheme}://app:p%3Aw%2F@{FAR}:{port}"
        with pytest.raises(ssl.SSLCertVerificationError):
            send(url)
        assert office.mails == logins.seen == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        send(url)
        assert len(office.mails) == 1
        if scheme == "smtp":
            assert logins.seen == [(b"app", b"p:w/")]
            with pytest.raises(smtplib.SMTPAuthenticationError):
                send(url.replace("p%3Aw%2F", "other"))
            assert len(office.mails) == 1


def test_several_mails_share_a_connection():
    office = PostOffice()
    office.open()
    with Mailer(parse_mail_url(office.url)).courier() as courier:
        courier.send(LETTER)
        first = courier._server
        courier.send(LETTER)
        assert courier._server is first
    assert len(office.mails) == 2
    assert office.mails[0]["From"] == "gatehouse@localhost"
    office.close()
