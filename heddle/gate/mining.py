"""Finds the sequences of calls that sessions have in common. Pure; docs/adr/023 says how, and why so.

Each session begins as a row of single calls. Then, again and again, the pairs of neighbours are joined into one whose joining makes
the whole log shorter to write down: a sequence that comes up more often than its parts would by chance. A sequence is what it calls,
in whatever order. Calls that hold the same telling value may be joined over others between them that have nothing to do with either.
What is common is joined first, and then looked for in all rows, with a few other calls between its own; what is left is looked at again
for what is rarer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log2
from typing import Final, NamedTuple

from heddle.gate.links import Values, links
from heddle.gate.reading import Session

MOST_BETWEEN: Final = 2
"""Other calls, or whole sequences, that may stand between two calls of a sequence."""
LINK: Final = 4.0
"""Bits that it is worth if two parts hold the same telling value; of pairs of which only half do, nothing."""
BESIDE: Final = 0.33
"""A sequence is joined to something with which it shares no telling value only if that is beside it this often."""
DOUBT: Final = 4.0
"""Bits that a new kind must save beyond what it costs: among many pairs some come up together often by chance."""
ALONE: Final = 0.25
"""Part of a longer sequence is a sequence of its own if it comes up alone this often, against one for the longer."""
LONGEST: Final = 16
"""Calls that a sequence has at most."""
RIVAL: Final = 0.3
"""Two pairs that share a kind are joined in one go if the lesser saves this much of what the other does."""
PIECE: Final = 32
"""Parts of a row that neighbours are joined in at a time; a sequence that is cut by that is put together when rows are covered."""
_STEP: Final = 6
"""By how much each look is at rarer sequences than the one before."""


class Run(NamedTuple):
    """Where a sequence was run: the number of the session, and those of its calls there, in their order."""

    session: int
    calls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """What sessions have in common: the methods that are called, sorted, and every run, in the order of the sessions."""

    methods: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def support(self) -> int:
        """How many sessions run it."""
        return len({run.session for run in self.runs})

    def part_of(self, other: Mined) -> bool:
        """Does the other call all that this calls, and more?"""
        return len(self.methods) < len(other.methods) and not Counter(self.methods) - Counter(other.methods)


@dataclass(slots=True)
class _Part:
    """A part of a session that is one by now: what it is, its calls, and the telling values that they hold."""

    kind: int
    calls: tuple[int, ...]
    values: Values


_Row = list[_Part]
_Pair = tuple[int, int]
"""Two kinds of parts, the lower first: which comes first in a session does not matter."""


@dataclass(slots=True)
class _Kinds:
    """What parts there are: of each the methods that it calls, sorted; the single calls come first."""

    methods: list[tuple[str, ...]] = field(default_factory=list)
    known: dict[tuple[str, ...], int] = field(default_factory=dict)

    def of(self, methods: tuple[str, ...]) -> int:
        """The number of the kind that calls these methods; a new one if there is none."""
        if methods not in self.known:
            self.known[methods] = len(self.methods)
            self.methods.append(methods)
        return self.known[methods]

    def joined(self, pair: _Pair) -> tuple[str, ...]:
        """What a pair calls together."""
        return tuple(sorted(self.methods[pair[0]] + self.methods[pair[1]]))


def mine(sessions: Sequence[Session], min_support: int, min_length: int = 2) -> list[Mined]:
    """The sequences that so many sessions run, those with the most sessions first.

    Args:
        sessions: failed calls in them do not count.
        min_support: sessions that must run it.
        min_length: calls that it must have.
    """
    kinds = _Kinds()
    singles = _singles(sessions, kinds)
    rows = singles
    for support in _levels(len(singles), min_support):
        rows = _join_all(rows, kinds, support)
        rows = _covered(singles, _found(rows, kinds, support), kinds)
    return [one for one in _found(rows, kinds, min_support) if len(one.methods) >= min_length]


def _singles(sessions: Sequence[Session], kinds: _Kinds) -> list[_Row]:
    """Every session as a row of single calls."""
    return [
        [_Part(kinds.of((call.name,)), (at,), values[at]) for at, call in enumerate(session.calls) if call.error is None]
        for session, values in zip(sessions, links(sessions), strict=True)
    ]


def _levels(sessions: int, min_support: int) -> list[int]:
    """The support that sequences must have, look after look; the last look is at all of them."""
    levels = [min_support]
    while levels[-1] * _STEP < sessions / 2:
        levels.append(levels[-1] * _STEP)
    return levels[::-1]


# --- joining neighbours


@dataclass(slots=True)
class _Seen:
    """How often two kinds are neighbours, how often they hold the same telling value then, and in which pieces of rows."""

    times: int = 0
    linked: int = 0
    pieces: set[int] = field(default_factory=set)

    def in_sessions(self, of_session: Sequence[int], least: int) -> bool:
        """Is it in so many sessions?"""
        found: set[int] = set()
        for piece in self.pieces:
            found.add(of_session[piece])
            if len(found) >= least:
                return True
        return False


def _join_all(rows: list[_Row], kinds: _Kinds, min_support: int) -> list[_Row]:
    """The rows with neighbours joined as long as that saves anything; a long row is worked on in pieces."""
    pieces = [row[at : at + PIECE] for row in rows for at in range(0, len(row), PIECE)]
    of_session = [number for number, row in enumerate(rows) for _ in range(0, len(row), PIECE)]
    counts = Counter(part.kind for row in rows for part in row)
    near = [_neighbours(piece) for piece in pieces]
    of_pieces = [_pairs(of_piece) for of_piece in near]
    pairs: dict[_Pair, _Seen] = {}
    for number, of_piece in enumerate(of_pieces):
        _recount(pairs, number, {}, of_piece)
    while joins := _joins(pairs, counts, kinds, of_session, min_support):
        for number in sorted(set().union(*(pairs[pair].pieces for pair in joins))):
            pieces[number] = _joined(pieces[number], near[number], joins, counts)
            near[number] = _neighbours(pieces[number])
            before, of_pieces[number] = of_pieces[number], _pairs(near[number])
            _recount(pairs, number, before, of_pieces[number])
    joined: list[_Row] = [[] for _ in rows]
    for number, piece in zip(of_session, pieces, strict=True):
        joined[number] += piece
    return joined


_Near = list[tuple[int, int, bool, _Pair]]
_Counts = dict[_Pair, tuple[int, int]]
_NONE: Final = (0, 0)


def _neighbours(row: _Row) -> _Near:
    """Pairs of places in a row that may be joined, whether they hold the same telling value, and of which kinds they are."""
    found = []
    for left, (part, following) in enumerate(pairwise(row)):
        one, values, other = part.kind, part.values, following.kind
        linked = not values.isdisjoint(following.values)
        found.append((left, left + 1, linked, (one, other) if one <= other else (other, one)))
        if linked or not values or len(following.calls) > 1:
            continue
        for right in range(left + 2, min(left + 2 + MOST_BETWEEN, len(row))):
            further = row[right]
            if not values.isdisjoint(further.values):
                if all(between.values.isdisjoint(further.values) for between in row[left + 1 : right]):
                    other = further.kind
                    found.append((left, right, True, (one, other) if one <= other else (other, one)))
                break
            if len(further.calls) > 1:
                break
    return found


def _pairs(near: _Near) -> _Counts:
    """How often two kinds are neighbours in a row, and how often they hold the same telling value then."""
    pairs: _Counts = {}
    ends: dict[int, int] = {}
    for left, right, linked, pair in near:
        one, other = pair
        if one == other:
            if ends.get(one, -1) >= left:
                continue  # of a run of one kind each is in one pair only
            ends[one] = right
        times, links_of = pairs.get(pair, _NONE)
        pairs[pair] = (times + 1, links_of + linked)
    return pairs


def _recount(pairs: dict[_Pair, _Seen], number: int, before: _Counts, after: _Counts) -> None:
    """Put a piece's pairs as they are now in the place of those that it had."""
    for pair in before.keys() - after.keys():
        seen = pairs[pair]
        times, linked = before[pair]
        seen.times -= times
        seen.linked -= linked
        seen.pieces.discard(number)
        if not seen.pieces:
            del pairs[pair]
    for pair, now in after.items():
        had = before.get(pair, _NONE)
        if had == now:
            continue
        seen = pairs.get(pair) or pairs.setdefault(pair, _Seen())
        seen.times += now[0] - had[0]
        seen.linked += now[1] - had[1]
        seen.pieces.add(number)


