"""Our templates, compiled by one thread of a process while the others that want them wait."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from jinja2 import meta

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment, Template

PATIENCE_SECONDS = 1.0
"""What a thread waits for another's compiling: a fork in the midst of it leaves the child a lock that nobody opens."""


class Compiling:
    """Which templates of one app are compiled.

    A flood that finds a fresh process would else have each of its threads compile the same page, and people wait for
    all of them. Nothing of the host's runs meanwhile but its loader.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: set[str] = set()

    def get(self, environment: Environment, name: str) -> Template:
        """Return a template that is compiled, with all that it extends, includes and imports.

        Args:
            environment: the app's.
            name: the template's.

        Raises:
            TemplateError: it is not there, or no template.
        """
        if name not in self._done:
            is_ours = self._lock.acquire(timeout=PATIENCE_SECONDS)
            try:
                if name not in self._done:
                    _compile(environment, name, set())
                    self._done.add(name)
            finally:
                if is_ours:
                    self._lock.release()
        return environment.get_template(name)


def _compile(environment: Environment, name: str, seen: set[str]) -> None:
    if name in seen:
        return
    seen.add(name)
    environment.get_template(name)
    with suppress(Exception):  # a loader need not have the source; and what is wrong elsewhere may never be rendered
        source, filename, _ = cast("BaseLoader", environment.loader).get_source(environment, name)
        named = filter(None, meta.find_referenced_templates(environment.parse(source, name, filename)))
        for other in named:  # what is chosen as the page is rendered has no name yet
            with suppress(Exception):
                _compile(environment, other, seen)
