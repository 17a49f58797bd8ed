"""kill -9 of a role among ten thousand tasks: every one has its outcome, counted from the stream."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from heddle import children, subjects
from heddle.broker.connect import js_api
from heddle.broker.outbox import Outbox
from heddle.control.tasks import new_task
from tests.support import Ground, eventually, on_ground, workers_under

TASKS = 10_000
RULES = "version: 1\ntiers: {local: {}}\nworker_types: {noop: {}}\n"
MACRO = '''
from pydantic import BaseModel
from heddle import macro

class Nothing(BaseModel):
    number: int = 0

class Ok(BaseModel):
    number: int

@macro(tier="local")
async def noop(request: Nothing) -> Ok:
    """Do nothing."""
    return Ok(number=request.number)
'''


@pytest.mark.parametrize("victim", [pytest.param("nobody", marks=pytest.mark.prove), "router", "worker"])
async def test_ten_thousand_tasks_have_ten_thousand_completed_outcomes_though_someone_is_killed(
    nats_url: str, tmp_path: Path, victim: str
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "noop.py").write_text(MACRO)
    argv = {
        "router": [sys.executable, "-m", "heddle", "run", "router", "--rules", str(tmp_path / "rules.yaml")],
        "worker": [sys.executable, "-m", "heddle", "run", "worker", "--macros", str(tmp_path / "noop.py")],
    }
    env = {**os.environ, "NATS_URL": nats_url}
    with (tmp_path / "log").open("wb") as log:
        roles = {role: children.start(command, env=env, stderr=log) for role, command in argv.items()}
        try:
            async with on_ground(nats_url) as ground:
                await _submit(ground)
                if victim in roles:
                    await eventually(lambda: ground.waiting(subjects.OUTCOMES), lambda count: count > TASKS // 10, patience=60)
                    kill(victim, roles[victim])
                    if victim == "router":
                        children.stop(roles[victim])
                        roles[victim] = children.start(argv[victim], env=env, stderr=log)
                await eventually(lambda: ground.waiting(subjects.OUTCOMES), lambda count: count >= TASKS, patience=60)
                await ground.empty(subjects.INCOMING, subjects.TASKS)
                assert await _completed(ground) == TASKS
                assert await ground.waiting(subjects.DEAD) == 0
        finally:
            for role in roles.values():
                children.stop(role)


def kill(role: str, child: children.Child) -> None:
    """Kill -9 of the process that does the work; a worker's supervisor stays, and starts another."""
    [victim] = workers_under(child.pid) if role == "worker" else [child.pid]
    os.kill(victim, signal.SIGKILL)


async def _submit(ground: Ground) -> None:
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    template = new_task("noop", {"number": 1}, tier="local")
    tasks = [template.model_copy(update={"task_id": f"task-{number}", "payload": {"number": number}}) for number in range(TASKS)]
    await asyncio.gather(*(outbox.publish(subjects.TASKS_INCOMING, task.encode(), {"Nats-Msg-Id": task.task_id or ""}) for task in tasks))


async def _completed(ground: Ground) -> int:
    """Distinct completed outcomes, read from the stream by a consumer of our own."""
    name = "counter"
    config = {"durable_name": name, "ack_policy": "none", "deliver_policy": "all"}
    await js_api(ground.client, f"CONSUMER.CREATE.{subjects.OUTCOMES}.{name}", {"stream_name": subjects.OUTCOMES, "config": config})
    pull = await ground.client.jetstream().pull_subscribe_bind(name, subjects.OUTCOMES)
    seen: set[str] = set()
    read = 0
    while read < TASKS:
        messages = await pull.fetch(1000, timeout=5)
        read += len(messages)
        seen |= {message.subject for message in messages if b'"status":"completed"' in message.data}
    await pull.unsubscribe()
    return len(seen)
