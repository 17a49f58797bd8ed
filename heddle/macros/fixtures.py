"""Fixtures: what a macro is given, what its tools answer, and what must come of it. Read and compared here, run elsewhere.

A fixture is a YAML file in `fixtures/<macro>/` beside the macros:

    input: {repository: acme/checkout, count: 2}
    tools:
      Forge:                       # a tool, by the name of its type
        latest: [...]              # what the method returns, each time it is called; a relative Path is beside the fixture
        annotate: {raises: Busy}   # or the error that it raises
    output: {processed: 2, ...}    # or `fails: {error: Busy}`
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from heddle.errors import DefinitionError
from heddle.macros.loading import AnyMacro
from heddle.macros.macro import explain_fields


@dataclass(frozen=True, slots=True)
class Fixture:
    """One recorded run; exactly one of `output` and `fails` is set, `fails` being the error's name."""

    path: Path
    input: dict[str, Any]
    tools: Mapping[str, Mapping[str, Any]]
    output: Any = None
    fails: str | None = None


def read_fixtures(folder: Path, macro: str) -> list[Fixture]:
    """The fixtures of a macro in `<folder>/<macro>/*.yaml`, by file name.

    Raises:
        DefinitionError: a file is not a fixture; it says which and why.
    """
    return [read_fixture(path) for path in sorted((folder / macro).glob("*.yaml"))]


def read_fixture(path: Path) -> Fixture:
    """Read one fixture.

    Raises:
        DefinitionError: the file is not a fixture; it says why.
    """
    try:
        parsed = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}") from None
    match parsed:
        case {"input": dict(given), **rest} if not rest.keys() - {"tools", "output", "fails"}:
            pass
        case _:
            raise DefinitionError(f"{path}: a fixture has `input`, perhaps `tools`, and `output` or `fails`")
    tools = _tools(rest.get("tools"), path)
    match rest:
        case {"output": output} if "fails" not in rest:
            return Fixture(path, given, tools, output=output)
        case {"fails": {"error": str(name)}} if "output" not in rest:
            return Fixture(path, given, tools, fails=name)
        case _:
            raise DefinitionError(f"{path}: a fixture has either `output: …` or `fails: {{error: NAME}}`")


_TOOLS = TypeAdapter(dict[str, dict[str, Any]])


def _tools(parsed: Any, path: Path) -> dict[str, dict[str, Any]]:
    try:
        return {} if parsed is None else _TOOLS.validate_python(parsed, strict=True)
    except ValidationError as error:
        raise DefinitionError(f"{path}: `tools:` is {{TOOL: {{METHOD: ANSWER}}}}: {explain_fields(error)}") from None


def difference(expected: Any, found: Any, path: str = "output") -> str | None:
    """The first place at which an output is not the expected one, in words; None if they are equal."""
    match expected, found:
        case dict(), dict():
            for key in (*expected, *(key for key in found if key not in expected)):
                if key not in found or key not in expected:
                    return f"{path}.{key} is {'missing' if key not in found else f'unexpected: {found[key]!r}'}"
                if told := difference(expected[key], found[key], f"{path}.{key}"):
                    return told
            return None
        case list(), list():
            if len(expected) != len(found):
                return f"{path} has {len(found)} items, not {len(expected)}"
            return next(
                (told for n, pair in enumerate(zip(expected, found, strict=True)) if (told := difference(*pair, f"{path}[{n}]"))), None
            )
        case _:
            return None if expected == found and type(expected) is type(found) else f"{path} is {found!r}, not {expected!r}"


def scripted_tools(macro: AnyMacro, fixture: Fixture) -> dict[Any, Any]:
    """Tools that answer what the fixture says, by type; one that the fixture does not script answers nothing.

    Raises:
        DefinitionError: the fixture scripts a tool or method that the macro's tools do not have, or an answer of another type.
    """
    by_name = {getattr(tool, "__name__", str(tool)): tool for tool in macro.tools.values()}
    if unknown := sorted(set(fixture.tools) - set(by_name)):
        raise DefinitionError(f"{fixture.path}: {macro.name} has no tool {', '.join(unknown)}; it has {', '.join(by_name) or 'none'}")
    return {tool: _ScriptedTool(tool, fixture.tools.get(name, {}), macro, fixture) for name, tool in by_name.items()}


class _ScriptedTool:
    """Stands in for a tool; each method gives its scripted answer as the type that the tool's own annotation promises."""

    def __init__(self, tool: Any, answers: Mapping[str, Any], macro: AnyMacro, fixture: Fixture) -> None:
        self._tool, self._answers, self._macro, self._fixture = tool, answers, macro, fixture
        for method in answers:
            if not callable(getattr(tool, method, None)):
                raise DefinitionError(f"{fixture.path}: {tool.__name__} has no method {method!r}")

    def __getattr__(self, method: str) -> Any:
        if method.startswith("__"):
            raise AttributeError(method)
        if method not in self._answers:
            raise DefinitionError(
                f"{self._fixture.path}: {self._macro.name} called {self._tool.__name__}.{method}, which is not scripted under `tools:`"
            )
        return self._call(method, self._answers[method])

    def _call(self, method: str, answer: Any) -> Any:
        async def call(*_args: Any, **_kwargs: Any) -> Any:
            match answer:
                case {"raises": str(name)}:
                    raise _error_called(name, self._macro, self._tool, self._fixture)("as the fixture says")
                case _:
                    return _as_promised(self._tool, method, answer, self._fixture)

        return call


def _as_promised(tool: Any, method: str, answer: Any, fixture: Fixture) -> Any:
    function = getattr(tool, method)
    promised = typing.get_type_hints(function).get("return", Any)
    try:
        given = TypeAdapter(promised).validate_python(answer)
    except ValidationError as error:
        raise DefinitionError(f"{fixture.path}: {tool.__name__}.{method} answers something else than it promises: {error}") from None
    return fixture.path.parent / given if isinstance(given, Path) and not given.is_absolute() else given


def _error_called(name: str, macro: AnyMacro, tool: Any, fixture: Fixture) -> type[BaseException]:
    declared = next((error for error in macro.fails if error.__name__ == name), None)
    found = declared or getattr(sys.modules.get(tool.__module__), name, None) or getattr(sys.modules["builtins"], name, None)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise DefinitionError(f"{fixture.path}: no error is called {name!r} in {macro.name} or its tools")
    return found