def _joins(
    pairs: Mapping[_Pair, _Seen], counts: Counter[int], kinds: _Kinds, of_session: Sequence[int], min_support: int
) -> dict[_Pair, int]:
    """The pairs to join now, and the kinds that they become; no kind is in two of the pairs."""
    total, different = counts.total(), sum(count > 0 for count in counts.values())
    gains = {
        pair: gain
        for pair, seen in pairs.items()
        if len(seen.pieces) >= min_support
        and seen.in_sessions(of_session, min_support)
        and _may_join(pair, seen, counts, kinds)
        and (gain := _gain(pair, seen, counts, kinds, total, different)) > 0
    }
    joins: dict[_Pair, int] = {}
    taken: dict[int, float] = {}
    for pair in sorted(gains, key=lambda pair: (-gains[pair], pair)):
        others = [taken[kind] for kind in {*pair} if kind in taken]
        if not others or (len(others) == 1 and pair[0] != pair[1] and gains[pair] >= RIVAL * others[0]):
            taken = dict.fromkeys(pair, gains[pair]) | taken
            joins[pair] = kinds.of(kinds.joined(pair))
    return joins


def _may_join(pair: _Pair, seen: _Seen, counts: Counter[int], kinds: _Kinds) -> bool:
    """Not what would be too long, not a sequence with itself, which is one run twice, and not with something that is seldom beside it."""
    lengths = [len(kinds.methods[kind]) for kind in pair]
    if sum(lengths) > LONGEST or (pair[0] == pair[1] and lengths[0] > 1):
        return False
    often = max((counts[kind] for kind, length in zip(pair, lengths, strict=True) if length > 1), default=0)
    return 2 * seen.linked > seen.times or seen.times >= BESIDE * often


