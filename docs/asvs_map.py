"""Write the tests into `docs/reference/asvs.csv`: `python -m docs.asvs_map`, from the top of the repository.

What a row says besides its tests is judged by people and stays. Where no test bears a requirement's id, the row is
`not`, and its reason begins with `no test yet`; what follows after that is what will be missing or different even then.
"""
# ruff: noqa: INP001 - a script beside the pages, not a package

from __future__ import annotations

import ast
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAP = ROOT / "docs" / "reference" / "asvs.csv"
COLUMNS = ("id", "source", "status", "test_or_reason")
NO_TEST = "no test yet"
SO_FAR = "so far only"
"""Begins the reason of a row that more tests will complete: look at it again when they come."""
TEST = re.compile(r"\btest_\w+")
ASVS_ID = re.compile(r"v(\d+)_(\d+)_(\d+)(?![0-9])")
NIST_ID = re.compile(r"63b((?:_(?:b(?=_\d)|\d+(?![\db])))+)")


@dataclass(frozen=True)
class Row:
    """One requirement.

    Attributes:
        id: as the standard has it.
        source: `asvs` or `63b`.
        status: `met`, `part` or `not`.
        tests: names of the tests that show it.
        reason: what is missing, different or to come.
    """

    id: str
    source: str
    status: str
    tests: tuple[str, ...]
    reason: str

    @classmethod
    def of(cls, line: dict[str, str]) -> Row:
        """Return a row as it stands in the file."""
        text = line["test_or_reason"]
        reason = TEST.sub("", text).strip(" ;")
        return cls(line["id"], line["source"], line["status"], tuple(TEST.findall(text)), reason)

    def line(self) -> tuple[str, str, str, str]:
        """Return the row as it is written."""
        parts = [" ".join(self.tests), self.reason]
        return self.id, self.source, self.status, "; ".join(part for part in parts if part)

    def with_tests(self, tests: Iterable[str]) -> Row:
        """Return the row with these tests, its status adjusted to whether there are any."""
        names = tuple(sorted(tests))
        lacking = self.reason.removeprefix(NO_TEST).strip(" ;")
        if names:
            status = "part" if lacking else "met"
            return replace(self, status=status, tests=names, reason=lacking)
        if self.status == "not" and not self.reason.startswith(NO_TEST):
            return replace(self, tests=())
        return replace(self, status="not", tests=(), reason="; ".join(filter(None, (NO_TEST, lacking))))


def read() -> list[Row]:
    """Return the map as it stands."""
    with MAP.open(encoding="utf-8", newline="") as file:
        return [Row.of(line) for line in csv.DictReader(file)]


def write(rows: Iterable[Row]) -> None:
    """Write the map."""
    with MAP.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(row.line() for row in rows)


def names_of_tests() -> set[str]:
    """Return the name of every test."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def ids_in(name: str, known: Iterable[str]) -> list[str]:
    """Return the ids that a test's name bears: `test_v7_1_1_…`, `test_63b_5_2_2_…`, several of them too.

    Raises:
        LookupError: it bears one that the map does not have.
    """
    keys = {_key(known_id): known_id for known_id in known}
    found = [_longest("v" + "_".join(match.groups()), keys, name) for match in ASVS_ID.finditer(name)]
    return found + [_longest(f"63b{match[1]}", keys, name) for match in NIST_ID.finditer(name)]


def _key(standard_id: str) -> str:
    """Return an id as it stands in names: `63B-3.1.1.2-01` is `63b_3_1_1_2_1`."""
    parts = re.split(r"[-.]", standard_id.lower())
    return "_".join(part.lstrip("0") or part for part in parts)


def _longest(text: str, keys: dict[str, str], name: str) -> str:
    """Return the id that most of the numbers make; the rest of them belongs to the sentence."""
    parts = [part.lstrip("0") or part for part in text.split("_")]
    for length in range(len(parts), 1, -1):
        found = keys.get("_".join(parts[:length]))
        if found is not None:
            return found
    msg = f"{name} bears an id that the map does not have"
    raise LookupError(msg)


def by_id(names: Iterable[str], known: Iterable[str]) -> dict[str, set[str]]:
    """Return the tests of each id."""
    found: dict[str, set[str]] = defaultdict(set)
    ids = tuple(known)
    for name in names:
        for one in ids_in(name, ids):
            found[one].add(name)
    return found


def main() -> None:
    """Bring the map up to date and say what should be judged anew."""
    rows = read()
    tests = by_id(names_of_tests(), [row.id for row in rows])
    updated = [row.with_tests(tests.get(row.id, ())) for row in rows]
    write(updated)
    for before, after in zip(rows, updated, strict=True):
        if before.status != after.status:
            sys.stdout.write(f"{after.id}: {before.status} -> {after.status}; {after.reason}\n")
        elif after.reason.startswith(SO_FAR) and before.tests != after.tests:
            sys.stdout.write(f"{after.id}: judge anew: {' '.join(after.tests)}; {after.reason}\n")
    counts = {status: sum(row.status == status for row in updated) for status in ("met", "part", "not")}
    sys.stdout.write(f"{counts}, without a test yet: {sum(row.reason.startswith(NO_TEST) for row in updated)}\n")


if __name__ == "__main__":
    main()
