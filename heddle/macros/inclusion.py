"""Is every value of one JSON Schema a value of another? Where that cannot be shown, the places that stand in the way.

The proof is by structure and errs on one side: what it says is included, is; what is told as a difference may be none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import inf
from typing import Any, Final, Literal, NamedTuple

from heddle.macros.marks import FREE_TEXT, GIVEN, PERSON_ONLY, WORDS
from heddle.macros.schema import QUANTITY, Schema, target
from heddle.macros.validation import problems, validator_of

_REMARKS: Final = frozenset(
    {"$schema", "$defs", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"}
    | {PERSON_ONLY, GIVEN, FREE_TEXT, WORDS}
)
_COMPARED: Final = frozenset(
    {"$ref", "type", "const", "enum", "anyOf", "oneOf", "properties", "required", "additionalProperties", "items", "prefixItems"}
    | {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"}
    | {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", QUANTITY}
)
_AT_LEAST: Final = ("minLength", "minItems", "minProperties")
_AT_MOST: Final = ("maxLength", "maxItems", "maxProperties")
_MISSING: Final = object()


class Difference(NamedTuple):
    """A place at which inclusion cannot be shown; `path` is dotted, `what` says what was there and what is there now."""

    path: str
    keyword: str
    what: str


def differences(old: Schema, new: Schema, *, narrow: Literal["old", "new"], written: bool) -> list[Difference]:
    """Why not every value of the narrow schema is one of the other; none if every value is.

    Args:
        old: what was.
        new: what is.
        narrow: which of them is to be included in the other.
        written: whether the values are written by us and read by others, who pass over fields that they do not know, but may look
            for each that they do know; else they are read by us, and what was left out meant the default.
    """
    sides = (old, new) if narrow == "old" else (new, old)
    found = _Proof(*sides, narrow == "old", written, _text(old.get("$defs")) == _text(new.get("$defs"))).missing(*sides, "", frozenset())
    return list(dict.fromkeys(found))


_Pairs = frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Proof:
    narrow: Schema
    wide: Schema
    narrow_is_old: bool
    written: bool
    same_definitions: bool

    def missing(self, narrow: Any, wide: Any, path: str, assumed: _Pairs) -> Iterator[Difference]:
        """What stands in the way of including one part in another; `assumed` are the pairs that are being looked at already."""
        one, other = target(narrow, self.narrow), target(wide, self.wide)
        pair = (id(one), id(other))
        if isinstance(wide, dict) and "$ref" in wide and wide.keys() - _REMARKS - {"$ref"}:
            yield Difference(path, "$ref", "a reference with more beside it: it cannot be compared")
        if one is False or other is True or (isinstance(other, dict) and not other.keys() - _REMARKS) or pair in assumed:
            return
        if self.same_definitions and _text(one) == _text(other):
            return
        if one is True or other is False:
            yield self._told(path, "type", _kind(one), _kind(other))
            return
        within = assumed | {pair}
        if "anyOf" in one or "oneOf" in one:
            yield from self._each_of(one, other, path, within)
        elif (values := _values(one)) is not None:
            yield from self._values(values, other, path)
        elif "anyOf" in other or "oneOf" in other:
            yield from self._one_of(one, other, path, within)
        else:
            yield from self._beyond(one, other, path)
            yield from self._same_kind(one, other, path, within)

    def _each_of(self, one: Schema, other: Schema, path: str, assumed: _Pairs) -> Iterator[Difference]:
        """Every branch has to be included; one that is altogether foreign is told by its name."""
        kinds = {(path, "type"), (f"{path}.{one.get('discriminator', {}).get('propertyName')}".lstrip("."), "enum")}
        for branch in one.get("anyOf") or one["oneOf"]:
            found = list(self.missing(branch, other, path, assumed))
            foreign = any((difference.path, difference.keyword) in kinds for difference in found)
            yield from [Difference(path, "type", self._lost_or_gained(_named(branch)))] if foreign else found

    def _told(self, path: str, keyword: str, narrow: Any, wide: Any) -> Difference:
        old, new = (narrow, wide) if self.narrow_is_old else (wide, narrow)
        return Difference(path, keyword, f"{keyword}: {_shown(old)} → {_shown(new)}")

    def _beyond(self, one: Schema, other: Schema, path: str) -> Iterator[Difference]:
        """Keywords that only being equal shows to be kept; what they say must not depend on definitions, which may have changed."""
        keywords = (other.keys() | {"patternProperties"} & one.keys()) - _REMARKS - _COMPARED
        for keyword in sorted(keywords):
            mine, theirs = one.get(keyword, _MISSING), other.get(keyword, _MISSING)
            if _text(mine) != _text(theirs):
                yield self._told(path, keyword, mine, theirs)
            elif not self.same_definitions and '"$ref"' in _text(theirs):
                yield Difference(path, keyword, f"{keyword}: it cannot be compared")

    def _values(self, values: list[Any], other: Schema, path: str) -> Iterator[Difference]:
        validator = validator_of({**other, "$defs": self.wide.get("$defs", {})})
        lost = [value for value in values if problems(validator, value) is not None]
        if lost:
            yield Difference(path, "enum", self._lost_or_gained(", ".join(map(_shown, lost))))

    def _one_of(self, one: Schema, other: Schema, path: str, assumed: _Pairs) -> Iterator[Difference]:
        """Some branch has to include it; if none does, what is missing to the nearest is told."""
        if "oneOf" in other and "discriminator" not in other:
            yield Difference(path, "oneOf", "a union of which one member alone may fit: it cannot be compared")
        if beside := other.keys() - _REMARKS - {"anyOf", "oneOf"} or {"anyOf", "oneOf"} <= other.keys():
            yield Difference(path, "anyOf", f"a union with more beside it ({beside}): it cannot be compared")
        attempts = []
        for branch in other.get("anyOf") or other["oneOf"]:
            found = list(self.missing(one, branch, path, assumed))
            if not found:
                return
            attempts.append(found)
        elsewhere = [found for found in attempts if not any(one.path == path and one.keyword in {"type", "enum"} for one in found)]
        if elsewhere:
            yield from min(elsewhere, key=len)
        else:
            yield self._told(path, "type", _kind(one), _kind(other))

    def _same_kind(self, one: Schema, other: Schema, path: str, assumed: _Pairs) -> Iterator[Difference]:
        if "const" in other or "enum" in other or not _types(one) or not _types(one) <= _allowed(other):
            yield self._told(path, "type", _kind(one), _kind(other))
            return
        kind, wanted = one.get(QUANTITY, _MISSING), other.get(QUANTITY, _MISSING)
        if wanted not in {kind, _MISSING} and (kind is not _MISSING or "string" in _types(one)):  # numbers alone are of any kind
            yield self._told(path, QUANTITY, kind, wanted)
        yield from self._bounds(one, other, path)
        if "array" in _types(one):
            yield from self._items(one, other, path, assumed)
        if "object" in _types(one):
            yield from self._fields(one, other, path, assumed)

    def _bounds(self, one: Schema, other: Schema, path: str) -> Iterator[Difference]:
        for keyword in _AT_LEAST:
            if one.get(keyword, 0) < other.get(keyword, 0):
                yield self._told(path, keyword, one.get(keyword, _MISSING), other[keyword])
        for keyword in _AT_MOST:
            if one.get(keyword, inf) > other.get(keyword, inf):
                yield self._told(path, keyword, one.get(keyword, _MISSING), other[keyword])
        for name, sign in (("minimum", 1), ("maximum", -1)):
            exclusive = f"exclusive{name.capitalize()}"
            mine, theirs = (max(_limits(part, name, exclusive, sign)) for part in (one, other))
            if mine < theirs:
                yield self._told(path, name, _limit(one, name, exclusive), _limit(other, name, exclusive))
        step = other.get("multipleOf")
        if step is not None and ("multipleOf" not in one or one["multipleOf"] % step):
            yield self._told(path, "multipleOf", one.get("multipleOf", _MISSING), step)

    def _items(self, one: Schema, other: Schema, path: str, assumed: _Pairs) -> Iterator[Difference]:
        mine, theirs = one.get("prefixItems", []), other.get("prefixItems", [])
        my_rest, their_rest = one.get("items", True), other.get("items", True)
        most = one.get("maxItems", inf)
        for number, (item, wanted) in enumerate(zip_longest(mine, theirs, fillvalue=_MISSING)):
            if number < most:
                pair = (my_rest if item is _MISSING else item, their_rest if wanted is _MISSING else wanted)
                yield from self.missing(*pair, f"{path}[{number}]", assumed)
        if most > max(len(mine), len(theirs)):
            yield from self.missing(my_rest, their_rest, f"{path}[]", assumed)

    def _fields(self, one: Schema, other: Schema, path: str, assumed: _Pairs) -> Iterator[Difference]:
        mine, theirs = one.get("properties", {}), other.get("properties", {})
        my_rest, their_rest = one.get("additionalProperties", True), other.get("additionalProperties", True)
        if self.written and their_rest is False:
            their_rest = True
        for name in mine:
            place = f"{path}.{name}".lstrip(".")
            if not self.written and name in theirs and _key(mine[name]) != _key(theirs[name]):
                yield self._told(place, GIVEN, _key(mine[name]), _key(theirs[name]))
            if name in theirs or their_rest is not False:
                yield from self.missing(mine[name], theirs.get(name, their_rest), place, assumed)
            else:
                yield Difference(place, "properties", self._removed_or_added())
        for name in (name for name in theirs if name not in mine):
            place = f"{path}.{name}".lstrip(".")
            if self.written:
                yield Difference(place, "properties", self._added_or_removed())
            if my_rest is not False:
                yield from self.missing(my_rest, theirs[name], place, assumed)
        yield from self._presence(one, other, path)
        if my_rest is not False:
            yield from self.missing(my_rest, their_rest, f"{path}.*".lstrip("."), assumed)

    def _presence(self, one: Schema, other: Schema, path: str) -> Iterator[Difference]:
        """Fields that the narrow schema may leave out and the wide one not, and what leaving one out means."""
        mine, theirs = one.get("properties", {}), other.get("properties", {})
        given, needed = one.get("required", ()), other.get("required", ())
        for name in (name for name in needed if name not in given):
            place = f"{path}.{name}".lstrip(".")
            if name in mine:
                yield Difference(place, "required", "required now" if self.narrow_is_old else "may be left out now")
            elif not self.written:
                yield Difference(place, "required", f"{self._added_or_removed()}; it is required")
        for name in () if self.written else (name for name in mine if name in theirs and name not in {*given, *needed}):
            default, other_default = (part[name].get("default", _MISSING) for part in (mine, theirs))
            if _text(default) != _text(other_default):
                yield self._told(f"{path}.{name}".lstrip("."), "default", default, other_default)

    def _lost_or_gained(self, words: str) -> str:
        """Of values that the narrow schema has alone."""
        return f"no longer: {words}" if self.narrow_is_old else f"now also: {words}"

    def _removed_or_added(self) -> str:
        """Of a field that the narrow schema has alone."""
        return "removed" if self.narrow_is_old else "added"

    def _added_or_removed(self) -> str:
        """Of a field that the wide schema has alone."""
        return "added" if self.narrow_is_old else "removed"


def _key(part: Any) -> Any:
    """The key of the goal's context that a field is filled by: a promise to whoever gives it, or relies on the goal's words."""
    return part.get(GIVEN, _MISSING) if isinstance(part, dict) else _MISSING


def _values(schema: Schema) -> list[Any] | None:
    """All values of a schema that has few."""
    match schema:
        case {"const": value}:
            return [value]
        case {"enum": [*values]}:
            return values
        case {"type": "null"}:
            return [None]
        case {"type": "boolean"}:
            return [False, True]
        case _:
            return None


def _types(schema: Schema) -> set[str]:
    named = schema.get("type", [])
    return {named} if isinstance(named, str) else set(named)


def _allowed(schema: Schema) -> set[str]:
    """The types that a schema lets through; a number may be an integer."""
    types = _types(schema) or {"string", "number", "integer", "boolean", "null", "array", "object"}
    return types | {"integer"} if "number" in types else types


def _limits(schema: Schema, name: str, exclusive: str, sign: int) -> Iterator[tuple[float, int]]:
    """The limits of a schema as pairs of which a greater one lets less through."""
    yield (-inf, 0)
    if name in schema:
        yield (sign * schema[name], 0)
    if exclusive in schema:
        yield (sign * schema[exclusive], 1)


def _limit(schema: Schema, name: str, exclusive: str) -> Any:
    return schema.get(name, schema.get(exclusive, _MISSING))


def _kind(schema: Any) -> Any:
    """A schema in a word or two."""
    match schema:
        case bool():
            return "anything" if schema else "nothing"
        case {"const": value} | {"enum": value}:
            return value
        case {"anyOf": [*branches]} | {"oneOf": [*branches]}:
            return " or ".join(_named(branch) for branch in branches)
        case _:
            return _named(schema)


def _named(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"type": "object", "title": str(title)}:
            return title
        case {"type": str(name)}:
            return name
        case {"type": [*names]}:
            return " or ".join(names)
        case {"const": value} | {"enum": value}:
            return _shown(value)
        case _:
            return "anything"


def _text(value: Any) -> str:
    """A value as the same text if it is the same JSON: true is not 1, and 1.0 is not either."""
    return "none" if value is _MISSING else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.isidentifier() else _text(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
