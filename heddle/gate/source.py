"""Writes a suggestion as the file of a macro. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor, log10
from typing import Final

from heddle.gate.expressions import expression, literal, one_line, taken
from heddle.gate.inputs import Field
from heddle.gate.naming import camel
from heddle.gate.patterns import Kind
from heddle.gate.shapes import name_in_words
from heddle.gate.steps import Step, Tool
from heddle.gate.suggest import Suggestion
from heddle.gate.templates import EACH, Constant, Given, Result, Template, Text, leaves_of

WIDTH: Final = 100
_NICE: Final = (1, 2, 5, 10)


def source_of(suggestion: Suggestion) -> str:
    """The file of a macro, as a person would go on with it."""
    body = [
        *_input_model(suggestion),
        *_made_here(suggestion),
        *_output_model(suggestion),
        *_handler(suggestion),
    ]
    head = [f'"""The macro `{suggestion.name}`: {one_line(suggestion.intent)}"""', ""]
    return "\n".join([*head, "from __future__ import annotations", "", *_imports(suggestion), "", "", *body]).rstrip() + "\n"


# --- what it imports


def _imports(suggestion: Suggestion) -> list[str]:
    tools = _tools(suggestion)
    from_typing = {"Protocol"} if any(tool.known is None for tool in tools) else set()
    wanted: set[tuple[str, str]] = {("pydantic", "BaseModel")}
    if (
        suggestion.fields
        or any("Field(" in text for step in suggestion.steps for text in step.result.definitions)
        or not _outputs(suggestion)
    ):
        wanted.add(("pydantic", "Field"))
    for shape in (
        *(one.shape for one in suggestion.fields),
        *(step.result for step in suggestion.steps if step.output or step.tool.known is None),
    ):
        wanted |= {pair for pair in shape.imports if pair[0] != "builtins"}
    if any(one.parameter.kind.sort == "enum" for one in suggestion.fields):
        from_typing.add("Literal")
    wanted |= {("typing", name) for name in from_typing}
    wanted |= {(tool.known.__module__, tool.name) for tool in tools if tool.known is not None}
    wanted |= {(error.module, error.name) for error in suggestion.errors if error.module not in {None, "builtins"}}
    heddle = {"macro", *(("retry" if error.retry else "reject") for error in suggestion.errors)}
    if any(tool.known is None for tool in tools):
        heddle.add("provides")
        wanted.add(("collections.abc", "AsyncIterator"))
    wanted |= {("heddle", name) for name in heddle}
    return list(_grouped(wanted))


def _grouped(wanted: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The import lines: Python's modules, then pydantic, then those of macros."""
    names: dict[str, list[str]] = {}
    for module, name in wanted:
        names.setdefault(module, []).append(name)

    def group(module: str) -> int:
        return 0 if module.partition(".")[0] in sys.stdlib_module_names else 1 if module == "pydantic" else 2

    before = None
    for module in sorted(names, key=lambda one: (group(one), one)):
        if before is not None and group(module) != group(before):
            yield ""
        yield f"from {module} import {', '.join(sorted(names[module]))}"
        before = module


def _tools(suggestion: Suggestion) -> list[Tool]:
    return list({step.tool.name: step.tool for step in suggestion.steps}.values())


# --- models


def _input_model(suggestion: Suggestion) -> list[str]:
    definitions = list(dict.fromkeys(text for one in suggestion.fields for text in one.shape.definitions))
    lines = [line for text in definitions for line in (*text.split("\n"), "", "")]
    lines += [f'class {camel(suggestion.name)}Request(BaseModel, frozen=True, extra="forbid"):', '    """What a run is given."""']
    fields = [line for one in sorted(suggestion.fields, key=lambda one: not one.required) for line in _field(one)]
    return [*lines, *(["", *fields] if fields else []), "", ""]


