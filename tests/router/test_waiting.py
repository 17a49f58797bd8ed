"""Tasks without a token wait in the broker, on a real server: paced, bounded by max_wait, lost never."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from heddle import subjects
from heddle.broker.connect import js_api, stored_from
from heddle.router.buckets import Bucket
from heddle.router.leases import Leases
from heddle.router.places import NEAR
from heddle.router.reading import parse_rules
from heddle.schedules import PLACE, SINCE
from tests.support import Ground, assert_within, eventually, on_ground


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def rules(tier: str) -> str:
    return f"version: 1\ntiers:\n  paced: {tier}\n  free: {{}}\nworker_types: {{echo: {{tier: paced}}, other: {{tier: free}}}}\n"


async def flood(ground: Ground, count: int, priority: str = "normal", prefix: str = "t") -> None:
    for number in range(count):
        body = {"worker_type": "echo", "payload": {}, "task_id": f"{prefix}{number}", "priority": priority}
        await ground.client.publish(subjects.TASKS_INCOMING, json.dumps(body).encode())
    await ground.client.flush()


async def routed_times(ground: Ground, count: int) -> list[float]:
    """When each task was routed, as HEDDLE_TASKS stored it; seconds since the epoch."""
    results = await ground.outcomes(count)
    return sorted(result.metadata["hops"]["routed"] / 1000 for result in results)


@pytest.mark.parametrize(("rate", "burst", "count"), [(50, 5, 60), (20, 1, 20), (200, 3, 150)])
async def test_all_who_wait_get_their_token_and_the_rate_is_kept(ground: Ground, rate: int, burst: int, count: int) -> None:
    async with ground.router(rules(f"{{rate: {rate}/s, burst: {burst}, max_wait: 60s}}")), ground.worker():
        begun = time.time()
        await flood(ground, count, "critical")
        times = await routed_times(ground, count)
    assert len(times) == count
    assert_within(times, rate, burst, begun)


async def test_who_waits_in_vain_ends_rate_limited_after_max_wait_with_one_letter_each(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/h, burst: 1, max_wait: 1500ms}")), ground.worker():
        await flood(ground, 20, "critical")
        letters = await ground.letters(19)
        outcomes = await ground.outcomes(20)
        await ground.empty(subjects.INCOMING, subjects.DEFER)
    assert len(letters) == 19
    assert {letter.code for letter in letters} == {"rate_limited"}
    assert all(float(letter.reason.partition("after waiting ")[2].partition(" s")[0]) >= 1.5 for letter in letters)
    assert sum(outcome.status == "completed" for outcome in outcomes) == 1


async def test_a_wait_is_neither_an_attempt_nor_a_hop_and_the_task_keeps_its_bytes(ground: Ground) -> None:
    seen: list[dict[str, object]] = []

    async def listen(message: object) -> None:
        seen.append(json.loads(message.data) | {"headers": message.headers})  # type: ignore[attr-defined]

    await ground.client.subscribe("heddle.tasks.echo.paced", cb=listen)
    async with ground.router(rules("{rate: 1/s, burst: 1, max_wait: 60s}")):
        for _ in range(2):
            body = {"worker_type": "echo", "payload": {}, "priority": "critical", "hops": 1, "_mine": 1, "other": [1.50]}
            await ground.publish(subjects.TASKS_INCOMING, body)
        await ground.empty(subjects.INCOMING, subjects.DEFER)
        await ground.client.flush()
    waited = seen[1]
    assert (waited["hops"], waited.get("attempt", 1), waited["_mine"], waited["other"]) == (1, 1, 1, [1.5])
    assert all(not name.startswith("Heddle") for name in waited["headers"])  # type: ignore[attr-defined]


async def test_an_id_made_from_the_place_in_the_stream_survives_a_wait(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/s, burst: 1, max_wait: 60s}")), ground.worker():
        for _ in range(2):
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}, "priority": "critical"})
        results = await ground.outcomes(2)
    assert all(result.task_id.startswith("HEDDLE_INCOMING-") for result in results)


async def test_those_who_wait_for_one_tier_do_not_hold_up_another(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/h, burst: 1, max_wait: 1h}")):
        await flood(ground, 500)
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "other", "payload": {}})
        await eventually(lambda: ground.waiting(subjects.TASKS), lambda count: count == 2)
        await eventually(lambda: ground.waiting(subjects.DEFER), lambda count: count == 499)


async def test_a_killed_routers_waiters_are_taken_over(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/s, burst: 1, max_wait: 1h}"), "r1"):
        await flood(ground, 4, "critical")
        await ground.empty(subjects.INCOMING)
    async with ground.router(rules("{rate: 1/s, burst: 1, max_wait: 1h}"), "r2"), ground.worker():
        assert len(await ground.outcomes(4)) == 4


async def test_who_comes_up_is_decided_afresh_under_the_rules_of_that_moment(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/h, burst: 1, max_wait: 2s}")) as router, ground.worker():
        await flood(ground, 5, "critical")
        await ground.empty(subjects.INCOMING)
        router.use(parse_rules(rules("{}")))
        results = await ground.outcomes(5)
    assert {result.status for result in results} == {"completed"}


async def test_a_new_task_stands_behind_those_who_wait(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/h, burst: 1, max_wait: 24h}")):
        await flood(ground, 8, "critical")
        await ground.empty(subjects.INCOMING)
        await flood(ground, 1, "critical", "late")
        await ground.empty(subjects.INCOMING)
        waiting = await stored_from(ground.client, subjects.DEFER, 1, "heddle.defer.>", 100)
    places = sorted((float(place.headers[PLACE]), json.loads(place.body)["task_id"]) for place in waiting)
    assert [task_id for _, task_id in places] == [*(f"t{number}" for number in range(1, 8)), "late0"]
    assert all(after[0] - before[0] == pytest.approx(3600, abs=1e-3) for before, after in pairwise(places))


async def test_a_flood_of_low_tasks_does_not_starve_a_critical_one(ground: Ground) -> None:
    async with ground.router(rules("{rate: 4/s, burst: 8, max_wait: 60s}")), ground.worker():
        await flood(ground, 40, "low")
        await ground.empty(subjects.INCOMING)
        await flood(ground, 1, "critical", "urgent")
        await eventually(lambda: _done(ground, "urgent0"), bool)
        assert len(await ground.outcomes()) < 20


async def _done(ground: Ground, task_id: str) -> bool:
    subject = subjects.task_outcome(task_id, None, 0)
    return bool(await stored_from(ground.client, subjects.OUTCOMES, 1, subject, 1))


async def test_a_full_queue_is_a_wait_and_past_max_wait_a_letter(ground: Ground) -> None:
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.TASKS}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.TASKS}", config | {"max_msgs_per_subject": 1})
    async with ground.router(rules("{rate: 100/s, burst: 10, max_wait: 1500ms}")):
        await flood(ground, 2)
        (letter,) = await ground.letters()
        await ground.empty(subjects.INCOMING, subjects.DEFER)
    assert letter.code == "backlog_full"


async def test_a_full_queue_that_gets_room_in_time_takes_who_waited(ground: Ground) -> None:
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.TASKS}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.TASKS}", config | {"max_msgs_per_subject": 1})
    async with ground.router(rules("{rate: 100/s, burst: 10, max_wait: 30s}")):
        await flood(ground, 3)
        await eventually(lambda: ground.waiting(subjects.DEFER), lambda count: count == 2)
        async with ground.worker():
            assert len(await ground.outcomes(3)) == 3
    assert await ground.waiting(subjects.DEAD) == 0


async def test_a_clock_that_is_set_back_does_not_stop_a_tier(ground: Ground) -> None:
    async with ground.router(rules("{rate: 1/s, burst: 1, max_wait: 30s}")) as router, ground.worker():
        await flood(ground, 1, prefix="first")
        await ground.outcomes(1)
        router.clock = lambda: time.time() - 3600
        await router.look_at_clock()
        await flood(ground, 2)
        assert {result.status for result in await ground.outcomes(3)} == {"completed"}


class Empty(dict[str, Bucket]):
    """Buckets of which others take every token."""

    def get(self, _name: str, _default: object = None) -> Bucket:
        return Bucket(0.0, time.time())


async def nothing_to_lease(_leases: Leases, *_: object, patience: float = 0.0, **_more: object) -> bool:
    await asyncio.sleep(patience)
    return False


@pytest.mark.parametrize("scope", ["replica", "cluster"])
async def test_who_finds_no_token_again_and_again_is_not_held_beyond_its_ack_wait(
    ground: Ground, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Leases, "token", nothing_to_lease)
    async with ground.router(rules(f"{{rate: 10/s, burst: 4, max_wait: 1h, scope: {scope}}}")) as router:
        if scope == "replica":
            router.buckets = Empty()
        await flood(ground, 1, "low")
        await eventually(lambda: ground.waiting(subjects.DEFER), bool)
        assert (await js_api(ground.client, f"CONSUMER.INFO.{subjects.INCOMING}.{subjects.ROUTER_DURABLE}"))["num_redelivered"] == 0


async def test_a_place_that_comes_up_long_before_its_time_is_not_held(ground: Ground) -> None:
    async with ground.router(rules("{rate: 100/s, burst: 1, max_wait: 1h}")) as router, ground.worker():
        body = json.dumps({"worker_type": "echo", "payload": {}, "task_id": "t"}).encode()
        await ground.client.request(subjects.due("paced", "normal"), body, headers={PLACE: f"{router.clock() + 600}"})
        (result,) = await ground.outcomes(1)
    assert result.status == "completed"


async def test_a_place_in_a_shared_tier_that_comes_up_long_before_its_time_is_not_held_beyond_its_ack_wait(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[float] = []

    async def token(_leases: Leases, *_: object, patience: float, **_more: object) -> bool:
        asked_for.append(patience)
        return True

    monkeypatch.setattr(Leases, "token", token)
    async with ground.router(rules("{rate: 100/s, burst: 2, max_wait: 1h, scope: cluster}")) as router, ground.worker():
        body = json.dumps({"worker_type": "echo", "payload": {}, "task_id": "t"}).encode()
        headers = {PLACE: f"{router.clock() + 600}", SINCE: f"{router.clock()}"}
        await ground.client.request(subjects.due("paced", "normal"), body, headers=headers)
        await ground.outcomes(1)
    assert asked_for == [pytest.approx(2 * NEAR)]


async def test_places_that_are_overdue_are_swept(ground: Ground) -> None:
    """As a full disk leaves them behind: written without the schedule's headers, they never fire by themselves."""
    body = b'{"worker_type": "other", "payload": {}, "task_id": "left-behind"}'
    headers = {"Heddle-Place": "1000.0", "Heddle-Waiting-Since": "999.0"}
    await ground.client.publish("heddle.defer.free.normal.x-1-1", body, headers=headers)
    await ground.client.flush()
    async with ground.router(rules("{}")):
        await eventually(lambda: ground.waiting(subjects.TASKS), lambda count: count == 1)
        await ground.empty(subjects.DEFER)


async def test_two_replicas_each_keep_to_their_own_rate_and_lose_nobody(ground: Ground) -> None:
    text = rules("{rate: 40/s, burst: 4, max_wait: 60s}")
    async with ground.router(text, "r1"), ground.router(text, "r2"), ground.worker():
        await flood(ground, 120, "critical")
        times = await routed_times(ground, 120)
        await asyncio.sleep(0)
    assert len(times) == 120
    assert 8 + 80 * (times[-1] - times[0] + 0.05) >= 120
