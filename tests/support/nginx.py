"""A real nginx in front of a test's server: the configuration of the manual, on loopback, in a folder of its own."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.docs import pages
from tests.support.processes import ServerProcess, free_port, start_command
from tests.support.visitor import TIMEOUT_SECONDS, Answer, Visitor

HOST = "app.example"
PAGE = "howto/behind-a-proxy.md"
PLACES = (Path("/usr/sbin/nginx"), Path(sys.prefix) / "nginx/usr/sbin/nginx")
"""Debian's, which is not on everybody's PATH, and the one that `make` has unpacked."""
MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx.

    Attributes:
        server: its process; the port is that of plain HTTP.
        tls_port: where it speaks TLS.
        certificate: what clients trust.
    """

    server: ServerProcess
    tls_port: int
    certificate: Path

    def client(self, source: str) -> TlsVisitor:
        """Return a browser at an address of loopback."""
        return TlsVisitor(f"https://{HOST}", source, proxy=self)


@dataclass
class TlsVisitor(Visitor):
    """A visitor who speaks TLS to the proxy and asks for the app's own name."""

    proxy: Nginx | None = None
    lies: dict[str, str] = field(default_factory=dict)

    def forging(self, value: str) -> Self:
        """Send forwarding headers of one's own from now on."""
        self.lies = {"X-Forwarded-For": value, "X-Real-IP": value, "Forwarded": f"for={value}"}
        self.lies["X-Forwarded-Proto"] = "http"
        return self

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the proxy, whatever the name stands for elsewhere."""
        assert self.proxy is not None
        context = ssl.create_default_context(cafile=self.proxy.certificate)
        connection = _NamedConnection(
            "127.0.0.1",
            self.proxy.tls_port,
            timeout=TIMEOUT_SECONDS,
            source_address=(self.source, 0),
            context=context,
        )
        connection.name = urlsplit(self.url).hostname or ""
        return connection

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, with the Host that a browser would send."""
        return super().request(method, path, body, {"Host": HOST, **self.lies, **(headers or {})})


class _NamedConnection(http.client.HTTPSConnection):
    """Connects to loopback and expects the certificate of a name."""

    name = ""
    _context: ssl.SSLContext

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.name)


def start_nginx(upstream_port: int, folder: Path) -> Nginx:
    """Start nginx with the configuration of the manual, ports and paths aside, before a server of this test."""
    folder.mkdir()
    _make_certificate(folder)
    plain, tls = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(MAIN.format(folder=folder, site=_site(folder, plain, tls, upstream_port)), encoding="utf-8")
    program = next(path for path in (shutil.which("nginx"), *PLACES) if path and Path(path).exists())
    command: list[str | Path] = [program, "-p", folder, "-c", config, "-e", folder / "error.log"]
    server = start_command(command, port=plain, folder=folder, env={})
    return Nginx(server, tls, folder / "tls.pem")


def _site(folder: Path, plain: int, tls: int, upstream_port: int) -> str:
    """Return the page's site with each place of the manual replaced by one of the test's own."""
    text = pages.files(pages.page(PAGE))["/etc/nginx/conf.d/app.conf"]
    for told, ours in {
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "/etc/nginx/tls/app.example.pem": str(folder / "tls.pem"),
        "/etc/nginx/tls/app.example.key": str(folder / "tls.key"),
        "http://127.0.0.1:8000;": f"http://127.0.0.1:{upstream_port};",
    }.items():
        assert text.count(told) == 1, told
        text = text.replace(told, ours)
    return text


def _make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    subprocess.run(
        [*command, "-keyout", folder / "tls.key", "-out", folder / "tls.pem"], check=True, capture_output=True
    )
