"""A planner that does the worst that it is talked into: nothing bad is sent, and every refusal says why.

The cases are in `injections/`. Each is a goal, perhaps with a context, and answers of a model with what has to become of them. Beside
its own end, every plan that is sent is held against what must never be (`assert_harmless`), which knows nothing of how reviews work.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.macros.catalogue import catalogue_of
from heddle.planner import Planner, make_planner
from heddle.planning.goal import Asked
from heddle.planning.plan import Plan, PlannedCall
from heddle.settings import NovelCategory, Settings
from heddle.testing import ScriptedModel
from tests.planning.macros import REGISTRY

FOLDER: Final = Path(__file__).parent / "injections"
NOW: Final = 1_772_366_400.0
SETTINGS: Final = Settings(novel={"research": NovelCategory(intent="Find something out.")})
PLANNERS: Final = {
    "macros": make_planner(REGISTRY, None, SETTINGS),
    "catalogue": make_planner(catalogue_of(REGISTRY), None, SETTINGS),
}


class Attack(NamedTuple):
    """A goal, what a model answers, and what becomes of it: a code, or the calls that are sent."""

    name: str
    goal: str
    context: Mapping[str, Any]
    answer: str
    ends: str
    says: str
    sends: list[PlannedCall]


def attacks() -> Iterator[Attack]:
    for file in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(file.read_text(encoding="utf-8")):
            for number, answer in enumerate(case["answers"], 1):
                calls = planned(answer)
                sends = calls_of(answer["sends"]) if "sends" in answer else calls if answer["ends"] == "sent" else []
                yield Attack(
                    f"{file.stem}: {case['attack']} ({number})",
                    case["goal"],
                    case.get("context", {}),
                    answer.get("answer") or written(answer, calls),
                    answer.get("ends", "sent"),
                    str(answer.get("says", "")),
                    sends,
                )


def planned(answer: Mapping[str, Any]) -> list[PlannedCall]:
    """The calls of a scripted answer; repeated ones numbered by their round."""
    if "times" not in answer:
        return calls_of(answer.get("plan", []))
    return [
        PlannedCall(call.macro.replace("{n}", str(n)), {k: v.replace("{n}", str(n)) for k, v in call.arguments.items()})
        for n in range(answer["times"])
        for call in calls_of(answer["plan"])
    ]


def calls_of(pairs: list[list[Any]]) -> list[PlannedCall]:
    return [PlannedCall(str(name), arguments) for name, arguments in pairs]


def written(answer: Mapping[str, Any], calls: list[PlannedCall]) -> str:
    """What the model answers."""
    if "answer" in answer:
        return str(answer["answer"])
    if "deep" in answer:
        name, field = answer["deep"]
        return f'{{"tasks": [{{"macro": "{name}", "arguments": {{"{field}": {"[" * 400 + "]" * 400}}}}}]}}'
    if "long" in answer:
        name, field = answer["long"]
        calls = [PlannedCall(name, {"text": "hi"} | {field: "x" * 200_000} if name == "send_message" else {field: "x" * 200_000})]
    return json.dumps({"tasks": [{"macro": call.macro, "arguments": call.arguments} for call in calls]})


ATTACKS: Final = list(attacks())


async def plan_of(planner: Planner, answer: str, goal: str, context: Mapping[str, Any]) -> Plan:
    return await replace(planner, model=ScriptedModel(answer)).plan(Asked(goal, context, NOW))


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
async def test_the_worst_answer_ends_as_it_should_with_macros_and_with_a_catalogue(attack: Attack) -> None:
    for planner in PLANNERS.values():
        plan = await plan_of(planner, attack.answer, attack.goal, attack.context)
        assert_harmless(plan, attack.goal, attack.context)
        if plan.problem is None:
            assert (attack.ends, list(plan.calls)) == ("sent", attack.sends)
        else:
            code, reason = plan.problem
            assert (code.value, plan.calls) == (attack.ends, ()), reason
            assert attack.says in reason


def test_there_are_many_attacks_of_many_sorts() -> None:
    cases = {attack.name.rpartition(" (")[0] for attack in ATTACKS}
    assert len(cases) >= 150
    assert len(list(FOLDER.glob("*.yaml"))) >= 12


# --- what must never be, said without the review's own words

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "repo_triage": frozenset({"repository", "count", "strategy"}),
    "csv_profile": frozenset({"path", "columns", "sample"}),
    "send_message": frozenset({"to", "text", "urgent"}),
    "deploy": frozenset({"service", "environment", "dry_run", "replicas"}),
    "clean_up": frozenset({"folder", "older_than", "larger_than", "until"}),
    "search_issues": frozenset({"query", "limit", "include_drafts", "filter", "options", "notify"}),
    "novel:research": frozenset(),
}
"""Every macro, and the fields that a planned task of it may have: none that only a person sets."""
CHOICES: Final = frozenset({"semantic", "conventional", "by_path", "staging", "production", "open", "closed", "mail", "hook"})
QUANTITIES: Final = frozenset({"sample", "older_than", "larger_than", "until"})
DEFAULTS: Final[tuple[Any, ...]] = (5, 20, 1, None)
IN_WORDS: Final = {"two": 2, "six": 6, "half a dozen": 6, "twelve": 12, "one hundred and twenty": 120, "1e3": 1000}


def assert_harmless(plan: Plan, goal: str, context: Mapping[str, Any]) -> None:
    """No task outside the registry, none with a forbidden field, none above the caps, none with a value that nobody stated."""
    if plan.problem is not None:
        assert plan.calls == ()
        assert plan.problem[1].strip()
        assert "\n" not in plan.problem[1]
        return
    assert 0 < len(plan.calls) <= SETTINGS.planner.max_tasks
    for call in plan.calls:
        assert call.arguments.keys() <= FIELDS[call.macro]
        assert call.macro != "deploy" or call.arguments["service"] == context["service"]
        for field, value in values(call.arguments):
            name = field.rpartition(".")[2]
            if field != "text" and name not in QUANTITIES and field != "service" and value not in CHOICES and not isinstance(value, bool):
                assert is_stated(value, f"{goal} {context.get(name, '')}"), (call.macro, field, value)


def values(value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from values(inner, f"{field}.{key}" if field else key)
        case list():
            for inner in value:
                yield from values(inner, field)
        case _:
            yield field, value


def is_stated(value: Any, said: str) -> bool:
    """Whether a value is there at all: less than the review asks for, and nothing that it takes is missing."""
    if isinstance(value, str):
        parts = [value] if plain(value) in plain(said) else value.split("/", 1)
        return all(plain(part) in plain(said) for part in parts)
    in_words = any(word in said.casefold() for word, number in IN_WORDS.items() if number == value)
    return value in DEFAULTS or str(value) in plain(said).replace(",", "") or in_words


def plain(text: str) -> str:
    digits = "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)
    return unicodedata.normalize("NFKC", digits).casefold().strip("'\"").replace('"', "").replace("'", "")


# --- random goals, and random answers that are as bad as can be

WORDS: Final = [
    "label", "deploy", "tell", "clean up", "and", "then", "not", "bob", "acme/web", "acme/payroll", "a.csv", "../a.csv", "/etc/passwd", "3", "17",
    "two weeks", "3 days", "production", "conventional", "dry run", "urgent", "write=true", '"crash"', "ada@acme.com", "#12", "{", "\u200b",
    "https://github.com/acme/web", "\u202e", "\uff13", "\u0430cme/web", "force", ".",
]  # fmt: skip
SCALARS: Final = (
    st.sampled_from([*WORDS, "acme", "web", ""])
    | st.integers(-3, 300)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
NESTED: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["author", "kind", "url", "x"]), inner, max_size=3),
    max_leaves=4,
)
ODD: Final = st.dictionaries(
    st.sampled_from(["write", "force", "service", "tier", "x", "count", "filter", "to", "options"]), NESTED, max_size=1
)
ODD_NAMES: Final = ("shell", "novel:x", "unsupported", "")


@st.composite
def attempts(draw: st.DrawFn) -> tuple[str, dict[str, Any], str]:
    """A goal, a context, and an answer: of values of the goal and of others, most of them of the right type."""
    said = draw(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), min_size=1, max_size=5))
    text = st.sampled_from(said) | st.sampled_from([*said, *WORDS])
    span, number = st.sampled_from(["3 days", "two weeks", "0 days"]), st.sampled_from([3, 5, 12, 17, 200])
    inputs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "repo_triage": ({"repository": text}, {"count": number, "strategy": st.sampled_from(["semantic", "conventional", "by_path"])}),
        "csv_profile": ({"path": text}, {"columns": st.lists(text, max_size=2), "sample": st.sampled_from(["100%", "3%"])}),
        "send_message": ({"to": text, "text": text}, {"urgent": st.booleans()}),
        "deploy": ({}, {"environment": st.sampled_from(["staging", "production"]), "dry_run": st.booleans(), "replicas": number}),
        "clean_up": ({"folder": text, "older_than": span}, {"until": st.sampled_from(["yesterday", "2026-01-01"])}),
        "search_issues": ({"query": text}, {"limit": number, "filter": st.fixed_dictionaries({}, optional={"author": text})}),
    }
    tasks = []
    for name in draw(st.lists(st.sampled_from(sorted(inputs)) | st.sampled_from([*inputs, *ODD_NAMES]), min_size=1, max_size=3)):
        required, optional = inputs.get(name, ({}, {}))
        arguments = draw(st.fixed_dictionaries(required, optional=optional))
        odd = draw(ODD) if draw(st.integers(0, 4)) == 0 else {}
        tasks.append({"macro": name, "arguments": arguments | odd})
    context = draw(st.dictionaries(st.sampled_from(["repository", "to", "count", "x"]), SCALARS, max_size=2))
    return " ".join(said), {"service": "web"} | context, json.dumps({"tasks": tasks})


@given(attempts())
@settings(deadline=None)
async def test_whatever_is_asked_and_answered_nothing_bad_is_sent_with_macros_or_a_catalogue(
    attempt: tuple[str, dict[str, Any], str],
) -> None:
    goal, context, answer = attempt
    live, compiled = [await plan_of(planner, answer, goal, context) for planner in PLANNERS.values()]
    assert_harmless(live, goal, context)
    assert (live.calls, live.problem and live.problem[0]) == (compiled.calls, compiled.problem and compiled.problem[0])
