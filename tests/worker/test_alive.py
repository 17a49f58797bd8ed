"""A worker as a process among others: handlers longer than ack_wait, a process that is stopped and goes on, tasks that take it down."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from heddle import children, macro, subjects
from heddle.control.fleet import workers
from heddle.settings import WorkerSettings
from tests.support import FAST, Echoed, Ground, Word, eventually, on_ground, registry_of

RULES = "version: 1\ntiers: {local: {}}\nworker_types: {count: {}, fatal: {}, frozen: {}, long: {}, poison: {}}\n"
MACROS = '''
import asyncio, os, signal, time
from pathlib import Path
from pydantic import BaseModel, model_validator
from heddle import macro

class Mark(BaseModel):
    path: str
    seconds: float = 0.0

class Done(BaseModel):
    runs: int

def ran(path: str) -> int:
    with Path(path).open("a") as marks:
        marks.write("x")
    return len(Path(path).read_text())

@macro(tier="local")
async def count(request: Mark) -> Done:
    """Count the runs in a file."""
    runs = ran(request.path)
    await asyncio.sleep(request.seconds)
    return Done(runs=runs)

@macro(tier="local")
async def fatal(request: Mark) -> Done:
    """Take the process down."""
    ran(request.path)
    os.kill(os.getpid(), signal.SIGKILL)
    return Done(runs=0)

class Poison(Mark):
    @model_validator(mode="after")
    def fatal(self):
        ran(self.path)
        os.kill(os.getpid(), signal.SIGKILL)
        return self

@macro(tier="local")
async def poison(request: Poison) -> Done:
    """Be taken down before it begins, by what reads the input."""
    return Done(runs=0)

@macro(tier="local")
async def frozen(request: Mark) -> Done:
    """Block the loop for ever."""
    ran(request.path)
    time.sleep(600)
    return Done(runs=0)
'''

Start = Callable[..., children.Child]


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground, ground.router(RULES):
        yield ground


@pytest.fixture
def start(nats_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `heddle run worker`; it is gone when the test is over."""
    (tmp_path / "macros.py").write_text(MACROS)
    started: list[children.Child] = []

    def start(*options: str) -> children.Child:
        argv = [sys.executable, "-m", "heddle", "run", "worker", "--macros", str(tmp_path / "macros.py"), *options]
        env = {**os.environ, "NATS_URL": nats_url, "HEDDLE_WORKER__ACK_WAIT": "1", "HEDDLE_WORKER__GRACE": "10"}
        with (tmp_path / "log").open("ab") as log:
            started.append(children.start(argv, env=env, stderr=log))
        return started[-1]

    yield start
    for child in started:
        child.process.send_signal(signal.SIGCONT)
        children.stop(child)


async def test_a_handler_of_many_times_ack_wait_is_never_delivered_twice(ground: Ground) -> None:
    runs = 0

    @macro(name="long", tier="local")
    async def long(request: Word) -> Echoed:
        """Take twenty times as long as a task may be silent."""
        nonlocal runs
        runs += 1
        await asyncio.sleep(6)
        return Echoed(word=request.word)

    settings = FAST.model_copy(update={"worker": WorkerSettings(slots=4, ack_wait=0.3, grace=2.0)})
    async with (
        ground.worker(registry_of(long), replica="a", settings=settings),
        ground.worker(registry_of(long), replica="b", settings=settings),
    ):
        result = await ground.run_task("long", {"word": "x"}, tier="local")
    assert (result.status, runs) == ("completed", 1)


async def test_a_worker_that_was_stopped_past_ack_wait_and_goes_on_leaves_one_outcome(ground: Ground, start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stopped = start("--child")
    await eventually(lambda: workers(ground.client), lambda cards: len(cards) == 1)
    running = asyncio.create_task(ground.run_task("count", {"path": str(mark), "seconds": 0.5}, tier="local"))
    await eventually(lambda: asyncio.to_thread(mark.exists), bool)
    stopped.process.send_signal(signal.SIGSTOP)
    start("--child")
    result = await running
    stopped.process.send_signal(signal.SIGCONT)
    await ground.empty(subjects.TASKS)
    assert result.output == {"runs": 2}
    assert [one.output for one in await ground.all_outcomes()] == [{"runs": 2}]


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("fatal", "SIGKILL"),
        pytest.param("poison", "SIGKILL", marks=pytest.mark.prove),
        pytest.param("frozen", "its event loop was silent for over 1 s", marks=pytest.mark.prove),
    ],
)
async def test_a_task_that_takes_its_process_down_ends_as_crashed_and_its_neighbours_complete(
    ground: Ground, start: Start, tmp_path: Path, kind: str, how: str
) -> None:
    start()
    await eventually(lambda: workers(ground.client), lambda cards: len(cards) == 1)
    neighbours = [
        asyncio.create_task(ground.follow_patiently("count", {"path": str(tmp_path / f"n{number}"), "seconds": 0.2})) for number in range(5)
    ]
    bad = await ground.follow_patiently(kind, {"path": str(tmp_path / "bad")})
    good = await asyncio.gather(*neighbours)
    after = await ground.follow_patiently("count", {"path": str(tmp_path / "after")})
    [letter] = await ground.letters()
    assert (bad.error or "").startswith("crashed: ")
    assert how in (bad.error or "")
    assert letter.code == "crashed"
    assert len((tmp_path / "bad").read_text()) in {4, 5}  # once or twice among neighbours, three times alone
    assert [one.status for one in (*good, after)] == ["completed"] * 6
