"""A tier with `scope: cluster`: all replicas together keep to its rate."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle import events, subjects
from heddle.broker.connect import js_api, stored_from
from heddle.router import leases as leasing
from heddle.router.buckets import kept_back
from heddle.router.leases import Leases
from heddle.router.reading import parse_rules
from heddle.router.windows import windows_of
from heddle.schedules import PLACE, SINCE
from heddle.telemetry.observer import Observer
from tests.support import Ground, assert_within, eventually, on_ground


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def rules(tier: str) -> str:
    return f"version: 1\ntiers:\n  shared: {tier}\nworker_types: {{echo: {{tier: shared}}}}\n"


async def flood(ground: Ground, count: int, priority: str = "critical", prefix: str = "t") -> None:
    for number in range(count):
        body = {"worker_type": "echo", "payload": {}, "task_id": f"{prefix}{number}", "priority": priority}
        await ground.client.publish(subjects.TASKS_INCOMING, json.dumps(body).encode())
    await ground.client.flush()


async def four_replicas(ground: Ground, stack: AsyncExitStack, text: str) -> None:
    for number in range(4):
        router = await stack.enter_async_context(ground.router(text, f"r{number}"))
        router.leases.replicas = 4
    await stack.enter_async_context(ground.worker())


async def test_four_replicas_together_keep_to_the_rate(ground: Ground) -> None:
    rate, burst, count = 40, 8, 120
    begun = time.time()
    assert_within(await routed_by_four(ground, rate, burst, count), rate, burst, begun)


@pytest.mark.prove
@pytest.mark.parametrize(("rate", "burst", "count"), [(40, 8, 600), (200, 20, 3000), (400, 40, 4000)])
async def test_four_replicas_together_use_at_least_95_percent_of_the_rate(ground: Ground, rate: int, burst: int, count: int) -> None:
    times = await routed_by_four(ground, rate, burst, count)
    saturated = times[count // 10 : -count // 10]  # without the burst at the start, and the last few at the end
    used = len(saturated) / (rate * (saturated[-1] - saturated[0]))
    assert 0.95 <= used <= 1.0 + burst / len(saturated)


async def routed_by_four(ground: Ground, rate: int, burst: int, count: int) -> list[float]:
    """When each of `count` tasks was routed by four replicas, in order; seconds since the epoch."""
    async with AsyncExitStack() as stack:
        await four_replicas(ground, stack, rules(f"{{rate: {rate}/s, burst: {burst}, max_wait: 120s, scope: cluster}}"))
        await flood(ground, count)
        await eventually(lambda: ground.waiting(subjects.OUTCOMES), lambda seen: seen == count, patience=60)
        return sorted([result.metadata["hops"]["routed"] / 1000 for result in await ground.all_outcomes()])


async def test_a_shared_tier_without_patience_takes_the_burst_and_refuses_the_rest(ground: Ground) -> None:
    async with AsyncExitStack() as stack:
        await four_replicas(ground, stack, rules("{rate: 1/h, burst: 3, max_wait: 0s, scope: cluster}"))
        await flood(ground, 20)
        results = await ground.outcomes(20)
        await ground.empty(subjects.INCOMING)
    completed = sum(result.status == "completed" for result in results)
    assert 2 <= completed <= 3  # tokens count once their window is over
    assert all((result.error or "").startswith("rate_limited: ") for result in results if result.status != "completed")


async def test_a_vast_burst_is_not_looked_through(ground: Ground) -> None:
    async with ground.router(rules("{rate: 5/s, burst: 1000000000000, scope: cluster}")):
        await flood(ground, 3)
        await ground.empty(subjects.INCOMING)
    assert await ground.waiting(subjects.TASKS) == 3


async def test_without_the_counters_each_replica_goes_on_with_its_share_and_says_so(ground: Ground) -> None:
    await js_api(ground.client, f"STREAM.DELETE.{subjects.LEASES}")
    async with AsyncExitStack() as stack:
        await four_replicas(ground, stack, rules("{rate: 40/s, burst: 8, max_wait: 60s, scope: cluster}"))
        await flood(ground, 100)
        times = sorted(result.metadata["hops"]["routed"] / 1000 for result in await ground.outcomes(100))
    assert ground.observer.total(events.LEASES_DEGRADED) >= 1
    assert 8 + 40 * (times[-1] - times[0] + 0.2) >= 100


async def test_who_asks_again_and_again_is_let_go_for_a_higher_priority(ground: Ground) -> None:
    tier = parse_rules(rules("{rate: 1/h, burst: 4, scope: cluster}")).tiers["shared"]
    leases = Leases(ground.client, ground.observer, time.time)
    while await leases.token(tier, "critical"):
        pass
    waiting = [asyncio.create_task(leases.token(tier, priority, patience=3600.0)) for priority in ("low", "normal", "low", "critical")]
    await asyncio.sleep(0)
    assert not leases.let_go(tier, "low")
    for expected in (2, 0, 1):  # the lowest first, and of those who came last
        assert leases.let_go(tier, "critical")
        assert await waiting[expected] is False
    assert not leases.let_go(tier, "critical")
    assert not waiting[3].done()
    waiting[3].cancel()


async def test_slow_counters_are_not_all_asked_in_one_round(ground: Ground) -> None:
    """A round through all of them, for every priority, would hold tasks for longer than their ack_wait."""
    asked = 0

    async def request(*_: object, **__: object) -> SimpleNamespace:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.3)
        return SimpleNamespace(data=b'{"val": "1000"}')

    tier = parse_rules(rules("{rate: 1/s, burst: 100, scope: cluster}")).tiers["shared"]
    leases = Leases(SimpleNamespace(request=request), ground.observer, time.time)  # type: ignore[arg-type]
    assert not any(await asyncio.gather(*(leases.token(tier, priority) for priority in ("critical", "high", "normal", "low"))))
    assert asked <= 2


@pytest.mark.parametrize("made", [True, False])
async def test_where_memory_is_full_a_higher_priority_makes_room_for_itself(
    ground: Ground, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    patiences: list[float] = []

    async def token(_leases: Leases, *_: object, patience: float, **_more: object) -> bool:
        patiences.append(patience)
        return True

    monkeypatch.setattr("heddle.router.router.MOST_NEAR", 0)
    monkeypatch.setattr(Leases, "token", token)
    monkeypatch.setattr(Leases, "let_go", lambda *_: made)
    async with ground.router(rules("{rate: 1/s, burst: 4, max_wait: 1h, scope: cluster}")):
        headers = {PLACE: f"{time.time()}", SINCE: f"{time.time()}"}
        await ground.client.request(subjects.due("shared", "critical"), b'{"worker_type": "echo", "payload": {}}', headers=headers)
        await ground.empty(subjects.DEFER)
    assert [patience > 0 for patience in patiences] == [made]


async def test_a_fast_tier_s_counters_go_and_a_slow_one_s_stay(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leasing, "MOST_COUNTERS", 20)
    text = rules("{rate: 10/s, burst: 8, scope: cluster}").replace(
        "worker_types", "  slow: {rate: 1/h, burst: 3, scope: cluster}\nworker_types"
    )
    tiers = parse_rules(text).tiers
    now = 1e9
    leases = Leases(ground.client, ground.observer, lambda: now)
    assert await leases.token(tiers["slow"], "critical")

    async def one_more() -> int:
        nonlocal now
        now += 0.2  # a window
        assert await leases.token(tiers["shared"], "critical")
        return await ground.waiting(subjects.LEASES)

    for _ in range(200):
        await one_more()
    await eventually(one_more, lambda held: held < 80)
    slow = subjects.lease("slow", tiers["slow"].rate or 0, 3, "*")
    assert len(await stored_from(ground.client, subjects.LEASES, 1, slow, 10)) == 1


async def test_why_a_counter_refused_is_told(ground: Ground) -> None:
    told: list[dict[str, object]] = []
    ground.observer = Observer(SimpleNamespace(log=lambda _level, _message, **fields: told.append(fields)))
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.LEASES}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.LEASES}", config | {"max_msg_size": 1})
    async with ground.router(rules("{rate: 40/s, burst: 8, max_wait: 60s, scope: cluster}")):
        await flood(ground, 1)
        await ground.empty(subjects.INCOMING)
    assert [fields["error"] for fields in told if fields.get("tier") == "shared"] == ["ValueError message size exceeds maximum allowed"]


async def test_a_critical_task_overtakes_a_flood_of_low_ones(ground: Ground) -> None:
    async with ground.router(rules("{rate: 5/s, burst: 10, max_wait: 60s, scope: cluster}")), ground.worker():
        await flood(ground, 60, "low", "low")
        await ground.empty(subjects.INCOMING)
        await flood(ground, 1, "critical", "urgent")
        await ground.outcomes(1, subjects.task_outcome("urgent0", None, 0))
        assert len(await ground.outcomes()) < 40


@given(
    rate=st.sampled_from([1 / 3600, 0.1, 0.5, 1.0, 7.0, 200.0, 1234.5]),
    burst=st.integers(1, 500),
    start=st.floats(0, 1e6),
    span=st.floats(0, 1e4),
)
def test_no_time_has_more_open_tokens_than_rate_times_time_plus_burst(rate: float, burst: int, start: float, span: float) -> None:
    windows = windows_of(rate, burst)
    taken = windows.quota * len(range(windows.open(start, 0).start, windows.open(start + span, 0).stop))
    assert taken <= burst + rate * span + 1e-6 * (1 + rate * span)


@given(rate=st.sampled_from([0.1, 0.5, 1.0, 7.0, 200.0]), burst=st.integers(1, 50), now=st.floats(1e9, 2e9))
def test_the_next_window_is_open_when_it_is_said_to_open(rate: float, burst: int, now: float) -> None:
    windows = windows_of(rate, burst)
    opening = windows.next_opening(now, 0)
    assert opening > now
    assert windows.open(opening + 1e-3, 0).stop > windows.open(now, 0).stop


@given(burst=st.integers(1, 60), share=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))
def test_a_window_opens_to_a_priority_at_some_time_or_the_rules_are_refused(burst: int, share: float) -> None:
    windows = windows_of(1.0, burst)
    kept = kept_back(share, burst)
    moments = [1e6 + number / 8 + 1 / 16 for number in range(8 * burst)]
    assert any(windows.open(now, kept) for now in moments) == windows.ever_open(kept)
