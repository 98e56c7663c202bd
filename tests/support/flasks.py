"""Flask as the tests make it, thousands of times: what comes out alike for every app is made once in a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flask import Flask
from jinja2 import BaseLoader, BytecodeCache, Environment
from jinja2.bccache import Bucket
from werkzeug.routing import Rule


class CompiledTemplates(BytecodeCache):
    """Templates that one app has compiled, for the next; Jinja compares their source."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give what is kept; a template whose source is another now is compiled anew."""
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self._kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = CompiledTemplates()


class LateRule(Rule):
    """A rule that compiles its builder of URLs when the first is built: that is most of what making an app costs."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:  # noqa: FBT001, FBT002
        made: list[Callable[..., tuple[str, str]]] = []

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            if not made:
                made.append(super(LateRule, self)._compile_builder(append_unknown))
            return made[0](rule, **values)

        return build


class QuickFlask(Flask):
    """Flask, made quickly."""

    url_rule_class = LateRule

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.jinja_options = {"bytecode_cache": _COMPILED}


class SlowLoader(BaseLoader):
    """Takes its time over each template, and notes its name."""

    def __init__(self, inner: BaseLoader) -> None:
        self._inner = inner
        self.loaded: list[str] = []

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Load as the other does, but slowly."""
        self.loaded.append(template)
        time.sleep(0.05)
        return self._inner.get_source(environment, template)
