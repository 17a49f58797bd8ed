"""Marks on input fields: who fills them, and in which words.

    repository: Annotated[str, given("repo")]                     filled by code from the goal's context
    strategy: Annotated[Strategy, words(manual=["by hand"])]      how else a goal may state a choice
    title: Annotated[str, free_text] = ""                         in the planner's own words
    write: Annotated[bool, person_only] = False                   never the planner's

They stand in the macro's schema, so that a planner with nothing but a catalogue heeds them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import AliasChoices, AliasPath, BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from heddle.errors import DefinitionError
from heddle.macros.quantities import TYPES, Kind, read, rendered
from heddle.macros.schema import QUANTITY, Schema, parts_of, rewritten, target

PERSON_ONLY: Final = "x-person-only"
GIVEN: Final = "x-given"
FREE_TEXT: Final = "x-free-text"
WORDS: Final = "x-words"

_NAMES: Final = {PERSON_ONLY: "person_only", GIVEN: "given", FREE_TEXT: "free_text", WORDS: "words"}
_HIDING: Final = (PERSON_ONLY, GIVEN)


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What an input field's schema says besides its type."""

    keyword: str
    value: Any

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core_schema), self.keyword: self.value}

    def __repr__(self) -> str:
        return _NAMES[self.keyword] if self.value is True else f"{_NAMES[self.keyword]}({self.value!r})"


person_only: Final = Mark(PERSON_ONLY, True)
"""Only a person may set the field: the planner never sees it, and a plan that sets it is not sent."""

free_text: Final = Mark(FREE_TEXT, True)
"""The planner may write the text in its own words: they need not stand in the goal."""


def given(key: str) -> Mark:
    """Code fills the field from the goal's context, where it has this key; the planner never sees it."""
    return Mark(GIVEN, key)


def words(**others: Sequence[str]) -> Mark:
    """How else a goal may state a choice, or a boolean's `true` and `false`: `words(manual=["by hand"])`.

    A choice that can be no keyword is written `words(**{"utf-8": ["utf8"]})`.
    """
    return Mark(WORDS, {choice: list(more) if isinstance(more, tuple) else more for choice, more in others.items()})


def given_fields(schema: Schema) -> dict[str, str]:
    """The fields of an input that are filled from the goal's context, each with its key there."""
    return {name: part[GIVEN] for name, part in schema.get("properties", {}).items() if isinstance(part, dict) and GIVEN in part}


def person_only_fields(model: type[BaseModel]) -> frozenset[str]:
    """All names by which a field marked `person_only` can be set: its own and its aliases."""
    marked = {
        name: field
        for name, field in model.model_fields.items()
        if any(isinstance(mark, Mark) and mark.keyword == PERSON_ONLY for mark in field.metadata)
    }
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


def planner_schema(schema: Schema, hidden: frozenset[str]) -> Schema:
    """The input schema as the planner sees it: without the fields that are not its to fill, and a quantity is text.

    Args:
        schema: of the input.
        hidden: names of fields that only a person may set.
    """
    unseen = hidden | given_fields(schema).keys()
    shown = {name: part for name, part in schema.get("properties", {}).items() if name not in unseen}
    required = [name for name in schema.get("required", []) if name not in unseen]
    in_words: Schema = rewritten({**schema, "properties": shown, "required": required}, _in_words)
    return in_words


def _in_words(part: Schema) -> Schema:
    """A part with text in the place of a quantity, and of its default."""
    kind = _kind(part)
    told = {**part, "default": _default_in_words(kind, part["default"])} if kind and "default" in part else part
    if QUANTITY not in part:
        return told
    return {"type": "string"} | {keyword: value for keyword, value in told.items() if keyword in {*_REMARKS, QUANTITY}}


def _kind(part: Schema) -> Kind | None:
    """The kind of quantity that a part is, that it is if it is not null, or that its items are; None if it is none."""
    if QUANTITY in part:
        kind: Kind = part[QUANTITY]
        return kind
    inner = (part.get("items"), *part.get("anyOf", ()))
    return next((found for one in inner if isinstance(one, dict) and (found := _kind(one))), None)


def _default_in_words(kind: Kind, default: Any) -> Any:
    match default:
        case list():
            return [_default_in_words(kind, item) for item in default]
        case None:
            return None
        case _:
            return rendered(kind, default)


def check_marks(schema: Schema, what: str) -> None:
    """See to it that every mark and quantity of an input makes sense where it stands.

    Args:
        schema: of the input.
        what: how to name the input in an error, such as "repo_triage's input".

    Raises:
        DefinitionError: one does not; it names the field.
    """
    own = [id(part) for part in schema.get("properties", {}).values()]
    for path, part in parts_of(schema, ""):
        if isinstance(part, dict):
            problem = next((told for told in _problems(part, schema, inner=id(part) not in own)), None)
            if problem:
                raise DefinitionError(f"{what} at {path} {problem}")


