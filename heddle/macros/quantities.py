"""Spans, sizes, percentages and times as input fields: the planner copies words for them, and code converts the words.

A field of type `Days`, `Bytes`, `Percent` or `When` takes its value as JSON has it, or as text: "two weeks", "10 MB", "15%", "last
Monday". Its handler gets the value. In a schema it says `x-quantity`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo, with_info_before_validator_function

from heddle.macros import amounts
from heddle.macros.moments import moment
from heddle.macros.schema import QUANTITY, Schema, target

Kind = Literal["days", "bytes", "percent", "when"]

TYPES: Final[Mapping[Kind, Any]] = {
    "days": ["number", "string"],
    "bytes": ["integer", "string"],
    "percent": ["number", "string"],
    "when": "string",
}
"""The JSON types that each kind is written in."""

_NOT_NEGATIVE: Final[frozenset[Kind]] = frozenset({"days", "bytes"})

_WANTED: Final[Mapping[Kind, str]] = {
    "days": "a number of days, 0 or more, or text such as 'two weeks'",
    "bytes": "a whole number of bytes, 0 or more, or text such as '10 MB'",
    "percent": "a number of percent, or text such as '15%'",
    "when": "a time as text, such as '2026-03-01T12:00:00Z'",
}


def convert(kind: Kind, text: str, now: float | None) -> int | float | str:
    """What a text says, as JSON has it: a number of days, of bytes or of percent, or a time (RFC 3339, UTC).

    Args:
        kind: of quantity.
        text: in the words of whoever wrote it.
        now: what "yesterday" counts from, in seconds since the epoch; None if there is nothing to count from.

    Raises:
        ValueError: the text is no such quantity, or could be two.
    """
    value = read(kind, text, now)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return int(value) if value == int(value) else value


def read(kind: Kind, value: object, now: float | None) -> int | float | datetime:
    """What a handler gets for a value of JSON, or of Python.

    Raises:
        ValueError: it is no such quantity.
    """
    match kind, value:
        case "when", str(text):
            return moment(text, now)
        case "when", datetime() if value.tzinfo is not None:
            return value.astimezone(UTC)
        case "days", str(text):
            return _float(amounts.days(text))
        case "percent", str(text):
            return _float(amounts.percent(text))
        case "bytes", str(text):
            return round(amounts.size(text))
        case "percent", int() | float() if not isinstance(value, bool):
            return _float(value)
        case "days", int() | float() if not isinstance(value, bool) and value >= 0:
            return _float(value)
        case "bytes", int() if not isinstance(value, bool) and value >= 0:
            return value
        case _:
            raise ValueError(f"it should be {_WANTED[kind]}")


def _float(number: Fraction | float) -> float:
    try:
        value = float(number)
    except OverflowError:
        value = inf
    if not abs(value) < inf:
        raise ValueError("the number is too large")
    return value


def rendered(kind: Kind, value: float | str) -> str:
    """A value of JSON as text that is read back as the same: "14 days", "10 MB", "15%"."""
    match kind, value:
        case "bytes", int(number):
            return next(
                (f"{number // size} {unit}" for unit, size in amounts.ROUND_SIZES if number and number % size == 0), f"{number} bytes"
            )
        case "days", int() | float():
            return f"{_plain(value)} {'day' if value == 1 else 'days'}"
        case "percent", int() | float():
            return f"{_plain(value)}%"
        case _:
            return str(value)


def _plain(number: float) -> str:
    """Its digits, without an exponent."""
    return str(int(number)) if number == int(number) else format(Decimal(repr(number)), "f")


def converted(arguments: Mapping[str, Any], schema: Schema, now: float | None) -> dict[str, Any]:
    """Arguments with the value in the place of every text that states a quantity, however deep.

    All else stays as it is, and is for the schema to judge: a number too, which a planner should not state (it would have to
    compute it) and a sender may.

    Args:
        arguments: of a macro.
        schema: of its input.
        now: what "yesterday" counts from, in seconds since the epoch; None if there is nothing to count from.

    Raises:
        ValueError: a text in a quantity's place is none; it names every such field and says why.
    """
    walk = _Walk(schema, now, [])
    try:
        told: dict[str, Any] = {**walk.converted(dict(arguments), schema, "")}
    except RecursionError:
        raise ValueError("the arguments are nested too deep") from None
    if walk.problems:
        raise ValueError("; ".join(walk.problems))
    return told


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Schema
    now: float | None
    problems: list[str]

    def converted(self, value: Any, part: Any, path: str) -> Any:
        branches = list(self._branches(part))
        if len(branches) > 1:
            branches = [branch for branch in branches if _may_fit(value, branch)]
        if len(branches) != 1:  # untyped, or nobody could say what it is meant for
            return value
        match value, branches[0]:
            case str(text), {"x-quantity": kind}:
                try:
                    return convert(kind, text, self.now)
                except ValueError as error:
                    self.problems.append(f"{path}: {error}")
                    return value
            case dict(), schema:
                fields, rest = schema.get("properties", {}), schema.get("additionalProperties")
                return {name: self.converted(item, fields.get(name, rest), f"{path}.{name}".lstrip(".")) for name, item in value.items()}
            case list(), schema:
                first, rest = schema.get("prefixItems", []), schema.get("items")
                parts = [*first, *[rest] * (len(value) - len(first))]
                return [self.converted(item, one, f"{path}.{at}") for at, (item, one) in enumerate(zip(value, parts, strict=False))]
            case _:
                return value

    def _branches(self, part: Any) -> Iterator[Schema]:
        """The members of a union, of a union within it too; of no union the part itself."""
        found = target(part, self.root)
        if not isinstance(found, dict):
            return
        members = [*found.get("anyOf", ()), *found.get("oneOf", ())]
        for member in members:
            yield from self._branches(member)
        if not members:
            yield found


def _may_fit(value: Any, part: Schema) -> bool:
    """Whether a value is of a part's kind; of an object its fields are looked at, those with a fixed word by that."""
    match value, part:
        case str(), {"x-quantity": _}:
            return True
        case dict(), {"type": "object", "properties": fields}:
            missing = set(part.get("required", ())) - value.keys()
            unknown = value.keys() - fields.keys() if not part.get("additionalProperties") else ()
            return not missing and not unknown and all(_word_fits(item, fields.get(name, {})) for name, item in value.items())
        case dict(), {"type": "object"}:
            return True
        case list(), {"type": "array"}:
            return True
        case _:
            return False


