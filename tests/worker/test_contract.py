"""What a macro promises about failure, on a real server: fallbacks, breakers, versions, cancellation, and handlers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from heddle import Run, breaker, events, fallback, macro, reject, retry, subjects
from heddle.broker.cancellations import cancel
from heddle.control.fleet import workers
from heddle.control.tasks import Ended, Reported, new_task, submit_message, task_followed, task_message_id
from heddle.macros.loading import load
from heddle.messages import TaskMessage, TaskResult, decode, task_hash
from heddle.settings import Settings, WorkerSettings
from tests.support import FAST, PATIENCE, Echoed, Ground, Word, eventually, on_ground, registry_of

NAMES = "echo", "weak", "novel", "versioned", "slow", "odd"
WITHOUT_NOVEL = "version: 1\ntiers: {local: {}, frontier: {}}\nworker_types:\n" + "".join(
    f"  {name}: {{}}\n" for name in NAMES if name != "novel"
)
WITH_NOVEL = WITHOUT_NOVEL + "  novel: {tier: frontier}\n"


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


class Renamed(BaseModel):
    phrase: str


class Down(Exception):
    """What it depends on does not answer."""


class Wrong(Exception):
    """The input is at fault."""


class NovelInput(BaseModel):
    instruction: str
    context: dict[str, dict[str, str] | str | int]
    history: list[dict[str, str | int]]


@macro(name="novel", tier="frontier")
async def novel(request: NovelInput, *, run: Run) -> Echoed:
    """Stand in for a frontier worker."""
    run.used("big", {"prompt_tokens": 7})
    return Echoed(word=request.instruction)


def weak(tried: list[str], **promises: Any) -> Any:
    @macro(name="weak", tier="local", fails={Down: fallback, Wrong: reject}, **promises)
    async def handler(request: Word) -> Echoed:
        """Ask what may be down."""
        tried.append(request.word)
        raise Wrong(request.word) if request.word == "wrong" else Down("no answer")

    return handler


# --- the fallback


async def test_a_task_that_falls_back_completes_as_novel_under_its_own_id(ground: Ground) -> None:
    async with (
        ground.router(WITH_NOVEL),
        ground.worker(registry_of(weak([]))),
        ground.worker(registry_of(novel), replica="f1", tiers=["frontier"]),
    ):
        result = await ground.run_task("weak", {"word": "x"}, tier="local")
    assert (result.status, result.worker_type) == ("completed", "novel")
    assert result.output == {"word": 'Ask what may be down.\nInput: {"word": "x"}'}
    assert (result.model_used, result.token_usage) == ("big", {"prompt_tokens": 7})
    assert len(await ground.all_outcomes()) == 1


async def test_a_fallback_goes_through_the_router_with_its_origin_in_it(ground: Ground) -> None:
    seen: list[TaskMessage] = []

    async def on_task(message: Any) -> None:
        seen.append(decode(TaskMessage, message.data))

    await ground.client.subscribe("heddle.tasks.novel.frontier", cb=on_task)
    async with ground.router(WITH_NOVEL), ground.worker(registry_of(weak([]))):
        task = new_task("weak", {"word": "x"}, tier="local", parent_task_id="goal-7")
        await submit_message(ground.client, task, subjects.TASKS_INCOMING, task_message_id(task))
        await eventually(lambda: _value(seen), bool)
        await ground.empty(subjects.INCOMING)
    [fell] = seen
    assert (fell.task_id, fell.parent_task_id, fell.attempt, fell.hops) == (task.task_id, "goal-7", 1, 2)
    assert fell.metadata["fallback_of"] == task.task_id
    assert fell.payload["history"][0]["error"] == "Down: no answer"
    assert fell.payload["context"] == {"macro": "weak", "version": 1, "input": {"word": "x"}}


async def _value(seen: Any) -> Any:
    return seen


async def test_without_a_rule_for_novel_it_ends_and_the_remedy_says_so(ground: Ground) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(weak([]))):
        result = await ground.run_task("weak", {"word": "x"}, tier="local")
        [letter] = await ground.letters()
    assert result.error == "handler_failed: Down: no answer; the rules have no worker type 'novel' to fall back on"
    assert "add `novel: {tier: frontier}` under `worker_types:`" in letter.remedy


async def test_a_task_falls_back_at_most_once(ground: Ground) -> None:
    tried: list[str] = []
    async with ground.router(WITH_NOVEL), ground.worker(registry_of(weak(tried))):
        task = TaskMessage(task_id="t", worker_type="weak", payload={"word": "x"}, model_tier="local", metadata={"fallback_of": "t"})
        result = await ground.follow(task)
    assert result.error == "handler_failed: Down: no answer; it fell back before"


# --- the breaker


async def test_an_open_circuit_hands_new_tasks_over_untried(ground: Ground) -> None:
    tried: list[str] = []
    guarded = weak(tried, breaker=breaker(failures=2, window=60, cool_down=60))
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(guarded)):
        errors = [(await ground.run_task("weak", {"word": word}, tier="local")).error or "" for word in ("a", "b", "c")]
    assert tried == ["a", "b"]
    assert errors[2].startswith("handler_failed: circuit 'weak' is open after 2 failures within 60 s; not tried")
    assert ground.observer.total(events.CIRCUITS_OPENED) == 1


async def test_rejected_inputs_do_not_open_a_circuit(ground: Ground) -> None:
    tried: list[str] = []
    guarded = weak(tried, breaker=breaker(failures=2, window=60, cool_down=60))
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(guarded)):
        for _ in range(4):
            await ground.run_task("weak", {"word": "wrong"}, tier="local")
    assert tried == ["wrong"] * 4


# --- versions


def version(number: int, **promises: Any) -> Any:
    @macro(name="versioned", version=number, tier="local", **promises)
    async def handler(request: Word) -> Echoed:
        """Say which version it is."""
        return Echoed(word=f"{request.word}{number}")

    return handler


def patient(wait: float) -> Settings:
    return FAST.model_copy(update={"worker": WorkerSettings(slots=64, ack_wait=2.0, grace=2.0, version_wait=wait)})


async def test_a_version_that_only_another_worker_knows_is_left_to_it(ground: Ground) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(version(1)), replica="old", settings=patient(300)):
        following = asyncio.create_task(
            ground.follow(TaskMessage(task_id="t", worker_type="versioned", payload={"word": "v"}, model_tier="local", macro_version=2))
        )
        await eventually(lambda: _value(ground.observer.total(events.TASKS_HANDED_BACK)), lambda count: count >= 1)
        async with ground.worker(registry_of(version(1), version(2)), replica="new", settings=patient(300)):
            result = await following
    assert (result.status, result.output) == ("completed", {"word": "v2"})
    assert result.metadata["macro_version"] == 2


async def test_a_version_that_nobody_announces_ends_after_its_wait(ground: Ground) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(version(1)), settings=patient(0.5)):
        task = TaskMessage(task_id="t", worker_type="versioned", payload={"word": "v"}, model_tier="local", macro_version=9)
        result = await ground.follow(task)
    assert (result.error or "").startswith("unknown_version: versioned version 9 is asked for; this worker reads 1, and no live worker")


async def test_v1_and_v2_side_by_side_leave_no_letter(ground: Ground) -> None:
    @macro(name="versioned", version=2, tier="local")
    async def newer(request: Renamed) -> Echoed:
        """Take another input."""
        return Echoed(word=request.phrase)

    async with (
        ground.router(WITHOUT_NOVEL),
        ground.worker(registry_of(version(1)), replica="old", settings=patient(300)),
        ground.worker(registry_of(version(1), newer), replica="new", settings=patient(300)),
    ):
        tasks = [
            TaskMessage(task_id=f"t{n}", worker_type="versioned", payload=payload, model_tier="local", macro_version=asked)
            for n, (payload, asked) in enumerate([({"word": "a"}, 1), ({"phrase": "b"}, 2), ({"phrase": "c"}, None)] * 10)
        ]
        results = await asyncio.gather(*(ground.follow(task) for task in tasks))
    assert [result.error for result in results if result.error] == []
    assert await ground.waiting(subjects.DEAD) == 0


async def test_a_deprecated_version_is_counted_logged_and_told(ground: Ground) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(version(1, deprecated="until 2027-03"), version(2))):
        results = [
            await ground.follow(
                TaskMessage(task_id=f"t{n}", worker_type="versioned", payload={"word": "v"}, model_tier="local", macro_version=1)
            )
            for n in range(2)
        ]
    assert [result.metadata["deprecated"] for result in results] == ["until 2027-03"] * 2
    assert (ground.observer.total(events.TASKS_DEPRECATED), ground.observer.total(events.DEPRECATED_IN_USE)) == (2, 1)


# --- cancellation and progress


async def test_a_task_that_was_cancelled_is_not_started(ground: Ground) -> None:
    tried: list[str] = []
    async with ground.router(WITHOUT_NOVEL):
        await ground.publish(
            subjects.TASKS_INCOMING, {"task_id": "t", "worker_type": "weak", "payload": {"word": "x"}, "model_tier": "local"}
        )
        await ground.empty(subjects.INCOMING)
    await cancel(ground.client, subjects.cancelled_task(task_hash("t"), 0), "ada@host")
    async with ground.worker(registry_of(weak(tried))):
        (result,) = await ground.outcomes()
    assert (result.error, tried) == ("cancelled: ada@host cancelled it before a worker started it", [])


@pytest.mark.parametrize("whole_goal", [False, True])
async def test_a_task_is_cancelled_while_it_runs(ground: Ground, whole_goal: bool) -> None:
    started = asyncio.Event()

    @macro(name="slow", tier="local")
    async def slow(request: Word) -> Echoed:
        """Take for ever."""
        started.set()
        await asyncio.Event().wait()
        return Echoed(word=request.word)

    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(slow)):
        task = TaskMessage(task_id="t", worker_type="slow", payload={"word": "x"}, model_tier="local", parent_task_id="goal-1")
        following = asyncio.create_task(ground.follow(task))
        await started.wait()
        key = subjects.cancelled_goal("goal-1", 0) if whole_goal else subjects.cancelled_task(task_hash("t"), 0)
        await cancel(ground.client, key, "ada@host")
        result = await following
    assert result.error == "cancelled: ada@host cancelled it while it ran"


async def test_whoever_follows_a_task_hears_how_far_it_is(ground: Ground) -> None:
    @macro(name="slow", tier="local")
    async def slow(request: Word, *, run: Run) -> Echoed:
        """Tell how far it is."""
        run.report("half\udc80")
        await asyncio.sleep(0)
        return Echoed(word=request.word)

    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(slow)):
        task = new_task("slow", {"word": "x"}, tier="local")
        told: list[str] = []
        async with asyncio.timeout(PATIENCE), task_followed(ground.client, task) as steps:
            await submit_message(ground.client, task, subjects.TASKS_INCOMING, task_message_id(task))
            async for step in steps:
                match step:
                    case Reported(text):
                        told.append(text)
                    case Ended(result):
                        assert result.status == "completed"
    assert told == ["half?"]


# --- handlers that misbehave


async def ignore_cancellation() -> Echoed:
    until = time.monotonic() + 2
    while time.monotonic() < until:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(2)
    return Echoed(word="at last")


async def swallow_cancellation() -> Echoed:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(4)
    return Echoed(word="late")


async def be_late() -> Echoed:
    await asyncio.sleep(4)
    return Echoed(word="never")


async def return_another_type() -> Any:
    return Word(word="no Echoed")


def raise_it(error: BaseException) -> Callable[[], Awaitable[Any]]:
    async def raising() -> Any:
        raise error

    return raising


async def return_much() -> Echoed:
    return Echoed(word="x" * (5 << 20))


async def cancel_itself() -> Echoed:
    """As a library may that is older than `asyncio.timeout`."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    raise ZeroDivisionError("a bug, and the Task is still marked as cancelled")


