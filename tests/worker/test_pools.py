"""Handlers that are no coroutine functions: in threads, and in processes that can be ended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from pydantic import BaseModel

from heddle import Run, Settings, macro, reject, retry
from heddle.errors import Code, DefinitionError, MacroFailure, TryAgain
from heddle.macros.loading import AnyMacro, Registry, collect, load
from heddle.settings import WorkerSettings
from heddle.worker.executor import Tools, execute, tools_of
from heddle.worker.pools import Threads
from heddle.worker.tools import health
from tests.support import eventually
from tests.test_children import eventually as comes_true
from tests.test_children import gone

ROOT = Path(__file__).resolve().parents[2]


class Request(BaseModel):
    what: str = "x"


class Busy(Exception):
    pass


class Forge:
    name = "forge"


async def run(of: AnyMacro, what: str = "x", tools: Tools | None = None, *, this: Run | None = None) -> object:
    return json.loads(await execute(of, of.read({"what": what}), tools or {}, this or Run("t", 1, 0.0)))


async def failure(of: AnyMacro, what: str, tools: Tools | None = None) -> MacroFailure:
    with pytest.raises(MacroFailure) as caught:
        await run(of, what, tools)
    return caught.value


# --- threads


@macro(fails={Busy: retry()})
def in_a_thread(request: Request, *, run: Run) -> str:
    match request.what:
        case "name":
            return threading.current_thread().name
        case "busy":
            raise Busy
        case "exit":
            sys.exit(3)
        case "stop":
            raise StopIteration
        case "report":
            run.report("half way")
    return request.what


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets handlers go that wait in a thread; at the end of a test at the latest."""
    event = threading.Event()
    yield event
    event.set()


def waiting_for(gate: threading.Event, timeout: float = 60.0) -> AnyMacro:
    @macro(timeout=timeout)
    def wait(request: Request) -> str:
        gate.wait()
        return request.what

    return wait


@asynccontextmanager
async def tools_for(*macros: AnyMacro, threads: int = 2) -> AsyncIterator[Tools]:
    registry = collect(iter(macros))
    async with tools_of(registry, Settings(worker=WorkerSettings(threads=threads)), list(macros)) as tools:
        yield tools


async def test_an_ordinary_function_runs_in_a_thread_of_its_own() -> None:
    assert in_a_thread.pool == "thread"
    assert await run(in_a_thread, "name") == "heddle-handler"


def test_a_coroutine_function_runs_in_no_pool() -> None:
    @macro
    async def triage(request: Request) -> str:
        return "x"

    assert triage.pool is None


def test_a_macro_of_an_ordinary_function_stays_one() -> None:
    @macro
    def shout(request: Request) -> str:
        return request.what.upper()

    loud: str = shout(Request(what="a"))
    assert loud == "A"


async def test_the_loop_goes_on_while_a_handler_waits_in_its_thread(gate: threading.Event) -> None:
    running = asyncio.ensure_future(run(waiting_for(gate), "a"))
    await eventually(lambda: asyncio.sleep(0, [one.name for one in threading.enumerate()]), lambda names: "heddle-handler" in names)
    gate.set()
    assert await running == "a"


async def test_errors_in_a_thread_are_judged_as_in_the_loop() -> None:
    with pytest.raises(TryAgain):
        await run(in_a_thread, "busy")
    for what in ("exit", "stop"):
        assert (await failure(in_a_thread, what)).code is Code.HANDLER_FAILED


async def test_progress_from_a_thread_is_told_in_the_loop() -> None:
    told: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    await run(in_a_thread, "report", this=Run("t", 1, 0.0, lambda text: told.put_nowait((text, threading.get_ident()))))
    assert await told.get() == ("half way", threading.get_ident())


async def test_a_tool_is_injected_in_a_thread_too() -> None:
    @macro
    def named(request: Request, *, forge: Forge) -> str:
        return forge.name

    assert await run(named, tools={Forge: Forge()}) == "forge"


