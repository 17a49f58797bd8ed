"""Messages at the edge of what a server takes end or go on; none comes back for ever, and none costs the router its connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from heddle import events, subjects
from heddle.broker.connect import js_api, stored_from
from tests.support import Ground, eventually, on_ground

RULES = """\
version: 1
tiers: {paced: {rate: 1/h, burst: 1, max_wait: 1h}, free: {}}
limits: {max_payload: 1MiB}
worker_types: {echo: {tier: free}, paced: {tier: paced}}
"""


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def task(worker_type: str, size: int) -> bytes:
    empty = json.dumps({"worker_type": worker_type, "payload": {"text": ""}})
    return empty.replace('""', f'"{"x" * (size - len(empty))}"').encode()


@pytest.mark.parametrize("spare", [0, 100])
async def test_a_task_that_leaves_no_room_for_what_the_router_adds_ends_as_too_large(ground: Ground, spare: int) -> None:
    async with ground.router(RULES):
        await ground.publish(subjects.TASKS_INCOMING, task("echo", ground.client.max_payload - spare))
        (letter,) = await ground.letters()
        await ground.empty(subjects.INCOMING)
    assert (letter.code, ground.client.is_connected) == ("payload_too_large", True)


async def test_so_does_one_that_would_have_to_wait(ground: Ground) -> None:
    async with ground.router(RULES):
        await ground.publish(subjects.TASKS_INCOMING, task("paced", 100))
        await ground.publish(subjects.TASKS_INCOMING, task("paced", ground.client.max_payload - 100))
        (letter,) = await ground.letters()
        await ground.empty(subjects.INCOMING)
    assert letter.code == "payload_too_large"


async def test_a_header_that_the_client_library_does_not_publish_stops_no_task(ground: Ground, nats_url: str) -> None:
    head, body = b"NATS/1.0\r\nOdd@Name: 1\r\nOdd: \xff\r\nPlain: 2\r\n\r\n", task("echo", 100)
    address = urlsplit(nats_url)
    async with ground.router(RULES):
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        connect = b'CONNECT {"verbose": false, "headers": true}\r\n'
        writer.write(
            connect + b"HPUB %s %d %d\r\n" % (subjects.TASKS_INCOMING.encode(), len(head), len(head + body)) + head + body + b"\r\n"
        )
        await writer.drain()
        stored = await eventually(lambda: stored_from(ground.client, subjects.TASKS, 1, "heddle.tasks.*.*", 2), bool)
        await ground.empty(subjects.INCOMING)
        writer.close()
    assert stored[0].headers["Plain"] == "2"


async def test_a_task_that_its_queue_refuses_for_another_reason_than_being_full_waits_for_better_times(ground: Ground) -> None:
    async def troubles() -> int:
        return ground.observer.total(events.BROKER_TROUBLE)

    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.TASKS}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.TASKS}", config | {"max_msg_size": 10})
    async with ground.router(RULES):
        await ground.publish(subjects.TASKS_INCOMING, task("echo", 100))
        await eventually(troubles, bool)
        await js_api(ground.client, f"STREAM.UPDATE.{subjects.TASKS}", config)
        await ground.empty(subjects.INCOMING)
    assert await ground.waiting(subjects.TASKS) == 1
