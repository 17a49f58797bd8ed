"""Scores what a miner found in a corpus against the workflows that the corpus was made from.

A workflow is found by a sequence that has the same calls, no more and no less, in an order that its data flow allows. Every other
sequence that is reported is wrong, and so is the second one for a workflow that was found already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Literal

from tests.gate.corpus import Argument, Constant, Flow, Parameter, Text, Workflow

Kind = Literal["constant", "parameter", "flow"]


@dataclass(frozen=True, slots=True)
class Found:
    """A sequence that a miner reports: its calls, such as `Forge.latest`, and for each call what sort of thing each argument is."""

    calls: tuple[str, ...]
    arguments: tuple[Mapping[str, Kind], ...]
    support: int

    def __str__(self) -> str:
        return f"{' > '.join(self.calls)} ({self.support} sessions)"


@dataclass(slots=True)
class Score:
    """Shares from 0 to 1, and a sentence on everything that was missed."""

    recall: float = 0.0
    precision: float = 0.0
    arguments: float = 0.0
    counted: int = 0
    misses: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        figures = f"recall {self.recall:.3f}, precision {self.precision:.3f}, arguments {self.arguments:.3f} of {self.counted}"
        return "\n".join([figures, *(f"  {miss}" for miss in self.misses)])


def score(workflows: Sequence[Workflow], found: Sequence[Found]) -> Score:
    """How much of the truth was found, and how much of what was found is true."""
    scored = Score()
    left = list(workflows)
    right = total = matched = 0
    for one in sorted(found, key=lambda one: -one.support):
        fits = [(workflow, steps) for workflow in left if (steps := _same(workflow, one)) is not None]
        if not fits:
            scored.misses.append(f"wrong: {one}")
            continue
        workflow, steps = fits[0]
        left.remove(workflow)
        matched += 1
        for call, number in enumerate(steps):
            for name, argument in workflow.steps[number].arguments.items():
                total += 1
                said = one.arguments[call].get(name)
                truth = kind_of(argument, workflow)
                if said == truth:
                    right += 1
                else:
                    scored.misses.append(f"argument: {one.calls[call]} {name} is a {truth}, found as {said}, in {one}")
    scored.misses += [f"not found: {' > '.join(workflow.methods)}" for workflow in left]
    scored.recall = matched / len(workflows)
    scored.precision = matched / len(found) if found else 0.0
    scored.arguments = right / total if total else 0.0
    scored.counted = total
    return scored


def kind_of(argument: Argument, workflow: Workflow) -> Kind:
    """What sort of thing an argument is; a text with results in it is a flow.

    A result's field that only echoes an argument of its call is that argument, in a text too: no log can tell the two apart.
    """
    match argument:
        case Constant():
            return "constant"
        case Parameter():
            return "parameter"
        case Flow(step, (str(name),)) if name in workflow.steps[step].arguments:
            return kind_of(workflow.steps[step].arguments[name], workflow)
        case Flow():
            return "flow"
        case Text(parts):
            kinds = {kind_of(part, workflow) for part in parts if isinstance(part, Flow)}
            return "flow" if "flow" in kinds else "parameter" if "parameter" in kinds else "constant"


def _same(workflow: Workflow, found: Found) -> tuple[int, ...] | None:
    """Which step of the workflow each call is, if they are the same; where a method comes twice, the likelier way round."""
    if sorted(workflow.methods) != sorted(found.calls):
        return None
    ways = (
        way
        for way in permutations(range(len(workflow.steps)))
        if all(workflow.steps[number].method.name == call for number, call in zip(way, found.calls, strict=True))
    )
    able = [way for way in ways if _in_order(workflow, way)]
    return max(able, key=lambda way: _agreeing(workflow, way, found), default=None)


def _in_order(workflow: Workflow, way: tuple[int, ...]) -> bool:
    return all(workflow.steps[number].needs() <= set(way[:at]) for at, number in enumerate(way))


def _agreeing(workflow: Workflow, way: tuple[int, ...], found: Found) -> int:
    return sum(
        found.arguments[call].get(name) == kind_of(argument, workflow)
        for call, number in enumerate(way)
        for name, argument in workflow.steps[number].arguments.items()
    )
