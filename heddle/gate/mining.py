"""Finds the sequences of calls that sessions have in common. Pure; docs/adr/023 says how, and why so.

Each session begins as a row of single calls. Then, again and again, the pairs of neighbours are joined into one whose joining makes
the whole log shorter to write down, as long as there are any: a sequence that comes up more often than its parts would by chance. A
sequence is what it calls, in whatever order. Calls that hold the same telling value may be joined over others between them that
have nothing to do with either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Final, NamedTuple

from heddle.gate.links import Values, links
from heddle.gate.reading import Session

MOST_BETWEEN: Final = 2
"""Calls that may stand between two that are joined over them."""
LINK: Final = 4.0
"""Bits that it is worth if two parts hold the same telling value; of pairs of which only half do, nothing."""
ALONE: Final = 0.25
"""Part of a longer sequence is a sequence of its own if it comes up alone this often, against one for the longer."""
LONGEST: Final = 16
"""Calls that a sequence has at most."""


class Run(NamedTuple):
    """Where a sequence was run: the session, and its calls there, in their order."""

    session: int
    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sequence_:
    """Calls that sessions have in common; `runs` are in the order of the sessions."""

    methods: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def support(self) -> int:
        """How many sessions run it."""
        return len({run.session for run in self.runs})


@dataclass(slots=True)
class _Part:
    """A part of a session that is one by now: what it is, its calls, and the telling values that they hold."""

    kind: int
    calls: tuple[int, ...]
    values: Values


@dataclass(slots=True)
class _Kinds:
    """What parts there are: of each the methods that it calls, and the bits that it takes to say what it is."""

    methods: list[tuple[str, ...]] = field(default_factory=list)
    known: dict[tuple[str, ...], int] = field(default_factory=dict)

    def of(self, methods: tuple[str, ...]) -> int:
        """The number of the kind that calls these methods, sorted; a new one if there is none."""
        if methods not in self.known:
            self.known[methods] = len(self.methods)
            self.methods.append(methods)
        return self.known[methods]

    def set_of(self, kind: int) -> frozenset[str]:
        return frozenset(self.methods[kind])


@dataclass(slots=True)
class _Pair:
    """How often two kinds are neighbours, in how many sessions, and how often they hold the same telling value."""

    times: int = 0
    sessions: int = 0
    linked: int = 0
    last: tuple[int, int] = (-1, -1)


def mine(sessions: Sequence[Session], min_support: int, min_length: int = 2) -> list[Sequence_]:
    """The sequences that so many sessions run, those with the most sessions first.

    Args:
        sessions: failed calls in them do not count.
        min_support: sessions that must run it.
        min_length: calls that it must have.
    """
    kinds = _Kinds()
    rows = singles = [
        [_Part(kinds.of((call.name,)), (at,), values[at]) for at, call in enumerate(session.calls) if call.error is None]
        for session, values in zip(sessions, links(sessions), strict=True)
    ]
    spelling = _spelling(rows, kinds)
    for support in _levels(len(rows), min_support):
        while joins := _joins(rows, kinds, spelling, support):
            rows = [_joined(row, joins) for row in rows]
        for whole in sorted(_kept(rows, kinds, support, 2), key=lambda one: -len(one.methods)):
            counts = Counter(part.kind for row in rows for part in row)
            common = {kind for kind, count in counts.items() if ALONE * count > len(whole.runs) and len(kinds.methods[kind]) > 1}
            rows = [_completed(row, whole, kinds, common) for row in rows]
    for _ in range(2):
        rows = _covered(singles, _kept(rows, kinds, min_support, 2), kinds)
        while joins := _joins(rows, kinds, spelling, min_support):
            rows = [_joined(row, joins) for row in rows]
    rows = _covered(singles, _kept(rows, kinds, min_support, 2), kinds)
    return _kept(rows, kinds, min_support, min_length)


def _covered(rows: list[list[_Part]], known: list[Sequence_], kinds: _Kinds) -> list[list[_Part]]:
    """Rows of single calls with nothing but the known sequences put together."""
    for whole in _by_weight(known):
        rows = [_completed(row, whole, kinds, set()) for row in rows]
    return rows


def _by_weight(known: list[Sequence_]) -> list[Sequence_]:
    """The common before the rare, and a longer one before its parts unless it is much rarer than they are."""

    def weight(one: Sequence_) -> int:
        parts = (len(part.runs) for part in known if not Counter(part.methods) - Counter(one.methods))
        return max(runs for runs in parts if len(one.runs) >= ALONE * runs)

    return sorted(known, key=lambda one: (-weight(one), -len(one.methods)))


def _levels(sessions: int, min_support: int) -> list[int]:
    """From the common to the rare: what is common is put together first, wherever it was interrupted."""
    levels = [min_support]
    while levels[-1] * 2 < sessions:
        levels.append(levels[-1] * 2)
    return levels[::-1]


def _kept(rows: list[list[_Part]], kinds: _Kinds, min_support: int, min_length: int) -> list[Sequence_]:
    """The sequences that are there by now, those with the most sessions first; fragments of longer ones are left out."""
    found = [one for one in _sequences(rows, kinds) if one.support >= min_support and len(one.methods) >= min_length]
    ending = Counter(row[-1].kind for row in rows if row)
    kept = [one for one in found if not _is_fragment(one, found, ending[kinds.known[one.methods]])]
    return sorted(kept, key=lambda one: (-one.support, one.methods))


def _completed(row: list[_Part], whole: Sequence_, kinds: _Kinds, common: set[int]) -> list[_Part]:
    """A row in which the parts of this sequence that stand near each other are put together."""
    kind = kinds.known[whole.methods]
    wanted = Counter(whole.methods)
    at = 0
    while at < len(row):
        if row[at].kind != kind and kinds.set_of(row[at].kind) <= wanted.keys():
            places = _places(row, at, wanted, kinds, common)
            if places:
                parts = [row[place] for place in places]
                calls = tuple(sorted(call for part in parts for call in part.calls))
                row = [part for place, part in enumerate(row) if place not in places[1:]]
                row[at] = _Part(kind, calls, frozenset().union(*(part.values for part in parts)))
        at += 1
    return row


def _places(row: list[_Part], start: int, wanted: Counter[str], kinds: _Kinds, common: set[int]) -> list[int]:
    """Where the parts of a sequence are, from a place on, with little between them; nothing if it is not complete."""
    left = wanted.copy()
    places: list[int] = []
    for at in range(start, len(row)):
        if places and at - places[-1] > MOST_BETWEEN + 1:
            break
        has = Counter(kinds.methods[row[at].kind])
        if has <= left and row[at].kind not in common:
            left -= has
            places.append(at)
        if not left:
            return places
    return []


def _spelling(rows: list[list[_Part]], kinds: _Kinds) -> dict[str, float]:
    """The bits that it takes to name each method, by how often it is called."""
    counts = Counter(part.kind for row in rows for part in row)
    total = counts.total()
    return {kinds.methods[kind][0]: log2(total / count) + 1 for kind, count in counts.items()}


def _neighbours(row: list[_Part]) -> Iterator[tuple[int, int, bool]]:
    """Pairs of places in a row that may be joined, and whether they hold the same telling value."""
    for at, part in enumerate(row):
        if at + 1 == len(row):
            return
        yield at, at + 1, not part.values.isdisjoint(row[at + 1].values)
        if not part.values:
            continue
        for other in range(at + 2, min(at + 2 + MOST_BETWEEN, len(row))):
            if len(row[other - 1].calls) > 1 or not part.values.isdisjoint(row[other - 1].values):
                break
            if not part.values.isdisjoint(row[other].values):
                if all(between.values.isdisjoint(row[other].values) for between in row[at + 1 : other]):
                    yield at, other, True
                break


def _joins(rows: list[list[_Part]], kinds: _Kinds, spelling: dict[str, float], min_support: int) -> dict[tuple[int, int], int]:
    """The kinds of neighbours to join now, and what they become; no kind is in two of the pairs."""
    counts = Counter(part.kind for row in rows for part in row)
    pairs: dict[tuple[int, int], _Pair] = {}
    for number, row in enumerate(rows):
        for left, right, linked in _neighbours(row):
            key = _key(row[left].kind, row[right].kind)
            pair = pairs.setdefault(key, _Pair())
            if pair.last[0] != number:
                pair.sessions += 1
            elif pair.last[1] >= left and key[0] == key[1]:
                continue  # a run of one kind: each is in one pair only
            pair.times += 1
            pair.linked += linked
            pair.last = (number, right)
    gains = {
        key: gain
        for key, pair in pairs.items()
        if pair.sessions >= min_support and _may_join(key, kinds) and (gain := _gain(key, pair, counts, kinds, spelling)) > 0
    }
    joins: dict[tuple[int, int], int] = {}
    taken: set[int] = set()
    for key in sorted(gains, key=lambda key: (-gains[key], key)):
        if not taken & {*key}:
            taken |= {*key}
            joins[key] = kinds.of(_together(key, kinds))
    return joins


def _may_join(key: tuple[int, int], kinds: _Kinds) -> bool:
    """Not what would be too long, and not a sequence with itself: that is one run twice."""
    lengths = [len(kinds.methods[kind]) for kind in key]
    return sum(lengths) <= LONGEST and (key[0] != key[1] or lengths[0] == 1)


def _key(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one <= other else (other, one)


def _together(key: tuple[int, int], kinds: _Kinds) -> tuple[str, ...]:
    return tuple(sorted(kinds.methods[key[0]] + kinds.methods[key[1]]))


def _gain(key: tuple[int, int], pair: _Pair, counts: Counter[int], kinds: _Kinds, spelling: dict[str, float]) -> float:
    """The bits that joining a pair saves: a part costs as many as its kind is rare, and a new kind must be spelled out once."""
    together = _together(key, kinds)
    became = kinds.known.get(together, -1)
    after = Counter({became: pair.times})
    for kind in key:
        after[kind] -= pair.times
    total = counts.total()
    saved = _bits(total) - _bits(total - pair.times)
    saved += sum(_bits(counts[kind] + change) - _bits(counts[kind]) for kind, change in after.items())
    saved += LINK * max(0, 2 * pair.linked - pair.times)
    return saved if counts[became] else saved - sum(spelling[method] for method in together)


def _bits(count: int) -> float:
    return count * log2(count) if count > 0 else 0.0


def _joined(row: list[_Part], joins: dict[tuple[int, int], int]) -> list[_Part]:
    """A row with its neighbours joined; what stood between two of them comes after."""
    gone: set[int] = set()
    became: dict[int, _Part] = {}
    for left, right, _ in _neighbours(row):
        kind = joins.get(_key(row[left].kind, row[right].kind))
        if kind is not None and left not in gone and right not in gone and left not in became and right not in became:
            gone.add(right)
            one, other = row[left], row[right]
            became[left] = _Part(kind, tuple(sorted(one.calls + other.calls)), one.values | other.values)
    return [became.get(at, part) for at, part in enumerate(row) if at not in gone] if gone else row


def _sequences(rows: list[list[_Part]], kinds: _Kinds) -> list[Sequence_]:
    runs: dict[int, list[Run]] = {}
    for number, row in enumerate(rows):
        for part in row:
            runs.setdefault(part.kind, []).append(Run(number, part.calls))
    return [Sequence_(kinds.methods[kind], tuple(of_kind)) for kind, of_kind in runs.items()]


def _is_fragment(one: Sequence_, found: list[Sequence_], ending: int) -> bool:
    """Is it only what is left of a longer sequence where something went wrong, or a session stopped?"""
    alone = len(one.runs) - ending
    return any(
        alone < ALONE * len(longer.runs) and not Counter(one.methods) - Counter(longer.methods)
        for longer in found
        if len(longer.methods) > len(one.methods)
    )
