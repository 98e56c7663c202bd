"""`python -m benchmarks.charts`: the page of charts, made from the figures that the benchmarks wrote down.

Charts are SVG that stands in the page itself: text takes the page's own colour, in a light and in a dark theme.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
FOLDER = REFERENCE / "benchmarks"
PAGE = REFERENCE / "charts.md"
ORDER = ("requests", "over_http", "logins", "login_timing", "recovery_timing", "storm", "guessing", "growth", "audit")

INTRODUCTION = """\
# Charts

Made by `python -m benchmarks.charts` from the figures that each run writes down; [Benchmarks](benchmarks.md) says what
is measured, and what is promised. Every chart has its numbers in the table below it.
"""

WIDTH, VALUES, LINE, BAR, HEAD = 420, 60, 36, 12, 30
"""Narrow enough to be read on a phone; a label stands above its bar."""
OURS, OTHERS, LIMIT = "#2f7fd6", "#8a8f98", "#c2571a"
"""Three to one and more against white and against a dark page."""


def load() -> list[dict[str, Any]]:
    """The results that were kept, in the order of the page."""
    paths = (FOLDER / f"{name}.json" for name in ORDER)
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def files() -> dict[Path, str]:
    """Every file of the page, with what has to stand in it."""
    results = load()
    made = {PAGE: "\n".join([INTRODUCTION, *map(_section, results)])}
    return made | {_path(one, number): svg(chart) for one in results for number, chart in enumerate(one["charts"])}


def write() -> None:
    """Write the page and its charts; a chart that no result has any longer goes."""
    made = files()
    for path in set(FOLDER.glob("*.svg")) - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


def svg(chart: dict[str, Any]) -> str:
    """One chart: a bar for each value, from zero."""
    bars = chart["bars"]
    longest = max([value for _, value in bars] + [chart["limit"] or 0]) or 1
    scale = (WIDTH - VALUES) / longest
    height = HEAD + LINE * len(bars) + 4
    colours = _colours([label for label, _ in bars])
    told = "; ".join(f"{label}: {_number(value)} {chart['unit']}" for label, value in bars)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{escape(chart["title"])}. {escape(told)}" font-family="sans-serif" font-size="13"'
        ' fill="currentColor" style="width:100%;max-width:560px;height:auto">'
    )
    lines = [
        opening,
        f'<text x="0" y="16" font-weight="bold">{escape(chart["title"])}, {escape(chart["unit"])}</text>',
        *(
            _bar(label, value, HEAD + LINE * number, scale, colour)
            for number, ((label, value), colour) in enumerate(zip(bars, colours, strict=True))
        ),
    ]
    if chart["limit"] is not None:
        place = chart["limit"] * scale
        lines.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{HEAD}" y2="{height}" stroke="{LIMIT}"'
            ' stroke-width="2" stroke-dasharray="5 3"/>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _bar(label: str, value: float, top: int, scale: float, colour: str) -> str:
    length = max(value * scale, 1)
    return (
        f'<text x="0" y="{top + 12}">{escape(label)}</text>'
        f'<rect x="0" y="{top + 18}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>'
        f'<text x="{length + 6:.1f}" y="{top + 17 + BAR}">{_number(value)}</text>'
    )


def _colours(labels: list[str]) -> list[str]:
    """Gatehouse stands out where others are beside it."""
    is_ours = ["Gatehouse" in label for label in labels]
    return [OURS if ours or not any(is_ours) else OTHERS for ours in is_ours]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _path(result: dict[str, Any], number: int) -> Path:
    return FOLDER / f"{result['name']}-{number}.svg"


def _section(result: dict[str, Any]) -> str:
    return "\n".join(_blocks(result))


def _blocks(result: dict[str, Any]) -> Iterator[str]:
    yield f"## {result['title']}\n\n{result['about']}\n"
    for number, chart in enumerate(result["charts"]):
        place = _path(result, number).relative_to(REFERENCE).as_posix()
        yield f"```{{raw}} html\n:file: {place}\n```\n"
        if chart["limit"] is not None:
            yield f"The broken line is the promise: {_number(chart['limit'])}.\n"
    yield _table(result["columns"], result["rows"])
    if result["promises"]:
        kept = [
            (one["about"], one["text"], one["found"], "kept" if one["is_kept"] else "**broken**")
            for one in result["promises"]
        ]
        yield _table(("what", "promise", "found", "result"), kept, numbers=False)
    yield f"`{result['command']}`, {result['date']}, {result['circumstances']}.\n"


def _table(columns: Any, rows: Any, *, numbers: bool = True) -> str:
    rule = ["---", *["---:" if numbers else "---"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, rule, *rows)) + "\n"


if __name__ == "__main__":
    write()
