"""`heddle eval` as its user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from heddle import subjects
from heddle.cli.eval import DEFAULT_CASES
from heddle.cli.main import app
from tests.llm.http_server import Stays
from tests.llm.ollama_server import OVERLOADED, OllamaServer, Runs, Says, ollama_server, shown
from tests.support import PATIENCE, on_ground

MACROS = '''\
from pydantic import BaseModel

from heddle import macro


class Word(BaseModel):
    word: str


@macro(examples=[("say a", {"word": "a"}), ("say b", {"word": "b"})], phrases=["say {word}"])
async def say(request: Word) -> str:
    """Say a word."""
    return request.word


@macro(examples=[("sing a", {"word": "a"}), ("sing b", {"word": "b"})], phrases=["sing {word}"])
async def sing(request: Word) -> str:
    """Sing a word."""
    return request.word
'''
CASES = """\
- {goal: say hello, expect: [{macro: say, arguments: {word: hello}}], tags: [single]}
- {goal: sing hello, expect: [{macro: sing, arguments: {word: hello}}], tags: [single]}
- {goal: whistle hello, expect: unsupported, tags: [out of scope]}
"""
UNSUPPORTED = '{"tasks": [{"macro": "unsupported"}]}'


def obedient(body: dict[str, Any]) -> Says:
    """Do what the goal says, if there is a macro for it."""
    system, user = (message["content"] for message in body["messages"])
    name, word = json.loads(user.removeprefix("Goal: ")).split()
    known = f"- {name}(" in system
    return Says(json.dumps({"tasks": [{"macro": name, "arguments": {"word": word}}]}) if known else UNSUPPORTED)


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaServer]:
    async with ollama_server(Runs(obedient)) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "voices.py").write_text(MACROS)
    (tmp_path / "workflows" / DEFAULT_CASES).write_text(CASES)
    return tmp_path


@pytest.fixture
def no_workflows_yet() -> Iterator[None]:
    """As in a new process: no package `workflows` is imported."""

    def taken() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "workflows"}

    before = taken()
    yield
    taken()
    sys.modules.update(before)


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


Evaluates = Callable[..., Awaitable[Done]]


@pytest.fixture
def heddle_eval(project: Path, no_workflows_yet: None, monkeypatch: pytest.MonkeyPatch) -> Evaluates:
    """Runs the command in this process, in the project, beside the loop that serves it."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("HEDDLE_PLANNER__MODEL", "test-model")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project / "none"))

    async def run(*arguments: str, server: OllamaServer | None = None) -> Done:
        if server is not None:
            monkeypatch.setenv("OLLAMA_HOST", server.url)
        found = await asyncio.to_thread(CliRunner().invoke, app, ["eval", *arguments])
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return Done(found.exit_code, found.stdout, found.stderr)

    return run


