"""The thread in which mail is sent: it begins when there is something to send, and ends when nothing waits."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_SLEEP = 60.0
SHORTEST_SLEEP = 1.0
MOMENT = 0.02
"""Seconds before each round: the answer to who asked is out by then, so that what is sent does not slow it (rule 9)."""

log = logging.getLogger("flask_gatehouse.mail")


class Postman:
    """Works in a thread of its own, so that no request waits for a mail server or hears of its faults.

    What it does is told by `employ()`: a function that sends what is due and returns after how many seconds more
    will be, None where nothing waits.
    """

    def __init__(self) -> None:
        self._work: Callable[[], float | None] | None = None
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = os.getpid()
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_called = False
        self._is_asleep = False
        self._has_retired = False

    def employ(self, work: Callable[[], float | None]) -> None:
        """Say what there is to do."""
        self._work = work

    def wake(self) -> None:
        """Say that there is something to send. Returns at once, and never raises."""
        if self._work is None or self._has_retired:
            return
        if self._process != os.getpid():  # threads do not come along in a fork
            self._start_anew()
        with self._state:
            self._is_called = True
            self._state.notify_all()
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="gatehouse-mail", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # no more threads, or the interpreter is about to end: the row waits
                self._thread = None
                log.warning("no thread to send mail in: it waits")

    def rest(self, seconds: float) -> bool:
        """Wait until everything that is due was tried; False when that takes longer than so many seconds."""
        with self._state:
            return self._state.wait_for(
                lambda: self._thread is None or (self._is_asleep and not self._is_called), seconds
            )

    def retire(self, seconds: float) -> None:
        """Send no more; return when the thread has ended, after so many seconds at the latest."""
        with self._state:
            self._has_retired = True
            self._state.notify_all()
            self._state.wait_for(lambda: self._thread is None, seconds)

    def _run(self) -> None:
        while True:
            time.sleep(MOMENT)
            with self._state:
                self._is_called = False
            pause = self._tried()
            with self._state:
                if self._is_called and not self._has_retired:
                    continue
                if pause is None or self._has_retired:
                    self._thread = None
                    self._state.notify_all()
                    return
                self._is_asleep = True
                self._state.notify_all()
                self._state.wait(min(max(pause, SHORTEST_SLEEP), LONGEST_SLEEP))
                self._is_asleep = False
                if self._has_retired:
                    self._thread = None
                    self._state.notify_all()
                    return

    def _tried(self) -> float | None:
        try:
            return self._work() if self._work is not None else None
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live to try again
            log.error("mail could not be looked after: %s", type(error).__name__)
            return LONGEST_SLEEP
