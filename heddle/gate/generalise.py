"""Runs of one sequence, made into a pattern: which arguments are constants, which are parameters, and which come from earlier results. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, permutations
from typing import Any, Final

from pydantic_core import to_json

from heddle.gate.kinds import kind_of, states
from heddle.gate.mining import Mined, Run
from heddle.gate.naming import field_name
from heddle.gate.patterns import (
    EACH,
    Constant,
    Entries,
    Failure,
    Fields,
    Given,
    Items,
    Parameter,
    Pattern,
    PatternCall,
    Result,
    Template,
    Text,
    Way,
    leaves_of,
)
from heddle.gate.reading import Session
from heddle.gate.sessions import Call

FITS: Final = 0.8
"""A value comes from a result if it does in so many runs; the others are taken for something else that looks alike."""
CONSTANT: Final = 0.9
"""A value is a constant if so many runs have it, of `ENOUGH` or more; the others are taken for something else too."""
ENOUGH: Final = 10
MOST_RUNS: Final = 60
"""Runs that are looked at, spread over all."""
MOST_VALUES: Final = 400
"""Values of one result that are looked at."""
_LONGEST_WAYS: Final = 24
_MISSING: Final = object()


def failed_calls(sessions: Sequence[Session]) -> list[tuple[int, int]]:
    """The calls that failed: of each the number of its session, and its own there."""
    return [(number, at) for number, session in enumerate(sessions) for at, call in enumerate(session.calls) if call.error is not None]


def generalise(mined: Mined, sessions: Sequence[Session], failed: Sequence[tuple[int, int]] | None = None) -> Pattern:
    """The pattern of a sequence.

    Args:
        mined: the sequence and its runs.
        sessions: those that it was mined from.
        failed: their failed calls, if they are known.
    """
    failed = failed_calls(sessions) if failed is None else failed
    runs = _aligned(_spread(mined.runs), sessions)
    learnt = _learn(runs, sessions)
    fitting = [run for number, run in enumerate(runs) if learnt.fits(number)]
    if len(runs) > len(fitting) >= FITS * len(runs) / 2:
        runs = fitting
        learnt = _learn(runs, sessions)
    calls = tuple(
        PatternCall(call.tool, call.method, arguments, optional)
        for call, arguments, optional in zip(_calls(runs[0], sessions), learnt.arguments, learnt.optional, strict=True)
    )
    goals = [next((call.goal for call in of_run if call.goal), None) for of_run in learnt.calls]
    parameters = tuple(
        Parameter(name, kind_of(seen), tuple(seen), states(goals, seen), learnt.chosen(seen)) for name, seen in learnt.parameters.items()
    )
    return Pattern(calls, parameters, tuple(runs), mined.support, tuple(_failures(calls, mined, sessions, failed)))


def _spread(runs: Sequence[Run]) -> list[Run]:
    step = max(1, len(runs) // MOST_RUNS)
    return list(runs[::step])


def _calls(run: Run, sessions: Sequence[Session]) -> list[Call]:
    return [sessions[run.session].calls[at] for at in run.calls]


# --- which call is which


def _aligned(runs: list[Run], sessions: Sequence[Session]) -> list[Run]:
    """The runs with their calls in the order that most of them have.

    Where a method is called more than once, its calls are told apart by their arguments.
    """
    orders = [tuple(call.name for call in _calls(run, sessions)) for run in runs]
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
        turns = list(permutations(there))[:_LONGEST_WAYS]
        ways = [{**way, name: turn} for way in ways for turn in turns][: 4 * _LONGEST_WAYS]
    for way in ways:
        left = {name: list(turn) for name, turn in way.items()}
        yield tuple(left[name].pop(0) for name in order)


# --- what the arguments are


@dataclass(slots=True)
class _Learnt:
    """What some runs have in common.

    Attributes:
        calls: of each run.
        sources: of each run and call, where its result has which value: by the value's JSON.
        arguments: of each call.
        parameters: their values in the runs.
    """

    calls: list[list[Call]]
    sources: list[list[dict[bytes, list[Way]]]]
    arguments: list[dict[str, Template]] = field(default_factory=list)
    optional: list[frozenset[str]] = field(default_factory=list)
    parameters: dict[str, list[Any]] = field(default_factory=dict)
    quotable: dict[int, list[list[tuple[Result, str]]]] = field(default_factory=dict)

    def quotes(self, number: int) -> list[list[tuple[Result, str]]]:
        """Of each call of a run the values of its result, as a text would have them."""
        if number not in self.quotable:
            self.quotable[number] = [
                [
                    (Result(at, way), str(value))
                    for (way, value), _ in zip(_parts(call.result, ()), range(MOST_VALUES), strict=False)
                    if isinstance(value, str | int | float)
                ]
                for at, call in enumerate(self.calls[number])
            ]
        return self.quotable[number]

    def fits(self, number: int) -> bool:
        """Does a run have the constants, and the values that come from results where they come from?"""
        return all(
            self.value(template, number) == call.arguments[name]
            for call, arguments in zip(self.calls[number], self.arguments, strict=True)
            for name, template in arguments.items()
            if name in call.arguments and any(not isinstance(leaf, Given) for leaf in leaves_of(template))
        )

    def value(self, template: Template, number: int) -> Any:
        """What a template comes to in a run."""
        match template:
            case Constant(value):
                return value
            case Given(name):
                return self.parameters[name][number]
            case Result(call, way):
                return at_way(self.calls[number][call].result, way)
            case Text(parts):
                return "".join(part if isinstance(part, str) else str(self.value(part, number)) for part in parts)
            case Items(items):
                return [self.value(item, number) for item in items]
            case Fields(fields):
                return {name: self.value(inner, number) for name, inner in fields.items()}
            case Entries(entries):
                return {self.value(key, number): self.value(inner, number) for key, inner in entries}

    def origin(self, values: Sequence[Any], before: int) -> tuple[Result | None, int]:
        """Where results of the calls before have these values in most runs, and in how many."""
        counts: Counter[Result] = Counter()
        for number, value in enumerate(values):
            told = to_json(value) if value is not _MISSING else b""
            for call in range(before):
                counts.update(Result(call, way) for way in self.sources[number][call].get(told, ()))
        best = max(counts, key=lambda one: (counts[one], -one.call, -len(one.way), EACH in one.way), default=None)
        return best, counts[best] if best is not None else 0

    def chosen(self, seen: Sequence[Any]) -> Result | None:
        """The list that a parameter's values were taken from, here this item and there another."""
        counts: Counter[Result] = Counter()
        for number, value in enumerate(seen):
            told = to_json(value)
            places = {
                Result(call, tuple(EACH if isinstance(step, int) else step for step in way))
                for call, sources in enumerate(self.sources[number])
                for way in sources.get(told, ())
                if any(isinstance(step, int) for step in way)
            }
            counts.update(places)
        best = max(counts, key=lambda one: (counts[one], -one.call), default=None)
        return best if best is not None and counts[best] >= FITS * len(seen) else None


