"""Twenty rounds of kill -9, and of SIGTERM, among a thousand tasks in flight: one outcome each, and what ran more than once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from heddle import children, subjects
from heddle.broker.outbox import Outbox
from heddle.control.fleet import workers
from heddle.control.tasks import new_task
from tests.support import Ground, eventually, on_ground, workers_under

pytestmark = pytest.mark.prove

TASKS = 1000
ROUNDS = 20
RULES = "version: 1\ntiers: {local: {}}\nworker_types: {mark: {}}\n"
MACRO = '''
import asyncio, os
from pydantic import BaseModel
from heddle import macro

class Mark(BaseModel):
    path: str
    number: int

class Ok(BaseModel):
    number: int

@macro(tier="local")
async def mark(request: Mark) -> Ok:
    """Write down that it began, and take half a second."""
    with open(request.path, "a") as marks:
        marks.write(f"{request.number}\\n")
    await asyncio.sleep(0.5)
    return Ok(number=request.number)
'''


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
async def test_a_thousand_tasks_in_flight_when_their_worker_ends(nats_url: str, tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "macros.py").write_text(MACRO)
    argv = [sys.executable, "-m", "heddle", "run", "worker", "--macros", str(tmp_path / "macros.py")]
    env = {**os.environ, "NATS_URL": nats_url, "HEDDLE_WORKER__ACK_WAIT": "2", "HEDDLE_WORKER__GRACE": "10"}
    log = (tmp_path / "log").open("ab")
    beyond_one: list[int] = []
    worker = children.start(argv, env=env, stderr=log)
    try:
        async with on_ground(nats_url) as ground, ground.router(RULES):
            for number in range(ROUNDS):
                await eventually(lambda: workers(ground.client), lambda cards: len(cards) == 1, patience=60)
                marks = tmp_path / f"marks{number}"
                marks.touch()
                await submit(ground, marks, number)
                await eventually(lambda marks=marks: asyncio.to_thread(runs, marks), lambda seen: len(seen) >= TASKS // 10, patience=60)  # type: ignore[misc]
                if how is signal.SIGKILL:
                    [victim] = await asyncio.to_thread(workers_under, worker.pid)
                    os.kill(victim, how)
                await asyncio.to_thread(children.stop, worker, grace=30)
                worker = children.start(argv, env=env, stderr=log)  # a supervisor would wait longer from death to death
                want = (number + 1) * TASKS
                await eventually(lambda: ground.waiting(subjects.OUTCOMES), lambda count, want=want: count >= want, patience=60)  # type: ignore[misc]
                await ground.empty(subjects.INCOMING, subjects.TASKS)
                seen = runs(marks)
                assert len(seen) == TASKS
                beyond_one.append(sum(seen.values()) - TASKS)
            outcomes = await ground.all_outcomes()
    finally:
        children.stop(worker)
        log.close()
    assert len(outcomes) == len({one.task_id for one in outcomes}) == ROUNDS * TASKS
    assert {one.status for one in outcomes} == {"completed"}
    print(f"\n{how.name}: {ROUNDS} rounds of {TASKS}: one outcome each, all completed; runs beyond one per round: {beyond_one}")  # noqa: T201
    if how is signal.SIGTERM:
        assert beyond_one == [0] * ROUNDS


def runs(marks: Path) -> Counter[str]:
    """How often each task began."""
    return Counter(marks.read_text().split())


async def submit(ground: Ground, marks: Path, number: int) -> None:
    """Publish the tasks of a round."""
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    template = new_task("mark", {}, tier="local")
    for one in range(TASKS):
        task = template.model_copy(update={"task_id": f"r{number}-{one}", "payload": {"path": str(marks), "number": one}})
        await outbox.publish(subjects.TASKS_INCOMING, task.encode(), {"Nats-Msg-Id": task.task_id or ""})
