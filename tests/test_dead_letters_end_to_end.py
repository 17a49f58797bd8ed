"""Every code from end to end: produce it, find it, read the remedy, put it right, replay it, see it complete and its goal amended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from heddle import macro, person_only, reject, subjects
from heddle.control.deadletters import Kept, Wanted, page
from heddle.control.goals import GoalShown, cancel_goal, goal_shown, new_goal, submit_goal
from heddle.control.replay import Done, Undone, replay
from heddle.errors import CODES, Code
from heddle.macros.loading import AnyMacro, Registry, load
from heddle.planner import make_planner
from heddle.router.ending import Ender
from heddle.router.expiry import Expiry
from heddle.router.reading import parse_rules
from heddle.router.router import Router
from heddle.settings import Settings, StreamSettings
from heddle.testing import ScriptedModel
from tests.support import RULES, Broken, Echoed, Ground, Word, echo, eventually, on_ground, planning, registry_of

HELLO = '{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}'


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def asked(ground: Ground, text: str) -> str:
    """Submit a goal; its id."""
    goal = new_goal(text)
    await submit_goal(ground.client, goal)
    return goal.goal_id or ""


async def found(ground: Ground, code: Code) -> Kept:
    """The one letter with this code, found as an operator finds it, with its remedy."""

    async def look() -> tuple[Kept, ...]:
        return (await page(ground.client, Wanted(code=code.value))).letters

    (kept,) = await eventually(look, lambda letters: len(letters) == 1)
    assert kept.letter.remedy == CODES[code].remedy
    return kept


async def replayed(ground: Ground, kept: Kept, patch: dict[str, Any] | None = None) -> Done:
    (step,) = [step async for step in replay(ground.client, [kept.letter.id], by="ada@host", patch=patch)]
    assert isinstance(step, Done), step
    return step


async def goal_in(ground: Ground, goal_id: str, standing: str) -> GoalShown:
    """The goal once it stands so."""

    async def look() -> GoalShown | None:
        return await goal_shown(ground.client, goal_id)

    shown = await eventually(look, lambda seen: seen is not None and seen.line.standing == standing)
    assert shown is not None
    return shown


async def amended(ground: Ground, goal_id: str, times: int = 1) -> None:
    """The goal's record says that all is done after all, and so does its newest outcome; no letter is left."""
    shown = await goal_in(ground, goal_id, "completed")
    record = shown.state.record if shown.state is not None else None
    assert record is not None
    assert [task["status"] for task in record["tasks"]] == ["completed"] * len(record["tasks"])
    assert (record["amendments"], shown.letters) == (times, ())
    assert shown.final is not None
    assert (shown.final.status, shown.final.output) == ("completed", record)


# --- codes of the router


async def test_unknown_tier(ground: Ground) -> None:
    async with ground.router() as router, ground.worker(), ground.orchestrator():
        goal_id = await asked(ground, "surprise me")
        kept = await found(ground, Code.UNKNOWN_TIER)
        await goal_in(ground, goal_id, "failed")
        router.use(parse_rules(RULES + "  unruled: {}\n"))
        await replayed(ground, kept)
        await amended(ground, goal_id)


async def test_rate_limited(ground: Ground) -> None:
    limited = ground.router(RULES.replace("echo: {}", "echo: {tier: slow}"))
    async with limited as router, ground.worker(tiers=["local", "slow"]), ground.orchestrator():
        goal_id = await asked(ground, "echo one and echo two")
        kept = await found(ground, Code.RATE_LIMITED)
        await goal_in(ground, goal_id, "partial")
        router.use(parse_rules(RULES.replace("echo: {}", "echo: {tier: local}")))
        await replayed(ground, kept)
        await amended(ground, goal_id)


async def test_payload_too_large(ground: Ground) -> None:
    async with ground.router(RULES + "limits: {max_payload: 300B}\n") as router, ground.worker(), ground.orchestrator():
        goal_id = await asked(ground, f"echo {'a' * 300}")
        kept = await found(ground, Code.PAYLOAD_TOO_LARGE)
        await goal_in(ground, goal_id, "failed")
        router.use(parse_rules(RULES))
        await replayed(ground, kept)
        await amended(ground, goal_id)


async def test_backlog_full(nats_url: str) -> None:
    async with on_ground(nats_url, StreamSettings(backlog_per_subject=1)) as ground, ground.router(), ground.orchestrator():
        goal_id = await asked(ground, "echo one and echo two")
        kept = await found(ground, Code.BACKLOG_FULL)
        async with ground.worker():
            await goal_in(ground, goal_id, "partial")
            await replayed(ground, kept)
            await amended(ground, goal_id)


