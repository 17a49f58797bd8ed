"""One run of a macro: tools in, deadline kept, output checked, and no error gets past."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from pydantic import BaseModel

from heddle import Run, Settings, macro, provides, reject, retry
from heddle.errors import Code, DefinitionError, MacroFailure, TryAgain
from heddle.macros.failures import Failure
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.tools import Provider
from heddle.worker.executor import Tools, execute, tools_of


class Request(BaseModel):
    text: str = "x"


class Report(BaseModel):
    text: str


class Forge:
    def __init__(self, name: str = "forge") -> None:
        self.name = name


class Store:
    def __init__(self, forge: Forge) -> None:
        self.forge = forge


class Clock:
    pass


class Busy(Exception):
    pass


class Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


Handler = Callable[[Request], Awaitable[Report]]


def made(handler: Handler, fails: dict[type[BaseException], Failure] | None = None, timeout: float = 60.0) -> AnyMacro:
    return macro(name="triage", fails=fails, timeout=timeout)(handler)


def raising(error: BaseException) -> Handler:
    async def triage(request: Request) -> Report:
        raise error

    return triage


async def run(of: AnyMacro, tools: Tools | None = None, *, attempt: int = 1, bugs: list[BaseException] | None = None) -> bytes:
    told = [] if bugs is None else bugs
    return await execute(of, Request(), tools or {}, Run("t", attempt, 0.0), on_bug=told.append)


async def failure(of: AnyMacro, *, attempt: int = 1, bugs: list[BaseException] | None = None) -> MacroFailure:
    with pytest.raises(MacroFailure) as caught:
        await run(of, attempt=attempt, bugs=bugs)
    return caught.value


async def well(request: Request) -> Report:
    return Report(text=request.text)


async def wrong(request: Request) -> Report:
    return Request()  # type: ignore[return-value]


async def never(request: Request) -> Report:
    await asyncio.Event().wait()
    raise AssertionError


async def own_timeout(request: Request) -> Report:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()
    raise AssertionError


async def own_cancellation(request: Request) -> Report:
    other = asyncio.ensure_future(asyncio.Event().wait())
    other.cancel()
    await other
    raise AssertionError


async def angry_at_its_deadline(request: Request) -> Report:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise Busy("late") from None
    raise AssertionError


# --- the run


async def test_an_output_is_json() -> None:
    assert await run(made(well)) == b'{"text":"x"}'


async def test_tools_are_given_by_their_type_and_run_as_it_is() -> None:
    @macro
    async def triage(request: Request, *, here: Forge, this: Run, that: Store) -> Report:
        return Report(text=f"{here.name} {that.forge.name} {this.task_id} {this.attempt}")

    forge = Forge("a")
    output = await run(triage, {Forge: forge, Store: Store(Forge("b")), Clock: Clock()}, attempt=2)
    assert json.loads(output) == {"text": "a b t 2"}


async def test_progress_is_reported_while_the_handler_runs() -> None:
    @macro
    async def triage(request: Request, *, run: Run) -> Report:
        run.report("half way")
        return Report(text="")

    told: list[str] = []
    await execute(triage, Request(), {}, Run("t", 1, 0.0, told.append))
    assert told == ["half way"]


async def test_an_output_that_breaks_its_schema_is_handler_failed() -> None:
    failed = await failure(made(wrong))
    assert failed.code is Code.HANDLER_FAILED
    assert str(failed).startswith("the output breaks the macro's own schema: ")


# --- errors


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("no"),
        AssertionError("no"),
        SystemExit("no"),
        KeyboardInterrupt("no"),
        GeneratorExit("no"),
        StopAsyncIteration("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_error_of_a_handler_is_handler_failed_and_goes_no_further(error: BaseException) -> None:
    failed = await failure(made(raising(error)))
    assert (failed.code, str(failed)) == (Code.HANDLER_FAILED, f"{type(error).__name__}: {error}")


@pytest.mark.parametrize(
    "error", [BaseExceptionGroup("two", [SystemExit(), ValueError()]), ExceptionGroup("one", [ValueError()]), StopIteration()]
)
async def test_groups_and_stop_iteration_are_handler_failed_too(error: BaseException) -> None:
    assert (await failure(made(raising(error)))).code is Code.HANDLER_FAILED


async def test_an_error_that_cannot_say_what_it_is_is_handler_failed_too() -> None:
    assert (await failure(made(raising(Wordless())))).code is Code.HANDLER_FAILED


async def test_whoever_is_told_of_a_bug_may_fail_at_it() -> None:
    def deaf(error: BaseException) -> None:
        raise OSError

    with pytest.raises(MacroFailure, match="ValueError: no"):
        await execute(made(raising(ValueError("no"))), Request(), {}, Run("t", 1, 0.0), on_bug=deaf)


async def test_a_cancellation_of_the_handler_s_own_making_is_handler_failed() -> None:
    """Nobody cancelled the task; taken for a cancellation it would end its lane, and the task would be held for ever."""
    outcome = (await asyncio.gather(asyncio.ensure_future(run(made(own_cancellation))), return_exceptions=True))[0]
    assert isinstance(outcome, MacroFailure)


async def test_an_undeclared_error_is_told_as_a_bug() -> None:
    bugs: list[BaseException] = []
    error = ValueError("no")
    await failure(made(raising(error), {Busy: reject}), bugs=bugs)
    assert bugs == [error]


@pytest.mark.parametrize("declared", [reject, retry()])
async def test_a_declared_error_is_no_bug(declared: Failure) -> None:
    bugs: list[BaseException] = []
    with pytest.raises((MacroFailure, TryAgain)):
        await run(made(raising(Busy("now")), {Busy: declared}), bugs=bugs)
    assert bugs == []


async def test_an_error_that_may_pass_asks_for_another_try_after_its_backoff() -> None:
    with pytest.raises(TryAgain, match="Busy: now") as caught:
        await run(made(raising(Busy("now")), {Busy: retry(times=3, backoff=2.0)}), attempt=2)
    assert 4.0 <= caught.value.delay <= 6.0


async def test_a_rejected_error_is_handler_failed_with_its_words() -> None:
    failed = await failure(made(raising(Busy("now")), {Busy: reject}))
    assert (failed.code, str(failed)) == (Code.HANDLER_FAILED, "Busy: now")


async def test_spent_retries_are_handler_failed_with_the_number_of_attempts() -> None:
    failed = await failure(made(raising(Busy("now")), {Busy: retry(times=2)}), attempt=3)
    assert (failed.code, str(failed)) == (Code.HANDLER_FAILED, "Busy: now (after 3 attempts)")


async def test_a_failure_keeps_the_error_that_caused_it() -> None:
    error = ValueError("no")
    assert (await failure(made(raising(error)))).__cause__ is error


# --- time


async def test_a_handler_that_has_not_finished_by_its_deadline_is_timed_out() -> None:
    failed = await failure(made(never, timeout=0.01))
    assert (failed.code, str(failed)) == (Code.TIMED_OUT, "not finished after 0.01 s")


async def test_a_deadline_is_tried_again_only_if_timeout_error_itself_is_declared() -> None:
    with pytest.raises(TryAgain, match=r"TimeoutError: not finished after 0\.01 s") as caught:
        await run(made(never, {TimeoutError: retry(backoff=2.0)}, timeout=0.01))
    assert caught.value.delay >= 2.0
    assert (await failure(made(never, {OSError: retry(), Exception: retry()}, timeout=0.01))).code is Code.TIMED_OUT


@pytest.mark.parametrize("declared", [reject, retry(times=1)])
async def test_a_deadline_that_is_declared_and_not_tried_again_is_timed_out_all_the_same(declared: Failure) -> None:
    failed = await failure(made(never, {TimeoutError: declared}, timeout=0.01), attempt=2)
    assert failed.code is Code.TIMED_OUT


async def test_a_deadline_is_no_bug() -> None:
    bugs: list[BaseException] = []
    await failure(made(never, timeout=0.01), bugs=bugs)
    assert bugs == []


@pytest.mark.parametrize("handler", [raising(TimeoutError("mine")), own_timeout], ids=["raised", "expired"])
async def test_a_handler_s_own_timeout_is_not_timed_out(handler: Handler) -> None:
    assert (await failure(made(handler))).code is Code.HANDLER_FAILED


async def test_a_handler_s_own_timeout_can_be_declared() -> None:
    bugs: list[BaseException] = []
    await failure(made(own_timeout, {TimeoutError: reject}), bugs=bugs)
    assert bugs == []


async def test_an_error_raised_on_being_cancelled_by_the_deadline_is_that_error() -> None:
    failed = await failure(made(angry_at_its_deadline, timeout=0.01))
    assert (failed.code, str(failed)) == (Code.HANDLER_FAILED, "Busy: late")


async def test_a_cancellation_from_outside_propagates() -> None:
    running = asyncio.ensure_future(run(made(never)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_cancellation_from_outside_is_no_bug() -> None:
    bugs: list[BaseException] = []
    running = asyncio.ensure_future(run(made(never), bugs=bugs))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert bugs == []


# --- tools


class Journal:
    """What providers did, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def providers(self, *, broken: type | None = None, guarded: bool = True, grumpy: bool = False) -> list[Provider]:
        journal = self.lines

        @provides
        async def forge(settings: Settings) -> AsyncIterator[Forge]:
            if broken is Forge:
                raise OSError("no forge")
            journal.append("forge made")
            try:
                yield Forge("made")
            finally:
                journal.append("forge cleaned")

        @provides
        async def plain_forge() -> AsyncIterator[Forge]:
            journal.append("forge made")
            yield Forge("made")
            journal.append("forge cleaned")

        @provides
        async def store(forge: Forge) -> AsyncIterator[Store]:
            if broken is Store:
                raise OSError("no store")
            journal.append("store made")
            try:
                yield Store(forge)
            finally:
                journal.append("store cleaned")
                if grumpy:
                    raise OSError("cannot clean up")

        return [forge if guarded else plain_forge, store]


