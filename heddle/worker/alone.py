"""Runs one task in a process of its own, so that what it does to the process it does to nobody else.

The two processes talk over a socket: the parent writes the order, one line of JSON; the child answers with any number of lines
`{"report": text}` or `{"used": [model, usage]}` and then exactly one that says how it went:

    {"output": …}                                 the macro's output, byte for byte
    {"failed": {"code", "detail", "traceback"}}   it ended badly
    {"again": {"delay", "detail"}}                it raised an error that its macro declares to pass
    {"fallback": text}                            it goes on as `novel`
    {"unprepared": text}                          the macro or its tools could not be made; the task did not begin

Standard output and error are the handler's. The child also has a pulse (`pulse`): it begins when the macros are loaded.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from heddle import children
from heddle.children import Child
from heddle.errors import Code, DefinitionError, FallBack, HeddleError, MacroFailure, TryAgain
from heddle.macros.failures import described
from heddle.macros.loading import Registry, load
from heddle.macros.macro import Run
from heddle.macros.upgrades import Route
from heddle.settings import load_settings
from heddle.worker import pulse
from heddle.worker.executor import Tools, execute, tools_of

TO_START: Final = 60.0
"""Seconds to import Python, heddle and the macros."""

TO_GIVE_UP: Final = 2.0
"""Seconds beyond its deadline that a handler has to notice that it was cancelled."""

TO_CLEAN_UP: Final = 5.0
"""Seconds that the tools have to be put away once the result is there."""

TO_READ: Final = 1.0
"""Seconds to read what a process had written before it ended."""

_LONGEST: Final = 1 << 30
"""Bytes of a line; how large an output may be is for the worker to judge."""

_OUTPUT: Final = b'{"output":'
_REPORT: Final = b'{"report":'
_USED: Final = b'{"used":'


class Died(HeddleError):
    """The process of a task that ran alone ended without a result."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What the child is to do."""

    sources: Sequence[str]
    worker_type: str
    version: int | None
    request_json: str
    task_id: str
    goal_id: str | None
    attempt: int
    silence: float
    tiers: Sequence[str]


async def run_alone(
    sources: Sequence[str],
    worker_type: str,
    version: int | None,
    request_json: bytes,
    *,
    task_id: str,
    goal_id: str | None = None,
    attempt: int,
    timeout: float,
    silence: float,
    report: Callable[[str], None],
    on_bug: Callable[[str], None],
    used: Callable[[str, Mapping[str, Any]], None] = lambda *_: None,
    tiers: Sequence[str] = (),
) -> bytes:
    """Run a macro in a fresh process; the process is gone when this returns or raises, and when it is cancelled.

    Args:
        sources: modules, files and folders of macros, as `heddle.macros.loading.load` takes them.
        worker_type: the macro's name.
        version: that the task names; None is the newest.
        request_json: the task's payload, a JSON object; of an older version it is upgraded there.
        task_id: the task's.
        goal_id: its goal's, if it has one.
        attempt: 1 for the first.
        timeout: the macro's, in seconds.
        silence: seconds that its event loop may be silent before the process is killed.
        report: is told of the handler's progress.
        on_bug: is told the traceback of an error that the macro does not declare.
        used: is told which model the handler used, and what it took.
        tiers: for which it is made: on the frontier tier alone may its tools be models.

    Returns:
        The output as JSON, of any length.

    Raises:
        MacroFailure: it ended badly; a handler that does not end though it was cancelled at its deadline is `timed_out`.
        TryAgain: it raised an error that the macro declares to pass.
        FallBack: it raised an error that the macro declares to hand over.
        Died: the process ended without a result: by itself, or killed because its loop was silent.
        DefinitionError: the task did not begin, because its macro or its tools could not be made.
    """
    order = _Order(sources, worker_type, version, request_json.decode(), task_id, goal_id, attempt, silence, tiers)
    async with _process() as (child, listener, reader, writer):
        writer.write(json.dumps(asdict(order)).encode() + b"\n")
        answer = asyncio.create_task(_answer(reader, report, used))
        try:
            await _watched(child, listener, answer, timeout, silence)
            result = answer.result()
        finally:
            answer.cancel()
        await _over(child, TO_CLEAN_UP if result else TO_READ)
        if result is None:
            raise Died(f"its process ended without a result: {children.how_it_ended(children.kill(child))}")
    return _outcome(result, on_bug)


@asynccontextmanager
async def _process() -> AsyncIterator[tuple[Child, pulse.Listener, asyncio.StreamReader, asyncio.StreamWriter]]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            argv = [sys.executable, "-m", "heddle.worker.alone", str(theirs.fileno())]
            child, listener = pulse.start(argv, env=os.environ, pass_fds=[theirs.fileno()])
        except BaseException:
            ours.close()
            raise
    try:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LONGEST)
        try:
            yield child, listener, reader, writer
        finally:
            writer.transport.abort()
    finally:
        children.kill(child)
        listener.close()
        ours.close()


