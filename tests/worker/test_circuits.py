"""Circuit breakers: closed while all is well, open after enough failures, one trial after each cool-down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from heddle.macros.failures import breaker
from heddle.worker.circuits import CLOSED, Circuit, admit, after_failure, after_success

BREAKER = breaker(failures=3, window=10.0, cool_down=5.0)


def failed_at(*times: float) -> Circuit:
    circuit = CLOSED
    for at in times:
        circuit = after_failure(circuit, BREAKER, at)
    return circuit


def test_a_closed_circuit_lets_everything_through() -> None:
    assert admit(failed_at(1, 2), BREAKER, 3) == failed_at(1, 2)


def test_enough_failures_within_the_window_open_it() -> None:
    assert admit(failed_at(1, 2, 3), BREAKER, 3.1) is None


def test_failures_older_than_the_window_do_not_count() -> None:
    assert admit(failed_at(1, 2, 12), BREAKER, 12.1) is not None


def test_after_the_cool_down_one_task_tries() -> None:
    trial = admit(failed_at(1, 2, 3), BREAKER, 8)
    assert trial is not None
    assert admit(trial, BREAKER, 8.1) is None


def test_a_trial_that_never_reports_back_does_not_keep_it_shut_for_ever() -> None:
    trial = admit(failed_at(1, 2, 3), BREAKER, 8)
    assert trial is not None
    assert admit(trial, BREAKER, 13) is not None


def test_a_trial_that_succeeds_closes_it_and_forgets_the_failures() -> None:
    trial = admit(failed_at(1, 2, 3), BREAKER, 8)
    assert trial is not None
    assert after_success(trial) == CLOSED


def test_a_trial_that_fails_opens_it_anew() -> None:
    trial = admit(failed_at(1, 2, 3), BREAKER, 8)
    assert trial is not None
    again = after_failure(trial, BREAKER, 8.5)
    assert admit(again, BREAKER, 13.4) is None
    assert admit(again, BREAKER, 13.5) is not None


def test_a_success_while_it_is_closed_does_not_hide_the_failures() -> None:
    assert after_success(failed_at(1, 2)) == failed_at(1, 2)


@given(st.lists(st.tuples(st.floats(0.01, 20), st.booleans()), max_size=60))
def test_while_it_is_open_at_most_one_task_passes_per_cool_down(steps: list[tuple[float, bool]]) -> None:
    circuit, now, opened, passed = CLOSED, 0.0, 0.0, 0
    for wait, fails in steps:
        now += wait
        admitted = admit(circuit, BREAKER, now)
        if admitted is None:
            continue
        if circuit.opened is not None:
            passed += 1
            assert passed <= (now - opened) / BREAKER.cool_down + 1e-9
        circuit = after_failure(admitted, BREAKER, now) if fails else after_success(admitted)
        if circuit.opened == now:
            opened, passed = now, 0
