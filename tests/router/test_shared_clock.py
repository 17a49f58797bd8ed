"""The clock by which replicas share a rate is not set back, and otherwise the machine's."""

from __future__ import annotations

import time

import pytest

from heddle.router.shared_clock import SharedClock


@pytest.mark.parametrize(
    ("sets", "ahead"),
    [
        ([0.0], 0.0),
        ([3600.0], 0.0),  # set forward: the windows that come are new
        ([-3600.0], 3600.0),
        ([-0.5, -1.0, -1.5], 0.0),  # each a correction
        ([-3600.0, -1800.0], 1800.0),
        ([-3600.0, 60.0], 0.0),
        ([3600.0, 0.0], 3600.0),
    ],
)
def test_it_is_set_forward_but_not_back(sets: list[float], ahead: float) -> None:
    by = 0.0
    clock = SharedClock(lambda: time.time() + by)
    clock()
    for by in sets:  # noqa: B007  # the clock reads it
        clock()
    assert clock.ahead == pytest.approx(ahead, abs=0.1)