async def test_a_handler_past_its_deadline_is_timed_out_at_once_though_its_thread_goes_on(gate: threading.Event) -> None:
    failed = await failure(waiting_for(gate, timeout=0.01), "x")
    assert (failed.code, gate.is_set()) == (Code.TIMED_OUT, False)


async def test_no_more_threads_run_than_there_may_be_and_waiting_for_one_is_not_the_run_s_time(gate: threading.Event) -> None:
    slow, quick = waiting_for(gate), in_a_thread
    async with tools_for(slow, quick, threads=1) as tools:
        first = asyncio.ensure_future(run(slow, "a", tools))
        second = asyncio.ensure_future(run(macro(timeout=0.05)(quick.handler), "b", tools))
        await asyncio.wait([first, second], timeout=0.2)
        assert not second.done()
        gate.set()
        assert [await first, await second] == ["a", "b"]


async def test_threads_that_are_all_held_past_their_deadline_are_not_well_until_one_ends(gate: threading.Event) -> None:
    stuck = waiting_for(gate, timeout=0.01)
    async with tools_for(stuck, threads=2) as tools:
        await failure(stuck, "x", tools)
        assert await health(tools) == {"Threads": None}
        await failure(stuck, "x", tools)
        assert "all 2 threads (worker.threads) are held by runs past their deadline" in str((await health(tools))["Threads"])
        gate.set()
        await eventually(lambda: health(tools), lambda seen: seen == {"Threads": None})
        assert await run(in_a_thread, "again", tools) == "again"


