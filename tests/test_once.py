"""The first outcome wins: crashes and repetitions around a task's end change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from heddle import events, macro, subjects
from heddle.broker.connect import js_api, submit
from heddle.control.tasks import new_task
from heddle.deadletters import Ending, failed_result, letter_of
from heddle.errors import Code
from heddle.messages import TaskResult
from heddle.router.router import Router
from heddle.worker.worker import Worker
from tests.support import Echoed, Ground, Word, eventually, on_ground, registry_of


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def test_a_second_message_of_the_same_task_changes_nothing(ground: Ground) -> None:
    async with ground.all_roles():
        for word in ("first", "second"):
            await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {"word": word}, "task_id": "same"})
            await ground.outcomes()
            await ground.empty(subjects.INCOMING, subjects.TASKS)
        (result,) = await ground.outcomes()
    assert result.output == {"word": "first"}


async def test_a_redelivered_task_that_has_its_outcome_is_not_run_again(ground: Ground) -> None:
    runs = 0

    @macro(name="echo")
    async def counted(request: Word) -> Echoed:
        """Count."""
        nonlocal runs
        runs += 1
        return Echoed(word=request.word)

    lost = asyncio.Event()
    async with ground.router():
        async with ground.worker(registry_of(counted)) as worker:
            _lose_acks(worker, lost)
            await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "task_id": "t"})
            await lost.wait()
        async with ground.worker(registry_of(counted)):
            await ground.empty(subjects.TASKS)
    assert runs == 1


def _lose_acks(worker: Worker, lost: asyncio.Event) -> None:
    """As if the process died between outcome and ack."""

    async def lose(_: object) -> None:
        worker.held.clear()
        worker.intake.held = 0
        lost.set()

    worker.intake.ack = lose  # type: ignore[method-assign, assignment]


async def test_a_router_that_dies_between_dispatch_and_ack_dispatches_once(ground: Ground) -> None:
    lost = asyncio.Event()
    async with ground.router() as router:
        _lose_router_acks(router, lost)
        await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "task_id": "t"})
        await lost.wait()
    async with ground.router():
        await ground.empty(subjects.INCOMING)
    assert await ground.waiting(subjects.TASKS) == 1


def _lose_router_acks(router: Router, lost: asyncio.Event) -> None:
    async def lose(_: object) -> None:
        router.intake.held = 0
        lost.set()

    router.intake.ack = lose  # type: ignore[method-assign, assignment]


async def test_a_failed_outcome_without_its_letter_gets_it_on_redelivery(ground: Ground) -> None:
    """As if a router died between outcome and letter: whoever comes next writes the letter."""
    task = new_task("nobody", {})
    lost = asyncio.Event()
    async with ground.router() as router:
        original = router.outbox.publish

        async def only_the_outcome(subject: str, body: bytes, headers: dict[str, str] | None = None) -> None:
            if subject.startswith("heddle.dead."):
                lost.set()
                await asyncio.Event().wait()
            await original(subject, body, headers)

        router.outbox.publish = only_the_outcome  # type: ignore[method-assign]
        await submit(ground.client, subjects.TASKS_INCOMING, task.encode())
        await lost.wait()
        router.intake.held = 0
    (outcome,) = await ground.outcomes()
    async with ground.router(replica="r2"):
        (found,) = await ground.letters()
        await ground.empty(subjects.INCOMING)
    assert found.by == "router/r1" == outcome.metadata["dead_letter"]["by"]


async def test_a_letter_made_again_is_the_same_letter(ground: Ground) -> None:
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", {"worker_type": "nobody", "payload": {}, "task_id": "t"})
        (stored,) = await ground.letters()
        (outcome,) = await ground.outcomes()
    again = letter_of(outcome, b'{"worker_type": "nobody", "payload": {}, "task_id": "t"}')
    assert again is not None
    assert (again.id, again.subject) == (stored.id, f"heddle.dead.unknown_tier.nobody.standard.{stored.id}")


async def test_a_completed_outcome_stands_against_a_later_refusal(ground: Ground) -> None:
    done = TaskResult(task_id="t", worker_type="nobody", status="completed", output={})
    await submit(ground.client, subjects.task_outcome("t", None, 0), done.encode())
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", {"worker_type": "nobody", "payload": {}, "task_id": "t"})
        await ground.empty(subjects.INCOMING)
    assert (await ground.outcomes())[0].status == "completed"
    assert await ground.waiting(subjects.DEAD) == 0


async def test_another_generation_of_a_task_has_an_outcome_of_its_own(ground: Ground) -> None:
    async with ground.all_roles():
        for generation in (0, 1):
            await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "task_id": "t", "generation": generation})
        results = await ground.outcomes(2)
    assert len(results) == 2


async def test_a_full_store_of_outcomes_holds_everything_back_until_there_is_room(ground: Ground) -> None:
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.OUTCOMES}"))["config"]
    filler = TaskResult(task_id="f", worker_type="echo", status="completed")
    await submit(ground.client, subjects.task_outcome("f", None, 0), filler.encode())
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.OUTCOMES}", config | {"max_msgs": 1})
    async with ground.all_roles():
        await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "task_id": "t"})
        await ground.publish("heddle.tasks.incoming", {"worker_type": "nobody", "payload": {}, "task_id": "u"})
        await eventually(lambda: _trouble(ground), lambda count: count >= 2)
        held = await ground.waiting(subjects.INCOMING) + await ground.waiting(subjects.TASKS)
        await js_api(ground.client, f"STREAM.UPDATE.{subjects.OUTCOMES}", config)
        results = await ground.outcomes(3)
    assert held == 2
    assert len(results) == 3


async def _trouble(ground: Ground) -> int:
    return ground.observer.total(events.BROKER_TROUBLE)


async def test_failed_result_and_letter_agree_on_the_id() -> None:
    ending = Ending(code=Code.EXPIRED, detail="x", letter_id="id-1", subject=None, at=0.0, by="test", task_id="t", worker_type="w")
    made = letter_of(failed_result(ending), b"{}")
    assert made is not None
    assert made.id == "id-1"
