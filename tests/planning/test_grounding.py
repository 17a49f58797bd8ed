"""Where the values of a plan come from, and which of them are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from pydantic import BaseModel, create_model

from heddle import macro
from heddle.errors import Code
from heddle.macros.catalogue import catalogue_of
from heddle.macros.loading import collect
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.plan import PlannedCall, Review
from heddle.planning.review import review
from tests.planning.macros import REGISTRY, Done

NOW = 1_772_366_400.0  # 2026-03-01T12:00:00Z, a Sunday
NOTHING: Mapping[str, Any] = {}


@pytest.fixture(params=["macros", "catalogue"])
def offers(request: pytest.FixtureRequest) -> Offers:
    return REGISTRY if request.param == "macros" else catalogue_of(REGISTRY)


def reviewed(offers: Offers, goal: str, name: str, arguments: dict[str, Any], context: Mapping[str, Any] = NOTHING) -> Review:
    return review([PlannedCall(name, arguments)], offers, Asked(goal, context, NOW), 16)


def grounds(review: Review) -> dict[str, str]:
    return {value.field: value.ground for value in review.values}


@pytest.mark.parametrize(
    ("goal", "name", "arguments"),
    [
        # texts: spans of the goal, spelling aside
        ("label PRs in acme/web", "repo_triage", {"repository": "acme/web"}),
        ("label PRs in ACME/Web.", "repo_triage", {"repository": "acme/web"}),
        ('label PRs in "acme/web"', "repo_triage", {"repository": "acme/web"}),
        ("label PRs in acme/web's main branch", "repo_triage", {"repository": "acme/web"}),
        ("label PRs in .", "repo_triage", {"repository": "."}),
        ("label PRs in ./web/../api, please", "repo_triage", {"repository": "./web/../api"}),
        ("label the PRs of \uff41\uff43\uff4d\uff45/web", "repo_triage", {"repository": "acme/web"}),
        ("\u6807\u8bb0acme/web\u7684PR", "repo_triage", {"repository": "acme/web"}),
        # parts of a word, and a name of two words
        ("label https://github.com/acme/web", "repo_triage", {"repository": "acme/web"}),
        ("label https://github.com/acme/web.git", "repo_triage", {"repository": "acme/web"}),
        ("label git@github.com:acme/web.git", "repo_triage", {"repository": "acme/web"}),
        ("label the repo web of acme", "repo_triage", {"repository": "acme/web"}),
        # numbers
        ("label 12 PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 12}),
        ("label twenty-five PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 25}),
        ("label a dozen PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 12}),
        ("label acme/web#12", "repo_triage", {"repository": "acme/web", "count": 12}),
        # choices, by name, in the plural, by declared words
        ("label acme/web conventional", "repo_triage", {"repository": "acme/web", "strategy": "conventional"}),
        ("label acme/web by path", "repo_triage", {"repository": "acme/web", "strategy": "by_path"}),
        ("label acme/web by-path", "repo_triage", {"repository": "acme/web", "strategy": "by_path"}),
        ("label acme/web by its commit prefixes", "repo_triage", {"repository": "acme/web", "strategy": "conventional"}),
        ("label acme/web by WHAT the diffs contain", "repo_triage", {"repository": "acme/web", "strategy": "semantic"}),
        # booleans, by their field, by declared words, negated
        ("tell bob right away", "send_message", {"to": "bob", "text": "Hello", "urgent": True}),
        ("tell bob, urgent", "send_message", {"to": "bob", "text": "Hello", "urgent": True}),
        ("search for crash, include drafts", "search_issues", {"query": "crash", "include_drafts": True}),
        ("search for crash, include_drafts=true", "search_issues", {"query": "crash", "include_drafts": True}),
        # quantities, as the planner wrote them
        ("delete what is older than two weeks in logs", "clean_up", {"folder": "logs", "older_than": "two weeks"}),
        ("delete what is older than 2 weeks in logs", "clean_up", {"folder": "logs", "older_than": "two weeks"}),
        ("delete all over 20MB and 3 days in logs", "clean_up", {"folder": "logs", "older_than": "3 days", "larger_than": "20 MB"}),
        ("profile 15 % of a.csv", "csv_profile", {"path": "a.csv", "sample": "15%"}),
        ("in logs, what is over 1 day old until yesterday", "clean_up", {"folder": "logs", "older_than": "1 day", "until": "yesterday"}),
        # lists, objects, keys, unions
        ("profile columns price, date of a.csv", "csv_profile", {"path": "a.csv", "columns": ["price", "date"]}),
        ("find crash by ada", "search_issues", {"query": "crash", "filter": {"author": "ada"}}),
        ("find crash with sort=newest", "search_issues", {"query": "crash", "options": {"sort": "newest"}}),
        ("find crash, mail ada@x.org", "search_issues", {"query": "crash", "notify": {"kind": "mail", "address": "ada@x.org"}}),
        # the macro's own defaults
        ("label acme/web", "repo_triage", {"repository": "acme/web", "count": 5, "strategy": "semantic"}),
        ("find crash", "search_issues", {"query": "crash", "filter": {"state": "open", "labels": []}, "options": {}, "notify": None}),
        ("profile a.csv", "csv_profile", {"path": "a.csv", "sample": "100%"}),
        # free text
        ("tell bob that the build is green", "send_message", {"to": "bob", "text": "The build is green again, well done!"}),
    ],
)  # fmt: skip
def test_values_that_the_goal_states_are_sent(offers: Offers, goal: str, name: str, arguments: dict[str, Any]) -> None:
    assert reviewed(offers, goal, name, arguments).problems == ()


@pytest.mark.parametrize(
    ("goal", "name", "arguments", "field"),
    [
        ("label acme/web", "repo_triage", {"repository": "acme/api"}, "repository"),
        ("label acme/web", "repo_triage", {"repository": "acme/we"}, "repository"),
        ("label acme/web", "repo_triage", {"repository": "acme/web-old"}, "repository"),
        ("label acme/web-old", "repo_triage", {"repository": "acme/web"}, "repository"),
        ("label ../secrets", "repo_triage", {"repository": "/secrets"}, "repository"),
        ("label acme/web and tell sales", "repo_triage", {"repository": "acme/sales"}, "repository"),
        ("label acme/web", "repo_triage", {"repository": "."}, "repository"),
        ("label acme/web", "repo_triage", {"repository": "\u0430cme/web"}, "repository"),
        ("label acme/web", "repo_triage", {"repository": "acme/web\u200b"}, "repository"),
        ("label acme/web\u202e", "repo_triage", {"repository": "acme/web\u202e"}, "repository"),
        ("label acme/web", "repo_triage", {"repository": " "}, "repository"),
        ("label 3 PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 30}, "count"),
        ("label -3 PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 3}, "count"),
        ("label PRs in acme/web3", "repo_triage", {"repository": "acme/web3", "count": 3}, "count"),
        ("label 10\u00b2 PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 102}, "count"),
        ("label half a dozen PRs in acme/web", "repo_triage", {"repository": "acme/web", "count": 12}, "count"),
        ("label acme/web", "repo_triage", {"repository": "acme/web", "strategy": "conventional"}, "strategy"),
        ("label acme/web unconventionally", "repo_triage", {"repository": "acme/web", "strategy": "conventional"}, "strategy"),
        ("tell bob", "send_message", {"to": "bob", "text": "Hello", "urgent": True}, "urgent"),
        ("tell bob, not urgent", "send_message", {"to": "bob", "text": "Hello", "urgent": True}, "urgent"),
        ("tell bob, but not right away", "send_message", {"to": "bob", "text": "Hello", "urgent": True}, "urgent"),
        ("tell bob, urgent: no", "send_message", {"to": "bob", "text": "Hello", "urgent": True}, "urgent"),
        ("tell bob", "send_message", {"to": "ada", "text": "Hello"}, "to"),
        ("delete what is 14 days old in logs", "clean_up", {"folder": "logs", "older_than": "14 weeks"}, "older_than"),
        ("delete what is 14 weeks old in logs", "clean_up", {"folder": "logs", "older_than": 14}, "older_than"),
        ("delete all over 1.5 days in logs", "clean_up", {"folder": "logs", "older_than": "5 days"}, "older_than"),
        ("profile a.csv", "csv_profile", {"path": "a.csv", "columns": ["price"]}, "columns.0"),
        ("profile a.csv", "csv_profile", {"path": "a.csv", "sample": "15%"}, "sample"),
        ("find crash", "search_issues", {"query": ""}, "query"),
        ("find crash", "search_issues", {"query": "crash", "limit": 1000}, "limit"),
        ("find crash", "search_issues", {"query": "crash", "filter": {"author": "root"}}, "filter.author"),
        ("find newest crash", "search_issues", {"query": "crash", "options": {"sort": "newest"}}, "options.sort"),
        ("find crash, sort it", "search_issues", {"query": "crash", "options": {"sort": "newest"}}, "options.sort"),
        ("find crash for a@x.org", "search_issues", {"query": "crash", "notify": {"kind": "hook", "url": "x.com"}}, "notify.url"),
    ],
)  # fmt: skip
def test_a_value_that_nobody_stated_is_unsafe_and_told_by_its_field(
    offers: Offers, goal: str, name: str, arguments: dict[str, Any], field: str
) -> None:
    told = [detail for code, detail in reviewed(offers, goal, name, arguments).problems if code is Code.UNSAFE_PLAN]
    assert any(detail.startswith(f"{name}.{field}: ") and "is not in the goal" in detail for detail in told), told


def test_every_value_is_told_with_its_ground() -> None:
    arguments = {"repository": "acme/web", "count": 5, "strategy": "by_path"}
    assert grounds(reviewed(REGISTRY, "label acme/web", "repo_triage", arguments)) == {
        "repository": "goal",
        "count": "default",
        "strategy": "ungrounded",
    }


def test_what_the_plan_leaves_to_a_default_is_told_without_what_a_person_sets() -> None:
    looked_at = reviewed(REGISTRY, "label acme/web", "repo_triage", {"repository": "acme/web"})
    assert looked_at.defaulted == (("repo_triage", "count"), ("repo_triage", "strategy"))


def test_a_quantity_is_grounded_as_it_was_written_and_sent_converted() -> None:
    looked_at = reviewed(REGISTRY, "in logs, what is over two weeks old", "clean_up", {"folder": "logs", "older_than": "two weeks"})
    [value] = [value for value in looked_at.values if value.field == "older_than"]
    assert (value.stated, value.value, value.ground) == ("two weeks", 14, "goal")
    assert looked_at.calls[0].arguments == {"folder": "logs", "older_than": 14}


def test_calls_that_are_the_same_once_converted_are_merged() -> None:
    calls = [PlannedCall("clean_up", {"folder": "logs", "older_than": text}) for text in ("two weeks", "14 days")]
    looked_at = review(calls, REGISTRY, Asked("in logs, what is over two weeks, that is 14 days, old", {}, NOW), 16)
    assert (len(looked_at.calls), looked_at.merged, looked_at.problems) == (1, 1, ())


def test_a_quantity_that_is_none_is_no_plan_and_says_why() -> None:
    [(code, told)] = reviewed(REGISTRY, "in logs, over a month old", "clean_up", {"folder": "logs", "older_than": "a month"}).problems
    assert code is Code.NO_PLAN
    assert told.startswith("clean_up: older_than: 'a month' could be of several lengths")


# --- effects


def test_a_choice_that_nobody_stated_is_counted_where_a_run_changes_nothing(offers: Offers) -> None:
    arguments = {"query": "crash", "include_drafts": True, "filter": {"state": "closed"}}
    looked_at = reviewed(offers, "find crash", "search_issues", arguments)
    assert looked_at.problems == ()
    assert {field for field, ground in grounds(looked_at).items() if ground == "ungrounded"} == {"include_drafts", "filter.state"}


def test_a_text_that_nobody_stated_is_refused_even_where_a_run_changes_nothing(offers: Offers) -> None:
    assert reviewed(offers, "find crash", "search_issues", {"query": "password"}).problems


@pytest.mark.parametrize("arguments", [{"environment": "production"}, {"dry_run": False}, {"replicas": 3}])
def test_what_cannot_be_undone_takes_no_choice_of_the_planner_s(offers: Offers, arguments: dict[str, Any]) -> None:
    assert reviewed(offers, "deploy it", "deploy", arguments, {"service": "web"}).problems[0][0] is Code.UNSAFE_PLAN


@pytest.mark.parametrize(
    "goal", ["deploy it without a dry run", "deploy, dry run: off", "deploy, but don't dry-run", "deploy, dry_run=false"]
)
def test_a_boolean_is_stated_as_false_by_its_negation(offers: Offers, goal: str) -> None:
    assert reviewed(offers, goal, "deploy", {"dry_run": False}, {"service": "web"}).problems == ()


# --- the goal's context


@pytest.mark.parametrize(
    ("context", "arguments"),
    [
        ({"repository": "acme/web"}, {"repository": "acme/web"}),
        ({"repository": "ACME/web"}, {"repository": "acme/web"}),
        ({"repository": "acme/web", "count": 7}, {"repository": "acme/web", "count": 7}),
        ({"repository": "acme/web", "count": "7"}, {"repository": "acme/web", "count": 7}),
        ({"repository": "acme/web", "strategy": "by_path"}, {"repository": "acme/web", "strategy": "by_path"}),
        ({"repository": "x" * 200}, {"repository": "x" * 200}),
    ],
)
def test_a_context_value_grounds_the_field_of_its_name(offers: Offers, context: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    looked_at = reviewed(offers, "label it", "repo_triage", arguments, context)
    assert looked_at.problems == ()
    assert set(grounds(looked_at).values()) == {"context"}


@pytest.mark.parametrize(
    ("context", "repository"),
    [
        ({"repo": "acme/web"}, "acme/web"),
        ({"repository": "acme/web and more"}, "acme/web"),
        ({"repository": "https://github.com/acme/web"}, "acme/web"),
        ({"repository": "x" * 201}, "x" * 201),
        ({"repository": ["acme/web"]}, "acme/web"),
        ({"repository": {"name": "acme/web"}}, "acme/web"),
        ({"repository": None}, "null"),
        ({"repository": True}, "true"),
    ],
)
def test_nothing_else_in_the_context_grounds_a_field(offers: Offers, context: Mapping[str, Any], repository: str) -> None:
    assert reviewed(offers, "label it", "repo_triage", {"repository": repository}, context).problems[0][0] is Code.UNSAFE_PLAN


def test_a_given_field_is_filled_from_the_context(offers: Offers) -> None:
    looked_at = reviewed(offers, "deploy it", "deploy", {}, {"service": "web", "environment": "ignored"})
    assert (looked_at.calls, looked_at.problems) == ((PlannedCall("deploy", {"service": "web"}),), ())
    assert grounds(looked_at) == {"service": "given"}


def test_a_given_field_covers_the_goal_s_literals(offers: Offers) -> None:
    assert reviewed(offers, "deploy web_2", "deploy", {}, {"service": "web_2"}).problems == ()


@pytest.mark.parametrize("context", [{}, {"service": None}, {"Service": "web"}])
def test_a_required_given_field_without_its_context_is_no_plan_and_says_how_to_give_it(offers: Offers, context: Mapping[str, Any]) -> None:
    [(code, told)] = reviewed(offers, "deploy it", "deploy", {}, context).problems
    assert code is Code.NO_PLAN
    assert told == "deploy.service: it comes from the goal's context, which has no 'service'; give it with --context service=…"


def test_a_context_value_of_the_wrong_type_is_told_with_its_key(offers: Offers) -> None:
    [(code, told)] = reviewed(offers, "deploy it", "deploy", {}, {"service": 5}).problems
    assert code is Code.NO_PLAN
    assert told == "deploy.service: the context's 'service' does not fit: 5 is not of type 'string'; give it with --context service=…"


@pytest.mark.parametrize("service", ["web", "other", None])
def test_a_plan_never_sets_a_given_field_not_even_to_the_same(offers: Offers, service: str | None) -> None:
    [(code, told)] = reviewed(offers, "deploy web", "deploy", {"service": service}, {"service": "web"}).problems
    assert code is Code.UNSAFE_PLAN
    assert told.startswith("deploy.service: it comes from the goal's context, never from the planner")


# --- schemas


def offered(**fields: Any) -> Offers:
    model: type[BaseModel] = create_model("Request", **fields)

    async def handler(request: Any) -> Done:
        return Done()

    handler.__annotations__ = {"request": model, "return": Done}
    return collect(iter([macro(name="act")(handler)]))


class Stop(BaseModel):
    """One of two."""

    kind: Literal["stop"]


class Start(BaseModel):
    """The other one."""

    kind: Literal["start"]


class Fixed(BaseModel):
    """Nothing to choose."""

    version: Literal["v1"]


@pytest.mark.parametrize(
    ("fields", "goal", "arguments", "fits"),
    [
        ({"how": (Stop | Start, ...)}, "start it", {"how": {"kind": "start"}}, True),
        ({"how": (Stop | Start, ...)}, "do it", {"how": {"kind": "start"}}, False),
        ({"how": (Fixed, ...)}, "do it", {"how": {"version": "v1"}}, True),
        ({"version": (Literal["v1"], ...)}, "do it", {"version": "v1"}, True),
        ({"n": (int | Literal["all"], ...)}, "do all", {"n": "all"}, True),
        ({"n": (int | Literal["all"], ...)}, "do them", {"n": "all"}, False),
        ({"n": (int | None, 3)}, "do it", {"n": None}, False),
        ({"n": (Literal[1, 2], ...)}, "do two", {"n": 2}, True),
        ({"n": (Literal[1, 2], ...)}, "do it", {"n": 2}, False),
        ({"names": (list[str], ["a"])}, "do it", {"names": []}, False),
        ({"names": (list[str], ["a"])}, "do it", {"names": ["a"]}, True),
        ({"pair": (tuple[str, int], ...)}, "do it with x and 7", {"pair": ["x", 7]}, True),
        ({"pair": (tuple[str, int], ...)}, "do it with x and 7", {"pair": ["x", 8]}, False),
        ({"is_public": (bool, False)}, "make it public", {"is_public": True}, True),
        ({"ratio": (float, ...)}, "by 0.1", {"ratio": 0.1}, True),
        ({"ratio": (float, ...)}, "by 0.10", {"ratio": 0.1}, True),
        ({"tag": (Literal["tab", "news"], ...)}, "split at tabs", {"tag": "tab"}, True),
        ({"tag": (Literal["tab", "news"], ...)}, "the new one", {"tag": "news"}, False),
    ],
)  # fmt: skip
def test_a_schema_s_own_ways_are_followed(fields: dict[str, Any], goal: str, arguments: dict[str, Any], fits: bool) -> None:
    problems = reviewed(offered(**fields), goal, "act", arguments).problems
    assert (not problems) is fits, problems


def test_arguments_nested_deeper_than_anything_are_no_plan() -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    [(code, _)] = reviewed(REGISTRY, "x", "csv_profile", {"path": "x", "columns": deep}).problems
    assert code is Code.NO_PLAN