async def test_a_model_is_scored_on_the_cases_beside_the_macros(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    done = await heddle_eval("-o", "json", server=ollama)
    assert (done.code, done.told["planned_by"], done.told["of"], done.told["stopped"]) == (0, "test-model", 3, None)
    assert done.told["scores"]["all"]["sent_right"] == {"count": 2, "of": 2, "rate": 1.0}
    assert done.told["scores"]["out of scope"]["refused"] == {"count": 1, "of": 1, "rate": 1.0}
    assert done.told["facts"]["parameters"] == 7_615_616_512
    assert {body["options"]["num_ctx"] for body in ollama.chats} == {8192}


async def test_figures_are_a_table_with_the_cases_that_went_wrong(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    ollama.then(Says(UNSUPPORTED))
    done = await heddle_eval(server=ollama)
    assert done.code == 0
    assert "planned by test-model, 7.62 billion parameters" in done.out
    assert re.search(r"^single +2 +0 of 2 ", done.out, re.MULTILINE)
    assert "the planner itself refused 2 of 2 goals that macros can do" in done.out
    assert "case 1  say hello" in done.out
    assert "case 3" not in done.out


async def test_a_server_without_log_probabilities_is_told(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    assert "gives no log-probabilities" in (await heddle_eval(server=ollama)).out


async def test_phrases_are_scored_without_any_model(heddle_eval: Evaluates) -> None:
    done = await heddle_eval("--model", "phrases", "-o", "json")
    assert (done.code, done.told["planned_by"], done.told["facts"]) == (0, "phrases", None)
    assert done.told["scores"]["all"]["sent_right"]["count"] == 2


async def test_a_limit_takes_the_first_cases(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    done = await heddle_eval("--limit", "2", "-o", "json", server=ollama)
    assert (done.told["of"], len(done.told["cases"]), len(ollama.chats)) == (2, 2, 2)


async def test_public_cases_bring_their_macros(heddle_eval: Evaluates, project: Path, ollama: OllamaServer) -> None:
    function = {"name": "say", "description": "Say.", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}}
    case = {
        "id": "one_1",
        "category": "one",
        "question": "say Hello",
        "functions": [function],
        "ground_truth": [{"say": {"word": ["hello"]}}],
    }
    (project / "public.json").write_text(json.dumps({"cases": [case]}))
    done = await heddle_eval("public.json", "-o", "json", server=ollama)
    assert done.told["scores"]["one"]["arguments"] == {"count": 1, "of": 1, "rate": 1.0}


async def test_without_a_model_server_there_is_no_figure_and_the_message_says_how_to_get_it(heddle_eval: Evaluates) -> None:
    done = await heddle_eval("-o", "json")
    assert done.code == 1
    assert "ollama pull test-model" in done.told["error"]
    assert "scores" not in done.told


async def test_a_server_that_is_lost_in_the_middle_leaves_what_is_done(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    ollama.then(Runs(obedient), OVERLOADED)
    done = await heddle_eval("-o", "json", server=ollama)
    assert (done.code, len(done.told["cases"]), done.told["of"]) == (1, 1, 3)
    assert "is overloaded" in done.told["stopped"]
    assert "stopped after 1 of 3 cases" in done.err


async def test_ctrl_c_prints_what_is_done_so_far(project: Path, ollama: OllamaServer) -> None:
    ollama.then(Runs(obedient), Stays())
    env = {**os.environ, "OLLAMA_HOST": ollama.url, "HEDDLE_PLANNER__MODEL": "test-model"}
    argv = [sys.executable, "-m", "heddle", "eval", "-o", "json"]
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=project, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        while len(ollama.chats) < 2:
            ollama.heard.clear()
            await ollama.heard.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    done = Done(process.returncode or 0, out.decode(), err.decode())
    assert (done.code, done.told["stopped"], len(done.told["cases"]), done.told["of"]) == (130, "interrupted", 1, 3)
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{goal: x}]", "workflows/eval_cases.yaml: case 1: expect: Field required"),
        ("[{goal: x, expect: [{macro: shout}]}]", "workflows/eval_cases.yaml: case 1: there is no macro 'shout'"),
        (None, "no eval_cases.yaml in workflows: name a file of cases"),
    ],
    ids=["no case", "no macro", "no file"],
)
async def test_cases_that_cannot_be_used_are_told_before_anything_is_planned(
    heddle_eval: Evaluates, project: Path, text: str | None, words: str
) -> None:
    file = project / "workflows" / DEFAULT_CASES
    file.unlink() if text is None else file.write_text(text)
    done = await heddle_eval("--model", "phrases")
    assert (done.code, words in done.err) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [("--admit", "cases.yaml"), ("--admit", "--limit", "3"), ("--admit", "--model", "phrases"), ("--server", "nats://x"), ("--limit", "0")],
)
async def test_options_that_do_not_go_together_are_usage(heddle_eval: Evaluates, arguments: tuple[str, ...]) -> None:
    assert (await heddle_eval(*arguments)).code == 2


async def test_a_provider_that_is_not_there_is_told(heddle_eval: Evaluates) -> None:
    done = await heddle_eval("--provider", "gpu")
    assert (done.code, "there is no provider of that name" in done.err) == (2, True)


# --- admission


async def test_a_good_model_is_admitted_and_the_result_kept_for_the_orchestrators(
    heddle_eval: Evaluates, ollama: OllamaServer, nats_url: str
) -> None:
    done = await heddle_eval("--admit", "-o", "json", "--server", nats_url, server=ollama)
    assert (done.code, done.told["admitted"], done.told["kept"]) == (0, True, True)
    assert done.told["results"]["examples"] == {"count": 2, "of": 2}
    async with on_ground(nats_url) as ground:
        bucket = await ground.client.jetstream().key_value(subjects.META)
        assert [key for key in await bucket.keys() if key.startswith("admission.")]


async def test_a_model_that_does_not_pass_is_refused_with_its_reasons(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    ollama.then(Says(UNSUPPORTED))
    done = await heddle_eval("--admit", server=ollama)
    assert done.code == 1
    assert "test-model, 7.62 billion parameters" in done.out
    assert "not admitted" in done.out
    assert "0 of 2 examples of your macros became exactly their calls" in done.err
    assert "was not kept" in done.err


async def test_a_small_model_is_refused_at_once(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    ollama.shown = shown(model_info={"general.parameter_count": 1_500_000_000, "general.finetune": "Instruct"})
    done = await heddle_eval("--admit", server=ollama)
    assert (done.code, ollama.chats) == (1, [])
    assert "planner.admit = ['parameters']" in done.err


async def test_a_server_of_results_that_does_not_answer_is_told_before_the_test(heddle_eval: Evaluates, ollama: OllamaServer) -> None:
    done = await heddle_eval("--admit", "--server", "nats://127.0.0.1:9", server=ollama)
    assert (done.code, ollama.chats) == (4, [])
