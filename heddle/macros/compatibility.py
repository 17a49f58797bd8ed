"""What a change of macros means to those who call them: compatible, or breaking.

What an old caller may send, the new input has to take; what a new handler may give, an old reader has to understand. So the
old input must be included in the new one, and the new output in the old one, but for fields that were added to an output: a
reader passes over what it does not know. What cannot be shown to be included counts as breaking.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from heddle.macros.catalogue import Catalogue, Contract
from heddle.macros.inclusion import Difference, differences
from heddle.macros.macro import Effects
from heddle.macros.schema import Schema

Kind = Literal["breaking", "compatible"]
_Found = tuple[Kind, str, str]


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
    kind: Kind
    path: str
    what: str


def compare(old: Catalogue, new: Catalogue) -> list[Change]:
    """All changes from one catalogue to another, by macro and version, those that break first."""
    return [change for name in sorted({*old.macros, *new.macros}) for change in _of_macro(name, old, new)]


def _of_macro(name: str, old: Catalogue, new: Catalogue) -> Iterator[Change]:
    before, after = old.macros.get(name, {}), new.macros.get(name, {})
    for version in sorted({*before, *after}):
        match before.get(version), after.get(version):
            case Contract() as gone, None:
                yield from _ordered(name, version, _without_handler(gone, after))
            case None, Contract():
                yield Change(name, version, "compatible", "", "added")
            case Contract() as one, Contract() as other if one.digest != other.digest:
                yield from _ordered(name, version, _of_version(one, other, after))


def _ordered(name: str, version: int, found: Iterable[_Found]) -> list[Change]:
    return sorted((Change(name, version, *one) for one in found), key=lambda change: change.kind)


def _without_handler(gone: Contract, after: Mapping[int, Contract]) -> Iterator[_Found]:
    """A version that has no handler any more: it is gone, or upgraded to another, whose output its callers get."""
    heir = _reader(gone.version, after)
    if heir is not None:
        yield "compatible", "", f"upgraded to version {heir.version}"
        if gone.deprecated is None:
            yield from _of_schema("output", gone.output_schema, heir.output_schema)
    elif gone.deprecated is not None:
        yield "compatible", "", f"removed; it was deprecated {gone.deprecated}"
    else:
        yield "breaking", "", "removed; it was not deprecated, and nothing upgrades it"


def _reader(version: int, contracts: Mapping[int, Contract]) -> Contract | None:
    """The contract that a task of this version is run by."""
    return contracts.get(version) or next((one for one in contracts.values() if version in one.reads), None)


def _of_version(old: Contract, new: Contract, after: Mapping[int, Contract]) -> Iterator[_Found]:
    if lost := [version for version in old.reads if _reader(version, after) is None]:
        yield "breaking", "reads", f"no longer: {', '.join(map(str, lost))}"
    elif old.reads != new.reads:
        yield "compatible", "reads", f"{_short(old.reads)} → {_short(new.reads)}"
    yield from _of_schema("input", old.schema, new.schema)
    yield from _of_schema("output", old.output_schema, new.output_schema)
    before, promised = old.promises, new.promises
    for name in before:
        if name not in {"input", "output", "reads"} and before[name] != promised[name]:
            kind: Kind = "breaking" if name == "effects" and _graver(old.effects, new.effects) else "compatible"
            yield kind, name, f"{_short(before[name])} → {_short(promised[name])}"


def _graver(old: Effects, new: Effects) -> bool:
    """Whether a run changes more now than its callers reckon with; a goal may have to wait for an approval besides."""
    order = get_args(Effects)
    return order.index(new) > order.index(old)


def _of_schema(side: Literal["input", "output"], old: Schema, new: Schema) -> Iterator[_Found]:
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
