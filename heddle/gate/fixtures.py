"""Fixtures of a macro from recorded runs, and the errors that it declares, with a fixture for each. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from heddle.gate.mining import Run
from heddle.gate.naming import MOST_LETTERS, snake, type_name, unique
from heddle.gate.patterns import Pattern
from heddle.gate.reading import Session
from heddle.gate.sessions import Call
from heddle.gate.steps import Step, Tool
from heddle.gate.templates import value_of
from heddle.macros.fixtures import Answer

MOST_FIXTURES: Final = 3


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


def errors_of(pattern: Pattern, steps: Sequence[Step], sessions: Sequence[Session], titles: set[str]) -> tuple[Error, ...]:
    """The errors to declare: a known tool's own, Python's, and for a tool that is written here such as the logs name."""
    found: dict[str, Error] = {}
    for failure in pattern.failures:
        passed = failure.passed > 0
        if (known := found.get(failure.type)) is not None:
            found[failure.type] = replace(known, retry=known.retry or passed)
            continue
        tool = steps[failure.call].tool
        module = _module_of_error(failure.type, tool)
        if module is None and tool.known is not None:
            continue
        name = failure.type if module is not None else unique(type_name(failure.type)[:MOST_LETTERS], titles)
        titles.add(name)
        message = next((call.error.message for run in failure.runs for call in [_last(run, sessions)] if call.error), "")
        found[failure.type] = Error(name, passed, module, failure.call, message)
    return tuple(found.values())


def _last(run: Run, sessions: Sequence[Session]) -> Call:
    return sessions[run.session].calls[run.calls[-1]]


def _module_of_error(name: str, tool: Tool) -> str | None:
    """The module in which an error is: a known tool's, or Python's own; None where none has it."""
    for module in (getattr(tool.known, "__module__", ""), "builtins"):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError):  # which words alone do not make
            return module
    return None


def fixtures_of(pattern: Pattern, steps: Sequence[Step], errors: Sequence[Error], runs: Sequence[Sequence[Call]]) -> list[Draft]:
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
        name = unique(snake(error.name).rstrip("_")[:MOST_LETTERS], {draft.name for draft in drafts})
        drafts.append(Draft(name, _seen(pattern, chosen[0]), answers, error.name))
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


def _answers(steps: Sequence[Step], run: Sequence[Call]) -> dict[str, dict[str, list[Answer]]]:
    answers: dict[str, dict[str, list[Answer]]] = {}
    for step, call in zip(steps, run, strict=False):
        answers.setdefault(step.tool.name, {}).setdefault(step.method, []).append(Answer(given=call.arguments, answer=call.result))
    return answers
