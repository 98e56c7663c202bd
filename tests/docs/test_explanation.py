"""What the explanations and decisions say about the code is true of it."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib

from flask_gatehouse.domain.sessions import Sessions
from flask_gatehouse.kernel.identity import Identity
from tests.architecture.source import modules
from tests.docs import pages
from tests.support import ROOT, SOURCE

THREATS = pages.page("explanation/threat-model.md")
TRACE = pages.page("explanation/request-trace.md")
SYMBOL = re.compile(r"[A-Z]\w+|[A-Za-z]\w*(?:\.[a-z_]\w*)+|\w+_\w+")
OTHER_WORDS = {"session.ended", "current_user", "before_request", "__wrapped__"}


def test_every_name_of_the_request_trace_stands_in_its_file():
    trees = {module.path: module.tree for module in modules()}
    for row in pages.table(pages.section(TRACE, "The names")):
        name, file = row["name"].strip("`"), row["file"].strip("`")
        assert file in trees, file
        scope: ast.AST = trees[file]
        for part in name.removeprefix(f"{file.rpartition('/')[2].removesuffix('.py')}.").split("."):
            found = [node for node in ast.iter_child_nodes(scope) if getattr(node, "name", None) == part]
            assert found, f"{name} is not in {file}"
            scope = found[-1]


def test_every_name_that_the_request_trace_uses_is_in_its_list():
    told, _, _ = TRACE.partition("## The names")
    listed = {row["name"].strip("`") for row in pages.table(pages.section(TRACE, "The names"))}
    used = {word for word in pages.code_words(told) if SYMBOL.fullmatch(word)} - OTHER_WORDS
    assert used - listed == set()
    assert {name for name in listed if f"`{name}`" not in told} == set()


def test_the_files_and_folders_that_the_manual_names_exist():
    place = re.compile(r"(?:demo|web|cli|http|flows|domain|migrations|kernel)/[\w/]+\.py")
    for path in pages.DOCS.rglob("*.md"):
        if "_build" not in path.parts:
            named = set(place.findall(path.read_text(encoding="utf-8")))
            assert {name for name in named if not (SOURCE / name).exists()} == set(), path.name


def test_what_an_object_rule_may_ask_of_an_identity_is_as_told():
    assert {"user_id", "username", "roles"} <= set(Identity.__annotations__)
    assert callable(Identity.holds)


def test_v15_1_4_every_dependency_has_its_reason_and_its_risk():
    rows = pages.table(pages.page("decisions/0002-dependencies.md"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "all" for line in lines]
    asked = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in [*project["dependencies"], *extras]}
    assert {row["dependency"].lower() for row in rows} == asked
    assert [row["dependency"] for row in rows if not all(row.values())] == []


def test_v15_1_1_deadlines_for_patches_stand_in_the_security_policy():
    rows = pages.table(pages.section(pages.page("SECURITY.md"), "How fast it is mended"))
    days = [int(re.sub(r"\D", "", row["a release or a published way around within"])) for row in rows]
    assert days == sorted(days)
    assert [row["severity (CVSS 4.0)"].partition(" ")[0] for row in rows] == ["critical", "high", "medium", "low"]


def test_v15_1_5_dangerous_parts_are_named_with_their_files():
    rows = pages.table(pages.section(THREATS, "Dangerous parts"))
    files = [name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row["where"])]
    assert files
    assert [name for name in files if not (SOURCE / name).exists()] == []


def test_v3_1_1_what_a_browser_must_be_able_to_do_is_documented():
    rows = pages.table(pages.section(THREATS, "What a browser must be able to do"))
    needed = {row["needed"] for row in rows}
    assert {"TLS", "cookies", "Content-Security-Policy", "JavaScript", "WebAuthn"} <= needed
    assert all(row["without it"] for row in rows)


def test_v8_1_3_every_signal_that_a_session_is_judged_by_is_documented():
    fields = pages.page("reference/fields.md")
    rows = pages.table(pages.section(fields, "Which signals besides credentials count"))
    told = " ".join(row["signal"] for row in rows)
    judged = {"agent": "user agent", "now": "time"}
    parameters = set(inspect.signature(Sessions.load).parameters) - {"self", "secret"}
    assert parameters == judged.keys()
    assert all(words in told for words in judged.values())


def test_decisions_are_numbered_without_a_gap_and_titled_alike():
    found = sorted((pages.DOCS / "decisions").glob("*.md"))
    assert [path.name[:4] for path in found] == [f"{number:04}" for number in range(1, len(found) + 1)]
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        assert "**Decided**" in text
        assert "**Cost.**" in text


def test_the_glossary_is_used_consistently():
    pattern = re.compile(r"\bsign(?:ed)?[ -]?(?:in|up|out)\b", re.IGNORECASE)
    allowed = 'Never "sign in"'
    for path in [*pages.DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md"]:
        if "_build" not in path.parts:
            text = path.read_text(encoding="utf-8").replace(allowed, "")
            assert pattern.findall(text) == [], path.name


def test_no_page_refers_to_where_it_was_written():
    pattern = re.compile(r"\.\./shared|issues? #?\d+\b|\bseeds/", re.IGNORECASE)
    for path in [*pages.DOCS.rglob("*.md"), *pages.DOCS.rglob("*.csv"), ROOT / "README.md", ROOT / "SECURITY.md"]:
        if "_build" not in path.parts:
            assert pattern.findall(path.read_text(encoding="utf-8")) == [], path.name