def at_way(value: Any, way: Way) -> Any:
    """What stands there in a JSON value; None where nothing does."""
    if not way:
        return value
    step, *rest = way
    match value:
        case list() if step == EACH:
            return [at_way(item, tuple(rest)) for item in value]
        case list() if isinstance(step, int) and step < len(value):
            return at_way(value[step], tuple(rest))
        case dict():
            return at_way(value.get(str(step)), tuple(rest))
        case _:
            return None


def _learn(runs: Sequence[Run], sessions: Sequence[Session]) -> _Learnt:
    calls = [_calls(run, sessions) for run in runs]
    learnt = _Learnt(calls, [[_sources(call.result) for call in of_run] for of_run in calls])
    for slot, first in enumerate(calls[0]):
        names = dict.fromkeys(name for of_run in calls for name in of_run[slot].arguments)
        arguments: dict[str, Template] = {}
        optional = set()
        for name in names:
            values = [of_run[slot].arguments.get(name, _MISSING) for of_run in calls]
            there = sum(value is not _MISSING for value in values)
            if there < len(values):
                optional.add(name)
            if 2 * there > len(values):
                arguments[name] = _template(values, learnt, slot, (first.method, name))
        learnt.arguments.append(arguments)
        learnt.optional.append(frozenset(optional))
    return learnt