async def given_a_deadline(ground: Ground, router: Router, expires_at: datetime) -> str:
    """A goal whose task an operator put right and sent again, to be done by then; a plan itself sets no deadline."""
    goal_id = await asked(ground, "surprise me")
    kept = await found(ground, Code.UNKNOWN_TIER)
    await goal_in(ground, goal_id, "failed")
    router.use(parse_rules(RULES + "  unruled: {}\n"))
    await replayed(ground, kept, {"expires_at": expires_at.isoformat()})
    return goal_id


async def test_no_worker(ground: Ground) -> None:
    async with ground.router() as router, ground.orchestrator():
        goal_id = await given_a_deadline(ground, router, datetime.now(UTC) + timedelta(seconds=30))
        await ground.empty(subjects.INCOMING)

        def an_hour_later() -> float:
            return router.clock() + 3600

        ender = Ender(ground.client, router.outbox, ground.observer, "r1", lambda: "digest", an_hour_later)
        await Expiry(ground.client, ground.streams, ender, {}, an_hour_later).round()
        kept = await found(ground, Code.NO_WORKER)
        async with ground.worker():
            await replayed(ground, kept, {"expires_at": None})
            await amended(ground, goal_id, times=2)


async def test_expired(ground: Ground) -> None:
    async with ground.router() as router, ground.worker(), ground.orchestrator():
        goal_id = await given_a_deadline(ground, router, datetime(2020, 1, 1, tzinfo=UTC))
        await replayed(ground, await found(ground, Code.EXPIRED), {"expires_at": None})
        await amended(ground, goal_id, times=2)


async def test_a_replay_loop_stops_as_loop_and_goes_on_when_it_is_mended(ground: Ground) -> None:
    """Whoever replays everything that comes back is stopped: first by the limit of hops, then by the letter that tells of it."""
    async with ground.router(RULES + "limits: {max_hops: 3}\n"), ground.orchestrator():
        async with ground.worker():
            goal_id = await asked(ground, "break it")
            for _ in range(3):
                await replayed(ground, await found(ground, Code.HANDLER_FAILED))
            kept = await found(ground, Code.LOOP)
            (step,) = [step async for step in replay(ground.client, Wanted(), by="a script")]
            assert isinstance(step, Undone)
            assert "--patch '{\"hops\": 0}'" in step.why

        @macro(name="broken", tier="local")
        async def mended(request: Word) -> Echoed:
            """Do as asked."""
            return Echoed(word=request.word)

        async with ground.worker(registry_of(mended)):
            await replayed(ground, kept, {"hops": 0})
            await amended(ground, goal_id, times=4)


# --- codes of the worker


async def after_another_worker(ground: Ground, code: Code, first: AnyMacro | Registry, then: AnyMacro) -> Kept:
    """A goal whose task ends with this code at one worker and completes at the next, where a replay brings it."""
    async with ground.router(), ground.orchestrator(registry=registry_of(then)):
        async with ground.worker(first if isinstance(first, Registry) else registry_of(first)):
            goal_id = await asked(ground, "say hello")
            kept = await found(ground, code)
            await goal_in(ground, goal_id, "failed")
        async with ground.worker(registry_of(then)):
            await replayed(ground, kept)
            await amended(ground, goal_id)
    return kept


def saying(handler: Any, **promises: Any) -> Any:
    return macro(name="echo", tier="local", phrases=["say {word}"], **promises)(handler)


async def well(request: Word) -> Echoed:
    """Say a word again."""
    return Echoed(word=request.word)


async def test_handler_failed(ground: Ground) -> None:
    async def fail(request: Word) -> Echoed:
        raise Broken(request.word)

    kept = await after_another_worker(ground, Code.HANDLER_FAILED, saying(fail, fails={Broken: reject}), saying(well))
    assert kept.letter.reason == "handler_failed: Broken: hello"


class Words(BaseModel):
    words: list[str]


async def test_invalid_payload(ground: Ground) -> None:
    async def strict(request: Words) -> Echoed:
        return Echoed(word=request.words[0])

    await after_another_worker(ground, Code.INVALID_PAYLOAD, macro(name="echo", tier="local")(strict), saying(well))


async def test_unknown_version(ground: Ground) -> None:
    await after_another_worker(ground, Code.UNKNOWN_VERSION, saying(well), saying(well, version=2))


