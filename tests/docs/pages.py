"""Read the manual: its tables and its code blocks."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from types import ModuleType

from tests.support import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(r"^(`{3,})(\{?[\w-]*\}?)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^# (\S+\.(?:py|ini|env|mako|html|sql|toml|conf))$|^\{# (\S+\.html) #\}$|^-- (\S+\.sql)$")


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: as written after the fence.
        text: what it holds.
    """

    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that the block shows, named in a comment on its first line; empty where none is named."""
        match = COMMENT.match(self.text.partition("\n")[0])
        return next((name for name in match.groups() if name), "") if match else ""


def page(name: str) -> str:
    """Return the text of a page of the manual, or of a file at the top of the repository."""
    path = DOCS / name
    return (path if path.exists() else ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[Block]:
    """Return the code blocks of a page, in their order."""
    found = [Block(match[2], match[3]) for match in FENCE.finditer(text)]
    return [block for block in found if block.language in languages or not languages]


def files(text: str) -> dict[str, str]:
    """Return the files that a page shows; a file shown twice is the later one."""
    return {block.file: block.text for block in blocks(text) if block.file}


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, down to the next of its level or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}\s*$", text, re.MULTILINE)
    assert match is not None, f"no heading {heading!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of the first table, each by its column's heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    count = next((n for n, line in enumerate(text.splitlines()) if line.startswith("|")), 0)
    rows = []
    for line in text.splitlines()[count:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    assert lines, "no table"
    head, _, *body = rows
    return [dict(zip(head, row, strict=True)) for row in body]


def code_words(text: str) -> list[str]:
    """Return what stands between backticks, outside of code blocks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", text))


def extension() -> ModuleType:
    """Return the Sphinx extension that makes reference pages from the code."""
    spec = importlib.util.spec_from_file_location("gatehouse_reference", DOCS / "_extensions/gatehouse_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
