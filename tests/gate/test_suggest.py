"""What a proposal leaves to a person."""

from __future__ import annotations

from heddle.gate.generalise import generalise
from heddle.gate.mining import mine
from heddle.gate.suggest import suggest
from tests.gate.found import calls, sessions_of


def decisions(*closed: int) -> tuple[str, ...]:
    """What is to be decided of sessions that list issues, and close so many of them."""
    sessions = sessions_of(
        *(
            calls(
                f"s{n}",
                ("Issues.list", {"repository": f"acme/r{n}"}, [{"number": 1000 + 10 * n + one} for one in range(3)]),
                *(("Issues.close", {"repository": f"acme/r{n}", "number": 1000 + 10 * n + one}, None) for one in range(count)),
            )
            for n, count in enumerate(closed)
        )
    )
    (mined,) = mine(sessions, 3)
    return suggest(generalise(mined, sessions), sessions, {}).decisions


def test_a_last_call_that_some_runs_made_again_may_be_a_loop() -> None:
    assert decisions(1, 2, 3, 1) == ("2 of 4 runs called Issues.close again: does it go through a list? Then write the loop",)


def test_a_sequence_that_ends_the_same_everywhere_leaves_nothing_open() -> None:
    assert decisions(1, 1, 1, 1) == ()
