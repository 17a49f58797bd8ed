"""From sessions to patterns: which calls belong together, what their arguments are, and how they failed."""

from __future__ import annotations

from typing import Any

import pytest

from heddle.gate.generalise import generalise
from heddle.gate.kinds import kind_of
from heddle.gate.mining import mine
from heddle.gate.patterns import EACH, Constant, Entries, Fields, Given, Items, Pattern, Result, Text
from heddle.gate.sessions import Call
from tests.gate.found import calls, sessions_of

IDS = ["a1b2c3d4e5f6", "0f1e2d3c4b5a", "77aa88bb99cc", "deadbeef0123", "5566778899aa"]
REPOSITORIES = ["acme/web", "acme/billing", "acme/docs", "acme/infra", "acme/mobile"]

Made = tuple[str, dict[str, Any], Any]


class Busy(Exception):
    """May pass."""


def latest(number: int) -> Made:
    return ("Forge.latest", {"repository": REPOSITORIES[number], "count": number + 1}, [{"id": IDS[number], "title": f"Title {number}"}])


def annotate(number: int, **more: Any) -> Made:
    given = {"repository": REPOSITORIES[number], "change": IDS[number], "note": "reviewed", **more}
    return ("Forge.annotate", given, None)


def patterns(*of_sessions: list[Call], min_support: int = 3) -> list[Pattern]:
    sessions = sessions_of(*of_sessions)
    return [generalise(one, sessions) for one in mine(sessions, min_support)]


def the_pattern(*of_sessions: list[Call]) -> Pattern:
    (pattern,) = patterns(*of_sessions)
    return pattern


def in_each(*steps: Any) -> list[list[Call]]:
    """Five sessions that make the same calls, each with its own number."""
    return [calls(f"s{number}", *(step(number) for step in steps)) for number in range(5)]


def test_what_three_sessions_do_is_found_and_what_two_do_is_not() -> None:
    some = in_each(latest, annotate)
    assert [one.name for one in patterns(*some[:3])] == ["Forge.latest > Forge.annotate"]
    assert not patterns(*some[:2])


def test_one_session_that_does_it_often_is_one_session() -> None:
    assert not patterns(calls("s", *(step(number) for number in range(5) for step in (latest, annotate))))


def test_constants_parameters_and_results_are_told_apart() -> None:
    first, second = the_pattern(*in_each(latest, annotate)).calls
    assert first.arguments == {"repository": Given("repository"), "count": Given("count")}
    assert second.arguments == {"repository": Given("repository"), "change": Result(0, (0, "id")), "note": Constant("reviewed")}


def test_calls_that_do_not_depend_on_each_other_may_come_in_any_order() -> None:
    def post(number: int) -> Made:
        return ("Chat.post", {"text": f"newest: {IDS[number]}"}, {"ok": True})

    some = [calls(f"s{n}", latest(n), *((annotate(n), post(n)) if n % 2 else (post(n), annotate(n)))) for n in range(5)]
    assert the_pattern(*some).support == 5


def test_calls_between_that_have_nothing_to_do_with_it_are_no_part_of_it() -> None:
    def between(number: int) -> Made:
        return [("Clock.now", {}, "noon"), ("Web.search", {"query": f"q{number}"}, []), ("Notes.think", {}, None)][number % 3]

    assert the_pattern(*[calls(f"s{n}", latest(n), between(n), annotate(n)) for n in range(5)]).name == "Forge.latest > Forge.annotate"


def test_a_session_that_stops_in_the_middle_makes_no_pattern_of_its_own() -> None:
    def comment(number: int) -> Made:
        return ("Tickets.comment", {"key": "WEB-1", "body": f"see {IDS[number]}"}, {"id": number})

    broken = [calls(f"b{number}", latest(number), annotate(number)) for number in range(3)]
    assert the_pattern(*in_each(latest, annotate, comment), *broken).support == 5


def test_a_text_with_a_result_in_it_is_made_of_both() -> None:
    pattern = the_pattern(*in_each(latest, lambda n: annotate(n, note=f"{IDS[n]}: seen, thanks")))
    assert pattern.calls[1].arguments["note"] == Text((Result(0, (0, "id")), ": seen, thanks"))


