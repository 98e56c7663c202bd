"""Real server processes over one contender: gunicorn with threads, or granian."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.browser import ORIGIN, WrongAnswerError
from benchmarks.served_app import CONTENDER, FOLDER, WORKER_PATH

HOST = ORIGIN.removeprefix("https://")
SERVERS = ("gunicorn", "granian")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Server:
    """One that answers."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """What its workers have used so far."""
        times = [worker.cpu_times() for worker in self.process.children(recursive=True)]
        return sum(time.user + time.system for time in times)


@contextmanager
def serving(
    server: str, name: str, folder: Path, *, workers: int = 2, threads: int = 16, **environment: str
) -> Iterator[Server]:
    """Serve a contender over the database in a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {CONTENDER: name, FOLDER: str(folder)} | environment
    with (folder / "server.log").open("wb") as log:
        command = _command(server, port, workers, threads)
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)  # noqa: S603 - a server of ours
        try:
            _wait(port)
            yield Server(port, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(20)


def _command(server: str, port: int, workers: int, threads: int) -> list[str]:
    module = [sys.executable, "-m", server]
    if server == "granian":
        bound = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
        return [*module, *bound, "--blocking-threads", str(threads), "--log-level", "error", "--factory", _APP]
    pool = ["--worker-class", "gthread", "--workers", str(workers), "--threads", str(threads), "--keep-alive", "75"]
    return [*module, f"{_APP}()", "--bind", f"127.0.0.1:{port}", *pool, "--log-level", "error", "--no-control-socket"]


_APP = "benchmarks.served_app:create"


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", WORKER_PATH, headers={"Host": HOST})
            connection.getresponse().read()
            connection.close()
            return
        time.sleep(0.05)
    raise WrongAnswerError("the server does not answer")


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process, and those started meanwhile, on one core, where there is more than one and Linux can."""
    if not hasattr(os, "sched_setaffinity") or CORES < 2:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
