"""JSON that whatever comes after can take: no NaN, no half of a letter, and nothing nested without an end. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

MOST_LEVELS: Final = 100
"""Lists and objects within each other."""


def parse(text: bytes | str) -> Any:
    """The value that a text is.

    Raises:
        ValueError: it is no JSON, or nested too deep; it says why.
    """
    body = text.encode() if isinstance(text, str) else text
    refuse_deep(body)
    return msgspec.json.decode(body)


def refuse_deep(body: bytes) -> None:
    """Look how deep a value is nested, where it can be deep at all.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    if body.count(b"[") + body.count(b"{") <= MOST_LEVELS:
        return
    try:
        if _levels(msgspec.json.decode(body)) <= MOST_LEVELS:
            return
    except RecursionError:
        pass
    raise ValueError(f"nested deeper than {MOST_LEVELS} levels")


def _levels(value: Any) -> int:
    """How many lists and objects are within each other, as far as it matters."""
    level = [value]
    for number in range(MOST_LEVELS + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return number
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return MOST_LEVELS + 1
