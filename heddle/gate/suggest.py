"""Makes a macro of a pattern: its file, and fixtures from the runs. Pure; `source` writes what is decided here.

What the runs leave open is decided by a person: such a line of the file has `# decide:` above it.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from heddle.errors import DefinitionError
from heddle.gate.generalise import at_way
from heddle.gate.kinds import is_stated
from heddle.gate.mining import Run
from heddle.gate.naming import camel, clashes, field_name, macro_name, snake, unique
from heddle.gate.patterns import (
    Constant,
    Entries,
    Fields,
    Given,
    Items,
    Parameter,
    Pattern,
    PatternCall,
    Result,
    Template,
    Text,
    leaves_of,
)
from heddle.gate.reading import Session
from heddle.gate.sessions import Call
from heddle.gate.shapes import Shape, shape_from, shape_of
from heddle.macros.fixtures import Answer
from heddle.macros.schema import compile_schema

AGAIN: Final = 0.1
"""A last call that so many runs made once more may be a loop."""
MOST_EXAMPLES: Final = 4
MOST_FIXTURES: Final = 3
MOST_PHRASES: Final = 3
_SPECIAL: Final = re.compile(r"[()\[\]{}<>|\"“”„«»\\]")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the macro: its type's name and the parameter that it is injected by; `known` is the type, if macros have it already."""

    name: str
    parameter: str
    known: Any = None


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the input."""

    parameter: Parameter
    shape: Shape
    required: bool
    default: Any = None
    decide: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One call as the handler makes it."""

    tool: Tool
    method: str
    is_async: bool
    arguments: Mapping[str, Template]
    positional: AbstractSet[str]
    result: Shape
    variable: str
    output: str | None
    decide: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Error:
    """A declared failure: `known` if the tool's module has it; it is tried again if that helped before."""

    name: str
    retry: bool
    module: str | None
    step: int
    message: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A fixture without its output, which a run of the macro gives."""

    name: str
    input: dict[str, Any]
    answers: dict[str, dict[str, list[Answer]]]
    fails: str | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A macro that does what a pattern does.

    Attributes:
        decisions: what a person must decide of the whole; of its parts, the parts say it.
    """

    name: str
    intent: str
    pattern: Pattern
    fields: tuple[Field, ...]
    steps: tuple[Step, ...]
    errors: tuple[Error, ...]
    examples: tuple[tuple[str, dict[str, Any]], ...]
    phrases: tuple[str, ...]
    fixtures: tuple[Draft, ...]
    decisions: tuple[str, ...] = ()
    taken: frozenset[str] = field(default=frozenset())


def suggest(
    pattern: Pattern,
    sessions: Sequence[Session],
    tools: Mapping[str, Any],
    taken: AbstractSet[str] = frozenset(),
    others: Sequence[Pattern] = (),
) -> Suggestion:
    """The macro for a pattern.

    Args:
        pattern: what sessions have in common.
        sessions: those that it was found in.
        tools: the types of the tools that macros have already, by name.
        taken: names of macros that are there.
        others: the other patterns; one that goes on after this one is a decision.
    """
    calls = [[sessions[run.session].calls[at] for at in run.calls] for run in pattern.runs]
    name = macro_name([call.method for call in pattern.calls], taken)
    titles = {camel(name), f"{camel(name)}Request", f"{camel(name)}Report"}
    steps = _steps(pattern, calls, tools, titles)
    fields = tuple(_field(parameter, calls, pattern, titles) for parameter in pattern.parameters)
    examples = _examples(pattern, fields, calls, sessions)
    intent = _intent(pattern, examples, fields)
    errors = _errors(pattern, steps, sessions)
    return Suggestion(
        name=name,
        intent=intent,
        pattern=pattern,
        fields=fields,
        steps=steps,
        errors=errors,
        examples=examples,
        phrases=_phrases(fields, calls),
        fixtures=tuple(_fixtures(pattern, steps, errors, calls)),
        decisions=(*_decisions(pattern, tools, others), *_made_again(pattern, sessions)),
        taken=frozenset(titles),
    )


# --- tools and calls


