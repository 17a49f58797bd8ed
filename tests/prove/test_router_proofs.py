"""What takes minutes to show of the router; runs under `make prove`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from heddle import children, subjects
from heddle.broker.outbox import Outbox
from tests.support import Ground, eventually, on_ground

ROOT = Path(__file__).resolve().parents[2]


def decide_in_a_process(pairs: int, hash_seed: int) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.prove.decisions", str(pairs)], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    )


def digests(pairs: int) -> list[str]:
    return [process.communicate()[0].strip() for process in [decide_in_a_process(pairs, seed) for seed in (1, 2)]]


def test_two_processes_decide_and_explain_ten_thousand_pairs_alike() -> None:
    first, second = digests(10_000)
    assert len(first) == 64
    assert first == second


@pytest.mark.prove
def test_two_processes_decide_and_explain_a_million_pairs_alike() -> None:
    first, second = digests(1_000_000)
    assert len(first) == 64
    assert first == second


@pytest.mark.prove
async def test_four_replicas_give_twenty_thousand_tasks_one_outcome_each(nats_url: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("version: 1\ntiers: {local: {}}\nworker_types: {echo: {}}\n")
    command = [sys.executable, "-m", "heddle", "run", "router", "--rules", str(tmp_path / "rules.yaml")]
    count = 20_000
    with (tmp_path / "log").open("wb") as log:
        routers = [children.start(command, env={**os.environ, "NATS_URL": nats_url}, stderr=log) for _ in range(4)]
        try:
            async with on_ground(nats_url) as ground, ground.worker():
                await submit(ground, count, "local")
                await eventually(lambda: ground.waiting(subjects.OUTCOMES), lambda seen: seen >= count, patience=120)
                await ground.empty(subjects.INCOMING, subjects.TASKS)
                assert await ground.waiting(subjects.OUTCOMES) == count
        finally:
            for router in routers:
                children.stop(router)


async def submit(ground: Ground, count: int, tier: str, priority: str = "normal", prefix: str = "t") -> None:
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    body = {"worker_type": "echo", "payload": {}, "model_tier": tier, "priority": priority}
    for start in range(0, count, 1000):
        tasks = [json.dumps(body | {"task_id": f"{prefix}{number}"}).encode() for number in range(start, min(count, start + 1000))]
        await asyncio.gather(*(outbox.publish(subjects.TASKS_INCOMING, task) for task in tasks))


@pytest.mark.prove
async def test_under_saturation_critical_waits_least_and_nothing_starves_without_a_letter(nats_url: str) -> None:
    rules = "version: 1\ntiers: {local: {rate: 40/s, burst: 20, max_wait: 15s}}\nworker_types: {echo: {}}\n"
    priorities = ("low", "normal", "high", "critical")
    async with AsyncExitStack() as stack:
        ground = await stack.enter_async_context(on_ground(nats_url))
        await stack.enter_async_context(ground.router(rules))
        await stack.enter_async_context(ground.worker())
        for number in range(60):  # 20 s of arrivals at twice the rate, the priorities alike
            for priority in priorities:
                await submit(ground, 7, "local", priority, f"{priority}-{number}-")
            await asyncio.sleep(1 / 3)
        count = 60 * 7 * 4
        await eventually(lambda: ground.waiting(subjects.OUTCOMES), lambda seen: seen == count, patience=90)
        await ground.empty(subjects.INCOMING, subjects.DEFER)
        outcomes = await ground.all_outcomes()
        letters = await ground.waiting(subjects.DEAD)
    done = {priority: [o for o in outcomes if o.task_id.startswith(priority) and o.status == "completed"] for priority in priorities}
    refused = [o for o in outcomes if o.status == "failed"]
    assert len(done["critical"]) == 60 * 7
    assert len(done["critical"]) >= len(done["high"]) >= len(done["normal"]) >= len(done["low"])
    assert len(refused) == letters
    assert all((o.error or "").startswith("rate_limited: ") for o in refused)
