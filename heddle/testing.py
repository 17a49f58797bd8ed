"""The test kit: run a macro, replay its fixtures, script a model, and a real server for every test session.

In a project's `conftest.py`: `pytest_plugins = ["heddle.testing"]`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from heddle.broker.connect import connected, js_api
from heddle.broker.server import embedded
from heddle.errors import MacroFailure, TryAgain
from heddle.llm.model import Answer
from heddle.macros.fixtures import Fixture, difference, read_fixtures, scripted_tools
from heddle.macros.loading import AnyMacro
from heddle.macros.macro import Run
from heddle.planning.prompt import Prompt
from heddle.settings import Settings
from heddle.telemetry.observer import Observer
from heddle.worker.executor import execute

__all__ = ["ScriptedModel", "fixtures_of", "nats_server", "nats_url", "replay", "run_macro"]


async def run_macro(macro: AnyMacro, payload: Mapping[str, Any], *, tools: Mapping[Any, Any] | None = None, attempt: int = 1) -> Any:
    """Run a macro as a worker would: input validated, tools by type, deadline kept, output checked.

    Args:
        macro: which.
        payload: the task's payload.
        tools: the tools it needs, by type; `Settings` is there without asking.
        attempt: which attempt this is to be.

    Returns:
        The output as JSON values.

    Raises:
        MacroFailure: it ended badly; its `code` is that of the dead letter.
        TryAgain: it raised an error that is declared to pass; a worker would try again after its `delay`.
    """
    run = Run(task_id="test", attempt=attempt, deadline=0.0)
    given = {Settings: Settings(), **(tools or {})}
    return json.loads(await execute(macro, macro.read(dict(payload)), given, run))


def fixtures_of(macro: AnyMacro, folder: str | Path = "workflows/fixtures") -> list[Fixture]:
    """A macro's fixtures, for `@pytest.mark.parametrize`.

    Raises:
        DefinitionError: a file is not a fixture.
    """
    return read_fixtures(Path(folder), macro.name)


async def replay(macro: AnyMacro, fixture: Fixture) -> str | None:
    """Run a fixture; what came out otherwise than it says, or None if all is well.

    Raises:
        DefinitionError: the fixture does not fit the macro.
    """
    try:
        output = await run_macro(macro, fixture.input, tools=scripted_tools(macro, fixture))
    except (MacroFailure, TryAgain) as failure:
        if fixture.fails is not None and str(failure).startswith(fixture.fails):
            return None
        return f"it failed: {failure}"
    if fixture.fails is not None:
        return f"it was to fail with {fixture.fails}, and gave {output!r}"
    return difference(fixture.output, output)


class ScriptedModel:
    """A model that answers what it is told; the last answer is repeated. An answer that is an error is raised.

    Attributes:
        prompts: what it was asked.
    """

    def __init__(self, *answers: str | Exception, name: str = "scripted") -> None:
        self.name = name
        self.prompts: list[Prompt] = []
        self._answers: Sequence[str | Exception] = answers

    async def complete(self, prompt: Prompt) -> Answer:
        """The next answer."""
        answer = self._answers[min(len(self.prompts), len(self._answers) - 1)]
        self.prompts.append(prompt)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)


@pytest.fixture(scope="session")
def nats_server() -> Iterator[str]:
    """The URL of a real nats-server with JetStream, on a free port, for the whole session."""
    with tempfile.TemporaryDirectory(prefix="heddle-test-") as folder, embedded(Path(folder) / "store") as server:
        yield server.url


@pytest.fixture
async def nats_url(nats_server: str) -> str:
    """The session's server, emptied: no stream is left of the test before."""
    async with connected(nats_server, "test", Observer()) as client:
        for name in (await js_api(client, "STREAM.NAMES")).get("streams") or ():
            await js_api(client, f"STREAM.DELETE.{name}")
    return nats_server
