"""A macro's input and output as JSON Schema: closed objects, and nothing untyped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python
from pydantic_core.core_schema import DataclassField, ModelField, TypedDictField

from heddle.errors import DefinitionError

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


QUANTITY: Final = "x-quantity"
"""What a schema calls a quantity's kind; of all texts it then takes those that can be converted."""

DEFINITIONS: Final = "#/$defs/"
"""What a reference within a compiled schema begins with; the name of the definition follows."""


class _Read(GenerateJsonSchema):
    """The schema of what is read; the same text in every process, though a set has another order in each."""

    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(self._in_order(dft))

    def _in_order(self, value: Any) -> Any:
        match value:
            case BaseModel():
                return self._in_order(value.model_dump(by_alias=self.by_alias))
            case set() | frozenset():
                return sorted(map(self._in_order, value), key=lambda item: json.dumps(to_jsonable_python(item), sort_keys=True))
            case dict():
                return {key: self._in_order(item) for key, item in value.items()}
            case list() | tuple():
                return [self._in_order(item) for item in value]
            case _:
                return value


class _Written(_Read):
    """The schema of what is written: a field with a default is there too."""

    def field_is_required(self, field: ModelField | DataclassField | TypedDictField, total: bool) -> bool:
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return not field.get("serialization_exclude") and "serialization_exclude_if" not in field


def compile_schema(annotation: Any, what: str, mode: Literal["validation", "serialization"] = "validation") -> Schema:
    """The JSON Schema (2020-12) of a type, every object closed, unions discriminated where a field tells their members apart.

    Args:
        annotation: a pydantic model, or any type that pydantic can describe.
        what: how to name the place in an error, such as "repo_triage's input".
        mode: of what is read, or of what is written.

    Raises:
        DefinitionError: the type has no schema, or some part of it would be an untyped object; it names the field.
    """
    written = mode == "serialization"
    generator = _Written if written else _Read
    try:
        schema = TypeAdapter(annotation).json_schema(mode=mode, by_alias=not written, schema_generator=generator)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DefinitionError(f"{what} has no JSON Schema: {error.message.splitlines()[0]}") from None
    if set(schema) == {"$ref", "$defs"}:  # a model that contains itself
        schema = {**deepcopy(schema["$defs"][schema["$ref"].removeprefix(DEFINITIONS)]), "$defs": schema["$defs"]}
    without_fields = not written and annotation is not BaseModel  # as a whole: an input may be nothing
    for path, part in _objects(schema):
        _close(part, f"{what}{f' at {path}' if path else ''}", written=written, without_fields=part is schema and without_fields)
    for _, part in parts_of(schema, ""):
        if isinstance(part, dict) and isinstance(part.get("anyOf"), list):
            _discriminate(part, schema.get("$defs", {}))
        if isinstance(part, dict) and QUANTITY in part:
            _name_bounds(part)
    return {"$schema": DIALECT, **schema}


def _close(part: Schema, place: str, *, written: bool, without_fields: bool) -> None:
    match part:
        case {"additionalProperties": True | dict(), "properties": _} if written:
            raise DefinitionError(f"{place} lets through keys that it does not name (extra='allow'): name them as fields")
        case {"properties": dict(fields)} if fields or without_fields:
            part["additionalProperties"] = False
        case {"patternProperties": dict()}:
            part["additionalProperties"] = False
        case {"additionalProperties": dict(values)} if values:
            pass
        case _:
            raise DefinitionError(
                f"{place} is an untyped object: a model cannot know its keys. Use a pydantic model with named fields, or dict[str, T]."
            )


_BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf"}


def _name_bounds(part: Schema) -> None:
    """Give a quantity's bounds their names in JSON Schema: beside a validator, pydantic leaves them under its own."""
    for bound, keyword in _BOUNDS.items():
        if bound in part:
            value = part.pop(bound)
            tighter = max if keyword.lower().endswith("minimum") else min
            part[keyword] = tighter(value, part.get(keyword, value))
    if "exclusiveMinimum" in part and part["exclusiveMinimum"] >= part.get("minimum", part["exclusiveMinimum"]):
        part.pop("minimum", None)


