"""What a change of macros means to those who call them: compatible, or breaking.

What an old caller may send, the new input has to take; what a new handler may give, an old reader has to understand. So the
old input must be included in the new one, and the new output in the old one, but for fields that were added to an output: a
reader passes over what it does not know. What cannot be shown to be included counts as breaking.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from heddle.macros.catalogue import Catalogue, Contract
from heddle.macros.inclusion import Difference, differences
from heddle.macros.schema import Schema


class Change(NamedTuple):
    """One thing that is otherwise now.

    Attributes:
        macro: its name.
        version: which version of it.
        kind: whether callers of that version may be broken by it.
        path: where, such as `input.count`; "" for the version as a whole.
        what: the change in words.
    """

    macro: str
    version: int
    kind: Literal["breaking", "compatible"]
    path: str
    what: str


def compare(old: Catalogue, new: Catalogue) -> list[Change]:
    """All changes from one catalogue to another, by macro and version, those that break first."""
    return [change for name in sorted({*old.macros, *new.macros}) for change in _of_macro(name, old, new)]


def _of_macro(name: str, old: Catalogue, new: Catalogue) -> Iterator[Change]:
    before, after = old.macros.get(name, {}), new.macros.get(name, {})
    for version in sorted({*before, *after}):
        match before.get(version), after.get(version):
            case Contract(deprecated=until), None:
                kind: Literal["breaking", "compatible"] = "breaking" if until is None else "compatible"
                yield Change(name, version, kind, "", f"removed; it was {f'deprecated {until}' if until else 'not deprecated'}")
            case None, Contract():
                yield Change(name, version, "compatible", "", "added")
            case Contract() as one, Contract() as other if one.digest != other.digest:
                changes = [Change(name, version, *change) for change in _of_version(one, other)]
                yield from sorted(changes, key=lambda change: change.kind)


def _of_version(old: Contract, new: Contract) -> Iterator[tuple[Literal["breaking", "compatible"], str, str]]:
    yield from _of_schema("input", old.schema, new.schema)
    yield from _of_schema("output", old.output_schema, new.output_schema)
    before, after = old.promises, new.promises
    for name in before.keys() - {"input", "output"}:
        if before[name] != after[name]:
            told = f"{_short(before[name])} → {_short(after[name])}"
            yield "compatible", name, told


def _of_schema(side: Literal["input", "output"], old: Schema, new: Schema) -> Iterator[tuple[Literal["breaking", "compatible"], str, str]]:
    if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True):
        return
    forth = differences(old, new, written=side == "output", narrow="old")
    back = differences(old, new, written=side == "output", narrow="new")
    breaking, widening = (forth, back) if side == "input" else (back, forth)
    broken = {one.path for one in breaking}
    harmless = [one for one in widening if one.path not in broken and one.keyword != "default"]
    for one in breaking:
        yield "breaking", _placed(side, one), one.what
    for one in harmless:
        yield "compatible", _placed(side, one), one.what
    if not breaking and not harmless:
        yield "compatible", side, "only what is said about it: descriptions, titles, or the like"


def _placed(side: str, found: Difference) -> str:
    return f"{side}{'' if found.path.startswith('[') or not found.path else '.'}{found.path}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"
