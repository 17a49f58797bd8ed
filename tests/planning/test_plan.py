"""What a model answered, and whether it may be sent."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from heddle import macro, person_only
from heddle.errors import Code, PlanError
from heddle.macros.loading import collect
from heddle.planning.answer import parse_answer
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall, Review
from heddle.planning.review import review


class Request(BaseModel):
    repository: str
    count: int = 10
    write: Annotated[bool, person_only] = False


class Report(BaseModel):
    processed: int = 0


@macro
async def repo_triage(request: Request) -> Report:
    return Report()


@macro(name="repo_triage", version=2)
async def repo_triage_v2(request: Request) -> Report:
    return Report()


@macro
async def release_notes(request: Request) -> Report:
    return Report()


REGISTRY = collect(iter([repo_triage, repo_triage_v2, release_notes]))


def refusal(answer: str) -> PlanError:
    with pytest.raises(PlanError) as caught:
        parse_answer(answer)
    return caught.value


@pytest.mark.parametrize("value", [r'"\ud800"', "NaN", "-Infinity", "9" * 5_000, "[" * 5_000])
def test_what_no_message_could_carry_is_no_answer(value: str) -> None:
    assert refusal(f'{{"tasks": [{{"macro": "repo_triage", "arguments": {{"repository": {value}}}}}]}}').code is Code.NO_PLAN


GOAL = "triage ."


def reviewed(*calls: PlannedCall, goal: str = GOAL, max_tasks: int = 16) -> Review:
    return review(calls, REGISTRY, Asked(goal, {}, 0.0), max_tasks)


def sent(*calls: PlannedCall, goal: str = GOAL, max_tasks: int = 16) -> tuple[PlannedCall, ...]:
    looked_at = reviewed(*calls, goal=goal, max_tasks=max_tasks)
    assert not looked_at.problems
    return looked_at.calls


def unsent(*calls: PlannedCall, goal: str = GOAL, max_tasks: int = 16) -> tuple[Code, str]:
    return reviewed(*calls, goal=goal, max_tasks=max_tasks).problems[0]


def planned(answer: str) -> Code | None:
    try:
        problems = reviewed(*parse_answer(answer)).problems
    except PlanError as error:
        return error.code
    return problems[0][0] if problems else None


def call(name: str = "repo_triage", **arguments: Any) -> PlannedCall:
    return PlannedCall(name, {"repository": "."} | arguments)


# --- the answer


def test_an_answer_is_calls_in_its_order() -> None:
    answer = '{"tasks": [{"macro": "b", "arguments": {"n": 1}}, {"macro": "a", "arguments": {}}]}'
    assert parse_answer(answer) == (PlannedCall("b", {"n": 1}), PlannedCall("a", {}))


def test_arguments_may_be_left_out() -> None:
    assert parse_answer('{"tasks": [{"macro": "a"}]}') == (PlannedCall("a", {}),)


@pytest.mark.parametrize(
    "answer",
    ['{"tasks": [{"macro": "unsupported"}]}', '{"tasks": [{"macro": "a", "arguments": {}}, {"macro": "unsupported", "arguments": {}}]}'],
)
def test_an_answer_with_unsupported_in_it_is_unsupported_goal(answer: str) -> None:
    assert refusal(answer).code is Code.UNSUPPORTED_GOAL


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I cannot do that.",
        "```json\n{}\n```",
        "null",
        "[]",
        "{}",
        '{"tasks": []}',
        '{"tasks": {}}',
        '{"tasks": "repo_triage"}',
        '{"tasks": null}',
        '{"tasks": [null]}',
        '{"tasks": ["repo_triage"]}',
        '{"tasks": [{}]}',
        '{"tasks": [{"macro": 5}]}',
        '{"tasks": [{"macro": "a", "arguments": []}]}',
        '{"tasks": [{"macro": "a", "arguments": null}]}',
        '{"tasks": [{"macro": "a", "arguments": {}, "tier": "frontier"}]}',
        '{"tasks": [{"macro": "a", "arguments": {}, "priority": "critical"}]}',
        '{"tasks": [{"macro": "a", "reason": "because"}]}',
        '{"tasks": [{"macro": "a"}], "reasoning": "because"}',
        '{"tasks": [{"macro": "a"}], "tier": "frontier"}',
        '{"tasks": [{"macro": "a"}]',
        "[" * 100_000,
        '{"tasks": [{"macro": 1, "x": "\\ud800"}]}',
    ],
    ids=lambda answer: answer[:60],
)
def test_an_answer_of_any_other_shape_is_no_plan_and_is_kept(answer: str) -> None:
    error = refusal(answer)
    assert (error.code, error.answer) == (Code.NO_PLAN, answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["tasks", "macro", "arguments", "repository", "count"]), inner, max_size=3)
    ),
    max_leaves=10,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["repository", "count", "write", "x"]), JSON | st.just("\ud800"), max_size=4)
SHAPED = st.lists(
    st.builds(lambda name, arguments: {"macro": name, "arguments": arguments}, st.sampled_from(["repo_triage", "x"]), ARGUMENTS), max_size=3
)


@given(st.text(max_size=40) | JSON.map(json.dumps) | SHAPED.map(lambda tasks: json.dumps({"tasks": tasks})))
@settings(max_examples=150, deadline=None)
@example('{"tasks": [{"macro": "repo_triage", "arguments": {"repository": "\\ud800"}}]}')
@example('{"tasks": [{"macro": "repo_triage", "arguments": {"repository": %s}}]}' % ("[" * 300 + "]" * 300))
@example('{"tasks": [{"macro": "repo_triage", "arguments": {"repository": ".", "\\ud800": 1}}]}')
@example('{"tasks": [{"macro": "repo_triage", "arguments": {"repository": ".", "count": NaN}}]}')
@example('{"tasks": [{"macro": "\\ud800"}]}')
def test_whatever_a_model_answers_is_a_plan_or_a_plan_error(answer: str) -> None:
    assert planned(answer) in {None, Code.NO_PLAN, Code.UNSAFE_PLAN, Code.UNSUPPORTED_GOAL}


# --- the check


def test_a_plan_that_fits_is_sent_as_it_is_without_the_macro_s_defaults() -> None:
    calls = (call(), call("release_notes", count=3))
    assert sent(*calls, goal="triage . and write notes of its last 3") == calls


def test_identical_calls_become_one_and_are_counted() -> None:
    calls = (call(), call("release_notes"), call(), call(count=10), call())
    looked_at = reviewed(*calls)
    assert (looked_at.calls, looked_at.merged) == ((call(), call("release_notes"), call(count=10)), 2)


def test_a_macro_that_does_not_exist_is_no_plan() -> None:
    assert unsent(call(), call("repo_delete")) == (Code.NO_PLAN, "the plan names a macro that does not exist: 'repo_delete'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"repository": 5}, "repo_triage: repository: "),
        ({"count": "3"}, "repo_triage: count: "),
        ({"count": 3.5}, "repo_triage: count: "),
        ({"branch": "main"}, "repo_triage: branch: Extra inputs are not permitted"),
    ],
)
def test_arguments_that_do_not_fit_are_no_plan_with_macro_and_field(arguments: dict[str, Any], said: str) -> None:
    code, detail = unsent(call(**arguments))
    assert code is Code.NO_PLAN
    assert detail.startswith(said)


@pytest.mark.parametrize("value", [True, False, None, "yes"])
def test_a_plan_that_sets_what_only_a_person_may_set_is_unsafe_whatever_the_value(value: object) -> None:
    told = "repo_triage.write: only a person may set it; submit the task yourself: heddle task repo_triage --payload JSON"
    assert unsent(call(write=value), goal="triage . and write") == (Code.UNSAFE_PLAN, told)


@pytest.mark.parametrize(("count", "fits"), [(1, True), (3, True), (4, False)])
def test_a_plan_has_at_most_max_tasks(count: int, fits: bool) -> None:
    calls = [call(count=number) for number in range(count)]
    goal = f"triage . by {' '.join(map(str, range(count)))}"
    if fits:
        assert len(sent(*calls, goal=goal, max_tasks=3)) == count
    else:
        told = "the plan has 4 tasks; at most 3 are allowed (planner.max_tasks)"
        assert unsent(*calls, goal=goal, max_tasks=3) == (Code.UNSAFE_PLAN, told)


def test_identical_calls_count_once_against_max_tasks() -> None:
    assert sent(*[call()] * 10, max_tasks=1) == (call(),)


def test_one_bad_call_keeps_the_whole_plan_back() -> None:
    assert unsent(call(), call(count="x"))[0] is Code.NO_PLAN


def test_what_is_unsafe_is_told_before_what_is_no_plan() -> None:
    codes = [code for code, _ in reviewed(call("nobody"), call(count=7), call(write=True), call(count="x")).problems]
    assert codes == [Code.UNSAFE_PLAN, Code.UNSAFE_PLAN, Code.NO_PLAN, Code.NO_PLAN]


def test_the_first_problem_is_a_field_that_only_a_person_may_set_wherever_it_stands() -> None:
    assert "write: only a person" in unsent(call(count=7), call(write=True))[1]


def test_a_plan_that_cannot_be_read_is_not_told_what_it_leaves_out() -> None:
    looked_at = reviewed(call("nobody"), goal="triage acme/checkout")
    assert (looked_at.uncovered, len(looked_at.problems)) == ((), 1)


# --- a novel goal


def test_a_novel_goal_covers_everything() -> None:
    novel = PlannedCall("novel:research", {})
    looked_at = review([novel, novel], REGISTRY, Asked("find out why 3 of acme/web's builds fail", {}, 0.0), 16, {"research"})
    assert (looked_at.calls, looked_at.problems) == ((novel,), ())


def test_a_novel_goal_takes_no_arguments() -> None:
    [(code, told)] = review([PlannedCall("novel:research", {"x": 1})], REGISTRY, Asked("x", {}, 0.0), 16, {"research"}).problems
    assert (code, told) == (Code.NO_PLAN, "novel:research: a novel goal goes out as it is: its call has no arguments")


@pytest.mark.parametrize("name", ["novel:other", "research", "novel:"])
def test_a_category_that_nobody_declared_is_no_plan(name: str) -> None:
    [(code, _)] = review([PlannedCall(name, {})], REGISTRY, Asked("x", {}, 0.0), 16, {"research"}).problems
    assert code is Code.NO_PLAN
