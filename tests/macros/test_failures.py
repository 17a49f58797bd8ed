"""What follows from an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.errors import Code
from heddle.macros.failures import LONGEST_WAIT, Again, End, Failure, HandOver, Verdict, breaker, fallback, jitter_of, judge, reject, retry


class Busy(Exception):
    pass


class VeryBusy(Busy):
    pass


FAILS: dict[type[BaseException], Failure] = {Busy: retry(times=3, backoff=2.0), KeyError: reject}


@pytest.mark.parametrize(("attempt", "delay"), [(1, 2.0), (2, 4.0), (3, 8.0)])
def test_every_retry_waits_twice_as_long_as_the_one_before(attempt: int, delay: float) -> None:
    assert judge(Busy(), attempt, FAILS) == Again(delay)


def test_the_five_thousandth_retry_waits_no_longer_than_the_longest() -> None:
    assert judge(Busy(), 5_000, {Busy: retry(times=10_000, backoff=2.0)}) == Again(LONGEST_WAIT)


@pytest.mark.parametrize("attempt", [4, 5, 100])
def test_spent_retries_end_as_handler_failed(attempt: int) -> None:
    assert judge(Busy("still"), attempt, FAILS) == End(Code.HANDLER_FAILED, f"Busy: still (after {attempt} attempts)")


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_rejected_error_ends_at_once(attempt: int) -> None:
    assert judge(KeyError("x"), attempt, FAILS) == End(Code.HANDLER_FAILED, "KeyError: 'x'")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no"), KeyboardInterrupt("no")])
def test_an_error_that_nobody_declared_is_never_retried(error: BaseException) -> None:
    assert judge(error, 1, FAILS) == End(Code.HANDLER_FAILED, f"{type(error).__name__}: no")


def test_an_error_without_words_is_told_by_its_name() -> None:
    assert judge(ValueError(), 1, {}) == End(Code.HANDLER_FAILED, "ValueError")


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ({Busy: retry()}, Again(1.0)),
        ({Busy: retry(), VeryBusy: reject}, End(Code.HANDLER_FAILED, "VeryBusy")),
        ({VeryBusy: reject, Busy: retry()}, End(Code.HANDLER_FAILED, "VeryBusy")),
        ({Exception: reject, VeryBusy: retry()}, Again(1.0)),
    ],
)
def test_the_most_specific_declared_class_decides(fails: dict[type[BaseException], Failure], expected: Verdict) -> None:
    assert judge(VeryBusy(), 1, fails) == expected


def test_a_retry_without_backoff_is_at_once() -> None:
    assert judge(Busy(), 3, {Busy: retry(times=3, backoff=0)}) == Again(0)


@pytest.mark.parametrize(("times", "backoff"), [(0, 1.0), (-1, 1.0), (1, -0.1), (1, float("nan"))])
def test_a_retry_that_makes_no_sense_is_refused(times: int, backoff: float) -> None:
    with pytest.raises(ValueError, match="times must be 1 or more, backoff 0 or more"):
        retry(times=times, backoff=backoff)


class Throttled(Busy):
    def __init__(self, retry_after: Any) -> None:
        super().__init__("throttled")
        self.retry_after = retry_after


@pytest.mark.parametrize(("asked", "delay"), [(30, 30), (30.5, 30.5), (0.5, 2.0), (None, 2.0), ("soon", 2.0), (10**9, 2.0)])
def test_no_retry_comes_before_an_error_says_so(asked: Any, delay: float) -> None:
    assert judge(Throttled(asked), 1, FAILS) == Again(delay)


@given(st.integers(1, 60), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_declared_nor_longer_by_more_than_half(attempt: int, jitter: float) -> None:
    declared = min(2.0 * 2 ** (attempt - 1), LONGEST_WAIT)
    verdict = judge(Busy(), attempt, {Busy: retry(times=60, backoff=2.0)}, jitter)
    assert isinstance(verdict, Again)
    assert declared <= verdict.delay <= declared * 1.5


@given(st.text(), st.integers(1, 100))
def test_the_jitter_of_an_attempt_is_always_the_same_number_from_0_to_1(task_id: str, attempt: int) -> None:
    assert 0 <= jitter_of(task_id, attempt) == jitter_of(task_id, attempt) < 1


def test_tasks_that_failed_together_do_not_come_back_together() -> None:
    assert len({round(jitter_of(f"t{number}", 1), 2) for number in range(100)}) > 50


@pytest.mark.parametrize("attempt", [1, 9])
def test_a_fallback_hands_the_task_over(attempt: int) -> None:
    assert judge(Busy("now"), attempt, {Busy: fallback}) == HandOver("Busy: now")


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"window": 0}, {"cool_down": -1}, {"window": float("nan")}])
def test_a_breaker_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one failure or more, times above 0"):
        breaker(**wrong)