def _word_fits(value: Any, part: Any) -> bool:
    match part:
        case {"const": word}:
            return bool(value == word)
        case {"enum": [*words]}:
            return value in words
        case _:
            return True


@dataclass(frozen=True, slots=True)
class Quantity:
    """Makes a field a quantity: `Days = Annotated[float, Quantity("days")]`."""

    kind: Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validated(value: object, info: ValidationInfo) -> object:
            now = info.context.get("now") if isinstance(info.context, Mapping) else None
            try:
                return read(self.kind, value, now)
            except ValueError as error:
                raise PydanticCustomError("quantity", "{told}", {"told": str(error)}) from None

        return with_info_before_validator_function(validated, handler(source))

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        told = {**handler(core_schema), QUANTITY: self.kind}
        inner = core_schema.get("schema", {})
        told |= {bound: str(inner[bound]) for bound in ("ge", "gt", "le", "lt") if self.kind == "when" and bound in inner}
        if self.kind in _NOT_NEGATIVE:
            told["minimum"] = max(0, told.get("minimum", 0))
        if handler.mode == "validation":
            told.pop("format", None)
            told["type"] = TYPES[self.kind]
        return told


Days: TypeAlias = Annotated[float, Quantity("days")]
"""A span of time, in days."""

Bytes: TypeAlias = Annotated[int, Quantity("bytes")]
"""A size, in bytes."""

Percent: TypeAlias = Annotated[float, Quantity("percent")]
"""A percentage: 15.0 for "15%"."""

When: TypeAlias = Annotated[datetime, Quantity("when")]
"""A moment, in UTC. Words that count from now ("yesterday") are for goals: a task sent directly says the time itself."""