def _sources(result: Any) -> dict[bytes, list[Way]]:
    """Where a result has which value; booleans, nothing and empty values come from anywhere."""
    found: dict[bytes, list[Way]] = {}
    for (way, value), _ in zip(_parts(result, ()), range(MOST_VALUES), strict=False):
        if value is None or isinstance(value, bool) or value in ("", [], {}):
            continue
        found.setdefault(to_json(value), []).append(way)
    return found


def _parts(value: Any, way: Way) -> Iterator[tuple[Way, Any]]:
    """Every part of a JSON value, and of its lists of objects what all have under one key."""
    yield way, value
    match value:
        case dict():
            for key, inner in value.items():
                yield from _parts(inner, (*way, key))
        case list():
            for number, inner in enumerate(value):
                yield from _parts(inner, (*way, number))
            if value and all(isinstance(item, dict) for item in value):
                for key in value[0]:
                    yield (*way, EACH, key), [item.get(key) for item in value]


def _template(values: list[Any], learnt: _Learnt, slot: int, path: tuple[str, ...]) -> Template:
    """How an argument, or a part of one, comes about; values are of the runs, in their order."""
    there = [value for value in values if value is not _MISSING]
    usual, times = _usual(there)
    if times == len(there) or times >= CONSTANT * len(there) >= CONSTANT * ENOUGH:
        return Constant(usual)
    need = FITS * len(there)
    given, equal = _known_parameter(values, learnt)
    origin, times = learnt.origin(values, slot)
    if given is not None and equal >= max(need, times):
        return Given(given)
    if origin is not None and times >= need:
        return origin
    return _composed(there, values, learnt, slot, path) or _new_parameter(values, learnt, path)


def _usual(values: Sequence[Any]) -> tuple[Any, int]:
    """The value that comes up most often, and how often."""
    told, times = Counter(to_json(value) for value in values).most_common(1)[0]
    return next(value for value in values if to_json(value) == told), times


def _known_parameter(values: list[Any], learnt: _Learnt) -> tuple[str | None, int]:
    """The parameter that has these values already, and in how many runs."""
    equal = {
        name: sum(value is not _MISSING and value == other for value, other in zip(values, seen, strict=True))
        for name, seen in learnt.parameters.items()
    }
    best = max(equal, key=lambda name: equal[name], default=None)
    return best, equal[best] if best is not None else 0


def _composed(there: list[Any], values: list[Any], learnt: _Learnt, slot: int, path: tuple[str, ...]) -> Template | None:
    """A text, a list or an object that is made of constants and other values; None if it is not."""
    if len(there) < len(values):
        return None
    if all(isinstance(value, str) for value in there):
        parts = _text(list(enumerate(there)), learnt, slot, FITS * len(there))
        return Text(parts) if parts else None
    before = dict(learnt.parameters)
    template: Template | None = None
    if all(isinstance(value, list) and len(value) == len(there[0]) for value in there) and there[0]:
        template = Items(tuple(_template([value[at] for value in there], learnt, slot, path) for at in range(len(there[0]))))
    elif all(isinstance(value, dict) and value.keys() == there[0].keys() for value in there) and there[0]:
        return Fields({key: _template([value[key] for value in there], learnt, slot, (*path, key)) for key in there[0]})
    elif all(isinstance(value, dict) and len(value) == 1 for value in there):
        key = _template([next(iter(value)) for value in there], learnt, slot, (*path, "key"))
        inner = _template([next(iter(value.values())) for value in there], learnt, slot, (*path, "value"))
        template = Entries(((key, inner),))
    if template is not None and (
        learnt.parameters.keys() == before.keys() or any(isinstance(leaf, Result) for leaf in leaves_of(template))
    ):
        return template
    learnt.parameters.clear()
    learnt.parameters.update(before)
    return None


