"""Cases for a planner: goals, and the calls that each is to become.

```yaml
- goal: Check the last 3 PRs in acme/checkout and tag them
  expect:
    - macro: repo_triage
      arguments: {repository: acme/checkout, count: 3}
      accept: {label_strategy: [semantic, conventional]}   # any of these
      optional: [label_strategy]                           # and it may be left out
  tags: [single, paraphrase]
- goal: Book me a table for two
  expect: unsupported
  tags: [out of scope]
- goal: Find out why the build of acme/web is slow
  expect: {novel: investigation}
- goal: Which changes landed in the last two weeks?
  context: {repo: acme/checkout}       # optional, as it would come with the goal
  at: 2026-02-01T12:00:00Z             # optional, when it was asked
  expect: [{macro: repo_changes, arguments: {since: two weeks}}]
```
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, to_json

from heddle.errors import DefinitionError
from heddle.macros.marks import given_fields
from heddle.macros.quantities import converted
from heddle.macros.schema import Schema
from heddle.macros.validation import problems, validator_of
from heddle.messages import parse_time
from heddle.planning.offer import Offers
from heddle.planning.plan import NOVEL_PREFIX, UNSUPPORTED
from heddle.strict_yaml import AsJson

Part = TypeVar("Part", bound=BaseModel)

EVERYDAY: Final = 1_767_571_200.0
"""When a case is asked that does not say: 2026-01-05T00:00:00Z, a Monday. The same on every run."""


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that a goal is to become.

    Attributes:
        macro: its name.
        arguments: the values that are right, by field; a field that is not here has its default or is left out.
        optional: the fields that may be left out all the same.
    """

    macro: str
    arguments: Mapping[str, tuple[Any, ...]]
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Case:
    """A goal, and what is to become of it.

    Attributes:
        name: its number in the file, or its id.
        goal: free text.
        context: what comes with it.
        at: when it is asked, seconds since the epoch.
        expected: the calls, in any order; none if the goal is to be refused.
        tags: what sort of case it is.
        offers: the macros to plan it with; None for those at hand.
        loose: whether texts are alike that differ only in case, blanks and marks.
    """

    name: str
    goal: str
    expected: tuple[ExpectedCall, ...]
    context: Mapping[str, Any]
    at: float = EVERYDAY
    tags: tuple[str, ...] = ()
    offers: Offers | None = None
    loose: bool = False


class _Call(BaseModel, extra="forbid", frozen=True):
    macro: str
    arguments: dict[str, Any] = {}
    accept: dict[str, list[Any]] = {}
    optional: list[str] = []

    @model_validator(mode="after")
    def _each_field_once(self) -> _Call:
        if twice := sorted(self.arguments.keys() & self.accept.keys()):
            raise ValueError(f"{', '.join(twice)} stands under `arguments` and under `accept`: one of them is enough")
        if empty := sorted(name for name, values in self.accept.items() if not values):
            raise ValueError(f"accept.{empty[0]} is an empty list: name the values that are right")
        if nowhere := sorted(set(self.optional) - self.arguments.keys() - self.accept.keys()):
            raise ValueError(f"{nowhere[0]} is optional, and neither `arguments` nor `accept` says what it may be")
        return self


class _Novel(BaseModel, extra="forbid", frozen=True):
    novel: str


class _Case(BaseModel, extra="forbid", frozen=True):
    goal: str = Field(min_length=1)
    expect: Any
    context: dict[str, Any] = {}
    at: str | None = None
    tags: list[str] = []


def parse_cases(text: str, source: str) -> tuple[Case, ...]:
    """Read cases, YAML or JSON.

    Args:
        text: a list of cases as above.
        source: the file's name, for errors.

    Raises:
        DefinitionError: the text holds no cases, or some cannot be used; every problem at once, each with its case and field.
    """
    return cases_of(read_text(text, source), source)