def _steps(pattern: Pattern, runs: Sequence[Sequence[Call]], tools: Mapping[str, Any], titles: set[str]) -> tuple[Step, ...]:
    of_name: dict[str, Tool] = {}
    for call in pattern.calls:
        known = _known(pattern, call.tool, tools)
        name = call.tool if known is not None else unique(camel(call.tool), titles)
        of_name.setdefault(call.tool, Tool(name, unique(snake(call.tool), {tool.parameter for tool in of_name.values()}), known))
    variables = {"request", *(tool.parameter for tool in of_name.values())}
    used = {
        leaf.call
        for call in pattern.calls
        for template in call.arguments.values()
        for leaf in leaves_of(template)
        if isinstance(leaf, Result)
    }
    outputs: set[str] = set()
    last = len(pattern.calls) - 1
    steps = []
    shapes: dict[str, Shape] = {}
    for number, call in enumerate(pattern.calls):
        tool = of_name[call.tool]
        if call.name not in shapes:
            shapes[call.name] = _result_shape(
                call.tool,
                call.method,
                tool,
                [run[at] for run in runs for at, one in enumerate(pattern.calls) if one.name == call.name],
                titles,
            )
        result = shapes[call.name]
        variable = unique(snake(call.method), variables)
        variables.add(variable)
        output = None
        if result.sort != "nothing" and (number == last or number not in used) and _can_be_output(result, tool):
            output = (
                field_name((call.tool, call.method, "result"), outputs)
                if clashes(snake(call.method))
                else unique(snake(call.method), outputs)
            )
            outputs.add(output)
        steps.append(
            Step(
                tool=tool,
                method=call.method,
                is_async=_is_async(tool, call.method),
                arguments=call.arguments,
                positional=_positional(tool, call.method),
                result=result,
                variable=variable,
                output=output,
                decide=tuple(_open(call.arguments, call.optional, tool, call.method)),
            )
        )
    return tuple(steps)


def _known(pattern: Pattern, name: str, tools: Mapping[str, Any]) -> Any:
    """The type of a tool that macros have already; None if none has all that is called of it."""
    known = tools.get(name)
    calls = [call for call in pattern.calls if call.tool == name]
    return known if known is not None and all(_takes(getattr(known, call.method, None), call) for call in calls) else None


def _takes(method: Any, call: PatternCall) -> bool:
    """Can a method be called so?"""
    if not callable(method):
        return False
    try:
        inspect.signature(method).bind(None, **call.arguments)  # it takes the tool itself first
    except (TypeError, ValueError):
        return False
    return True


def _method(tool: Tool, method: str) -> Any:
    """A known tool's method."""
    return getattr(tool.known, method)


def _result_shape(title: str, method: str, tool: Tool, calls: Sequence[Call], titles: set[str]) -> Shape:
    if tool.known is None:
        return shape_from([call.result for call in calls if call.error is None], f"{title} {method} result", titles)
    promised = typing.get_type_hints(_method(tool, method)).get("return")
    shape = shape_of(promised)
    arguments = typing.get_args(promised)
    return shape_of(arguments[-1]) if shape.sort == "other" and arguments else shape  # what is to be awaited


def _can_be_output(shape: Shape, tool: Tool) -> bool:
    """Can it be part of a macro's output, which has no untyped part?"""
    if shape.sort == "other":
        return False
    if tool.known is None:
        return True
    try:
        names = {name: getattr(sys.modules[module], name) for module, name in shape.imports}
        compile_schema(eval(shape.text, {**names}), "it", "serialization")  # noqa: S307  # the text is our own
    except (DefinitionError, KeyError, NameError, AttributeError):
        return False
    return True


def _is_async(tool: Tool, method: str) -> bool:
    if tool.known is None:
        return True
    found = _method(tool, method)
    returned = typing.get_origin(typing.get_type_hints(found).get("return"))
    return inspect.iscoroutinefunction(found) or (isinstance(returned, type) and issubclass(returned, typing.Awaitable))


def _positional(tool: Tool, method: str) -> frozenset[str]:
    if tool.known is None:
        return frozenset()
    parameters = inspect.signature(_method(tool, method)).parameters.values()
    return frozenset(one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_ONLY)


def _open(arguments: Mapping[str, Template], optional: AbstractSet[str], tool: Tool, method: str) -> list[str]:
    """What is left open about a call's arguments."""
    found = [f"some runs left out {name}" for name in sorted(optional)]
    hints = typing.get_type_hints(_method(tool, method)) if tool.known is not None else {}
    for name in arguments:
        shape = shape_of(hints[name]) if name in hints else None
        if shape is not None and shape.sort in {"model", "other"}:
            found.append(f"{method} takes {name} as {shape.text}, and this passes plain values: convert them")
    return found


# --- the input


def _field(parameter: Parameter, runs: Sequence[Sequence[Call]], pattern: Pattern, titles: set[str]) -> Field:
    shape = shape_from(parameter.seen, f"{parameter.name} item", titles)
    goals = any(call.goal for run in runs for call in run)
    usual, times = _usual(parameter.seen)
    if parameter.chosen is not None and not parameter.is_stated:
        source = pattern.calls[parameter.chosen.call]
        way = ".".join(map(str, parameter.chosen.way))
        return Field(parameter, shape, True, decide=f"whoever ran it chose this from the result of {source.name} ({way}): by what?")
    if not goals or parameter.is_stated:
        return Field(parameter, shape, True)
    if 2 * times >= len(parameter.seen):
        told = f"the goals do not say this; {times} of {len(parameter.seen)} runs had the default"
        return Field(parameter, shape, False, usual, told)
    return Field(
        parameter,
        shape,
        True,
        decide="the goals do not say this; where does it come from? A text that is written anew in every run needs a rule",
    )


