"""Intake and outbox on a real server: slots kept, interruptions survived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from heddle import events, subjects
from heddle.broker.connect import connected, js_api
from heddle.broker.intake import Delivery, Intake, Source
from heddle.broker.outbox import Outbox
from heddle.broker.periodic import every
from heddle.broker.server import embedded
from heddle.broker.streams import make_consumer, make_streams
from heddle.broker.upkeep import looked_after
from heddle.errors import Refused
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer
from tests.support import Ground, eventually, on_ground


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def source(ground: Ground, worker_type: str) -> Source:
    async def make() -> None:
        await make_consumer(
            ground.client,
            subjects.TASKS,
            f"{worker_type}=local",
            filter_subject=f"heddle.tasks.{worker_type}.local",
            ack_wait=5,
            max_ack_pending=100,
        )

    return Source(subjects.TASKS, 1, f"{worker_type}=local", make)


async def test_no_more_than_the_slots_are_ever_held(ground: Ground) -> None:
    held: list[Delivery] = []

    async def keep(delivery: Delivery) -> None:
        held.append(delivery)

    intake = Intake(ground.client, 4, keep, ground.observer)
    for name in ("a", "b"):
        await intake.add(source(ground, name))
    for number in range(20):
        await ground.client.publish(f"heddle.tasks.{'ab'[number % 2]}.local", b"%d" % number)
    most = seen = 0
    while seen < 20:
        await eventually(_sight(lambda: len(held)), lambda count: count > 0)
        most = max(most, len(held))
        await intake.ack(held.pop(0))
        seen += 1
    assert most <= 4
    await intake.stop()


async def test_a_busy_source_leaves_a_slot_for_every_other_one(ground: Ground) -> None:
    seen: dict[str, int] = {}
    first = asyncio.Event()

    async def count(delivery: Delivery) -> None:
        name = delivery.subject.split(".")[2]
        seen[name] = seen.get(name, 0) + 1
        if name == "quiet":
            first.set()
        else:
            await intake.ack(delivery)

    intake = Intake(ground.client, 64, count, ground.observer)
    for name in ("busy", "other", "quiet"):
        await intake.add(source(ground, name))
    for _ in range(500):
        await ground.client.publish("heddle.tasks.busy.local", b"x")
    await eventually(_sight(lambda: seen.get("busy", 0)), lambda count: count == 500)
    await ground.client.publish("heddle.tasks.quiet.local", b"x")
    async with asyncio.timeout(5):  # well below the time after which an idle ask is given up
        await first.wait()
    await intake.stop()


async def test_more_sources_than_slots_take_turns(ground: Ground) -> None:
    seen: set[str] = set()

    async def note(delivery: Delivery) -> None:
        seen.add(delivery.subject)
        await intake.ack(delivery)

    intake = Intake(ground.client, 2, note, ground.observer)
    async with looked_after(intake):
        for number in range(6):
            await intake.add(source(ground, f"t{number}"))
        for number in range(6):
            await ground.client.publish(f"heddle.tasks.t{number}.local", b"x")
        await eventually(_sight(lambda: len(seen)), lambda count: count == 6)
        await intake.stop()


async def test_a_consumer_that_is_deleted_is_made_again(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heddle.broker.intake.PULL_EXPIRES", 1.0)
    seen: list[bytes] = []

    async def note(delivery: Delivery) -> None:
        seen.append(delivery.body)
        await intake.ack(delivery)

    intake = Intake(ground.client, 4, note, ground.observer)
    async with looked_after(intake):
        await intake.add(source(ground, "a"))
        await js_api(ground.client, f"CONSUMER.DELETE.{subjects.TASKS}.a=local")
        await ground.client.publish("heddle.tasks.a.local", b"after")
        await eventually(_sight(lambda: len(seen)), lambda count: count == 1)
        await intake.stop()


async def test_a_refused_publish_names_the_servers_reason(ground: Ground) -> None:
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    subject = subjects.task_outcome("t", None, 0)
    await outbox.publish(subject, b"{}")
    with pytest.raises(Refused) as caught:
        await outbox.publish(subject, b"{}")
    assert caught.value.code == 10077


async def test_a_body_that_leaves_no_room_for_headers_is_refused_and_the_connection_lives(ground: Ground) -> None:
    outbox = Outbox(ground.client, ground.observer)
    await outbox.start()
    with pytest.raises(Refused):
        await outbox.publish(subjects.GOALS_INCOMING, b"x" * ground.client.max_payload, {"Nats-Msg-Id": "1"})
    assert ground.client.is_connected


async def test_work_goes_on_after_the_server_restarts(tmp_path: Path) -> None:
    observer = Observer()
    with embedded(tmp_path) as server:
        port = int(server.url.rsplit(":", 1)[1])
        async with connected(server.url, "test", observer) as client:
            ground = Ground(client, await make_streams(client, StreamSettings(), observer), observer)
    seen: list[bytes] = []

    async def note(delivery: Delivery) -> None:
        seen.append(delivery.body)
        await intake.ack(delivery)

    with embedded(tmp_path, port=port) as server:
        manager = connected(server.url, "test", observer)
        client = await manager.__aenter__()
        ground = Ground(client, ground.streams, observer)
        intake = Intake(client, 4, note, observer)
        outbox = Outbox(client, observer)
        await outbox.start()
        await intake.add(source(ground, "a"))
    async with looked_after(intake, outbox):
        late = asyncio.create_task(outbox.publish("heddle.tasks.a.local", b"while it was away", {"Nats-Msg-Id": "1"}))
        with embedded(tmp_path, port=port):
            await eventually(_sight(lambda: len(seen)), lambda count: count == 1)
            await late
            await intake.stop()
            await manager.__aexit__(None, None, None)
    assert observer.total(events.RECONNECTED) == 1


def _sight(look: Callable[[], int]) -> Callable[[], Awaitable[int]]:
    async def sight() -> int:
        return look()

    return sight


async def test_a_stream_that_is_gone_is_told(ground: Ground) -> None:
    async def take(_: Delivery) -> None:
        pass

    now = 0.0
    intake = Intake(ground.client, 4, take, ground.observer, lambda: now)
    await intake.add(source(ground, "a"))
    await js_api(ground.client, f"STREAM.DELETE.{subjects.TASKS}")
    now = 100.0  # the server may end the ask with a word or without
    await intake.look_after()
    await eventually(_sight(lambda: ground.observer.total(events.BROKER_TROUBLE)), lambda times: times == 1)
    await make_streams(ground.client, StreamSettings(), ground.observer)
    await eventually(_sight(lambda: ground.observer.total(events.BROKER_TROUBLE)), lambda times: times == 2)
    await intake.stop()


async def test_a_round_that_fails_is_logged_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    rounds: list[int] = []

    async def work() -> None:
        rounds.append(len(rounds))
        if rounds == [0]:
            raise KeyError("odd")

    async with every(0.0, work, at_once=True):
        await eventually(_sight(lambda: len(rounds)), lambda count: count >= 2)
    assert "odd" in caplog.text
