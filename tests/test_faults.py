"""kill -9 of a router between every two steps of a dispatch, a wait and a refusal: one outcome each time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from heddle import children, subjects
from tests.support import Ground, eventually, on_ground

RULES = """\
version: 1
tiers:
  free: {}
  paced: {rate: 1/s, burst: 1, max_wait: 30s}
  closed: {rate: 1/h, burst: 1, max_wait: 0s}
worker_types: {echo: {tier: free}, broken: {tier: paced}, nobody: {tier: closed}}
"""

STEPS = {
    "dispatch": ("echo", "heddle.tasks."),
    "wait": ("broken", "heddle.defer."),
    "dispatch after a wait": ("broken", "heddle.tasks."),
    "outcome of a refusal": ("stranger", "heddle.outcomes."),
    "letter of a refusal": ("stranger", "heddle.dead."),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_router_that_dies_at_this_step_leaves_one_outcome_for_every_task(
    nats_url: str, tmp_path: Path, step: str, when: str
) -> None:
    worker_type, prefix = STEPS[step]
    (tmp_path / "rules.yaml").write_text(RULES)
    fault = [sys.executable, str(Path(__file__).parent / "faulty_router.py"), when, prefix, "--"]
    env = {**os.environ, "NATS_URL": nats_url, "HEDDLE_ROUTER__ACK_WAIT": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    async with on_ground(nats_url) as ground:
        for number in range(3):
            body = {"worker_type": worker_type, "payload": {}, "task_id": f"t{number}", "priority": "critical"}
            await ground.publish(subjects.TASKS_INCOMING, body)
        with (tmp_path / "log").open("wb") as log:
            dying = children.start([*fault, "run", "router", "--rules", str(tmp_path / "rules.yaml")], env=env, stderr=log)
            try:
                died = children.wait(dying, 20)
            finally:
                children.stop(dying)
        async with ground.router(RULES), ground.worker():
            outcomes = await ground.outcomes(3)
            await ground.empty(subjects.INCOMING, subjects.DEFER, subjects.TASKS)
            await _letters_agree(ground, sum(outcome.status == "failed" for outcome in outcomes))
    assert died == -9
    assert sorted(outcome.task_id for outcome in outcomes) == ["t0", "t1", "t2"]


async def _letters_agree(ground: Ground, failed: int) -> None:
    """As many letters as failed outcomes."""
    await eventually(lambda: ground.waiting(subjects.DEAD), lambda count: count == failed)