KINDS: dict[str, Callable[[], Awaitable[Any]]] = {
    "ignores its cancellation": ignore_cancellation,
    "swallows its cancellation": swallow_cancellation,
    "is past its deadline": be_late,
    "returns another type": return_another_type,
    "raises SystemExit": raise_it(SystemExit(3)),
    "raises KeyboardInterrupt": raise_it(KeyboardInterrupt()),
    "raises GeneratorExit": raise_it(GeneratorExit()),
    "returns 5 MiB": return_much,
    "has a bug": raise_it(ZeroDivisionError("a bug")),
    "has a bug with half a letter": raise_it(ZeroDivisionError("\udc80")),
    "leaves its Task marked as cancelled": cancel_itself,
}


def odd(kind: str, **promises: Any) -> Any:
    @macro(name="odd", tier="local", timeout=0.3, **promises)
    async def handler(request: Word) -> Echoed:
        """Misbehave."""
        return cast("Echoed", await KINDS[kind]())

    return handler


MISBEHAVIOUR = {
    "ignores its cancellation": "timed_out: not finished after 0.3 s, and it does not heed its cancellation",
    "swallows its cancellation": "timed_out: not finished after 0.3 s",
    "is past its deadline": "timed_out: not finished after 0.3 s",
    "returns another type": "handler_failed: the output breaks the macro's own schema",
    "raises SystemExit": "handler_failed: SystemExit: 3",
    "raises KeyboardInterrupt": "handler_failed: KeyboardInterrupt",
    "raises GeneratorExit": "handler_failed: GeneratorExit",
    "returns 5 MiB": "handler_failed: the output has 5242891 bytes; at most 921600 fit",
    "has a bug": "handler_failed: ZeroDivisionError: a bug",
    "has a bug with half a letter": "handler_failed: ZeroDivisionError: ?",
    "leaves its Task marked as cancelled": "handler_failed: ZeroDivisionError: a bug",
}


