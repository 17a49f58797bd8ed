"""Where a plan's values come from: every value that is not the macro's own default is a span of what somebody said.

A text must stand in the goal, spelling aside (`words.normal`); an enum's word or a boolean by its name or by words that the macro
declares (`x-words`); a number as a number; a quantity (`x-quantity`) as the text that the planner wrote, before it is converted.
A field marked `x-free-text` opts out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from heddle.macros.marks import FREE_TEXT, WORDS
from heddle.macros.schema import DEFINITIONS, QUANTITY, Schema
from heddle.planning.goal import Asked
from heddle.planning.plan import Ground, Value
from heddle.planning.words import Said, has_invisible, holds, loosely, normal, number_of, number_said, places, tightly

LONGEST_CONTEXT: Final = 200
"""Characters of a context value that can ground a field; the planner's model is shown no longer ones."""

_NOTHING: Final = object()
_TYPES: Final[Mapping[type, frozenset[str]]] = {
    str: frozenset({"string"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    bool: frozenset({"boolean"}),
    type(None): frozenset({"null"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
}
_NOT: Final = r"not?|never|without|exclud(?:e|ing)|skip(?:ping)?|disabl(?:e|ed|ing)|omit(?:ting)?|avoid(?:ing)?|\w+n't"
_NEGATED: Final = re.compile(rf"(?<!\w)(?:{_NOT})(?: [^\s.,;:!?]+){{0,2}} $")
_SWITCHED: Final = re.compile(r"(?: ?[=:] ?| (?:is |to |set to )?)(true|yes|on|enabled|false|no|off|disabled)(?!\w)")
_VERB: Final = re.compile(r"^(?:is|has|with) ")
_ON: Final = frozenset({"true", "yes", "on", "enabled"})
_OWNER_NAME: Final = re.compile(r"([\w.-]{1,100})/([\w.-]{1,100})")


@dataclass(frozen=True)
class Heard:
    """A goal as values are held against it, again and again."""

    asked: Asked

    @cached_property
    def goal(self) -> Said:
        """The instruction."""
        return Said(self.asked.instruction)

    @cached_property
    def context(self) -> Mapping[str, str | float]:
        """The context's scalars up to 200 characters; nothing else in it grounds anything."""
        given = self.asked.context.items()
        return {key: value for key, value in given if isinstance(value, str | int | float) and len(str(value)) <= LONGEST_CONTEXT}


@dataclass(frozen=True, slots=True)
class Grounded:
    """A value with its ground.

    Attributes:
        value: what it is.
        words: how a goal can state it besides: an enum's name and declared words, a boolean's field, in normal form.
        choice: whether it is one of a few: an enum's word or a boolean.
        default: the field's default, as JSON says it; None if it has none.
    """

    value: Value
    words: tuple[str, ...] = ()
    choice: bool = False
    default: str | None = None


def ground(macro: str, schema: Schema, stated: Mapping[str, Any], sent: Mapping[str, Any], heard: Heard) -> list[Grounded]:
    """Every value of a call, and where it comes from.

    Args:
        macro: its name.
        schema: of its input.
        stated: the arguments as the planner wrote them.
        sent: the same ones converted.
        heard: the goal.
    """
    return list(_Walk(macro, schema.get("$defs", {}), heard).fields(schema, stated, sent, "", chosen=False))


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk through arguments beside their schema. `chosen`: whether the schema there is one of several that the planner could take."""

    macro: str
    definitions: Mapping[str, Schema]
    heard: Heard

    def fields(self, part: Schema, stated: Mapping[str, Any], sent: Mapping[str, Any], path: str, *, chosen: bool) -> Iterator[Grounded]:
        """The values in an object; a key that its schema does not name is one as well."""
        named: Mapping[str, Any] = part.get("properties", {})
        for key, value in stated.items():
            field = f"{path}.{key}" if path else key
            if key not in named:
                yield self._scalar([{}], key, key, field, "", _NOTHING, chosen=chosen)
            inner = named[key] if key in named else part.get("additionalProperties")
            yield from self._value(inner, value, sent[key], field, key, chosen=chosen)

    def _value(self, part: Any, stated: Any, sent: Any, path: str, name: str, *, chosen: bool) -> Iterator[Grounded]:
        part = part if isinstance(part, dict) else {}
        default = part.get("default", _NOTHING)
        every = list(self._options(part))
        options = [option for option in every if _may_be(option, stated)] or [{}]
        chosen = chosen or len(every) > 1
        if not isinstance(stated, dict | list):
            yield self._scalar(options, stated, sent, path, name, default, chosen=chosen)
        elif default is not _NOTHING and _same(sent, default):
            yield Grounded(Value(self.macro, path, stated, sent, "default"))
        elif not stated:
            yield Grounded(Value(self.macro, path, stated, sent, "ungrounded"), default=_as_json(default))
        elif isinstance(stated, dict):
            yield from self.fields(options[0], stated, sent, path, chosen=chosen)
        else:
            first: Sequence[Any] = options[0].get("prefixItems", ())
            for number, (item, converted) in enumerate(zip(stated, sent, strict=True)):
                inner = first[number] if number < len(first) else options[0].get("items")
                yield from self._value(inner, item, converted, f"{path}.{number}", name, chosen=chosen)

    def _options(self, part: Schema, followed: tuple[str, ...] = ()) -> Iterator[Schema]:
        """What a part may be, its references and unions followed, each with the marks of what it stands in."""
        marks = {key: value for key, value in part.items() if key.startswith("x-")}
        reference = part.get("$ref")
        if isinstance(reference, str) and reference not in followed:
            target = self.definitions.get(reference.removeprefix(DEFINITIONS), {})
            yield from self._options({**target, **marks}, (*followed, reference))
        elif members := part.get("anyOf") or part.get("oneOf") or part.get("allOf"):
            for member in members:
                yield from self._options({**member, **marks}, followed)
        else:
            yield part

    def _scalar(self, options: Sequence[Schema], stated: Any, sent: Any, path: str, name: str, default: Any, *, chosen: bool) -> Grounded:
        choices = [option for option in options if "enum" in option or "const" in option]
        forced = not chosen and any("const" in option or len(option["enum"]) == 1 for option in choices)
        words = tuple(word for option in options for word in _words(option, stated, named=bool(choices)))
        ground: Ground = "ungrounded"
        if not (isinstance(stated, str) and has_invisible(stated)):
            if any(self._is_said(option, stated, name, words) for option in options):
                ground = "goal"
            elif name in self.heard.context and _is_alike(stated, self.heard.context[name]):
                ground = "context"
        if ground == "ungrounded" and (forced or (default is not _NOTHING and _same(sent, default))):
            ground = "default"
        if ground == "ungrounded" and any(option.get(FREE_TEXT) for option in options):
            ground = "free text"
        if isinstance(stated, bool):
            words = (*words, _plain_name(name))
        value = Value(self.macro, path, stated, sent, ground)
        return Grounded(value, words, bool(choices) or isinstance(stated, bool), _as_json(default) if ground == "ungrounded" else None)

    def _is_said(self, option: Schema, stated: Any, name: str, words: Sequence[str]) -> bool:
        said = self.heard.goal
        if isinstance(stated, bool):
            on, off = ((*_words(option, value, named=False),) for value in (True, False))
            return (
                _is_switched(said.loose, (_plain_name(name), *on), stated)
                or _is_switched(said.loose, off, not stated)
                or holds(said.loose, json.dumps(stated))
            )
        if any(holds(said.loose, word) for word in words):
            return True
        match stated:
            case str() if QUANTITY in option:
                return holds(said.tight, tightly(normal(stated)))
            case str() if "enum" not in option and "const" not in option:
                text = normal(stated)
                parts = _OWNER_NAME.fullmatch(text)
                return holds(said.normal, text) or (parts is not None and all(map(self._stands_alone, parts.groups())))
            case int() | float() if QUANTITY not in option:
                return number_of(stated) in said.numbers
        return False

    def _stands_alone(self, word: str) -> bool:
        return word in self.heard.goal.words and any(map(str.isalpha, word))


def _may_be(option: Schema, value: Any) -> bool:
    """Whether a value may be meant by a part of a schema; exact enough to tell the members of a union apart."""
    kinds = option.get("type")
    if kinds is not None and not _TYPES[type(value)] & (set(kinds) if isinstance(kinds, list) else {kinds}):
        return False
    if "const" in option and not _same(value, option["const"]):
        return False
    if "enum" in option and not any(_same(value, one) for one in option["enum"]):
        return False
    if not isinstance(value, dict) or "properties" not in option:
        return True
    fields: Mapping[str, Any] = option["properties"]
    constants = (key for key in fields.keys() & value.keys() if isinstance(fields[key], dict) and "const" in fields[key])
    return (
        value.keys() <= fields.keys()
        and set(option.get("required", ())) <= value.keys()
        and all(_same(value[key], fields[key]["const"]) for key in constants)
    )


def _words(option: Schema, value: Any, *, named: bool) -> Iterator[str]:
    """How a goal can state a value: by declared words, and an enum's text by itself, in the singular or plural."""
    key = value if isinstance(value, str) else json.dumps(value)
    for declared in option.get(WORDS, {}).get(key, ()):
        yield loosely(normal(declared))
    if named and isinstance(value, str):
        name = loosely(normal(value))
        yield name
        if not name.endswith("s"):
            yield f"{name}s"
        elif len(name) > 4 and not name.endswith("ss"):
            yield name[:-1]


def _plain_name(field: str) -> str:
    """How a goal names a boolean's field: "dry run" for `dry_run`, "public" for `is_public`."""
    return _VERB.sub("", loosely(normal(field)))


def _is_switched(text: str, phrases: Sequence[str], wanted: bool) -> bool:
    """Whether a text states a boolean by words for true: "dry run" does, "no dry run" and "dry run: off" state the other one."""
    for start, end in (place for phrase in phrases for place in places(text, phrase)):
        switch = _SWITCHED.match(text, end)
        if wanted is (switch[1] in _ON if switch else _NEGATED.search(text[max(0, start - 60) : start]) is None):
            return True
    return False


def _is_alike(stated: Any, context: str | float) -> bool:
    """Whether a value is what the context says."""
    if isinstance(stated, bool) or isinstance(context, bool):
        return stated is context
    if isinstance(stated, str) and isinstance(context, str):
        return bool(stated.strip()) and tightly(normal(stated)) == tightly(normal(context))
    number = number_of(stated)
    told = number_of(context) if not isinstance(context, str) else number_said(normal(context))
    return number is not None and number == told


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1."""
    return _as_json(one) == _as_json(other) or (number_of(one) is not None and number_of(one) == number_of(other))


def _as_json(value: Any) -> str | None:
    return None if value is _NOTHING else json.dumps(value, sort_keys=True, default=str)
