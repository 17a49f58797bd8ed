"""One reader for all open pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from nats.aio.client import Client

from heddle import subjects
from heddle.web.poller import Moment, Poller, Topic
from tests.support import Ground, on_ground


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """A topic that counts how often it was read, and fails if told to."""

    def __init__(self, *streams: str, rest: float = 0.0) -> None:
        self.reads = 0
        self.failing = False
        self.topic = Topic(("counted", id(self)), self._read, frozenset(streams) if streams else None, rest)

    async def _read(self, _: Client) -> int:
        if self.failing:
            raise ValueError("not today")
        self.reads += 1
        return self.reads


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def poller(ground: Ground, clock: Clock) -> Poller:
    return Poller(ground.client, clock)


async def one_round(poller: Poller, clock: Clock) -> None:
    clock.now += 1.0
    await poller.round()


async def following(poller: Poller, counted: Counted) -> tuple[asyncio.Task[Moment], AsyncIterator[Moment]]:
    """A page that waits for its next moment."""
    moments = poller.follow(counted.topic)
    task = asyncio.ensure_future(anext(moments))
    await asyncio.sleep(0)
    return task, moments


async def test_with_no_page_open_nothing_is_read(poller: Poller, clock: Clock) -> None:
    for _ in range(3):
        await one_round(poller, clock)
    assert poller.reads == 0


async def test_many_pages_of_the_same_topic_cost_one_reading(poller: Poller, clock: Clock) -> None:
    counted = Counted()
    pages = [await following(poller, counted) for _ in range(5)]
    await one_round(poller, clock)
    moments = [await task for task, _ in pages]
    assert (poller.reads, counted.reads, {moment.of(counted.topic) for moment in moments}) == (1, 1, {1})


async def test_a_page_that_was_closed_is_not_read_for(poller: Poller, clock: Clock) -> None:
    counted = Counted()
    async with aclosing(poller.follow(counted.topic)) as moments:
        task = asyncio.ensure_future(anext(moments))
        await asyncio.sleep(0)
        await one_round(poller, clock)
        await task
    await one_round(poller, clock)
    assert (poller.reads, counted.reads) == (1, 1)


async def test_a_topic_is_read_again_only_when_its_streams_have_changed(ground: Ground, poller: Poller, clock: Clock) -> None:
    counted = Counted(subjects.INCOMING)
    _page = await following(poller, counted)
    await one_round(poller, clock)
    await one_round(poller, clock)
    assert counted.reads == 1
    await ground.publish(subjects.GOALS_INCOMING, {"instruction": "another stream's"})
    await one_round(poller, clock)
    assert counted.reads == 1
    await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}})
    await one_round(poller, clock)
    assert counted.reads == 2


async def test_a_dear_topic_rests_between_readings(poller: Poller, clock: Clock) -> None:
    counted = Counted(rest=2.5)
    _page = await following(poller, counted)
    for _ in range(6):
        await one_round(poller, clock)
    assert counted.reads == 2


async def test_nobody_waits_for_a_topic_that_takes_long(ground: Ground, clock: Clock) -> None:
    poller, done = Poller(ground.client, clock), asyncio.Event()

    async def read(_: Client) -> str:
        await done.wait()
        return "at last"

    late, quick = Topic("late", read, late=True), Counted()
    moment = await poller.look(late, quick.topic)
    assert (moment.of(late), moment.of(quick.topic)) == (None, 1)
    done.set()
    await asyncio.sleep(0)
    later = await poller.look(late)
    assert (later.of(late), later.number > moment.number) == ("at last", True)


async def test_a_topic_that_cannot_be_read_keeps_its_value_and_says_why_until_it_can(poller: Poller, clock: Clock) -> None:
    counted = Counted()
    assert (await poller.look(counted.topic)).of(counted.topic) == 1
    counted.failing, clock.now = True, clock.now + 1.0
    moment = await poller.look(counted.topic)
    assert (moment.of(counted.topic), moment.problem, moment.trouble) == (1, None, "not today")
    counted.failing, clock.now = False, clock.now + 1.0
    moment = await poller.look(counted.topic)
    assert (moment.of(counted.topic), moment.trouble) == (2, None)


async def test_a_look_within_the_same_second_reads_nothing(poller: Poller) -> None:
    counted = Counted()
    for _ in range(3):
        await poller.look(counted.topic)
    assert (poller.reads, counted.reads) == (1, 1)


async def test_without_a_connection_a_look_answers_at_once_with_what_it_knows(ground: Ground, poller: Poller, clock: Clock) -> None:
    counted = Counted()
    await poller.look(counted.topic)
    await ground.client.close()
    clock.now += 1.0
    moment = await poller.look(counted.topic)
    assert (moment.of(counted.topic), moment.problem) == (1, "no connection")


async def test_what_nobody_looks_at_any_more_is_forgotten(poller: Poller, clock: Clock) -> None:
    for _ in range(50):
        await poller.look(Counted().topic)
        clock.now += 1.0
    assert len(poller._known) <= 2


async def test_the_rates_are_those_of_the_streams(ground: Ground, poller: Poller, clock: Clock) -> None:
    counted = Counted()
    first = await poller.look(counted.topic)
    assert first.rates is None
    for _ in range(10):
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}})
    clock.now += 2.0
    moment = await poller.look(counted.topic)
    assert moment.rates is not None
    assert (moment.rates.incoming, moment.rates.goals, moment.flow[subjects.INCOMING].messages) == (5.0, 0.0, 10)


async def test_at_its_end_the_poller_lets_every_page_go(poller: Poller) -> None:
    task, _ = await following(poller, Counted())
    poller.end()
    with pytest.raises(StopAsyncIteration):
        await task
