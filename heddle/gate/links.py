"""Which calls of a session have to do with each other: those that hold the same value, where the value is one that tells. Pure.

A call holds the values of its arguments and of its result, and what its texts quote of earlier results. A value tells if two calls
hold it and few sessions do: the id of a ticket does, the name of the one repository that everybody works on does not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from heddle.gate.reading import Session

Values = frozenset[Any]

MOST_LEAVES: Final = 500
"""Values of one result that are looked at."""
_SHORTEST: Final = 4
_LARGE: Final = 1000
_EVERYWHERE: Final = 50
"""A value does not tell if more than one of so many sessions has it, and more than `_FEW` do."""
_FEW: Final = 3
_WORD: Final = re.compile(r"[^\s,;()\[\]{}\"'<>]+")
_ENDING: Final = ".:!?"


def leaves(value: Any) -> Iterator[Any]:
    """The values in a JSON value that are no objects and no lists."""
    match value:
        case dict():
            for inner in value.values():
                yield from leaves(inner)
        case list():
            for inner in value:
                yield from leaves(inner)
        case _:
            yield value


def links(sessions: Sequence[Session]) -> list[list[Values]]:
    """For each call of each session the telling values that it holds."""
    held = [_shared(session) for session in sessions]
    common = Counter(value for of_session in held for value in set().union(*of_session))
    most = max(_FEW, len(sessions) // _EVERYWHERE)
    everywhere = {value for value, count in common.items() if count > most}
    return [[frozenset(values - everywhere) for values in of_session] for of_session in held]


def _shared(session: Session) -> list[set[Any]]:
    """For each call the values that another call of the session holds too."""
    held: list[set[Any]] = []
    quotable: dict[str, set[str]] = {}
    for call in session.calls:
        values = {value for value in _some(leaves(call.arguments)) if _may_tell(value)}
        for text in [value for value in values if isinstance(value, str) and " " in value]:
            values.update(_quoted(text, quotable))
        gives = {value for value in _some(leaves(call.result)) if _may_tell(value)}
        for value in gives:
            if isinstance(value, str) and " " in value:
                quotable.setdefault(value.split(" ", 1)[0], set()).add(value)
        held.append(values | gives)
    twice = {value for value, count in Counter(value for values in held for value in values).items() if count > 1}
    return [values & twice for values in held]


def _some(values: Iterable[Any]) -> Iterator[Any]:
    return (value for value, _ in zip(values, range(MOST_LEAVES), strict=False))


def _may_tell(value: Any) -> bool:
    """Is it a value that two calls seldom hold by chance?"""
    match value:
        case bool() | None:
            return False
        case str():
            return len(value) >= _SHORTEST
        case int():
            return abs(value) >= _LARGE
        case _:
            return bool(value != round(value))


def _quoted(text: str, quotable: dict[str, set[str]]) -> Iterator[str]:
    """The words of a text, and the earlier results of several words that stand in it."""
    for word in _WORD.findall(text):
        yield from {word, word.rstrip(_ENDING)} if len(word) >= _SHORTEST else ()
        yield from (whole for whole in quotable.get(word, ()) if whole in text)
