"""Replays fixtures: what a macro has to show before a worker serves it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from heddle.errors import DefinitionError, HeddleError, MacroFailure
from heddle.macros.differences import difference
from heddle.macros.fixtures import Fixture, fixture_files, fixture_folder, read_fixture, shown
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.macro import Run
from heddle.macros.standins import Played
from heddle.settings import Settings
from heddle.worker.executor import Tools, execute


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: with an output, as JSON values, or with a failure."""

    output: Any = None
    failure: HeddleError | None = None

    @property
    def error(self) -> BaseException | None:
        """The error that the handler raised, if that is why it failed."""
        return self.failure.__cause__ if self.failure else None

    def told(self) -> str:
        """The failure in words, with its code if it has one."""
        code = f"{self.failure.code.value}: " if isinstance(self.failure, MacroFailure) else ""
        return f"{code}{self.failure}"


Reader = Callable[[dict[str, Any]], BaseModel]


async def run_once(macro: AnyMacro, payload: dict[str, Any], tools: Tools, *, read: Reader | None = None, attempt: int = 1) -> Ended:
    """Run a macro as a worker would: input validated, deadline kept, output checked.

    Args:
        macro: which.
        payload: the task's payload.
        tools: the tools it needs, by type; `Settings` is there without asking.
        read: makes the input of the payload; `macro.read` unless given.
        attempt: which attempt this is to be.
    """
    run = Run(task_id="test", attempt=attempt, deadline=time.time() + macro.timeout)
    try:
        request = (read or macro.read)(payload)
        return Ended(output=json.loads(await execute(macro, request, {Settings: Settings(), **tools}, run)))
    except HeddleError as failure:
        return Ended(failure=failure)


async def replay(macro: AnyMacro, fixture: Fixture, *, read: Reader | None = None) -> str | None:
    """Run a fixture twice; the first thing that is not as it says, with its line, or None if it holds.

    Args:
        macro: whose fixture it is.
        fixture: what is given, answered and expected.
        read: makes the input of the payload; `macro.read` unless given.

    Raises:
        DefinitionError: the fixture does not fit the macro.
    """
    (first, wrong), (second, wrong_then) = [await _play(macro, fixture, read) for _ in range(2)]
    if wrong is not None:
        return wrong
    if differs := wrong_then or _unsteady(first, second):
        return f"{fixture.place('input')}: {macro.name} is not deterministic: {differs}"
    return _unexpected_failure(macro, fixture, first) if first.failure or fixture.fails else _unexpected_output(fixture, first)


async def _play(macro: AnyMacro, fixture: Fixture, read: Reader | None) -> tuple[Ended, str | None]:
    played = Played(macro, fixture)
    ended = await run_once(macro, fixture.input, played.tools, read=read)
    return ended, played.wrong()


def _unsteady(first: Ended, second: Ended) -> str | None:
    if first.failure is None and second.failure is None:
        differs = difference(first.output, second.output)
        return differs.told("first run", "second run") if differs else None
    one, other = (ended.told() if ended.failure else "an output" for ended in (first, second))
    return None if one == other else f"two runs of it end otherwise\n  first run:  {one}\n  second run: {other}"


def _unexpected_output(fixture: Fixture, ended: Ended) -> str | None:
    differs = difference(fixture.output, ended.output)
    return f"{fixture.place(*differs.way)}: {differs.told()}" if differs else None


def _unexpected_failure(macro: AnyMacro, fixture: Fixture, ended: Ended) -> str | None:
    if fixture.fails is None:
        return f"{fixture.place('output')}: an output is expected, and {macro.name} fails: {ended.told()}"
    place = fixture.place("fails")
    if ended.failure is None:
        return f"{place}: {fixture.fails} is expected, and {macro.name} gives {json.dumps(ended.output, ensure_ascii=False)}"
    code = ended.failure.code if isinstance(ended.failure, MacroFailure) else None
    if fixture.fails.code not in {None, code}:
        return f"{place}: {fixture.fails} is expected, and {macro.name} fails otherwise: {ended.told()}"
    if fixture.fails.error is None:
        return None
    names = {kind.__name__ for kind in type(ended.error).__mro__ if issubclass(kind, tuple(macro.fails))}
    if type(ended.error).__name__ == fixture.fails.error and not names:
        return f"{place}: {macro.name} fails as expected, but does not declare {fixture.fails.error} under `fails=`: that makes it a bug"
    return (
        None if fixture.fails.error in names else f"{place}: {fixture.fails} is expected, and {macro.name} fails otherwise: {ended.told()}"
    )


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a fixture's file; `wrong` is None if it holds, `fixture` if the file could not be read."""

    file: str
    fixture: Fixture | None
    wrong: str | None


async def replay_all(registry: Registry, name: str) -> list[Replayed]:
    """Replay every fixture of a macro, of all its versions, in the order of their files' names."""
    newest = registry.find(name)
    files = [] if newest is None else fixture_files(fixture_folder(newest))
    replayed = []
    for path in files:
        fixture = None
        try:
            fixture = read_fixture(path)
            macro, read = reader(registry, name, fixture)
            wrong = await replay(macro, fixture, read=read)
        except DefinitionError as error:
            wrong = str(error)
        replayed.append(Replayed(shown(path), fixture, wrong))
    return replayed


def reader(registry: Registry, name: str, fixture: Fixture) -> tuple[AnyMacro, Reader]:
    """The macro that takes a fixture's version, and what makes its input of such a payload.

    Raises:
        DefinitionError: no such version can be read.
    """
    route = registry.route(name, fixture.version)
    if route is None:
        known = ", ".join(map(str, registry.readable(name)))
        raise DefinitionError(f"{fixture.place('version')}: {name} cannot read version {fixture.version}; it reads {known}")
    return route.macro, lambda payload: route.read(json.dumps(payload).encode())


async def vet(registry: Registry, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Replay the fixtures of some macros, each run bounded by its macro's timeout.

    Args:
        registry: where they are.
        names: which; a macro without fixtures is served.

    Returns:
        The names that may be served, and a sentence on each that may not: its fixture, the first difference, what to do.
    """
    asked = list(names)
    found = await asyncio.gather(*(replay_all(registry, name) for name in asked))
    failed = {name: next((replayed for replayed in of_name if replayed.wrong), None) for name, of_name in zip(asked, found, strict=True)}
    problems = [
        f"{name} is not served, because a fixture does not hold: {replayed.wrong}\nsee all: heddle macros check"
        for name, replayed in failed.items()
        if replayed
    ]
    return [name for name in asked if failed[name] is None], problems
