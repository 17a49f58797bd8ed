"""The orchestrator on a real server, with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from heddle import events, macro, person_only, subjects
from heddle.broker.connect import js_api, submit
from heddle.control.goals import GoalEnded, approve_goal, goal_followed, goal_state_of, new_goal, submit_goal
from heddle.errors import ModelUnavailable, SettingsError
from heddle.goals import LONGEST_INSTRUCTION, GoalState
from heddle.llm.model import Answer
from heddle.macros.marks import given
from heddle.messages import Goal, TaskResult
from heddle.orchestrator.orchestrator import Orchestrator
from heddle.planning.prompt import Prompt
from heddle.testing import ScriptedModel
from tests.examples import EXAMPLES
from tests.support import PATIENCE, RULES, Echoed, Ground, Word, echo, eventually, on_ground, planning, registry_of

HELLO = '{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}'


class Guarded(BaseModel):
    write: Annotated[bool, person_only] = False


class Given(BaseModel):
    text: Annotated[str, given("text")]
    times: int


@macro
async def guarded(request: Guarded) -> Echoed:
    """Write, if a person says so."""
    return Echoed(word="")


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def ended(ground: Ground, goal: Goal) -> TaskResult:
    async with asyncio.timeout(PATIENCE), goal_followed(ground.client, goal.goal_id or "", goal.generation) as steps:
        await submit_goal(ground.client, goal)
        async for step in steps:
            if isinstance(step, GoalEnded):
                return step.result
    raise AssertionError("following ends with the goal's end")


async def test_the_model_is_called_once_and_named_in_the_record(ground: Ground) -> None:
    model = ScriptedModel(HELLO, name="tiny")
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off"):
        record = (await ended(ground, new_goal("say hello"))).output
    assert (record["planned_by"], record["model_calls"], len(model.prompts)) == ("tiny", 1, 1)


async def test_a_model_that_is_away_leaves_the_goal_to_the_phrases_and_says_how_to_get_it(ground: Ground) -> None:
    model = ScriptedModel(ModelUnavailable("no server", "type this"))
    async with ground.router(), ground.worker(), ground.orchestrator(model, "fallback"):
        record = (await ended(ground, new_goal("echo hello"))).output
    assert (record["planned_by"], record["model_calls"]) == ("phrases", 0)
    assert "type this" in record["note"]


async def test_a_model_that_has_answered_is_never_overruled_by_phrases(ground: Ground) -> None:
    model = ScriptedModel('{"tasks": [{"macro": "unsupported"}]}')
    async with ground.router(), ground.worker(), ground.orchestrator(model, "fallback"):
        result = await ended(ground, new_goal("echo hello"))
    assert (result.error or "").startswith("unsupported_goal: ")


async def test_without_phrases_a_goal_waits_in_its_stream_until_the_model_is_back(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heddle.orchestrator.orchestrator.MODEL_DELAY", 0.1)
    model = ScriptedModel(*[ModelUnavailable("no server", "start it")] * 3, HELLO)
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off"):
        result = await ended(ground, new_goal("say hello"))
    assert result.status == "completed"
    assert ground.observer.total(events.MODEL_AWAITED) == 3


async def test_phrases_come_first_where_the_settings_say_so(ground: Ground) -> None:
    model = ScriptedModel(HELLO)
    async with ground.router(), ground.worker(), ground.orchestrator(model, "first"):
        record = (await ended(ground, new_goal("echo hello"))).output
    assert (record["planned_by"], model.prompts) == ("phrases", [])


async def test_what_no_phrase_fits_goes_to_the_model(ground: Ground) -> None:
    model = ScriptedModel(HELLO)
    async with ground.router(), ground.worker(), ground.orchestrator(model, "first"):
        record = (await ended(ground, new_goal("be so kind as to say hello"))).output
    assert record["planned_by"] == "scripted"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("not JSON", "no_plan"),
        ('{"tasks": []}', "no_plan"),
        ('{"tasks": [{"macro": "rm", "arguments": {}}]}', "no_plan"),
        ('{"tasks": [{"macro": "echo", "arguments": {"word": 5}}]}', "no_plan"),
        ('{"tasks": [{"macro": "guarded", "arguments": {"write": true}}]}', "unsafe_plan"),
        ('{"tasks": [{"macro": "unsupported"}]}', "unsupported_goal"),
    ],
)
async def test_an_answer_that_cannot_be_sent_ends_the_goal_with_a_letter_and_sends_nothing(ground: Ground, answer: str, code: str) -> None:
    async with ground.orchestrator(ScriptedModel(answer), "off", registry_of(echo, guarded)):
        result = await ended(ground, new_goal("do it"))
        (found,) = await ground.letters()
    assert (result.status, found.code) == ("failed", code)
    assert await ground.waiting(subjects.INCOMING) == 0


async def test_a_goal_as_long_as_a_message_ends_too_and_its_record_tells_the_beginning(ground: Ground) -> None:
    goal = new_goal("x" * (ground.client.max_payload - 1024))
    async with ground.orchestrator(ScriptedModel(HELLO), "off"):
        result = await ended(ground, goal)
        (found,) = await ground.letters()
    assert result.output["instruction"] == "x" * LONGEST_INSTRUCTION + "…"
    assert (found.size or 0) > LONGEST_INSTRUCTION


async def test_a_plan_too_large_to_be_kept_ends_its_goal_after_one_call(ground: Ground) -> None:
    @macro
    async def read_text(request: Given) -> Echoed:
        """Read the text aloud."""
        return Echoed(word="")

    answer = {"tasks": [{"macro": "read_text", "arguments": {"times": times}} for times in (1, 2, 3)]}
    model = ScriptedModel(json.dumps(answer))
    goal = new_goal("read it 1, 2 and 3 times", context={"text": "x" * 300_000})
    async with ground.orchestrator(model, "off", registry_of(read_text)):
        result = await ended(ground, goal)
    assert "all its tasks together" in (result.error or "")
    assert len(model.prompts) == 1


async def test_a_stored_plan_is_published_again_without_a_model_call(ground: Ground) -> None:
    """As if an orchestrator died between plan and ack."""
    model = ScriptedModel(HELLO)
    goal = new_goal("say hello")
    async with ground.orchestrator(model, "off") as dying:
        stored = asyncio.Event()

        async def die(*_: object) -> None:
            stored.set()
            await asyncio.Event().wait()

        dying.outbox.publish = die  # type: ignore[assignment]
        await submit_goal(ground.client, goal)
        await stored.wait()
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off", replica="o2"):
        (final,) = await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    assert (final.status, len(model.prompts)) == ("completed", 1)


async def test_a_goal_that_another_replica_plans_is_left_alone_until_its_claim_is_free(ground: Ground) -> None:
    goal = new_goal("say hello")
    model = ScriptedModel(HELLO)
    claims = await ground.client.jetstream().key_value(subjects.CLAIMS)
    await claims.create(f"{goal.goal_id}.0", b"somebody else")
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off"):
        await submit_goal(ground.client, goal)
        await eventually(lambda: _redelivered(ground), lambda count: count > 1)
        calls_while_claimed = len(model.prompts)
        await claims.delete(f"{goal.goal_id}.0")
        await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    assert (calls_while_claimed, len(model.prompts)) == (0, 1)


async def _redelivered(ground: Ground) -> int:
    return int((await js_api(ground.client, f"CONSUMER.INFO.{subjects.GOALS}.heddle-orchestrator"))["delivered"]["consumer_seq"])


async def test_two_replicas_and_a_slow_model_call_it_once(ground: Ground) -> None:
    class Slow(ScriptedModel):
        async def complete(self, prompt: Prompt) -> Answer:
            await asyncio.sleep(2.5)  # longer than ack_wait, shorter than patience
            return await super().complete(prompt)

    model = Slow(HELLO)
    async with (
        ground.router(),
        ground.worker(),
        ground.orchestrator(model, "off", replica="o1"),
        ground.orchestrator(model, "off", replica="o2"),
    ):
        await ended(ground, new_goal("say hello"))
    assert len(model.prompts) == 1


async def test_a_model_call_that_its_process_died_in_is_counted_in_the_record(ground: Ground) -> None:
    asked, goal = asyncio.Event(), new_goal("say hello")

    class Dies(ScriptedModel):
        async def complete(self, prompt: Prompt) -> Answer:
            asked.set()
            await asyncio.Event().wait()  # it never answers
            return await super().complete(prompt)

    async with ground.orchestrator(Dies(HELLO), "off", replica="dying"):
        await submit_goal(ground.client, goal)
        await asked.wait()
    async with ground.router(), ground.worker(), ground.orchestrator(ScriptedModel(HELLO), "off", replica="next"):
        (final,) = await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    assert final.output["model_calls"] == 2


@pytest.mark.parametrize(
    "error", [ModelUnavailable("no server", "start it"), SettingsError("egress is none, and it is at a public address")]
)
async def test_a_model_that_was_away_or_forbidden_was_not_called(ground: Ground, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heddle.orchestrator.orchestrator.MODEL_DELAY", 0.1)
    model = ScriptedModel(error, HELLO)
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off"):
        assert (await ended(ground, new_goal("say hello"))).output["model_calls"] == 1


@pytest.mark.parametrize("answer", [HELLO, '{"tasks": [{"macro": "unsupported"}]}'])
async def test_an_answer_that_cannot_be_stored_yet_is_kept_and_not_asked_for_again(
    ground: Ground, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heddle.orchestrator.orchestrator.FULL_DELAY", 0.05)
    model = ScriptedModel(answer)
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off") as orchestrator:
        bucket, publish, refused = orchestrator.records.bucket, orchestrator.outbox.publish, list[str]()

        def refusing(go_on: Any, first: Any) -> Any:
            async def work(*args: Any, **kwargs: Any) -> Any:
                if str(args[0]).startswith(first) and len(refused) < 3:
                    refused.append(args[0])
                    raise TimeoutError
                return await go_on(*args, **kwargs)

            return work

        bucket.put = refusing(bucket.put, "goal-")  # type: ignore[method-assign]
        orchestrator.outbox.publish = refusing(publish, "heddle.dead.")  # type: ignore[method-assign]
        await ended(ground, new_goal("say hello"))
        await ground.empty(subjects.GOALS)
    assert (len(refused), len(model.prompts)) == (3, 1)


# --- approvals

WIPE = '{"tasks": [{"macro": "wipe", "arguments": {}}, {"macro": "echo", "arguments": {"word": "hello"}}]}'


@macro(effects="irreversible", tier="local")
async def wipe(request: Word) -> Echoed:
    """Delete everything for good."""
    return Echoed(word="gone")


WITH_WIPE = RULES + "  wipe: {}\n"


def parking(ground: Ground, **more: Any) -> AbstractAsyncContextManager[Orchestrator]:
    return ground.orchestrator(ScriptedModel(WIPE), "off", registry_of(echo, wipe), **more)


async def parked(ground: Ground, goal: Goal) -> GoalState:
    """The goal, once it waits for its approval and its message is gone from the queue."""
    await submit_goal(ground.client, goal)
    await ground.empty(subjects.GOALS)
    state = await goal_state_of(ground.client, goal.goal_id or "")
    assert state is not None
    assert state.parked
    return state


async def test_a_goal_with_an_irreversible_macro_waits_until_it_is_approved_and_its_record_says_by_whom(ground: Ground) -> None:
    goal = new_goal("say hello")
    async with ground.router(WITH_WIPE), ground.worker(registry_of(echo, wipe)), parking(ground):
        await parked(ground, goal)
        assert await ground.waiting(subjects.INCOMING) + await ground.waiting(subjects.TASKS) + await ground.waiting(subjects.OUTCOMES) == 0
        assert await approve_goal(ground.client, goal.goal_id or "", "ada") is not None
        (final,) = await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    assert (final.status, final.output["approved_by"], len(final.output["tasks"])) == ("completed", "ada", 2)
    assert await approve_goal(ground.client, goal.goal_id or "", "bob") is None


async def test_a_goal_that_came_approved_does_not_wait(ground: Ground) -> None:
    async with ground.router(WITH_WIPE), ground.worker(registry_of(echo, wipe)), parking(ground):
        assert (await ended(ground, new_goal("say hello", approved=True))).status == "completed"


async def test_who_approves_a_goal_first_stays_the_one_who_did(ground: Ground) -> None:
    goal = new_goal("say hello")
    async with parking(ground):
        await parked(ground, goal)
    first, second = [await approve_goal(ground.client, goal.goal_id or "", by) for by in ("ada", "bob")]
    assert (first and first.by, second and second.by) == ("ada", "ada")


async def test_a_goal_that_nobody_approves_in_time_ends_as_expired_with_a_letter_and_its_original(ground: Ground) -> None:
    goal = new_goal("say hello")
    settings = planning("off", approval_wait=0.1)
    async with parking(ground, settings=settings):
        result = await ended(ground, goal)
        (letter,) = await ground.letters()
    assert (result.status, result.output["status"], letter.code) == ("failed", "failed", "expired")
    assert "nobody approved wipe within" in letter.reason
    assert letter.original_task == json.loads(goal.encode())
    assert await ground.waiting(subjects.INCOMING) == 0


async def test_an_approval_given_while_no_orchestrator_runs_is_heeded_by_the_next(ground: Ground) -> None:
    goal = new_goal("say hello")
    async with parking(ground):
        await parked(ground, goal)
    await approve_goal(ground.client, goal.goal_id or "", "ada")
    async with ground.router(WITH_WIPE), ground.worker(registry_of(echo, wipe)), parking(ground), parking(ground, replica="o2"):
        outcomes = await ground.outcomes(3)
    assert sorted(outcome.status for outcome in outcomes) == ["completed"] * 3


async def test_an_entry_that_is_none_and_a_goal_without_a_record_keep_no_approved_goal_waiting(ground: Ground) -> None:
    entry = {"goal_id": "lost", "generation": 0, "instruction": "x", "macros": ["wipe"], "until": 0.0, "body": ""}
    records = await ground.client.jetstream().key_value(subjects.GOAL_RECORDS)
    await records.put("parked.by-hand.0", b"not json")
    await records.put("parked.lost.0", json.dumps(entry).encode())
    await records.put("lost.0", b"not json")
    goal = new_goal("say hello")
    async with ground.router(WITH_WIPE), ground.worker(registry_of(echo, wipe)), parking(ground):
        await parked(ground, goal)
        await approve_goal(ground.client, goal.goal_id or "", "ada")
        (final,) = await ground.outcomes(under=f"heddle.outcomes.goal.{goal.goal_id}.>")
    assert final.status == "completed"


async def test_an_entry_that_is_none_cannot_be_approved(ground: Ground) -> None:
    records = await ground.client.jetstream().key_value(subjects.GOAL_RECORDS)
    await records.put("parked.by-hand.0", b"not json")
    assert await approve_goal(ground.client, "by-hand", "ada") is None


async def test_nothing_waits_under_an_id_that_nobody_knows(ground: Ground) -> None:
    async with parking(ground):
        assert await approve_goal(ground.client, "nobody", "ada") is None


async def test_a_goal_published_twice_is_planned_once(ground: Ground) -> None:
    model = ScriptedModel(HELLO)
    goal = new_goal("say hello")
    async with ground.router(), ground.worker(), ground.orchestrator(model, "off"):
        await ended(ground, goal)
        await submit(ground.client, subjects.GOALS_INCOMING, goal.encode())
        await ground.empty(subjects.GOALS, subjects.INCOMING, subjects.TASKS)
    assert len(model.prompts) == 1


async def test_a_goal_under_an_id_that_another_has_sends_no_tasks(ground: Ground) -> None:
    goal = new_goal("say hello")
    async with ground.router(), ground.worker(), ground.orchestrator(ScriptedModel(HELLO), "off"):
        await ended(ground, goal)
        sent = await ground.client.subscribe(subjects.TASKS_INCOMING)
        await ground.client.flush()
        await submit(ground.client, subjects.GOALS_INCOMING, goal.encode())
        await ground.empty(subjects.GOALS)
        await ground.client.flush()
    assert sent.pending_msgs == 0


async def test_a_goals_underscored_keys_priority_and_request_reach_its_tasks(ground: Ground) -> None:
    async with ground.orchestrator(ScriptedModel(HELLO), "off"):
        goal = {"goal_id": "g1", "instruction": "say hello", "priority": "high", "request_id": "r1", "_trace_context": {"traceparent": "x"}}
        await ground.publish("heddle.goals.incoming", goal)
        await ground.empty(subjects.GOALS)
        state = await goal_state_of(ground.client, "g1")
    assert state is not None
    (task,) = state.tasks
    assert (task.task_id, task.priority, task.request_id, task.hops) == ("g1-1", "high", "r1", 1)
    assert json.loads(task.encode())["_trace_context"] == {"traceparent": "x"}


async def test_the_goal_about_the_last_three_changes_plans_to_exactly_one_task(ground: Ground) -> None:
    async with ground.orchestrator(None, "first", EXAMPLES):
        await ground.publish(
            "heddle.goals.incoming",
            {"goal_id": "g1", "instruction": "Check the last 3 PRs in acme/checkout and tag them using conventional commits"},
        )
        await ground.empty(subjects.GOALS)
        state = await goal_state_of(ground.client, "g1")
    assert state is not None
    (task,) = state.tasks
    assert (task.worker_type, task.payload) == (
        "repo_triage",
        {"repository": "acme/checkout", "count": 3, "label_strategy": "conventional"},
    )