def _field(one: Field) -> list[str]:
    parameter = one.parameter
    bounds = _bounds(parameter.kind)
    text = (
        f"Literal[{', '.join(literal(choice) for choice in parameter.kind.choices)}]" if parameter.kind.sort == "enum" else one.shape.text
    )
    if parameter.kind.sort == "mixed" and one.shape.sort == "nothing":
        text = "str"
    first = [] if one.required else [literal(one.default)]
    examples = ", ".join(dict.fromkeys(one_line(str(value))[:40] for value in parameter.seen[:3]))
    words = parameter.name.replace("_", " ")
    described = [f"description={literal(f'The {words}, such as {examples}.')}"] if examples else []
    arguments = [*first, *bounds, *described]
    return [
        *([f"    # decide: {one_line(one.decide)}"] if one.decide else []),
        *_folded(f"    {parameter.name}: {text} = Field(", arguments, ")"),
    ]


def _folded(head: str, arguments: Sequence[str], tail: str) -> list[str]:
    """A line, or one for each argument where it would be too long."""
    line = f"{head}{', '.join(arguments)}{tail}"
    if len(line) <= WIDTH:
        return [line]
    indent = head[: len(head) - len(head.lstrip())]
    return [head, *(f"{indent}    {argument}," for argument in arguments), f"{indent}{tail}"]


def _bounds(kind: Kind) -> list[str]:
    match kind.sort:
        case "integer":
            assert kind.least is not None and kind.most is not None  # noqa: S101, PT018  # for the type checker: numbers have both
            return [f"ge={_floor(kind.least)}", f"le={_ceiling(kind.most)}"]
        case "path" | "text":
            return ["min_length=1"]
        case "id" | "pattern" if kind.pattern:
            return [f"pattern={literal(kind.pattern)}"]
        case _:
            return []


def _floor(least: float) -> int:
    """A lower bound that people would choose: 1 or 0 where nothing lower was seen."""
    return 1 if least >= 1 else 0 if least >= 0 else -_ceiling(-least)


def _ceiling(most: float) -> int:
    """An upper bound that people would choose: 1, 2 or 5 with zeros."""
    if most <= 1:
        return 1 if most > 0 else max(0, ceil(most))
    power = 10 ** floor(log10(most))
    return int(next(nice * power for nice in _NICE if nice * power >= most))


def _made_here(suggestion: Suggestion) -> list[str]:
    """Tools that no macro has yet: their results, their types, and a place for their providers; and errors of theirs."""
    lines: list[str] = []
    for tool in _tools(suggestion):
        if tool.known is None:
            lines += _tool(suggestion, tool)
    for error in suggestion.errors:
        if error.module is None:
            lines += [
                f"class {error.name}(Exception):",
                f'    """{name_in_words(camel(error.name))}, as it came up in the logs."""',
                "",
                "",
            ]
    return lines


def _tool(suggestion: Suggestion, tool: Tool) -> list[str]:
    steps = [step for step in suggestion.steps if step.tool.name == tool.name]
    lines = [
        line for text in dict.fromkeys(text for step in steps for text in step.result.definitions) for line in (*text.split("\n"), "", "")
    ]
    lines += [f"class {tool.name}(Protocol):", '    """A tool, as the logs show it."""', ""]
    for method, of_method in {step.method: [one for one in steps if one.method == step.method] for step in steps}.items():
        names = dict.fromkeys(name for step in of_method for name in step.arguments)
        arguments = "".join(f", {name}: {_argument_type(suggestion, of_method, name)}" for name in names)
        star = ", *" if names else ""
        lines += [
            f"    async def {method}(self{star}{arguments}) -> {of_method[0].result.text}:",
            f'        """{name_in_words(method)}."""',
            "        ...",
            "",
        ]
    return [
        *lines,
        "",
        "@provides",
        f"async def {tool.parameter}() -> AsyncIterator[{tool.name}]:",
        f'    """Makes the {tool.name}."""',
        f"    # decide: make the real {tool.name} here and yield it, as docs/how-to/tools.md shows; fixtures do not need it",
        f'    raise NotImplementedError("nothing makes a {tool.name} yet")',
        "    yield",
        "",
        "",
    ]


