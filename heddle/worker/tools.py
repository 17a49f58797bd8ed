"""The tools of a worker: made, cleaned up, asked whether they are well, and kept from reaching a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from heddle.errors import DefinitionError, HeddleError
from heddle.macros.failures import described
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.macro import Run, with_called
from heddle.macros.tools import AllTools, Provider, is_model, needed, tool_name
from heddle.settings import Settings
from heddle.worker.pools import Processes, Threads, processes, refuse_unreachable

Tools = Mapping[Any, Any]

FRONTIER: Final = "frontier"
CLEAN_UP: Final = 10.0
"""Seconds that a tool's clean-up may take."""
HEALTH_TIMEOUT: Final = 5.0
"""Seconds that a tool may take to say whether it is well."""


@dataclass(frozen=True, slots=True)
class PerTask:
    """Stands among a worker's tools for one that is made for each run; its class is a key of them if there is any.

    Attributes:
        models: whether it may be a model.
    """

    provider: Provider
    models: bool


@asynccontextmanager
async def tools_of(
    registry: Registry, settings: Settings, macros: Sequence[AnyMacro] | None = None, *, tiers: Collection[str] = ()
) -> AsyncIterator[Tools]:
    """Make what macros, and those that they call, need, once per worker, and clean it up in reverse order.

    Args:
        registry: where the providers are.
        settings: a tool like any other.
        macros: for which; the newest version of each if None.
        tiers: that the worker serves; a model is made only for a worker that serves the frontier tier alone.

    Yields:
        The tools by type. In the place of one that is made for each run stands how to make it: see `run_tools`.

    Raises:
        DefinitionError: a provider needs what nothing provides, providers need each other in a circle, one makes a model for
            a worker that must not have one, one raises an error, or a macro is to run in a process that could not load it.
    """
    wanted = with_called(registry.newest() if macros is None else macros)
    refuse_models(registry, tiers, wanted)
    refuse_unreachable(wanted)
    made: dict[Any, Any] = {Settings: settings}
    async with AsyncExitStack() as stack:
        making = _Making(registry, made, stack, models=set(tiers) == {FRONTIER})
        for tool in dict.fromkeys(tool for macro in wanted for tool in macro.tools.values()):
            try:
                await making.tool(tool, ())
            except HeddleError:
                raise
            except (Exception, SystemExit) as error:
                told = f"{tool_name(tool)}, or what it needs, cannot be made: {described(error)}"
                raise DefinitionError(f"{registry.providers[tool].where}: {told}") from error
        pools = {macro.pool for macro in wanted}
        if "thread" in pools:
            made[Threads] = Threads(settings.worker.threads)
        if "process" in pools:
            made[Processes] = await stack.enter_async_context(processes())
        yield made


@dataclass(frozen=True, slots=True)
class _Making:
    """The tools that a worker has made so far, by type, and those that can make more."""

    registry: Registry
    made: dict[Any, Any]
    stack: AsyncExitStack
    models: bool

    async def tool(self, tool: Any, path: tuple[Any, ...]) -> Any:
        """Make a tool, and first what it needs; `path`: who needs it."""
        if tool in self.made:
            return self.made[tool]
        if tool is AllTools:
            self.made[tool] = _Workshop(self)
            return self.made[tool]
        provider = self.registry.providers.get(tool)
        if provider is None:
            raise DefinitionError(f"nothing provides {tool!r}" + (f", which {path[-1]!r} needs" if path else ""))
        if tool in path:
            raise DefinitionError(f"{provider.where}: providers need each other in a circle: {' -> '.join(map(repr, (*path, tool)))}")
        per_task = provider.per == "task"
        wanted = {name: kind for name, kind in provider.needs.items() if not (per_task and kind is Run)}
        needs = {name: await self.tool(kind, (*path, tool)) for name, kind in wanted.items()}
        if per_task:
            self.made[PerTask], self.made[tool] = True, PerTask(provider, self.models)
        else:
            self.made[tool] = await _enter(provider, needs, self.stack, self.models)
        return self.made[tool]


@dataclass(frozen=True, slots=True)
class _Workshop:
    """All tools of a worker, each made when it is first asked for."""

    making: _Making
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def kinds(self) -> Sequence[Any]:
        return [kind for kind, provider in self.making.registry.providers.items() if not (is_model(kind) or is_model(provider.make))]

    def of_macro(self, name: str) -> Sequence[Any]:
        macro = self.making.registry.find(name)
        kinds = set() if macro is None else {kind for one in with_called([macro]) for kind in one.tools.values()}
        return [kind for kind in self.kinds() if kind in kinds]

    @asynccontextmanager
    async def made(self, kinds: Collection[Any], run: Run) -> AsyncIterator[Tools]:
        async with self._turn:
            for kind in kinds:
                await self.making.tool(kind, ())
        async with AsyncExitStack() as stack:
            yield await run_tools(kinds, self.making.made, run, stack)


