"""Letters sent again: once each, whoever asks; counted; and what they are is kept."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from heddle import subjects
from heddle.broker.connect import js_api
from heddle.control.deadletters import Wanted, letter, page
from heddle.control.replay import Done, Step, Undone, history, replay
from heddle.messages import DeadLetter
from tests.support import RULES, Ground, on_ground

WITH_NOBODY = RULES.replace("worker_types:", "worker_types:\n  nobody: {}")


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def dead(ground: Ground, *ids: str, **more: Any) -> list[DeadLetter]:
    """Tasks of a worker type that the rules do not know, and their letters."""
    async with ground.router():
        for task_id in ids:
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "nobody", "payload": {}, "task_id": task_id, **more})
        return await ground.letters(len(ids))


async def replayed(ground: Ground, chosen: Any, by: str = "ada@host", **more: Any) -> list[Step]:
    return [step async for step in replay(ground.client, chosen, by=by, **more)]


async def incoming(ground: Ground) -> list[dict[str, Any]]:
    """What waits for a router."""
    found: list[dict[str, Any]] = []
    state = (await js_api(ground.client, f"STREAM.INFO.{subjects.INCOMING}"))["state"]
    for sequence in range(state["first_seq"], state["last_seq"] + 1):
        told = await js_api(ground.client, f"STREAM.MSG.GET.{subjects.INCOMING}", {"seq": sequence})
        found.append(json.loads(base64.b64decode(told["message"]["data"])))
    return found


async def test_a_replay_raises_the_generation_clears_the_attempt_and_adds_a_hop(ground: Ground) -> None:
    (found,) = await dead(ground, "t", attempt=3, hops=2, other={"kept": [1.50]})
    steps = await replayed(ground, [found.id])
    (sent,) = await incoming(ground)
    assert [type(step) for step in steps] == [Done]
    assert (sent["generation"], sent["attempt"], sent["hops"], sent["task_id"], sent["other"]) == (1, 1, 3, "t", {"kept": [1.5]})


async def test_what_was_replayed_is_no_dead_letter_any_more_and_stands_in_the_trail(ground: Ground) -> None:
    (found,) = await dead(ground, "t")
    await replayed(ground, [found.id])
    trail = (await history(ground.client)).entries
    assert (await letter(ground.client, found.id), (await page(ground.client)).letters) == (None, ())
    assert [(one.action, one.by, one.letter_id, one.task_id, one.generation) for one in trail] == [("replay", "ada@host", found.id, "t", 1)]


async def test_of_two_operators_the_first_wins_and_the_second_is_told_who_was_first(ground: Ground) -> None:
    ids = [found.id for found in await dead(ground, *(f"t{number}" for number in range(50)))]
    first, second = await asyncio.gather(replayed(ground, ids, by="ada@host"), replayed(ground, Wanted(), by="bob@host"))
    done = [step for step in [*first, *second] if isinstance(step, Done)]
    told = [step.why for step in [*first, *second] if isinstance(step, Undone)]
    assert sorted(step.letter.id for step in done) == sorted(ids)
    assert all("@host replayed it at" in why for why in told)
    assert len(await incoming(ground)) == 50
