"""The allow-list: sequences that are to stay as they are, each with a reason and an end. Pure.

- pattern: Forge.latest > Forge.annotate
  reason: moves to the new forge in May
  expires: 2026-05-31
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import yaml

from heddle.errors import DefinitionError
from heddle.gate.patterns import Pattern
from heddle.strict_yaml import Once


@dataclass(frozen=True, slots=True)
class Allowance:
    """One entry; it holds until the end of the day `expires`."""

    methods: tuple[str, ...]
    reason: str
    expires: date
    line: int

    @property
    def pattern(self) -> str:
        """As the list has it."""
        return " > ".join(self.methods)

    def covers(self, pattern: Pattern) -> bool:
        """Is it about this pattern? The order of the calls does not matter."""
        return tuple(sorted(self.methods)) == pattern.methods


def read_allowances(text: str | bytes, name: str) -> list[Allowance]:
    """The entries of an allow-list.

    Raises:
        DefinitionError: it is none; it says where and why.
    """
    try:
        entries = yaml.load(text, Once) or []  # noqa: S506  # a SafeLoader
        node = yaml.compose(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as the day 2026-02-31
        raise DefinitionError(f"{name}: not YAML: {error}") from None
    lines = [item.start_mark.line + 1 for item in node.value] if isinstance(node, yaml.SequenceNode) else []
    if not isinstance(entries, list):
        raise DefinitionError(f"{name}: a list of entries is expected, each with pattern, reason and expires")
    return [_allowance(entry, f"{name}:{line}", line) for entry, line in zip(entries, lines, strict=True)]


def _allowance(entry: Any, where: str, line: int) -> Allowance:
    match entry:
        case {"pattern": str(pattern), "reason": str(reason), "expires": date() as expires, **more} if (
            not more and reason.strip() and not isinstance(expires, datetime)
        ):
            methods = tuple(part.strip() for part in pattern.split(">"))
            if len(methods) > 1 and all(methods):
                return Allowance(methods, reason.strip(), expires, line)
            raise DefinitionError(
                f"{where}: pattern {pattern!r} is no sequence; write it as `gate scan` prints it: Forge.latest > Forge.annotate"
            )
        case _:
            raise DefinitionError(
                f"{where}: an entry has a pattern, a reason, and a day on which it expires, such as 2026-05-31; nothing else"
            )


def allowing(pattern: Pattern, allowances: Iterable[Allowance], today: date) -> Allowance | None:
    """The entry that lets a pattern be today."""
    return next((one for one in allowances if one.covers(pattern) and one.expires >= today), None)


def expired(allowances: Sequence[Allowance], today: date) -> list[Allowance]:
    """The entries that let nothing be any more."""
    return [one for one in allowances if one.expires < today]
