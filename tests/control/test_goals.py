"""Goals and tasks in lists, one by one, and their records when a replay changes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from heddle import events, macro, subjects
from heddle.broker.outbox import Outbox
from heddle.control.goals import GoalShown, goal_shown, goals_page, new_goal, newest_final, submit_goal
from heddle.control.replay import replay
from heddle.control.tasks import task_history, task_shown, tasks_page
from heddle.llm.model import Answer
from heddle.orchestrator.amendments import amend
from heddle.planning.prompt import Prompt
from heddle.router.reading import parse_rules
from heddle.testing import ScriptedModel
from tests.support import RULES, Echoed, Ground, Word, eventually, on_ground, registry_of

HELLO = '{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}'


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def asked(ground: Ground, text: str) -> str:
    goal = new_goal(text)
    await submit_goal(ground.client, goal)
    return goal.goal_id or ""


async def stands(ground: Ground, goal_id: str, standing: str) -> GoalShown:
    async def look() -> GoalShown | None:
        return await goal_shown(ground.client, goal_id)

    shown = await eventually(look, lambda seen: seen is not None and seen.line.standing == standing)
    assert shown is not None
    return shown


# --- lists


async def test_a_goal_is_listed_as_waiting_planning_running_and_ended(ground: Ground) -> None:
    called, answer = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedModel):
        async def complete(self, prompt: Prompt) -> Answer:
            called.set()
            await answer.wait()
            return await super().complete(prompt)

    goal_id = await asked(ground, "say hello")
    seen = [(await stands(ground, goal_id, "waiting")).line]
    async with ground.router(), ground.orchestrator(Slow(HELLO), "off"):
        await called.wait()
        seen.append((await stands(ground, goal_id, "planning")).line)
        answer.set()
        seen.append((await stands(ground, goal_id, "running")).line)
        async with ground.worker():
            seen.append((await stands(ground, goal_id, "completed")).line)
    assert [(line.goal_id, line.instruction, line.tasks) for line in seen] == [
        (goal_id, "say hello", None),
        (goal_id, "say hello", None),
        (goal_id, "say hello", 1),
        (goal_id, "say hello", 1),
    ]
    assert seen[-1].total_ms is not None


async def test_goals_are_listed_by_where_they_stand_and_page_by_page(ground: Ground) -> None:
    async with ground.router(), ground.worker(), ground.orchestrator():
        texts = ["echo a", "break b", "echo c and break d", "what nobody can", "echo e"]
        ids = {text: await asked(ground, text) for text in texts}
        for text, standing in zip(texts, ["completed", "failed", "partial", "failed", "completed"], strict=True):
            await stands(ground, ids[text], standing)
    await asked(ground, "too late")

    async def listed(standing: str | None) -> set[str]:
        return {line.instruction for line in (await goals_page(ground.client, standing)).goals}  # type: ignore[arg-type]

    assert await listed("completed") == {"echo a", "echo e"}
    assert await listed("failed") == {"break b", "what nobody can"}
    assert await listed("partial") == {"echo c and break d"}
    assert await listed("waiting") == {"too late"}
    assert await listed("running") == set()
    first = await goals_page(ground.client, limit=3)
    second = await goals_page(ground.client, limit=3, before=first.older)
    assert (len(first.goals), len(second.goals), second.older) == (4, 2, None)  # those that wait are all on the first page
    assert {line.instruction for line in (*first.goals, *second.goals)} == {*texts, "too late"}


async def test_a_record_that_was_deleted_or_is_none_hides_no_other_goal(ground: Ground) -> None:
    async with ground.router(), ground.worker(), ground.orchestrator():
        gone, good = await asked(ground, "echo gone"), await asked(ground, "echo good")
        await stands(ground, gone, "completed")
        await stands(ground, good, "completed")
    records = await ground.client.jetstream().key_value(subjects.GOAL_RECORDS)
    await records.delete(f"{gone}.0")
    await records.put("by-hand.0", b"not json")
    never = json.loads((await records.get(f"{good}.0")).value or b"") | {"goal_id": "never", "stored": 1e300}
    await records.put("never.0", json.dumps(never).encode())
    assert [line.goal_id for line in (await goals_page(ground.client)).goals] == [good]
    assert await goal_shown(ground.client, gone) is None
    assert await goal_shown(ground.client, "by-hand") is None


async def test_an_outcome_that_is_none_hides_no_other_task(ground: Ground) -> None:
    async with ground.router(), ground.worker():
        good = await ground.run_task("echo", {"word": "hello"})
    await ground.publish("heddle.outcomes.loose.default.hand.0", b"not json")
    await ground.publish("heddle.outcomes.task.hand.hand.first", b'{"task_id": "t", "worker_type": "echo", "status": "failed"}')
    await ground.publish(
        "heddle.outcomes.goal.hand.final.0", b'{"task_id": "hand", "worker_type": "o", "status": "failed", "metadata": {"dead_letter": 7}}'
    )
    assert [result.task_id for _, result in (await tasks_page(ground.client)).tasks] == [good.task_id]
    assert await goal_shown(ground.client, "hand") is None


async def test_tasks_that_ended_are_listed_with_and_without_a_goal_and_goals_are_not_among_them(ground: Ground) -> None:
    async with ground.router(), ground.worker(), ground.orchestrator():
        goal_id = await asked(ground, "echo a and break b")
        await stands(ground, goal_id, "partial")
        await ground.run_task("echo", {"word": "x"}, tier="local")
    every = await tasks_page(ground.client)
    of_goal = await tasks_page(ground.client, goal_id, limit=1)
    rest = await tasks_page(ground.client, goal_id, limit=1, before=of_goal.older)
    assert sorted(result.worker_type for _, result in every.tasks) == ["broken", "echo", "echo"]
    assert {result.task_id for _, result in (*of_goal.tasks, *rest.tasks)} == {f"{goal_id}-1", f"{goal_id}-2"}
    assert rest.older is None


async def test_a_task_is_shown_where_it_is(ground: Ground) -> None:
    await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}, "task_id": "t", "model_tier": "local"})
    places = [(await task_shown(ground.client, "t")).place]
    async with ground.router():
        await ground.empty(subjects.INCOMING)
        places.append((await task_shown(ground.client, "t")).place)
        async with ground.worker():
            await ground.outcomes()
    places.append((await task_shown(ground.client, "t")).place)
    places.append((await task_shown(ground.client, "nobody")).place)
    assert places == ["incoming", "queued", "ended", None]


# --- amended records


async def test_two_replays_amend_a_record_twice_and_each_amendment_is_an_outcome_of_its_own(ground: Ground) -> None:
    async with ground.router() as router, ground.worker(), ground.orchestrator():
        goal_id = await asked(ground, "surprise one and surprise two and echo three")
        shown = await stands(ground, goal_id, "partial")
        router.use(parse_rules(RULES + "  unruled: {}\n"))
        statuses: list[str] = []
        for kept in shown.letters:
            _ = [step async for step in replay(ground.client, [kept.letter.id], by="ada@host")]
            finals = await ground.outcomes(2 + len(statuses), under=f"heddle.outcomes.goal.{goal_id}.>")
            statuses.append(finals[-1].output["status"])
    assert statuses == ["partial", "completed"]
    assert [final.output.get("amendments", 0) for final in finals] == [0, 1, 2]
    assert [task.get("generation", 0) for task in finals[-1].output["tasks"]] == [1, 1, 0]


async def test_a_replay_that_ends_before_its_goal_does_is_in_the_record_too(ground: Ground) -> None:
    finish = asyncio.Event()

    @macro(name="echo", tier="local", phrases=["echo {word}"])
    async def slow(request: Word) -> Echoed:
        """Take long."""
        await finish.wait()
        return Echoed(word=request.word)

    @macro(tier="local", phrases=["surprise {word}"])
    async def unruled(request: Word) -> Echoed:
        """Do what the rules do not know."""
        return Echoed(word=request.word)

    registry = registry_of(slow, unruled)
    async with ground.router() as router, ground.worker(registry), ground.orchestrator(registry=registry):
        goal_id = await asked(ground, "surprise one and echo two")
        (letter,) = await ground.letters()
        router.use(parse_rules(RULES + "  unruled: {}\n"))
        _ = [step async for step in replay(ground.client, [letter.id], by="ada@host")]
        await eventually(lambda: task_history(ground.client, f"{goal_id}-1"), lambda seen: 1 in seen.outcomes)
        assert (await stands(ground, goal_id, "running")).state is not None
        finish.set()
        await stands(ground, goal_id, "completed")


async def test_a_replay_that_fails_again_is_in_the_record_with_its_own_error(ground: Ground) -> None:
    async with ground.router() as router, ground.worker(), ground.orchestrator():
        goal_id = await asked(ground, "surprise me")
        (kept,) = (await stands(ground, goal_id, "failed")).letters
        router.use(parse_rules(RULES + "  unruled: {}\nlimits: {max_payload: 10B}\n"))
        _ = [step async for step in replay(ground.client, [kept.letter.id], by="ada@host")]
        *_, amended = await ground.outcomes(2, under=f"heddle.outcomes.goal.{goal_id}.>")
        (again,) = (await stands(ground, goal_id, "failed")).letters
    assert (amended.output["status"], amended.output["amendments"]) == ("failed", 1)
    assert (amended.error or "").startswith("payload_too_large: ")
    assert (again.letter.code, again.letter.generation) == ("payload_too_large", 1)


async def test_replicas_that_amend_at_once_leave_nothing_out(ground: Ground) -> None:
    async with ground.router() as router, ground.worker():
        async with ground.orchestrator():
            goal_id = await asked(ground, "surprise one and surprise two and surprise three")
            shown = await stands(ground, goal_id, "failed")
        router.use(parse_rules(RULES + "  unruled: {}\n"))
        ids = [kept.letter.id for kept in shown.letters]
        _ = [step async for step in replay(ground.client, ids, by="ada@host")]
        await ground.outcomes(6, under=f"heddle.outcomes.task.{goal_id}.>")
    records = await ground.client.jetstream().key_value(subjects.GOAL_RECORDS)
    outboxes = [Outbox(ground.client, ground.observer) for _ in range(4)]
    for outbox in outboxes:
        await outbox.start()
    await asyncio.gather(*(amend(ground.client, outbox, records, ground.observer, f"{goal_id}.0", 1_800_000_000.0) for outbox in outboxes))
    end = await stands(ground, goal_id, "completed")
    assert end.state is not None
    assert end.state.record is not None
    assert end.state.record["amendments"] == 1
    final = await newest_final(ground.client, goal_id)
    assert final is not None
    assert final.output == end.state.record
    assert ground.observer.total(events.GOALS_AMENDED) >= 1


async def test_a_record_of_another_generation_that_is_none_keeps_nobody_from_amending(ground: Ground) -> None:
    async with ground.router() as router, ground.worker(), ground.orchestrator():
        goal_id = await asked(ground, "surprise me")
        (kept,) = (await stands(ground, goal_id, "failed")).letters
        await (await ground.client.jetstream().key_value(subjects.GOAL_RECORDS)).put(f"{goal_id}.7", b"not json")
        router.use(parse_rules(RULES + "  unruled: {}\n"))
        _ = [step async for step in replay(ground.client, [kept.letter.id], by="ada@host")]
        *_, amended = await ground.outcomes(2, under=f"heddle.outcomes.goal.{goal_id}.>")
    assert amended.output["amendments"] == 1
