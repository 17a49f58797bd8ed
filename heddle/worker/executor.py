"""Runs one macro: tools in, deadline kept, output checked. Knows nothing of NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from pydantic import BaseModel

from heddle.errors import Code, DefinitionError, MacroFailure, TryAgain
from heddle.macros.failures import Again, End, described, judge
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.macro import Provider, Run
from heddle.settings import Settings

Tools = Mapping[Any, Any]


@asynccontextmanager
async def tools_of(registry: Registry, settings: Settings, macros: list[AnyMacro] | None = None) -> AsyncIterator[Tools]:
    """Make the tools that the macros need, once per worker, and clean them up in reverse order.

    Raises:
        DefinitionError: a provider needs what nothing provides, or providers need each other in a circle.
    """
    made: dict[Any, Any] = {Settings: settings}
    async with AsyncExitStack() as stack:
        wanted = registry.newest() if macros is None else macros
        for tool in dict.fromkeys(tool for macro in wanted for tool in macro.tools.values()):
            await _make(tool, registry.providers, made, (), stack)
        yield made


async def _make(tool: Any, providers: Mapping[Any, Provider], made: dict[Any, Any], path: tuple[Any, ...], stack: AsyncExitStack) -> Any:
    if tool in made:
        return made[tool]
    provider = providers.get(tool)
    if provider is None:
        raise DefinitionError(f"nothing provides {tool!r}" + (f", which {path[-1]!r} needs" if path else ""))
    if tool in path:
        raise DefinitionError(f"{provider.where}: providers need each other in a circle: {' -> '.join(map(repr, (*path, tool)))}")
    needs = {name: await _make(kind, providers, made, (*path, tool), stack) for name, kind in provider.needs.items()}
    made[tool] = await stack.enter_async_context(_provided(provider, needs))
    return made[tool]


@asynccontextmanager
async def _provided(provider: Provider, needs: Mapping[str, Any]) -> AsyncIterator[Any]:
    """A provider's tool. What follows the provider's `yield` is clean-up: it is run after an error too, so none is thrown in."""
    steps = provider.make(**needs)
    try:
        tool = await anext(steps)
    except StopAsyncIteration:
        raise DefinitionError(f"{provider.where}: it yields no tool") from None
    try:
        yield tool
    finally:
        await anext(steps, None)


async def execute(
    macro: AnyMacro, request: BaseModel, tools: Tools, run: Run, *, on_bug: Callable[[BaseException], None] = lambda _: None
) -> bytes:
    """Run a macro's handler and give its output as JSON.

    Args:
        macro: which.
        request: its input.
        tools: by type.
        run: what the handler may know of its task.
        on_bug: told of an error that the macro does not declare.

    Raises:
        MacroFailure: it ended badly; the code says how.
        TryAgain: it raised an error that the macro declares to pass.
    """
    keywords = {name: tools[kind] for name, kind in macro.tools.items()}
    if macro.run_parameter is not None:
        keywords[macro.run_parameter] = run
    try:
        async with asyncio.timeout(macro.timeout) as deadline:
            output = await macro.handler(request, **keywords)
    except BaseException as error:  # a handler may raise anything, and its neighbours must not notice
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        if isinstance(error, TimeoutError) and deadline.expired():
            raise MacroFailure(Code.TIMED_OUT, f"not finished after {macro.timeout:g} s") from None
        if not any(isinstance(error, declared) for declared in macro.fails):
            with suppress(Exception):  # who is told may ask for the error's `repr`, which may raise
                on_bug(error)
        match judge(error, run.attempt, macro.fails):
            case End(code, detail):
                raise MacroFailure(code, detail) from error
            case Again(delay):
                raise TryAgain(delay, described(error)) from error
    return macro.write(output)


def _is_cancelled() -> bool:
    """Whether somebody cancelled this task; a handler can meet a CancelledError that only something it awaited had coming."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
