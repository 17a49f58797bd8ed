"""How the handler of a macro makes the calls of a pattern: the tools, the variables, and what becomes output. Pure."""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from heddle.errors import DefinitionError
from heddle.gate.naming import clashes, field_name, snake, unique
from heddle.gate.patterns import Pattern, PatternCall
from heddle.gate.sessions import Call
from heddle.gate.shapes import ANY, Shape, shape_from, shape_of
from heddle.gate.templates import Result, Template, Way, leaves_of
from heddle.macros.schema import compile_schema
from heddle.macros.standins import Method, method_of, methods_of
from heddle.macros.tools import tool_name


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the macro: its type's name and the parameter that it is injected by; `known` is the type, if macros have it already."""

    name: str
    parameter: str
    known: Any = None


@dataclass(frozen=True, slots=True)
class Step:
    """One call as the handler makes it."""

    tool: Tool
    method: str
    is_async: bool
    arguments: Mapping[str, Template]
    result: Shape
    variable: str
    output: str | None
    decide: tuple[str, ...] = ()


def steps_of(pattern: Pattern, runs: Sequence[Sequence[Call]], tools: Mapping[str, Any], titles: set[str]) -> tuple[Step, ...]:
    """The calls of a pattern as a handler makes them.

    Args:
        pattern: what sessions have in common.
        runs: the calls of each of its runs.
        tools: the types of the tools that macros have already, by name.
        titles: names of the file that are taken; those of tools and of models of results are noted there.

    Raises:
        DefinitionError: no fixture can hold what a tool's method answers.
    """
    of_name = _tools_of(pattern, tools, titles)
    variables = {"request", *titles, *(tool.parameter for tool in of_name.values())}
    leaves = (leaf for call in pattern.calls for template in call.arguments.values() for leaf in leaves_of(template))
    taken = [leaf for leaf in leaves if isinstance(leaf, Result)]
    outputs: set[str] = set()
    shapes: dict[str, Shape] = {}
    steps = []
    for number, call in enumerate(pattern.calls):
        tool = of_name[call.tool]
        method = method_of(tool.known, call.method) if tool.known is not None else None
        if call.name not in shapes:
            results = [run[at].result for run in runs for at, one in enumerate(pattern.calls) if one.name == call.name]
            shapes[call.name] = _result_shape(
                call, method, results, [one.way for one in taken if pattern.calls[one.call].name == call.name], titles
            )
        result = shapes[call.name]
        variable = unique(snake(call.method), variables)
        variables.add(variable)
        wanted = number == len(pattern.calls) - 1 or number not in {one.call for one in taken}
        output = _output_name(call, outputs) if wanted and _can_be_output(result, tool) else None
        if output is not None:
            outputs.add(output)
        steps.append(
            Step(
                tool=tool,
                method=call.method,
                is_async=method is None or method.is_async,
                arguments=call.arguments,
                result=result,
                variable=variable,
                output=output,
                decide=tuple(_open(call.arguments, call.optional, tool, call.method)),
            )
        )
    return tuple(steps)


def _tools_of(pattern: Pattern, tools: Mapping[str, Any], titles: set[str]) -> dict[str, Tool]:
    """The tools of a pattern, by the names that it calls them."""
    found: dict[str, Tool] = {}
    parameters = {"request", *titles}
    for call in pattern.calls:
        if call.tool not in found:
            known = known_tool(pattern, call.tool, tools)
            name = tool_name(known) if known is not None else unique(call.tool, titles)
            found[call.tool] = Tool(name, unique(snake(call.tool), parameters), known)
            parameters.add(found[call.tool].parameter)
    titles.update(tool.name for tool in found.values())
    return found


def known_tool(pattern: Pattern, name: str, tools: Mapping[str, Any]) -> Any:
    """The type of a tool that macros have already; None if none has all that is called of it."""
    known = tools.get(name)
    calls = [call for call in pattern.calls if call.tool == name]
    return known if known is not None and all(_takes(known, call) for call in calls) else None


def _takes(tool: Any, call: PatternCall) -> bool:
    """Has a tool such a method, and can it be called so?"""
    if call.method not in methods_of(tool):
        return False
    try:
        method_of(tool, call.method).signature.bind(**call.arguments)
    except TypeError:
        return False
    return True


def _result_shape(call: PatternCall, method: Method | None, results: Sequence[Any], taken: Sequence[Way], titles: set[str]) -> Shape:
    """What a call gives: what the method promises, or a model of what was seen; JSON as it is where no model gives all that is taken of it."""
    if method is not None:
        return shape_of(method.signature.return_annotation)
    made = {*titles}
    shape = shape_from(results, f"{call.tool} {call.method} result", made)
    if not all(shape.gives(way) for way in taken):
        return ANY
    titles |= made
    return shape


def _output_name(call: PatternCall, outputs: AbstractSet[str]) -> str:
    own = snake(call.method)
    return field_name((call.tool, call.method, "result"), outputs) if clashes(own) else unique(own, outputs)


def _can_be_output(shape: Shape, tool: Tool) -> bool:
    """Can it be part of a macro's output, which has no untyped part?"""
    if shape.sort in {"nothing", "other"}:
        return False
    if tool.known is None:
        return True
    try:
        names = {name: getattr(sys.modules[module], name) for module, name in shape.imports}
        compile_schema(eval(shape.text, {**names}), "it", "serialization")  # noqa: S307  # the text is our own
    except (DefinitionError, KeyError, NameError, AttributeError):
        return False
    return True


def _open(arguments: Mapping[str, Template], optional: AbstractSet[str], tool: Tool, method: str) -> list[str]:
    """What is left open about a call's arguments."""
    found = [f"some runs left out {name}" for name in sorted(optional)]
    hints = typing.get_type_hints(getattr(tool.known, method)) if tool.known is not None else {}
    for name in arguments:
        shape = shape_of(hints[name]) if name in hints else None
        if shape is not None and shape.sort in {"model", "other"}:
            found.append(f"{method} takes {name} as {shape.text}, and this passes plain values: convert them")
    return found
