"""Letters sent again: once each, whoever asks; counted; and what they are is kept."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from heddle import macro, subjects
from heddle.broker.connect import js_api, submit
from heddle.control.deadletters import Wanted, letter, page
from heddle.control.replay import Done, Entry, Step, Undone, _replay, drop, history, replay
from heddle.errors import BrokerError
from heddle.messages import DeadLetter
from tests.support import RULES, Echoed, Ground, Word, eventually, on_ground, registry_of

WITH_NOBODY = RULES.replace("worker_types:", "worker_types:\n  nobody: {}")


@macro(name="nobody")
async def nobody(request: Word) -> Echoed:
    """Be there after all."""
    return Echoed(word=request.word)


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def dead(ground: Ground, *ids: str, **more: Any) -> list[DeadLetter]:
    """Tasks of a worker type that the rules do not know, and their letters."""
    async with ground.router():
        for task_id in ids:
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "nobody", "payload": {}, **more, "task_id": task_id})
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


async def test_whoever_comes_later_with_an_old_page_is_told_too(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = await dead(ground, "t")
    old = await letter(ground.client, found.id)
    assert old is not None
    await replayed(ground, [found.id])
    monkeypatch.setattr("heddle.control.replay.STALE", -1.0)  # whoever was first is long gone
    step = await _replay(ground.client, old, "bob@host", None)
    assert isinstance(step, Undone)
    assert "ada@host replayed it" in step.why
    assert len(await incoming(ground)) == 1


async def test_a_replay_whose_operator_died_after_the_line_in_the_trail_is_taken_up_by_the_next(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = await dead(ground, "t")
    line = Entry.of("replay", found, "ada@host", 1)
    await submit(ground.client, subjects.audit(found.id), line.model_dump_json().encode())
    (too_early,) = await replayed(ground, [found.id], by="bob@host")
    monkeypatch.setattr("heddle.control.replay.STALE", -1.0)
    (taken_up,) = await replayed(ground, [found.id], by="bob@host")
    assert (type(too_early), type(taken_up), len(await incoming(ground))) == (Undone, Done, 1)


async def test_an_operator_whose_clock_is_late_is_not_taken_for_dead(ground: Ground) -> None:
    (found,) = await dead(ground, "t")
    line = Entry.of("replay", found, "ada@host", 1).model_copy(update={"at": "2001-01-01T00:00:00Z"})
    await submit(ground.client, subjects.audit(found.id), line.model_dump_json().encode())
    (step,) = await replayed(ground, [found.id], by="bob@host")
    assert (type(step), await incoming(ground)) == (Undone, [])


async def test_a_line_that_somebody_wrote_into_the_trail_by_hand_is_passed_over(ground: Ground) -> None:
    (found,) = await dead(ground, "t")
    await ground.publish(subjects.audit("by-hand"), b"not json")
    await replayed(ground, [found.id])
    assert [one.letter_id for one in (await history(ground.client)).entries] == [found.id]


async def test_a_replay_whose_operator_died_before_removing_the_letter_is_not_sent_twice(ground: Ground) -> None:
    """Even beyond the duplicate window: the outcome of the next generation is there."""
    (found,) = await dead(ground, "t")
    kept = await letter(ground.client, found.id)
    await replayed(ground, [found.id])
    async with ground.router(WITH_NOBODY), ground.worker(registry_of(nobody)):
        await ground.outcomes(2)
    assert kept is not None
    await submit(ground.client, subjects.dead("unknown_tier", "nobody", "standard", found.id), kept.body)  # as if it had stayed
    (step,) = await replayed(ground, [found.id], by="bob@host")
    assert isinstance(step, Undone)
    assert "ada@host replayed it" in step.why
    assert (await incoming(ground), await letter(ground.client, found.id)) == ([], None)


async def test_a_letter_whose_message_was_sent_again_by_hand_is_not_replayed(ground: Ground) -> None:
    (found,) = await dead(ground, "t")
    async with ground.router(WITH_NOBODY), ground.worker(registry_of(nobody)):
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "nobody", "payload": {}, "task_id": "t", "generation": 1})
        await ground.outcomes(2)
    (step,) = await replayed(ground, [found.id])
    assert isinstance(step, Undone)
    assert "somebody sent it by hand" in step.why


async def test_letters_go_not_faster_than_the_rate_and_each_once(ground: Ground) -> None:
    await dead(ground, *(f"t{number}" for number in range(30)))
    begun = time.monotonic()
    steps = await replayed(ground, Wanted(code="unknown_tier"), rate=50.0)
    took = time.monotonic() - begun
    sent = [task["task_id"] for task in await incoming(ground)]
    assert (len(steps), sorted(sent) == sorted(set(sent)), len(sent)) == (30, True, 30)
    assert took >= 25 / 50.0


async def test_letters_that_are_read_in_vain_do_not_count_for_the_rate(ground: Ground) -> None:
    await dead(ground, *(f"t{number}" for number in range(20)))
    async with asyncio.timeout(10):
        steps = await replayed(ground, Wanted(text='"task_id":"t19"'), rate=0.5)
    assert len(steps) == 1


async def test_letters_go_oldest_first_and_those_that_come_meanwhile_stay(ground: Ground) -> None:
    """Or a run over all that comes back would never end."""
    await dead(ground, "a", "b", "c")
    async with ground.router():
        names = [step.letter.task_id async for step in replay(ground.client, Wanted(), by="ada@host", rate=10.0) if isinstance(step, Done)]
        await ground.letters(3)
    assert names == ["a", "b", "c"]


async def test_an_unknown_id_is_told(ground: Ground) -> None:
    steps = await replayed(ground, ["nothing", "no id > at all"])
    assert [isinstance(step, Undone) and "there is no such letter" in step.why for step in steps] == [True, True]


async def test_a_cut_original_goes_out_whole_and_its_bytes_are_kept_no_longer(ground: Ground) -> None:
    large = {"worker_type": "nobody", "payload": {"x": "y" * 200_000}, "task_id": "t"}
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, large)
        (found,) = await ground.letters()
    await replayed(ground, [found.id])
    (sent,) = await incoming(ground)
    assert (found.truncated, sent["payload"], sent["generation"]) == (True, large["payload"], 1)
    assert await ground.waiting(subjects.ORIGINALS) == 0


async def test_a_cut_original_whose_bytes_are_gone_is_told(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "nobody", "payload": {"x": "y" * 200_000}, "task_id": "t"})
        (found,) = await ground.letters()
    await js_api(ground.client, f"STREAM.PURGE.{subjects.ORIGINALS}")
    (step,) = await replayed(ground, [found.id])
    assert isinstance(step, Undone)
    assert "whole bytes are no longer kept" in step.why


async def test_a_replay_goes_on_in_the_trace_that_its_letter_belongs_to(ground: Ground) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen: list[Any] = []

    async def on_task(message: Any) -> None:
        seen.append((message.headers or {}).get("traceparent"))

    async with ground.router():
        await ground.client.request(
            subjects.TASKS_INCOMING, b'{"worker_type": "nobody", "payload": {}, "task_id": "t"}', headers={"traceparent": trace}
        )
        (found,) = await ground.letters()
    await ground.client.subscribe(subjects.TASKS_INCOMING, cb=on_task)
    await replayed(ground, [found.id])
    await eventually(lambda: _value(seen), bool)
    assert (found.trace_id, seen) == ("0af7651916cd43dd8448eb211c80319c", [trace])


async def _value(seen: Any) -> Any:
    return seen


async def test_a_patch_changes_the_message_and_never_its_ids(ground: Ground) -> None:
    (found,) = await dead(ground, "t", metadata={"a": 1, "b": 2})
    (refused,) = await replayed(ground, [found.id], patch={"task_id": "other"})
    await replayed(ground, [found.id], patch={"metadata": {"a": None}, "model_tier": "local"})
    (sent,) = await incoming(ground)
    assert isinstance(refused, Undone)
    assert (sent["task_id"], sent["metadata"], sent["model_tier"], sent["generation"]) == ("t", {"b": 2}, "local", 1)


async def test_dropped_letters_are_gone_with_their_bytes_and_stand_in_the_trail(ground: Ground) -> None:
    large = {"x": "y" * 200_000}
    found = await dead(ground, "a", "b", payload=large)
    steps = [step async for step in drop(ground.client, [found[0].id], by="ada@host")]
    (left,) = (await page(ground.client)).letters
    trail = (await history(ground.client)).entries
    assert [type(step) for step in steps] == [Done]
    assert (left.letter.id, await ground.waiting(subjects.ORIGINALS)) == (found[1].id, 1)
    assert [(one.action, one.letter_id, one.by) for one in trail] == [("drop", found[0].id, "ada@host")]


async def test_a_letter_is_replayed_or_dropped_and_not_both(ground: Ground) -> None:
    ids = [found.id for found in await dead(ground, *(f"t{number}" for number in range(30)))]

    async def dropped() -> list[Step]:
        return [step async for step in drop(ground.client, ids, by="bob@host")]

    steps = await asyncio.gather(replayed(ground, ids), dropped())
    trail = (await history(ground.client, limit=100)).entries
    sent = await incoming(ground)
    assert [isinstance(step, Done) for step in steps[0]] == [not isinstance(step, Done) for step in steps[1]]
    assert len(trail) == 30
    assert len(sent) == sum(one.action == "replay" for one in trail)


async def test_the_trail_is_read_page_by_page(ground: Ground) -> None:
    ids = [found.id for found in await dead(ground, "a", "b", "c")]
    for found in ids:  # one after another: at once, they would end in any order
        await replayed(ground, [found])
    first = await history(ground.client, limit=2)
    rest = await history(ground.client, limit=2, before=first.older)
    assert ([one.task_id for one in first.entries], [one.task_id for one in rest.entries], rest.older) == (["c", "b"], ["a"], None)


async def test_without_a_store_a_replay_says_so(ground: Ground) -> None:
    (found,) = await dead(ground, "t")
    await js_api(ground.client, f"STREAM.DELETE.{subjects.AUDIT}")
    with pytest.raises(BrokerError):
        await replayed(ground, [found.id])
    assert await incoming(ground) == []
