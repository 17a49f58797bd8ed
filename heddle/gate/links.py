"""Which calls of a session have to do with each other: those that hold the same value, where the value is one that tells. Pure.

A call holds the values of its arguments and of its result, and what its texts quote of earlier results. A value tells if two calls
hold it and few sessions do: the id of a ticket does, the name of the one repository that everybody works on does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
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
_APART: Final = str.maketrans(dict.fromkeys(",;!?()[]{}<>\"'", " "))
_ENDING: Final = ".:"


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
    known: set[Any] = set()
    twice: set[Any] = set()
    quotable: dict[str, set[str]] = {}
    for call in session.calls:
        values, texts = _telling(call.arguments)
        for text in texts:
            values |= _quoted(text, known, quotable)
        gives, texts = _telling(call.result)
        for text in texts:
            quotable.setdefault(text.split(" ", 1)[0], set()).add(text)
        values |= gives
        twice |= known & values
        known |= values
        held.append(values)
    return [values & twice for values in held]


def _telling(whole: Any) -> tuple[set[Any], list[str]]:
    """The values in a JSON value that two calls seldom hold by chance, and those of them that are several words."""
    found: set[Any] = set()
    texts = []
    parts = [whole]
    for value in islice(parts, MOST_LEAVES):  # which grow meanwhile
        kind = type(value)
        if kind is str:
            if len(value) >= _SHORTEST:
                found.add(value)
                if " " in value:
                    texts.append(value)
        elif kind is dict:
            parts += value.values()
        elif kind is list:
            parts += value
        elif (kind is int and abs(value) >= _LARGE) or (kind is float and value != round(value)):
            found.add(value)
    return found, texts


def _quoted(text: str, known: set[Any], quotable: dict[str, set[str]]) -> set[Any]:
    """The earlier values that stand in a text: words of it, or several words together."""
    words = set(text.translate(_APART).split())
    found = known & words
    found |= known & {word.rstrip(_ENDING) for word in words if word[-1] in _ENDING}
    for word in quotable.keys() & words:
        found.update(whole for whole in quotable[word] if whole in text)
    return found
