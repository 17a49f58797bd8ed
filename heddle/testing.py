"""The test kit: run a macro, replay its fixtures, script a model, and a real server for every test session.

In a project's `conftest.py`: `pytest_plugins = ["heddle.testing"]`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from heddle.broker.connect import connected, js_api
from heddle.broker.server import embedded
from heddle.errors import DefinitionError
from heddle.llm.model import Answer, Facts
from heddle.macros.fixtures import Fixture, fixture_folder, read_fixtures, shown
from heddle.macros.loading import AnyMacro
from heddle.macros.standins import StandIn, called_as, method_of
from heddle.macros.tools import tool_name
from heddle.planning.prompt import Prompt
from heddle.telemetry.observer import Observer
from heddle.worker.vetting import replay, run_once

__all__ = ["Fixture", "ScriptedModel", "each_fixture", "fake", "fixtures_of", "nats_server", "nats_url", "replay", "run_macro"]

T = TypeVar("T")


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
        MacroFailure: it ended badly; its `code` is that of the dead letter, its `__cause__` the error that the handler raised.
        TryAgain: it raised an error that is declared to pass; a worker would try again after its `delay`.
    """
    ended = await run_once(macro, dict(payload), tools or {}, attempt=attempt)
    if ended.failure is not None:
        raise ended.failure
    return ended.output


def fake(tool: Callable[..., T], /, **answers: Any) -> T:
    """A tool that answers what it is told to, each time: `fake(Forge, latest=[], annotate=ForgeBusy("soon"))`.

    Args:
        tool: the type that it stands in for.
        answers: by method: what it returns, as it is or as plain values (`latest=[{"id": "a1", …}]`); an error is raised.

    Raises:
        DefinitionError: the tool has no such method, or the method promises to return something else.
    """
    methods = {}
    for name, given in answers.items():
        method = method_of(tool, name)
        methods[name] = called_as(method, _raising(given) if isinstance(given, BaseException) else _returning(method.read(given)))

    def method_called(name: str) -> Callable[..., Any]:
        if name in methods:
            return methods[name]
        method_of(tool, name)  # is there one at all?
        raise DefinitionError(f"{tool_name(tool)}.{name} is called, and this fake has no answer: fake({tool_name(tool)}, {name}=…)")

    return cast("T", StandIn(method_called))


def _returning(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


def _raising(error: BaseException) -> Callable[..., Any]:
    def answer(*_: object) -> Any:
        raise error

    return answer


def fixtures_of(macro: AnyMacro, folder: str | Path | None = None) -> list[Fixture]:
    """The fixtures of a macro, of this version of it; one that names no version is the newest's, which is the one not deprecated.

    Args:
        macro: whose.
        folder: the folder with a folder for each macro; the macro's own `fixtures/`, beside its file, unless given.

    Raises:
        DefinitionError: a file is not a fixture.
    """
    found = read_fixtures(fixture_folder(macro) if folder is None else Path(folder) / macro.name)
    return [one for one in found if one.version == macro.version or (one.version is None and macro.deprecated is None)]


def each_fixture(macro: AnyMacro) -> pytest.MarkDecorator:
    """Run a test once for each fixture of a macro, as its argument `fixture`.

    Raises:
        DefinitionError: a file is not a fixture, or there is none: a test of nothing would pass.
    """
    fixtures = fixtures_of(macro)
    if not fixtures:
        raise DefinitionError(
            f"{macro.name} has no fixture in {shown(fixture_folder(macro))}: heddle macros record {macro.name} --payload …"
        )
    return pytest.mark.parametrize("fixture", fixtures, ids=[fixture.path.stem for fixture in fixtures])


class ScriptedModel:
    """A model that answers what it is told; the last answer is repeated. An answer that is an error is raised.

    A text stands for an answer without log-probabilities.

    Attributes:
        prompts: what it was asked.
    """

    def __init__(self, *answers: str | Answer | Exception, name: str = "scripted") -> None:
        self.name = name
        self.prompts: list[Prompt] = []
        self._answers: Sequence[str | Answer | Exception] = answers

    async def complete(self, prompt: Prompt) -> Answer:
        """The next answer."""
        answer = self._answers[min(len(self.prompts), len(self._answers) - 1)]
        self.prompts.append(prompt)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Answer) else Answer(answer)

    async def warm(self, prompt: Prompt) -> None:
        """There is nothing to warm."""

    async def facts(self) -> Facts:
        """Those of a model that nobody would refuse."""
        return Facts(digest=self.name, parameters=7_600_000_000, bits=4.5, instruct=True)


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
            await js_api(client, f"STREAM.PURGE.{name}")  # files that a slow disk still holds when the next of that name is made are empty
            await js_api(client, f"STREAM.DELETE.{name}")
    return nats_server
