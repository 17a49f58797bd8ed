"""What a dry run says of a letter: by the rules in force, the workers that are announced, and the macros at hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from heddle import macro, subjects
from heddle.control.deadletters import Wanted
from heddle.control.fleet import workers
from heddle.control.forecast import Forecast, forecast
from heddle.planning.offer import Offers
from heddle.router.reading import parse_rules
from heddle.router.reload import Drift
from tests.support import RULES, Echoed, Ground, Word, echo, eventually, on_ground, registry_of

TASK = {"worker_type": "nobody", "payload": {"word": "x"}, "task_id": "t", "model_tier": "local"}


class Strict(BaseModel):
    number: int


@macro(name="nobody", tier="local")
async def strict(request: Strict) -> Echoed:
    """Take numbers."""
    return Echoed(word=str(request.number))


@macro(name="nobody", tier="local")
async def nobody(request: Word) -> Echoed:
    """Take words."""
    return Echoed(word=request.word)


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def foretold(ground: Ground, rules: str, offers: Offers | None = None, chosen: Any = None, **patch: Any) -> Forecast:
    """The forecast of the one letter, under these rules."""
    async with ground.router(rules) as router:
        await Drift(router, "rules.yaml").look()
        (only,) = [one async for one in forecast(ground.client, chosen or Wanted(), now=time.time(), offers=offers, patch=patch or None)]
    return only


async def dead(ground: Ground, **more: Any) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, TASK | more)
        await ground.letters()


KNOWN = RULES + "  nobody: {}\n"


async def test_a_task_that_would_be_refused_again_says_why(ground: Ground) -> None:
    await dead(ground)
    told = await foretold(ground, RULES)
    digest = parse_rules(RULES).digest
    assert (told.ok, told.told.startswith(f"refused again by rules {digest}: unknown_tier: ")) == (False, True)


async def test_a_task_that_nobody_serves_would_wait(ground: Ground) -> None:
    await dead(ground)
    told = await foretold(ground, KNOWN)
    assert (told.ok, told.told) == (True, "to tier local by its own wish; no worker serves nobody there yet: it waits in its queue")


async def test_a_task_that_somebody_serves_would_go_there(ground: Ground) -> None:
    await dead(ground)
    async with ground.worker(registry_of(nobody)):
        told = await foretold(ground, KNOWN.replace("nobody: {}", "nobody: {tier: local}"), registry_of(nobody))
    assert (told.ok, told.told) == (
        True,
        "to tier local by worker_types.nobody; its payload fits nobody 1; 1 worker serves nobody",
    )


async def test_a_payload_that_does_not_fit_the_macro_says_which_field(ground: Ground) -> None:
    await dead(ground)
    told = await foretold(ground, KNOWN, registry_of(strict))
    assert not told.ok
    assert "invalid_payload" in told.told
    assert "number" in told.told


async def test_a_version_that_no_worker_reads_would_fail(ground: Ground) -> None:
    await dead(ground, macro_version=7)
    async with ground.worker(registry_of(nobody)):
        await eventually(lambda: workers(ground.client), bool)
        told = await foretold(ground, KNOWN)
    assert (told.ok, "unknown_version: no worker there reads nobody 7" in told.told) == (False, True)


async def test_a_patch_is_foretold_too(ground: Ground) -> None:
    await dead(ground)
    told = await foretold(ground, RULES, registry_of(echo), worker_type="echo")
    assert told.ok
    assert "its payload fits echo 1" in told.told


async def test_a_letter_that_cannot_be_replayed_and_an_unknown_one_say_so(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, b"[]")
        (letter,) = await ground.letters()
    assert "not replayed: " in (await foretold(ground, RULES)).told
    assert "no such letter" in (await foretold(ground, RULES, chosen=["nothing"])).told
    assert letter.code == "invalid_task_message"


async def test_a_goal_would_be_planned_again(ground: Ground) -> None:
    async with ground.orchestrator(registry=registry_of(strict)):
        await ground.publish(subjects.GOALS_INCOMING, {"instruction": "do what nobody can", "goal_id": "g"})
        await ground.letters()
    told = await foretold(ground, RULES)
    assert (told.ok, told.told) == (True, "planned again, as generation 1")


async def test_without_a_router_a_task_would_wait_for_one(ground: Ground) -> None:
    await dead(ground)
    (told,) = [one async for one in forecast(ground.client, Wanted(), now=time.time())]
    assert (told.ok, told.told) == (True, "no router is announced: it waits in heddle.tasks.incoming")


async def test_a_dry_run_sends_and_removes_nothing(ground: Ground) -> None:
    await dead(ground)
    before = await ground.waiting(subjects.DEAD)
    await foretold(ground, KNOWN)
    held = [await ground.waiting(name) for name in (subjects.DEAD, subjects.INCOMING, subjects.TASKS, subjects.AUDIT)]
    assert held == [before, 0, 0, 0]