@macro(tier="local")
async def echo(request: Word) -> Echoed:
    """Be a neighbour."""
    return Echoed(word=request.word)


@pytest.mark.parametrize("kind", MISBEHAVIOUR)
async def test_a_handler_that_misbehaves_ends_once_and_its_neighbours_complete(ground: Ground, kind: str) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(odd(kind), echo)):
        bad, *good = await asyncio.gather(
            ground.run_task("odd", {"word": "x"}, tier="local"), *(ground.run_task("echo", {"word": "y"}, tier="local") for _ in range(10))
        )
        after = await ground.run_task("echo", {"word": "z"}, tier="local")
        letters = await ground.letters()
    assert (bad.error or "").startswith(MISBEHAVIOUR[kind])
    assert [one.status for one in (*good, after)] == ["completed"] * 11
    assert len(letters) == 1


async def test_a_cancellation_that_a_handler_swallowed_is_not_the_next_ones(ground: Ground) -> None:
    """A lane goes on with other tasks, and their own CancelledErrors are errors like any other."""
    started = asyncio.Event()

    @macro(name="slow", tier="local")
    async def stubborn(request: Word) -> Echoed:
        """Swallow a cancellation."""
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Echoed(word=request.word)

    @macro(name="odd", tier="local")
    async def waiting(request: Word) -> Echoed:
        """Wait for what somebody else gave up."""
        given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        given_up.cancel()
        await given_up
        return Echoed(word=request.word)

    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(stubborn, waiting)):
        task = TaskMessage(task_id="t", worker_type="slow", payload={"word": "x"}, model_tier="local")
        following = asyncio.create_task(ground.follow(task))
        await started.wait()
        await cancel(ground.client, subjects.cancelled_task(task_hash("t"), 0), "ada@host")
        assert ((await following).error or "").startswith("cancelled: ")
        after = await asyncio.gather(*(ground.run_task("odd", {"word": "y"}, tier="local") for _ in range(3)))
    assert {one.error for one in after} == {"handler_failed: CancelledError"}


