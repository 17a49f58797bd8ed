"""From a goal to a plan, with a model server in between."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from heddle.errors import Code, ModelUnavailable
from heddle.planner import make_planner
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from tests.examples import EXAMPLES
from tests.llm.http_server import Drops
from tests.llm.ollama_server import OVERLOADED, OllamaServer, Reply, Says, error
from tests.llm.support import MakesModel
from tests.support import planning

GOAL = "Label the last 3 changes in acme/checkout, and profile data/orders.csv"
CALLS = (
    PlannedCall("repo_triage", {"repository": "acme/checkout", "count": 3}),
    PlannedCall("csv_profile", {"path": "data/orders.csv"}),
)
GOAL_ANSWER = json.dumps({"tasks": [{"macro": call.macro, "arguments": call.arguments} for call in CALLS]})
PHRASED = "label the last 3 changes in acme/checkout"


async def test_a_goal_becomes_a_plan_with_one_call_of_the_model(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says(GOAL_ANSWER))
    async with model_at(server.url) as model:
        plan = await make_planner(EXAMPLES, model, planning("fallback")).plan(Asked(GOAL, {"team": "payments"}, 0.0))
    assert plan.calls == CALLS
    assert (plan.planned_by, plan.model_calls, plan.answer, plan.note) == ("test-model", 1, GOAL_ANSWER, None)
    [chat] = server.chats
    system, user = (message["content"] for message in chat["messages"])
    assert user == f'Goal: "{GOAL}"\nContext: {{"team": "payments"}}'
    branches = chat["format"]["properties"]["tasks"]["items"]["anyOf"]
    offered = [branch["properties"]["macro"]["enum"][0] for branch in branches]
    assert offered == [*(macro.name for macro in EXAMPLES.newest()), "unsupported"]
    assert all(f"- {name}(" in system for name in offered[:-1])
    assert all(next(iter(branch["properties"])) == "macro" for branch in branches), "the name is decided before the arguments"


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Says(""), Code.NO_PLAN, "not JSON"),
        (Says("Sure! Here is your plan."), Code.NO_PLAN, "not JSON"),
        (Says('{"tasks": [{"macro": "unsupported"}]}'), Code.UNSUPPORTED_GOAL, "no macro does"),
        (Says('{"tasks": [{"macro": "rm_rf", "arguments": {}}]}'), Code.NO_PLAN, "'rm_rf'"),
        (Says(GOAL_ANSWER, done_reason="length"), Code.NO_PLAN, "planner.num_predict"),
        (Drops(), Code.NO_PLAN, "cannot be read"),
        (error(500, "no memory"), Code.NO_PLAN, "no memory"),
    ],
)
async def test_phrases_do_not_stand_in_for_a_model_that_was_reached(
    server: OllamaServer, model_at: MakesModel, reply: Reply, code: Code, words: str
) -> None:
    server.then(reply)
    async with model_at(server.url) as model:
        plan = await make_planner(EXAMPLES, model, planning("fallback")).plan(Asked(PHRASED, {}, 0.0))
    assert plan.problem is not None
    assert plan.problem[0] is code
    assert words in plan.problem[1]
    assert len(server.chats) == 1


def lacks_the_model(server: OllamaServer) -> str:
    server.models.clear()
    return "ollama pull test-model"


def is_overloaded(server: OllamaServer) -> str:
    server.then(OVERLOADED)
    return "give it less to do"


@pytest.mark.parametrize("trouble", [lacks_the_model, is_overloaded])
async def test_while_the_model_is_unavailable_phrases_plan_only_if_they_may(
    server: OllamaServer, model_at: MakesModel, trouble: Callable[[OllamaServer], str]
) -> None:
    remedy = trouble(server)
    async with model_at(server.url) as model:
        plan = await make_planner(EXAMPLES, model, planning("fallback")).plan(Asked(PHRASED, {}, 0.0))
        with pytest.raises(ModelUnavailable) as caught:
            await make_planner(EXAMPLES, model, planning("off")).plan(Asked(PHRASED, {}, 0.0))
    assert (plan.calls, plan.planned_by, plan.model_calls) == (CALLS[:1], "phrases", 0)
    assert remedy in (plan.note or "")
    assert remedy in caught.value.remedy


async def test_a_goal_that_a_phrase_fits_asks_no_model_when_phrases_come_first(server: OllamaServer, model_at: MakesModel) -> None:
    server.then(Says(GOAL_ANSWER))
    async with model_at(server.url) as model:
        planner = make_planner(EXAMPLES, model, planning("first"))
        assert (await planner.plan(Asked(PHRASED, {}, 0.0))).model_calls == 0
        assert server.connections == 0
        assert (await planner.plan(Asked(f"{GOAL}, please", {}, 0.0))).model_calls == 1
