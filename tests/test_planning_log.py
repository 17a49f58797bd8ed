"""Counters of planning, and the summary of them in the log."""

from __future__ import annotations

import io
import json
from typing import Any

from heddle import events
from heddle.errors import Code
from heddle.orchestrator.planning_log import PlanningLog
from heddle.planning.plan import Plan, Review, Usage, Value
from heddle.telemetry.observer import Observer, logger

SENT = Plan(
    "model-a",
    1,
    confidence=0.9,
    usage=(Usage("model-a", 500, 20, 0.0),),
    review=Review((), (Value("a", "window", "two weeks", 14, "goal"),), defaulted=(("a", "count"),)),
)
REFUSED = Plan("model-b", 2, confidence=0.5, fallback="unsure", review=Review((), uncovered=("#12",))).unsent(Code.UNSAFE_PLAN, "x")


async def told(*plans: Plan, drift_too: bool = True, rounds: int = 1) -> tuple[Observer, list[dict[str, Any]]]:
    """What was counted, and the lines that were logged."""
    stream = io.StringIO()
    observer = Observer(logger("orchestrator", stream=stream))
    log = PlanningLog(observer, drift_too)
    for plan in plans:
        log.tell(plan)
    for _ in range(rounds):
        await log.sum_up()
    return observer, [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_summary_says_what_was_planned_how_surely_and_how_it_drifted() -> None:
    _, [line] = await told(SENT, REFUSED)
    assert (line["plans"], line["fallbacks"]) == ({"planned": 1, "unsafe_plan": 1}, {"unsure": 1})
    assert (line["confidence_median"], line["confidence_least"]) == (0.7, 0.5)
    assert line["drift"] == [
        {"macro": "", "field": "", "kind": "uncovered", "times": 1},
        {"macro": "a", "field": "count", "kind": "defaulted", "times": 1},
        {"macro": "a", "field": "window", "kind": "coerced", "times": 1},
    ]


async def test_a_summary_begins_anew_and_nothing_is_written_of_nothing() -> None:
    _, lines = await told(SENT, rounds=3)
    assert len(lines) == 1


async def test_drift_calls_and_fallbacks_are_counted_as_they_happen() -> None:
    observer, _ = await told(SENT, SENT, REFUSED, rounds=0)
    assert observer.counters[events.ARGUMENT_DRIFT, ("a", "window", "coerced")] == 2
    assert observer.counters[events.MODEL_CALLS, ("model-a",)] == 2
    assert observer.counters[events.PLANNER_FALLBACKS, ("unsure",)] == 1
    assert sum(observer.measured[events.PLAN_CONFIDENCE][:-1]) == 3


async def test_drift_is_not_counted_where_the_settings_say_so() -> None:
    observer, [line] = await told(SENT, drift_too=False)
    assert (observer.total(events.ARGUMENT_DRIFT), line["drift"]) == (0, [])
