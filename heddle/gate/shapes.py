"""The types of what is generated: those that a tool's methods promise, or models made from the values that were seen. Pure."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from heddle.gate.naming import camel, field_name, unique
from heddle.gate.templates import EACH, Way

Sort = Literal["plain", "model", "list", "mapping", "nothing", "other"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A type, as source text says it.

    Attributes:
        text: such as `list[Change]`.
        parts: of a model: by the key that JSON has, the attribute and a function that gives its shape.
        item: of a list or a mapping: a function that gives its items' shape.
        imports: what the text needs, as (module, name).
        definitions: of a model that is made here: its source, after that of the models that it needs.
        exact: whether the JSON of a value is what it was made of; a model has every key, also one that was not there.
    """

    sort: Sort
    text: str
    parts: Mapping[str, tuple[str, Callable[[], Shape]]] = field(default_factory=dict)
    item: Callable[[], Shape] | None = None
    imports: frozenset[tuple[str, str]] = frozenset()
    definitions: tuple[str, ...] = ()
    exact: bool = True

    def step(self, key: str | int) -> tuple[str, Shape] | None:
        """The source that takes a part of a value of this type, and the part's shape; None if it has no such part."""
        if self.sort == "model" and isinstance(key, str) and key in self.parts:
            attribute, shape = self.parts[key]
            return f".{attribute}", shape()
        if self.sort == "list" and isinstance(key, int) and self.item is not None:
            return f"[{key}]", self.item()
        if self.sort == "mapping" and isinstance(key, str) and self.item is not None:
            return f"[{key!r}]", self.item()
        return None

    def gives(self, way: Way) -> bool:
        """Can the source take what is there, as JSON has it?"""
        if not way:
            return self.exact
        if way[0] == EACH:
            return self.item is not None and self.item().gives(way[1:])
        found = self.step(way[0])
        return found is not None and found[1].gives(way[1:])


NOTHING = Shape("nothing", "None")
ANY = Shape("other", "Any", imports=frozenset({("typing", "Any")}))
"""JSON as it is."""
_PLAIN: Mapping[Any, str] = {str: "str", int: "int", float: "float", bool: "bool"}


