"""A macro as the planner's model reads it: one line with its fields and its intent, and a line for each field that has a description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from heddle.macros.schema import DEFINITIONS, Schema
from heddle.planning.offer import Offer

_LONGEST_DEFAULT: Final = 40
_LONGEST_PATTERN: Final = 60
_PLAIN_WORD: Final = re.compile(r"(?!(?:true|false|null)\Z)[^\W\d][\w./-]*")
_QUANTITIES: Final[Mapping[str, str]] = MappingProxyType({"days": "time span", "bytes": "size", "percent": "percentage", "when": "time"})
_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "date": "date as YYYY-MM-DD",
        "date-time": "time as YYYY-MM-DDTHH:MM:SSZ",
        "time": "time of day as HH:MM:SS",
        "duration": "duration as in PT1H30M",
        "email": "email address",
        "uri": "URL",
        "uuid": "UUID",
        "ipv4": "IPv4 address",
        "ipv6": "IPv6 address",
    }
)
_NO_WORDS: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


def signature(macro: Offer) -> str:
    """What a macro takes and does, in one line such as `repo_triage(repository: text, count: 1..200 = 5): Label changes`."""
    schema = macro.planner_schema
    return f"{macro.name}({_fields(schema, _Around(schema.get('$defs', {})))}): {one_line(macro.intent)}"


def entry(macro: Offer) -> str:
    """The macro's signature, and below it its fields' descriptions."""
    schema = macro.planner_schema
    return "\n".join([f"- {signature(macro)}", *(f"    {line}" for line in _described(schema, "", _Around(schema.get("$defs", {}))))])


def one_line(text: str) -> str:
    """A text without line breaks, so that it cannot look like more than one line of the prompt."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class _Around:
    """The definitions that a part may refer to, and those that it is in."""

    definitions: Schema
    inside: frozenset[str] = frozenset()

    def within(self, name: str) -> _Around:
        return _Around(self.definitions, self.inside | {name})


def _fields(schema: Mapping[str, Any], around: _Around) -> str:
    required = set(schema.get("required", ()))
    return ", ".join(_field(name, part, name in required, around) for name, part in schema.get("properties", {}).items())


def _field(name: str, part: Schema, required: bool, around: _Around) -> str:
    kind = _kind(part, around)
    if required:
        return f"{name}: {kind}{' or null' if _may_be_null(part) else ''}"
    default = _word(part.get("default"))
    if part.get("default") is None or len(default) > _LONGEST_DEFAULT:
        return f"{name}?: {kind}"
    return f"{name}: {kind} = {default}"


def _may_be_null(part: Mapping[str, Any]) -> bool:
    return {"type": "null"} in part.get("anyOf", ())


def _kind(part: Any, around: _Around, words: Mapping[str, Sequence[str]] = _NO_WORDS) -> str:
    """What a value is, in a few words; `words`: by which other words a choice or a boolean may be stated."""
    match part:
        case {"x-words": dict(own), **rest} if not words:
            return _kind(rest, around, own)
        case {"x-quantity": str(quantity)}:
            return f"{_QUANTITIES.get(quantity, 'text')} as stated"
        case {"$ref": str(reference)}:
            name = reference.removeprefix(DEFINITIONS)
            return "{…}" if name in around.inside else _kind(around.definitions.get(name), around.within(name), words)
        case {"enum": [*values]}:
            return " | ".join(_stated(value, words) for value in values if value is not None)
        case {"const": value}:
            return _stated(value, words)
        case {"anyOf": [*parts]} | {"oneOf": [*parts]}:
            return " or ".join(dict.fromkeys(_kind(one, around, words) for one in parts if one != {"type": "null"}))
        case {"allOf": [one, *_]}:
            return _kind(one, around, words)
        case {"type": str(name)}:
            return _typed(name, part, around, words)
        case _:
            return "value"


def _typed(name: str, part: Schema, around: _Around, words: Mapping[str, Sequence[str]]) -> str:
    match name, part:
        case "object", {"properties": dict()}:
            return f"{{{_fields(part, around)}}}"
        case "object", {"additionalProperties": dict(values)}:
            return f"map of text to {_bracketed(_kind(values, around))}"
        case "array", _:
            return _list(part, around)
        case "string", _:
            return _text(part)
        case "integer" | "number", _:
            return _number(name, part)
        case "boolean", _ if words:
            return f"{_stated(True, words)} | {_stated(False, words)}"
        case _:
            return name


def _list(part: Mapping[str, Any], around: _Around) -> str:
    match part:
        case {"prefixItems": [*parts]}:
            return f"[{', '.join(_kind(one, around) for one in parts)}]"
        case {"items": dict(items)}:
            most = f"up to {part['maxItems']} " if "maxItems" in part else ""
            return f"list of {most}{_bracketed(_kind(items, around))}"
        case _:
            return "list"


def _text(part: Mapping[str, Any]) -> str:
    match part:
        case {"format": str(name)}:
            return _FORMATS.get(name, "text")
        case {"pattern": str(pattern)} if len(pattern) <= _LONGEST_PATTERN:
            return f"text like {pattern}"
        case _:
            return "text"


def _number(name: str, part: Mapping[str, Any]) -> str:
    match part:
        case {"minimum": low, "maximum": high}:
            return f"{low}..{high}" if name == "integer" else f"{name} {low}..{high}"
        case _:
            limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
            return " ".join([name, *(f"{told} {part[key]}" for key, told in limits.items() if key in part)])


def _bracketed(kind: str) -> str:
    return f"({kind})" if re.search(r" or | \| |, ", kind) and kind[0] not in "[{" else kind


def _stated(value: Any, words: Mapping[str, Sequence[str]]) -> str:
    """A value to choose, and in brackets by what else it may be stated."""
    others = words.get(value if isinstance(value, str) else json.dumps(value), ())
    return f"{_word(value)} ({', '.join(json.dumps(other, ensure_ascii=False) for other in others)})" if others else _word(value)


def _word(value: Any) -> str:
    """A value as it stands in a signature: a text is quoted unless it is a plain word."""
    return value if isinstance(value, str) and _PLAIN_WORD.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _described(part: Any, path: str, around: _Around) -> Iterator[str]:
    """`path: description` of every field that has one, those of objects in it included."""
    match part:
        case {"$ref": str(reference)}:
            name = reference.removeprefix(DEFINITIONS)
            if name not in around.inside:
                yield from _described(around.definitions.get(name), path, around.within(name))
        case {"properties": dict(fields)}:
            for name, one in fields.items():
                here = f"{path}.{name}".lstrip(".")
                if told := one_line(one.get("description", "")):
                    yield f"{here}: {told}"
                yield from _described(one, here, around)
        case {"items": dict(items)}:
            yield from _described(items, f"{path}[]", around)
        case {"anyOf": [*parts]} | {"oneOf": [*parts]}:
            for one in parts:
                yield from _described(one, path, around)