async def test_a_handler_that_cancels_its_own_task_leaves_the_worker_serving_and_its_task_with_the_broker(ground: Ground) -> None:
    runs: list[str] = []

    @macro(name="odd", tier="local")
    async def ending(request: Word) -> Echoed:
        """Cancel itself, the first time."""
        runs.append(request.word)
        if len(runs) == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
        return Echoed(word=request.word)

    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(ending)):
        result = await ground.run_task("odd", {"word": "x"}, tier="local")
    assert (result.status, runs) == ("completed", ["x", "x"])


@pytest.mark.parametrize("said", [("m\udc80", {}), ("m", {"tokens": object()})], ids=["half a letter", "no JSON"])
async def test_a_model_told_of_in_what_is_no_json_is_a_bug_of_the_handler(ground: Ground, said: tuple[str, dict[str, Any]]) -> None:
    @macro(name="odd", tier="local")
    async def telling(request: Word, *, run: Run) -> Echoed:
        """Tell of a model."""
        run.used(*said)
        return Echoed(word=request.word)

    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(telling)):
        result = await ground.run_task("odd", {"word": "x"}, tier="local")
    assert (result.error or "").startswith("handler_failed: ")


@pytest.mark.parametrize("kind", ["is past its deadline", "ignores its cancellation"])
async def test_a_deadline_is_retried_only_if_the_macro_names_timeout_error(ground: Ground, kind: str) -> None:
    promising = odd(kind, fails={TimeoutError: retry(times=1, backoff=0.0)})
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(promising)):
        result = await ground.run_task("odd", {"word": "x"}, tier="local")
    assert ground.observer.total(events.TASKS_RETRIED) == 1
    assert "timed_out" in (result.error or "")


