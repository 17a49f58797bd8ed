"""`heddle dead`, `goals`, `tasks` and `status` as an operator types them: what they print, what they ask, how they exit."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from typer.testing import CliRunner, Result

from heddle import macro, subjects
from heddle.cli.main import app
from heddle.control.goals import goal_state_of
from heddle.control.replay import Step, replay
from heddle.errors import BrokerError
from heddle.messages import DeadLetter
from heddle.router.reload import Drift
from tests.support import RULES, Echoed, Ground, Word, eventually, on_ground, registry_of

WITH_NOBODY = RULES + "  nobody: {}\n"


@pytest.fixture
async def ground(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setenv("NATS_URL", nats_url)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("heddle.router.serving.EXPIRY_EVERY", 0.1)
    async with on_ground(nats_url) as ground:
        yield ground


async def heddle(*arguments: str) -> Result:
    """A command, in a thread of its own; nobody sits at its terminal."""
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, list(arguments)))


async def answer(*arguments: str, exit_code: int = 0) -> Any:
    """What a command answers as JSON."""
    done = await heddle(*arguments, "-o", "json")
    assert done.exit_code == exit_code, done.output
    return json.loads(done.stdout)


async def lines(*arguments: str, exit_code: int = 0) -> list[Any]:
    done = await heddle(*arguments, "-o", "jsonl")
    assert done.exit_code == exit_code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


async def dead(ground: Ground, *ids: str, **more: Any) -> list[DeadLetter]:
    async with ground.router():
        for task_id in ids:
            await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "nobody", "payload": {}, "task_id": task_id, **more})
        return await ground.letters(len(ids))


# --- dead


async def test_letters_are_listed_as_a_table_as_an_array_and_as_lines(ground: Ground) -> None:
    found = await dead(ground, "a", "b", "c")
    table = (await heddle("dead", "list", "--limit", "2")).stdout
    assert [letter.id in table for letter in found] == [False, True, True]
    assert "there are more" in table
    assert [one["task_id"] for one in await answer("dead", "list", "--code", "unknown_tier", "--type", "nobody", "--newer", "1h")] == [
        *"cba"
    ]
    assert [one["task_id"] for one in await lines("dead", "list", "--text", '"task_id":"b"', "--tier", "standard")] == ["b"]
    assert await answer("dead", "list", "--older", "1h") == []


async def test_a_letter_is_shown_with_its_cause_remedy_and_what_to_type_next(ground: Ground) -> None:
    (found,) = await dead(ground, "a")
    shown = (await heddle("dead", "show", found.id)).stdout
    assert found.remedy in shown
    assert f"heddle dead replay {found.id} --dry-run" in shown
    assert (await heddle("dead", "show", "nothing")).exit_code == 1


async def test_a_filter_is_replayed_only_after_a_yes(ground: Ground) -> None:
    await dead(ground, "a", "b")
    asked = await heddle("dead", "replay", "--all")
    assert (asked.exit_code, "--yes" in asked.stderr, await ground.waiting(subjects.INCOMING)) == (2, True, 0)
    steps = await lines("dead", "replay", "--all", "--yes", "--by", "ada")
    assert [(one["replayed"], one["task_id"], one["generation"]) for one in steps] == [(True, "a", 1), (True, "b", 1)]
    assert [(one["by"], one["action"]) for one in await answer("dead", "history")] == [("ada", "replay"), ("ada", "replay")]
    assert await ground.waiting(subjects.INCOMING) == 2


async def test_letters_that_are_named_are_replayed_at_once_and_what_was_not_possible_exits_1(ground: Ground) -> None:
    (found,) = await dead(ground, "a")
    first = await heddle("dead", "replay", found.id, "--rate", "100/s")
    second = await heddle("dead", "replay", found.id, "nothing")
    assert (first.exit_code, first.stdout.strip()) == (0, "1 dead letter replayed")
    assert (second.exit_code, second.stdout.strip()) == (1, "0 dead letters replayed, 2 not")
    assert "replayed it at" in second.stderr
    assert "no such letter" in second.stderr


async def test_a_dry_run_tells_a_line_for_each_and_needs_no_yes(ground: Ground) -> None:
    (found,) = await dead(ground, "a")
    async with ground.router(WITH_NOBODY) as router:
        await Drift(router, "rules.yaml").look()
        (told,) = await lines("dead", "replay", "--all", "--dry-run", "--macros", "tests.support")
    assert (told["id"], told["ok"]) == (found.id, True)
    assert "to tier standard by its own wish" in told["told"]
    assert await ground.waiting(subjects.INCOMING) == 0


async def test_a_patch_goes_with_a_replay(ground: Ground) -> None:
    (found,) = await dead(ground, "a")
    await heddle("dead", "replay", found.id, "--patch", '{"worker_type": "echo", "model_tier": "local"}')
    async with ground.router(), ground.worker():
        *_, outcome = await ground.outcomes(2)
    assert (outcome.worker_type, outcome.status) == ("echo", "completed")


@pytest.mark.parametrize("end", [BrokerError("the server is gone"), BrokenPipeError(errno.EPIPE, "Broken pipe"), KeyboardInterrupt()])
async def test_a_replay_that_does_not_come_to_its_end_says_how_far_it_came(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    (letter,) = await dead(ground, "t")

    async def broken(client: Client, *_: Any, **__: Any) -> AsyncIterator[Step]:
        async for step in replay(client, [letter.id], by="ada"):
            yield step
        raise end

    monkeypatch.setattr("heddle.control.replay.replay", broken)
    done = await heddle("dead", "replay", letter.id, "-o", "json")
    assert "stopped after 1 dead letter replayed" in done.stderr
    assert done.exit_code in {1, 130}


async def test_letters_are_dropped_and_counted(ground: Ground) -> None:
    found = await dead(ground, "a", "b")
    await heddle("dead", "drop", found[0].id)
    stats = await answer("dead", "stats")
    assert (stats["total"], stats["removed"], stats["gone"], stats["by_code"]) == (1, 1, 0, {"unknown_tier": 1})
    assert "1 were replayed or dropped, 0 went for age or room" in (await heddle("dead", "stats")).stdout


async def test_a_letter_is_kept_as_a_fixture(ground: Ground, tmp_path: Path) -> None:
    text = "from tests.support import Broken, Echoed, Word\nfrom heddle import macro, reject\n\n"
    text += '@macro(tier="local", fails={Broken: reject})\nasync def broken(request: Word) -> Echoed:\n    raise Broken(request.word)\n'
    (tmp_path / "breaking.py").write_text(text)
    async with ground.router(), ground.worker():
        await ground.run_task("broken", {"word": "x"}, tier="local")
        (found,) = await ground.letters()
    kept = await answer("dead", "keep", found.id, "--name", "x", "--macros", str(tmp_path / "breaking.py"))
    again = await heddle("dead", "keep", found.id, "--name", "x", "--macros", str(tmp_path / "breaking.py"))
    assert kept == {"fixture": str(tmp_path / "fixtures" / "broken" / "x.yaml"), "tools": []}
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dead", "replay"),
        ("dead", "drop"),
        ("dead", "replay", "an-id", "--all"),
        ("dead", "replay", "--code", "nonsense"),
        ("dead", "replay", "--all", "--patch", "[1]"),
        ("dead", "replay", "--all", "--patch", "no json"),
        ("dead", "replay", "--all", "--patch", '{"a":' * 3000 + "1" + "}" * 3000),
        ("dead", "replay", "--all", "--patch", '{"payload": {"a": 1e999}}'),
        ("dead", "drop", "--all", "--by", "\udcff"),
        ("task", "echo", "--payload", '{"word": NaN}'),
        ("task", "echo", "--payload", '{"word": "\\ud800"}'),
        ("goal", "\udcff"),
        ("goal", "echo a", "--context", "k=\udcff"),
        ("plan", "\udcff"),
        ("tasks", "show", "\udcff"),
        ("tasks", "cancel", "\udcff"),
        ("rules", "explain", "--task", "\udcff"),
        ("goals", "approve", "g", "--by", "\udcff"),
        ("dead", "replay", "--all", "--yes", "--rate", "fast"),
        ("dead", "list", "--type", "No Type"),
        ("dead", "list", "--goal", "no goal"),
        ("dead", "list", "--newer", "soon"),
        ("goals", "list", "--status", "nonsense"),
        ("goals", "cancel", "no goal"),
        ("tasks", "list", "--goal", "no goal"),
    ],
)
async def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert (await heddle(*arguments)).exit_code == 2


# --- goals and tasks


async def test_goals_are_listed_shown_and_cancelled(ground: Ground) -> None:
    async with ground.orchestrator(), ground.router():
        goal_id = (await answer("goal", "echo hello", "--no-wait"))["goal_id"]
        await ground.outcomes(0)
        await ground.empty(subjects.GOALS)
        assert [one["standing"] for one in await answer("goals", "list")] == ["running"]
        cancelled = await answer("goals", "cancel", goal_id, "--by", "ada")
        shown = await heddle("goals", "show", goal_id)
        again = await heddle("goals", "cancel", goal_id)
    assert cancelled == {"goal_id": goal_id, "generation": 0, "status": "failed"}
    assert (shown.exit_code, "ada cancelled it" in shown.stderr, "heddle dead show" in shown.stdout) == (1, True, True)
    assert (again.exit_code, "has ended already: failed" in again.stderr) == (1, True)
    assert (await heddle("goals", "cancel", "nobody")).exit_code == 1


async def test_an_amended_goal_is_shown_as_it_stands_now(ground: Ground) -> None:
    async with ground.orchestrator(), ground.worker():
        async with ground.router():
            goal_id = (await answer("goal", "surprise me", exit_code=1))["goal_id"]
            (found,) = await ground.letters()
        async with ground.router(RULES + "  unruled: {}\n"):
            await heddle("dead", "replay", found.id)
            await ground.outcomes(2, under=f"heddle.outcomes.goal.{goal_id}.>")
            record = await answer("goals", "show", goal_id)
    assert (record["status"], record["amendments"]) == ("completed", 1)


async def test_a_goal_that_waits_is_shown_as_waiting(ground: Ground) -> None:
    goal_id = (await answer("goal", "echo hello", "--no-wait"))["goal_id"]
    assert (await answer("goals", "show", goal_id))["standing"] == "waiting"
    assert "waits for an orchestrator" in (await heddle("goals", "show", goal_id)).stdout


@macro(name="echo", effects="irreversible", tier="local", phrases=["echo {word}"])
async def lasting(request: Word) -> Echoed:
    """Say a word for good."""
    return Echoed(word=request.word)


async def test_a_goal_that_was_replayed_is_approved_in_its_newest_generation(ground: Ground) -> None:
    async with ground.orchestrator(registry=registry_of(lasting)):
        await ground.publish(subjects.GOALS_INCOMING, {"goal_id": "g", "instruction": "echo hello", "generation": 1})
        await eventually(lambda: goal_state_of(ground.client, "g", 1), lambda seen: seen is not None and seen.parked)
        approved = await answer("goals", "approve", "g", "--by", "ada")
    assert (approved["generation"], approved["approved_by"]) == (1, "ada")


async def test_tasks_are_listed_shown_and_cancelled(ground: Ground) -> None:
    async with ground.router():
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "echo", "payload": {}, "task_id": "t", "model_tier": "local"})
        await ground.empty(subjects.INCOMING)
        assert "is in the queue of echo on tier local" in (await heddle("tasks", "show", "t")).stdout
        cancelled = await answer("tasks", "cancel", "t", "--by", "ada")
    shown = await answer("tasks", "show", "t")
    listed = await lines("tasks", "list")
    again = await heddle("tasks", "cancel", "t")
    assert cancelled == {"task_id": "t", "generation": 0, "outcome": "cancelled: ada cancelled it before a worker took it"}
    assert (shown["place"], [one["status"] for one in shown["outcomes"]]) == ("ended", ["failed"])
    assert [(one["task_id"], one["generation"]) for one in listed] == [("t", 0)]
    assert (again.exit_code, "has ended already" in again.stderr) == (1, True)
    assert (await heddle("tasks", "show", "nobody")).exit_code == 1


async def test_what_a_terminal_has_no_letters_for_is_written_in_others(ground: Ground) -> None:
    done = await asyncio.to_thread(lambda: CliRunner(charset="ascii").invoke(app, ["tasks", "show", "\u0142"]))
    assert (done.exit_code, "no outcome of task \\u0142 is kept" in done.stdout) == (1, True)


async def test_status_tells_of_routers_workers_tiers_backlog_and_letters(ground: Ground) -> None:
    await dead(ground, "a")
    async with ground.router() as router, ground.worker():
        await Drift(router, "rules.yaml").look()
        await ground.publish(subjects.TASKS_INCOMING, {"worker_type": "limited", "payload": {}, "task_id": "t"})
        await ground.empty(subjects.INCOMING)
        status = await answer("status")
        text = (await heddle("status")).stdout
    assert [(one["replica"], one["source"]) for one in status["routers"]] == [("r1", "rules.yaml")]
    assert [sorted(one["digests"]) for one in status["workers"]] == [["broken 1", "echo 1", "unruled 1"]]
    assert [(one["name"], one["levels"]) for one in status["tiers"]] == [("local", {}), ("standard", {}), ("slow", {"r1": 1.0})]
    assert status["backlog"] == [{"worker_type": "limited", "tier": "slow", "tasks": 1}]
    assert (status["unserved"], status["dead"]) == ([{"worker_type": "limited", "tier": "slow"}], {"unknown_tier": 1})
    assert status["without_worker"] == ["limited"]
    assert "(no worker!)" in text
