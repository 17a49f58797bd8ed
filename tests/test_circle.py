"""The whole circle on a real server: what a model with tools did again and again becomes a macro, and no model is asked for it any more."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from heddle.cli.run_worker import NOVEL_MACRO
from heddle.control.goals import GoalEnded, goal_followed, new_goal, submit_goal
from heddle.macros.loading import load
from heddle.settings import NovelCategory, PlannerSettings
from heddle.testing import ScriptedModel
from tests.frontier.test_novel import calls, says, settings
from tests.llm.openai_server import OpenAIServer, openai_server
from tests.support import PATIENCE, Ground, on_ground

ROOT: Final = Path(__file__).resolve().parents[1]
MACRO: Final = "find_then_comment"
NEWEST: Final = {"login": "WEB-101", "totals": "WEB-102", "banner": "WEB-103"}
GOALS: Final = tuple(f"say on the newest ticket about {query} that it is seen" for query in NEWEST)
DESK: Final = f"""
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from heddle import provides

NEWEST = {NEWEST}


class Ticket(BaseModel):
    \"""One.\"""

    key: str
    title: str


class Tickets(Protocol):
    \"""A tool.\"""

    async def find(self, query: str, *, limit: int = 5) -> list[Ticket]:
        \"""Find some.\"""
        ...

    async def comment(self, key: str, body: str) -> None:
        \"""Comment on one.\"""
        ...


class Desk:
    async def find(self, query: str, *, limit: int = 5) -> list[Ticket]:
        return [Ticket(key=NEWEST[query], title=f"About {{query}}")][:limit]

    async def comment(self, key: str, body: str) -> None:
        with Path(__file__).with_name("comments.txt").open("a") as comments:
            comments.write(f"{{key}}: {{body}}\\n")


@provides
async def tickets() -> AsyncIterator[Tickets]:
    yield Desk()
"""
TICKETS: Final = {"tickets": NovelCategory(intent="Do something with tickets", tools=("tickets",))}
SAID: Final = [f"{key}: {key} is seen" for key in NEWEST.values()]


def rules(*macros: str) -> str:
    types = "".join(f", {macro}: {{}}" for macro in macros)
    return f"version: 1\ntiers: {{standard: {{}}, frontier: {{}}}}\nworker_types: {{novel: {{tier: frontier}}{types}}}\n"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder of macros in which there is but a tool."""
    folder = tmp_path / "desk_macros"
    folder.mkdir()
    (folder / "desk.py").write_text(DESK)
    return folder


@pytest.fixture
async def ground(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setenv("NATS_URL", nats_url)
    async with on_ground(nats_url) as ground:
        yield ground


@pytest.fixture
async def frontier(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIServer]:
    """The frontier model: it goes the same way for every goal, and has its answers for each of them once."""
    async with openai_server() as server:
        monkeypatch.setenv("HEDDLE_MODEL_SERVERS", server.url.removeprefix("http://"))
        for query, key in NEWEST.items():
            server.replies += [
                calls(("tickets_find", {"query": query, "limit": 1})),
                calls(("tickets_comment", {"key": key, "body": f"{key} is seen"})),
                says("done"),
            ]
        del server.replies[0]  # the answer that it would have without these
        yield server


@asynccontextmanager
async def at_work(ground: Ground, desk: Path, frontier: OpenAIServer, rules: str) -> AsyncIterator[None]:
    """All roles on what the folder has now. The planner's model knows of novel goals only: a macro is planned by its own phrases."""
    given = settings(frontier, TICKETS).model_copy(update={"planner": PlannerSettings(phrases="first", admission="off")})
    model = ScriptedModel('{"tasks": [{"macro": "novel:tickets"}]}')
    registry = load([str(desk)])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ground.router(rules))
        await stack.enter_async_context(ground.worker(load([str(desk), NOVEL_MACRO]), replica="f1", settings=given, tiers=["frontier"]))
        await stack.enter_async_context(ground.orchestrator(model, registry=registry, settings=given))
        if registry.macros:
            await stack.enter_async_context(ground.worker(registry))
        yield


async def worked_by(ground: Ground, goals: Sequence[str]) -> list[str]:
    """The worker types that did these goals, one after the other."""
    done = []
    for text in goals:
        goal = new_goal(text)
        async with asyncio.timeout(PATIENCE), goal_followed(ground.client, goal.goal_id or "") as steps:
            await submit_goal(ground.client, goal)
            async for step in steps:
                if isinstance(step, GoalEnded):
                    assert step.result.status == "completed", step.result.error
                    done += [task["worker_type"] for task in step.result.output["tasks"]]
    return done


async def heddle(desk: Path, *arguments: str) -> tuple[int, Any]:
    """A command on this server, with the macros of the folder: its exit code and its answer."""
    argv = [sys.executable, "-m", "heddle", *arguments, "--macros", desk.name, "-o", "json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(subprocess.run, argv, cwd=desk.parent, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_what_novel_goals_keep_doing_becomes_a_macro_and_the_same_goals_need_no_frontier_model(
    ground: Ground, desk: Path, frontier: OpenAIServer
) -> None:
    async with at_work(ground, desk, frontier, rules()):
        assert await worked_by(ground, GOALS) == ["novel"] * 3
    asked = len(frontier.chats)
    assert (asked, (desk / "comments.txt").read_text().splitlines()) == (9, SAID)

    code, report = await heddle(desk, "gate", "scan", "stream")
    assert (code, [one["pattern"] for one in report["sequences"]], report["savings"]) == (1, ["Tickets.find > Tickets.comment"], [])
    code, proposed = await heddle(desk, "gate", "suggest", "stream", "--write", desk.name)
    assert (code, [one["name"] for one in proposed["macros"]]) == (0, [MACRO])
    code, checked = await heddle(desk, "macros", "check", "--strict")
    assert (code, MACRO in json.dumps(checked)) == (0, True), checked

    async with at_work(ground, desk, frontier, rules(MACRO)):
        assert await worked_by(ground, GOALS) == [MACRO] * 3
    assert (len(frontier.chats), (desk / "comments.txt").read_text().splitlines()) == (asked, SAID + SAID)

    code, report = await heddle(desk, "gate", "scan", "stream")
    assert (code, [(one["status"], one["macro"]) for one in report["sequences"]]) == (0, [("covered", MACRO)])
    (saving,) = report["savings"]
    assert (saving["name"], saving["whole"], saving["sessions"], saving["calls"]) == ("tickets", 3, 3, 6)
    assert (saving["tokens"], saving["cost"]) == (1320, pytest.approx(3 * (400 * 1e-6 + 40 * 10e-6)))
    assert saving["advice"] == f"remove the category `novel.tickets` from the settings: {MACRO} does what its goals ask for"
