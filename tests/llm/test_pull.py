"""Pulling a model: how far it is, how it fails, and what stops it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.llm import ollama as adapter
from heddle.llm.ollama import OllamaModel, Progress
from tests.llm.http_server import Drops, Sends, Stays
from tests.llm.ollama_server import PULL, OllamaServer, Pulls, error
from tests.llm.support import MakesModel
from tests.support import PATIENCE


@pytest.fixture
def empty(server: OllamaServer) -> OllamaServer:
    """A server without a model."""
    server.models.clear()
    return server


async def pulled(model: OllamaModel) -> list[Progress]:
    async with aclosing(model.pull()) as steps:
        return [step async for step in steps]


async def test_a_pull_tells_the_bytes_of_all_its_parts_until_the_model_is_there(empty: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(empty.url, egress="any") as model:
        steps = await pulled(model)
        assert await model.is_there()
    assert [(step.completed, step.total) for step in steps] == [
        (0, 0),
        (0, 4_000_000),
        (1_000_000, 4_000_000),
        (4_000_000, 4_000_000),
        *[(4_000_500, 4_000_500)] * 4,
    ]
    assert (steps[0].status, steps[-1].status) == ("pulling manifest", "success")


@pytest.mark.parametrize(
    ("pull", "words"),
    [
        (Pulls([PULL.steps[0], {"error": "pull model manifest: file does not exist"}]), "pull model manifest: file does not exist"),
        (Pulls(PULL.steps[:3]), "stopped in the middle of pulling test-model; pull it again"),
        (Pulls(PULL.steps[:3], Drops()), "cannot be read"),
        (Pulls(PULL.steps[:3], Stays()), "has said nothing for 0.1 s while pulling test-model"),
        (error(500, "no space left on device"), "no space left on device"),
        (Sends(200, b"<html>"), "cannot be read"),
    ],
    ids=["which does not exist", "without an end", "dropped", "silent", "refused", "of another server"],
)
async def test_a_pull_that_fails_says_how(
    empty: OllamaServer, model_at: MakesModel, monkeypatch: pytest.MonkeyPatch, pull: Pulls | Sends, words: str
) -> None:
    monkeypatch.setattr(adapter, "_PULL_SILENCE", 0.1 if words.startswith("has said nothing") else PATIENCE)
    empty.pull = pull
    async with model_at(empty.url, egress="any") as model:
        with pytest.raises(ModelError, match=words) as caught:
            await pulled(model)
    assert not isinstance(caught.value, ModelUnavailable)


async def test_where_nothing_listens_nothing_is_pulled(model_at: MakesModel, nobody: str) -> None:
    async with model_at(nobody, egress="any") as model:
        with pytest.raises(ModelUnavailable, match="no model server answers"):
            await pulled(model)


async def test_a_pull_may_take_longer_than_an_answer(empty: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(empty.url, egress="any", timeout=1e-6) as model:
        assert (await pulled(model))[-1].status == "success"


async def test_a_pull_that_is_given_up_closes_its_connection_so_that_the_server_stops(empty: OllamaServer, model_at: MakesModel) -> None:
    empty.pull = Pulls(PULL.steps[:3], Stays())
    async with asyncio.timeout(PATIENCE), model_at(empty.url, egress="any") as model:
        pulling = asyncio.create_task(pulled(model))
        await empty.heard.wait()
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
        await empty.closed.wait()


async def test_without_egress_no_server_is_made_to_download(empty: OllamaServer, model_at: MakesModel) -> None:
    async with model_at(empty.url) as model:
        with pytest.raises(SettingsError, match=r"egress is none, .* to get it: ollama pull test-model"):
            await pulled(model)
    assert empty.requests == []
