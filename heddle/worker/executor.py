"""Runs one macro: tools in, deadline kept, output checked. Knows nothing of NATS."""

from __future__ import annotations

import asyncio
import itertools
import time
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from msgspec.structs import replace
from pydantic import BaseModel

from heddle.errors import Code, DefinitionError, FallBack, MacroFailure, TryAgain
from heddle.macros.failures import Again, End, HandOver, Verdict, described, jitter_of, judge
from heddle.macros.loading import AnyMacro
from heddle.macros.macro import AS_WRITTEN, Calls, Run
from heddle.worker.pools import Died, Processes, Threads, processes
from heddle.worker.tools import PerTask, Tools, run_tools, tools_of

__all__ = ["Called", "Tools", "execute", "tools_of"]


@dataclass(frozen=True, slots=True)
class Called:
    """A call of one macro by another that has ended.

    Attributes:
        macro: the name of the one that was called.
        version: of it.
        parent: the caller's task id.
        task_id: the call's own: the caller's and the number of the call, so it is the same on every attempt.
        seconds: how long it took.
        error: what it raised, in words; None if it completed.
    """

    macro: str
    version: int
    parent: str
    task_id: str
    seconds: float
    error: str | None


OnCall = Callable[[Called], None]


def _nobody(_: object) -> None:
    pass


async def execute(
    macro: AnyMacro,
    request: BaseModel,
    tools: Tools,
    run: Run,
    *,
    on_bug: Callable[[BaseException], None] = _nobody,
    on_call: OnCall = _nobody,
) -> bytes:
    """Run a macro's handler and give its output as JSON.

    Args:
        macro: which.
        request: its input.
        tools: by type.
        run: what the handler may know of its task.
        on_bug: told of an error that the macro does not declare.
        on_call: told of every call of another macro when it has ended.

    Raises:
        MacroFailure: it ended badly; the code says how.
        TryAgain: it raised an error that the macro declares to pass.
        FallBack: it raised an error that the macro declares to hand over.
    """
    try:
        keywords = {name: tools[kind] for name, kind in macro.tools.items()}
        per_task = PerTask in tools and PerTask in map(type, keywords.values())
        if macro.pool is None and macro.calls_parameter is None and not per_task:
            if macro.run_parameter is not None:
                keywords[macro.run_parameter] = run
            output = await _soon_or_within(macro.timeout, macro.handler(request, **keywords))
        else:
            output = await _output(macro, request, tools, run, on_call)
    except BaseException as error:  # a handler may raise anything, and its neighbours must not notice
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        if isinstance(error, Died):
            raise MacroFailure(Code.CRASHED, str(error)) from None
        late = isinstance(error, _Late)
        if late:
            error = TimeoutError(f"not finished after {macro.timeout:g} s")
        elif not any(isinstance(error, declared) for declared in macro.fails):
            with suppress(Exception):  # who is told may ask for the error's `repr`, which may raise
                on_bug(error)
        undeclared_late = late and TimeoutError not in macro.fails
        match End(Code.TIMED_OUT, str(error)) if undeclared_late else _verdict(error, run, macro):
            case End(code, detail):
                raise MacroFailure(Code.TIMED_OUT if late else code, detail) from (None if late else error)
            case Again(delay):
                raise TryAgain(delay, described(error)) from error
            case HandOver(detail):
                raise FallBack(detail) from error
    return macro.write(output)


async def _soon_or_within(timeout: float, handler: Awaitable[Any]) -> Any:
    """What a handler returns, within its time; one that ends at its first step costs no timer."""
    steps = handler.__await__()
    try:
        first = next(steps)
    except StopIteration as ended:
        return ended.value
    async with _within(timeout):
        return await _rest(steps, first)