def _discriminate(part: Schema, definitions: Mapping[str, Schema]) -> None:
    """Make a union of models, None aside, one that says by which field they are told apart, if there is such a field."""
    members = [member for member in part["anyOf"] if member != {"type": "null"}]
    chosen = _discriminator(members, definitions)
    if chosen is None:
        return
    if len(members) == len(part["anyOf"]):
        part["oneOf"], part["discriminator"] = part.pop("anyOf"), chosen
    else:
        part["anyOf"] = [{"oneOf": members, "discriminator": chosen}, {"type": "null"}]


def _discriminator(members: Sequence[Schema], definitions: Mapping[str, Schema]) -> Schema | None:
    if len(members) < 2 or not all(set(member) == {"$ref"} for member in members):
        return None
    models = {member["$ref"]: definitions[member["$ref"].removeprefix(DEFINITIONS)] for member in members}
    for name in next(iter(models.values())).get("properties", {}):
        pairs = [(word, reference) for reference, model in models.items() for word in _words(model, name)]
        mapping = dict(pairs)
        if len(mapping) == len(pairs) and set(mapping.values()) == set(models):
            return {"propertyName": name, "mapping": mapping}
    return None


def _words(model: Schema, name: str) -> list[str]:
    """The words that a field may hold, if it must be there and holds nothing else."""
    if name not in model.get("required", ()):
        return []
    match model["properties"][name]:
        case {"const": str(word)}:
            return [word]
        case {"enum": [*words]} if all(isinstance(word, str) for word in words):
            return words
        case _:
            return []


def target(part: Any, root: Schema) -> Any:
    """Where a reference leads, and that of a reference there; what stands beside a reference is a remark."""
    while isinstance(part, dict) and "$ref" in part:
        part = root["$defs"][part["$ref"].removeprefix(DEFINITIONS)]
    return part


def _objects(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every part of a schema that describes an object or says nothing at all, with its dotted path."""
    for path, part in parts_of(schema, ""):
        match part:
            case True:
                yield path, {}
            case dict() if _may_be(part, "object") or _says_nothing(part):
                yield path, part
            case dict() if _may_be(part, "array") and not part.keys() & {"items", "prefixItems"} and part.get("maxItems") != 0:
                yield f"{path}[]", {}


def parts_of(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A schema and every schema in it, with its dotted path."""
    yield path, schema
    if not isinstance(schema, dict):
        return
    for name, part in (schema.get("properties") or {}).items():
        yield from parts_of(part, f"{path}.{name}".lstrip("."))
    for part in (schema.get("patternProperties") or {}).values():
        yield from parts_of(part, f"{path}.*")
    for name, part in (schema.get("$defs") or {}).items():
        yield from parts_of(part, name)
    for keyword in ("items", "additionalProperties"):
        if isinstance(part := schema.get(keyword), dict):
            yield from parts_of(part, f"{path}[]" if keyword == "items" else f"{path}.*")
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(keyword) or ():
            yield from parts_of(part, path)


def rewritten(part: Any, change: Callable[[Schema], Schema]) -> Any:
    """A schema in which every part is what a function makes of it, the outermost first; the schema itself is left alone."""
    if not isinstance(part, dict):
        return part
    told = dict(change(part))
    for keyword, inner in told.items():
        if keyword in {"properties", "patternProperties", "$defs"} and isinstance(inner, dict):
            told[keyword] = {name: rewritten(one, change) for name, one in inner.items()}
        elif keyword in {"items", "additionalProperties"}:
            told[keyword] = rewritten(inner, change)
        elif keyword in {"anyOf", "oneOf", "allOf", "prefixItems"} and isinstance(inner, list):
            told[keyword] = [rewritten(one, change) for one in inner]
    return told


_TYPING_KEYWORDS: Final = frozenset({"type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "not"})


def _may_be(schema: Schema, kind: str) -> bool:
    named = schema.get("type")
    return kind in named if isinstance(named, list) else named == kind


def _says_nothing(schema: Schema) -> bool:
    return not _TYPING_KEYWORDS & schema.keys()
