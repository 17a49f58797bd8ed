"""A stream read from its end gives what reading all of it would give."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from heddle import subjects
from heddle.broker.connect import js_api, stored_from
from heddle.broker.outbox import Outbox
from heddle.broker.pages import ALL, all_between, backwards, bounds, count_from, count_since, first_since, matches, newest_before
from heddle.messages import parse_time
from tests.support import Ground, on_ground

FILTERS = [
    ALL,
    "heddle.dead.no_plan.*.*.*",
    "heddle.dead.loop.rare.*.*",
    "heddle.dead.*.a.*.*",
    "heddle.dead.*.*.local.*",
    "heddle.dead.x.*.*.*",
]


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def fill(ground: Ground, count: int) -> list[str]:
    """Messages on subjects of letters: clumps, rare ones, and gaps; the subjects by sequence, gaps empty."""
    choose = random.Random(7)  # noqa: S311
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    found = []
    for number in range(count):
        code = "no_plan" if number < count // 3 else choose.choice(["crashed", "expired", "no_plan"])
        kind = f"{code}.{choose.choice('abc')}.{choose.choice(['local', 'standard'])}" if number % 97 != 5 else "loop.rare.local"
        found.append(f"heddle.dead.{kind}.{number}")
        await outbox.publish(found[-1], b"{}")
    for sequence in range(count // 2, count // 2 + 20):
        await js_api(ground.client, f"STREAM.MSG.DELETE.{subjects.DEAD}", {"seq": sequence})
        found[sequence - 1] = ""
    return found


async def test_pages_counts_and_bounds_are_those_of_reading_everything(ground: Ground) -> None:
    kept = await fill(ground, 400)
    first, end = await bounds(ground.client, subjects.DEAD)
    assert (first, end) == (1, 401)
    for subject_filter in FILTERS:
        every = [sequence for sequence, subject in enumerate(kept, 1) if subject and matches(subject, subject_filter)]
        assert await count_from(ground.client, subjects.DEAD, subject_filter) == len(every)
        assert await count_from(ground.client, subjects.DEAD, subject_filter, 300) == len([one for one in every if one >= 300])
        for count, start, stop in ((1, 1, 401), (7, 1, 401), (50, 1, 300), (50, 150, 250), (1000, 1, 401), (3, 300, 300)):
            got = await newest_before(ground.client, subjects.DEAD, subject_filter, count, start, stop)
            assert [one.sequence for one in got] == [one for one in reversed(every) if start <= one < stop][:count]


async def test_backwards_gives_everything_once_however_rare_it_is(ground: Ground) -> None:
    kept = await fill(ground, 300)
    for subject_filter in FILTERS:
        every = [sequence for sequence, subject in enumerate(kept, 1) if subject and matches(subject, subject_filter)]
        got = [one.sequence async for *_, part in backwards(ground.client, subjects.DEAD, subject_filter, 5, 290, 64) for one in part]
        assert got == [one for one in reversed(every) if 5 <= one < 290]


@pytest.mark.parametrize(
    ("subject_filter", "fits"),
    [(">", True), ("a.b.c", True), ("a.*.c", True), ("*.*.*", True), ("a.*", False), ("a.*.d", False), ("a.b.c.*", False)],
)
def test_a_subject_matches_token_by_token(subject_filter: str, fits: bool) -> None:
    assert matches("a.b.c", subject_filter) is fits


async def test_between_two_sequences_everything_comes_however_many_answers_it_takes(ground: Ground) -> None:
    kept = await fill(ground, 300)
    got = await all_between(ground.client, subjects.DEAD, ALL, 10, 290, page=7)
    assert [one.subject for one in got] == [subject for subject in kept[9:289] if subject]


async def test_messages_are_found_by_when_they_were_stored(ground: Ground) -> None:
    await fill(ground, 120)
    (fiftieth,) = await stored_from(ground.client, subjects.DEAD, 50, ALL, 1)
    at = parse_time(fiftieth.headers["Nats-Time-Stamp"]).timestamp()
    assert await first_since(ground.client, subjects.DEAD, at) == 50
    assert await count_since(ground.client, subjects.DEAD, ALL, at) == len([n for n in range(50, 121) if not 60 <= n < 80])
    assert (
        await first_since(ground.client, subjects.DEAD, at + 3600),
        await count_since(ground.client, subjects.DEAD, ALL, at + 3600),
    ) == (None, 0)


async def test_an_empty_stream_and_none_at_all_have_no_pages(ground: Ground) -> None:
    first, end = await bounds(ground.client, subjects.DEAD)
    assert (first, end) == (1, 1)
    assert await newest_before(ground.client, subjects.DEAD, ALL, 10, first, end) == []
    assert (await bounds(ground.client, "NO_STREAM"), await count_from(ground.client, "NO_STREAM", ALL)) == ((1, 1), 0)


async def test_a_message_with_a_status_of_its_own_is_a_message(ground: Ground) -> None:
    await ground.client.request("heddle.dead.loop.a.local.1", b"{}", headers={"Status": "404"})
    assert [one.body for one in await stored_from(ground.client, subjects.DEAD, 1, ALL, 10)] == [b"{}"]
    assert await count_from(ground.client, subjects.DEAD, ALL) == 1
