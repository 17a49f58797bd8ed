"""The switch that forbids real models in tests, and that it bites."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heddle.errors import SettingsError
from heddle.llm.connection import SWITCH
from tests.llm.ollama_server import OllamaServer, Says
from tests.llm.openai_server import openai_server
from tests.llm.support import ANSWER, PROMPT, MakesModel, MakesOpenAIModel


@pytest.fixture
async def real() -> AsyncIterator[OllamaServer]:
    """A model server that a test did not bring itself: one that nothing lets calls out to."""
    server = OllamaServer([Says(ANSWER)], models={"test-model"})
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server
        await server.hang_up()


async def test_a_model_server_that_is_not_the_tests_own_is_not_even_connected_to(
    real: OllamaServer, model_at: MakesModel, openai_at: MakesOpenAIModel
) -> None:
    async with model_at(real.url, egress="any") as ollama, openai_at(f"{real.url}/v1", egress="any") as openai:
        for asked in (
            ollama.complete(PROMPT),
            openai.complete(PROMPT),
            ollama.warm(PROMPT),
            openai.warm(PROMPT),
            ollama.facts(),
            openai.facts(),
            anext(ollama.pull()),
        ):
            with pytest.raises(SettingsError, match=f"must not be called here: {SWITCH} does not name it"):
                await asked
    assert real.connections == 0


async def test_the_switch_is_in_force_in_the_commands_that_a_test_starts(real: OllamaServer, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "heddle", "plan", "profile a.csv", "--macros", str(Path(__file__).parents[2] / "workflows")]
    env = {**os.environ, "OLLAMA_HOST": real.url, "HEDDLE_PLANNER__MODEL": "test-model", "HEDDLE_EGRESS": "any"}
    done = await asyncio.to_thread(subprocess.run, argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, f"127.0.0.1:{real.port} must not be called here" in done.stderr, "Traceback" in done.stderr) == (
        2,
        True,
        False,
    )
    assert real.connections == 0


async def test_without_the_switch_any_server_is_called(real: OllamaServer, model_at: MakesModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH)
    async with model_at(real.url) as model:
        assert (await model.complete(PROMPT)).text == ANSWER


async def test_a_tests_own_server_may_be_called_until_it_has_gone(openai_at: MakesOpenAIModel) -> None:
    async with openai_server() as own, openai_at(own.api) as model:
        await model.complete(PROMPT)
    async with openai_at(own.api) as model:
        with pytest.raises(SettingsError, match="must not be called here"):
            await model.complete(PROMPT)
