"""What of a plan is not simply what its goal says."""

from __future__ import annotations

from heddle.planning.drift import Drift, drift_of
from heddle.planning.plan import Review, Value


def test_a_plan_that_says_what_its_goal_says_does_not_drift() -> None:
    assert not drift_of(Review((), (Value("a", "count", 3, 3, "goal"), Value("a", "repository", None, ".", "given"))))


def test_every_drift_is_counted_by_macro_field_and_kind() -> None:
    values = (
        Value("a", "window", "two weeks", 14, "goal"),
        Value("a", "window", "a day", 1, "goal"),
        Value("a", "order", "newest", "newest", "ungrounded"),
    )
    found = drift_of(Review((), values, defaulted=(("a", "count"),), uncovered=("#12", "README.md")))
    assert found == {
        Drift("a", "window", "coerced"): 2,
        Drift("a", "order", "ungrounded"): 1,
        Drift("a", "count", "defaulted"): 1,
        Drift("", "", "uncovered"): 2,
    }


def test_values_inside_a_field_count_for_the_field_whatever_their_positions_and_keys() -> None:
    values = (
        Value("a", "columns.0", "newest", "newest", "ungrounded"),
        Value("a", "columns.12", "oldest", "oldest", "ungrounded"),
        Value("a", "options.a user's key", "two weeks", 14, "goal"),
    )
    assert drift_of(Review((), values)) == {Drift("a", "columns", "ungrounded"): 2, Drift("a", "options", "coerced"): 1}
