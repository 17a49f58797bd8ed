"""Somebody else listens on the incoming tasks: it is noticed, and told once."""

from __future__ import annotations

from heddle import events
from heddle.broker.connect import connected
from heddle.router.foreign import ForeignListeners
from heddle.telemetry.observer import Observer
from tests.support import on_ground


async def test_a_foreign_subscriber_on_incoming_is_told_once(nats_url: str) -> None:
    async with on_ground(nats_url) as ground, connected(nats_url, "old-router", Observer()) as other:
        await other.subscribe("heddle.tasks.incoming", queue="routers")
        await other.flush()
        listeners = ForeignListeners(ground.client, ground.observer)
        for _ in range(2):
            await listeners.look()
    assert ground.observer.total(events.FOREIGN_LISTENER) == 1


async def test_routers_of_our_own_and_watchers_of_everything_are_not_foreign(nats_url: str) -> None:
    async with on_ground(nats_url) as ground, ground.router(), connected(nats_url, "watcher", Observer()) as other:
        await other.subscribe("heddle.>")
        await other.flush()
        await ForeignListeners(ground.client, ground.observer).look()
    assert ground.observer.total(events.FOREIGN_LISTENER) == 0