def test_a_list_and_an_object_with_results_in_them_are_made_of_both() -> None:
    pattern = the_pattern(*in_each(latest, lambda n: annotate(n, labels=["new", IDS[n]], about={"of": IDS[n], "by": "bot"})))
    assert pattern.calls[1].arguments["labels"] == Items((Constant("new"), Result(0, (0, "id"))))
    assert pattern.calls[1].arguments["about"] == Fields({"of": Result(0, (0, "id")), "by": Constant("bot")})


def test_a_list_of_a_constant_and_a_parameter_is_made_of_both() -> None:
    labels = the_pattern(*in_each(latest, lambda n: annotate(n, labels=["new", REPOSITORIES[n]]))).calls[1].arguments["labels"]
    assert labels == Items((Constant("new"), Given("repository")))


def test_an_object_whose_key_is_a_result_is_made_of_it() -> None:
    pattern = the_pattern(*in_each(latest, lambda n: annotate(n, notes={IDS[n]: "labels: fix"})))
    assert pattern.calls[1].arguments["notes"] == Entries(((Result(0, (0, "id")), Constant("labels: fix")),))


def test_one_field_of_every_item_of_a_list_is_seen() -> None:
    def query(number: int) -> Made:
        return ("Store.query", {"where": f"day {number}"}, [{"row": f"row-{number}-{one}"} for one in range(number + 1)])

    def delete(number: int) -> Made:
        return ("Store.delete", {"rows": [f"row-{number}-{one}" for one in range(number + 1)]}, None)

    assert the_pattern(*in_each(query, delete)).calls[1].arguments["rows"] == Result(0, (EACH, "row"))


def test_an_item_that_somebody_chose_is_a_parameter_and_is_told() -> None:
    def search(number: int) -> Made:
        return ("Mail.search", {"sender": f"p{number}@acme.example"}, [{"id": f"mail-{number}{one}"} for one in range(5)])

    pattern = the_pattern(*in_each(search, lambda n: ("Mail.read", {"id": f"mail-{n}{n}"}, {"text": "hello"})))
    assert pattern.calls[1].arguments["id"] == Given("id")
    assert pattern.parameters[-1].chosen == Result(0, (EACH, "id"))


def test_an_argument_that_some_runs_leave_out_is_told() -> None:
    some = in_each(latest, annotate)
    del some[0][1].arguments["note"]
    assert the_pattern(*some).calls[1].optional == {"note"}


def test_a_call_that_fails_and_is_made_again_is_a_failure_that_passed() -> None:
    some = [calls(f"s{n}", latest(n), (*annotate(n)[:2], Busy("later")), annotate(n)) for n in range(5)]
    (failure,) = the_pattern(*some).failures
    assert (failure.call, failure.type, failure.times, failure.passed) == (1, "Busy", 5, 5)


def test_a_failure_that_ends_a_session_is_kept_with_the_calls_before_it() -> None:
    ended = calls("bad", latest(0), (*annotate(0)[:2], Busy("no")))
    (failure,) = the_pattern(*in_each(latest, annotate), ended).failures
    assert (failure.times, failure.passed, failure.runs[0].calls) == (1, 0, (0, 1))


def test_a_parameter_that_goals_state_is_told_from_one_that_they_do_not() -> None:
    some = [calls(f"s{n}", latest(n), annotate(n), goal=f"review the newest of {REPOSITORIES[n]}") for n in range(5)]
    assert {one.name: one.stated for one in the_pattern(*some).parameters} == {"repository": 1.0, "count": 0.0}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([True, False], "boolean"),
        ([3, 17, 4], "integer 3 to 17"),
        ([1, 2.5], "number 1 to 2.5"),
        (["open", "done"] * 4, "one of done, open"),
        (["open", "done"], "text"),
        (["a1b2c3d4e5f6", "0f1e2d3c4b5a"], "id ^[0-9a-f]{7,64}$"),
        (["WEB-12", "CHK-9"], "id ^[A-Z][A-Z0-9]+-[0-9]+$"),
        (["data/orders.csv", "README.md"], "path"),
        (["acme/web", "acme/docs"], "pattern ^[A-Za-z0-9_.-]*/[A-Za-z0-9_.-]*$"),
        (["v1.2.3", "v10.0.1"], "pattern ^v[0-9]+[.][0-9]+[.][0-9]+$"),
        (["some words", "others"], "text"),
        ([["a b"], ["c"]], "list of text"),
        ([1, "a"], "mixed"),
    ],
)
def test_a_parameter_has_the_kind_of_its_values(values: list[Any], told: str) -> None:
    assert str(kind_of(values)) == told
