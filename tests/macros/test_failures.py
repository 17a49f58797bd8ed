"""What follows from an error."""

from __future__ import annotations

import pytest

from heddle.errors import Code
from heddle.macros.failures import Again, End, Failure, Verdict, judge, reject, retry


class Busy(Exception):
    pass


class VeryBusy(Busy):
    pass


FAILS: dict[type[BaseException], Failure] = {Busy: retry(times=3, backoff=2.0), KeyError: reject}


@pytest.mark.parametrize(("attempt", "delay"), [(1, 2.0), (2, 4.0), (3, 8.0)])
def test_every_retry_waits_twice_as_long_as_the_one_before(attempt: int, delay: float) -> None:
    assert judge(Busy(), attempt, FAILS) == Again(delay)


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


@pytest.mark.parametrize(("times", "backoff"), [(0, 1.0), (-1, 1.0), (1, -0.1)])
def test_a_retry_that_makes_no_sense_is_refused(times: int, backoff: float) -> None:
    with pytest.raises(ValueError, match="times must be 1 or more, backoff 0 or more"):
        retry(times=times, backoff=backoff)
