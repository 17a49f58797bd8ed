"""The floor: what bare nats-py does with the same streams, the raw window and nothing else. Roles are processes of their own.

python benchmarks/_floor.py work|relay|sink --server URL --tasks N     (the benchmarks start it so)
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import nats

WINDOW = 1024
PULL = json.dumps({"batch": WINDOW // 2, "expires": 30 * 10**9}).encode()


async def bare_relay(url: str, source: str, durable: str, target: str, count: int, *, ids: bool) -> None:
    """Take `count` messages, publish each on to `target` (`%d` becomes its number), ack it after its PubAck."""
    nc = await nats.connect(url, pending_size=16 << 20)
    pulls, pubacks = nc.new_inbox(), nc.new_inbox()
    ask = f"$JS.API.CONSUMER.MSG.NEXT.{source}.{durable}"
    waiting: dict[str, str] = {}
    taken = acked = 0
    done = asyncio.Event()

    async def on_message(message: Any) -> None:
        nonlocal taken
        if not message.reply:
            return
        taken += 1
        token = str(taken)
        waiting[token] = message.reply
        subject = target % taken if "%d" in target else target
        headers = {"Nats-Msg-Id": f"{source}.{message.reply.split('.')[5]}.route"} if ids else None
        await nc.publish(subject, message.data, reply=f"{pubacks}.{token}", headers=headers)
        if taken % (WINDOW // 2) == 0:
            await nc.publish(ask, PULL, reply=pulls)

    async def on_puback(message: Any) -> None:
        nonlocal acked
        if b'"error"' in message.data:
            raise RuntimeError(message.data)
        await nc.publish(waiting.pop(message.subject.rsplit(".", 1)[1]), b"")
        acked += 1
        if acked == count:
            done.set()

    await nc.subscribe(f"{pubacks}.*", cb=on_puback, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await nc.subscribe(pulls, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    for _ in range(2):
        await nc.publish(ask, PULL, reply=pulls)
    await done.wait()
    await nc.flush()
    await nc.close()


async def sink(url: str, source: str, durable: str, count: int) -> None:
    """Take `count` messages and ack them, nothing else."""
    nc = await nats.connect(url, pending_size=16 << 20)
    pulls = nc.new_inbox()
    ask = f"$JS.API.CONSUMER.MSG.NEXT.{source}.{durable}"
    taken = 0
    done = asyncio.Event()

    async def on_message(message: Any) -> None:
        nonlocal taken
        if not message.reply:
            return
        taken += 1
        await nc.publish(message.reply, b"")
        if taken % (WINDOW // 2) == 0:
            await nc.publish(ask, PULL, reply=pulls)
        if taken == count:
            done.set()

    await nc.subscribe(pulls, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    for _ in range(2):
        await nc.publish(ask, PULL, reply=pulls)
    await done.wait()
    await nc.flush()
    await nc.close()


def main() -> None:
    """Run one bare role."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["work", "relay", "sink"])
    parser.add_argument("--server", required=True)
    parser.add_argument("--tasks", type=int, required=True)
    given = parser.parse_args()
    if given.role == "work":  # the worker's part: an outcome per task on a subject of its own
        outcome = "heddle.outcomes.loose.default.bare%d.0"
        asyncio.run(bare_relay(given.server, "HEDDLE_TASKS", "noop=local", outcome, given.tasks, ids=False))
    elif given.role == "sink":  # keeps the queue short
        asyncio.run(sink(given.server, "HEDDLE_TASKS", "noop=local", given.tasks))
    else:  # the router's part: on to the queue of the type and tier
        asyncio.run(bare_relay(given.server, "HEDDLE_INCOMING", "heddle-router", "heddle.tasks.noop.local", given.tasks, ids=True))


if __name__ == "__main__":
    main()
