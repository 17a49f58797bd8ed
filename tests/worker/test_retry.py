"""A declared error that may pass: the task is tried again, on the same tier, without a second token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from heddle import Run, macro, retry, subjects
from tests.support import Echoed, Ground, Word, on_ground, registry_of


class Busy(Exception):
    """It may pass."""


attempts: list[int] = []


@macro(tier="local", fails={Busy: retry(times=3, backoff=0.05)})
async def flaky(request: Word, *, run: Run) -> Echoed:
    """Succeed at the attempt that is named."""
    attempts.append(run.attempt)
    if run.attempt < int(request.word):
        raise Busy("not yet")
    return Echoed(word=f"{run.task_id} at {run.attempt}")


RULES = "version: 1\ntiers: {local: {}, tight: {rate: 1/h, burst: 1, max_wait: 0s}}\nworker_types: {flaky: {}}\n"


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    attempts.clear()
    async with on_ground(nats_url) as ground, ground.router(RULES), ground.worker(registry_of(flaky)):
        yield ground


async def test_it_completes_at_the_attempt_that_succeeds(ground: Ground) -> None:
    result = await ground.run_task("flaky", {"word": "3"}, tier="local")
    assert (result.status, attempts) == ("completed", [1, 2, 3])
    assert result.output["word"].endswith("at 3")


async def test_it_ends_as_handler_failed_when_its_retries_are_spent(ground: Ground) -> None:
    result = await ground.run_task("flaky", {"word": "9"}, tier="local")
    (letter,) = await ground.letters()
    assert (result.status, attempts) == ("failed", [1, 2, 3, 4])
    assert (letter.code, letter.attempt) == ("handler_failed", 4)
    assert "after 4 attempts" in letter.reason


async def test_it_takes_no_second_token(ground: Ground) -> None:
    result = await ground.run_task("flaky", {"word": "3"}, tier="tight", priority="critical")
    assert (result.status, result.metadata["tier"]) == ("completed", "tight")


async def test_its_unknown_keys_and_its_id_survive(ground: Ground) -> None:
    body = b'{"worker_type": "flaky", "payload": {"word": "3"}, "model_tier": "local", "_mine": {"attempt": 7}}'
    await ground.publish(subjects.TASKS_INCOMING, body)
    (result,) = await ground.outcomes()
    await ground.empty(subjects.INCOMING, subjects.DEFER, subjects.TASKS)
    assert (result.status, attempts) == ("completed", [1, 2, 3])
    assert result.task_id.startswith("HEDDLE_INCOMING-")


async def test_a_worker_that_dies_between_the_retry_and_the_ack_tries_once(nats_url: str) -> None:
    attempts.clear()
    lost = asyncio.Event()
    async with on_ground(nats_url) as ground, ground.router(RULES):
        async with ground.worker(registry_of(flaky)) as worker:

            async def lose(_: object) -> None:
                worker.held.clear()
                worker.intake.held = 0
                lost.set()

            worker.intake.ack = lose  # type: ignore[method-assign, assignment]
            task = {"worker_type": "flaky", "payload": {"word": "2"}, "model_tier": "local", "task_id": "t"}
            await ground.publish(subjects.TASKS_INCOMING, task)
            await lost.wait()
        async with ground.worker(registry_of(flaky)):
            (result,) = await ground.outcomes()
            await ground.empty(subjects.INCOMING, subjects.DEFER, subjects.TASKS)
    assert result.status == "completed"
