"""A JSON Schema as a table that a person can read: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from heddle.macros.schema import DEFINITIONS, Schema

_DEEPEST: Final = 6
_BOUNDS: Final = (
    ("minimum", "≥ {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMaximum", "< {}"),
    ("minLength", "length ≥ {}"),
    ("maxLength", "length ≤ {}"),
    ("minItems", "items ≥ {}"),
    ("maxItems", "items ≤ {}"),
    ("pattern", "matches {}"),
    ("format", "{}"),
)
_MARKS: Final = {"x-person-only": "only a person may set it", "x-free-text": "free text", "x-given": "filled in from the goal's context"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field: `path` is dotted, `[]` stands for every item of a list; `name` is its last part, `depth` how deep it lies."""

    path: str
    name: str
    depth: int
    kind: str
    required: bool
    default: str | None
    bounds: tuple[str, ...]
    description: str


def fields(schema: Schema) -> list[Field]:
    """The fields of an object's schema, outer before inner, in their order."""
    return list(_fields(schema, schema.get("$defs", {}), "", 0))


def kind_of(schema: Schema) -> str:
    """The kind of value that a schema describes, in a few words."""
    return _kind(schema, schema.get("$defs", {}), 0)


def _fields(schema: Schema, definitions: Schema, path: str, depth: int) -> Iterator[Field]:
    inner, path = _inside(_resolved(schema, definitions), definitions, path)
    for name, part in (inner.get("properties") or {}).items():
        here = f"{path}{name}"
        resolved = _resolved(part, definitions)
        yield Field(
            here,
            name,
            depth,
            _kind(part, definitions, depth),
            name in inner.get("required", ()),
            json.dumps(part["default"], ensure_ascii=False) if "default" in part else None,
            tuple(_bounds({**resolved, **part})),
            str(part.get("description") or resolved.get("description") or ""),
        )
        if depth < _DEEPEST:
            yield from _fields(part, definitions, f"{here}.", depth + 1)


def _inside(schema: Schema, definitions: Schema, path: str) -> tuple[Schema, str]:
    """The object whose fields are to be listed: the schema itself, its items, or the one choice that is not null."""
    match schema:
        case {"type": "array", "items": dict(items)}:
            return _inside(_resolved(items, definitions), definitions, f"{path.removesuffix('.')}[].")
        case {"anyOf": list(choices)}:
            objects = [choice for choice in (_resolved(one, definitions) for one in choices) if choice.get("type") != "null"]
            return _inside(objects[0], definitions, path) if len(objects) == 1 else ({}, path)
        case _:
            return schema, path


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(DEFINITIONS):
        return dict(definitions.get(reference.removeprefix(DEFINITIONS), {}))
    return schema


def _kind(schema: Schema, definitions: Schema, depth: int) -> str:
    schema = _resolved(schema, definitions)
    match schema:
        case {"const": value}:
            return json.dumps(value, ensure_ascii=False)
        case {"enum": list(values)}:
            return " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
        case {"anyOf": list(choices)} | {"oneOf": list(choices)} if depth < _DEEPEST:
            return " or ".join(dict.fromkeys(_kind(choice, definitions, depth + 1) for choice in choices))
        case {"type": "array", "items": dict(items)} if depth < _DEEPEST:
            return f"list of {_kind(items, definitions, depth + 1)}"
        case {"type": "object", "additionalProperties": dict(values)} if depth < _DEEPEST:
            return f"map of {_kind(values, definitions, depth + 1)}"
        case {"type": str(kind)}:
            return kind
        case {"type": list(kinds)}:
            return " or ".join(str(kind) for kind in kinds)
        case _:
            return "any value"


def _bounds(schema: Schema) -> Iterator[str]:
    for key, words in _BOUNDS:
        if key in schema:
            yield words.format(_value(schema[key]))
    for key, words in _MARKS.items():
        if schema.get(key):
            yield words
    if isinstance(quantity := schema.get("x-quantity"), str):
        yield f"a quantity: {quantity}"


def _value(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value)