def shape_of(annotation: Any) -> Shape:
    """The shape of a type that is there."""
    if annotation in {None, type(None)}:
        return NOTHING
    if isinstance(annotation, type) and annotation in _PLAIN:
        return Shape("plain", _PLAIN[annotation])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return shape_of(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return _union([shape_of(one) for one in arguments])
    if origin is Literal:
        return Shape("plain", f"Literal[{', '.join(map(repr, arguments))}]", imports=frozenset({("typing", "Literal")}))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = shape_of(arguments[-1])
        return Shape("mapping", f"dict[str, {value.text}]", item=lambda: value, imports=value.imports)
    if isinstance(origin, type) and issubclass(origin, Sequence) and arguments:
        inner = shape_of(arguments[0])
        text = (
            f"tuple[{', '.join(shape_of(one).text if one is not ... else '...' for one in arguments)}]"
            if origin is tuple
            else f"list[{inner.text}]"
        )
        return Shape("list", text, item=lambda: inner, imports=inner.imports)
    return _of_class(annotation)


def _union(shapes: Sequence[Shape]) -> Shape:
    """Several types in one; of one type or nothing, the parts are those of the one."""
    others = [shape for shape in shapes if shape.sort != "nothing"]
    if not others:
        return NOTHING
    text = " | ".join(dict.fromkeys(shape.text for shape in shapes))
    imports = frozenset().union(*(shape.imports for shape in shapes))
    definitions = tuple(dict.fromkeys(one for shape in shapes for one in shape.definitions))
    if len(others) == 1:
        return dataclasses.replace(others[0], text=text, imports=imports)
    plain = all(shape.sort == "plain" for shape in others)
    exact = all(shape.exact for shape in others)
    return Shape("plain" if plain else "other", text, imports=imports, definitions=definitions, exact=exact)


def _of_class(annotation: Any) -> Shape:
    if not isinstance(annotation, type) or "<" in annotation.__qualname__ or "." in annotation.__qualname__:
        return Shape("other", "object")
    imports = frozenset({(annotation.__module__, annotation.__qualname__)})
    parts: dict[str, tuple[str, Callable[[], Shape]]] = {}
    if issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            parts[info.alias or name] = (name, lambda kind=info.annotation: shape_of(kind))  # type: ignore[misc]
    elif dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        for one in dataclasses.fields(annotation):
            parts[one.name] = (one.name, lambda kind=hints[one.name]: shape_of(kind))  # type: ignore[misc]
    return Shape("model" if parts else "other", annotation.__qualname__, parts, imports=imports)


# --- from values


def shape_from(values: Iterable[Any], name: str, taken: set[str], *, exact: bool = False) -> Shape:
    """The shape that all of these JSON values have.

    Args:
        values: as they were seen.
        name: what models that it needs are called after.
        taken: names of models; theirs are noted there.
        exact: an object is a mapping if a model would have keys that are not always there.
    """
    there = list(values)
    shapes = [
        _plain(there, bool, "bool"),
        _plain(there, int, "int"),
        _plain(there, float, "float"),
        _plain(there, str, "str"),
        _list([value for value in there if isinstance(value, list)], name, taken, exact),
        _object([value for value in there if isinstance(value, dict)], name, taken, exact),
        NOTHING if any(value is None for value in there) else None,
    ]
    found = [shape for shape in shapes if shape is not None]
    return _union(found) if found else NOTHING


def _plain(values: list[Any], kind: type, text: str) -> Shape | None:
    return Shape("plain", text) if any(type(value) is kind for value in values) else None


def _list(lists: list[list[Any]], name: str, taken: set[str], exact: bool) -> Shape | None:
    if not lists:
        return None
    items = [item for value in lists for item in value]
    inner = shape_from(items, name, taken, exact=exact) if items else Shape("plain", "str")
    return Shape("list", f"list[{inner.text}]", item=lambda: inner, imports=inner.imports, definitions=inner.definitions, exact=inner.exact)


def _object(objects: list[dict[str, Any]], name: str, taken: set[str], exact: bool) -> Shape | None:
    if not objects:
        return None
    keys = list(dict.fromkeys(key for value in objects for key in value))
    always = [key for key in keys if all(key in value for value in objects)]
    some_left_out = len(always) < len(keys)
    if not keys or (some_left_out and (exact or (len(keys) > 4 and not always) or len(keys) > 3 * (len(always) + 3))):
        inner = (
            shape_from([one for value in objects for one in value.values()], name, taken, exact=exact) if keys else Shape("plain", "str")
        )
        text = f"dict[str, {inner.text}]"
        return Shape("mapping", text, item=lambda: inner, imports=inner.imports, definitions=inner.definitions, exact=inner.exact)
    title = unique(camel(name), taken)
    taken.add(title)
    attributes: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    for key in keys:
        attributes[key] = field_name((name, key), attributes.values())
        shapes[key] = shape_from([value[key] for value in objects if key in value], f"{name} {key}", taken, exact=exact)
    lines = [_field_line(attributes[key], key, shapes[key], key in always) for key in keys]
    source = "\n".join([f"class {title}(BaseModel):", f'    """{name_in_words(name)}, as it was answered."""', "", *lines])
    return Shape(
        "model",
        title,
        {key: (attributes[key], lambda shape=shapes[key]: shape) for key in keys},  # type: ignore[misc]
        imports=frozenset().union(*(shape.imports for shape in shapes.values())),
        definitions=(*dict.fromkeys(one for shape in shapes.values() for one in shape.definitions), source),
        exact=not some_left_out and all(shape.exact for shape in shapes.values()),
    )


def _field_line(attribute: str, key: str, shape: Shape, always: bool) -> str:
    text = shape.text if always or "None" in shape.text.split(" | ") else f"{shape.text} | None"
    alias = f"alias={key!r}" if attribute != key else ""
    if always:
        return f"    {attribute}: {text}" + (f" = Field({alias})" if alias else "")
    return f"    {attribute}: {text} = " + (f"Field(None, {alias})" if alias else "None")


def name_in_words(name: str) -> str:
    """A name as the beginning of a sentence."""
    told = name.replace("_", " ").replace('"', "").replace("\\", "").strip()
    return told[:1].upper() + told[1:]
