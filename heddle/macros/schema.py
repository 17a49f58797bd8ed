"""A macro's input and output as JSON Schema: closed objects, nothing untyped, and what the planner may set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from pydantic import AliasChoices, AliasPath, BaseModel, GetJsonSchemaHandler, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import CoreSchema

from heddle.errors import DefinitionError

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_PERSON_ONLY: Final = "x-person-only"


class PersonOnly:
    """Marks an input field that only a person may set: `write: Annotated[bool, person_only] = False`.

    The planner never sees such a field, and a plan that sets one is not sent. In the macro's schema it says `x-person-only`.
    """

    __slots__ = ()

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core_schema), _PERSON_ONLY: True}

    def __repr__(self) -> str:
        return "person_only"


person_only: Final = PersonOnly()

Schema = dict[str, Any]


def compile_schema(annotation: Any, what: str) -> Schema:
    """The JSON Schema (2020-12) of a type, every object closed.

    Args:
        annotation: a pydantic model, or any type that pydantic can describe.
        what: how to name the place in an error, such as "repo_triage's input".

    Raises:
        DefinitionError: the type has no schema, or some part of it would be an untyped object; it names the field.
    """
    try:
        schema = TypeAdapter(annotation).json_schema(mode="validation")
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DefinitionError(f"{what} has no JSON Schema: {error.message.splitlines()[0]}") from None
    for path, part in _objects(schema):
        match part:
            case {"properties": _}:
                part["additionalProperties"] = False
            case {"additionalProperties": dict(values)} if values:
                pass
            case _:
                where = f" at {path}" if path else ""
                raise DefinitionError(
                    f"{what}{where} is an untyped object: a model cannot know its keys. Use a pydantic model with named fields, or dict[str, T]."
                )
    return {"$schema": DIALECT, **schema}


def planner_schema(schema: Schema, hidden: frozenset[str]) -> Schema:
    """The input schema as the planner sees it: without the fields that only a person may set."""
    shown = {name: part for name, part in schema.get("properties", {}).items() if name not in hidden}
    return {**schema, "properties": shown, "required": [name for name in schema.get("required", []) if name not in hidden]}


def person_only_fields(model: type[BaseModel]) -> frozenset[str]:
    """All names by which a field marked `person_only` can be set: its own and its aliases."""
    marked = {name: field for name, field in model.model_fields.items() if any(isinstance(mark, PersonOnly) for mark in field.metadata)}
    return frozenset(key for name, field in marked.items() for key in (name, *_keys(field.validation_alias)))


def _keys(alias: str | AliasPath | AliasChoices | None) -> Iterator[str]:
    """The keys of an object from which a field of this alias is read."""
    match alias:
        case str():
            yield alias
        case AliasPath(path=[str(key), *_]):
            yield key
        case AliasChoices(choices=choices):
            for choice in choices:
                yield from _keys(choice)


def refuse_inner_person_only(schema: Schema, what: str) -> None:
    """See to it that only fields of the input itself are marked `person_only`: further in, nobody would look.

    Raises:
        DefinitionError: some inner part is marked; it names the field.
    """
    own = schema.get("properties", {}).values()
    for path, part in _parts(schema, ""):
        if isinstance(part, dict) and _PERSON_ONLY in part and not any(part is field for field in own):
            raise DefinitionError(
                f"{what} at {path} is marked person_only, which only a field of the input itself can be, as a whole: mark that field"
            )


def _objects(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every part of a schema that describes an object or says nothing at all, with its dotted path."""
    for path, part in _parts(schema, ""):
        match part:
            case True:
                yield path, {}
            case dict() if part.get("type") == "object" or _says_nothing(part):
                yield path, part


def _parts(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A schema and every schema in it, with its dotted path."""
    yield path, schema
    if not isinstance(schema, dict):
        return
    for name, part in (schema.get("properties") or {}).items():
        yield from _parts(part, f"{path}.{name}".lstrip("."))
    for name, part in (schema.get("$defs") or {}).items():
        yield from _parts(part, name)
    for keyword in ("items", "additionalProperties"):
        if isinstance(part := schema.get(keyword), dict):
            yield from _parts(part, f"{path}[]" if keyword == "items" else f"{path}.*")
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for part in schema.get(keyword) or ():
            yield from _parts(part, path)


_TYPING_KEYWORDS: Final = frozenset({"type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf", "not"})


def _says_nothing(schema: Schema) -> bool:
    return not _TYPING_KEYWORDS & schema.keys()
