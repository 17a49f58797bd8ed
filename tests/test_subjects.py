"""Every name that other programs rely on, spelt out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle import subjects
from heddle.messages import task_hash

T = task_hash("goal-1")
TOKENS = st.from_regex(r"[A-Za-z0-9_=-]{1,128}", fullmatch=True)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


@pytest.mark.parametrize(
    ("built", "spelt"),
    [
        (subjects.GOALS_INCOMING, "heddle.goals.incoming"),
        (subjects.TASKS_INCOMING, "heddle.tasks.incoming"),
        (subjects.DEAD_LETTERS, "heddle.tasks.dead_letter"),
        (subjects.CONTROL_RELOAD, "heddle.control.reload"),
        (subjects.ROUTER_DURABLE, "heddle-router"),
        (subjects.routed("repo_triage", "local"), "heddle.tasks.repo_triage.local"),
        (subjects.results("goal"), "heddle.results.goal"),
        (subjects.results(None), "heddle.results.default"),
        (subjects.task_outcome("goal-1", "goal", 2), f"heddle.outcomes.task.goal.{T}.2"),
        (subjects.task_outcome("goal-1", None, 0), f"heddle.outcomes.loose.default.{T}.0"),
        (subjects.goal_outcome("goal", 3), "heddle.outcomes.goal.goal.final.3"),
        (subjects.dead("expired", "repo_triage", "local", "x-0"), "heddle.dead.expired.repo_triage.local.x-0"),
        (subjects.dead("invalid_task_message", None, None, "x-0"), "heddle.dead.invalid_task_message.-.-.x-0"),
        (subjects.original("x-0"), "heddle.original.x-0"),
        (subjects.task_letter("goal-1", 2), f"{T}-2"),
        (subjects.source_letter("HEDDLE_INCOMING", 5, 7), "HEDDLE_INCOMING-5-7"),
        (subjects.message_id("HEDDLE_INCOMING", 5, 7, "route"), "HEDDLE_INCOMING.5.7.route"),
        (subjects.message_id("HEDDLE_GOALS", 5, 7, "task", 1), "HEDDLE_GOALS.5.7.task.1"),
    ],
)
def test_a_name_is_spelt_as_the_contract_says(built: str, spelt: str) -> None:
    assert built == spelt


@given(st.text(max_size=40), TOKENS, st.integers(0, 2**53))
@settings(max_examples=60, deadline=None)
def test_the_subject_of_a_planned_task_s_outcome_is_taken_apart_as_it_was_built(task_id: str, goal_id: str, generation: int) -> None:
    subject = subjects.task_outcome(task_id, goal_id, generation)
    assert subjects.parse_task_outcome(subject) == (goal_id, task_hash(task_id), generation)


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "heddle.outcomes.task.goal.t",
        "heddle.outcomes.task.goal.t.x",
        "heddle.outcomes.task.goal.t.-1",
        "heddle.outcomes.task.goal.t.1.more",
        subjects.goal_outcome("goal", 0),
        subjects.task_outcome("goal-1", None, 0),
    ],
)
def test_any_other_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="is not the subject of a planned task's outcome"):
        subjects.parse_task_outcome(subject)


@given(st.text(max_size=60), TOKENS | st.none(), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_an_outcome_s_subject_has_six_tokens_whatever_the_task_s_id(task_id: str, parent: str | None, generation: int) -> None:
    assert len(subjects.task_outcome(task_id, parent, generation).split(".")) == 6


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=6, unique=True))
@settings(max_examples=60, deadline=None)
def test_no_two_types_and_tiers_share_a_durable(pairs: list[tuple[str, str]]) -> None:
    assert len({subjects.worker_durable(*pair) for pair in pairs}) == len(pairs)


def test_generations_and_ids_have_outcomes_of_their_own() -> None:
    places = {subjects.task_outcome(task_id, parent, n) for task_id in ("1", "2") for parent in ("g", "h", None) for n in (0, 1)}
    assert len(places) == 12
