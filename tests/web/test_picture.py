"""What the pages draw and how they tell values: pure."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from heddle import macro, subjects
from heddle.control.deadletters import Wanted
from heddle.control.fleet import RouterCard, WorkerCard
from heddle.control.flow import Flow, Queue, Rates, Stream, rates
from heddle.control.goals import GoalLine, GoalShown
from heddle.goals import Approval, GoalState
from heddle.messages import TaskMessage, TaskResult
from heddle.web import words
from heddle.web.choice import fields_of, problem_of, wanted_of
from heddle.web.crew import Crew
from heddle.web.diagram import MOST_QUEUES, Box, curve, pictures
from heddle.web.schemas import fields, kind_of
from heddle.web.timeline import timeline

STORED = 1_700_000_000.0


def flow(at: float, queues: tuple[Queue, ...] = (), **last: int) -> Flow:
    return Flow(at, {f"HEDDLE_{name.upper()}": Stream(number, 1, number) for name, number in last.items()}, queues=queues)


def box(crew: Crew | None, now: Flow, key: str) -> Box:
    return next(box for box in pictures(now, None, crew)[0].boxes if box.key == key)


def test_rates_are_what_was_stored_per_second() -> None:
    now = rates(flow(10.0, goals=1, tasks=5, dead=0), flow(12.0, goals=1, tasks=25, dead=1))
    assert (now.goals, now.routed, now.dead) == (0.0, 10.0, 0.5)


def test_a_stream_that_was_made_anew_counts_from_there() -> None:
    assert rates(flow(1.0, tasks=1000), flow(2.0, tasks=3)).routed == 0.0


def test_a_queue_is_taken_from_as_often_as_it_delivers() -> None:
    before, now = (flow(at, (Queue("echo", "local", 0, 0, number),)) for at, number in ((1.0, 10), (3.0, 16)))
    assert rates(before, now).taken == {("echo", "local"): 3.0}


def test_the_picture_shows_the_longest_queues_and_marks_those_that_nobody_serves() -> None:
    queues = tuple(Queue(f"type{number}", "local", number, 0, 0) for number in range(8))
    shown = box(Crew((), (WorkerCard("w1", {"type7": [1]}, ["local"]),)), flow(0.0, queues), "queues")
    assert (len(shown.rows), [row.name for row in shown.rows][:2]) == (MOST_QUEUES, ["type7", "type6"])
    assert ([row.tone for row in shown.rows][:2], shown.rows[0].share) == (["busy", "bad"], 1.0)


@pytest.mark.parametrize(("digests", "words"), [(("abc",), "rules abc"), (("abc", "def"), "rules disagree"), ((), "no rules")])
def test_the_picture_says_which_rules_are_in_force(digests: tuple[str, ...], words: str) -> None:
    crew = Crew(tuple(RouterCard(f"r{digest}", digest, "file") for digest in digests), ())
    assert words in box(crew, flow(0.0), "router").lines


def test_the_picture_has_room_for_what_nobody_has_told_yet() -> None:
    assert {box.figure for picture in pictures(Flow(0.0), None, None) for box in picture.boxes} == {"0"}
    assert {line.label for picture in pictures(Flow(0.0), None, None) for line in picture.lines} == {"", "\N{EN DASH}/s"}


@given(st.lists(st.floats(0, 1e6), max_size=60))
def test_a_curve_stays_in_its_frame(values: list[float]) -> None:
    points = [tuple(map(float, point.split(","))) for point in curve(values, 180, 32, 60).split()]
    assert len(points) == len(values)
    assert all(-0.1 <= x <= 180.1 and 0.9 <= y <= 31.1 for x, y in points)


def goal(outcomes: dict[str, TaskResult], *, total: int | None = 1000, approval: Approval | None = None, record: Any = None) -> GoalShown:
    tasks = tuple(TaskMessage(task_id=f"g-{number}", worker_type="echo", payload={}) for number in (1, 2))
    state = GoalState(
        goal_id="g", generation=0, instruction="x", stored=STORED, planned=STORED + 0.2, planned_by="phrases", model_calls=0,
        tasks=tasks, approval=approval, record=record,
    )  # fmt: skip
    return GoalShown(GoalLine("g", 0, "completed", "x", STORED, total_ms=total), state, None, outcomes, ())


def outcome(task_id: str, *moments: float, **more: Any) -> TaskResult:
    hops = dict(zip(("routed", "waited", "started", "done"), (STORED * 1000 + moment for moment in moments), strict=False))
    return TaskResult(
        **{"task_id": task_id, "worker_type": "echo", "status": "completed", "metadata": {"hops": hops, "tier": "local"}, **more}
    )


def test_a_task_has_a_stretch_for_each_of_its_hops() -> None:
    row = timeline(goal({"g-1": outcome("g-1", 300, 400, 500, 900)}), STORED + 9).rows[1]
    assert [(one.kind, one.left, one.width) for one in row.stretches] == [("route", 20, 10), ("queue", 30, 20), ("run", 50, 40)]
    assert ([round(hop or 0) for hop in row.hops], row.tier, row.status) == ([200, 300, 400, 500, 900], "local", "completed")


def test_a_task_that_is_on_its_way_goes_on_until_now() -> None:
    shown = timeline(goal({}, total=None), STORED + 2.0)
    assert [(one.kind, one.left, one.left + one.width) for one in shown.rows[2].stretches] == [("open", 10, 100)]


def test_a_task_that_ended_in_the_router_ends_when_its_outcome_was_written() -> None:
    ended = outcome("g-2", status="failed", error="rate_limited: no token", completed_at="2023-11-14T22:13:20.800Z", metadata={})
    (stretch,) = timeline(goal({"g-2": ended}), STORED).rows[2].stretches
    assert (stretch.kind, stretch.left, stretch.width) == ("end", 20, 60)


def test_a_goal_that_waits_for_its_approval_has_sent_nothing() -> None:
    shown = timeline(goal({}, total=None, approval=Approval(macros=("echo",), until=STORED + 99)), STORED + 2.0)
    assert [one.kind for one in shown.rows[0].stretches] == ["plan", "approval"]
    assert {row.status for row in shown.rows[1:]} == {"not sent"}


def test_a_replayed_task_has_no_place_on_the_scale_of_the_goals_first_run() -> None:
    record = {"status": "completed", "tasks": [{"task_id": "g-1", "generation": 1}]}
    shown = timeline(goal({"g-1": outcome("g-1", 9e6, 9e6, 9e6, 9e6)}, record=record), STORED)
    assert (shown.total_ms, shown.rows[1].stretches, shown.rows[1].status) == (1000, (), "completed, replayed")


@given(st.lists(st.floats(-1e4, 1e7), min_size=4, max_size=4), st.integers(0, 10**7), st.floats(0, 1e5))
def test_no_clock_however_wrong_draws_outside_of_the_scale(moments: list[float], total: int, later: float) -> None:
    shown = timeline(goal({"g-1": outcome("g-1", *moments)}, total=total), STORED + later)
    stretches = [one for row in shown.rows for one in row.stretches]
    assert all(0 <= one.left <= 100 and one.width >= 0 and one.left + one.width <= 100.01 for one in stretches)
    assert all(0 < left <= 96 for left, _ in shown.ticks)


class Place(BaseModel):
    """A place."""

    city: str = Field(description="Its town.", min_length=1)
    number: int | None = None


class Order(BaseModel):
    """An input."""

    places: list[Place] = []
    kind: str = "plain"


@macro
async def deliver(request: Order) -> list[int]:
    """Deliver."""
    return []


def test_a_schema_is_told_field_by_field_the_inner_ones_below_the_outer() -> None:
    told = [(field.path, field.kind, field.required, field.default, field.bounds) for field in fields(deliver.schema)]
    assert told == [
        ("places", "list of object", False, "[]", ()),
        ("places[].city", "string", True, None, ("length ≥ 1",)),
        ("places[].number", "integer or null", False, "null", ()),
        ("kind", "string", False, '"plain"', ()),
    ]
    assert kind_of(deliver.output_schema) == "list of integer"


def test_a_choice_survives_its_form() -> None:
    wanted = Wanted("crashed", "echo", "local", 1.5, 2.5, "goal-1", "words")
    assert wanted_of({name: str(value) for name, value in fields_of(wanted).items()}, 0.0) == wanted


def test_an_age_counts_from_the_full_minute() -> None:
    assert wanted_of({"age": "1h"}, 7259.9) == wanted_of({"age": "1h"}, 7201.0) == Wanted(since=3600.0)


@pytest.mark.parametrize("asked", [{"code": "nonsense"}, {"type": "No!"}, {"tier": "a.b"}, {"goal": "*"}, {"type": ">"}])
def test_what_could_be_no_part_of_a_subject_is_refused(asked: dict[str, str]) -> None:
    assert problem_of(asked) is not None


@given(st.text())
def test_no_text_can_disguise_itself(text: str) -> None:
    assert not {character for character in words.plain(text) if character in "\u202e\u200b\u2066\ufeff\x1b\x00"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (words.lasted(None), "\N{EN DASH}"),
        (words.lasted(850), "850 ms"),
        (words.lasted(1240), "1.24 s"),
        (words.lasted(59_960), "60.0 s"),
        (words.lasted(200_000), "3 min 20 s"),
        (words.rate(0.44), "0.4"),
        (words.rate(1250), "1,250"),
        (words.short(1_500), "1.5k"),
        (words.short(999_700), "1.0M"),
        (words.seconds(0.5), "500 ms"),
        (words.seconds(90), "1.5 min"),
        (words.size(4096), "4.0 KiB"),
        (words.counted(1, "task"), "1 task"),
    ],
)
def test_values_are_told_in_few_words(told: str, expected: str) -> None:
    assert told == expected


def test_a_long_value_is_cut_and_says_so() -> None:
    assert words.pretty("x" * 70_000).endswith("\n… 4,464 more characters are not shown")


def test_a_time_is_told_to_people_and_to_the_script() -> None:
    assert str(words.moment(STORED)) == '<time datetime="2023-11-14T22:13:20.000Z" data-ago>2023-11-14 22:13:20 UTC</time>'
    assert "data-ago" not in words.moment("2023-11-14T22:13:20Z", exact=True)


def test_rates_that_are_not_known_are_no_rates() -> None:
    assert rates(flow(1.0), flow(1.0)) == Rates()
    assert subjects.DEAD not in flow(0.0).streams
