"""Fixtures: what a macro is given, what its tools answer, and what must come of it. Read and written here, run elsewhere.

A fixture is a YAML file in `fixtures/<macro>/` beside the macro:

    version: 1                     # of the macro; the newest unless given
    input: {repository: acme/checkout, count: 2}
    tools:
      Forge:                       # a tool, by the name of its type
        latest: [...]              # what the method returns, each time it is called; a relative Path is beside the fixture
        annotate: {raises: Busy}   # or the error that it raises, perhaps with its `message`
        between:                   # or what every call is given (the arguments that matter) and what it returns or raises
          calls:
            - {given: {since: v1}, answer: [...]}
            - {given: {since: v2}, raises: UnknownRef}
    output: {processed: 2, ...}    # or `fails: {error: Busy}`, or `fails: {code: invalid_payload}`
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, Field, PlainValidator, ValidationError
from pydantic_core import to_json

from heddle.errors import Code, DefinitionError
from heddle.macros.differences import Way
from heddle.macros.loading import AnyMacro
from heddle.macros.macro import explain_fields
from heddle.macros.signatures import Where
from heddle.strict_yaml import AsJson


class Failing(BaseModel, frozen=True, extra="forbid"):
    """How a run is to fail: with an error that the macro declares, by its class's name, or with a dead-letter code, or both."""

    error: str | None = None
    code: Code | None = None

    def __str__(self) -> str:
        return " and ".join([*([self.error] if self.error else []), *([f"code {self.code.value}"] if self.code else [])])


class Answer(BaseModel, frozen=True, extra="forbid"):
    """One answer of a tool's method.

    Attributes:
        given: arguments that the call must have, by the parameters' names; others may be what they like.
        answer: what it returns, as JSON.
        raises: the error that it raises instead, by its class's name.
        message: that error's words.
    """

    given: dict[str, Any] = {}
    answer: Any = None
    raises: str | None = None
    message: str = "as the fixture says"


@dataclass(frozen=True, slots=True)
class Script:
    """What a method answers: the same as often as it is called, if at all; or, for `each`, one answer to a call, none left over."""

    answers: tuple[Answer, ...]
    each: bool = False


@dataclass(frozen=True, slots=True)
class Fixture:
    """One recorded run; without `fails`, `output` is what must come of it.

    Attributes:
        path: the file.
        tools: what their methods answer, by the tool's name and the method's.
        version: of the macro; None for the newest.
    """

    path: Path
    input: dict[str, Any]
    tools: Mapping[str, Mapping[str, Script]]
    output: Any = None
    fails: Failing | None = None
    version: int | None = None

    def place(self, *way: str | int) -> Where:
        """Where a part of the file stands, such as `place("output", "results", 0)`; the nearest that is there."""
        return place(self.path, way)


def fixture_folder(macro: AnyMacro) -> Path:
    """Where a macro's fixtures are: `fixtures/<macro>` beside the file that defines it."""
    return Path(inspect.getfile(inspect.unwrap(macro.handler))).parent / "fixtures" / macro.name


def read_fixtures(folder: Path) -> list[Fixture]:
    """The fixtures in a macro's folder, by file name.

    Raises:
        DefinitionError: a file is not a fixture; it says where and why.
    """
    return [read_fixture(path) for path in fixture_files(folder)]


def fixture_files(folder: Path) -> list[Path]:
    """The files in a macro's folder that are to be fixtures, by name."""
    return sorted(folder.glob("*.yaml"))


