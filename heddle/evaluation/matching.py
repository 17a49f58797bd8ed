"""Whether calls are those that a case expects: as values, after conversion and with the macros' defaults, in any order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from heddle.evaluation.cases import Case, ExpectedCall
from heddle.macros.marks import given_fields
from heddle.macros.quantities import converted
from heddle.macros.schema import Schema, target
from heddle.planning.offer import Offers
from heddle.planning.plan import PlannedCall

_MARKS: Final = re.compile(r"[ ,./\-_*^]")
"""What does not tell texts of the public cases apart, as in their own checker (BFCL, `ast_checker.standardize_string`)."""
_ABSENT: Final = object()


def macros_found(calls: Sequence[PlannedCall], expected: Sequence[ExpectedCall]) -> int:
    """How many of the expected calls have a call of the same macro, each call counting once."""
    return (Counter(call.macro for call in calls) & Counter(call.macro for call in expected)).total()


def calls_found(calls: Sequence[PlannedCall], case: Case, offers: Offers) -> int:
    """How many of the expected calls are there with right arguments, each call counting once: a largest matching.

    It is found by augmenting paths, as in Kuhn, "The Hungarian method" (1955).
    """
    fits = [[number for number, call in enumerate(calls) if is_expected(call, one, case, offers)] for one in case.expected]
    taken_by: dict[int, int] = {}

    def place(expected: int, seen: set[int]) -> bool:
        for call in fits[expected]:
            if call not in seen:
                seen.add(call)
                if call not in taken_by or place(taken_by[call], seen):
                    taken_by[call] = expected
                    return True
        return False

    return sum(place(number, set()) for number in range(len(fits)))


def is_expected(call: PlannedCall, expected: ExpectedCall, case: Case, offers: Offers) -> bool:
    """Whether a call has the macro and the arguments that a case expects."""
    if call.macro != expected.macro:
        return False
    macro = offers.find(call.macro)
    schema = {} if macro is None else macro.schema
    fields: Mapping[str, Schema] = schema.get("properties", {})
    stated = _as_sent(call.arguments, schema, case.at)
    accepted = {name: [_as_sent({name: value}, schema, case.at)[name] for value in values] for name, values in expected.arguments.items()}
    for name in (stated.keys() | accepted.keys() | fields.keys()) - given_fields(schema).keys():
        default = fields.get(name, {}).get("default", _ABSENT)
        value = stated.get(name, default)
        left_out = name not in accepted or name in expected.optional
        if not (left_out and _same(value, default, case)) and not any(_same(value, one, case) for one in accepted.get(name, ())):
            return False
    return True


def _as_sent(arguments: Mapping[str, Any], schema: Schema, now: float) -> dict[str, Any]:
    """Arguments as a worker reads them: converted where code converts, with the defaults of what is inside them."""
    try:
        told = converted(arguments, schema, now)
    except ValueError:
        told = dict(arguments)  # what cannot be converted is nothing but itself
    fields = schema.get("properties", {})
    return {name: _filled(value, fields.get(name, {}), schema) for name, value in told.items()}


def _filled(value: Any, part: Schema, root: Schema) -> Any:
    meant = target(part, root)
    match value, meant:
        case dict() | list(), {"anyOf": [*parts]}:
            told = [one for one in parts if one.get("type") != "null"]
            return _filled(value, told[0], root) if len(told) == 1 else value
        case dict(), {"properties": dict(fields)}:
            defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
            return {name: _filled(inner, fields.get(name, {}), root) for name, inner in (defaults | value).items()}
        case list(), {"items": dict(items)}:
            return [_filled(inner, items, root) for inner in value]
        case _:
            return value


def _same(one: Any, other: Any, case: Case) -> bool:
    """Equal as JSON: 3 and 3.0 are, true and 1 are not."""
    match one, other:
        case bool(), _:
            return one is other
        case _, bool():
            return False
        case str(), str():
            return one == other or (case.loose and _plain(one) == _plain(other))
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(value, other[key], case) for key, value in one.items())
        case list(), list():
            return len(one) == len(other) and all(_same(value, twin, case) for value, twin in zip(one, other, strict=True))
        case _:
            return bool(one == other)


def _plain(text: str) -> str:
    return _MARKS.sub("", text).lower().replace("'", '"')
