"""Server processes of a test: started without a shell, on loopback, ended by their own pid."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support import ROOT

START_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without any setting of ours or Flask's, and with `extra`.

    Compiled modules are kept, or every server would compile all of ours anew: a quarter of its start.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GATEHOUSE_", "FLASK_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **extra}


def free_port() -> int:
    """Return a loopback port that nobody listens on now; where a socket can be handed over, do that instead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """A running server: one process, or a master with workers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self._children: list[psutil.Process] = []
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    @property
    def pid(self) -> int:
        """The process that was started: with gunicorn, the master."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the started process lives."""
        return self._process.poll() is None

    def worker_pids(self) -> list[int]:
        """Return the pids of the live workers."""
        return sorted(child.pid for child in psutil.Process(self.pid).children())

    def wait_for_workers(self, count: int, without: int | None = None) -> None:
        """Return once `count` workers live, none of them `without` (the pid of a killed one)."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            pids = self.worker_pids()
            if len(pids) == count and without not in pids:
                return
            time.sleep(POLL_SECONDS)
        message = f"no {count} workers in {START_SECONDS} s:\n{self.tail()}"
        raise RuntimeError(message)

    def kill_worker(self, pid: int | None = None) -> int:
        """`kill -9` one worker, the oldest unless told, and return its pid; gunicorn starts another."""
        victim = pid if pid is not None else self.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        return victim

    def wait_until_it_answers(self, path: str, seconds: float = START_SECONDS) -> None:
        """Return once `path` answers with any status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.is_running:
                message = f"the server ended with {self._process.returncode}:\n{self.tail()}"
                raise RuntimeError(message)
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", path)
                connection.getresponse().read()
                connection.close()
                return
            connection.close()
            time.sleep(POLL_SECONDS)
        message = f"no answer from {self.url}{path} in {seconds} s:\n{self.tail()}"
        raise RuntimeError(message)

    def tail(self, characters: int = 4000) -> str:
        """Return the end of what the server wrote."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def stop(self) -> None:
        """End the server with SIGTERM, and with SIGKILL what is left of it."""
        if self.is_running:
            self._children = psutil.Process(self.pid).children(recursive=True)
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """`kill -9` the started process and all below it."""
        if self.is_running:
            self._children = psutil.Process(self.pid).children(recursive=True)
            self._process.kill()
        self._process.wait()
        for child in self._children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(self._children, timeout=STOP_SECONDS)


def start_command(
    command: Sequence[str | Path], *, port: int, folder: Path, env: Mapping[str, str], ready_path: str = "/"
) -> ServerProcess:
    """Start any server that will listen on `port` of 127.0.0.1, and wait until it answers."""
    return _start(command, port=port, folder=folder, env=env, ready_path=ready_path, pass_fds=())


def start_gunicorn(
    app: str, *, folder: Path, env: Mapping[str, str], workers: int = 2, threads: int = 4, ready_path: str = "/"
) -> ServerProcess:
    """Serve `app` (`package.module:name` or `package.module:factory()`) from several worker processes.

    The listening socket is made here and handed over, so no other process can take the port in between.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        command = [
            *(sys.executable, "-m", "gunicorn", app, "--bind", f"fd://{listener.fileno()}"),
            *("--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads)),
            *("--worker-tmp-dir", str(folder), "--graceful-timeout", "3", "--no-control-socket"),
        ]
        fds = (listener.fileno(),)
        server = _start(command, port=port, folder=folder, env=env, ready_path=ready_path, pass_fds=fds)
    server.wait_for_workers(workers)
    return server


def _start(
    command: Sequence[str | Path],
    *,
    port: int,
    folder: Path,
    env: Mapping[str, str],
    ready_path: str,
    pass_fds: Sequence[int],
) -> ServerProcess:
    log = folder / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
        )
    server = ServerProcess(process, port, log)
    try:
        server.wait_until_it_answers(ready_path)
    except BaseException:
        server.kill()
        raise
    return server
