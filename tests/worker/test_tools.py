"""A worker's tools: made for each run, asked whether they are well, and no model among them but on the frontier tier."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import BaseModel

from heddle import Run, Settings, macro, provides, reject, retry
from heddle.errors import Code, DefinitionError, MacroFailure, TryAgain
from heddle.llm.model import Answer, Facts, Model
from heddle.macros.loading import AnyMacro, Registry, collect
from heddle.planning.prompt import Prompt
from heddle.testing import ScriptedModel
from heddle.worker import tools as worker_tools
from heddle.worker.executor import execute
from heddle.worker.tools import Tools, health, refuse_models, run_tools, tools_of
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]


class Request(BaseModel):
    what: str = "x"


class Busy(Exception):
    pass


class Forge:
    pass


class Folder:
    def __init__(self, task_id: str) -> None:
        self.task_id = task_id


class Journal(list[str]):
    """What providers did, in order."""


@provides
async def forge() -> AsyncIterator[Forge]:
    yield Forge()


def folder_of(journal: Journal, *, broken: BaseException | None = None, grumpy: BaseException | None = None) -> Any:
    @provides(per="task")
    async def folder(run: Run, forge: Forge) -> AsyncIterator[Folder]:
        if broken:
            raise broken
        journal.append(f"made for {run.task_id}")
        yield Folder(run.task_id)
        await asyncio.sleep(0)
        journal.append("cleaned")
        if grumpy:
            raise grumpy

    return folder


@macro(fails={Busy: retry(times=1), KeyError: reject}, timeout=0.2)
async def work(request: Request, *, folder: Folder) -> str:
    match request.what:
        case "fail":
            raise KeyError("no")
        case "busy":
            raise Busy
        case "hang":
            await asyncio.Event().wait()
    return folder.task_id


@macro
async def plain(request: Request, *, forge: Forge) -> str:
    return "done"


async def run(
    what: str, journal: Journal, *, broken: BaseException | None = None, grumpy: BaseException | None = None, of: AnyMacro = work
) -> str:
    registry = collect(iter([work, plain, forge, folder_of(journal, broken=broken, grumpy=grumpy)]))
    async with tools_of(registry, Settings()) as tools:
        return str(json.loads(await execute(of, Request(what=what), tools, Run("t", 1, 0.0))))


# --- a tool for each run


async def test_a_tool_of_a_task_is_made_for_a_run_and_cleaned_up_after_it() -> None:
    journal = Journal()
    assert await run("x", journal) == "t"
    assert journal == ["made for t", "cleaned"]


async def test_a_macro_that_does_not_need_it_does_not_get_it_made() -> None:
    journal = Journal()
    assert await run("x", journal, of=plain) == "done"
    assert journal == []


@pytest.mark.parametrize(("what", "code"), [("fail", Code.HANDLER_FAILED), ("hang", Code.TIMED_OUT)])
async def test_a_tool_of_a_task_is_cleaned_up_after_a_failure_too(what: str, code: Code) -> None:
    journal = Journal()
    with pytest.raises(MacroFailure) as caught:
        await run(what, journal)
    assert (caught.value.code, journal) == (code, ["made for t", "cleaned"])


async def test_a_tool_of_a_task_is_cleaned_up_after_a_cancellation_too() -> None:
    journal = Journal()
    running = asyncio.ensure_future(run("hang", journal))
    await eventually(lambda: asyncio.sleep(0, list(journal)), bool)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert journal == ["made for t", "cleaned"]


async def test_an_error_of_its_set_up_is_judged_like_the_handler_s() -> None:
    with pytest.raises(TryAgain):
        await run("x", Journal(), broken=Busy())
    with pytest.raises(MacroFailure, match="OSError: full"):
        await run("x", Journal(), broken=OSError("full"))


async def test_an_error_of_its_clean_up_is_judged_like_the_handler_s() -> None:
    with pytest.raises(TryAgain):
        await run("x", Journal(), grumpy=Busy())


async def test_the_handler_s_error_counts_before_that_of_the_clean_up() -> None:
    with pytest.raises(TryAgain) as caught:
        await run("busy", Journal(), grumpy=OSError("full"))
    cause = caught.value.__cause__
    assert isinstance(cause, Busy)
    assert cause.__notes__ == ["Its clean-up failed besides: OSError: full"]


def raising(error: BaseException) -> Forge:
    raise error


@pytest.mark.parametrize("error", [ConnectionError("no forge"), SystemExit(3)])
async def test_a_worker_whose_tool_cannot_be_made_says_which_and_where(error: BaseException) -> None:
    @provides
    async def broken() -> AsyncIterator[Forge]:
        yield raising(error)

    registry = collect(iter([work, broken, folder_of(Journal())]))
    with pytest.raises(
        DefinitionError, match=r"test_tools\.py:\d+: Folder, or what it needs, cannot be made: (ConnectionError: no forge|SystemExit: 3)"
    ):
        async with tools_of(registry, Settings()):
            pass


async def test_a_clean_up_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_tools, "CLEAN_UP", 0.01)

    @provides(per="task")
    async def folder() -> AsyncIterator[Folder]:
        yield Folder("x")
        await asyncio.Event().wait()

    async with tools_of(collect(iter([work, folder])), Settings()) as tools:
        with pytest.raises(MacroFailure, match=r"Folder was not cleaned up after 0\.01 s"):
            await execute(work, Request(), tools, Run("t", 1, 0.0))


async def test_a_tool_given_in_its_place_is_used_as_it_is() -> None:
    journal = Journal()
    async with tools_of(collect(iter([work, forge, folder_of(journal)])), Settings()) as tools:
        output = await execute(work, Request(), {**tools, Folder: Folder("mine")}, Run("t", 1, 0.0))
    assert (output, journal) == (b'"mine"', [])


async def test_all_tools_of_a_run_can_be_made_without_running_it() -> None:
    journal = Journal()
    async with tools_of(collect(iter([work, forge, folder_of(journal)])), Settings()) as tools:
        async with AsyncExitStack() as stack:
            made = await run_tools(work.tools.values(), tools, Run("t", 1, 0.0), stack)
            assert made[Folder].task_id == "t"
        assert journal == ["made for t", "cleaned"]


# --- health


class Well:
    async def healthy(self) -> None:
        pass


class Sick:
    async def healthy(self) -> None:
        raise OSError("no connection")


class Silent:
    async def healthy(self) -> None:
        await asyncio.Event().wait()


class Busied:
    async def healthy(self) -> None:
        raise TimeoutError("mine")


async def test_every_tool_that_can_be_asked_says_whether_it_is_well() -> None:
    tools: Tools = {Settings: Settings(), Forge: Forge(), Well: Well(), Sick: Sick(), Busied: Busied()}
    assert await health(tools) == {"Well": None, "Sick": "OSError: no connection", "Busied": "TimeoutError: mine"}


async def test_a_tool_that_does_not_answer_is_not_well_and_holds_up_no_other() -> None:
    assert await health({Silent: Silent(), Well: Well()}, timeout=0.01) == {"Silent": "no answer within 0.01 s", "Well": None}


# --- no model at execution


class Writer(Protocol):
    name: str


class Author:
    pass


@provides
async def model() -> AsyncIterator[Model]:
    yield ScriptedModel("x")


@provides
async def author(model: Model) -> AsyncIterator[Author]:
    yield Author()


@macro
async def novel(request: Request, *, model: Model) -> str:
    return model.name


@macro
async def written(request: Request, *, author: Author) -> str:
    return "x"


def registry(*items: object) -> Registry:
    return collect(iter([model, author, forge, *items]))


NOT_ONLY_FRONTIER: list[list[str]] = [[], ["local"], ["local", "frontier"]]


@pytest.mark.parametrize("tiers", NOT_ONLY_FRONTIER)
@pytest.mark.parametrize("of", [novel, written], ids=lambda of: of.name)
def test_a_model_is_refused_unless_only_the_frontier_tier_is_served(tiers: list[str], of: AnyMacro) -> None:
    with pytest.raises(DefinitionError) as caught:
        refuse_models(registry(of, plain), tiers)
    told = str(caught.value)
    assert "test_tools.py:" in told
    assert "Model is a model (heddle.llm.model.Model)" in told
    assert f"`heddle run worker --tiers frontier --types {of.name}`" in told


@pytest.mark.parametrize("tiers", NOT_ONLY_FRONTIER)
async def test_the_worker_s_tools_are_refused_so_before_any_is_made(tiers: list[str]) -> None:
    with pytest.raises(DefinitionError, match="is a model"):
        await AsyncExitStack().enter_async_context(tools_of(registry(novel), Settings(), tiers=tiers))


async def test_a_worker_of_the_frontier_tier_gets_its_model() -> None:
    async with tools_of(registry(novel), Settings(), tiers=["frontier"]) as tools:
        assert await execute(novel, Request(), tools, Run("t", 1, 0.0)) == b'"scripted"'


@pytest.mark.parametrize("tiers", NOT_ONLY_FRONTIER)
def test_a_model_that_no_served_macro_needs_is_nobody_s_business(tiers: list[str]) -> None:
    refuse_models(registry(novel, plain), tiers, [plain])


class Disguised(Model):
    name = "disguised"

    async def complete(self, prompt: Prompt) -> Answer:
        raise AssertionError(prompt)

    async def warm(self, prompt: Prompt) -> None:
        raise AssertionError(prompt)

    async def facts(self) -> Facts:
        raise AssertionError


@pytest.mark.parametrize("per", ["worker", "task"])
async def test_a_model_that_is_provided_under_another_name_is_refused_when_it_is_made(per: Any) -> None:
    @provides(per=per)
    async def writer() -> AsyncIterator[Writer]:
        yield Disguised()

    @macro
    async def write(request: Request, *, writer: Writer) -> str:
        return "x"

    with pytest.raises((DefinitionError, MacroFailure), match=r"Writer is a model \(.*\.Disguised\)"):
        async with tools_of(collect(iter([write, writer])), Settings(), tiers=["local"]) as tools:
            await execute(write, Request(), tools, Run("t", 1, 0.0))


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).parent / "lint-imports"), "--contract", "no-model-at-execution", "--no-cache"]
    return subprocess.run(argv, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    def make() -> Path:
        folder = tmp_path_factory.mktemp("copy")
        shutil.copytree(ROOT / "heddle", folder / "heddle", ignore=shutil.ignore_patterns("__pycache__", "examples"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        return folder

    return make


def test_no_import_leads_from_a_worker_to_a_model(copy: Callable[[], Path]) -> None:
    assert lint(copy()).returncode == 0


@pytest.mark.parametrize("module", ["heddle/worker/executor.py", "heddle/macros/schema.py", "heddle/errors.py"])
def test_an_import_that_does_is_found_however_far_away_it_is(copy: Callable[[], Path], module: str) -> None:
    folder = copy()
    (folder / "heddle" / "far.py").write_text("from heddle.llm import ollama\n")
    with (folder / module).open("a") as file:
        file.write("import heddle.far\n")
    done = lint(folder)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout


def test_a_process_that_works_has_no_model_in_its_memory() -> None:
    code = "import sys, heddle.worker.worker; print([name for name in sys.modules if name.split('.')[0] == 'ollama' or 'llm' in name])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
