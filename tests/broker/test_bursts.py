"""Bursts on a real server: whatever happens to one, each message is stored once and its sender hears of it once."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from heddle import events, subjects
from heddle.broker.bursts import BUSY, FLOW, Bursts
from heddle.broker.connect import MAXIMUM_REACHED, js_api, stored_from
from heddle.broker.outbox import REPEAT_AFTER, Outbox
from heddle.broker.server import embedded
from heddle.errors import Refused
from tests.support import Ground, eventually, on_ground

QUEUE = subjects.routed("echo", "local")


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


class Sender:
    """Somebody who sends, and what it heard."""

    def __init__(self, ground: Ground, *, available: bool = True) -> None:
        self.now = 0.0
        self.ground = ground
        self.outbox = Outbox(ground.client, ground.observer, lambda: self.now)
        self.bursts = Bursts(ground.client, self.outbox, ground.observer, available=available, clock=lambda: self.now)
        self.heard: dict[int, Refused | None] = {}
        self.times: Counter[int] = Counter()
        self.fails_at = -1
        self.replies: list[Msg] = []

    async def overhear(self, message: Msg) -> None:
        self.replies.append(message)

    async def send(self, count: int, *, first: int = 0, queue: str = QUEUE) -> None:
        """Send so many in one turn of the loop."""
        for number in range(first, first + count):
            await self.bursts.send(queue, b"%d" % number, self._hear, number, {"Nats-Msg-Id": f"m{number}"})

    async def _hear(self, number: int, refused: Refused | None) -> None:
        self.heard[number] = refused
        self.times[number] += 1
        if number == self.fails_at:
            raise RuntimeError("a callback that fails")

    async def all_heard(self, count: int) -> None:
        async def look() -> int:
            return len(self.heard)

        await eventually(look, lambda heard: heard == count)

    async def all_heard_in_the_end(self, count: int) -> None:
        """The same while time goes by, so that what was lost on the way is repeated."""

        async def look() -> int:
            self.now += 1
            await self.bursts.look_after()
            await self.outbox.look_after()
            return len(self.heard)

        await eventually(look, lambda heard: heard == count)


async def started(ground: Ground, *, available: bool = True) -> Sender:
    """One that listens to what comes of what it sends."""
    sender = Sender(ground, available=available)
    await sender.outbox.start()
    await sender.bursts.start()
    await ground.client.subscribe(f"{sender.bursts._inbox}.>", cb=sender.overhear)
    return sender


async def numbers(ground: Ground) -> list[int]:
    """What the stream holds, in its order."""
    found, at = [], 1
    while page := await stored_from(ground.client, subjects.TASKS, at, QUEUE, 1000):
        found += [int(one.body) for one in page]
        at = page[-1].sequence + 1
    return found


async def test_many_are_stored_in_order_each_once_with_few_acknowledgements(ground: Ground) -> None:
    sender = await started(ground)
    await sender.send(1000)
    await sender.all_heard(1000)
    await ground.client.flush()
    assert await numbers(ground) == list(range(1000))
    assert set(sender.heard.values()) == {None}
    assert set(sender.times.values()) == {1}
    assert 0 < len(sender.replies) < 1000 / FLOW + 10


async def test_few_are_not_worth_a_burst(ground: Ground) -> None:
    sender = await started(ground)
    await sender.send(BUSY)
    await sender.all_heard(BUSY)
    assert not sender.replies


async def test_where_the_stream_takes_none_there_are_none(ground: Ground) -> None:
    sender = await started(ground, available=False)
    await sender.send(500)
    await sender.all_heard(500)
    assert not sender.replies
    assert await numbers(ground) == list(range(500))


async def change_queue(ground: Ground, **settings: Any) -> None:
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.TASKS}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.TASKS}", config | settings)


async def test_a_stream_that_takes_none_any_more_stores_them_all_the_same(ground: Ground) -> None:
    await change_queue(ground, allow_batched=False)
    sender = await started(ground)
    await sender.send(500)
    await sender.all_heard(500)
    assert set(sender.heard.values()) == {None}
    told = len(sender.replies)
    assert told
    await sender.send(500, first=500)  # for a while no burst is tried
    await sender.all_heard(1000)
    await ground.client.flush()
    assert len(sender.replies) == told
    assert sorted(await numbers(ground)) == list(range(1000))


async def test_at_a_queue_s_cap_each_that_has_no_place_is_refused_by_itself(ground: Ground) -> None:
    await change_queue(ground, max_msgs_per_subject=200)
    sender = await started(ground)
    await sender.send(500)
    await sender.all_heard(500)
    stored = set(await numbers(ground))
    assert len(stored) == 200
    assert {number for number, refused in sender.heard.items() if refused is None} == stored
    assert {refused.code for refused in sender.heard.values() if refused is not None} == {MAXIMUM_REACHED}
    assert set(sender.times.values()) == {1}


async def test_a_full_queue_does_not_keep_others_from_theirs(ground: Ground) -> None:
    await change_queue(ground, max_msgs_per_subject=100)
    sender = await started(ground)
    for number in range(300):
        await sender.send(1, first=2 * number)
        await sender.send(1, first=2 * number + 1, queue=subjects.routed("other", "local") if number < 100 else QUEUE)
    await sender.all_heard(600)
    assert await ground.waiting(subjects.TASKS) == 200
    assert sum(refused is None for refused in sender.heard.values()) == 200


async def test_what_is_sent_twice_is_stored_once_and_heard_of_twice(ground: Ground) -> None:
    sender = await started(ground)
    for _ in range(2):
        await sender.send(300)
    await eventually(lambda: asyncio.sleep(0, sum(sender.times.values())), lambda heard: heard == 600)
    await sender.send(300)
    await eventually(lambda: asyncio.sleep(0, sum(sender.times.values())), lambda heard: heard == 900)
    assert await numbers(ground) == list(range(300))
    assert set(sender.heard.values()) == {None}
    assert set(sender.times.values()) == {3}


async def test_replicas_send_bursts_into_one_stream_at_the_same_time(ground: Ground) -> None:
    one = await started(ground)
    two = await started(ground)
    three = await started(ground)
    for turn in range(5):
        await asyncio.gather(*(who.send(200, first=10_000 * at + 200 * turn) for at, who in enumerate((one, two, three))))
    for who in (one, two, three):
        await who.all_heard(1000)
    found = await numbers(ground)
    assert sorted(found) == [10_000 * at + number for at in range(3) for number in range(1000)]
    assert all(set(who.times.values()) == {1} for who in (one, two, three))


async def test_acknowledgements_that_are_lost_are_made_up_for_by_publishing_again(ground: Ground) -> None:
    sender = await started(ground)
    sender.bursts._inbox = ground.client.new_inbox()  # where nobody listens
    await sender.send(BUSY + 200)
    await ground.client.flush()
    await eventually(lambda: ground.waiting(subjects.TASKS), lambda stored: stored == BUSY + 200)
    assert len(sender.heard) <= BUSY
    sender.now += REPEAT_AFTER + 1
    await sender.bursts.look_after()
    await sender.all_heard(BUSY + 200)
    assert await numbers(ground) == list(range(BUSY + 200))
    assert ground.observer.total(events.PUBLISHES_REPEATED) == 1
    assert set(sender.times.values()) == {1}


async def test_a_message_that_never_reached_the_server_is_published_again(ground: Ground) -> None:
    sender = await started(ground)
    await sender.send(BUSY)
    for number in range(BUSY, BUSY + 100):
        going = sender.bursts.send(QUEUE, b"%d" % number, sender._hear, number, {"Nats-Msg-Id": f"m{number}"})
        if number == BUSY + 50:
            going.close()  # type: ignore[attr-defined]
        else:
            await going
    await sender.all_heard(BUSY + 100)
    assert sorted(await numbers(ground)) == list(range(BUSY + 100))
    assert set(sender.times.values()) == {1}


async def test_a_callback_that_fails_keeps_no_other_from_being_called(ground: Ground) -> None:
    sender = await started(ground)
    sender.fails_at = BUSY + 198
    await sender.send(BUSY + 200)
    await eventually(lambda: asyncio.sleep(0, sender.heard), lambda heard: BUSY + 198 in heard)
    sender.now += REPEAT_AFTER + 1
    await sender.bursts.look_after()
    await sender.all_heard(BUSY + 200)
    assert set(sender.times.values()) == {1}


async def test_a_message_that_cannot_be_published_is_the_only_one_that_is_not(ground: Ground) -> None:
    sender = await started(ground)
    await sender.send(BUSY + 50)
    with pytest.raises(nats.errors.BadHeaderError):
        await sender.bursts.send(QUEUE, b"", sender._hear, -1, {"no header": ""})
    await sender.send(50, first=BUSY + 50)
    await sender.all_heard(BUSY + 100)
    assert await numbers(ground) == list(range(BUSY + 100))
    assert set(sender.times.values()) == {1}


async def test_a_server_that_restarts_in_between_loses_none_and_stores_none_twice(tmp_path: Path) -> None:
    stack = AsyncExitStack()
    with embedded(tmp_path) as server:
        port, ground = int(server.url.rsplit(":", 1)[1]), await stack.enter_async_context(on_ground(server.url))
        sender = await started(ground)
        await sender.send(1000)
    await sender.send(1000, first=1000)  # nobody is there
    with embedded(tmp_path, port=port):
        await eventually(lambda: asyncio.sleep(0, ground.client.is_connected), bool)
        await sender.send(1000, first=2000)
        await sender.all_heard_in_the_end(3000)
        assert sorted(await numbers(ground)) == list(range(3000))
        assert set(sender.heard.values()) == {None}
        await stack.aclose()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")
async def test_a_server_whose_disk_is_full_acknowledges_nothing_that_it_did_not_store(tmp_path: Path) -> None:
    stack = AsyncExitStack()
    with embedded(tmp_path) as server:
        port, ground = int(server.url.rsplit(":", 1)[1]), await stack.enter_async_context(on_ground(server.url))
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        sender = await started(ground)
        await sender.send(1000)  # more than 64 KiB
        await eventually(lambda: asyncio.sleep(0, server.log.read_text()), lambda log: "failed to store a msg" in log)
        assert len(sender.heard) < 1000
    with embedded(tmp_path, port=port):  # there is room again
        await eventually(lambda: asyncio.sleep(0, ground.client.is_connected), bool)
        await sender.all_heard_in_the_end(1000)
        assert sorted(await numbers(ground)) == list(range(1000))
        assert set(sender.times.values()) == {1}
        await stack.aclose()
