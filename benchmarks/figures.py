"""From raw times and counts to the figures of the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contender import PLAIN, Card
from benchmarks.counting import Counts
from benchmarks.timing import Times


@dataclass(frozen=True)
class Figures:
    """One line of the table. Ratios are formed within a round, then their median is taken: noise cancels out."""

    name: str
    public: float
    public_ratio: float
    protected: float
    overhead: float
    #: The overhead as a share of the peer's; None where there is nothing to compare.
    share: float | None
    counts: Counts

    @property
    def part(self) -> str:
        """The share as people say it: one part in so many."""
        if self.share is None:
            return "-"
        return f"1/{1 / self.share:.1f}" if 0 < self.share < 1 else f"{self.share:.3g}"


def figures(cards: Sequence[Card], times: Mapping[str, Times], counts: Mapping[str, Counts]) -> dict[str, Figures]:
    """One line for every contender."""
    return {card.name: _line(card, times, counts[card.name]) for card in cards}


def _line(card: Card, times: Mapping[str, Times], counts: Counts) -> Figures:
    own, floor, peer = times[card.name], times[PLAIN], times[card.peer]
    overheads = _differences(own.protected, floor.protected)
    shares = _ratios(overheads, _differences(peer.protected, floor.protected))
    return Figures(
        card.name,
        statistics.median(own.public),
        statistics.median(_ratios(own.public, floor.public)),
        statistics.median(own.protected),
        statistics.median(overheads),
        statistics.median(shares) if card.guards else None,
        counts,
    )


def _differences(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(left, right, strict=True)]


def _ratios(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(left, right, strict=True)]
