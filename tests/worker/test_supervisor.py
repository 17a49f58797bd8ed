"""The supervisor, as its user has it: `heddle run worker` on a real server, and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle import children
from heddle.control.fleet import workers
from heddle.control.tasks import new_task
from heddle.worker import pulse
from heddle.worker.supervisor import LONGEST_DELAY, delay_before_restart
from tests.support import Ground, eventually, gone, on_ground, workers_under

RULES = "version: 1\ntiers: {local: {}}\nworker_types: {whose: {}, block_once: {}, until: {}}\n"
MACROS = '''
import asyncio, os, time
from pathlib import Path
from pydantic import BaseModel
from heddle import macro

class Mark(BaseModel):
    path: str = ""

class Pid(BaseModel):
    pid: int

@macro(tier="local")
async def whose(request: Mark) -> Pid:
    """Say which process this is, after a moment."""
    await asyncio.sleep(0.02)
    return Pid(pid=os.getpid())

@macro(tier="local")
async def block_once(request: Mark) -> Pid:
    """Block the loop for ever, the first time."""
    if not Path(request.path).exists():
        Path(request.path).touch()
        time.sleep(600)
    return Pid(pid=os.getpid())

@macro(tier="local")
async def until(request: Mark) -> Pid:
    """Work until a file is there; say so by another."""
    Path(request.path + ".started").touch()
    while not Path(request.path).exists():
        await asyncio.sleep(0.01)
    return Pid(pid=os.getpid())
'''

Start = Callable[..., children.Child]


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground, ground.router(RULES):
        yield ground


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(nats_url: str, tmp_path: Path, log: Path) -> Iterator[Start]:
    """Starts `heddle run worker`; it is gone when the test is over."""
    (tmp_path / "macros.py").write_text(MACROS)
    started: list[children.Child] = []

    def start(*options: str, macros: str = str(tmp_path / "macros.py"), **env: str) -> children.Child:
        argv = [sys.executable, "-m", "heddle", "run", "worker", "--macros", macros, *options]
        quick = {"NATS_URL": nats_url, "HEDDLE_WORKER__ACK_WAIT": "2", "HEDDLE_WORKER__GRACE": "10"}
        with log.open("ab") as errors:
            started.append(children.start(argv, env={**os.environ, **quick, **env}, stderr=errors))
        return started[-1]

    yield start
    for child in started:
        children.stop(child)


async def announced(ground: Ground, count: int) -> None:
    await eventually(lambda: workers(ground.client), lambda cards: len(cards) == count)


async def one_worker(supervisor: children.Child) -> int:
    [pid] = await eventually(lambda: alive(supervisor), lambda pids: len(pids) == 1)
    return pid


async def alive(supervisor: children.Child) -> list[int]:
    return await asyncio.to_thread(workers_under, supervisor.pid)


async def whose(ground: Ground) -> int:
    result = await ground.run_task("whose", {}, tier="local")
    return int(result.output["pid"])


async def test_a_worker_that_was_killed_is_started_again_and_its_tasks_complete(ground: Ground, start: Start, tmp_path: Path) -> None:
    supervisor = start()
    mark = tmp_path / "mark"
    running = asyncio.create_task(ground.run_task("until", {"path": str(mark)}, tier="local"))
    await eventually(lambda: asyncio.to_thread((tmp_path / "mark.started").exists), bool)
    victim = await one_worker(supervisor)
    os.kill(victim, signal.SIGKILL)
    mark.touch()
    result = await running
    assert (result.status, result.output["pid"] == victim) == ("completed", False)
    assert await one_worker(supervisor) == result.output["pid"]


async def test_a_macro_that_blocks_the_loop_costs_its_process_and_no_neighbour_its_outcome(
    ground: Ground, start: Start, tmp_path: Path, log: Path
) -> None:
    start()
    blocking = asyncio.create_task(ground.run_task("block_once", {"path": str(tmp_path / "mark")}, tier="local"))
    neighbours = await asyncio.gather(*(ground.run_task("whose", {}, tier="local") for _ in range(20)))
    assert {(await blocking).status, *(one.status for one in neighbours)} == {"completed"}
    assert "its event loop was silent for over 2 s (worker.ack_wait)" in log.read_text()


async def test_a_worker_that_is_stopped_is_taken_for_dead(ground: Ground, start: Start) -> None:
    supervisor = start()
    victim = await whose(ground)
    os.kill(victim, signal.SIGSTOP)
    await gone(victim)
    assert await whose(ground) == await one_worker(supervisor) != victim


async def test_sigterm_lets_running_tasks_finish_and_leaves_nothing(ground: Ground, start: Start, tmp_path: Path) -> None:
    supervisor = start()
    mark = tmp_path / "mark"
    running = asyncio.create_task(ground.run_task("until", {"path": str(mark)}, tier="local"))
    await eventually(lambda: asyncio.to_thread((tmp_path / "mark.started").exists), bool)
    worker = await one_worker(supervisor)
    for pid in (supervisor.pid, worker):  # some who stop a service tell every process of it
        os.kill(pid, signal.SIGTERM)
    mark.touch()
    assert (await running).output == {"pid": worker}
    assert await asyncio.to_thread(children.wait, supervisor, 20) == 0
    await gone(worker)


async def test_a_second_ctrl_c_ends_it_at_once(ground: Ground, start: Start, tmp_path: Path) -> None:
    supervisor = start(HEDDLE_WORKER__GRACE="600")
    task = new_task("until", {"path": str(tmp_path / "mark")}, tier="local")
    await ground.publish("heddle.tasks.incoming", task.encode())
    await eventually(lambda: asyncio.to_thread((tmp_path / "mark.started").exists), bool)
    worker = await one_worker(supervisor)

    async def press() -> int | None:
        supervisor.process.send_signal(signal.SIGINT)
        return supervisor.process.poll()

    assert await eventually(press, lambda code: code is not None) in {130, -signal.SIGINT}  # a third may meet it while it leaves
    await gone(worker)


async def test_a_mistake_that_comes_later_is_waited_for_to_be_mended(ground: Ground, start: Start, tmp_path: Path, log: Path) -> None:
    supervisor = start()
    victim = await whose(ground)
    (tmp_path / "macros.py").write_text("no Python")
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: asyncio.to_thread(log.read_text), lambda text: "another is started in 0.5 s" in text)
    (tmp_path / "macros.py").write_text(MACROS)
    assert await whose(ground) == await one_worker(supervisor)
    assert '"code": "exit 1"' in log.read_text()


async def test_a_supervisor_that_was_killed_leaves_no_worker(ground: Ground, start: Start) -> None:
    supervisor = start("--processes", "2")
    await announced(ground, 2)
    left = await alive(supervisor)
    supervisor.process.kill()
    for pid in left:
        await gone(pid)
    assert len(left) == 2


@pytest.mark.parametrize(
    ("options", "env", "code", "told"),
    [
        ({"macros": "no_such_module"}, {}, 1, "cannot import no_such_module"),
        ({}, {"HEDDLE_WORKER__SLOTS": "many"}, 2, "HEDDLE_WORKER__SLOTS"),
        ({}, {"NATS_URL": "nats://127.0.0.1:9"}, 4, "no NATS server answers"),
    ],
)
def test_a_mistake_is_told_once_and_ends_it(
    start: Start, log: Path, options: dict[str, str], env: dict[str, str], code: int, told: str
) -> None:
    assert children.wait(start("--processes", "2", **options, **env), 30) == code
    assert (log.read_text().count(told), "Traceback" in log.read_text()) == (1, False)


async def test_processes_share_the_work_and_each_serves_its_metrics(ground: Ground, start: Start) -> None:
    port = two_free_ports()
    start("--processes", "2", "--types", "whose", "--tiers", "local", "--metrics-port", str(port), HEDDLE_WORKER__SLOTS="4")
    await announced(ground, 2)
    results = await asyncio.gather(*(ground.follow(new_task("whose", {}, tier="local")) for _ in range(40)))
    counted = [await asyncio.to_thread(completed_at, port + number) for number in range(2)]
    assert (len({result.output["pid"] for result in results}), sum(counted), min(counted) > 0) == (2, 40, True)


def completed_at(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("heddle_tasks_completed_total{"))


def two_free_ports() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@given(st.integers(0, 10_000))
def test_a_first_death_costs_no_wait_and_those_that_follow_more_and_more_up_to_a_limit(deaths: int) -> None:
    now, then = delay_before_restart(deaths), delay_before_restart(deaths + 1)
    assert (delay_before_restart(0), now <= then <= LONGEST_DELAY, then == LONGEST_DELAY or then > now) == (0.0, True, True)


@pytest.fixture
def listener() -> Iterator[tuple[pulse.Listener, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    listener = pulse.Listener(reading)
    yield listener, writing
    os.close(writing)
    listener.close()


def test_silence_counts_from_the_first_beat_and_each_beat_ends_it(listener: tuple[pulse.Listener, int]) -> None:
    ear, mouth = listener
    for tick in range(100):
        ear.listen(tick / 10)
    assert (ear.heard, ear.silence) == (False, 0.0)
    os.write(mouth, b".")
    for tick in range(100, 111):
        ear.listen(tick / 10)
    assert (ear.heard, round(ear.silence, 6)) == (True, 1.0)
    os.write(mouth, b"..")
    ear.listen(11.2)
    assert ear.silence == 0.0


def test_what_the_listener_slept_itself_is_not_silence(listener: tuple[pulse.Listener, int]) -> None:
    ear, mouth = listener
    os.write(mouth, b".")
    ear.listen(0.0)
    ear.listen(3600.0)
    assert ear.silence < 1.0
