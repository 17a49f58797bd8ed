"""Token buckets, over any schedule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.router.buckets import Bucket, full, kept_back, ready_at, refilled, take

EPOCH = 1_800_000_000.0
ROUNDING = 1e-6
"""Seconds, and tokens, by which floating-point times near the epoch's 1.8e9 may be off."""
rates = st.floats(0.001, 10_000)
bursts = st.integers(1, 1000)
moments = st.floats(-100, 100).map(lambda offset: EPOCH + offset)


@given(rates, bursts, st.lists(st.tuples(moments, st.integers(0, 5)), max_size=60), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_bucket_never_grants_more_than_its_burst_and_its_rate_times_the_time_that_passed(
    rate: float, burst: int, takes: list[tuple[float, int]], ordered: bool
) -> None:
    schedule = sorted(takes) if ordered else takes
    bucket = full(burst, EPOCH)
    granted = 0
    for moment, kept in schedule:
        left = take(bucket, rate, burst, kept, moment)
        if left is not None:
            granted, bucket = granted + 1, left
    elapsed = max([EPOCH, *(moment for moment, _ in schedule)]) - EPOCH
    assert granted <= burst + rate * elapsed + ROUNDING * (1 + rate)


@given(rates, bursts, st.lists(moments, max_size=40))
@settings(max_examples=50, deadline=None)
def test_a_level_stays_between_nothing_and_the_burst_whatever_the_clock_does(rate: float, burst: int, schedule: list[float]) -> None:
    bucket = full(burst, EPOCH)
    for moment in schedule:
        bucket = take(bucket, rate, burst, 0, moment) or refilled(bucket, rate, burst, moment)
        assert -ROUNDING * (1 + rate) <= bucket.level <= burst


@given(rates, bursts, st.floats(0, 1), st.floats(0, 1000))
@settings(max_examples=50, deadline=None)
def test_a_clock_that_runs_backwards_changes_nothing(rate: float, burst: int, share: float, back: float) -> None:
    bucket = Bucket(share * burst, EPOCH)
    assert refilled(bucket, rate, burst, EPOCH - back) == bucket


def test_time_that_ran_backwards_is_not_paid_twice() -> None:
    spent = Bucket(0.0, EPOCH)
    back = refilled(spent, 1.0, 10, EPOCH - 5)
    assert refilled(back, 1.0, 10, EPOCH + 1).level == 1.0


@given(rates, bursts, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_a_task_that_waits_until_its_token_is_due_gets_it(rate: float, burst: int, share: float, level: float) -> None:
    kept = kept_back(share, burst)
    bucket = Bucket(level * burst, EPOCH)
    assert take(bucket, rate, burst, kept, ready_at(bucket, rate, kept)) is not None


@given(bursts, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_a_take_leaves_what_is_kept(burst: int, share: float, level: float) -> None:
    kept = kept_back(share, burst)
    left = take(Bucket(level * burst, EPOCH), 1.0, burst, kept, EPOCH)
    assert left is None or left.level >= kept - 2 * ROUNDING


@pytest.mark.parametrize(
    ("level", "kept", "granted"), [(1.0, 0, True), (0.99, 0, False), (2.0, 1, True), (1.99, 1, False), (0.0, 0, False), (3.0, 2, True)]
)
def test_a_token_is_taken_only_when_a_whole_one_is_left_above_what_is_kept(level: float, kept: int, granted: bool) -> None:
    assert (take(Bucket(level, EPOCH), 1.0, 10, kept, EPOCH) is not None) is granted


@pytest.mark.parametrize(
    ("share", "burst", "kept"), [(0.5, 20, 9), (0.25, 20, 4), (0.1, 20, 1), (0.5, 3, 1), (1.0, 1, 0), (1.0, 5, 4), (0.0, 9, 0)]
)
def test_what_is_kept_is_the_share_of_the_burst_less_one_rounded_down(share: float, burst: int, kept: int) -> None:
    assert kept_back(share, burst) == kept == math.floor(share * (burst - 1))


def test_a_token_that_is_there_is_due_now() -> None:
    assert ready_at(Bucket(5.0, EPOCH), 1.0, 2) == EPOCH
