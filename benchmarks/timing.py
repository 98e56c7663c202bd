"""In-process cost: contenders in turn, round after round, so that a busy moment of the machine hits them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.stall import Stall


@dataclass
class Times:
    """One contender's median microseconds, one figure a round."""

    public: list[float] = field(default_factory=list)
    protected: list[float] = field(default_factory=list)


def measure(stalls: Sequence[Stall], rounds: int, requests: int, tick: Callable[[], None]) -> dict[str, Times]:
    """Time both routes of every contender, each round beginning with another one."""
    times = {stall.card.name: Times() for stall in stalls}
    for number in range(rounds):
        first = number % len(stalls)
        for stall in (*stalls[first:], *stalls[:first]):
            times[stall.card.name].public.append(stall.time("public", requests))
            times[stall.card.name].protected.append(stall.time("protected", requests))
        tick()
    return times