def _usual(values: Sequence[Any]) -> tuple[Any, int]:
    told, times = Counter(map(repr, values)).most_common(1)[0]
    return next(value for value in values if repr(value) == told), times


def _examples(
    pattern: Pattern, fields: Sequence[Field], runs: Sequence[Sequence[Call]], sessions: Sequence[Session]
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Goals and what they stand for: of sessions that did little else first, those in which the goal states the fields."""
    found: dict[str, tuple[int, int, dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        goal = next((call.goal for call in run if call.goal), None)
        if goal is None or goal in found:
            continue
        beside = len(sessions[pattern.runs[number].session].calls) - len(run)
        unsaid = sum(one.required and not is_stated(goal, one.parameter.seen[number]) for one in fields)
        found[goal] = (unsaid, beside, _input(fields, number))
    best = sorted(found.items(), key=lambda item: item[1][:2])[:MOST_EXAMPLES]
    return tuple((goal, given) for goal, (_, _, given) in best)


def _input(fields: Sequence[Field], number: int) -> dict[str, Any]:
    """The input of a run, without what is the default anyway."""
    return {one.parameter.name: one.parameter.seen[number] for one in fields if one.required or one.parameter.seen[number] != one.default}


def _slotted(goal: str, fields: Sequence[Field], number: int) -> tuple[str, set[str]]:
    """A goal with slots in the place of what it states, and the fields that it states."""
    stated = set()
    told = goal
    by_length = sorted(fields, key=lambda one: -len(str(one.parameter.seen[number])))
    for one in by_length:
        value = one.parameter.seen[number]
        if isinstance(value, str | int | float) and not isinstance(value, bool) and is_stated(told, value):
            told = re.sub(rf"(?<![\w-]){re.escape(str(value))}(?![\w-])", f"{{{one.parameter.name}}}", told, count=1, flags=re.IGNORECASE)
            stated.add(one.parameter.name)
    return told, stated


def _phrases(fields: Sequence[Field], runs: Sequence[Sequence[Call]]) -> tuple[str, ...]:
    """Sentences that two goals or more have in common, with slots for the fields; those that leave nothing open."""
    counts: Counter[str] = Counter()
    goals = dict.fromkeys((call.goal, number) for number, run in enumerate(runs) for call in run[:1] if call.goal)
    required = {one.parameter.name for one in fields if one.required}
    for goal, number in goals:
        assert goal is not None  # noqa: S101  # for the type checker: only such goals are there
        if _SPECIAL.search(goal) or "\n" in goal:
            continue
        told, stated = _slotted(goal.strip().rstrip(".!?"), fields, number)
        others = [
            one for one in fields if not one.required and one.parameter.name not in stated and one.parameter.seen[number] != one.default
        ]
        if required <= stated and not others and not re.search(r"\}\s*\{", told):
            counts[told] += 1
    return tuple(phrase for phrase, times in counts.most_common(MOST_PHRASES) if times > 1)


def _intent(pattern: Pattern, examples: Sequence[tuple[str, dict[str, Any]]], fields: Sequence[Field]) -> str:
    """A line for the planner: a goal with its values named, or what is called."""
    if not examples:
        return f"Call {', then '.join(call.name for call in pattern.calls)}."
    goal, given = examples[0]
    told = " ".join(goal.split())
    for one in sorted(fields, key=lambda one: -len(str(given.get(one.parameter.name, "")))):
        value = given.get(one.parameter.name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and is_stated(told, value):
            words = one.parameter.name.replace("_", " ")
            told = re.sub(rf"(?<![\w-]){re.escape(str(value))}(?![\w-])", f"({words})", told, count=1, flags=re.IGNORECASE)
    told = told.replace("\\", "").replace('"', "'").strip().rstrip(".!?")
    return f"{told[:1].upper()}{told[1:160]}."


# --- failures and fixtures


def _errors(pattern: Pattern, steps: Sequence[Step], sessions: Sequence[Session]) -> tuple[Error, ...]:
    found: dict[str, Error] = {}
    for failure in pattern.failures:
        step = steps[failure.call]
        module = _module_of_error(failure.type, step.tool)
        if not failure.type.isidentifier() or (step.tool.known is not None and module is None):
            continue
        message = next((call.error.message for run in failure.runs for call in [_last(run, sessions)] if call.error), "")
        retry = failure.passed > 0 or (failure.type in found and found[failure.type].retry)
        if failure.type not in found:
            found[failure.type] = Error(failure.type, retry, module, failure.call, message)
    return tuple(found.values())


def _last(run: Run, sessions: Sequence[Session]) -> Call:
    return sessions[run.session].calls[run.calls[-1]]


def _module_of_error(name: str, tool: Tool) -> str | None:
    """The module that has a known tool's error; None where nobody has it."""
    if tool.known is None:
        return None
    kind = getattr(sys.modules.get(tool.known.__module__), name, None)
    return str(kind.__module__) if isinstance(kind, type) and issubclass(kind, Exception) else None


def _fixtures(pattern: Pattern, steps: Sequence[Step], errors: Sequence[Error], runs: Sequence[Sequence[Call]]) -> list[Draft]:
    """Runs that were kept whole, each with other input, the shortest first; and one for each declared failure."""
    whole = [number for number in range(len(runs)) if _kept_whole(pattern, runs, number)]
    by_input = {repr(_seen(pattern, number)): number for number in sorted(whole, key=lambda number: -len(repr(runs[number])))}
    chosen = sorted(by_input.values(), key=lambda number: len(repr(runs[number])))[:MOST_FIXTURES]
    drafts = [Draft(f"recorded_{at}", _seen(pattern, number), _answers(steps, runs[number])) for at, number in enumerate(chosen, 1)]
    for error in errors if chosen else ():
        run = list(runs[chosen[0]][: error.step + 1])
        answers = _answers(steps, run)
        step = steps[error.step]
        answers[step.tool.name][step.method][-1] = Answer(
            given=run[-1].arguments, raises=error.name, message=error.message or "as in the log"
        )
        drafts.append(Draft(snake(error.name).rstrip("_"), _seen(pattern, chosen[0]), answers, error.name))
    return drafts


def _seen(pattern: Pattern, number: int) -> dict[str, Any]:
    return {parameter.name: parameter.seen[number] for parameter in pattern.parameters}


def _kept_whole(pattern: Pattern, runs: Sequence[Sequence[Call]], number: int) -> bool:
    """Does a run show what the macro will do: nothing cut, and every argument what its template makes of the run?"""
    run = runs[number]
    return (
        not any(call.cut for call in run)
        and all(
            name in template_of and call.arguments[name] == value_of(template_of[name], _seen(pattern, number), run)
            for call, template_of in zip(run, (one.arguments for one in pattern.calls), strict=True)
            for name in call.arguments
        )
        and all(name in call.arguments for call, one in zip(run, pattern.calls, strict=True) for name in one.arguments)
    )


def value_of(template: Template, given: Mapping[str, Any], run: Sequence[Call]) -> Any:
    """What a template comes to in a run."""
    match template:
        case Constant(value):
            return value
        case Given(name):
            return given[name]
        case Result(call, way):
            return at_way(run[call].result, way)
        case Text(parts):
            return "".join(part if isinstance(part, str) else str(value_of(part, given, run)) for part in parts)
        case Items(items):
            return [value_of(item, given, run) for item in items]
        case Fields(fields):
            return {name: value_of(inner, given, run) for name, inner in fields.items()}
        case Entries(entries):
            return {value_of(key, given, run): value_of(inner, given, run) for key, inner in entries}


def _answers(steps: Sequence[Step], run: Sequence[Call]) -> dict[str, dict[str, list[Answer]]]:
    answers: dict[str, dict[str, list[Answer]]] = {}
    for step, call in zip(steps, run, strict=False):
        answers.setdefault(step.tool.name, {}).setdefault(step.method, []).append(Answer(given=call.arguments, answer=call.result))
    return answers


def _decisions(pattern: Pattern, tools: Mapping[str, Any], others: Sequence[Pattern]) -> list[str]:
    """What is open about the whole: tools that macros have, but not all that is called of them, and how other sessions went on."""
    called = dict.fromkeys(call.tool for call in pattern.calls)
    found = [
        f"macros have a {tool} without all that is called of it here: is this another, or does that one need more methods?"
        for tool in called
        if tool in tools and _known(pattern, tool, tools) is None
    ]
    mine = Counter(pattern.methods)
    for other in others:
        more = Counter(other.methods) - mine
        if more and not mine - Counter(other.methods):
            found.append(f"{other.support} other sessions did this and {', '.join(sorted(more))} besides: {other.name}")
    return found


def _made_again(pattern: Pattern, sessions: Sequence[Session]) -> list[str]:
    """The last call, if many runs made it once more: mostly for the next item of a list."""
    last = pattern.calls[-1].name
    if last == pattern.calls[0].name:
        return []  # what comes then may be the next run
    after = [next((call for call in sessions[run.session].calls[max(run.calls) + 1 :] if call.error is None), None) for run in pattern.runs]
    times = sum(call is not None and call.name == last for call in after)
    if times < 2 or times < AGAIN * len(pattern.runs):
        return []
    return [f"{times} of {len(pattern.runs)} runs called {last} again: does it go through a list? Then write the loop"]