async def test_the_traceback_of_a_bug_is_in_its_letter_and_not_in_its_result(ground: Ground) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(odd("has a bug"))):
        result: TaskResult = await ground.run_task("odd", {"word": "x"}, tier="local")
        [letter] = await ground.letters()
    assert "ZeroDivisionError: a bug" in (letter.traceback or "")
    assert "Traceback" not in result.model_dump_json()


async def test_a_declared_failure_has_no_traceback_in_its_letter(ground: Ground) -> None:
    async with ground.router(WITHOUT_NOVEL), ground.worker(registry_of(weak([]))):
        await ground.run_task("weak", {"word": "wrong"}, tier="local")
        [letter] = await ground.letters()
    assert letter.traceback is None


# --- fixtures


async def test_a_macro_whose_fixture_does_not_hold_is_not_served_and_the_others_are(ground: Ground, tmp_path: Path) -> None:
    folder = tmp_path / "vetted"
    for name, expected in (("good", "tea"), ("bad", "coffee")):
        (folder / "fixtures" / name).mkdir(parents=True)
        (folder / "fixtures" / name / "tea.yaml").write_text(f"input: {{word: tea}}\noutput: {{word: {expected}}}\n")
    (folder / "macros.py").write_text(
        "from pydantic import BaseModel\nfrom heddle import macro\n\n\nclass Word(BaseModel):\n    word: str\n\n\n"
        + "".join(
            f'@macro(tier="local")\nasync def {name}(request: Word) -> Word:\n    """Say it."""\n    return request\n\n\n'
            for name in ("good", "bad")
        )
    )
    rules = WITHOUT_NOVEL + "  good: {}\n  bad: {}\n"
    async with ground.router(rules), ground.worker(load([str(folder)])):
        result = await ground.run_task("good", {"word": "x"}, tier="local")
        [card] = await workers(ground.client)
    assert result.status == "completed"
    assert list(card.types) == ["good"]
    assert ground.observer.total(events.MACRO_WITHHELD) == 1
