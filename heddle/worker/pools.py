"""Where handlers run that are no coroutine functions: threads of this process, or child processes that can be ended.

A thread cannot be stopped. It is left to itself at the deadline, keeps its seat until it ends, and dies with the process.
A child process works on one task at a time and is killed at the deadline; what died with it is that task alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Final

from heddle import children
from heddle.errors import DefinitionError
from heddle.macros.loading import AnyMacro
from heddle.worker.pool_child import FAILED, HEADER, REFUSED, order_of, why_unreachable

START: Final = 60.0
"""Seconds that a child process may take to start and load a macro."""


DYING: Final = 2.0
"""Seconds that a child process has to end once its pipe is closed."""


class Died(Exception):
    """A child process ended while it worked on a task."""


class Threads:
    """So many threads at the same time, each for one run: a new one costs less than what a handler does.

    They are no ThreadPoolExecutor's, because the interpreter waits for those at its end, however long they hang.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = 0
        self._free = asyncio.Semaphore(size)

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Callable[[Callable[[], Any]], Awaitable[Any]]]:
        """Wait until a thread is free; yields what runs one function in it.

        The seat is given back when the thread ends, which may be long after the block.
        """
        await self._free.acquire()
        running: asyncio.Future[Any] | None = None

        async def run(function: Callable[[], Any]) -> Any:
            nonlocal running
            running = _started(function)
            result, error = await asyncio.shield(running)
            if error is not None:
                raise error
            return result

        try:
            yield run
        finally:
            if running is None or running.done():
                self._free.release()
            else:
                self.left += 1
                running.add_done_callback(self._back)

    def _back(self, _: object) -> None:
        self.left -= 1
        self._free.release()

    async def healthy(self) -> None:
        """Is there a thread that is not held by a run past its deadline?

        Raises:
            RuntimeError: there is none.
        """
        if self.left >= self.size:
            raise RuntimeError(
                f"all {self.size} threads (worker.threads) are held by runs past their deadline: restart the worker, "
                "and bound what its handlers wait for"
            )


def _started(function: Callable[[], Any]) -> asyncio.Future[Any]:
    """Run a function in a thread of its own; the future has its result and its error."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def work() -> None:
        ended: tuple[Any, BaseException | None]
        try:
            ended = function(), None
        except BaseException as error:  # noqa: BLE001  # a handler may raise anything; whoever waits is to get it
            ended = None, error
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(future.set_result, ended)

    Thread(target=contextvars.copy_context().run, args=(work,), name="heddle-handler", daemon=True).start()
    return future


@dataclass(slots=True, eq=False)
class _Seat:
    """A child process, the orders whose macros it has loaded, and whether it has yet to answer."""

    child: children.Child
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    loaded: set[bytes] = field(default_factory=set)
    busy: bool = False

    async def ask(self, body: bytes) -> bytes:
        """Send a frame and wait for the answer.

        Raises:
            Died: the process ended before it had answered.
            BaseException: what the answer says was raised.
        """
        self.busy = True
        try:
            self.writer.write(HEADER.pack(0, len(body)) + body)
            kind, length = HEADER.unpack(await self.reader.readexactly(HEADER.size))
            answer = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Died from None
        self.busy = False
        if kind == REFUSED:
            raise DefinitionError(answer.decode())
        if kind == FAILED:
            raise pickle.loads(answer)  # noqa: S301  # from our own child
        return answer

    def is_alive(self) -> bool:
        return not self.reader.at_eof() and self.child.process.poll() is None


class Processes:
    """Up to so many child processes, started when they are needed and kept; made by `processes`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = asyncio.Semaphore(size)
        self._idle: list[_Seat] = []
        self._all: set[_Seat] = set()

    @asynccontextmanager
    async def seat(self, macro: AnyMacro) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
        """Wait until a process is free and has loaded the macro; yields what runs it there: its input as JSON in, its output out.

        The process is killed if the block is left while it works.

        Raises:
            DefinitionError: the macro cannot be loaded there.
            Died: the process ended.
        """
        async with self._free:
            seat = await self._taken()
            try:
                order = order_of(macro)
                await self._load(seat, macro, order)
                yield lambda body: seat.ask(order + body)
            except Died:
                raise Died(f"its process died ({_how(await self._end(seat))})") from None
            finally:
                if seat.busy:
                    seat.child.process.kill()
                    await self._end(seat)
                elif seat in self._all:
                    self._idle.append(seat)

    async def _taken(self) -> _Seat:
        """A process that lives; one may have died while it had nothing to do."""
        while self._idle:
            seat = self._idle.pop()
            if seat.is_alive():
                return seat
            await self._end(seat)
        seat = await _new_seat()
        self._all.add(seat)
        return seat

    async def _load(self, seat: _Seat, macro: AnyMacro, order: bytes) -> None:
        if order in seat.loaded:
            return
        refuse_unreachable([macro])
        try:
            async with asyncio.timeout(START):
                await seat.ask(order)
        except TimeoutError:
            raise DefinitionError(f"{macro.where}: {macro.name} was not loaded in a process of its own after {START:g} s") from None
        seat.loaded.add(order)

    async def _end(self, seat: _Seat) -> int:
        """See a process to its end, and whatever it started; its exit code."""
        self._all.discard(seat)
        seat.busy = False
        seat.writer.close()
        return await asyncio.to_thread(_ended, seat.child)

    async def close(self) -> None:
        """End all processes."""
        for seat in list(self._all):
            seat.child.process.kill()
            await self._end(seat)


@asynccontextmanager
async def processes(size: int | None = None) -> AsyncIterator[Processes]:
    """A pool of child processes that ends with the block.

    Args:
        size: how many at the same time; one for each processor if None.
    """
    pool = Processes(size or os.cpu_count() or 1)
    try:
        yield pool
    finally:
        await pool.close()


def refuse_unreachable(macros: Iterable[AnyMacro]) -> None:
    """A process loads a macro from the macro's file, so it must be possible to find it there.

    Raises:
        DefinitionError: one of those for `pool="process"` cannot be found; it says why and what to do.
    """
    for macro in macros:
        if macro.pool == "process" and (why := why_unreachable(macro)):
            raise DefinitionError(
                f"{macro.where}: {macro.name} is to run in a process of its own, which loads it from its file, and {why}: "
                "define it at the top of a file of macros, or use pool='thread'"
            )


async def _new_seat() -> _Seat:
    ours, theirs = socket.socketpair()
    with theirs:
        path = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        child = children.start(
            [sys.executable, "-P", "-c", "from heddle.worker.pool_child import main; main()", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=[theirs.fileno()],
        )
    try:
        return _Seat(child, *await asyncio.open_connection(sock=ours))
    except BaseException:
        child.process.kill()
        children.wait(child)
        raise


def _ended(child: children.Child) -> int:
    try:
        return children.wait(child, DYING)
    except subprocess.TimeoutExpired:
        child.process.kill()
        return children.wait(child)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
