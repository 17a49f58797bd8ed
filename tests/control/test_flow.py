"""What flows through the streams, read from a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from heddle import macro, subjects
from heddle.broker.connect import connected, js_api
from heddle.control.flow import Flow, Queue, flow
from heddle.telemetry.observer import Observer
from tests.support import Echoed, Ground, Word, eventually, on_ground, registry_of


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def test_a_server_that_has_not_seen_heddle_is_still_water(nats_url: str) -> None:
    async with connected(nats_url, "test", Observer()) as client:
        assert await flow(client, 1.0) == Flow(1.0)


async def test_tasks_are_counted_where_they_are(ground: Ground) -> None:
    held = asyncio.Event()

    @macro(name="echo", tier="local")
    async def waits(request: Word) -> Echoed:
        """Wait until the test lets go."""
        await held.wait()
        return Echoed(word=request.word)

    async def look() -> Flow:
        return await flow(ground.client, 1.0)

    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}, "model_tier": "local"})
        queued = await eventually(look, lambda seen: bool(seen.queues))
        assert queued.queues == (Queue("echo", "local", waiting=1, taken=0, deliveries=0),)
        async with ground.worker(registry_of(waits), tiers=["local"]):
            await eventually(look, lambda seen: seen.queues == (Queue("echo", "local", waiting=0, taken=1, deliveries=1),))
            held.set()
            ended = await eventually(look, lambda seen: seen[subjects.OUTCOMES].messages == 1 and seen.queues[0].taken == 0)
    assert (ended[subjects.INCOMING].last, ended[subjects.INCOMING].messages, ended[subjects.TASKS].last) == (1, 0, 1)


async def test_a_consumer_that_is_no_workers_is_no_queue(ground: Ground) -> None:
    await js_api(
        ground.client,
        f"CONSUMER.DURABLE.CREATE.{subjects.TASKS}.somebody",
        {"stream_name": subjects.TASKS, "config": {"durable_name": "somebody", "ack_policy": "explicit", "deliver_policy": "all"}},
    )
    assert (await flow(ground.client, 1.0)).queues == ()