def _gain(pair: _Pair, seen: _Seen, counts: Counter[int], kinds: _Kinds, total: int, different: int) -> float:
    """The bits that joining a pair saves: a part costs as many as its kind is rare, and a new kind must be told once."""
    times = seen.times
    there = counts[kinds.known.get(kinds.joined(pair), -1)]
    saved = _bits(total) - _bits(total - times) + _bits(there + times) - _bits(there) + LINK * max(0, 2 * seen.linked - times)
    for kind in {*pair}:
        saved += _bits(counts[kind] - times * pair.count(kind)) - _bits(counts[kind])
    return saved if there else saved - 2 * log2(different) - DOUBT


def _bits(count: int) -> float:
    return count * log2(count) if count > 0 else 0.0


def _joined(row: _Row, near: _Near, joins: Mapping[_Pair, int], counts: Counter[int]) -> _Row:
    """A row with its neighbours joined, and so counted; what stood between two of them comes after."""
    became: list[_Part | None] = [*row]
    done: set[int] = set()
    for left, right, _, pair in near:
        if pair in joins and left not in done and right not in done:
            one, other, kind = row[left], row[right], joins[pair]
            done |= {left, right}
            became[left] = _Part(kind, tuple(sorted(one.calls + other.calls)), one.values | other.values)
            became[right] = None
            counts[one.kind] -= 1
            counts[other.kind] -= 1
            counts[kind] += 1
    return [part for part in became if part is not None]


# --- what was found


