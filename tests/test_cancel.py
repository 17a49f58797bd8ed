"""Cancelling a task or a goal in every state: it ends once, as failed with the code `cancelled`, and says who wanted it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from heddle import macro, retry, subjects
from heddle.broker.cancellations import Cancellations, cancel
from heddle.control.goals import GoalShown, approve_goal, cancel_goal, goal_shown, new_goal, submit_goal
from heddle.control.replay import replay
from heddle.control.tasks import cancel_task, task_history, task_shown
from heddle.llm.model import Answer
from heddle.messages import TaskResult
from heddle.planning.prompt import Prompt
from heddle.testing import ScriptedModel
from tests.support import RULES, Broken, Echoed, Ground, Word, echo, eventually, on_ground, registry_of

HELLO = '{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}'
TASK = {"worker_type": "echo", "payload": {}, "task_id": "t", "model_tier": "local"}
WAITING = RULES.replace("max_wait: 0s", "max_wait: 1h").replace("echo: {}", "echo: {tier: slow}")


@pytest.fixture
async def ground(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setattr("heddle.router.serving.SWEEP_EVERY", 0.1)
    monkeypatch.setattr("heddle.router.serving.EXPIRY_EVERY", 0.1)
    async with on_ground(nats_url) as ground:
        yield ground


async def ended(ground: Ground, task_id: str = "t", generation: int = 0) -> TaskResult:
    history = await eventually(lambda: task_history(ground.client, task_id), lambda seen: generation in seen.outcomes)
    return history.outcomes[generation]


async def cancelled(ground: Ground, task_id: str = "t") -> str:
    """Cancel a task and see it end; its error."""
    asked = await cancel_task(ground.client, task_id, by="ada@host")
    assert (asked.generation, asked.ended) == (0, None)
    outcome = await ended(ground, task_id)
    (letter,) = [letter for letter in await ground.letters() if letter.task_id == task_id]
    assert (outcome.status, letter.code) == ("failed", "cancelled")
    return outcome.error or ""


# --- tasks


async def test_a_task_before_a_router(ground: Ground) -> None:
    await ground.publish(subjects.TASKS_INCOMING, TASK)
    await cancel_task(ground.client, "t", by="ada@host")
    async with ground.router():
        assert (await ended(ground)).error == "cancelled: ada@host cancelled it before it was dispatched"
        await ground.empty(subjects.INCOMING)
    assert await ground.waiting(subjects.TASKS) == 0


async def test_a_task_that_is_cancelled_before_it_comes(ground: Ground) -> None:
    async with ground.router(), ground.worker():
        await cancel_task(ground.client, "t", by="ada@host")
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        assert (await ended(ground)).error == "cancelled: ada@host cancelled it before it was dispatched"


async def test_others_of_the_same_moment_go_their_way(ground: Ground) -> None:
    async with ground.router(), ground.worker():
        await cancel_task(ground.client, "t", by="ada@host")
        for task_id in ("s", "t", "u"):
            await ground.publish(subjects.TASKS_INCOMING, TASK | {"task_id": task_id})
        outcomes = {outcome.task_id: outcome.status for outcome in await ground.outcomes(3)}
    assert outcomes == {"s": "completed", "t": "failed", "u": "completed"}


async def test_a_task_that_waits_for_a_token(ground: Ground) -> None:
    async with ground.router(WAITING):
        await ground.publish(subjects.TASKS_INCOMING, TASK | {"task_id": "first"})
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await eventually(lambda: task_shown(ground.client, "t"), lambda shown: shown.place == "waiting")
        assert await cancelled(ground) == "cancelled: ada@host cancelled it while it waited"
        await ground.empty(subjects.DEFER)


async def test_a_task_that_waits_for_its_next_attempt(ground: Ground) -> None:
    @macro(name="echo", tier="local", fails={Broken: retry(times=3, backoff=3600)})
    async def failing(request: Word) -> Echoed:
        """Fail for now."""
        raise Broken("not yet")

    async with ground.router(), ground.worker(registry_of(failing)):
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await eventually(lambda: ground.waiting(subjects.DEFER), bool)
        assert await cancelled(ground) == "cancelled: ada@host cancelled it while it waited"
        await ground.empty(subjects.DEFER)


async def test_a_queued_task_that_no_worker_takes(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await eventually(lambda: ground.waiting(subjects.TASKS), bool)
        await eventually(lambda: task_shown(ground.client, "t"), lambda shown: shown.place == "queued")
        assert await cancelled(ground) == "cancelled: ada@host cancelled it before a worker took it"
        await ground.empty(subjects.TASKS)


async def test_a_queued_task_without_a_router(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await ground.empty(subjects.INCOMING)
    await cancel_task(ground.client, "t", by="ada@host")
    async with ground.worker():
        assert (await ended(ground)).error == "cancelled: ada@host cancelled it before a worker started it"


async def test_a_running_task(ground: Ground) -> None:
    started = asyncio.Event()

    @macro(name="echo", tier="local")
    async def slow(request: Word) -> Echoed:
        """Take long."""
        started.set()
        await asyncio.sleep(60)
        return Echoed(word="")

    async with ground.router(), ground.worker(registry_of(slow)):
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await started.wait()
        assert await cancelled(ground) == "cancelled: ada@host cancelled it while it ran"


async def test_a_task_that_has_ended(ground: Ground) -> None:
    async with ground.router(), ground.worker():
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await ended(ground)
    asked = await cancel_task(ground.client, "t", by="ada@host")
    assert asked.ended is not None
    assert asked.ended.status == "completed"


async def test_a_replay_is_cancelled_in_its_own_generation(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, TASK | {"worker_type": "nobody"})
        (letter,) = await ground.letters()
    _ = [step async for step in replay(ground.client, [letter.id], by="bob@host")]
    asked = await cancel_task(ground.client, "t", by="ada@host")
    async with ground.router():
        outcome = await ended(ground, generation=1)
    assert (asked.generation, (outcome.error or "").partition(":")[0]) == (1, "cancelled")


async def test_a_cancelled_task_that_is_replayed_runs(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, TASK)
        await cancelled(ground)
        (letter,) = await ground.letters()
        _ = [step async for step in replay(ground.client, [letter.id], by="bob@host")]
        async with ground.worker():
            assert (await ended(ground, generation=1)).status == "completed"


# --- goals


async def asked(ground: Ground, text: str = "echo hello") -> str:
    goal = new_goal(text)
    await submit_goal(ground.client, goal)
    return goal.goal_id or ""


async def goal_ended(ground: Ground, goal_id: str, generation: int = 0) -> GoalShown:
    async def look() -> GoalShown | None:
        return await goal_shown(ground.client, goal_id)

    over = {"completed", "partial", "failed"}
    shown = await eventually(look, lambda seen: seen is not None and seen.line.generation == generation and seen.line.standing in over)
    assert shown is not None
    return shown


async def test_a_goal_before_an_orchestrator_ends_without_a_model_call(ground: Ground) -> None:
    model = ScriptedModel(HELLO)
    goal_id = await asked(ground)
    await cancel_goal(ground.client, goal_id, by="ada@host")
    async with ground.orchestrator(model, "off"):
        shown = await goal_ended(ground, goal_id)
    assert (shown.line.error, model.prompts) == ("cancelled: ada@host cancelled it before its tasks were sent", [])
    assert [(kept.letter.code, kept.letter.kind) for kept in shown.letters] == [("cancelled", "goal")]


async def test_a_goal_while_the_model_is_asked_sends_no_task(ground: Ground) -> None:
    called, answer = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedModel):
        async def complete(self, prompt: Prompt) -> Answer:
            called.set()
            await answer.wait()
            return await super().complete(prompt)

    async with ground.router(), ground.orchestrator(Slow(HELLO), "off"):
        goal_id = await asked(ground)
        await called.wait()
        shown = await goal_shown(ground.client, goal_id)
        await cancel_goal(ground.client, goal_id, by="ada@host")
        await ground.client.flush()  # the orchestrator, on the same connection, has heard of it
        answer.set()
        end = await goal_ended(ground, goal_id)
    assert shown is not None
    assert (shown.line.standing, end.line.error) == ("planning", "cancelled: ada@host cancelled it before its tasks were sent")
    assert await ground.waiting(subjects.TASKS) == 0


async def test_a_goal_that_waits_for_its_approval_cannot_be_approved_any_more(ground: Ground) -> None:
    @macro(name="echo", effects="irreversible", tier="local")
    async def lasting(request: Word) -> Echoed:
        """Say a word for good."""
        return Echoed(word=request.word)

    async with ground.router(), ground.orchestrator(ScriptedModel(HELLO), "off", registry_of(lasting)):
        goal_id = await asked(ground)

        async def look() -> GoalShown | None:
            return await goal_shown(ground.client, goal_id)

        await eventually(look, lambda seen: seen is not None and seen.line.standing == "parked")
        await cancel_goal(ground.client, goal_id, by="ada@host")
        end = await goal_ended(ground, goal_id)
        await eventually(lambda: approve_goal(ground.client, goal_id, "bob"), lambda seen: seen is None)
    assert (end.line.standing, end.line.error) == ("failed", "cancelled: ada@host cancelled it before its tasks were sent")


async def test_a_running_goal_ends_with_all_its_tasks_cancelled_and_what_has_ended_stays(ground: Ground) -> None:
    started = asyncio.Event()

    @macro(name="broken", tier="local", phrases=["break {word}"])
    async def slow(request: Word) -> Echoed:
        """Take long."""
        started.set()
        await asyncio.sleep(60)
        return Echoed(word="")

    registry = registry_of(echo, slow)
    async with ground.router(), ground.worker(registry), ground.orchestrator(registry=registry):
        goal_id = await asked(ground, "echo hello and break it")
        await started.wait()
        await eventually(lambda: task_history(ground.client, f"{goal_id}-1"), lambda seen: bool(seen.outcomes))
        await cancel_goal(ground.client, goal_id, by="ada@host")
        end = await goal_ended(ground, goal_id)
    statuses = {result.task_id: result.error for result in end.outcomes.values()}
    assert end.line.standing == "partial"
    assert statuses == {f"{goal_id}-1": None, f"{goal_id}-2": "cancelled: ada@host cancelled it while it ran"}


async def test_a_cancelled_goal_that_is_replayed_completes(ground: Ground) -> None:
    goal_id = await asked(ground)
    await cancel_goal(ground.client, goal_id, by="ada@host")
    async with ground.router(), ground.worker(), ground.orchestrator():
        (kept,) = (await goal_ended(ground, goal_id)).letters
        _ = [step async for step in replay(ground.client, [kept.letter.id], by="bob@host")]
        assert (await goal_ended(ground, goal_id, generation=1)).line.standing == "completed"


async def test_a_goal_that_has_ended_or_is_unknown_is_left_alone(ground: Ground) -> None:
    async with ground.router(), ground.worker(), ground.orchestrator():
        goal_id = await asked(ground)
        await goal_ended(ground, goal_id)
    over = await cancel_goal(ground.client, goal_id, by="ada@host")
    assert over is not None
    assert over.ended is not None
    assert over.ended.status == "completed"
    assert await cancel_goal(ground.client, "nobody", by="ada@host") is None


async def test_the_replayed_tasks_of_a_goal_that_has_ended_are_cancelled(ground: Ground) -> None:
    async with ground.router(), ground.orchestrator():
        goal_id = await asked(ground, "surprise me")
        (kept,) = (await goal_ended(ground, goal_id)).letters
    _ = [step async for step in replay(ground.client, [kept.letter.id], by="bob@host")]
    await cancel_goal(ground.client, goal_id, by="ada@host")
    async with ground.router():
        outcome = await ended(ground, f"{goal_id}-1", generation=1)
    assert outcome.error == "cancelled: ada@host cancelled it before it was dispatched"


async def test_a_role_forgets_what_was_cancelled_when_the_bucket_does(ground: Ground) -> None:
    now = 0.0
    cancellations = Cancellations(ground.client, lambda _: None, lambda: now)
    await cancel(ground.client, subjects.cancelled_task("t", 0), "ada@host")
    await cancellations.look()
    assert cancellations.known
    now = 24 * 3600.0
    await cancellations.look()
    assert not cancellations.known


async def test_who_deletes_an_entry_cancels_nothing(ground: Ground) -> None:
    bucket = await ground.client.jetstream().key_value(subjects.CANCEL)
    await bucket.delete("task.abc.0")
    cancellations = Cancellations(ground.client, lambda _: None)
    await cancellations.look()
    assert not cancellations.known
