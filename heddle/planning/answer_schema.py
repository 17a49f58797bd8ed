"""What an answer must look like, as a JSON Schema for decoders: a union of the macros, and a branch for none of them.

Decoders differ in what they enforce, ignore, read otherwise or reject (`heddle.macros.decoders` names the sources), so a macro's
schema is written down-levelled, in the few keywords that all of them read alike. It then accepts more than the macro does, never
less: the full check comes after, on every answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from heddle.macros.schema import DEFINITIONS, Schema
from heddle.planning.offer import Offer
from heddle.planning.plan import NOVEL_PREFIX, UNSUPPORTED

MOST_REPEATED: Final = 256
"""Lengths and counts above are left to the check after: llama.cpp refuses a grammar in which something is repeated 2,000 times."""
_EXACT: Final = 2**53
_FORMATS: Final = frozenset({"date", "uuid"})
"""The formats of which there is one way to write a value: a decoder's time of day has an offset and three decimals, or is none."""
_TYPES: Final = ("object", "array", "string", "number", "boolean", "null")
_ANYTHING: Final[Schema] = {"anyOf": [{"type": name} for name in _TYPES]}

_RANGE: Final = r"[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]"
_CLASS: Final = rf"\[(?:{_RANGE}|[\w /:@#=,~%.])+-?\]"
_TIMES: Final = r"[+*?]|\{[0-9]{1,2}(?:,[0-9]{0,2})?\}"
_PLAIN_PATTERN: Final = re.compile(rf"\^(?:(?:[\w /:@#=,~%-]|{_CLASS})(?:{_TIMES})?)+\$", re.ASCII)
"""Patterns that all decoders read alike: anchored, without escapes, and unable to take in the quote that ends the text: a dot or a
class of what is not there would."""


@dataclass(frozen=True, slots=True)
class Branch:
    """What an answer may say of one macro.

    Attributes:
        schema: of one task.
        definitions: what it refers to, by names that no other macro's has.
    """

    schema: Schema
    definitions: Schema


def branch_of(macro: Offer, number: int) -> Branch:
    """A macro's branch; `number` is its own among the macros. `macro` comes first, for it decides the rest."""
    down = _Down(macro.planner_schema.get("$defs", {}), f"{number}-")
    arguments = down.part(macro.planner_schema) or dict(_ANYTHING)
    return Branch(_task(macro.name, {"arguments": arguments}), down.definitions())


def answer_schema(branches: Iterable[Branch], categories: Collection[str] = ()) -> Schema:
    """The union of macros' branches, of one for each category of novel goals, and of one that says that none fits.

    The number of tasks has no bound: one in the decoder would end a long answer in its midst and leave a plan that looks whole. An
    answer that never ends is cut off by the number of tokens, which is told.
    """
    macros = list(branches)
    tasks = [*(one.schema for one in macros), *(_task(f"{NOVEL_PREFIX}{name}", {}) for name in categories), _task(UNSUPPORTED, {})]
    definitions = {name: part for one in macros for name, part in one.definitions.items()}
    return _closed({"tasks": {"type": "array", "minItems": 1, "items": {"anyOf": tasks}}}) | ({"$defs": definitions} if definitions else {})


