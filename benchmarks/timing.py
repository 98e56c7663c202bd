"""In-process cost: contenders in turn, round after round, so that a busy moment of the machine hits them all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.entry import Entry
from benchmarks.wsgi import Question

#: Asked before a block is timed: fills the processor's caches again after the contender before.
WARM_UP = 10


@dataclass
class Times:
    """One contender's median microseconds, one figure a round."""

    public: list[float] = field(default_factory=list)
    protected: list[float] = field(default_factory=list)


def measure(entries: Sequence[Entry], rounds: int, requests: int, tick: Callable[[], None]) -> dict[str, Times]:
    """Time both routes of every contender, each round beginning with another one."""
    times = {entry.name: Times() for entry in entries}
    gc.collect()
    # What set-up built is the same load for all; a collection during a block should see that block's garbage only.
    gc.freeze()
    try:
        for number in range(rounds):
            first = number % len(entries)
            for entry in (*entries[first:], *entries[:first]):
                times[entry.name].public.append(_block(entry.public, requests))
                times[entry.name].protected.append(_block(entry.protected, requests))
            tick()
    finally:
        gc.unfreeze()
    return times


def _block(question: Question, requests: int) -> float:
    gc.collect()
    question.time(WARM_UP)
    return question.time(requests)