def _argument_type(suggestion: Suggestion, steps: list[Step], name: str) -> str:
    """The type of an argument of a tool that is written here: what is passed to it; with a default if a call passes nothing."""
    passed = [step.arguments[name] for step in steps if name in step.arguments]
    types = dict.fromkeys([*(_type_of(template, suggestion) for template in passed), *(["None"] if len(passed) < len(steps) else [])])
    told = "object" if "object" in types else " | ".join(types)
    return f"{told} = None" if len(passed) < len(steps) else told


def _type_of(template: Template, suggestion: Suggestion) -> str:
    match template:
        case Constant(value):
            return type(value).__name__ if isinstance(value, bool | int | float | str) else "None" if value is None else "object"
        case Given(name):
            return next(one.shape.text for one in suggestion.fields if one.parameter.name == name)
        case Result(call, way) if EACH not in way:
            return taken(suggestion.steps[call].result, way)[1].text
        case Text():
            return "str"
        case _:
            return "object"


def _outputs(suggestion: Suggestion) -> list[Step]:
    return [step for step in suggestion.steps if step.output]


def _output_model(suggestion: Suggestion) -> list[str]:
    lines = [f'class {camel(suggestion.name)}Report(BaseModel, frozen=True, extra="forbid"):', '    """What came of it."""', ""]
    outputs = _outputs(suggestion)
    lines += [f"    {step.output}: {step.result.text}" for step in outputs]
    if not outputs:
        lines.append('    done: bool = Field(True, description="Every call was made.")')
    return [*lines, "", ""]


# --- the handler


def _handler(suggestion: Suggestion) -> list[str]:
    title = camel(suggestion.name)
    lines = [f"# decide: {one_line(decision)}" for decision in suggestion.decisions]
    lines += ['# decide: `effects="none"` if it only looks, `effects="irreversible"` if it cannot be put back', "@macro(", "    version=1,"]
    if suggestion.errors:
        fails = ", ".join(f"{error.name}: {'retry(times=3, backoff=2.0)' if error.retry else 'reject'}" for error in suggestion.errors)
        lines.append(f"    fails={{{fails}}},")
    if suggestion.examples:
        examples = (_folded("        (", [literal(goal), literal(given)], "),") for goal, given in suggestion.examples)
        lines += ["    examples=[", *(line for example in examples for line in example), "    ],"]
    if suggestion.phrases:
        lines += ["    phrases=[", *(f"        {literal(phrase)}," for phrase in suggestion.phrases), "    ],"]
    tools = ", ".join(f"{tool.parameter}: {tool.name}" for tool in _tools(suggestion))
    lines += [")", f"async def {suggestion.name}(request: {title}Request, *, {tools}) -> {title}Report:"]
    lines += [
        f'    """{one_line(suggestion.intent)}',
        "",
        f"    Found in {suggestion.pattern.support} sessions: {suggestion.pattern.name}.",
        '    """',
    ]
    for number, step in enumerate(suggestion.steps):
        lines += [f"    # decide: {one_line(decision)}" for decision in step.decide]
        lines += _call(suggestion, number, step)
    given = ", ".join(f"{step.output}={step.variable}" for step in _outputs(suggestion))
    return [*lines, f"    return {title}Report({given})", ""]


def _call(suggestion: Suggestion, number: int, step: Step) -> list[str]:
    used = any(
        isinstance(leaf, Result) and leaf.call == number
        for other in suggestion.steps
        for template in other.arguments.values()
        for leaf in leaves_of(template)
    )
    target = f"{step.variable} = " if used or step.output else ""
    wait = "await " if step.is_async else ""
    arguments = [f"{name}={expression(template, suggestion.steps)}" for name, template in step.arguments.items()]
    return _folded(f"    {target}{wait}{step.tool.parameter}.{step.method}(", arguments, ")")