@types.coroutine
def _rest(steps: Generator[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """The further steps of what was begun already; `waits_for` is what it waits for."""
    while True:
        try:
            try:
                sent = yield waits_for
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:  # noqa: BLE001  # a cancellation above all is the handler's to see
                waits_for = steps.throw(error)
            else:
                waits_for = steps.send(sent)
        except StopIteration as ended:
            return ended.value


def _verdict(error: BaseException, run: Run, macro: AnyMacro) -> Verdict:
    return judge(error, run.attempt, macro.fails, jitter_of(run.task_id, run.attempt))


class _Late(TimeoutError):
    """A run's own deadline has passed."""


@asynccontextmanager
async def _within(timeout: float) -> AsyncIterator[None]:
    """The time that a run may take, from here on."""
    try:
        async with asyncio.timeout(timeout) as deadline:
            yield
    except TimeoutError:
        if deadline.expired():
            raise _Late from None
        raise
    if deadline.expired():  # swallowed
        raise _Late


async def _output(macro: AnyMacro, request: BaseModel, tools: Tools, run: Run, on_call: OnCall) -> Any:
    """What a handler returns that needs more than a call in the loop; its errors pass as they are.

    The time until a thread or process is free is not the run's; nor is the clean-up, which has a limit of its own.
    """
    async with AsyncExitStack() as stack:
        if macro.pool == "process":
            pool: Processes = tools[Processes] if Processes in tools else await stack.enter_async_context(processes(1))
            seat = await stack.enter_async_context(pool.seat(macro))
            async with _within(macro.timeout):
                return macro.output.validate_json(await seat(macro.input.__pydantic_serializer__.to_json(request)), **AS_WRITTEN)
        call: Callable[[Callable[[], Any]], Awaitable[Any]] = _in_loop
        if macro.pool == "thread":
            threads: Threads = tools[Threads] if Threads in tools else Threads(1)
            asked = time.time()
            call = await stack.enter_async_context(threads.seat())
            run = replace(run, report=_from_a_thread(run.report), deadline=run.deadline + time.time() - asked)
        async with _within(macro.timeout):
            made = await run_tools(macro.tools.values(), tools, run, stack)
            keywords = {name: made[kind] for name, kind in macro.tools.items()}
            if macro.run_parameter is not None:
                keywords[macro.run_parameter] = run
            if macro.calls_parameter is not None:
                keywords[macro.calls_parameter] = tools.get(Calls) or _calls(macro, tools, run, on_call)
            return await call(partial(macro.handler, request, **keywords))


def _in_loop(handler: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
    return handler()


def _from_a_thread(report: Callable[[str], None]) -> Callable[[str], None]:
    loop = asyncio.get_running_loop()
    return lambda text: cast("None", loop.call_soon_threadsafe(report, text))


def _calls(caller: AnyMacro, tools: Tools, run: Run, on_call: OnCall) -> Calls:
    """The tool by which a run of a macro calls those that it declares."""
    numbers = itertools.count(1)

    async def call(macro: AnyMacro, given: BaseModel | Mapping[str, Any], /) -> Any:
        if not any(macro is declared for declared in caller.calls):
            raise DefinitionError(
                f"{caller.where}: {caller.name} calls {macro.name} ({macro.where}) and does not declare it: add it to @macro(calls=[…])"
            )
        task_id, started, told = f"{run.task_id}/{next(numbers)}", time.perf_counter(), None
        child = replace(run, task_id=task_id, deadline=min(run.deadline, time.time() + macro.timeout))
        try:
            output = await _output(macro, _input(macro, given), tools, child, on_call)  # the caller's own deadline is around it
            macro.write(output)
        except _Late:
            told = f"not finished after {macro.timeout:g} s"
            raise TimeoutError(f"{macro.name}: {told}") from None
        except BaseException as error:
            told = described(error)
            raise
        finally:
            on_call(Called(macro.name, macro.version, run.task_id, task_id, time.perf_counter() - started, told))
        return output

    return cast("Calls", call)


def _input(macro: AnyMacro, given: BaseModel | Mapping[str, Any]) -> BaseModel:
    if isinstance(given, BaseModel):
        if not isinstance(given, macro.input):
            raise TypeError(f"{macro.name} takes a {macro.input.__name__}, not a {type(given).__name__}")
        return given
    try:
        return macro.read(dict(given))
    except MacroFailure as failure:
        raise MacroFailure(failure.code, f"{macro.name}: {failure}") from None


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task; a handler can meet a CancelledError that only something it awaited had coming."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