async def _answer(
    reader: asyncio.StreamReader, report: Callable[[str], None], used: Callable[[str, Mapping[str, Any]], None]
) -> bytes | None:
    """The line that says how it went; None if there is none."""
    with suppress(ConnectionError):
        while (line := await reader.readline()).endswith(b"\n"):
            if line.startswith(_REPORT):
                report(json.loads(line)["report"])
            elif line.startswith(_USED):
                used(*json.loads(line)["used"])
            else:
                return line
    return None


async def _watched(child: Child, listener: pulse.Listener, answer: asyncio.Task[Any], timeout: float, silence: float) -> None:
    """Wait for the answer for as long as there is hope of one.

    Raises:
        Died, MacroFailure: there was none any more.
    """
    started = began = time.monotonic()
    while not answer.done() and child.process.poll() is None:
        now = time.monotonic()
        listener.listen(now)
        if not listener.heard:
            began = now
            if now - started > TO_START:
                raise Died(f"its process was not ready after {TO_START:g} s and was killed")
        if listener.silence > silence:
            raise Died(f"its event loop was silent for over {silence:g} s: the handler blocks it; its process was killed")
        if now - began > timeout + TO_GIVE_UP:
            raise MacroFailure(Code.TIMED_OUT, f"not finished after {timeout:g} s, and it did not heed its cancellation")
        await asyncio.wait({answer}, timeout=pulse.LOOK_EVERY)
    await asyncio.wait({answer}, timeout=TO_READ)  # a process that has ended may leave its end of the socket to another
    if not answer.done():
        raise Died(f"its process ended without a result: {children.how_it_ended(children.wait(child))}")


async def _over(child: Child, within: float) -> None:
    """Give a process some time to end by itself."""
    until = time.monotonic() + within
    while child.process.poll() is None and time.monotonic() < until:  # noqa: ASYNC110  # not every system has an event for it
        await asyncio.sleep(pulse.LOOK_EVERY / 10)


def _outcome(line: bytes, on_bug: Callable[[str], None]) -> bytes:
    if line.startswith(_OUTPUT):
        return line[len(_OUTPUT) : -len(b"}\n")]
    match json.loads(line):
        case {"failed": {"code": code, "detail": detail, "traceback": trace}}:
            if trace is not None:
                on_bug(trace)
            raise MacroFailure(Code(code), detail)
        case {"again": {"delay": delay, "detail": detail}}:
            raise TryAgain(delay, detail)
        case {"fallback": detail}:
            raise FallBack(detail)
        case {"unprepared": detail}:
            raise DefinitionError(detail)
    raise AssertionError(f"no line of ours: {line[:100]!r}")


@dataclass(frozen=True, slots=True)
class _Channel:
    """The child's end; a handler may report from several threads."""

    socket: socket.socket
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, line: bytes) -> None:
        with self.lock, suppress(OSError):  # nobody listens any more: our guard ends us
            self.socket.sendall(line)


def main() -> None:
    """The child: read the order from the socket that the command line names, and carry it out."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # who stops a service may tell every process of it; our parent ends us
    with socket.socket(fileno=int(sys.argv[1])) as ours:
        ours.set_inheritable(False)
        with ours.makefile("rb") as lines:
            order = _Order(**json.loads(lines.readline()))
        asyncio.run(_carry_out(order, _Channel(ours)))


async def _carry_out(order: _Order, channel: _Channel) -> None:
    async with AsyncExitStack() as stack:
        try:
            registry = load(order.sources)
            route = _route(registry, order)
            tools = await stack.enter_async_context(tools_of(registry, load_settings(), [route.macro], tiers=order.tiers))
        except Exception as error:  # noqa: BLE001  # a provider may raise anything; the task is not to blame
            channel.tell(_line("unprepared", str(error) if isinstance(error, HeddleError) else described(error)))
            return
        pulse.begin(order.silence)
        channel.tell(await _result(route, order, tools, channel))


def _route(registry: Registry, order: _Order) -> Route:
    found = registry.route(order.worker_type, order.version)
    if found is None:
        raise DefinitionError(f"{order.worker_type} version {order.version} is not among the macros any more")
    return found


async def _result(route: Route, order: _Order, tools: Tools, channel: _Channel) -> bytes:
    macro = route.macro
    run = Run(
        order.task_id,
        order.attempt,
        time.time() + macro.timeout,
        lambda text: channel.tell(_line("report", text)),
        lambda model, usage: channel.tell(_line("used", [model, dict(usage)])),
        order.goal_id,
    )
    bugs: list[BaseException] = []
    try:
        output = await execute(macro, route.read(order.request_json.encode()), tools, run, on_bug=bugs.append)
    except MacroFailure as failure:
        trace = "".join(traceback.format_exception(bugs[0])) if bugs else None
        return _line("failed", {"code": failure.code, "detail": str(failure), "traceback": trace})
    except TryAgain as again:
        return _line("again", {"delay": again.delay, "detail": str(again)})
    except FallBack as fallback:
        return _line("fallback", str(fallback))
    return _OUTPUT + output + b"}\n"


def _line(kind: str, value: Any) -> bytes:
    return json.dumps({kind: value}, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    main()