async def run_tools(kinds: Iterable[Any], tools: Tools, run: Run, stack: AsyncExitStack) -> Tools:
    """Tools for one run, those that are made for each run among them; the stack cleans these up.

    Args:
        kinds: which.
        tools: the worker's.
        run: the run, for providers that ask for it.
        stack: is closed when the run is over.
    """
    made: dict[Any, Any] = {Run: run}

    async def get(tool: Any) -> Any:
        if tool not in made:
            found = tools[tool]
            if isinstance(found, PerTask):
                needs = {name: await get(kind) for name, kind in found.provider.needs.items()}
                found = await _enter(found.provider, needs, stack, found.models)
            made[tool] = found
        return made[tool]

    return {tool: await get(tool) for tool in kinds}


async def _enter(provider: Provider, needs: Mapping[str, Any], stack: AsyncExitStack, models: bool) -> Any:
    """Make a tool that the stack cleans up.

    What follows the provider's `yield` is clean-up: it is run after an error too, so none is thrown in.
    """
    steps = provider.make(**needs)
    try:
        tool = await anext(steps)
    except StopAsyncIteration:
        raise DefinitionError(f"{provider.where}: it yields no tool") from None

    async def leave(_kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            await _clean_up(provider, steps)
        except Exception as other:
            if error is None:
                raise
            error.add_note(f"Its clean-up failed besides: {described(other)}")  # the first error is the one that counts

    stack.push_async_exit(leave)
    if not models and is_model(type(tool)):  # its provider says that it makes something else
        raise _model_refused(provider, type(tool))
    return tool


async def _clean_up(provider: Provider, steps: AsyncIterator[Any]) -> None:
    try:
        async with asyncio.timeout(CLEAN_UP) as deadline:
            await anext(steps, None)
    except TimeoutError:
        if not deadline.expired():
            raise
        raise TimeoutError(f"{provider.where}: {tool_name(provider.tool)} was not cleaned up after {CLEAN_UP:g} s") from None


async def health(tools: Tools, timeout: float = HEALTH_TIMEOUT) -> dict[str, str | None]:
    """Ask every tool that has an `async def healthy(self)` whether it is well, all at once.

    Args:
        tools: a worker's.
        timeout: seconds for each.

    Returns:
        By the name of the tool's type: None if it is well, else why not. Tools that cannot be asked are left out.
    """
    asked = {tool_name(kind): tool for kind, tool in tools.items() if hasattr(type(tool), "healthy")}
    answers = await asyncio.gather(*(_ask(tool, timeout) for tool in asked.values()))
    return dict(zip(asked, answers, strict=True))


async def _ask(tool: Any, timeout: float) -> str | None:
    try:
        async with asyncio.timeout(timeout) as deadline:
            await tool.healthy()
    except Exception as error:  # noqa: BLE001  # whatever a tool raises is its way of saying that it is not well
        return f"no answer within {timeout:g} s" if deadline.expired() else described(error)
    return None


def refuse_models(registry: Registry, tiers: Collection[str], macros: Sequence[AnyMacro] | None = None) -> None:
    """No model at execution: only a worker that serves the frontier tier and no other may be given one.

    Args:
        registry: where the providers are.
        tiers: that the worker serves.
        macros: that it serves; the newest version of each if None.

    Raises:
        DefinitionError: a macro needs a model, itself or by what makes its tools; it names the provider and what to do.
    """
    if set(tiers) == {FRONTIER}:
        return
    served = with_called(registry.newest() if macros is None else macros)
    for tool in needed((tool for macro in served for tool in macro.tools.values()), registry.providers):
        provider = registry.providers.get(tool)
        if provider is not None and (is_model(tool) or is_model(provider.make)):
            users = [macro.name for macro in served if tool in needed(iter(macro.tools.values()), registry.providers)]
            raise _model_refused(provider, tool, users)


def _model_refused(provider: Provider, kind: Any, users: Sequence[str] = ()) -> DefinitionError:
    types = ",".join(dict.fromkeys(users)) or "NAME"
    return DefinitionError(
        f"{provider.where}: {tool_name(provider.tool)} is a model ({kind.__module__}.{tool_name(kind)}), and no macro runs with a model "
        f"but on the frontier tier: serve what needs it apart, `heddle run worker --tiers {FRONTIER} --types {types}`, "
        "and leave it out of --types here"
    )