def _problems(part: Schema, root: Schema, *, inner: bool) -> Iterator[str]:
    marks = [keyword for keyword in _NAMES if keyword in part]
    hiding = [keyword for keyword in marks if keyword in _HIDING]
    if hiding and inner:
        yield f"is marked {_NAMES[hiding[0]]}, which only a field of the input itself can be, as a whole: mark that field"
    if hiding == list(_HIDING):
        yield "is marked person_only and given: leave out one, for either a person fills it or the goal's context"
    elif hiding and len(marks) > 1:
        yield f"is marked {_NAMES[hiding[0]]} and {_NAMES[marks[-1]]}: leave out {_NAMES[marks[-1]]}, for the planner never sees the field"
    if GIVEN in part and not (isinstance(part[GIVEN], str) and part[GIVEN].strip()):
        yield f"is marked given({part[GIVEN]!r}): say a key of the goal's context, such as given('repo')"
    meant = _meant(part, root)
    if FREE_TEXT in part and (meant.get("type") != "string" or meant.keys() & {"enum", "const", "format", QUANTITY}):
        yield "is marked free_text, which only a field of type str can be"
    if WORDS in part:
        yield from _problems_of_words(part[WORDS], _choices(meant))
    yield from _problems_of_quantity(part)


def _meant(part: Schema, root: Schema) -> Schema:
    """What a field holds if it is not null."""
    found = target(part, root)
    members = [one for one in found.get("anyOf", ()) if one != {"type": "null"}]
    return _meant(members[0], root) if len(members) == 1 else found


def _choices(meant: Schema) -> list[str]:
    match meant:
        case {"const": str(word)}:
            return [word]
        case {"enum": [*choices]}:
            return [choice for choice in choices if isinstance(choice, str)]
        case {"type": "boolean"}:
            return ["true", "false"]
        case _:
            return []


def _problems_of_words(others: Any, choices: Sequence[str]) -> Iterator[str]:
    if not choices:
        yield "is marked words(…), which only a choice of words or a bool can be; of a list mark the items"
        return
    if not (isinstance(others, dict) and others and all(map(_are_words, others.values()))):
        yield "is marked words(…), and has to say at least one word for a choice, in a list: words(manual=['by hand'])"
        return
    if unknown := [choice for choice in others if choice not in choices]:
        yield f"has words for {unknown[0]!r}, which is none of its values: {', '.join(choices)}"
    meaning = {_folded(choice): choice for choice in choices}
    for choice, more in others.items():
        for word in more:
            if meaning.setdefault(_folded(word), choice) != choice:
                yield f"has the words {word!r} for {choice!r} and for {meaning[_folded(word)]!r}: a goal that says them would mean either"


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) and word.strip() for word in value)


def _folded(word: str) -> str:
    return " ".join(word.casefold().split())


_WITH_ZONE: Final = re.compile(r"(?:Z|[+-][0-9]{2}:[0-9]{2})\Z")
_BOUNDS: Final = frozenset({"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"})
_REMARKS: Final = frozenset({"title", "description", "default", "examples", "deprecated", *_NAMES})


def _problems_of_quantity(part: Schema) -> Iterator[str]:
    kind = _kind(part)
    if kind is None:
        return
    if QUANTITY in part and (kind not in [*TYPES] or part.get("type") != TYPES[kind]):
        yield f"is a quantity of an unknown kind, {kind!r}"
        return
    if any(_kind(one) != kind and one != {"type": "null"} for one in part.get("anyOf", ())):
        yield "may be a quantity or something else, and a text could mean either: make it two fields"
    if QUANTITY in part and (more := sorted(part.keys() - _REMARKS - {"type", QUANTITY} - (_BOUNDS if kind != "when" else frozenset()))):
        way = (
            "a moment has no bounds in a schema: check it in the handler"
            if kind == "when"
            else "it has the bounds of its number, ge, gt, le, lt"
        )
        yield f"is a quantity with {', '.join(more)}: {way}"
    if wrong := _wrong_default(kind, part.get("default")):
        yield wrong


def _wrong_default(kind: Kind, default: Any) -> str | None:
    """What is wrong with the default of a quantity, which no validator looks at: a handler gets it as it is."""
    for value in default if isinstance(default, list) else [default]:
        if isinstance(value, str) and kind != "when":
            return f"has the default {value!r}, and its handler would get this text: write the number of {kind}"
        if isinstance(value, str) and not _WITH_ZONE.search(value):
            return f"has the default {value!r}, which says no zone: write one, such as datetime(2026, 3, 1, tzinfo=UTC)"
        try:
            if value is not None:
                read(kind, value, None)
        except ValueError as error:
            return f"has a default that cannot be: {error}"
    return None
