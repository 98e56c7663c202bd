"""The page of charts says what the figures say, and every promise has a figure."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest

from benchmarks import charts
from tests.docs.pages import page, section

RESULTS = charts.load()


def _promised() -> list[list[str]]:
    """Return the rows of the table of promises."""
    lines = section(page("reference/benchmarks.md"), "What is promised").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][2:]


def test_the_page_and_its_charts_are_what_the_figures_make():
    made = charts.files()
    assert {path for path in made if path.read_text(encoding="utf-8") != made[path]} == set()
    assert set(charts.FOLDER.glob("*.svg")) == made.keys() - {charts.PAGE}


def test_every_promise_of_the_manual_has_a_figure_of_the_program_that_it_names():
    measured = {(one["about"], result["command"].split()[2]) for result in RESULTS for one in result["promises"]}
    assert measured == {(what, command.strip("`").split()[2]) for what, _, command in _promised()}


def test_every_program_that_a_promise_names_is_run_with_all_others():
    every = (charts.REFERENCE.parent.parent / "benchmarks" / "all.py").read_text(encoding="utf-8")
    assert [command for *_, command in _promised() if f'("{command.strip("`").split()[2]}"' not in every] == []


def test_the_table_of_the_first_benchmark_says_what_its_chart_does():
    requests = next(result for result in RESULTS if result["name"] == "requests")
    table = ["| " + " | ".join(row) + " |" for row in requests["rows"]]
    assert [line for line in table if line not in page("reference/benchmarks.md").splitlines()] == []


def test_figures_name_neither_a_machine_nor_a_folder():
    for result in RESULTS:
        assert re.search(r"\d{4}-\d\d-\d\d", result["date"])
        assert not re.search(r"/(tmp|home|root)\b|localhost", json.dumps(result))


@pytest.mark.parametrize("result", RESULTS, ids=[result["name"] for result in RESULTS])
def test_every_chart_is_told_in_words_and_takes_its_colours_from_the_page(result):
    for chart in result["charts"]:
        drawn = ET.fromstring(charts.svg(chart))  # noqa: S314 - our own
        assert drawn.get("role") == "img"
        assert drawn.get("fill") == "currentColor"
        assert [label for label, _ in chart["bars"] if label not in (drawn.get("aria-label") or "")] == []
        bars = [node for node in drawn if node.tag.endswith("rect")]
        longest = max(chart["bars"], key=lambda bar: bar[1])
        assert len(bars) == len(chart["bars"])
        assert bars[chart["bars"].index(longest)].get("width") == max(
            (bar.get("width") or "" for bar in bars), key=float
        )
        assert max(float(bar.get("x") or 0) + float(bar.get("width") or 0) for bar in bars) <= charts.WIDTH
