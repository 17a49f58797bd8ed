"""A routed task that expires in its queue ends there, and its letter says whether anybody could have taken it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from heddle import macro, subjects
from heddle.router.ending import Ender
from heddle.router.expiry import Expiry
from heddle.router.router import Router
from tests.support import Echoed, Ground, Word, on_ground, registry_of


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=30)).isoformat()


async def queue(ground: Ground, **more: object) -> None:
    await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}, "task_id": "t", "model_tier": "local", **more})
    await ground.empty(subjects.INCOMING)


def an_hour_later(ground: Ground, router: Router) -> Expiry:
    def clock() -> float:
        return router.clock() + 3600

    ender = Ender(ground.client, router.outbox, ground.observer, "r1", lambda: "digest", clock)
    return Expiry(ground.client, ground.streams, ender, {}, clock)


async def test_without_a_worker_it_ends_as_no_worker(ground: Ground) -> None:
    async with ground.router() as router:
        await queue(ground, expires_at=soon())
        await an_hour_later(ground, router).round()
        (letter,) = await ground.letters()
    assert (letter.code, await ground.waiting(subjects.TASKS)) == ("no_worker", 0)


async def test_with_a_worker_that_never_came_to_it_it_ends_as_expired(ground: Ground) -> None:
    async with ground.router() as router:
        await queue(ground, expires_at=soon())
        bucket = await ground.client.jetstream().key_value(subjects.WORKERS)
        await bucket.put("busy", b'{"replica": "busy", "types": {"echo": [1]}, "tiers": ["local"]}')
        await an_hour_later(ground, router).round()
        (letter,) = await ground.letters()
    assert letter.code == "expired"


async def test_a_task_that_a_worker_holds_is_the_workers_to_end(ground: Ground) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    @macro(name="echo", tier="local")
    async def slow(request: Word) -> Echoed:
        """Take long."""
        started.set()
        await finish.wait()
        return Echoed(word="done")

    async with ground.router() as router, ground.worker(registry_of(slow)):
        await queue(ground, expires_at=soon())
        await started.wait()
        await an_hour_later(ground, router).round()
        finish.set()
        (result,) = await ground.outcomes()
    assert result.status == "completed"


async def test_a_task_that_has_time_left_or_none_to_lose_stays(ground: Ground) -> None:
    async with ground.router() as router:
        await queue(ground)
        await queue(ground, task_id="u", expires_at=(datetime.now(UTC) + timedelta(hours=5)).isoformat())
        await an_hour_later(ground, router).round()
    assert await ground.waiting(subjects.TASKS) == 2
