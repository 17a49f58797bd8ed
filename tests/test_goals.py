"""When a goal is done, and how."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from heddle import macro, subjects
from heddle.errors import Code
from heddle.goals import (
    WHOLE_RECORD,
    Approval,
    Came,
    GoalState,
    amended_record,
    final_result,
    finished_record,
    goal_state,
    task_subjects,
    unplanned_record,
)
from heddle.macros.catalogue import catalogue_of, read_catalogue, write_catalogue
from heddle.macros.loading import collect
from heddle.messages import Goal, TaskMessage, TaskResult, decode
from heddle.planning.plan import Plan, PlannedCall, Usage

STORED = 1_800_000_000.0
CAME = Came("g", STORED, ("HEDDLE_GOALS", 7, 8), {"traceparent": "00"})
PLAN = Plan(
    "model-a", 1, (PlannedCall("repo_triage", {"repository": ".", "count": 3}), PlannedCall("release_notes", {"since": "v1"})), note="slow"
)


NO_PLAN = Plan("model-a", 1, confidence=0.5, usage=(Usage("model-a", 500, 20, 0.0),)).unsent(Code.NO_PLAN, "nothing fits")


class Arguments(BaseModel):
    repository: str = "."
    count: int = 1
    since: str = ""


@macro(version=2)
async def repo_triage(request: Arguments) -> Arguments:
    return request


@macro(name="repo_triage", version=1, tier="local")
async def repo_triage_v1(request: Arguments) -> Arguments:
    return request


@macro(tier="local")
async def release_notes(request: Arguments) -> Arguments:
    return request


@macro(effects="irreversible")
async def wipe(request: Arguments) -> str:
    """Delete for good."""
    return ""


REGISTRY = collect(iter([repo_triage, repo_triage_v1, release_notes]))


def goal(**fields: Any) -> Goal:
    return decode(Goal, json.dumps({"instruction": "label it", **fields}).encode())


def state(of: Goal | None = None, plan: Plan = PLAN) -> GoalState:
    return goal_state(of or goal(), CAME, plan, REGISTRY, STORED + 1.5, 60.0)


def outcome(number: int, status: str = "completed", **fields: Any) -> TaskResult:
    return decode(
        TaskResult, json.dumps({"task_id": f"g-{number}", "worker_type": "x", "status": status, "parent_task_id": "g", **fields}).encode()
    )


def failed(number: int, code: Code = Code.TIMED_OUT) -> TaskResult:
    return outcome(number, "failed", error=f"{code.value}: late", metadata={"dead_letter": {"tier": "local"}})


# --- the tasks


def test_a_plan_becomes_tasks_named_after_the_goal_in_the_plan_s_order() -> None:
    assert [(t.task_id, t.worker_type, t.payload, t.model_tier, t.parent_task_id) for t in state().tasks] == [
        ("g-1", "repo_triage", {"repository": ".", "count": 3}, "standard", "g"),
        ("g-2", "release_notes", {"since": "v1"}, "local", "g"),
    ]


def test_tasks_take_priority_request_and_generation_of_their_goal() -> None:
    tasks = state(goal(priority="high", request_id="r", generation=2)).tasks
    assert {(t.priority, t.request_id, t.generation, t.attempt) for t in tasks} == {("high", "r", 2, 1)}


def test_tasks_name_the_version_that_they_were_planned_for() -> None:
    assert [(t.worker_type, t.macro_version) for t in state().tasks] == [("repo_triage", 2), ("release_notes", 1)]


def test_a_catalogue_s_contracts_make_the_same_tasks_as_the_macros_themselves() -> None:
    contracts = read_catalogue(write_catalogue(catalogue_of(REGISTRY)), "macros.json")
    assert goal_state(goal(), CAME, PLAN, contracts, STORED + 1.5, 60.0) == state()


def test_tasks_of_ours_have_one_hop() -> None:
    assert {t.hops for t in state().tasks} == {1}


def test_tasks_carry_the_goal_s_keys_that_begin_with_an_underscore() -> None:
    tasks = state(goal(_trace_context={"traceparent": "00"}, other=1)).tasks
    assert [t.model_extra for t in tasks] == [{"_trace_context": {"traceparent": "00"}}] * 2


def test_tasks_are_the_contract_s() -> None:
    for task in state(goal(request_id=None)).tasks:
        assert decode(TaskMessage, task.encode()) == task


def test_a_novel_call_becomes_a_task_for_the_frontier_with_the_goal_as_it_is() -> None:
    plan = Plan("model-a", 1, (PlannedCall("novel:debugging", {}),))
    (task,) = state(goal(context={"repo": "."}), plan).tasks
    assert (task.worker_type, task.model_tier, task.metadata, task.macro_version) == ("novel", "frontier", {"novel": "debugging"}, None)
    assert task.payload == {"instruction": "label it", "context": {"repo": "."}, "history": [], "category": "debugging"}


def test_model_calls_of_processes_that_died_in_them_are_counted_too() -> None:
    assert goal_state(goal(), replace(CAME, calls_before=1), PLAN, REGISTRY, STORED, 60.0).model_calls == 2


def test_a_goal_with_an_irreversible_macro_waits_for_its_approval_unless_it_came_with_it() -> None:
    plan = Plan("model-a", 1, (PlannedCall("wipe", {}), PlannedCall("repo_triage", {}), PlannedCall("wipe", {"count": 2})))
    offers = collect(iter([wipe, repo_triage]))
    waits = goal_state(goal(), CAME, plan, offers, STORED, 60.0)
    assert (waits.parked, waits.approval) == (True, Approval(macros=("wipe",), until=STORED + 60))
    goes_on = goal_state(goal(approved=True), CAME, plan, offers, STORED, 60.0)
    assert (goes_on.parked, goes_on.approval) == (False, None)
    assert goal_state(goal(), CAME, PLAN, REGISTRY, STORED, 60.0).approval is None


def test_outcomes_are_looked_for_in_the_plan_s_order() -> None:
    assert task_subjects(state(goal(generation=1))) == [subjects.task_outcome(f"g-{number}", "g", 1) for number in (1, 2)]


def test_a_stored_state_is_read_as_it_was_written() -> None:
    before = state(goal(_x={"a": None}))
    assert GoalState.model_validate_json(before.model_dump_json()) == before


# --- the record


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([outcome(1), outcome(2)], "completed"),
        ([outcome(1), failed(2)], "partial"),
        ([failed(1), outcome(2)], "partial"),
        ([failed(1), failed(2)], "failed"),
    ],
)
def test_a_goal_is_completed_only_if_every_task_is(outcomes: list[TaskResult], status: str) -> None:
    record = finished_record(state(), outcomes, STORED + 2)
    assert record["status"] == status
    assert final_result(record, STORED + 2).status == ("completed" if status == "completed" else "failed")


def test_a_record_says_what_was_asked_how_it_was_planned_and_how_long_it_took() -> None:
    record = finished_record(state(), [outcome(1), outcome(2)], STORED + 2.25)
    del record["tasks"]
    assert record == {
        "goal_id": "g",
        "instruction": "label it",
        "planned_by": "model-a",
        "model_calls": 1,
        "confidence": None,
        "note": "slow",
        "warnings": [],
        "usage": [],
        "approved_by": None,
        "status": "completed",
        "total_ms": 2250,
    }


def test_a_record_has_a_row_for_every_task_with_its_hops_since_the_goal_was_stored() -> None:
    ms = int(STORED * 1000)
    hops = {"routed": ms + 1510, "waited": ms + 1520, "started": ms + 1530, "done": ms + 1990}
    first = outcome(1, output={"n": 1}, metadata={"tier": "frontier", "hops": hops})
    assert finished_record(state(), [first, failed(2)], STORED + 2)["tasks"] == [
        {
            "task_id": "g-1",
            "worker_type": "repo_triage",
            "tier": "frontier",
            "status": "completed",
            "output": {"n": 1},
            "error": None,
            "hops_ms": {"planned": 1500, "routed": 1510, "waited": 1520, "started": 1530, "done": 1990},
        },
        {
            "task_id": "g-2",
            "worker_type": "release_notes",
            "tier": "local",
            "status": "failed",
            "output": None,
            "error": "timed_out: late",
            "hops_ms": {"planned": 1500, "routed": None, "waited": None, "started": None, "done": None},
        },
    ]


@pytest.mark.parametrize("hops", [None, {}, {"routed": None}, {"routed": "soon"}])
def test_hops_that_are_not_known_are_null(hops: object) -> None:
    record = finished_record(state(), [outcome(1, metadata={"hops": hops}), outcome(2)], STORED + 2)
    assert record["tasks"][0]["hops_ms"]["routed"] is None


def test_a_goal_never_loses_an_outcome_silently() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        finished_record(state(), [outcome(1)], STORED)


def test_the_record_of_a_goal_without_a_plan_says_why() -> None:
    assert unplanned_record(goal(), CAME, NO_PLAN, STORED + 0.5, "no_plan: nothing fits") == {
        "goal_id": "g",
        "instruction": "label it",
        "planned_by": None,
        "model_calls": 1,
        "confidence": 0.5,
        "note": None,
        "warnings": [],
        "usage": [{"model": "model-a", "prompt_tokens": 500, "answer_tokens": 20, "cost": 0.0}],
        "approved_by": None,
        "tasks": [],
        "status": "failed",
        "total_ms": 500,
        "error": "no_plan: nothing fits",
    }


# --- the final result


def test_a_goal_s_outcome_is_its_own_task_s() -> None:
    result = final_result(finished_record(state(), [outcome(1), outcome(2)], STORED + 2), STORED + 2)
    assert (result.task_id, result.worker_type, result.error, result.processing_time_ms) == ("g", "orchestrator", None, 2000.0)
    assert result.output["status"] == "completed"


def test_a_failed_goal_s_error_is_its_first_task_s_with_the_count() -> None:
    result = final_result(finished_record(state(), [outcome(1), failed(2)], STORED), STORED)
    assert result.error == "timed_out: late (1 of 2 tasks did not complete)"


def test_a_goal_that_was_never_planned_fails_with_its_own_error() -> None:
    result = final_result(unplanned_record(goal(), CAME, NO_PLAN, STORED, "no_plan: nothing fits"), STORED)
    assert (result.status, result.error) == ("failed", "no_plan: nothing fits")


def test_a_record_up_to_256_kib_carries_its_outputs() -> None:
    empty = finished_record(state(), [outcome(1, output=""), outcome(2)], STORED)
    room = WHOLE_RECORD - len(json.dumps(empty).encode())
    whole, cut = (
        final_result(finished_record(state(), [outcome(1, output="x" * (room + more)), outcome(2)], STORED), STORED).output
        for more in (0, 1)
    )
    assert "truncated" not in whole
    assert (cut["truncated"], [task["output"] for task in cut["tasks"]]) == (True, [None, None])


def test_a_record_without_its_outputs_still_says_everything_else() -> None:
    record = finished_record(state(), [outcome(1, output="é" * WHOLE_RECORD), failed(2)], STORED)
    result = final_result(record, STORED)
    assert len(result.encode()) < 4096
    assert [(task["task_id"], task["status"]) for task in result.output["tasks"]] == [("g-1", "completed"), ("g-2", "failed")]


def test_leaving_outputs_out_does_not_change_the_record_itself() -> None:
    record = finished_record(state(), [outcome(1, output="x" * WHOLE_RECORD), outcome(2)], STORED)
    final_result(record, STORED)
    assert record["tasks"][0]["output"] is not None


def test_a_goal_s_outcome_is_the_contract_s() -> None:
    result = final_result(finished_record(state(), [failed(1), failed(2)], STORED), STORED)
    assert decode(TaskResult, result.encode()) == result


# --- amended records


def ended_state() -> GoalState:
    state = goal_state(goal(), CAME, PLAN, REGISTRY, STORED + 1, 60.0)
    failed = TaskResult(task_id="g-1", worker_type="repo_triage", status="failed", error="crashed: no")
    done = TaskResult(task_id="g-2", worker_type="release_notes", status="completed", output=2)
    return state.model_copy(update={"record": finished_record(state, [failed, done], STORED + 9)})


def again(output: int) -> TaskResult:
    return TaskResult(task_id="g-1", worker_type="repo_triage", status="completed", output=output)


def test_a_later_outcome_takes_its_tasks_row_and_the_status_is_counted_anew() -> None:
    state = ended_state()
    record = amended_record(state, {"g-1": (2, again(7))}, STORED + 100)
    assert record is not None
    assert [(row["task_id"], row["status"], row["output"], row.get("generation")) for row in record["tasks"]] == [
        ("g-1", "completed", 7, 2),
        ("g-2", "completed", 2, None),
    ]
    assert (record["status"], record["amendments"], record["amended_at"]) == ("completed", 1, "2027-01-15T08:01:40.000Z")
    assert {key: record[key] for key in ("total_ms", "planned_by", "instruction")} == {
        key: (state.record or {})[key] for key in ("total_ms", "planned_by", "instruction")
    }


def test_what_a_record_has_already_amends_nothing() -> None:
    state = ended_state()
    record = amended_record(state, {"g-1": (2, again(7))}, STORED + 100)
    amended = state.model_copy(update={"record": record})
    assert amended_record(state, {}, STORED + 100) is None
    assert amended_record(state, {"g-1": (0, again(8)), "other": (5, again(8))}, STORED + 100) is None
    assert amended_record(amended, {"g-1": (2, again(8))}, STORED + 200) is None
    assert (amended_record(amended, {"g-1": (3, again(8))}, STORED + 200) or {})["amendments"] == 2


def test_an_amended_record_whose_goal_is_complete_has_no_error() -> None:
    record = amended_record(ended_state(), {"g-1": (1, again(7))}, STORED + 100)
    assert record is not None
    assert final_result(record, STORED + 100).error is None
