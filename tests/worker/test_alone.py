"""A task in a process of its own: whatever its handler does to the process, the one who asked gets one answer, and no process is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from heddle.errors import Code, DefinitionError, MacroFailure, TryAgain
from heddle.worker import alone
from heddle.worker.alone import Died, run_alone
from tests.support import eventually, gone

MACROS = '''
import asyncio, ctypes, os, signal, sys, time
from collections.abc import AsyncIterator
from pathlib import Path
from pydantic import BaseModel
from heddle import Run, macro, provides, reject, retry
from heddle.llm.model import Model

class Word(BaseModel):
    word: str = ""

class Busy(Exception):
    """May pass."""

class Unknown(Exception):
    """Will not."""

class Shelf:
    """A tool."""

class Broken:
    """A tool that cannot be made."""

@provides
async def shelf() -> AsyncIterator[Shelf]:
    yield Shelf()
    Path(os.environ["MARK"]).write_text("put away")

@provides
async def broken() -> AsyncIterator[Broken]:
    raise ConnectionError("nobody there")
    yield Broken()

@macro
async def echo(request: Word, *, run: Run, shelf: Shelf) -> Word:
    """Say it again."""
    run.report("half")
    run.report("nearly")
    run.used("big", {"prompt_tokens": 7})
    return Word(word=f"{request.word} {run.task_id} {run.attempt} {run.goal_id}")

@macro(version=2)
async def older(request: Word) -> Word:
    """Newest."""
    return Word(word="new")

@macro(name="older", version=1)
async def older_v1(request: Word) -> Word:
    """Older."""
    return Word(word="old")

@macro(fails={Unknown: reject, Busy: retry(times=2, backoff=3.0)})
async def fail(request: Word) -> Word:
    """Fail as it is told."""
    raise {"unknown": Unknown, "busy": Busy, "bug": ZeroDivisionError, "exit": SystemExit}[request.word]("no")

@macro
async def die(request: Word) -> Word:
    """End the process."""
    match request.word:
        case "exit":
            os._exit(1)
        case "well":
            os._exit(0)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "fork":
            if (left := os.fork()) == 0:
                time.sleep(600)
            Path(os.environ["MARK"]).write_text(str(left))
            os._exit(3)
        case "block":
            time.sleep(600)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
    return Word()

@macro(timeout=0.3)
async def deaf(request: Word) -> Word:
    """Ignore the cancellation."""
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@macro(timeout=0.3)
async def slow(request: Word) -> Word:
    """Be too slow."""
    await asyncio.sleep(600)
    return Word()

@macro
async def loud(request: Word) -> Word:
    """Print what looks like an answer."""
    print('{"output": {"word": "lie"}}', flush=True)
    os.write(1, bytes(range(256)))
    os.write(2, b'{"failed": {}}')
    return Word(word="truth")

@macro
async def long(request: Word) -> Word:
    """Answer at length."""
    return Word(word="x" * (5 << 20))

@macro
async def wrong(request: Word) -> Word:
    """Return something else."""
    return 7

@macro
async def endless(request: Word, *, run: Run) -> Word:
    """Go on for ever."""
    run.report(str(os.getpid()))
    await asyncio.sleep(600)
    return Word()

@provides
async def model() -> AsyncIterator[Model]:
    yield object()

@macro(tier="frontier")
async def novel(request: Word, *, model: Model) -> Word:
    """Need a model."""
    return request

@macro
async def unmade(request: Word, *, broken: Broken) -> Word:
    """Need a tool that cannot be made."""
    return Word()
'''

Alone = Callable[..., Awaitable[bytes]]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def bugs() -> list[str]:
    return []


@pytest.fixture
async def run(tmp_path: Path, told: list[str], bugs: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Alone]:
    """Runs a macro alone; afterwards this process has no file descriptor more than before."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    (tmp_path / "macros.py").write_text(MACROS)

    async def run(
        name: str, word: str = "", *, version: int | None = None, timeout: float = 60.0, silence: float = 30.0, tiers: Sequence[str] = ()
    ) -> bytes:
        return await run_alone(
            [str(tmp_path / "macros.py")],
            name,
            version,
            json.dumps({"word": word}).encode(),
            task_id="task-1",
            goal_id="goal-1",
            attempt=2,
            timeout=timeout,
            silence=silence,
            report=told.append,
            on_bug=bugs.append,
            used=lambda model, usage: told.append(f"{model} {usage}"),
            tiers=tiers,
        )

    before = descriptors()
    yield run
    await asyncio.sleep(0)  # transports close their sockets in the loop's next turn
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_the_output_comes_back_with_the_handlers_progress_and_the_tools_are_put_away(
    run: Alone, told: list[str], tmp_path: Path
) -> None:
    assert await run("echo", "hello") == b'{"word":"hello task-1 2 goal-1"}'
    assert (told, (tmp_path / "mark").read_text()) == (["half", "nearly", "big {'prompt_tokens': 7}"], "put away")


