"""What the demo sets where neither its caller nor the environment does: a data folder, a secret, its own port."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flask_gatehouse import features
from flask_gatehouse.kernel.errors import SettingsError
from flask_gatehouse.kernel.keys import new_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_FOLDER = "gatehouse-demo"
PORT = 8000
CSP = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

log = logging.getLogger("flask_gatehouse.demo")


def demo_defaults(config: Mapping[str, object], data: Path | None = None, port: int = PORT) -> dict[str, object]:
    """Return the demo's config: what is given, then the environment's, then the demo's own.

    Args:
        config: what the caller of `create_app` gave.
        data: folder of database and secret; `./gatehouse-demo` when None. Made only where it is needed.
        port: the port whose loopback origins are accepted.
    """
    folder = data or Path.cwd() / DATA_FOLDER
    hosts = ("127.0.0.1", "localhost", "[::1]")
    own: dict[str, object] = {"GATEHOUSE_AFTER_LOGIN": "/protected", "GATEHOUSE_FIRST_USER_ADMIN": True}
    own["GATEHOUSE_CSP"] = CSP
    own["GATEHOUSE_FEATURES"] = features.installed()
    if not config.get("TESTING"):
        own["GATEHOUSE_ORIGINS"] = [f"http://{host}:{port}" for host in hosts]
    chosen = {key: value for key, value in own.items() if not _is_given(key, config)}
    if not _is_given("GATEHOUSE_DATABASE_URL", config):
        chosen["GATEHOUSE_DATABASE_URL"] = f"sqlite:///{_private(folder) / 'demo.sqlite3'}"
    if not _is_given("GATEHOUSE_SECRET_KEY", config) and "SECRET_KEY" not in config:
        chosen["GATEHOUSE_SECRET_KEY"] = stored_secret(_private(folder) / "secret_key")
    return chosen | dict(config)


def _is_given(key: str, config: Mapping[str, object]) -> bool:
    names = (key, f"{key}_FILE")
    return any(name in config or name in os.environ for name in names)


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_ours(folder, 0o022, "chmod 700")  # who may write here could put a database of theirs in place
    if folder.stat().st_mode & 0o055:
        log.warning("others can look into %s: chmod 700 %s", folder.name, folder.name)
    return folder


def _require_ours(path: Path, forbidden: int, mend: str) -> None:
    """Refuse what somebody else made or may change: a secret of theirs, or a database.

    Raises:
        SettingsError: the file or folder is another user's, or others may do what is forbidden.
    """
    found = path.stat()
    if found.st_uid != os.geteuid():
        msg = f"{path.name} belongs to another user: choose another folder with --data, or remove it"
        raise SettingsError(msg)
    if found.st_mode & forbidden:
        msg = f"others can reach {path.name} (mode {found.st_mode & 0o777:04o}): {mend} {path.name}, if you trust it"
        raise SettingsError(msg)


def stored_secret(path: Path) -> str:
    """Return the secret of a file, made by the first process that asks: O_EXCL, mode 0600, never overwritten.

    Raises:
        SettingsError: the file is not ours alone.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(new_secret())
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
    _require_ours(path, 0o077, "chmod 600")
    return path.read_text(encoding="ascii").strip()
