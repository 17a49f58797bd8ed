"""Keeps worker processes running: starts them, starts them again when they die, kills those that hang, ends them in good order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from heddle import children, events
from heddle.broker.periodic import every
from heddle.children import Child
from heddle.settings import WorkerSettings
from heddle.telemetry.observer import Observer
from heddle.worker import pulse

MISTAKES: Final = frozenset({1, 2, 4})
"""Exit codes of a process that says what its user did wrong; starting it again would say the same."""

STEADY: Final = 30.0
"""Seconds that a process must have lived for its death to count as the first again."""

LONGEST_DELAY: Final = 30.0
TO_LEAVE: Final = 5.0
"""Seconds beyond the grace of running tasks that a process has to say goodbye."""


def delay_before_restart(quick_deaths: int) -> float:
    """Seconds until a process is started again: none after a first death, then half a second, and twice as long each time.

    Args:
        quick_deaths: how many deaths there were in a row that came soon after the start.
    """
    return 0.0 if quick_deaths == 0 else min(0.5 * 2.0 ** min(quick_deaths - 1, 16), LONGEST_DELAY)


@dataclass(slots=True, eq=False)
class _Place:
    """One of the N workers: the process that holds it now, and what became of those before.

    Attributes:
        argv: starts a process for it.
        child: the process, and the end of its pulse that we hear; None between two.
        since: when the process was started, or when the next one is due.
        asked: when it was asked to leave; None if it was not.
        blamed: why we killed it; None if we did not.
        proven: whether a process of this place ever worked: its command line is good.
        quick_deaths: in a row.
    """

    argv: Sequence[str]
    child: tuple[Child, pulse.Listener] | None = None
    since: float = 0.0
    asked: float | None = None
    blamed: str | None = None
    proven: bool = False
    quick_deaths: int = 0


@dataclass(slots=True, eq=False)
class Supervisor:
    """Worker processes under supervision; made by `supervising`.

    Attributes:
        mistake: its result is the exit code of a process that ended at its start because of something its user must mend; what
            that is stands on its standard error.
    """

    settings: WorkerSettings
    observer: Observer
    env: Mapping[str, str]
    mistake: asyncio.Future[int]
    _places: list[_Place]
    _over: bool = field(default=False)

    def restart(self) -> None:
        """Let every process finish what it holds and end; each is followed by a new one."""
        for place in self._places:
            self._ask(place)

    def kill(self) -> None:
        """End every process as a power cut would; each is followed by a new one."""
        for place in self._places:
            if place.child is not None:
                place.child[0].process.kill()
                place.child[0].process.wait()

    async def look(self) -> None:
        """One look at every place."""
        for place in self._places:
            self._look(place, time.monotonic())

    async def stop(self) -> None:
        """Let every process finish what it holds, and end them all."""
        self._over = True
        self.restart()
        while any(place.child for place in self._places):
            await self.look()
            await asyncio.sleep(pulse.LOOK_EVERY / 4)

    def close(self) -> None:
        """End at once whatever still runs."""
        for place in self._places:
            if place.child is not None:
                children.kill(place.child[0])
                place.child[1].close()
                place.child = None

    def _look(self, place: _Place, now: float) -> None:
        if place.child is None:
            goes_ahead = place is self._places[0] or self._places[0].proven  # so that a mistake is told once
            if goes_ahead and place.since <= now and not self._over and not self.mistake.done():
                self._start(place, now)
            return
        child, listener = place.child
        listener.listen(now)
        place.proven = place.proven or listener.heard
        if child.process.poll() is not None:
            self._bury(place, child, listener, now)
        elif place.blamed is None:
            place.blamed = self._blame(place, listener, now)
            if place.blamed is not None:
                child.process.kill()

    def _start(self, place: _Place, now: float) -> None:
        place.since, place.asked, place.blamed = now, None, None
        try:
            place.child = pulse.start(place.argv, env=self.env)
        except OSError as error:  # no process to be had just now
            self._put_off(place, now, f"cannot be started: {error}")

    def _blame(self, place: _Place, listener: pulse.Listener, now: float) -> str | None:
        """Why a process must be killed, if it must."""
        if listener.silence > self.settings.ack_wait:
            return (
                f"its event loop was silent for over {self.settings.ack_wait:g} s (worker.ack_wait): a handler blocks it, or it was stopped"
            )
        if place.asked is not None and now - place.asked > self.settings.grace + TO_LEAVE:
            return f"it was asked to end and had not after {self.settings.grace + TO_LEAVE:g} s (worker.grace and {TO_LEAVE:g})"
        return None

    def _bury(self, place: _Place, child: Child, listener: pulse.Listener, now: float) -> None:
        """Tidy up after a process that has ended, and settle what follows."""
        code = children.wait(child)
        listener.close()
        place.child = None
        if code in MISTAKES and not place.proven:
            if not self.mistake.done():
                self.mistake.set_result(code)
        elif place.blamed is not None or place.asked is None:
            if now - place.since >= STEADY:
                place.quick_deaths = 0
            self._put_off(place, now, place.blamed or "nobody had asked it to end", children.how_it_ended(code), child.pid)
        else:
            place.since, place.quick_deaths = now, 0

    def _put_off(self, place: _Place, now: float, why: str, code: str = "-", pid: int | None = None) -> None:
        delay = delay_before_restart(place.quick_deaths)
        place.since = now + delay
        place.quick_deaths += 1
        follows = "it is stopping" if self._over else f"another is started in {delay:g} s" if delay else "another is started"
        self.observer.see(events.WORKER_DIED, f"a worker process died; {follows}", why=why, code=code, pid=pid)

    def _ask(self, place: _Place) -> None:
        if place.child is None:
            place.since, place.quick_deaths = 0.0, 0
        elif place.asked is None:
            place.child[0].process.terminate()
            place.asked = time.monotonic()


@asynccontextmanager
async def supervising(
    command: Callable[[int], Sequence[str]], settings: WorkerSettings, observer: Observer, *, env: Mapping[str, str], processes: int = 1
) -> AsyncIterator[Supervisor]:
    """Keep worker processes running for as long as the block runs; they die with us, however we die.

    Args:
        command: the command line of the process with that number, from 0.
        settings: how long a process may be silent, and how long it has to finish.
        observer: is told of deaths.
        env: the processes' environment.
        processes: how many.
    """
    mistake: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    supervisor = Supervisor(settings, observer, env, mistake, [_Place(command(number)) for number in range(processes)])
    try:
        async with every(pulse.LOOK_EVERY, supervisor.look, at_once=True):
            yield supervisor
    finally:
        try:
            await supervisor.stop()
        finally:
            supervisor.close()