def _task(name: str, more: Schema) -> Schema:
    return _closed({"macro": {"type": "string", "enum": [name]}, **more})


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@dataclass(slots=True)
class _Down:
    """Down-levels parts of a schema, and remembers which definitions they refer to."""

    given: Schema
    prefix: str
    reached: list[str] = field(default_factory=list)

    def definitions(self) -> Schema:
        """The definitions that were referred to, and what these refer to, by numbers: a grammar's names have few letters."""
        found: Schema = {}
        while len(found) < len(self.reached):
            found[f"{self.prefix}{len(found)}"] = self.part(self.given.get(self.reached[len(found)], True)) or _ANYTHING
        return found

    def part(self, part: Any) -> Schema | None:
        """A part that accepts all that the given one does; None if that is nothing."""
        match part:
            case False:
                return None
            case {"$ref": str(reference)}:
                return {"$ref": self._reference(reference.removeprefix(DEFINITIONS))}
            case {"anyOf": [*members]} | {"oneOf": [*members]}:
                return self._union(members)
            case {"enum": [*values]}:
                return _choice(values)
            case {"const": value}:
                return _choice([value])
            case {"type": [*names]}:
                return self._union([{**part, "type": name} for name in names])
            case {"type": str(name)}:
                return self._typed(name, part)
            case {"allOf": [first, *_]}:
                return self.part(first)
            case _:
                return dict(_ANYTHING)

    def _typed(self, name: str, part: Schema) -> Schema:
        match name:
            case "object":
                return self._object(part)
            case "array":
                return self._array(part)
            case "string":
                return _text(part)
            case "integer":
                return _integer(part)
            case _:
                return {"type": name}

    def _reference(self, name: str) -> str:
        if name not in self.reached:
            self.reached.append(name)
        return f"{DEFINITIONS}{self.prefix}{self.reached.index(name)}"

    def _union(self, members: Sequence[Any]) -> Schema | None:
        found: list[Schema] = []
        for member in filter(None, map(self.part, members)):
            found += [one for one in (member["anyOf"] if set(member) == {"anyOf"} else [member]) if one not in found]
        return {"anyOf": found} if len(found) > 1 else found[0] if found else None

    def _object(self, part: Schema) -> Schema:
        others = [one for one in (part.get("additionalProperties", True), *part.get("patternProperties", {}).values()) if one is not False]
        fields = {name: down for name, value in part.get("properties", {}).items() if (down := self.part(value)) is not None}
        if others == [True] and not fields:
            return {"type": "object"}
        return {
            "type": "object",
            "properties": fields,
            "required": [name for name in part.get("required", ()) if name in fields],
            "additionalProperties": (self._union(others) if others else None) or False,
        }

    def _array(self, part: Schema) -> Schema:
        first, rest = part.get("prefixItems", []), part.get("items", True)
        bounds = {key: part[key] for key in ("minItems", "maxItems") if part.get(key, MOST_REPEATED) < MOST_REPEATED}
        if rest is True and part.get("maxItems", math.inf) <= len(first):
            rest = False
        items = self._union([*first, rest])
        return {"type": "array", **bounds, **({"items": items} if items else {})}


def _choice(values: Sequence[Any]) -> Schema | None:
    kinds = {_type_of(value) for value in values}
    if not kinds:
        return None
    return {"type": kinds.pop(), "enum": list(values)} if len(kinds) == 1 else {"enum": list(values)}


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case None:
            return "null"
        case list():
            return "array"
        case _:
            return "object"


def _text(part: Schema) -> Schema:
    kept = {key: part[key] for key in ("minLength", "maxLength") if part.get(key, MOST_REPEATED) < MOST_REPEATED}
    match part:
        case {"pattern": str(pattern)} if _PLAIN_PATTERN.fullmatch(pattern):
            kept["pattern"] = pattern
        case {"format": str(name)} if name in _FORMATS:
            kept["format"] = name
    return {"type": "string", **kept}


def _integer(part: Schema) -> Schema:
    """With whole bounds, both inclusive; the bounds of other numbers few decoders enforce."""
    bounds = {"minimum": _bound(part, "minimum", "exclusiveMinimum", 1), "maximum": _bound(part, "maximum", "exclusiveMaximum", -1)}
    return {"type": "integer", **{key: bound for key, bound in bounds.items() if bound is not None and abs(bound) < _EXACT}}


def _bound(part: Schema, inclusive: str, exclusive: str, sign: int) -> int | None:
    """The least whole number that a part accepts; with sign -1 the greatest."""
    found = [math.ceil(sign * part[key]) for key in (inclusive,) if key in part]
    found += [math.floor(sign * part[key]) + 1 for key in (exclusive,) if key in part]
    return sign * max(found) if found else None
