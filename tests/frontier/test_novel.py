"""The macro `novel` in a worker of the frontier tier, on a real server, with a model server that a test tells what to say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import pytest

from heddle import fallback, macro, provides, subjects
from heddle.broker.connect import stored_from
from heddle.frontier import novel as frontier
from heddle.gate.sessions import Call, Event, Usage, decode
from heddle.macros.loading import Registry, collect
from heddle.messages import TaskResult
from heddle.settings import FrontierSettings, NovelCategory, ProviderSettings, Settings
from tests.llm.http_server import Sends
from tests.llm.openai_server import Completes, OpenAIServer, openai_server
from tests.support import FAST, Echoed, Ground, Word, on_ground

RULES = "version: 1\ntiers: {local: {}, frontier: {}}\nworker_types: {weak: {tier: local}, novel: {tier: frontier}}\n"


class Shelf(Protocol):
    """Holds things."""

    async def look(self, place: str) -> list[str]:
        """What is at a place."""
        ...


class Bell(Protocol):
    """Rings."""

    async def ring(self) -> None:
        """Ring it."""
        ...


class Things:
    async def look(self, place: str) -> list[str]:
        if place == "nowhere":
            raise LookupError("no such place")
        return [f"a thing of {place}"]

    async def ring(self) -> None:
        raise AssertionError("nobody may ring")


class Down(Exception):
    """Not there."""


@provides
async def shelf() -> AsyncIterator[Shelf]:
    yield Things()


@provides
async def bell() -> AsyncIterator[Bell]:
    yield Things()


@macro(tier="local", fails={Down: fallback})
async def weak(request: Word, *, shelf: Shelf) -> Echoed:
    """Look at a place."""
    raise Down(request.word)


def registry() -> Registry:
    return collect(iter([*vars(frontier).values(), shelf, bell]))


def calls(*wanted: tuple[str, Any]) -> Sends:
    """An answer that asks for calls."""
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for number, (name, arguments) in enumerate(wanted)
        ],
    }
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
    return Sends(200, json.dumps(body).encode(), (("Content-Type", "application/json"),))


def says(text: str) -> Completes:
    return Completes(text, prompt_tokens=200, answer_tokens=20)


@pytest.fixture
async def ground(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    monkeypatch.setenv("NATS_URL", nats_url)
    async with on_ground(nats_url) as ground:
        yield ground


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIServer]:
    async with openai_server() as server:
        monkeypatch.setenv("HEDDLE_MODEL_SERVERS", server.url.removeprefix("http://"))
        yield server


LOOKING: Final = {"looking": NovelCategory(intent="Look at places", tools=("shelf",))}


def settings(server: OpenAIServer, novel: Mapping[str, NovelCategory] = LOOKING, **limits: Any) -> Settings:
    """With a frontier model on this server, a dollar for a million tokens of prompts and ten for answers, and these categories."""
    provider = ProviderSettings.model_validate({"url": server.api, "model": "big", "input_price": 1.0, "output_price": 10.0})
    return FAST.model_copy(
        update={"providers": {"big": provider}, "frontier": FrontierSettings(provider="big", **limits), "novel": dict(novel)}
    )


@asynccontextmanager
async def at_work(ground: Ground, server: OpenAIServer, *workers: Registry, **limits: Any) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ground.router(RULES))
        given = settings(server, **limits)
        await stack.enter_async_context(ground.worker(registry(), replica="f1", settings=given, tiers=["frontier"]))
        for one in workers:
            await stack.enter_async_context(ground.worker(one))
        yield


async def run(ground: Ground, category: str | None = "looking") -> TaskResult:
    payload: dict[str, Any] = {"instruction": "what is at home", "context": {}, "history": [], "category": category}
    return await ground.run_task("novel", payload, tier="frontier")


async def events(ground: Ground) -> list[Event]:
    return [decode(one.body) for one in await stored_from(ground.client, subjects.SESSIONS, 1, "heddle.sessions.>", 100)]


async def test_a_novel_task_ends_with_the_model_s_answer_what_it_took_and_its_calls_in_the_session_log(
    ground: Ground, server: OpenAIServer
) -> None:
    server.then(calls(("shelf_look", {"place": "home"})), says("a thing"))
    async with at_work(ground, server):
        result = await run(ground)
    assert (result.status, result.output["answer"], result.model_used) == ("completed", "a thing", "big")
    assert result.token_usage["prompt_tokens"] == 300
    assert result.output["cost"] == pytest.approx(300 * 1e-6 + 30 * 1e-5)
    first, call, last = await events(ground)
    assert isinstance(first, Usage)
    assert isinstance(last, Usage)
    assert isinstance(call, Call)
    assert (call.name, call.arguments, call.result, call.novel) == ("Shelf.look", {"place": "home"}, ["a thing of home"], "looking")
    assert call.session == result.output["session"]


async def test_the_model_is_told_what_a_tool_answered_and_offered_only_what_the_category_allows(
    ground: Ground, server: OpenAIServer
) -> None:
    server.then(calls(("shelf_look", {"place": "nowhere"}), ("bell_ring", {})), says("nothing"))
    async with at_work(ground, server):
        assert (await run(ground)).output["tool_calls"] == 2
    first, second = server.chats
    assert [tool["function"]["name"] for tool in first["tools"]] == ["shelf_look"]
    told = [message["content"] for message in second["messages"] if message["role"] == "tool"]
    assert told == ['{"error": "LookupError: no such place"}', "there is no tool 'bell_ring'; there are shelf_look"]


@pytest.mark.parametrize(
    ("limits", "which"),
    [
        ({"max_turns": 2}, "max_turns"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"max_tokens": 150}, "max_tokens"),
        ({"max_cost": 0.0001}, "max_cost"),
    ],
)
async def test_a_model_that_goes_on_and_on_is_stopped_at_the_limit(
    ground: Ground, server: OpenAIServer, limits: dict[str, Any], which: str
) -> None:
    server.then(*[calls(("shelf_look", {"place": "home"}))] * 8)
    async with at_work(ground, server, **limits):
        result = await run(ground)
    assert (result.error or "").startswith("handler_failed: LimitReached: ")
    assert f"frontier.{which}" in (result.error or "")


async def test_a_category_that_the_settings_do_not_have_is_refused_without_asking_the_model(ground: Ground, server: OpenAIServer) -> None:
    async with at_work(ground, server):
        result = await run(ground, "gardening")
    assert "no category novel.gardening; they have looking" in (result.error or "")
    assert server.chats == []


async def test_a_task_that_fell_back_has_the_tools_of_the_macro_that_it_came_from(ground: Ground, server: OpenAIServer) -> None:
    server.then(says("did it"))
    both = collect(iter([*vars(frontier).values(), shelf, bell, weak]))
    async with (
        ground.router(RULES),
        ground.worker(collect(iter([weak, shelf]))),
        ground.worker(both, replica="f1", settings=settings(server), tiers=["frontier"], types=["novel"]),
    ):
        result = await ground.run_task("weak", {"word": "home"})
    assert (result.status, result.worker_type, result.output["answer"]) == ("completed", "novel", "did it")
    [chat] = server.chats
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["shelf_look"]


async def test_a_model_that_answers_with_nothing_ends_the_task_with_the_reason(ground: Ground, server: OpenAIServer) -> None:
    server.then(Completes(None))
    async with at_work(ground, server):
        assert "answered with neither a text nor a call" in ((await run(ground)).error or "")
