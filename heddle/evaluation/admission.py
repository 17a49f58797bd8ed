"""Whether a model may plan goals: what is demanded of it, and a test on the user's own macros.

The test has two halves. Examples of macros that are not in the prompt are to become their calls. And with one macro taken away, its
example is to be refused: a model that always finds something to do is worse than none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel

from heddle.evaluation.cases import Case, ExpectedCall
from heddle.evaluation.scoring import Finding, Share, share
from heddle.llm.model import Facts
from heddle.macros.catalogue import Contract, contract_of
from heddle.macros.macro import Macro
from heddle.macros.marks import given_fields
from heddle.macros.schema import Schema, target
from heddle.macros.versioned import Versioned
from heddle.planning.goal import Asked
from heddle.planning.offer import Offer, Offers
from heddle.planning.plan import NOVEL_PREFIX
from heddle.planning.preselection import Index, index_of, selected
from heddle.planning.prompt import prefix_of

Demand: TypeAlias = Literal["parameters", "instruct", "bits", "examples"]
"""What a model must have; each can be waived by this name in `planner.admit`."""

T = TypeVar("T")

LEAST_PARAMETERS: Final = 6.5e9
LEAST_BITS: Final = 4.0
EXAMPLES_MARK: Final = 0.8
"""The share of examples of which exactly the right calls must be sent."""
NOTHING_SENT_MARK: Final = 0.8
"""The share of goals that no macro can do of which nothing may be sent, after every check."""
REFUSED_MARK: Final = 0.5
"""The share of these that the model itself must refuse; published figures for models of 7B are about two thirds."""
MOST_EXAMPLES: Final = 40
MOST_REFUSALS: Final = 20
"""Cases that a test has at most, so that it ends in minutes; every macro has its turn before one has a second."""
_FAILURES_TOLD: Final = 10
_ENDLESS: Final = 1 << 62

EXAMPLE: Final = "example"
REFUSAL: Final = "refusal"
"""The tags of the two sorts of cases; the macro's name is the other tag."""


def admission_cases(offers: Offers, budget: int = _ENDLESS) -> tuple[Case, ...]:
    """The test that some macros make: their examples that the prompt does not show, then a refusal for each macro.

    With one macro alone there is no refusal to test: without it there is nothing left to choose from.

    Args:
        offers: the macros.
        budget: tokens that a prompt may have; where not all macros fit, each goal's prompt shows other examples.
    """
    index = index_of(offers, prefix_of(offers))
    macros = [macro for macro in offers.newest() if macro.examples]
    examples = _in_turn([[case for case in _examples(macro) if not _is_shown(case, index, budget)] for macro in macros])
    refusals = [_refusal(macro, offers) for macro in _evenly(macros, MOST_REFUSALS)] if len(offers.macros) > 1 else []
    return (*islice(examples, MOST_EXAMPLES), *refusals)


def _is_shown(case: Case, index: Index, budget: int) -> bool:
    """Whether the prompt for a goal has it among the worked examples."""
    selection = selected(index, Asked(case.goal, case.context, case.at), budget)
    return case.goal in index.prefix.only(selection.names).examples


def _examples(macro: Offer) -> Iterator[Case]:
    for goal, arguments in macro.examples:
        stated = {name: (value,) for name, value in arguments.items() if name not in given_fields(macro.schema)}
        expected = (ExpectedCall(macro.name, stated),)
        yield Case(f"an example of {macro.name}", goal, expected, _context(macro, arguments), tags=(EXAMPLE, macro.name))


def _refusal(macro: Offer, offers: Offers) -> Case:
    goal, arguments = macro.examples[0]
    others = Versioned({name: versions for name, versions in offers.macros.items() if name != macro.name})
    return Case(f"an example of {macro.name} without it", goal, (), _context(macro, arguments), tags=(REFUSAL, macro.name), offers=others)


def _context(macro: Offer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A context that fills in what the macro takes from it: as its example has it, or something of the right type."""
    fields = macro.schema.get("properties", {})
    return {key: arguments.get(name, _some(target(fields[name], macro.schema))) for name, key in given_fields(macro.schema).items()}


def _some(part: Schema) -> Any:
    match part:
        case {"default": default}:
            return default
        case {"enum": [first, *_]} | {"const": first}:
            return first
        case {"x-quantity": "when"}:
            return "2026-01-05T00:00:00Z"
        case {"x-quantity": _} | {"type": "integer" | "number"}:
            return part.get("minimum", 1)
        case {"type": "boolean"}:
            return True
        case _:
            return "example"


def _in_turn(lists: Sequence[Sequence[T]]) -> Iterator[T]:
    """The first of each list, then the second of each, and so on."""
    for row in zip_longest(*([(item,) for item in items] for items in lists)):
        for cell in row:
            if cell is not None:
                yield cell[0]


def _evenly(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, from all over the sequence."""
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]