def _found(rows: list[_Row], kinds: _Kinds, min_support: int) -> list[Mined]:
    """The sequences in some rows, those with the most sessions first; fragments of longer ones are left out."""
    runs: dict[int, list[Run]] = {}
    for number, row in enumerate(rows):
        for part in row:
            if len(part.calls) > 1:
                runs.setdefault(part.kind, []).append(Run(number, part.calls))
    whole = [Mined(kinds.methods[kind], tuple(of_kind)) for kind, of_kind in runs.items()]
    found = [one for one in whole if one.support >= min_support]
    ending = Counter(kinds.methods[row[-1].kind] for row in rows if row)
    kept = [one for one in found if not _is_fragment(one, found, ending[one.methods])]
    return sorted(kept, key=lambda one: (-one.support, one.methods))


def _is_fragment(one: Mined, found: list[Mined], ending: int) -> bool:
    """Is it only what is left of a longer sequence where something went wrong, or a session stopped?"""
    alone = len(one.runs) - ending
    return any(alone < ALONE * len(longer.runs) and one.part_of(longer) for longer in found)


# --- finding it everywhere


def _covered(singles: list[_Row], known: list[Mined], kinds: _Kinds) -> list[_Row]:
    """Rows of single calls in which nothing but the known sequences is put together."""
    if not known:
        return singles
    wanted = [(kinds.known[one.methods], dict(Counter(kinds.known[method,] for method in one.methods))) for one in _by_weight(known)]
    return [_cover(row, wanted, kinds) for row in singles]


def _by_weight(known: list[Mined]) -> list[Mined]:
    """The common before the rare, and a longer one before its parts unless it is much rarer than they are."""

    def weight(one: Mined) -> int:
        parts = [len(part.runs) for part in known if part.part_of(one)]
        return max([len(one.runs), *(runs for runs in parts if len(one.runs) >= ALONE * runs)])

    return sorted(known, key=lambda one: (-weight(one), -len(one.methods)))


def _cover(row: _Row, wanted: list[tuple[int, dict[int, int]]], kinds: _Kinds) -> _Row:
    """A row with every sequence put together of which all calls stand near each other."""
    kind_at = [part.kind for part in row]
    places: dict[int, list[int]] = {}
    for at, kind in enumerate(kind_at):
        places.setdefault(kind, []).append(at)
    owner = [-1] * len(row)
    left = {kind: len(there) for kind, there in places.items()}
    heads: dict[int, _Part] = {}
    for kind, methods in wanted:
        if not methods.keys() <= places.keys() or any(left[method] < times for method, times in methods.items()):
            continue
        free = sorted([at for method in methods for at in places[method] if owner[at] < 0])
        length = len(kinds.methods[kind])
        for first in range(len(free) - length + 1):
            start, following = free[first], free[first + 1]
            if owner[start] >= 0 or (following - start > 1 and owner[following] < 0 and not _near(start, following, owner)):
                continue
            if run := _run(kind_at, free, first, methods.copy(), length, owner):
                for at in run:
                    owner[at] = start
                    left[kind_at[at]] -= 1
                calls = tuple(call for at in run for call in row[at].calls)
                heads[start] = _Part(kind, calls, frozenset().union(*(row[at].values for at in run)))
    return [heads.get(at, part) for at, part in enumerate(row) if owner[at] in {-1, at}] if heads else row


def _run(kind_at: list[int], free: list[int], first: int, left: dict[int, int], length: int, owner: list[int]) -> list[int]:
    """The places of a sequence's calls from a place on; nothing if they are not all there, near each other."""
    run: list[int] = []
    for number in range(first, len(free)):
        at = free[number]
        if owner[at] >= 0 or not left[kind_at[at]]:
            continue
        if run and at - run[-1] > 1 and not _near(run[-1], at, owner):
            break
        left[kind_at[at]] -= 1
        run.append(at)
        if len(run) == length:
            return run
    return []


def _near(left: int, right: int, owner: list[int]) -> bool:
    """Is there little between two places? A sequence counts as one."""
    between, last = 0, -1
    for at in range(left + 1, right):
        if owner[at] < 0 or owner[at] != last:
            between += 1
            last = owner[at]
        if between > MOST_BETWEEN:
            return False
    return True