async def test_timed_out(ground: Ground) -> None:
    async def slow(request: Word) -> Echoed:
        await asyncio.sleep(60)
        return Echoed(word=request.word)

    await after_another_worker(ground, Code.TIMED_OUT, saying(slow, timeout=0.1), saying(well))


CRASHING = """
import os
from tests.support import Echoed, Word
from heddle import macro

@macro(name="echo", tier="local", pool="process")
def end_the_process(request: Word) -> Echoed:
    os._exit(3)
"""


async def test_crashed(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    await after_another_worker(ground, Code.CRASHED, load([str(tmp_path / "crashing.py")]), saying(well))


async def test_cancelled(ground: Ground) -> None:
    async with ground.router(), ground.orchestrator():
        goal_id = await asked(ground, "echo hello")
        await goal_in(ground, goal_id, "running")
        await cancel_goal(ground.client, goal_id, by="bob@host")
        async with ground.worker():
            kept = await found(ground, Code.CANCELLED)
            assert "bob@host cancelled it" in kept.letter.reason
            await goal_in(ground, goal_id, "failed")
            await replayed(ground, kept)
            await amended(ground, goal_id)


# --- codes of the orchestrator: the goal itself is sent again


async def completed_again(ground: Ground, goal_id: str) -> None:
    """The goal was planned anew in its next generation, and completed."""
    shown = await goal_in(ground, goal_id, "completed")
    assert (shown.line.generation, shown.letters) == (1, ())


async def test_an_expired_approval(ground: Ground) -> None:
    @macro(name="echo", effects="irreversible", tier="local")
    async def lasting(request: Word) -> Echoed:
        """Say a word for good."""
        return Echoed(word=request.word)

    settings = planning("off", approval_wait=0.1)
    registry = registry_of(lasting)
    async with ground.router(), ground.worker(registry), ground.orchestrator(ScriptedModel(HELLO), registry=registry, settings=settings):
        goal_id = await asked(ground, "say hello")
        await replayed(ground, await found(ground, Code.EXPIRED), {"approved": True})
        await completed_again(ground, goal_id)


async def test_invalid_task_message(ground: Ground) -> None:
    async with ground.router(), ground.worker(), ground.orchestrator():
        await ground.publish(subjects.GOALS_INCOMING, {"goal_id": "g", "instruction": "echo hello", "priority": "urgent"})
        kept = await found(ground, Code.INVALID_TASK_MESSAGE)
        assert "priority" in kept.letter.reason
        await replayed(ground, kept, {"priority": "high"})
        await completed_again(ground, "g")


class Guarded(BaseModel):
    word: str = ""
    write: Annotated[bool, person_only] = False


@macro(name="echo", tier="local")
async def guarded(request: Guarded) -> Echoed:
    """Say a word again."""
    return Echoed(word=request.word)


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (Code.NO_PLAN, "no JSON"),
        (Code.UNSAFE_PLAN, '{"tasks": [{"macro": "echo", "arguments": {"word": "hello", "write": true}}]}'),
    ],
)
async def test_no_plan_and_unsafe_plan(ground: Ground, code: Code, answer: str) -> None:
    registry = registry_of(guarded)
    async with ground.router(), ground.worker(registry), ground.orchestrator(ScriptedModel(answer, HELLO), "off", registry):
        goal_id = await asked(ground, "say hello")
        await replayed(ground, await found(ground, code))
        await completed_again(ground, goal_id)


async def test_unsupported_goal(ground: Ground) -> None:
    async with ground.router(), ground.worker(), ground.orchestrator(registry=registry_of(guarded)) as orchestrator:
        goal_id = await asked(ground, "echo hello")
        kept = await found(ground, Code.UNSUPPORTED_GOAL)
        orchestrator.planner = make_planner(registry_of(echo), None, planning("first"))
        await replayed(ground, kept)
        await completed_again(ground, goal_id)


async def test_a_goal_that_is_replayed_too_often_ends_as_loop(ground: Ground) -> None:
    async with ground.orchestrator(registry=registry_of(guarded)):
        goal_id = await asked(ground, "do what nobody can")
        for _ in range(Settings().orchestrator.max_replays + 1):
            await replayed(ground, await found(ground, Code.UNSUPPORTED_GOAL))
        kept = await found(ground, Code.LOOP)
        (step,) = [step async for step in replay(ground.client, Wanted(), by="a script")]
    assert kept.letter.task_id == goal_id
    assert isinstance(step, Undone)


def test_every_code_has_a_test_here() -> None:
    text = Path(__file__).read_text()
    assert not [code for code in Code if f"Code.{code.name}" not in text]
