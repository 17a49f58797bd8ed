"""Makes a macro of a pattern: its file, and fixtures from the runs. Pure; `source` writes what is decided here.

What the runs leave open is decided by a person: such a line of the file has `# decide:` above it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from heddle.errors import DefinitionError
from heddle.gate.aligning import calls_of
from heddle.gate.fixtures import Draft, Error, errors_of, fixtures_of
from heddle.gate.inputs import Field, examples_of, field_of, intent_of, phrases_of
from heddle.gate.naming import TAKEN, camel, code_name, macro_name
from heddle.gate.patterns import Pattern
from heddle.gate.reading import Session
from heddle.gate.steps import Step, known_tool, steps_of

AGAIN: Final = 0.1
"""A last call that so many runs made once more may be a loop."""


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

    Raises:
        DefinitionError: something that is called has no name that code can have, or no fixture can hold what it answers.
    """
    for call in pattern.calls:
        if wrong := [name for name in (call.tool, call.method, *call.arguments) if name != code_name(name)]:
            raise DefinitionError(f"{call.name}: {wrong[0]!r} is no name that code can have")
    calls = [calls_of(run, sessions) for run in pattern.runs]
    name = macro_name([call.method for call in pattern.calls], taken)
    titles = {*TAKEN, name, f"{camel(name)}Request", f"{camel(name)}Report"}
    steps = steps_of(pattern, calls, tools, titles)
    fields = tuple(field_of(parameter, calls, pattern, titles) for parameter in pattern.parameters)
    examples = examples_of(pattern, fields, calls, sessions)
    intent = intent_of(pattern, examples, fields)
    errors = errors_of(pattern, steps, sessions, titles)
    return Suggestion(
        name=name,
        intent=intent,
        pattern=pattern,
        fields=fields,
        steps=steps,
        errors=errors,
        examples=examples,
        phrases=phrases_of(fields, calls),
        fixtures=tuple(fixtures_of(pattern, steps, errors, calls)),
        decisions=(*_decisions(pattern, tools, others), *_made_again(pattern, sessions)),
    )


def _decisions(pattern: Pattern, tools: Mapping[str, Any], others: Sequence[Pattern]) -> list[str]:
    """What is open about the whole: tools that macros have, but not all that is called of them, and how other sessions went on."""
    called = dict.fromkeys(call.tool for call in pattern.calls)
    found = [
        f"macros have a {tool} without all that is called of it here: is this another, or does that one need more methods?"
        for tool in called
        if tool in tools and known_tool(pattern, tool, tools) is None
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