class Results(BaseModel, frozen=True):
    """What came of a test.

    Attributes:
        examples: of which exactly the right calls would be sent.
        nothing_sent: refusals of which no macro would run, after every check.
        refused: refusals that the model itself answered with `unsupported`, or with a category of novel goals.
        untested: macros of which the test had no example.
        failures: the first of the cases that went wrong, in words.
    """

    examples: Share
    nothing_sent: Share
    refused: Share
    untested: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def results(findings: Sequence[Finding], offers: Offers) -> Results:
    """What came of a test, from the findings of its cases."""
    examples = [one for one in findings if one.in_scope]
    refusals = [one for one in findings if not one.in_scope]
    tested = {call.macro for one in examples for call in one.attempt.case.expected}
    wrong = [_told(one) for one in findings if not (one.good or _is_novel(one))]
    return Results(
        examples=share(examples, lambda one: one.good),
        nothing_sent=share(refusals, lambda one: one.good or _is_novel(one)),
        refused=share(refusals, lambda one: one.answered == "unsupported" or _is_novel(one)),
        untested=tuple(sorted(offers.macros.keys() - tested)),
        failures=tuple(wrong[:_FAILURES_TOLD]),
    )


def _is_novel(finding: Finding) -> bool:
    """Whether a goal that no macro can do became a category of novel goals: no macro runs for it."""
    stated = finding.attempt.plan.stated
    return not finding.in_scope and bool(stated) and all(call.macro.startswith(NOVEL_PREFIX) for call in stated)


def _told(finding: Finding) -> str:
    case, plan = finding.attempt.case, finding.attempt.plan
    came = f"{plan.problem[0].value}: {plan.problem[1]}" if plan.problem else ", ".join(f"{c.macro}({c.arguments})" for c in plan.calls)
    return f"{case.name}: {case.goal!r} became {came}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model may plan goals.

    Attributes:
        admitted: whether it may.
        problems: why not; each says how to go on.
        warnings: what to tell with every goal: demands that are waived, and what nobody knows.
        facts: what is known of the model.
        results: of the test; None if there was none.
    """

    admitted: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    facts: Facts
    results: Results | None = None


def verdict(facts: Facts, tested: Results | None, waived: Collection[Demand]) -> Verdict:
    """Judge a model.

    A demand that it does not meet is a problem, or a warning if it is waived. What is not known of it is a warning: some servers
    tell nothing, and the test on the macros says more than a number.

    Args:
        facts: what is known of the model.
        tested: what came of its test; None to judge by the facts alone.
        waived: the demands that settings waive.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for demand, told, known in (*_told_of_facts(facts), *_told_of_test(tested)):
        if not known:
            warnings.append(told)
        elif demand in waived:
            warnings.append(f"{told}; waived by planner.admit")
        else:
            problems.append(f"{told}; use another model, or waive it: planner.admit = [{demand!r}]")
    if tested is None and "examples" in waived:
        warnings.append("the model was not tested on these macros; waived by planner.admit")
    return Verdict(not problems, tuple(problems), tuple(warnings), facts, tested)


def _told_of_facts(facts: Facts) -> Iterator[tuple[Demand, str, bool]]:
    """What is wrong with a model's facts or not known of them: the demand, in words, and whether it is known."""
    if facts.parameters is None:
        yield "parameters", "nobody knows how many parameters the model has", False
    elif facts.parameters < LEAST_PARAMETERS:
        yield (
            "parameters",
            f"the model has {facts.parameters / 1e9:.3g} billion parameters, and {LEAST_PARAMETERS / 1e9:g} are demanded",
            True,
        )
    if facts.instruct is None:
        yield "instruct", "nobody knows whether the model is tuned to follow instructions", False
    elif not facts.instruct:
        yield "instruct", "the model is not tuned to follow instructions", True
    if facts.bits is None:
        yield "bits", "nobody knows how many bits a weight of the model has", False
    elif facts.bits < LEAST_BITS:
        yield "bits", f"a weight of the model has {facts.bits:.3g} bits, and {LEAST_BITS:g} are demanded", True


def _told_of_test(tested: Results | None) -> Iterator[tuple[Demand, str, bool]]:
    if tested is None:
        return
    for of, mark, told in (
        (tested.examples, EXAMPLES_MARK, "examples of your macros became exactly their calls"),
        (tested.nothing_sent, NOTHING_SENT_MARK, "goals that no macro can do ended without a task"),
        (tested.refused, REFUSED_MARK, "goals that no macro can do were refused by the model itself"),
    ):
        if of.rate is not None and of.rate < mark:
            yield "examples", f"{of.count} of {of.of} {told}, and {mark:.0%} are demanded", True
    if tested.untested:
        names = ", ".join(tested.untested)
        yield "examples", f"the model was not tested on {names}: no example that its prompt does not show", False


def registry_digest(offers: Offers) -> str:
    """The first 12 hex digits of the sha256 of the contracts that can be planned: another as soon as one of them is another."""
    told = "\n".join(f"{macro.name} {_digest(macro)}" for macro in offers.newest())
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _digest(offer: Offer) -> str:
    match offer:
        case Contract():
            return offer.digest
        case Macro():
            return contract_of(offer).digest
        case _:
            raise TypeError(f"{type(offer).__name__} is neither a macro nor a contract")