@macro
async def needs_store(request: Request, *, store: Store) -> Report:
    return Report(text=store.forge.name)


@macro
async def needs_both(request: Request, *, forge: Forge, store: Store) -> Report:
    return Report(text=str(store.forge is forge))


def registry(macros: list[AnyMacro], providers: list[Provider]) -> Registry:
    return Registry({of.name: {of.version: of} for of in macros}, {provider.tool: provider for provider in providers})


async def test_a_provider_gets_what_it_needs_by_type() -> None:
    async with tools_of(registry([needs_store], Journal().providers()), Settings()) as tools:
        assert json.loads(await run(needs_store, tools)) == {"text": "made"}


async def test_a_tool_is_made_once_for_all_that_need_it() -> None:
    journal = Journal()
    async with tools_of(registry([needs_both, needs_store], journal.providers()), Settings()) as tools:
        assert json.loads(await run(needs_both, tools)) == {"text": "True"}
    assert journal.lines.count("forge made") == 1


async def test_settings_are_there_without_a_provider() -> None:
    settings = Settings()
    async with tools_of(registry([], []), settings) as tools:
        assert tools[Settings] is settings


async def test_only_what_the_served_macros_need_is_made() -> None:
    journal = Journal()
    async with tools_of(registry([needs_store, made(well)], journal.providers()), Settings(), [made(well)]) as tools:
        assert set(tools) == {Settings}


