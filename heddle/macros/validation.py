"""Values held against a compiled schema as its model would hold them: strictly, without the model.

JSON Schema leaves more open than a model does. For it 1.0 is an integer, a format is a remark, and the dialect of a pattern is its
library's own affair. Here 1.0 is none, and formats and patterns are read by pydantic, which reads them in the models. What
only code can say, a validator of the model's own, is left to the worker.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from pydantic import AnyUrl, TypeAdapter
from pydantic_core import SchemaError, SchemaValidator
from pydantic_core.core_schema import str_schema, uuid_schema
from referencing import Registry

from heddle.macros.quantities import TYPES, Kind, convert, read
from heddle.macros.schema import QUANTITY, Schema

_MOST_PROBLEMS: Final = 8
_MOST_TEXT: Final = 200


def validator_of(schema: Schema, now: float | None = None) -> Validator:
    """A validator for a schema whose references lead to its own definitions; one that leads elsewhere is never fetched.

    Args:
        schema: of a macro's input or output, or of what a planner sees of one.
        now: what a time such as "yesterday" counts from, in seconds since the epoch; without it there is no such time.
    """
    kind = _Strict if now is None else extend(_Strict, {QUANTITY: partial(_check_quantity, now=now)})  # type: ignore[no-untyped-call]
    validator: Validator = kind(schema, registry=Registry(), format_checker=_FORMATS)
    return validator


def problems(validator: Validator, value: Any) -> str | None:
    """What is wrong with a value, in one line: every field at fault and why; None if it fits."""
    found = [_told(error) for error in islice(validator.iter_errors(value), _MOST_PROBLEMS)]
    return "; ".join(found) or None


def _told(error: ValidationError) -> str:
    inner = best_match([error]) or error  # of a union, the member that the value comes closest to
    message = inner.message if len(inner.message) <= _MOST_TEXT else f"{inner.message[:_MOST_TEXT]}…"
    return f"{'.'.join(map(str, inner.absolute_path)) or 'the value'}: {message}"


def _format_checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    kinds: dict[str, Any] = {
        "date-time": datetime,
        "date": date,
        "time": time,
        "duration": timedelta,
        "uri": AnyUrl,
        "ipv4": IPv4Address,
        "ipv6": IPv6Address,
    }
    readers = {name: TypeAdapter(kind).validate_json for name, kind in kinds.items()} | {
        "uuid": SchemaValidator(uuid_schema()).validate_json
    }
    for name, reads in readers.items():
        checker.checks(name, raises=ValueError)(_reader(reads))
    return checker


def _reader(read: Callable[..., Any]) -> Callable[[object], bool]:
    def reads(value: object) -> bool:
        if isinstance(value, str):
            read(json.dumps(value), strict=True)
        return True

    return reads


_FORMATS: Final = _format_checker()


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> SchemaValidator:
    try:
        return SchemaValidator(str_schema(pattern=pattern))
    except SchemaError:  # a model can ask for Python's own engine, which reads more
        return SchemaValidator(str_schema(pattern=pattern, regex_engine="python-re"))


def _check_pattern(_: Validator, pattern: str, value: Any, __: Schema) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _pattern(pattern).isinstance_python(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_quantity(validator: Validator, kind: Kind, value: Any, schema: Schema, now: float | None = None) -> Iterator[ValidationError]:
    """A text is judged by the value that it states, bounds and all; a planner sees no bounds, and only text."""
    try:
        stated = convert(kind, value, now) if isinstance(value, str) else value
        read(kind, stated, now)
    except ValueError as error:
        yield ValidationError(str(error))
    else:
        if isinstance(value, str) and schema.get("type") == TYPES[kind]:
            yield from validator.evolve(schema={name: part for name, part in schema.items() if name != QUANTITY}).iter_errors(stated)


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_Strict: Final[Any] = extend(  # type: ignore[no-untyped-call]  # it has no annotations
    Draft202012Validator,
    {"pattern": _check_pattern, QUANTITY: _check_quantity},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