async def test_the_version_that_is_asked_for_runs(run: Alone) -> None:
    assert [await run("older", version=version) for version in (1, None)] == [b'{"word":"old"}', b'{"word":"new"}']


async def test_a_task_of_the_frontier_tier_has_its_model_there_too_and_no_other(run: Alone) -> None:
    assert await run("novel", "new", tiers=["frontier"]) == b'{"word":"new"}'
    with pytest.raises(DefinitionError, match="Model is a model"):
        await run("novel", "new", tiers=["local"])


async def test_a_declared_failure_ends_the_task(run: Alone, bugs: list[str]) -> None:
    with pytest.raises(MacroFailure, match="Unknown: no") as failure:
        await run("fail", "unknown")
    assert (failure.value.code, bugs) == (Code.HANDLER_FAILED, [])


async def test_an_error_that_may_pass_is_tried_again(run: Alone) -> None:
    with pytest.raises(TryAgain, match="Busy: no") as again:
        await run("fail", "busy")
    assert again.value.delay > 0


@pytest.mark.parametrize(("word", "error"), [("bug", "ZeroDivisionError"), ("exit", "SystemExit")])
async def test_a_bug_tells_its_traceback(run: Alone, bugs: list[str], word: str, error: str) -> None:
    with pytest.raises(MacroFailure, match=error) as failure:
        await run("fail", word)
    assert (failure.value.code, "in fail" in bugs[0]) == (Code.HANDLER_FAILED, True)


async def test_input_that_does_not_fit_is_invalid_payload(run: Alone, tmp_path: Path) -> None:
    with pytest.raises(MacroFailure, match="word") as failure:
        await run_alone(
            [str(tmp_path / "macros.py")],
            "echo",
            1,
            b'{"word": 7}',
            task_id="t",
            attempt=1,
            timeout=9,
            silence=9,
            report=print,
            on_bug=print,
        )
    assert failure.value.code == Code.INVALID_PAYLOAD


@pytest.mark.parametrize(("word", "how"), [("exit", "exit 1"), ("well", "exit 0"), ("segv", "SIGSEGV")])
async def test_a_handler_that_ends_its_process_has_died(run: Alone, word: str, how: str) -> None:
    with pytest.raises(Died, match=f"its process ended without a result: {how}"):
        await run("die", word)


async def test_what_a_handler_left_running_goes_with_its_process(run: Alone, tmp_path: Path) -> None:
    with pytest.raises(Died, match="exit 3"):
        await run("die", "fork")
    await gone(int((tmp_path / "mark").read_text()))


@pytest.mark.parametrize("word", ["block", "stop"])
async def test_a_handler_that_blocks_its_loop_is_killed_and_has_died(run: Alone, word: str) -> None:
    with pytest.raises(Died, match="silent for over 1 s"):
        await run("die", word, silence=1.0)


async def test_a_handler_that_is_too_slow_has_timed_out(run: Alone) -> None:
    with pytest.raises(MacroFailure, match=r"not finished after 0\.3 s") as failure:
        await run("slow", timeout=0.3)
    assert failure.value.code == Code.TIMED_OUT


async def test_a_handler_that_ignores_its_cancellation_has_timed_out_and_is_killed(run: Alone) -> None:
    with pytest.raises(MacroFailure, match="did not heed its cancellation") as failure:
        await run("deaf", timeout=0.3)
    assert failure.value.code == Code.TIMED_OUT


async def test_what_a_handler_prints_is_no_answer(run: Alone) -> None:
    assert await run("loud") == b'{"word":"truth"}'


async def test_an_output_of_5_mib_comes_through_whole(run: Alone) -> None:
    assert await run("long") == b'{"word":"' + b"x" * (5 << 20) + b'"}'


async def test_an_output_of_the_wrong_type_is_a_failure(run: Alone) -> None:
    with pytest.raises(MacroFailure, match="breaks the macro's own schema") as failure:
        await run("wrong")
    assert failure.value.code == Code.HANDLER_FAILED


@pytest.mark.parametrize(("name", "version", "why"), [("echo", 9, "not among the macros any more"), ("unmade", 1, "nobody there")])
async def test_a_task_that_could_not_begin_is_not_to_blame(run: Alone, name: str, version: int, why: str) -> None:
    with pytest.raises(DefinitionError, match=why):
        await run(name, version=version)


async def test_a_process_that_is_never_ready_is_killed(run: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "TO_START", 0.05)
    with pytest.raises(Died, match="not ready"):
        await run("echo")


async def test_whoever_is_cancelled_leaves_no_process(run: Alone, told: list[str]) -> None:
    running = asyncio.ensure_future(run("endless"))

    async def reported() -> list[str]:
        return told

    [pid] = await eventually(reported, bool)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    await gone(int(pid))