def test_a_thread_that_hangs_does_not_keep_the_interpreter_from_its_end() -> None:
    code = """
    import asyncio, threading
    from heddle.worker.pools import Threads
    async def main():
        async with Threads(1).seat() as run:
            try:
                async with asyncio.timeout(0.01):
                    await run(threading.Event().wait)
            except TimeoutError:
                print("left")
    asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "left\n"


async def test_a_seat_that_is_not_used_is_given_back() -> None:
    threads = Threads(1)
    for _ in range(2):
        async with threads.seat():
            pass
    await threads.healthy()


# --- processes


@macro(pool="process", timeout=20, fails={Busy: retry(backoff=2.0), FileNotFoundError: reject})
def apart(request: Request) -> str:
    """Runs in a process of its own."""
    match request.what.split():
        case ["pid"]:
            return str(os.getpid())
        case ["exit", code]:
            os._exit(int(code))
        case ["kill"]:
            os.kill(os.getpid(), 9)
        case ["sys.exit"]:
            sys.exit(3)
        case ["busy"]:
            raise Busy("now")
        case ["odd"]:
            raise Odd(1, 2)
        case ["lost"]:
            Path("/nowhere/at/all").read_text()
        case ["write"]:
            os.write(1, b"on the way out")
        case ["wrong"]:
            return 5  # type: ignore[return-value]
    return request.what


class Odd(Busy):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.retry_after = two


def spin(file: str) -> None:
    child = subprocess.Popen(["sleep", "600"])
    Path(file).write_text(f"{os.getpid()} {child.pid}")
    while True:
        pass


@macro(pool="process", timeout=0.3)
def endless(request: Request) -> str:
    """Never ends, nor does what it starts."""
    spin(request.what)
    return "x"


@macro(pool="process", timeout=600)
def endless_for_long(request: Request) -> str:
    """As `endless`, with all the time in the world."""
    spin(request.what)
    return "x"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return collect(iter([apart, endless, endless_for_long]))


@pytest.fixture
async def tools(registry: Registry) -> AsyncIterator[Tools]:
    async with tools_of(registry, Settings()) as made:
        yield made


async def test_a_handler_runs_in_a_process_that_is_kept(tools: Tools) -> None:
    pids = [await run(apart, "pid", tools) for _ in range(3)]
    assert len(set(pids)) == 1
    assert pids[0] != str(os.getpid())


async def test_without_a_worker_s_pool_a_process_is_made_for_the_run() -> None:
    pid = str(await run(apart, "pid"))
    assert gone(int(pid))


async def test_tasks_run_in_several_processes_at_the_same_time() -> None:
    async with tools_of(collect(iter([apart])), Settings()) as tools:
        assert await asyncio.gather(*(run(apart, str(n), tools) for n in range(20))) == [str(n) for n in range(20)]


@pytest.mark.parametrize(("what", "how"), [("exit 3", "exit code 3"), ("exit 0", "exit code 0"), ("kill", "signal SIGKILL")])
async def test_a_task_whose_process_dies_is_crashed_and_others_go_on(tools: Tools, what: str, how: str) -> None:
    failed, *others = await asyncio.gather(failure(apart, what, tools), *(run(apart, str(n), tools) for n in range(5)))
    assert isinstance(failed, MacroFailure)
    assert (failed.code, str(failed)) == (Code.CRASHED, f"its process died ({how})")
    assert others == [str(n) for n in range(5)]


async def test_a_process_that_died_while_it_had_nothing_to_do_is_nobody_s_crash(tools: Tools) -> None:
    pid = int(str(await run(apart, "pid", tools)))
    os.kill(pid, 9)
    await eventually(lambda: asyncio.sleep(0, gone(pid)), bool)
    assert await run(apart, "pid", tools) != str(pid)


async def test_a_handler_past_its_deadline_is_timed_out_and_its_process_ends_with_all_it_started(tools: Tools, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    failed = await failure(endless, str(file), tools)
    assert failed.code is Code.TIMED_OUT
    assert [gone(int(pid)) for pid in file.read_text().split()] == [True, True]
    assert await run(apart, "next", tools) == "next"


async def test_a_cancelled_task_s_process_ends(tools: Tools, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    running = asyncio.ensure_future(run(endless_for_long, str(file), tools))

    async def looked() -> bool:
        return file.exists() and bool(file.read_text())

    await eventually(looked, bool)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gone(int(file.read_text().split()[0]))


async def test_errors_of_a_process_are_judged_as_in_the_loop(tools: Tools) -> None:
    with pytest.raises(TryAgain, match="Busy: now"):
        await run(apart, "busy", tools)
    for what, said in [("lost", "FileNotFoundError: [Errno 2]"), ("sys.exit", "SystemExit: 3")]:
        failed = await failure(apart, what, tools)
        assert (failed.code, str(failed).startswith(said)) == (Code.HANDLER_FAILED, True)


async def test_an_error_that_cannot_be_made_of_its_words_keeps_its_class_and_what_it_carries(tools: Tools) -> None:
    with pytest.raises(TryAgain, match="Odd: 1 and 2") as caught:
        await run(apart, "odd", tools)
    assert isinstance(caught.value.__cause__, Odd)
    assert caught.value.__cause__.retry_after == 2


async def test_an_error_of_a_process_shows_where_it_was_raised(tools: Tools) -> None:
    failed = await failure(apart, "lost", tools)
    assert failed.__cause__ is not None
    assert "in apart" in "".join(failed.__cause__.__notes__)


async def test_an_output_that_breaks_its_schema_is_handler_failed_there_too(tools: Tools) -> None:
    assert str(await failure(apart, "wrong", tools)).startswith("MacroFailure: the output breaks the macro's own schema")


async def test_what_a_handler_writes_on_its_output_disturbs_nothing(tools: Tools) -> None:
    assert await run(apart, "write", tools) == "write"


def hidden() -> AnyMacro:
    @macro(pool="process")
    def hidden(request: Request) -> str:
        return "x"

    return hidden


def of_module(module: str, file: str) -> AnyMacro:
    """A macro as it is defined at a prompt, or in the program that was started."""
    told = {"__name__": module, "Request": Request, "macro": macro}
    exec(compile('@macro(pool="process")\ndef far(request: Request) -> str:\n    return "x"', file, "exec"), told)  # noqa: S102
    return cast("AnyMacro", told["far"])


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (
            of_module("nowhere", "<stdin>"),
            "<stdin>:1: far is to run in a process of its own, which loads it from its file, and it has none",
        ),
        (of_module("__main__", __file__), "it stands in the program itself, which would start once more there"),
        (hidden(), "it does not stand at the top of it"),
    ],
)
async def test_a_macro_that_another_process_cannot_load_is_refused_at_the_start(of: AnyMacro, why: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        async with tools_of(collect(iter([of])), Settings()):
            pass
    assert why in str(caught.value)
    assert str(caught.value).endswith(": define it at the top of a file of macros, or use pool='thread'")


async def test_without_a_worker_such_a_macro_s_task_fails_and_no_process_loads_its_file() -> None:
    assert "it does not stand at the top of it" in str(await failure(hidden(), "x"))


FILE = """
from pydantic import BaseModel
from heddle import macro, reject
{more}
class In(BaseModel):
    what: str