def _text(texts: list[tuple[int, str]], learnt: _Learnt, slot: int, need: float) -> tuple[str | Given | Result, ...] | None:
    """The parts of a text that is constant but for values that are known; None if something else in it varies."""
    for reference in _quotable(texts, learnt, slot, need):
        split = []
        for number, text in texts:
            head, found, tail = text.partition(str(learnt.value(reference, number)))
            if found:
                split.append((number, head, tail))
        head = Counter(head for _, head, _ in split).most_common(1)[0][0]
        tails = [(number, tail) for number, one, tail in split if one == head]
        if len(tails) < need:
            continue
        ending, times = Counter(tail for _, tail in tails).most_common(1)[0]
        rest = ((ending,) if ending else ()) if times >= need else _text(tails, learnt, slot, need)
        if rest is not None:
            return (*((head,) if head else ()), reference, *rest)
    return None


def _quotable(texts: list[tuple[int, str]], learnt: _Learnt, slot: int, need: float) -> list[Given | Result]:
    """The values that most texts have in them, the longest first."""
    counts: Counter[Given | Result] = Counter()
    letters: Counter[Given | Result] = Counter()
    for number, text in texts:
        given: list[tuple[Given | Result, str]] = [
            (Given(name), str(seen[number])) for name, seen in learnt.parameters.items() if isinstance(seen[number], str | int | float)
        ]
        for reference, told in chain(given, *learnt.quotes(number)[:slot]):
            if told in text and told:
                counts[reference] += 1
                letters[reference] += len(told)
    able = [reference for reference, times in counts.items() if times >= need]
    return sorted(able, key=lambda one: (-letters[one] / counts[one], isinstance(one, Result)))


def _new_parameter(values: list[Any], learnt: _Learnt, path: tuple[str, ...]) -> Given:
    name = field_name(path, learnt.parameters)
    usual, _ = _usual([value for value in values if value is not _MISSING])
    learnt.parameters[name] = [usual if value is _MISSING else value for value in values]
    return Given(name)


# --- how it failed


def _failures(
    calls: tuple[PatternCall, ...], mined: Mined, sessions: Sequence[Session], failed: Sequence[tuple[int, int]]
) -> Iterator[Failure]:
    """The errors that calls of a pattern ended in: those that were made again, and those that ended a session."""
    names = [call.name for call in calls]
    made_again: Counter[tuple[int, str]] = Counter()
    ended: dict[tuple[int, str], list[Run]] = {}
    of_session: dict[int, list[Run]] = {}
    for run in mined.runs:
        of_session.setdefault(run.session, []).append(run)
    for number, at in failed:
        session = sessions[number]
        call = session.calls[at]
        if call.error is None or call.name not in names:
            continue
        key = (names.index(call.name), call.error.type)
        if any(_same_again(session, at, run) for run in of_session.get(number, ())):
            made_again[key] += 1
        elif at == len(session.calls) - 1 and (before := _before(session, at, names[: key[0]])) is not None:
            ended.setdefault(key, []).append(Run(number, (*before, at)))
    for key in sorted({*made_again, *ended}):
        runs = tuple(ended.get(key, ()))
        yield Failure(key[0], key[1], made_again[key] + len(runs), made_again[key], runs)


def _same_again(session: Session, at: int, run: Run) -> bool:
    """Is a failed call made again as one of a run?"""
    failed = session.calls[at]
    return any(
        later > at and session.calls[later].name == failed.name and session.calls[later].arguments == failed.arguments
        for later in run.calls
    )


def _before(session: Session, at: int, names: Sequence[str]) -> tuple[int, ...] | None:
    """The calls of these names that came last before a place; None if one is not there."""
    found: list[int] = []
    end = at
    for name in reversed(names):
        place = next((one for one in range(end - 1, -1, -1) if session.calls[one].name == name and not session.calls[one].error), None)
        if place is None:
            return None
        found.append(place)
        end = place
    return tuple(reversed(found))