async def test_tools_are_cleaned_up_in_reverse_order() -> None:
    journal = Journal()
    async with tools_of(registry([needs_both], journal.providers()), Settings()):
        pass
    assert journal.lines == ["forge made", "store made", "store cleaned", "forge cleaned"]


async def use_and_fail(journal: Journal, *, guarded: bool = True, error: BaseException) -> None:
    async with tools_of(registry([needs_both], journal.providers(guarded=guarded)), Settings()):
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()], ids=["an error", "a cancellation"])
async def test_tools_are_cleaned_up_in_reverse_order_after_an_error_too(error: BaseException) -> None:
    journal = Journal()
    with pytest.raises(type(error)):
        await use_and_fail(journal, error=error)
    assert journal.lines[2:] == ["store cleaned", "forge cleaned"]


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()], ids=["an error", "a cancellation"])
async def test_what_follows_a_plain_yield_is_run_after_an_error_too(error: BaseException) -> None:
    journal = Journal()
    with pytest.raises(type(error)):
        await use_and_fail(journal, guarded=False, error=error)
    assert journal.lines[2:] == ["store cleaned", "forge cleaned"]


async def test_a_clean_up_that_fails_does_not_keep_the_others_from_theirs() -> None:
    journal = Journal()
    stack = AsyncExitStack()
    await stack.enter_async_context(tools_of(registry([needs_both], journal.providers(grumpy=True)), Settings()))
    with pytest.raises(OSError, match="cannot clean up"):
        await stack.aclose()
    assert journal.lines[-1] == "forge cleaned"


async def test_a_provider_that_fails_has_those_before_it_cleaned_up() -> None:
    journal = Journal()
    with pytest.raises(DefinitionError, match="no store"):
        await AsyncExitStack().enter_async_context(tools_of(registry([needs_both], journal.providers(broken=Store)), Settings()))
    assert journal.lines == ["forge made", "forge cleaned"]


@provides
async def idle_forge() -> AsyncIterator[Forge]:
    forges: list[Forge] = []
    for forge in forges:
        yield forge


async def test_a_provider_that_yields_nothing_is_told_with_its_place() -> None:
    with pytest.raises(DefinitionError, match=r"test_executor\.py:\d+: it yields no tool"):
        await AsyncExitStack().enter_async_context(tools_of(registry([needs_both], [idle_forge]), Settings()))


@provides
async def circular_forge(store: Store) -> AsyncIterator[Forge]:
    yield Forge()


@provides
async def circular_store(forge: Forge) -> AsyncIterator[Store]:
    yield Store(forge)


@provides
async def selfish_store(store: Store) -> AsyncIterator[Store]:
    yield store


async def definition_error(providers: list[Provider]) -> str:
    with pytest.raises(DefinitionError) as caught:
        await AsyncExitStack().enter_async_context(tools_of(registry([needs_store], providers), Settings()))
    return str(caught.value)


@pytest.mark.parametrize("providers", [[circular_forge, circular_store], [selfish_store]], ids=["two", "one"])
async def test_providers_that_need_each_other_in_a_circle_are_refused(providers: list[Provider]) -> None:
    assert "providers need each other in a circle: " in await definition_error(providers)


async def test_a_need_that_nothing_provides_is_told_with_who_needs_it() -> None:
    told = await definition_error([circular_store])
    assert "nothing provides" in told
    assert "Forge" in told
    assert "Store" in told
