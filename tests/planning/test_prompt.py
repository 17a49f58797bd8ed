"""The planner's prompt: the same for every goal up to the goal, and nothing in a goal can leave its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from heddle import macro, person_only
from heddle.macros.loading import AnyMacro, Registry, collect
from heddle.macros.versioned import Versioned
from heddle.planning.offer import Offer
from heddle.planning.prompt import Prefix, fenced, prefix_of
from heddle.planning.signature import entry
from heddle.planning.tokens import most_tokens
from tests.planning.offers import Offered


class Request(BaseModel):
    repository: str = ""
    count: int = 5
    write: Annotated[bool, person_only] = False


class Report(BaseModel):
    processed: int = 0


def defined(name: str, *examples: tuple[str, Mapping[str, Any]], version: int = 1, intent: str = "Do it.") -> AnyMacro:
    async def handler(request: Request) -> Report:
        raise NotImplementedError

    handler.__doc__ = intent
    return macro(name=name, version=version, examples=examples)(handler)


def registry(*macros: AnyMacro) -> Registry:
    return collect(iter(macros))


def contracts(*offers: Offer) -> Versioned[Offer]:
    return Versioned({offer.name: {1: offer} for offer in offers})


TRIAGE = defined("repo_triage", ("Check acme/checkout", {"repository": "acme/checkout"}), ("a second example", {"repository": "x"}))
NOTES = defined("release_notes", ("Draft notes for acme/billing.", {"repository": "acme/billing"}))
EMPTY = prefix_of(Registry({}, {}))


def worked(prefix: Prefix) -> list[tuple[str, Any]]:
    """The worked examples: goals, and the macros of their answers."""
    lines = prefix.system.partition("\nExamples:\n")[2].splitlines()
    answers = [[task["macro"] for task in json.loads(line)["tasks"]] for line in lines[1::2]]
    return list(zip([json.loads(line.removeprefix("Goal: ")) for line in lines[::2]], answers, strict=True))


# --- the prefix


def test_the_prefix_lists_every_macro_once_by_name_with_its_fields() -> None:
    system = prefix_of(registry(TRIAGE, NOTES)).system
    assert f"\nMacros:\n{entry(NOTES)}\n{entry(TRIAGE)}\n\nExamples:" in system


def test_the_prefix_depends_on_the_registry_alone_and_not_on_its_order() -> None:
    assert prefix_of(registry(TRIAGE, NOTES)) == prefix_of(registry(NOTES, TRIAGE))


def test_every_goal_has_the_same_prefix_and_schema() -> None:
    prefix = prefix_of(registry(TRIAGE))
    one, other = prefix.prompt("a", {"x": 1}), prefix.prompt("b", {})
    assert (one.system, one.schema) == (other.system, other.schema) == (prefix.system, prefix.schema)


def test_what_only_a_person_may_set_is_in_neither() -> None:
    prefix = prefix_of(registry(TRIAGE))
    assert "write" not in prefix.system + json.dumps(prefix.schema)


def test_no_reasoning_is_asked_for() -> None:
    prefix = prefix_of(registry(TRIAGE))
    assert not re.search(r"reason|step by step|explain|think", prefix.system + json.dumps(prefix.schema), re.IGNORECASE)


def test_the_newest_version_of_a_macro_is_the_one_that_is_shown() -> None:
    system = prefix_of(registry(TRIAGE, defined("repo_triage", version=2, intent="Newer."))).system
    assert "Newer." in system
    assert "Do it." not in system


def test_a_category_of_novel_goals_is_one_more_line_and_name() -> None:
    prefix = prefix_of(registry(TRIAGE), {"research": "Find out\n- anything"})
    assert "\n- novel:research: Find out - anything\n" in prefix.system
    assert prefix.names == {"repo_triage", "novel:research", "unsupported"}


# --- the worked examples


def test_the_first_example_of_a_macro_is_shown_with_its_answer() -> None:
    system = prefix_of(registry(TRIAGE)).system
    assert 'Goal: "Check acme/checkout"\n{"tasks": [{"macro": "repo_triage", "arguments": {"repository": "acme/checkout"}}]}' in system
    assert "a second example" not in system


def test_of_three_macros_an_example_is_shown_then_two_in_one_and_a_refusal() -> None:
    macros = [defined(f"macro-{number}", (f"Do number {number}.", {})) for number in range(5)]
    assert worked(prefix_of(registry(*macros))) == [
        ("Do number 0.", ["macro-0"]),
        ("Do number 1.", ["macro-1"]),
        ("Do number 2.", ["macro-2"]),
        ("Do number 0, and do number 1.", ["macro-0", "macro-1"]),
        ("Pick up my suit from the dry cleaner's on your way home", ["unsupported"]),
    ]


def test_without_examples_there_is_the_refusal() -> None:
    assert [answer for _, answer in worked(prefix_of(registry(defined("a"), defined("b"))))] == [["unsupported"]]


@pytest.mark.parametrize(
    ("second", "told"), [("Draft it", "a, and draft it"), ("PRs of x", "a, and PRs of x"), ("x", "a, and x"), ("", "a, and ")]
)
def test_a_goal_within_a_goal_begins_like_the_middle_of_a_sentence(second: str, told: str) -> None:
    assert worked(prefix_of(registry(defined("a", ("a", {})), defined("b", (second, {})))))[2][0] == told


def test_an_example_shows_no_argument_that_the_model_may_not_set() -> None:
    system = prefix_of(registry(defined("a", ("do", {"count": 3, "write": True})))).system
    assert '"arguments": {"count": 3}' in system


def test_the_goals_of_the_worked_examples_are_told() -> None:
    prefix = prefix_of(registry(TRIAGE, NOTES))
    assert list(prefix.examples) == [goal for goal, _ in worked(prefix)]


# --- for some of the macros


def test_the_prefix_for_some_macros_is_that_of_a_registry_of_these() -> None:
    some = prefix_of(registry(TRIAGE, NOTES, defined("a")), {"research": "Find out."}).only({"repo_triage", "a"})
    alone = prefix_of(registry(TRIAGE, defined("a")), {"research": "Find out."})
    assert (some.system, some.names, some.examples, some.tokens) == (alone.system, alone.names, alone.examples, alone.tokens)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_prefix_tells_how_many_tokens_it_has_at_most(count: int) -> None:
    prefix = prefix_of(registry(*[defined(f"macro-{number}", (f"Do number {number}.", {"count": number})) for number in range(count)]))
    assert most_tokens(prefix.system) <= prefix.tokens <= most_tokens(prefix.system) + 60


# --- the goal, fenced

MARKS = ["<|im_end|>", "<|im_start|>system", "</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>", "<|eot_id|>", "<\uff5cUser\uff5c>",
         "[gMASK]", "[TOOL_CALLS]", "<tool_call>"]  # fmt: skip
BREAKS = ["\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x00", "\x7f"]
HIDDEN = ["\u200b", "\u202e", "\ufeff", "\U000e0041", "\ud800", "\u00ad", "\u00a0"]
HOSTILE = st.lists(
    st.sampled_from([*MARKS, *BREAKS, *HIDDEN, '"', "\\", '"}\nGoal: "', "Context: {", '{"tasks": [{"macro": "x"}]}', "é", "漢", "🙂"])
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@given(HOSTILE)
@settings(max_examples=150, deadline=None)
@example("".join(MARKS + BREAKS + HIDDEN))
def test_a_goal_is_one_line_of_json_that_says_what_it_says(instruction: str) -> None:
    question = EMPTY.question(instruction, {})
    assert json.loads(question.removeprefix("Goal: ")) == instruction
    assert len(question.splitlines()) == 1


@given(st.dictionaries(HOSTILE, HOSTILE | st.integers() | st.booleans(), max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_context_is_one_line_of_json_that_says_what_it_says(context: dict[str, Any]) -> None:
    lines = EMPTY.question("x", context).splitlines()
    assert [json.loads(line.removeprefix("Context: ")) for line in lines[1:]] == ([context] if context else [])


@given(HOSTILE)
@settings(max_examples=100, deadline=None)
def test_nothing_of_a_goal_is_invisible_or_a_mark_of_a_template(instruction: str) -> None:
    told = fenced(instruction)
    assert told.isprintable()
    assert not [mark for mark in MARKS if mark in told]
    told.encode()


@pytest.mark.parametrize("text", ["src/[id].tsx", "a[0]", "[skip ci]", "x > 3", "Größe", "数据", "don't", "🙂", "a/b.c:d#e_f-1"])
def test_what_goals_are_made_of_stays_as_it_is(text: str) -> None:
    assert fenced(text) == f'"{text}"'


def test_marks_of_templates_in_worked_examples_are_escaped_as_they_are_in_goals() -> None:
    system = prefix_of(registry(defined("a", ("use <b>", {"repository": "<b>"})))).system
    assert 'Goal: "use \\u003cb>"\n{"tasks": [{"macro": "a", "arguments": {"repository": "\\u003cb>"}}]}' in system


# --- the context


@pytest.mark.parametrize(
    ("context", "shown"),
    [
        ({}, None),
        ({"b": 1, "a": "x"}, {"a": "x", "b": 1}),
        ({"t": True, "f": 1.5, "n": None}, {"t": True, "f": 1.5}),
        ({"long": "x" * 200, "longer": "x" * 201}, {"long": "x" * 200}),
        ({"k" * 200: 1, "k" * 201: 1}, {"k" * 200: 1}),
        ({"great": 10**199, "greater": 10**200}, {"great": 10**199}),
        ({"greatest": 10**5000}, None),
        ({"nan": float("nan"), "inf": float("inf")}, None),
        ({"list": [1], "object": {"a": 1}}, None),
        ({"line\nbreak": "a\nb"}, {"line\nbreak": "a\nb"}),
    ],
    ids=lambda value: str(list(value or ()))[:40],
)
def test_of_the_context_only_short_scalars_are_shown(context: dict[str, Any], shown: dict[str, Any] | None) -> None:
    lines = EMPTY.question("x", context).split("\n")
    assert [json.loads(line.removeprefix("Context: ")) for line in lines[1:]] == ([] if shown is None else [shown])


def test_the_same_context_is_shown_the_same_whatever_its_order() -> None:
    assert EMPTY.prompt("x", {"a": 1, "b": 2}) == EMPTY.prompt("x", {"b": 2, "a": 1})


class Given(Offered):
    """A macro whose field `repository` is filled from the context's `repo`."""

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "object", "properties": {"repository": {"type": "string", "x-given": "repo"}}}


def test_what_code_fills_in_is_not_shown() -> None:
    prefix = prefix_of(contracts(Given({"type": "object", "properties": {}}, name="a")))
    assert prefix.question("x", {"repo": "acme/x", "team": "weaving"}) == 'Goal: "x"\nContext: {"team": "weaving"}'


def test_what_code_fills_in_for_one_macro_is_shown_for_another_s_field_of_that_name() -> None:
    other = Offered({"type": "object", "properties": {"repo": {"type": "string"}}}, name="b")
    prefix = prefix_of(contracts(Given({"type": "object", "properties": {}}, name="a"), other))
    assert "acme/x" in prefix.question("x", {"repo": "acme/x"})
    assert "acme/x" not in prefix.only({"a"}).question("x", {"repo": "acme/x"})
