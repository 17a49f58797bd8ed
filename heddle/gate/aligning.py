"""Which call of a run is which call of its sequence, whatever the order that each session made them in. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, permutations
from typing import Final

from pydantic_core import to_json

from heddle.gate.mining import Run
from heddle.gate.reading import Session
from heddle.gate.sessions import Call

MOST_TURNS: Final = 24
"""Orders of the calls of one method that are tried: all of four calls."""
MOST_WAYS: Final = 96
"""Orders of all calls that are tried."""


def calls_of(run: Run, sessions: Sequence[Session]) -> list[Call]:
    """The calls of a run, in its order."""
    return [sessions[run.session].calls[at] for at in run.calls]


def aligned(runs: list[Run], sessions: Sequence[Session]) -> list[Run]:
    """The runs with their calls in the order that most of them have.

    Where a method is called more than once, its calls are told apart by their arguments.
    """
    orders = [tuple(call.name for call in calls_of(run, sessions)) for run in runs]
    order = Counter(orders).most_common(1)[0][0]
    seen: list[Counter[tuple[str, bytes]]] = [Counter() for _ in order]
    aligned = []
    for run, _ in sorted(zip(runs, orders, strict=True), key=lambda pair: pair[1] != order):
        names = {at: sessions[run.session].calls[at].name for at in run.calls}
        told = {at: _told(sessions[run.session].calls[at]) for at in run.calls}

        def alike(way: tuple[int, ...], told: dict[int, list[tuple[str, bytes]]] = told) -> int:
            return sum(seen[slot][one] for slot, at in enumerate(way) for one in told[at])

        best = max(_ways(run.calls, names, order), key=alike)
        for slot, at in enumerate(best):
            seen[slot].update(told[at])
        aligned.append(Run(run.session, best))
    return aligned


def _told(call: Call) -> list[tuple[str, bytes]]:
    return [(name, to_json(value)) for name, value in call.arguments.items()]


def _ways(calls: tuple[int, ...], names: dict[int, str], order: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    """Some ways to put a run's calls into an order of names; the first keeps the order of calls of one name."""
    of_name = {name: [at for at in calls if names[at] == name] for name in set(order)}
    ways: list[dict[str, tuple[int, ...]]] = [{}]
    for name, there in of_name.items():
        turns = list(islice(permutations(there), MOST_TURNS))
        ways = [{**way, name: turn} for way in ways for turn in turns][:MOST_WAYS]
    for way in ways:
        left = {name: list(turn) for name, turn in way.items()}
        yield tuple(left[name].pop(0) for name in order)
