"""The gate before the planner's model, on a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from heddle import events, macro, subjects
from heddle.broker.announcements import announcements
from heddle.control.goals import goal_outcome_of, new_goal, submit_goal
from heddle.llm.model import Answer, Facts
from heddle.planning.prompt import Prompt
from heddle.settings import Settings
from heddle.testing import ScriptedModel
from tests.support import Echoed, Ground, Word, echo, eventually, on_ground, planning, registry_of


@macro(tier="local", examples=[(f"shout {word}", {"word": word}) for word in ("yes", "no", "hey")])
async def shout(request: Word) -> Echoed:
    """Say a word loudly."""
    return Echoed(word=request.word.upper())


MACROS = registry_of(echo, shout)
RULES = "version: 1\ntiers: {local: {}}\nworker_types: {echo: {}, shout: {}}\n"


class Good(ScriptedModel):
    """Does what goals say: the first word is the macro, the second its argument; what the prompt does not offer is unsupported."""

    async def complete(self, prompt: Prompt) -> Answer:
        self.prompts.append(prompt)
        name, _, word = json.loads(prompt.user.split("\n")[0].removeprefix("Goal: ")).partition(" ")
        known = f"- {name}(" in prompt.system
        return Answer(json.dumps({"tasks": [{"macro": name, "arguments": {"word": word}} if known else {"macro": "unsupported"}]}))


class Eager(Good):
    """Always finds something to do."""

    async def complete(self, prompt: Prompt) -> Answer:
        self.prompts.append(prompt)
        return Answer('{"tasks": [{"macro": "echo", "arguments": {"word": "hello"}}]}')


class Small(Good):
    async def facts(self) -> Facts:
        return Facts("digest", 1_500_000_000, 4.5, True)


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


def admitting(**more: object) -> Settings:
    return planning("off", admission="on", **more)


async def planned(ground: Ground, text: str = "echo hi") -> None:
    goal = new_goal(text)
    await submit_goal(ground.client, goal)
    await eventually(lambda: goal_outcome_of(ground.client, goal.goal_id or ""), lambda found: found is not None)


async def card(ground: Ground) -> str | None:
    found = (await announcements(ground.client)).get(subjects.orchestrator_card("o1"))
    return None if found is None else found["admission"]


async def test_a_model_that_passes_plans_goals_and_its_replica_says_that_it_is_admitted(ground: Ground) -> None:
    model = Good("")
    async with ground.router(RULES), ground.worker(MACROS), ground.orchestrator(model, registry=MACROS, settings=admitting()) as one:
        await planned(ground)
        await one.announce()
        assert await card(ground) == "admitted"
    assert len(model.prompts) > 1, "it was tested before the goal"


@pytest.mark.parametrize("model", [Eager(""), Small("")], ids=["finds something to do always", "too small"])
async def test_goals_wait_for_a_model_that_has_not_passed_and_it_is_told_why(
    ground: Ground, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heddle.orchestrator.orchestrator.MODEL_DELAY", 0.1)
    async with ground.orchestrator(model, registry=MACROS, settings=admitting()) as one:
        await submit_goal(ground.client, new_goal("echo hi"))
        assert one.admission is not None
        async with asyncio.timeout(20):
            await one.admission.refused.wait()
        await eventually(lambda: _counted(ground), lambda count: count > 0)
    assert await ground.waiting(subjects.GOALS) == 1
    assert ground.observer.total(events.MODEL_REFUSED) == 1


async def _counted(ground: Ground) -> int:
    return ground.observer.total(events.MODEL_AWAITED)


async def test_a_waived_demand_is_told_with_every_goal(ground: Ground) -> None:
    settings = admitting(admit=("parameters",))
    async with ground.router(RULES), ground.worker(MACROS), ground.orchestrator(Small(""), registry=MACROS, settings=settings):
        goal = new_goal("echo hi")
        await submit_goal(ground.client, goal)
        found = await eventually(lambda: goal_outcome_of(ground.client, goal.goal_id or ""), lambda found: found is not None)
    assert found is not None
    assert any("1.5 billion parameters" in line and "waived" in line for line in found.output["warnings"])


async def test_a_test_that_was_passed_is_not_repeated_by_the_next_replica(ground: Ground) -> None:
    first, second = Good(""), Good("")
    async with ground.router(RULES), ground.worker(MACROS):
        async with ground.orchestrator(first, registry=MACROS, settings=admitting()):
            await planned(ground)
        async with ground.orchestrator(second, registry=MACROS, settings=admitting(), replica="o2"):
            await planned(ground)
    assert len(second.prompts) == 1


async def test_replicas_that_start_together_test_the_model_once(ground: Ground) -> None:
    first, second = Good(""), Good("")
    async with (
        ground.router(RULES),
        ground.worker(MACROS),
        ground.orchestrator(first, registry=MACROS, settings=admitting()) as one,
        ground.orchestrator(second, registry=MACROS, settings=admitting(), replica="o2") as other,
    ):
        assert one.admission is not None
        assert other.admission is not None
        await asyncio.gather(one.admission.passed(), other.admission.passed())
        assert (one.admission.told, other.admission.told) == ("admitted", "admitted")
    assert not (first.prompts and second.prompts)
