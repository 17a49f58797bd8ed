"""A macro calls another: checked, told, within one deadline, errors as they were raised."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import BaseModel, Field

from heddle import Calls, Run, Settings, macro, provides, reject, retry
from heddle.errors import Code, DefinitionError, MacroFailure, TryAgain
from heddle.macros.failures import Failure
from heddle.macros.loading import AnyMacro, collect
from heddle.worker.executor import Called, Tools, execute, tools_of


class Request(BaseModel):
    count: int = Field(1, ge=0)


class Report(BaseModel):
    text: str


class Other(BaseModel):
    count: int = 1


class Busy(Exception):
    pass


class Forge:
    name = "forge"


@macro
async def count_up(request: Request, *, run: Run) -> Report:
    run.report(f"counting to {request.count}")
    return Report(text=f"{run.task_id}: {request.count}")


@macro
async def busy(request: Request) -> Report:
    raise Busy("now")


@macro
async def lying(request: Request) -> Report:
    return Request()  # type: ignore[return-value]


@macro(timeout=0.01)
async def never(request: Request) -> Report:
    await asyncio.Event().wait()
    raise AssertionError


@macro
def in_a_thread(request: Request) -> Report:
    return Report(text="from a thread")


@macro
async def with_forge(request: Request, *, forge: Forge) -> Report:
    return Report(text=forge.name)


CALLED: list[AnyMacro] = [count_up, busy, lying, never, in_a_thread, with_forge]


def caller(what: Callable[[Calls], object], fails: dict[type[BaseException], Failure] | None = None, timeout: float = 60.0) -> AnyMacro:
    @macro(calls=CALLED, fails=fails, timeout=timeout)
    async def nightly(request: Request, *, calls: Calls) -> Report:
        found = await what(calls)  # type: ignore[misc]  # it is what calls it
        assert isinstance(found, Report)
        return found

    return nightly


async def run(of: AnyMacro, tools: Tools | None = None, *, told: list[Called] | None = None, run: Run | None = None) -> str:
    calls: list[Called] = [] if told is None else told
    output = await execute(of, Request(), tools or {}, run or Run("t", 1, 0.0), on_call=calls.append)
    return str(json.loads(output)["text"])


async def failure(of: AnyMacro) -> MacroFailure:
    with pytest.raises(MacroFailure) as caught:
        await run(of)
    return caught.value


# --- the call


async def test_a_macro_is_called_with_a_payload_and_gives_its_output() -> None:
    assert await run(caller(lambda calls: calls(count_up, {"count": 3}))) == "t/1: 3"


async def test_a_macro_is_called_with_an_input() -> None:
    assert await run(caller(lambda calls: calls(count_up, Request(count=4)))) == "t/1: 4"


async def test_what_a_call_gives_has_the_called_macro_s_type() -> None:
    @macro(calls=[count_up, in_a_thread])
    async def nightly(request: Request, *, calls: Calls) -> Report:
        one = await calls(count_up, {})
        two = await calls(in_a_thread, {})
        return Report(text=one.text + two.text)

    assert await run(nightly) == "t/1: 1from a thread"


async def test_every_call_has_an_id_of_its_own_that_is_the_same_on_every_attempt() -> None:
    async def twice(calls: Calls) -> Report:
        await calls(count_up, {})
        return await calls(count_up, {})

    of = caller(twice)
    assert [await run(of, run=Run("t", attempt, 0.0)) for attempt in (1, 2)] == ["t/2: 1", "t/2: 1"]


async def test_a_called_macro_s_progress_is_the_caller_s() -> None:
    told: list[str] = []
    await run(caller(lambda calls: calls(count_up, {})), run=Run("t", 1, 0.0, told.append))
    assert told == ["counting to 1"]


async def test_a_called_macro_may_call_others() -> None:
    inner = caller(lambda calls: calls(count_up, {}))

    @macro(calls=[inner])
    async def outer(request: Request, *, calls: Calls) -> Report:
        found = await calls(inner, {})
        assert isinstance(found, Report)
        return found

    assert await run(outer) == "t/1/1: 1"


async def test_calls_may_be_made_at_the_same_time() -> None:
    async def both(calls: Calls) -> Report:
        found = await asyncio.gather(calls(count_up, {"count": 1}), calls(in_a_thread, {}))
        return Report(text=" ".join(one.text for one in found))

    assert await run(caller(both)) == "t/1: 1 from a thread"


async def test_a_called_macro_gets_its_own_tools() -> None:
    @provides
    async def forge() -> AsyncIterator[Forge]:
        yield Forge()

    nightly = caller(lambda calls: calls(with_forge, {}))
    async with tools_of(collect(iter([nightly, forge])), Settings(), [nightly]) as tools:
        assert await run(nightly, tools) == "forge"


async def test_calls_can_be_replaced_in_a_test_like_any_tool() -> None:
    async def calls(_macro: AnyMacro, given: dict[str, int]) -> Report:
        return Report(text=f"given {given}")

    assert await run(caller(lambda calls: calls(count_up, {"count": 1})), {Calls: calls}) == "given {'count': 1}"


async def test_a_macro_that_is_not_declared_cannot_be_called() -> None:
    @macro
    async def stranger(request: Request) -> Report:
        raise AssertionError

    told = str(await failure(caller(lambda calls: calls(stranger, {}))))
    assert "nightly calls stranger (" in told
    assert "and does not declare it: add it to @macro(calls=[…])" in told
    assert told.count("test_calls.py:") == 2


# --- what is checked


async def test_a_payload_that_breaks_the_called_macro_s_schema_is_the_caller_s_bug() -> None:
    failed = await failure(caller(lambda calls: calls(count_up, {"count": -1})))
    assert failed.code is Code.HANDLER_FAILED
    assert str(failed).startswith("MacroFailure: count_up: count: ")


async def test_an_input_of_another_macro_is_the_caller_s_bug() -> None:
    assert "count_up takes a Request, not a Other" in str(await failure(caller(lambda calls: calls(count_up, Other()))))


async def test_an_output_that_breaks_the_called_macro_s_schema_does_not_reach_the_caller() -> None:
    assert "the output breaks the macro's own schema" in str(await failure(caller(lambda calls: calls(lying, {}))))


# --- errors and time


async def test_an_error_of_a_called_macro_is_judged_by_what_the_caller_declares() -> None:
    with pytest.raises(TryAgain, match="Busy: now"):
        await run(caller(lambda calls: calls(busy, {}), {Busy: retry(times=1)}))
    assert str(await failure(caller(lambda calls: calls(busy, {}), {Busy: reject}))) == "Busy: now"


async def test_an_error_of_a_called_macro_can_be_caught_as_what_it_is() -> None:
    async def brave(calls: Calls) -> Report:
        try:
            return await calls(busy, {})
        except Busy as error:
            return Report(text=f"caught {error}")

    assert await run(caller(brave)) == "caught now"


async def test_a_called_macro_past_its_own_timeout_is_a_timeout_error_in_the_caller() -> None:
    async def patient(calls: Calls) -> Report:
        try:
            return await calls(never, {})
        except TimeoutError as error:
            return Report(text=str(error))

    assert await run(caller(patient)) == "never: not finished after 0.01 s"


async def test_the_caller_s_deadline_ends_a_called_macro_too() -> None:
    @macro
    async def sleepy(request: Request) -> Report:
        await asyncio.Event().wait()
        raise AssertionError

    @macro(calls=[sleepy], timeout=0.01)
    async def hasty(request: Request, *, calls: Calls) -> Report:
        return await calls(sleepy, {})

    failed = await failure(hasty)
    assert (failed.code, str(failed)) == (Code.TIMED_OUT, "not finished after 0.01 s")


# --- what is told


async def test_a_call_is_told_when_it_has_ended() -> None:
    told: list[Called] = []
    await run(caller(lambda calls: calls(count_up, {})), told=told)
    (call,) = told
    assert (call.macro, call.version, call.parent, call.task_id, call.error) == ("count_up", 1, "t", "t/1", None)
    assert 0 < call.seconds < 10


@pytest.mark.parametrize(
    ("called", "said"),
    [(busy, "Busy: now"), (never, "not finished after 0.01 s"), (lying, "MacroFailure: the output breaks the macro's own schema")],
    ids=lambda value: getattr(value, "name", None),
)
async def test_a_call_that_failed_is_told_with_its_error(called: AnyMacro, said: str) -> None:
    told: list[Called] = []
    with pytest.raises(MacroFailure):
        await run(caller(lambda calls: calls(called, {})), told=told)
    assert str(told[0].error).startswith(said)


# --- definitions


def refusal(define: Callable[[], object]) -> str:
    with pytest.raises(DefinitionError) as caught:
        define()
    assert "test_calls.py:" in str(caught.value)
    return str(caught.value)


def test_a_macro_that_calls_says_which() -> None:
    async def nightly(request: Request, *, calls: Calls) -> Report:
        raise AssertionError

    assert "nightly does not say which macros it calls: add @macro(calls=[…])" in refusal(lambda: macro(nightly))


def test_a_macro_that_declares_calls_asks_for_them() -> None:
    async def nightly(request: Request) -> Report:
        raise AssertionError

    assert "nightly calls count_up by a parameter of type Calls: add `*, calls: Calls`" in refusal(lambda: macro(calls=[count_up])(nightly))


@pytest.mark.parametrize("called", ["count_up", test_a_macro_that_calls_says_which])
def test_only_macros_can_be_declared_as_called(called: object) -> None:
    async def nightly(request: Request, *, calls: Calls) -> Report:
        raise AssertionError

    assert "takes macros themselves" in refusal(lambda: macro(calls=[called])(nightly))  # type: ignore[list-item]


def test_a_handler_in_a_thread_cannot_call() -> None:
    def nightly(request: Request, *, calls: Calls) -> Report:
        raise AssertionError

    assert "nightly must be an `async def`" in refusal(lambda: macro(calls=[count_up])(nightly))
