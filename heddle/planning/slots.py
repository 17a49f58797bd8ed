"""What one word of a goal, or one quoted string, can state: the value of a slot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

from heddle.macros.marks import WORDS, given_fields
from heddle.macros.number_words import cardinal
from heddle.macros.quantities import Kind, convert
from heddle.macros.schema import Schema
from heddle.planning.offer import Offer

_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?(e[+-]?[0-9]{1,3})?")
_BOOLEANS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Slot:
    """What a slot takes: a JSON type, a kind of quantity, or one of some words, each with the value that it stands for."""

    type: str
    words: tuple[tuple[str, str | bool], ...] = ()
    quantity: Kind | None = None

    def read(self, word: str, *, quoted: bool) -> str | int | float | bool | None:
        """The word as a value of this kind; None if it is none. A quantity stays the text that states it."""
        text = word.casefold()
        if self.quantity:
            return word if _states(self.quantity, word) else None
        if alike := {said: value for said, value in self.words if said.casefold() == text}:
            meant = {alike[word]} if word in alike else set(alike.values())
            return meant.pop() if len(meant) == 1 else None
        if self.type == "choice":
            return None
        if self.type == "string":
            return word if quoted or text != "and" else None
        if quoted:
            return None
        return _BOOLEANS.get(text) if self.type == "boolean" else _number(text, whole=self.type == "integer")


def _states(kind: Kind, text: str) -> bool:
    """Whether a text is a quantity, whatever the time may be."""
    try:
        convert(kind, text, 0.0)
    except ValueError:
        return False
    return True


def _number(text: str, *, whole: bool) -> int | float | None:
    number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else cardinal(text.split("-"))
    if whole or (number is None and not _NUMBER.fullmatch(text)):
        return number
    value = float(text if number is None else number)
    return value if isfinite(value) else None


def slot_of(macro: Offer, name: str) -> Slot:
    """The slot of a macro's input field.

    Raises:
        ValueError: there is no such field, or it can be no slot; it says why.
    """
    fields: Schema = macro.schema.get("properties", {})
    if name in macro.hidden:
        raise ValueError(f"only a person may set {name!r}: it can be no slot")
    if name in given_fields(macro.schema):
        raise ValueError(f"{name!r} is filled from the goal's context: it can be no slot")
    if name not in fields:
        raise ValueError(f"the slot {{{name}}} is no input field; there are: {', '.join(sorted(macro.planner_schema['properties']))}")
    if slot := _slot(fields[name], macro.schema.get("$defs", {}), {}):
        return slot
    raise ValueError(
        f"the slot {{{name}}} is of a type that one word cannot state; it can: text, a number, a quantity, a boolean, a choice of words"
    )


def _slot(part: Schema, definitions: Mapping[str, Schema], others: Mapping[str, Sequence[str]]) -> Slot | None:
    """The slot of a part of a schema; `others` are more words for its values, which are declared beside it."""
    others = part.get(WORDS, others)
    match part:
        case {"x-quantity": kind}:
            return Slot("string", quantity=kind)
        case {"$ref": str(reference)}:
            return _slot(definitions.get(reference.rpartition("/")[2], {}), definitions, others)
        case {"anyOf": [*parts]}:
            slots = [_slot(other, definitions, others) for other in parts if other.get("type") != "null"]
            return slots[0] if len(slots) == 1 else None
        case {"enum": [*choices]} if set(map(type, choices)) <= {str, type(None)}:
            return Slot("choice", tuple(_said({choice: choice for choice in choices if choice is not None}, others)))
        case {"const": str(choice)}:
            return Slot("choice", tuple(_said({choice: choice}, others)))
        case {"type": "boolean"} if "const" not in part:
            return Slot("boolean", tuple(_said({"true": True, "false": False}, others)))
        case {"type": "string" | "integer" | "number" as name} if not part.keys() & {"enum", "const"}:
            return Slot(name)
    return None


def _said(values: Mapping[str, str | bool], others: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str | bool]]:
    """Every word for a value, its own name first, and the value."""
    for name, value in values.items():
        yield from ((word, value) for word in (name, *others.get(name, ())))
