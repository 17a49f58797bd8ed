"""The offer to pull a model that is missing: asked for on a terminal, told elsewhere, and left alone where it is not heddle's to do."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from heddle.cli.pulling import ensure_model
from heddle.errors import ModelError, ModelUnavailable, SettingsError
from heddle.settings import PlannerSettings, ProviderSettings, Settings
from tests.llm.http_server import Stays
from tests.llm.ollama_server import PULL, OllamaServer, Pulls, error, ollama_server
from tests.support import PATIENCE

WORKFLOWS = str(Path(__file__).parents[2] / "workflows")
PHRASED = "profile data/orders.csv"


@pytest.fixture
async def empty(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OllamaServer]:
    """An Ollama server without a model, which may download."""
    async with ollama_server(models=()) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        monkeypatch.setenv("HEDDLE_EGRESS", "any")
        monkeypatch.setenv("HEDDLE_PLANNER__MODEL", "test-model")
        yield server


def settings(egress: str = "any", **planner: Any) -> Settings:
    return Settings.model_validate({"egress": egress, "planner": {"model": "test-model", **planner}})


# Without a terminal


async def test_without_a_terminal_the_remedy_is_told_and_the_planner_goes_on(
    empty: OllamaServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure_model(settings(), pull=False)
    assert capsys.readouterr().err == f"{empty.url} has no model test-model; to get it: ollama pull test-model, or start with --pull\n"
    assert empty.models == set()


async def test_with_the_flag_it_is_pulled_without_asking(empty: OllamaServer, capsys: pytest.CaptureFixture[str]) -> None:
    await ensure_model(settings(), pull=True)
    assert empty.models == {"test-model"}
    assert "pulled test-model" in capsys.readouterr().err


@pytest.mark.parametrize("pull", [False, True])
async def test_a_model_that_is_there_is_neither_pulled_nor_told_of(
    empty: OllamaServer, capsys: pytest.CaptureFixture[str], pull: bool
) -> None:
    empty.models = {"test-model"}
    await ensure_model(settings(), pull=pull)
    assert capsys.readouterr().err == ""
    assert [request.target for request in empty.requests] == ["/api/show"]


async def test_a_pull_that_fails_says_how(empty: OllamaServer) -> None:
    empty.pull = error(500, "pull model manifest: file does not exist")
    with pytest.raises(ModelError, match="pull model manifest: file does not exist"):
        await ensure_model(settings(), pull=True)


async def test_a_server_that_does_not_answer_is_the_planners_to_tell_of_unless_it_was_to_pull(capsys: pytest.CaptureFixture[str]) -> None:
    await ensure_model(settings(), pull=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(ModelUnavailable, match="no model server answers"):
        await ensure_model(settings(), pull=True)


async def test_without_egress_nothing_is_pulled_whatever_the_flag_says(empty: OllamaServer) -> None:
    with pytest.raises(SettingsError, match="egress is none"):
        await ensure_model(settings("none"), pull=True)
    assert [request.target for request in empty.requests] == ["/api/show"]


@pytest.mark.parametrize(
    "chosen",
    [
        Settings(
            planner=PlannerSettings(provider="gpu"),
            providers={"gpu": ProviderSettings.model_validate({"url": "http://h/v1", "model": "m"})},
        ),
        settings(phrases="first"),
    ],
    ids=["a server that loads its own models", "phrases first"],
)
async def test_nothing_is_looked_for_where_no_pull_would_help(empty: OllamaServer, chosen: Settings) -> None:
    await ensure_model(chosen, pull=False)
    assert empty.requests == []


@pytest.mark.parametrize("command", [["plan", PHRASED], ["up", "--port", "1"], ["run", "orchestrator", "--server", "nats://127.0.0.1:9"]])
async def test_every_command_that_plans_takes_the_flag(empty: OllamaServer, tmp_path: Path, command: list[str]) -> None:
    empty.pull = error(500, "no space left on device")
    argv = [sys.executable, "-m", "heddle", *command, "--pull", "--macros", WORKFLOWS]
    started = await asyncio.create_subprocess_exec(*argv, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    _, told = await started.communicate()
    assert (started.returncode, b"no space left on device" in told, b"Traceback" in told) == (1, True, False)


# On a terminal


@dataclass
class Terminal:
    """A command with a terminal for its standard input and error; what it showed so far is in `shown`."""

    process: asyncio.subprocess.Process
    file: int
    shown: str = ""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> None:
        try:
            self.shown += os.read(self.file, 65536).decode()
        except OSError:  # the command has closed its end
            asyncio.get_running_loop().remove_reader(self.file)
        self._news.set()

    async def until(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while words not in self.shown:
                self._news.clear()
                await self._news.wait()

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    async def ends(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@pytest.fixture
async def terminal(empty: OllamaServer, tmp_path: Path) -> AsyncIterator[Terminal]:
    """`heddle plan` on a terminal, with a server that lacks the model."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "heddle", "plan", PHRASED, "--macros", WORKFLOWS),
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"},
        stdin=theirs,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    terminal = Terminal(process, ours)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, terminal.read)
    try:
        yield terminal
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_whoever_says_yes_sees_the_bytes_come(empty: OllamaServer, terminal: Terminal) -> None:
    await terminal.until("pull test-model now? [y/N]")
    terminal.type("y\n")
    await terminal.until("pulled test-model")
    await terminal.ends()
    assert "4.0/4.0 MB" in terminal.shown
    assert empty.models == {"test-model"}
    assert len(empty.chats) == 1, "and the goal is planned with it"


async def test_whoever_says_nothing_gets_no_model(empty: OllamaServer, terminal: Terminal) -> None:
    await terminal.until("pull test-model now? [y/N]")
    terminal.type("\n")
    assert await terminal.ends() == 0, "the phrases plan it"
    assert empty.models == set()


async def test_ctrl_c_at_the_question_ends_the_command(empty: OllamaServer, terminal: Terminal) -> None:
    await terminal.until("[y/N]")
    terminal.process.send_signal(signal.SIGINT)
    assert await terminal.ends() == 1
    assert "Traceback" not in terminal.shown
    assert [request.target for request in empty.requests] == ["/api/show"]


async def test_ctrl_c_while_pulling_stops_the_pull_and_says_that_nothing_is_lost(empty: OllamaServer, terminal: Terminal) -> None:
    empty.pull = Pulls(PULL.steps[:3], Stays())
    await terminal.until("[y/N]")
    terminal.type("y\n")
    await terminal.until("1.0/4.0 MB")
    terminal.process.send_signal(signal.SIGINT)
    assert await terminal.ends() == 130
    assert "keeps what it has got" in terminal.shown
    assert "Traceback" not in terminal.shown
    async with asyncio.timeout(PATIENCE):
        await empty.closed.wait()
