"""Who waits for a rate that replicas share stands in one line, whichever replica took it; on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle import events, subjects
from heddle.broker.connect import js_api, stored_from
from heddle.router.reading import parse_rules
from heddle.router.rules import Tier
from heddle.router.shared_lines import Joining, SharedLines, places_behind
from heddle.schedules import SINCE, due_at
from heddle.telemetry.observer import Observer
from tests.support import Ground, eventually, on_ground

LATER = 4e9


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def rules(rate: str = "10/s") -> str:
    return f"version: 1\ntiers:\n  shared: {{rate: {rate}, burst: 4, max_wait: 1h, scope: cluster}}\nworker_types: {{echo: {{tier: shared}}}}\n"


def shared(rate: str = "10/s") -> Tier:
    return parse_rules(rules(rate)).tiers["shared"]


def replica(ground: Ground, now: float = 1e9) -> SharedLines:
    return SharedLines(ground.client, ground.observer, lambda: now)


async def join(lines: SharedLines, *, ready_at: float = 1e9, give_up_at: float = LATER, rate: str = "10/s") -> float:
    place = await lines.join(shared(rate), "normal", ready_at, give_up_at)
    assert place is not None
    return place


async def entry_of(ground: Ground) -> bytes:
    meta = await ground.client.jetstream().key_value(subjects.META)
    return (await meta.get(subjects.line_end("shared", "normal", 10.0))).value or b""


async def test_replicas_that_place_at_the_same_time_give_each_place_once(ground: Ground) -> None:
    replicas = [replica(ground) for _ in range(4)]
    places = sorted(await asyncio.gather(*(join(lines) for _ in range(25) for lines in replicas)))
    assert places == pytest.approx([1e9 + number / 10 for number in range(100)], abs=1e-4)


async def test_a_replica_that_starts_stands_behind_what_others_placed(ground: Ground) -> None:
    await asyncio.gather(*(join(replica(ground)) for _ in range(10)))
    assert await join(replica(ground)) == pytest.approx(1e9 + 1.0, abs=1e-4)


async def test_a_line_that_has_passed_begins_again_when_there_may_be_a_token(ground: Ground) -> None:
    await join(replica(ground))
    assert await join(replica(ground), ready_at=1e9 + 60) == 1e9 + 60


async def test_who_would_give_up_before_its_place_leaves_the_line_as_it_is(ground: Ground) -> None:
    lines = replica(ground)
    await join(lines)
    before = await entry_of(ground)
    assert await join(lines, give_up_at=1e9 + 0.05) == 1e9 + 0.05
    assert await entry_of(ground) == before


async def test_with_another_rate_there_is_another_line(ground: Ground) -> None:
    for _ in range(3):
        await join(replica(ground))
    assert await join(replica(ground), rate="5/s") == 1e9


async def test_replicas_with_different_rules_do_not_begin_each_other_s_line_again(ground: Ground) -> None:
    ours, theirs = replica(ground), replica(ground)
    places = [(await join(ours), await join(theirs, rate="5/s")) for _ in range(5)]
    assert [place for place, _ in places] == pytest.approx([1e9 + number / 10 for number in range(5)], abs=1e-4)
    assert [place for _, place in places] == pytest.approx([1e9 + number / 5 for number in range(5)], abs=1e-4)


@pytest.mark.parametrize(("waiting", "end"), [(0, 0.4), (40, 4.4), (200, 9.9)])
async def test_the_gap_that_cancelled_tasks_leave_is_closed_for_newcomers(ground: Ground, waiting: int, end: float) -> None:
    lines = replica(ground)
    await asyncio.gather(*(join(lines) for _ in range(100)))
    await lines.close_gaps()
    assert lines.end("shared", "normal") == pytest.approx(1e9 + 9.9, abs=1e-4)  # who has just joined may be on its way into the broker
    for number in range(waiting):
        await ground.client.publish(f"heddle.defer.shared.normal.x-1-{number}", b"{}")
    await ground.client.flush()
    await eventually(lambda: ground.waiting(subjects.DEFER), lambda stored: stored == waiting)
    await lines.close_gaps()
    await lines.close_gaps()
    assert await join(lines) == pytest.approx(1e9 + end + 0.1, abs=1e-4)
    assert await join(replica(ground)) == pytest.approx(1e9 + end + 0.2, abs=1e-4)


async def test_an_end_further_off_than_anybody_waits_is_no_line(ground: Ground) -> None:
    meta = await ground.client.jetstream().key_value(subjects.META)
    await meta.put(subjects.line_end("shared", "normal", 10.0), b"32503680000.0")  # the year 3000
    assert await join(replica(ground), give_up_at=1e9 + 3600) == 1e9
    assert float(await entry_of(ground)) == 1e9


@pytest.mark.parametrize("entry", [b"", b"\xff", b"nan", b"inf", b"soon", b"1 2 3"])
async def test_an_entry_that_nobody_can_read_is_no_line(ground: Ground, entry: bytes) -> None:
    meta = await ground.client.jetstream().key_value(subjects.META)
    await meta.put(subjects.line_end("shared", "normal", 10.0), entry)
    assert await join(replica(ground)) == 1e9


async def test_a_deleted_entry_is_no_line(ground: Ground) -> None:
    lines, meta = replica(ground), await ground.client.jetstream().key_value(subjects.META)
    await join(lines)
    await meta.delete(subjects.line_end("shared", "normal", 10.0))
    assert await join(lines) == 1e9
    await meta.purge(subjects.line_end("shared", "normal", 10.0))
    assert await join(replica(ground)) == 1e9


async def test_without_the_bucket_it_says_so_once_and_places_nobody(ground: Ground) -> None:
    told: list[str] = []
    ground.observer = Observer(SimpleNamespace(log=lambda _level, message, **_fields: told.append(message)))
    lines = replica(ground)
    await js_api(ground.client, f"STREAM.DELETE.KV_{subjects.META}")
    assert [await lines.join(shared(), "normal", 1e9, LATER) for _ in range(3)] == [None] * 3
    assert told == ["the line of tier 'shared' cannot be shared; this replica lines up for its own part of the rate"]
    assert ground.observer.total(events.LEASES_DEGRADED) == 1


async def test_what_one_of_four_replicas_took_comes_up_at_the_whole_rate(ground: Ground) -> None:
    async with ground.router(rules(), "r1") as router:
        router.leases.replicas = 4
        for number in range(40):
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}, "task_id": f"t{number}"})
        await ground.empty(subjects.INCOMING)
        waiting = await stored_from(ground.client, subjects.DEFER, 1, "heddle.defer.>", 100)
    places = sorted(due_at(place.headers) for place in waiting)
    assert len(places) > 20
    assert [after - before for before, after in pairwise(places)] == pytest.approx([0.1] * (len(places) - 1), abs=1e-4)


async def test_behind_a_clock_that_is_set_back_the_line_is_as_long_as_before(ground: Ground) -> None:
    async def thirty_more() -> None:
        for _ in range(30):
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}})
        await ground.empty(subjects.INCOMING)

    async with ground.router(rules("1/s"), "r1") as router:
        await thirty_more()
        router.clock = lambda: time.time() - 1800
        await thirty_more()
        waiting = await stored_from(ground.client, subjects.DEFER, 1, "heddle.defer.>", 100)
    places = [due_at(place.headers) - router.clock() for place in waiting if float(place.headers[SINCE]) < time.time() - 900]
    assert places
    assert max(places) < 120


async def test_behind_a_line_that_nobody_stands_in_any_more_tokens_are_not_left_lying(ground: Ground) -> None:
    meta = await ground.client.jetstream().key_value(subjects.META)
    await meta.put(subjects.line_end("shared", "normal", 10.0), b"%.6f" % (time.time() + 3600))
    async with ground.router(rules(), "r1"), ground.worker():
        for _ in range(3):  # the first finds the line; those after it stand behind it, but for tokens that would be nobody's
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}})
            await ground.empty(subjects.INCOMING)

        async def one_more() -> int:
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}})
            return await ground.waiting(subjects.OUTCOMES)

        await eventually(one_more, lambda ended: ended >= 5)


@given(
    rate=st.sampled_from([1 / 3600, 0.5, 10.0, 1234.5]),
    end=st.floats(0, 2e9),
    joining=st.lists(st.tuples(st.floats(1e9, 2e9), st.floats(1e9, 2e9)).map(lambda two: Joining(*two)), max_size=20),
)
def test_places_are_a_token_apart_and_never_later_than_who_has_them_gives_up(rate: float, end: float, joining: list[Joining]) -> None:
    places, new_end = places_behind(end, rate, joining)
    assert all(place <= who.give_up_at for place, who in zip(places, joining, strict=True))
    taken = [place for place, who in zip(places, joining, strict=True) if place < who.give_up_at]
    assert new_end == (taken[-1] if taken else end)
    assert all(after >= before + 1 / rate for before, after in zip([end, *taken], taken, strict=False))
    assert all(place >= who.ready_at for place, who in zip(places, joining, strict=True) if place < who.give_up_at)
