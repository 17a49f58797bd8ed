"""What a proposal leaves to a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from heddle.gate.generalise import generalise
from heddle.gate.mining import mine
from heddle.gate.shapes import shape_from
from heddle.gate.steps import Step
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


class Store(Protocol):
    def put(self, row: str) -> Awaitable[list[str]]: ...

    async def drop(self, row: str, /) -> None: ...


def steps(method: str) -> tuple[Step, ...]:
    """How a macro calls a method of the `Store` that macros have, and another tool."""
    sessions = sessions_of(
        *(calls(f"s{n}", (f"Store.{method}", {"row": f"row-{n}"}, ["a"]), ("Other.get", {"row": f"row-{n}"}, 1)) for n in range(5))
    )
    (mined,) = mine(sessions, 3)
    return suggest(generalise(mined, sessions), sessions, {"Store": Store}).steps


def test_a_method_that_returns_what_is_to_be_awaited_is_awaited_for_what_that_gives() -> None:
    first, _ = steps("put")
    assert (first.tool.known, first.is_async, first.result.text) == (Store, True, "list[str]")


def test_a_tool_that_cannot_be_called_as_the_logs_say_is_another() -> None:
    assert steps("drop")[0].tool.known is None


def test_an_object_whose_keys_are_not_always_there_is_a_mapping_where_nothing_may_be_added() -> None:
    assert shape_from([row(0), row(1)], "row", set(), exact=True).text == "dict[str, str]"
    assert shape_from([row(0), row(1)], "row", set()).text == "Row"


def test_a_whole_number_among_others_stays_one_as_its_fixture_has_it() -> None:
    assert shape_from([1, 2.5], "total", set()).text == "int | float"


def row(number: int) -> dict[str, str]:
    """An object with a key that every other one has."""
    return {"id": f"id-{number}-{number}", **({"note": f"odd {number}"} if number % 2 else {})}


@pytest.mark.parametrize(
    ("result", "passed", "text"),
    [
        (row, lambda n: row(n)["id"], "OtherGetResult"),
        (row, row, "Any"),  # a model would have a note where there was none
        (lambda n: [row(n), "of two sorts"], lambda n: row(n)["id"], "Any"),
    ],
)
def test_a_result_is_a_model_if_a_model_gives_what_is_taken_of_it(
    result: Callable[[int], Any], passed: Callable[[int], Any], text: str
) -> None:
    sessions = sessions_of(
        *(calls(f"s{n}", ("Other.get", {"row": n}, result(n)), ("Other.put", {"value": passed(n)}, None)) for n in range(5))
    )
    (mined,) = mine(sessions, 3)
    assert suggest(generalise(mined, sessions), sessions, {}).steps[0].result.text == text