def read_text(text: str, source: str) -> Any:
    """The text as JSON values; a YAML file's are those of the same JSON.

    Raises:
        DefinitionError: it is neither.
    """
    try:
        return json.loads(text) if source.endswith(".json") else json.loads(to_json(yaml.load(text, AsJson)))  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DefinitionError(f"{source}{line}: not YAML: {error.problem}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise DefinitionError(f"{source}: cannot be read: {error}") from None


def cases_of(parsed: Any, source: str) -> tuple[Case, ...]:
    """The cases in a list of them.

    Raises:
        DefinitionError: as `parse_cases` does.
    """
    if not isinstance(parsed, list) or not parsed:
        raise DefinitionError(f"{source}: must be a list of cases, each with `goal` and `expect`")
    found: list[Case] = []
    wrong: list[str] = []
    for number, given in enumerate(parsed, 1):
        try:
            found.append(_case(given, f"case {number}"))
        except ValueError as error:
            wrong.append(f"{source}: case {number}: {error}")
    if wrong:
        raise DefinitionError("\n".join(wrong))
    return tuple(found)


def _case(given: Any, name: str) -> Case:
    read = _part(_Case, given, "")
    return Case(
        name=name,
        goal=read.goal,
        expected=tuple(_expected(read.expect)),
        context=read.context,
        at=EVERYDAY if read.at is None else _time(read.at),
        tags=tuple(dict.fromkeys(read.tags)),
    )


def _time(text: str) -> float:
    try:
        return parse_time(text).timestamp()
    except ValueError as error:
        raise ValueError(f"at: {error}; write 2026-01-31T12:00:00Z") from None


def _expected(given: Any) -> Iterator[ExpectedCall]:
    match given:
        case "unsupported":
            return
        case {"novel": _}:
            yield ExpectedCall(f"{NOVEL_PREFIX}{_part(_Novel, given, 'expect.').novel}", {})
        case [_, *_]:
            for number, call in enumerate(given):
                read = _part(_Call, call, f"expect.{number}.")
                arguments = {name: (value,) for name, value in read.arguments.items()} | {k: tuple(v) for k, v in read.accept.items()}
                yield ExpectedCall(read.macro, arguments, frozenset(read.optional))
        case _:
            raise ValueError(f"expect: must be a list of {{macro: …, arguments: {{…}}}}, or {UNSUPPORTED}, or {{novel: NAME}}")


def _part(model: type[Part], given: Any, path: str) -> Part:
    """A part of a case.

    Raises:
        ValueError: it is none; it names the fields at fault.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{path.rstrip('.') or 'it'} must be a mapping with {' and '.join(_required(model))}")  # noqa: TRY004
    try:
        return model.model_validate(given, strict=True)
    except ValidationError as error:
        raise ValueError("; ".join(_told(path, one) for one in error.errors(include_url=False))) from None


def _required(model: type[BaseModel]) -> list[str]:
    return [f"`{name}`" for name, field in model.model_fields.items() if field.is_required()]


def _told(path: str, problem: ErrorDetails) -> str:
    where = f"{path}{'.'.join(map(str, problem['loc']))}".rstrip(".")
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def misfits(case: Case, offers: Offers) -> list[str]:
    """What macros cannot do of what a case expects: a macro or a field that is not there, a value that no field takes."""
    return [f"{case.name}: {told}" for call in case.expected for told in _misfits(call, offers, case.at)]


def _misfits(call: ExpectedCall, offers: Offers, now: float) -> Iterator[str]:
    if call.macro.startswith(NOVEL_PREFIX):
        return
    macro = offers.find(call.macro)
    if macro is None:
        yield f"there is no macro {call.macro!r}; there are {', '.join(sorted(offers.macros)) or 'none'}"
        return
    fields = {name: part for name, part in macro.schema.get("properties", {}).items() if name not in macro.hidden}
    for name, values in call.arguments.items():
        if name in fields:
            yield from (f"{call.macro}.{name}: {told}" for value in values if (told := _misfit(name, value, macro.schema, now)))
        else:
            yield f"{call.macro}.{name} is no field that a planner may set; there are {', '.join(sorted(fields)) or 'none'}"
    left = fields.keys() - given_fields(macro.schema).keys() - call.arguments.keys()
    if missing := [name for name in macro.schema.get("required", ()) if name in left]:
        yield f"{call.macro} requires {', '.join(missing)}, of which the case says nothing"


def _misfit(name: str, value: Any, schema: Schema, now: float) -> str | None:
    """Why a field does not take a value."""
    try:
        told = converted({name: value}, schema, now)[name]
    except ValueError as error:
        return str(error).removeprefix(f"{name}: ")
    definitions = {key: part for key, part in schema.items() if key == "$defs"}
    return problems(validator_of({**definitions, **schema["properties"][name]}), told)