class Mine(Exception): ...
@macro(pool="process", fails={{Mine: reject}})
def far(request: In) -> str:
    if request.what == "mine":
        raise Mine(helper())
    return helper()
"""
HELPER = "def helper():\n    return 'helped'\n"


@pytest.mark.parametrize("form", ["file", "folder"])
async def test_a_macro_of_a_file_or_folder_is_found_with_its_own_errors(tmp_path: Path, form: str) -> None:
    folder = tmp_path / f"far-flows {form}"
    folder.mkdir()
    name = f"far_flows_{form}"
    (folder / "helping.py").write_text(HELPER)
    (folder / "far.py").write_text(FILE.format(more=HELPER if form == "file" else f"from {name}.helping import helper"))
    registry = load([str(folder / "far.py" if form == "file" else folder)])
    far = registry.find("far")
    assert far is not None
    bugs: list[BaseException] = []
    async with tools_of(registry, Settings()) as tools:
        assert await run(far, "x", tools) == "helped"
        with pytest.raises(MacroFailure, match="Mine: helped"):
            await execute(far, far.read({"what": "mine"}), tools, Run("t", 1, 0.0), on_bug=bugs.append)
    assert bugs == []


async def test_the_end_of_a_worker_is_the_end_of_its_processes(registry: Registry) -> None:
    async with tools_of(registry, Settings()) as tools:
        pid = int(str(await run(apart, "pid", tools)))
    assert gone(pid)


WORKER = """
import asyncio, sys
from heddle import Run, Settings
from heddle.macros.loading import collect
from heddle.worker.executor import execute, tools_of
from tests.worker.test_pools import endless_for_long as endless
async def main():
    async with tools_of(collect(iter([endless])), Settings()) as tools:
        await execute(endless, endless.read({"what": sys.argv[1]}), tools, Run("t", 1, 0.0))
asyncio.run(main())
"""


def test_a_killed_worker_takes_a_busy_process_along(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(file)], cwd=ROOT)
    assert comes_true(lambda: file.exists() and bool(file.read_text()), 20)
    worker.kill()
    worker.wait()
    assert comes_true(lambda: all(gone(int(pid)) for pid in file.read_text().split()))


# --- definitions


def refusal(**given: object) -> str:
    async def in_the_loop(request: Request) -> str:
        return "x"

    def with_tool(request: Request, *, forge: Forge) -> str:
        return "x"

    function = in_the_loop if given.pop("loop", False) else with_tool
    with pytest.raises(DefinitionError) as caught:
        macro(pool="process")(function)
    return str(caught.value)


def test_a_coroutine_function_cannot_run_in_a_process() -> None:
    assert "in_the_loop is an `async def`, which runs in the loop: pool='process' is for an ordinary `def`" in refusal(loop=True)


def test_a_handler_in_a_process_gets_its_input_and_nothing_else() -> None:
    assert "with_tool asks for forge: a process gets the input and nothing else; use pool='thread'" in refusal()