def read_fixture(path: Path) -> Fixture:
    """Read one fixture.

    Raises:
        DefinitionError: the file is not a fixture; it says where and why.
    """
    try:
        parsed = yaml.load(path.read_text(encoding="utf-8"), AsJson)  # noqa: S506  # it is a SafeLoader
        whole = to_json(parsed)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DefinitionError(f"{shown(path)}{line}: not YAML: {error.problem}") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DefinitionError(f"{shown(path)}: cannot be read: {error}") from None
    try:
        read = _File.model_validate_json(whole, strict=True)
    except ValidationError as error:
        way: Way = error.errors()[0]["loc"]
        raise DefinitionError(f"{place(path, way)}: {explain_fields(error)}; {_SHAPE}") from None
    if ("output" in read.model_fields_set) == (read.fails is not None) or (read.fails is not None and not str(read.fails)):
        raise DefinitionError(f"{place(path, ('fails',))}: either `output: …` or `fails: {{error: NAME}}` is to come of it; {_SHAPE}")
    return Fixture(path, read.input, read.tools or {}, read.output, read.fails, read.version)


_SHAPE: Final = "a fixture has `input`, perhaps `version` and `tools`, and `output` or `fails`"


def _script(value: Any) -> Script:
    match value:
        case {"calls": list(calls)} if len(value) == 1 and all(isinstance(call, dict) for call in calls):
            return Script(tuple(_answer(f"calls[{at}]", call) for at, call in enumerate(calls)), each=True)
        case {"raises": str()} if value.keys() <= {"raises", "message"}:
            return Script((_answer("it", value),))
        case _:
            return Script((Answer(answer=value),))


def _answer(what: str, value: dict[str, Any]) -> Answer:
    try:
        read = Answer.model_validate(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"{what}: {explain_fields(error)}") from None
    if ("answer" in value) == (read.raises is not None):
        raise ValueError(f"{what} has `answer` or `raises`, and perhaps `given`")
    return read


class _File(BaseModel, frozen=True, extra="forbid"):
    """A fixture's file."""

    version: int | None = Field(None, ge=1)
    input: dict[str, Any]
    tools: dict[str, dict[str, Annotated[Script, PlainValidator(_script)]]] | None = None
    output: Any = None
    fails: Failing | None = None


def fixture_text(
    version: int,
    given: Mapping[str, Any],
    tools: Mapping[str, Mapping[str, list[Answer]]],
    *,
    output: Any = None,
    fails: Failing | None = None,
) -> str:
    """A fixture as its file says it: every call with what it was given.

    Args:
        version: of the macro.
        given: the input.
        tools: what each call of a method answered, in their order, by the tool's name and the method's.
        output: what came of it, as JSON values, unless it failed.
        fails: how it failed.
    """
    told = {
        tool: {name: {"calls": [_answered(answer) for answer in answers]} for name, answers in methods.items()}
        for tool, methods in tools.items()
    }
    end = {"output": output} if fails is None else {"fails": fails.model_dump(mode="json", exclude_none=True)}
    whole = {"version": version, "input": dict(given), **({"tools": told} if told else {}), **end}
    return yaml.dump(whole, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)


def _answered(answer: Answer) -> dict[str, Any]:
    given = {"given": answer.given} if answer.given else {}
    return {**given, "answer": answer.answer} if answer.raises is None else {**given, "raises": answer.raises, "message": answer.message}


class _Writer(yaml.SafeDumper):
    """Writes a text of several lines as such, and never an anchor."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def _as_scalar(writer: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text in quotes where it has other line ends than a plain newline: YAML takes those for spaces."""
    style = '"' if _OTHER_LINE_ENDS & set(text) else "|" if "\n" in text else None
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_OTHER_LINE_ENDS: Final = frozenset("\r\x85\u2028\u2029")
_Writer.add_representer(str, _as_scalar)


def shown(path: Path) -> str:
    """A path as it is told: from the working folder on, if it is in there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def place(path: Path, way: Way) -> Where:
    """The line of a YAML file where a part of it stands, or the nearest part around it that is there."""
    node = yaml.compose(path.read_text(encoding="utf-8"), AsJson)
    line = 1
    for step in way:
        match node:
            case yaml.MappingNode(value=pairs):
                found = next(((key, value) for key, value in pairs if key.value == step), None)
            case yaml.SequenceNode(value=items) if isinstance(step, int) and step < len(items):
                found = (items[step], items[step])
            case _:
                found = None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return Where(shown(path), line)
