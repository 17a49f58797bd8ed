"""The whole chain on a real server, its roles in this process: what goes in comes out once, or says why not."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest

from heddle import subjects
from heddle.control.deadletters import Wanted, letter, page, scan
from heddle.control.goals import GoalEnded, goal_followed, new_goal, submit_goal
from heddle.errors import Code
from heddle.messages import TaskResult
from tests.support import PATIENCE, Ground, by_id, on_ground


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def goal_result(ground: Ground, text: str) -> TaskResult:
    goal = new_goal(text)
    async with asyncio.timeout(PATIENCE), goal_followed(ground.client, goal.goal_id or "") as steps:
        await submit_goal(ground.client, goal)
        async for step in steps:
            if isinstance(step, GoalEnded):
                return step.result
    raise AssertionError("following ends with the goal's end")


async def test_a_task_comes_back_completed(ground: Ground) -> None:
    async with ground.all_roles():
        result = await ground.run_task("echo", {"word": "hello"}, tier="local")
    assert (result.status, result.output) == ("completed", {"word": "hello"})


async def test_a_result_tells_its_tier_and_its_hops_in_order(ground: Ground) -> None:
    async with ground.all_roles():
        result = await ground.run_task("echo", {}, tier="local")
    hops = result.metadata["hops"]
    assert result.metadata["tier"] == "local"
    assert hops["waited"] <= hops["started"] <= hops["done"]


async def test_a_plain_core_publish_of_a_task_without_id_or_headers_works(ground: Ground) -> None:
    async with ground.all_roles():
        await ground.client.publish("heddle.tasks.incoming", b'{"worker_type": "echo", "payload": {"word": "plain"}}')
        (result,) = await ground.outcomes()
    assert (result.status, result.output) == ("completed", {"word": "plain"})


async def test_a_plain_core_publish_of_a_goal_works(ground: Ground) -> None:
    async with ground.all_roles():
        await ground.client.publish("heddle.goals.incoming", b'{"instruction": "echo hello"}')
        (final,) = await ground.outcomes(under="heddle.outcomes.goal.>")
    assert (final.status, final.worker_type, final.output["status"]) == ("completed", "orchestrator", "completed")


async def test_a_goal_of_two_parts_becomes_two_tasks(ground: Ground) -> None:
    async with ground.all_roles():
        result = await goal_result(ground, "echo one and echo two")
    assert [(task["task_id"].rsplit("-", 1)[1], task["output"]) for task in result.output["tasks"]] == [
        ("1", {"word": "one"}),
        ("2", {"word": "two"}),
    ]


async def test_a_goals_record_has_its_documented_shape(ground: Ground) -> None:
    async with ground.all_roles():
        record = (await goal_result(ground, "echo one")).output
    assert {"goal_id", "instruction", "planned_by", "model_calls", "tasks", "status", "total_ms"} <= record.keys()
    (task,) = record["tasks"]
    assert task.keys() == {"task_id", "worker_type", "tier", "status", "output", "error", "hops_ms"}
    assert task["hops_ms"].keys() == {"planned", "routed", "waited", "started", "done"}


async def test_a_goal_of_which_one_macro_has_no_rule_ends_partial(ground: Ground) -> None:
    async with ground.all_roles():
        result = await goal_result(ground, "echo one and surprise two")
    assert (result.status, result.output["status"]) == ("failed", "partial")
    assert [task["status"] for task in result.output["tasks"]] == ["completed", "failed"]
    assert result.error is not None
    assert result.error.startswith("unknown_tier: ")


async def test_a_goal_of_which_every_task_fails_ends_failed(ground: Ground) -> None:
    async with ground.all_roles():
        result = await goal_result(ground, "break one")
    assert result.output["status"] == "failed"


async def test_a_goal_that_nobody_can_plan_ends_with_a_letter(ground: Ground) -> None:
    async with ground.all_roles():
        result = await goal_result(ground, "make me a sandwich")
        (found,) = await ground.letters()
    assert (result.status, found.code, found.worker_type) == ("failed", "unsupported_goal", None)


BAD = {
    "an unknown worker type": (b'{"worker_type": "nobody", "payload": {}, "task_id": "t"}', Code.UNKNOWN_TIER),
    "an undeclared tier": (b'{"worker_type": "echo", "payload": {}, "model_tier": "moon", "task_id": "t"}', Code.UNKNOWN_TIER),
    "a JSON array": (b"[1, 2]", Code.INVALID_TASK_MESSAGE),
    "broken UTF-8": (b'{"worker_type": "echo", "payload": {"word": "\xff"}}', Code.INVALID_TASK_MESSAGE),
    "nothing at all": (b"", Code.INVALID_TASK_MESSAGE),
    "no payload": (b'{"worker_type": "echo", "task_id": "t"}', Code.INVALID_TASK_MESSAGE),
    "a parent that cannot be in a subject": (
        b'{"worker_type": "echo", "payload": {}, "parent_task_id": "a b", "task_id": "t"}',
        Code.INVALID_TASK_MESSAGE,
    ),
    "a mebibyte of quotes": (b'"' * (1 << 20), Code.INVALID_TASK_MESSAGE),
    "almost a mebibyte of task": (
        b'{"worker_type": "echo", "payload": {"word": "%b"}}' % (b"x" * ((1 << 20) - 200)),
        Code.PAYLOAD_TOO_LARGE,
    ),
    "a tier without a token": (b'{"worker_type": "limited", "payload": {}, "priority": "critical"}', Code.RATE_LIMITED),
    "a type that the macro's schema refuses": (b'{"worker_type": "echo", "payload": {"word": 5}}', Code.INVALID_PAYLOAD),
    "an unknown version": (b'{"worker_type": "echo", "payload": {}, "macro_version": 9}', Code.UNKNOWN_VERSION),
    "a declared failure": (b'{"worker_type": "broken", "payload": {"word": "x"}}', Code.HANDLER_FAILED),
    "a task that has expired": (b'{"worker_type": "echo", "payload": {}, "expires_at": "2020-01-01T00:00:00Z"}', Code.EXPIRED),
    "a task in a loop": (b'{"worker_type": "echo", "payload": {}, "hops": 99}', Code.LOOP),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_go_on_gives_exactly_one_reasoned_letter(ground: Ground, name: str) -> None:
    body, code = BAD[name]
    async with ground.all_roles():
        if code is Code.RATE_LIMITED:  # the only token there is
            await ground.publish("heddle.tasks.incoming", {"worker_type": "limited", "payload": {}, "priority": "critical"})
            await ground.empty(subjects.INCOMING)
        await ground.publish("heddle.tasks.incoming", body)
        await ground.letters()
        await ground.empty(subjects.INCOMING)
        assert (await ground.run_task("echo", {"word": "still up"})).status == "completed"
        (found,) = await ground.letters()
    assert found.code == code
    assert found.reason.startswith(f"{code.value}: ")
    assert found.remedy


async def test_a_broken_goal_gives_a_letter_and_its_outcome_if_its_id_can_be_read(ground: Ground) -> None:
    async with ground.all_roles():
        await ground.publish("heddle.goals.incoming", {"goal_id": "g1", "instruction": 5})
        (final,) = await ground.outcomes(under="heddle.outcomes.goal.g1.final.0")
        (found,) = await ground.letters()
    assert (final.status, found.code, found.task_id) == ("failed", "invalid_task_message", "g1")


async def test_a_cut_original_is_kept_whole_beside_its_letter(ground: Ground) -> None:
    body = b'"' * (1 << 20)
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", body)
        (found,) = await ground.letters()
    kept = await ground.client.request(
        f"$JS.API.STREAM.MSG.GET.{subjects.ORIGINALS}", json.dumps({"last_by_subj": f"heddle.original.{found.id}"}).encode()
    )
    assert found.truncated
    assert base64.b64decode(json.loads(kept.data)["message"]["data"]) == body


async def test_a_result_nobody_waits_for_is_not_lost(ground: Ground) -> None:
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "task_id": "early"})
        await ground.empty(subjects.INCOMING)
    async with ground.worker():
        (result,) = await ground.outcomes()
    assert result.task_id == "early"


async def test_letters_are_listed_newest_first_and_found_by_id(ground: Ground) -> None:
    async with ground.router():
        for number in range(3):
            await ground.publish("heddle.tasks.incoming", {"worker_type": f"nobody{number}", "payload": {}, "task_id": f"t{number}"})
        await ground.letters(3)
        listed = (await page(ground.client, limit=2)).letters
        found = await letter(ground.client, listed[0].letter.id)
    assert [one.letter.task_id for one in listed] == ["t2", "t1"]
    assert found == listed[0]


async def test_listing_letters_passes_over_gaps_and_filters_by_code(ground: Ground) -> None:
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", b"[]")
        for number in range(300):
            await ground.client.publish("heddle.tasks.incoming", b'{"worker_type": "nobody", "payload": {}, "task_id": "t%d"}' % number)
        await ground.letters(301)
        (found,) = (await page(ground.client, Wanted(code="invalid_task_message"))).letters
        everything = [kept async for kept in scan(ground.client)]
    assert found.letter.code == "invalid_task_message"
    assert len(everything) == 301


async def test_unknown_and_underscored_keys_reach_the_worker_untouched(ground: Ground) -> None:
    seen: list[dict[str, object]] = []

    async def listen(message: object) -> None:
        seen.append(json.loads(message.data))  # type: ignore[attr-defined]

    await ground.client.subscribe("heddle.tasks.echo.local", cb=listen)
    async with ground.router():
        await ground.publish(
            "heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "model_tier": "local", "_trace": {"a": [1]}, "other": None}
        )
        await ground.empty(subjects.INCOMING)
        await ground.client.flush()
    assert (seen[0]["_trace"], "other" in seen[0]) == ({"a": [1]}, True)


async def test_a_relay_passes_trace_headers_on_and_drops_those_of_the_server(ground: Ground) -> None:
    seen: list[dict[str, str]] = []

    async def listen(message: object) -> None:
        seen.append(message.headers or {})  # type: ignore[attr-defined]

    await ground.client.subscribe("heddle.tasks.echo.local", cb=listen)
    body = b'{"worker_type": "echo", "payload": {}, "model_tier": "local"}'
    async with ground.router():
        await ground.client.publish(
            "heddle.tasks.incoming", body, headers={"traceparent": "00-a-b-01", "Nats-Msg-Id": "mine", "nats-expected-stream": "X"}
        )
        await ground.empty(subjects.INCOMING)
        await ground.client.flush()
    assert seen[0]["traceparent"] == "00-a-b-01"
    assert seen[0]["Nats-Msg-Id"].startswith("HEDDLE_INCOMING.")
    assert "nats-expected-stream" not in seen[0]


async def test_outcomes_are_republished_for_core_subscribers(ground: Ground) -> None:
    subscription = await ground.client.subscribe("heddle.results.parent-1")
    async with ground.all_roles():
        await ground.publish("heddle.tasks.incoming", {"worker_type": "echo", "payload": {}, "parent_task_id": "parent-1", "task_id": "t"})
        message = await subscription.next_msg(timeout=PATIENCE)
    assert json.loads(message.data)["task_id"] == "t"


async def test_letters_are_republished_for_core_subscribers(ground: Ground) -> None:
    subscription = await ground.client.subscribe("heddle.tasks.dead_letter")
    async with ground.router():
        await ground.publish("heddle.tasks.incoming", b"[]")
        message = await subscription.next_msg(timeout=PATIENCE)
    assert json.loads(message.data)["code"] == "invalid_task_message"


async def test_two_router_replicas_share_the_work_and_every_task_has_one_outcome(ground: Ground) -> None:
    async with ground.router(replica="r1"), ground.router(replica="r2"), ground.worker():
        for number in range(200):
            await ground.client.publish("heddle.tasks.incoming", b'{"worker_type": "echo", "payload": {}, "task_id": "t%d"}' % number)
        results = by_id(await ground.outcomes(200))
        await ground.empty(subjects.INCOMING, subjects.TASKS)
    assert len(results) == 200
