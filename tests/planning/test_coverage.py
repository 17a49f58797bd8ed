"""What a goal states and no argument of its plan uses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from heddle import macro
from heddle.errors import Code
from heddle.macros.loading import collect
from heddle.macros.marks import given
from heddle.planning.coverage import literals
from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.planning.review import review
from tests.planning.macros import REGISTRY, Done


def uncovered(goal: str, *calls: tuple[str, dict[str, Any]]) -> tuple[str, ...]:
    return review([PlannedCall(*call) for call in calls], REGISTRY, Asked(goal, {"service": "web"}, 0.0), 16).uncovered


@pytest.mark.parametrize(
    ("goal", "found"),
    [
        ("Label 12 PRs of acme/web", ["12", "PRs", "acme/web"]),
        ("label the last three, or twenty-five", ["three", "twenty-five"]),
        ('say "Good morning" to \'Ada Lovelace\'', ['"Good morning"', "'Ada Lovelace'"]),
        ("see https://acme.com/a?b=c, src/main.py and README.md", ["https://acme.com/a?b=c", "src/main.py", "README.md"]),
        ("from 2024-06-01 to v2.1 at 10:30", ["2024-06-01", "v2.1", "10:30"]),
        ("set max_size and fooBar, #12, @ada, --force, a=b, *.csv, C:\\temp", [
            "max_size", "fooBar", "#12", "@ada", "--force", "a=b", "*.csv", "C:\\temp",
        ]),
        ("convert USD to EUR for GitHub", ["USD", "EUR", "GitHub"]),
        # what is none
        ("Please label the newest changes, and do it well!", []),
        ("one of them, zero of those", []),
        ("two-factor and three-way", []),
        ("e.g. this, i.e. that; and/or w/o it, **boldly**", []),
        ("Jean-Luc's mother-in-law doesn't", []),
        ("DO NOT do THIS, it is URGENT", []),
        ("LABEL EVERYTHING NOW", []),
        ("1. label it\n2) profile it\n(3) tell me", []),
        ("label it \u2014 all of it\u2026 please \U0001f64f", []),
        ("\u092b\u093c\u093e\u0907\u0932 \u0926\u0947\u0916\u094b, \u0641\u0627\u06cc\u0644 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", []),
        ("", []),
    ],
)  # fmt: skip
def test_the_literals_of_a_goal(goal: str, found: list[str]) -> None:
    assert sorted(literal.shown for literal in literals(goal)) == sorted(found)


TRIAGE = {"repository": "acme/web"}


@pytest.mark.parametrize(
    ("goal", "calls"),
    [
        ("label 12 PRs in acme/web", [("repo_triage", TRIAGE | {"count": 12})]),
        ("label the last five of acme/web", [("repo_triage", TRIAGE)]),  # five is the default
        ("label acme/web#12", [("repo_triage", TRIAGE | {"count": 12})]),
        ("label https://github.com/acme/web", [("repo_triage", TRIAGE)]),
        ("label https://github.com/acme/web/pull/12", [("repo_triage", TRIAGE | {"count": 12})]),
        ("label git@github.com:acme/web.git on GitHub", [("repo_triage", TRIAGE)]),
        ("run repo_triage for acme/web with count=12", [("repo_triage", TRIAGE | {"count": 12})]),
        ('label acme/web by "commit prefixes"', [("repo_triage", TRIAGE | {"strategy": "conventional"})]),
        ("label the two repositories acme/web and acme/api", [("repo_triage", TRIAGE), ("repo_triage", {"repository": "acme/api"})]),
        ("profile the 2 columns price, date of a.csv in S3", [("csv_profile", {"path": "a.csv", "columns": ["price", "date"]})]),
        ("profile 15% of ./a.csv", [("csv_profile", {"path": "./a.csv", "sample": "15 %"})]),
        ("profile 15 % of ./a.csv", [("csv_profile", {"path": "a.csv", "sample": "15%"})]),
        ("in logs, over 1,000 days old", [("clean_up", {"folder": "logs", "older_than": "1000 days"})]),
        ("deploy web --dry-run with 3 replicas", [("deploy", {"replicas": 3, "dry_run": True})]),
        ('tell #ops "v2.1 is out"', [("send_message", {"to": "#ops", "text": "v2.1 is out"})]),
        ("tell #ops that v2.1 is out", [("send_message", {"to": "#ops", "text": "Version v2.1 is out!"})]),
        ("find crash with sort=newest", [("search_issues", {"query": "crash", "options": {"sort": "newest"}})]),
    ],
)  # fmt: skip
def test_what_an_argument_uses_is_covered(goal: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    looked_at = review([PlannedCall(*call) for call in calls], REGISTRY, Asked(goal, {"service": "web"}, 0.0), 16)
    assert (looked_at.uncovered, looked_at.problems) == ((), ())


@pytest.mark.parametrize(
    ("goal", "calls", "left_out"),
    [
        ("label 12 PRs in acme/web", [("repo_triage", TRIAGE)], ["12"]),
        ("label twelve PRs in acme/web", [("repo_triage", TRIAGE)], ["twelve"]),
        ("label two dozen PRs in acme/web", [("repo_triage", TRIAGE)], ["two dozen"]),
        ("label 3 PRs in acme/web", [("repo_triage", TRIAGE)], ["3"]),
        ("tell bob that v2 is out", [("send_message", {"to": "bob", "text": "v2.1 is out"})], ["v2"]),
        ("label acme/web and acme/api", [("repo_triage", TRIAGE)], ["acme/api"]),
        ("label acme/web and profile data/a.csv", [("repo_triage", TRIAGE)], ["data/a.csv"]),
        ("label acme/web#12", [("repo_triage", TRIAGE)], ["acme/web#12"]),
        ("label https://gitlab.com/acme/web", [("repo_triage", TRIAGE)], ["https://gitlab.com/acme/web"]),
        ("label https://github.com/acme/web/pull/12", [("repo_triage", TRIAGE)], ["https://github.com/acme/web/pull/12"]),
        ("profile ../a.csv", [("csv_profile", {"path": "a.csv"})], ["../a.csv"]),
        ("profile /srv/a.csv", [("csv_profile", {"path": "a.csv"})], ["/srv/a.csv"]),
        ("profile ~/a.csv", [("csv_profile", {"path": "a.csv"})], ["~/a.csv"]),
        ("profile data/a.csv", [("csv_profile", {"path": "a.csv"})], ["data/a.csv"]),
        ('label acme/web as "ready"', [("repo_triage", TRIAGE)], ['"ready"']),
        ("label acme/web with priority=critical", [("repo_triage", TRIAGE)], ["priority=critical"]),
        ("deploy it with environment=production", [("deploy", {})], ["environment=production"]),
        ("label acme/web --force", [("repo_triage", TRIAGE)], ["--force"]),
        ("label acme/web and tell @ada", [("repo_triage", TRIAGE)], ["@ada"]),
        ("label acme/web and open a Jira ticket in OpsRoom", [("repo_triage", TRIAGE)], ["OpsRoom"]),
        ("label acme/web on GitHub and profile a.csv", [("csv_profile", {"path": "a.csv"})], ["acme/web", "GitHub"]),
        ("label acme/web since 2024-06-01", [("repo_triage", TRIAGE)], ["2024-06-01"]),
        ("label the three repositories acme/web and acme/api", [
            ("repo_triage", TRIAGE), ("repo_triage", {"repository": "acme/api"}),
        ], ["three"]),
        ("in logs, over two weeks and three days old", [("clean_up", {"folder": "logs", "older_than": "two weeks"})], ["three"]),
    ],
)  # fmt: skip
def test_what_no_argument_uses_is_unsafe_and_named(goal: str, calls: list[tuple[str, dict[str, Any]]], left_out: list[str]) -> None:
    looked_at = review([PlannedCall(*call) for call in calls], REGISTRY, Asked(goal, {"service": "web"}, 0.0), 16)
    assert looked_at.uncovered == tuple(left_out)
    [(code, told)] = looked_at.problems
    assert code is Code.UNSAFE_PLAN
    assert all(repr(word) in told for word in left_out)


def test_a_goal_in_quotes_is_no_quoted_string() -> None:
    assert uncovered('"label acme/web"', ("repo_triage", TRIAGE)) == ()


def test_a_long_list_of_unused_literals_is_cut() -> None:
    looked_at = review(
        [PlannedCall("repo_triage", TRIAGE)], REGISTRY, Asked(f"label acme/web {' '.join(map(str, range(100, 150)))}", {}, 0.0), 16
    )
    assert len(looked_at.uncovered) == 50
    assert "'107' and 42 more" in looked_at.problems[0][1]


def test_a_goal_that_chains_its_tasks_is_unsafe_and_names_the_remedy() -> None:
    calls = [PlannedCall("repo_triage", TRIAGE), PlannedCall("send_message", {"to": "bob", "text": "the result"})]
    [(code, told)] = review(calls, REGISTRY, Asked("label acme/web, then mail bob the result", {}, 0.0), 16).problems
    assert code is Code.UNSAFE_PLAN
    assert "'mail bob the result'" in told
    assert "a parent macro that calls both (docs/how-to/compose-macros.md)" in told


def test_a_plan_of_one_task_chains_nothing() -> None:
    call = PlannedCall("send_message", {"to": "bob", "text": "the result"})
    assert review([call, call], REGISTRY, Asked("mail bob the result", {}, 0.0), 16).problems == ()


class Export(BaseModel):
    """The input of `export`."""

    path: str
    format: Literal["csv", "json"] = Field("csv", description="CSV or JSON")


@macro
async def export(request: Export) -> Done:
    """Export a table to the DataHub."""
    return Done()


@pytest.mark.parametrize(
    ("goal", "arguments", "left_out"),
    [
        ("export a.db as JSON", {"path": "a.db"}, ("JSON",)),
        ("export a.db as JSON", {"path": "a.db", "format": "json"}, ()),
        ("export a.db as CSV", {"path": "a.db"}, ()),
        ("export a.db to the DataHub", {"path": "a.db"}, ()),
    ],
)
def test_a_word_for_a_choice_is_used_though_the_macro_speaks_of_it(goal: str, arguments: dict[str, Any], left_out: tuple[str, ...]) -> None:
    looked_at = review([PlannedCall("export", arguments)], collect(iter([export])), Asked(goal, {}, 0.0), 16)
    assert looked_at.uncovered == left_out


class Given(BaseModel):
    text: Annotated[str, given("text")]


@macro
async def read_aloud(request: Given) -> Done:
    """Read the text aloud."""
    return Done()


@pytest.mark.parametrize(("text", "left_out"), [("on page 7", ()), ("page 7 " * 10_000, ("7",))], ids=["a line", "a document"])
def test_what_the_context_gives_covers_a_literal_unless_it_is_a_document_which_holds_any(text: str, left_out: tuple[str, ...]) -> None:
    looked_at = review([PlannedCall("read_aloud", {})], collect(iter([read_aloud])), Asked("read it 7 times", {"text": text}, 0.0), 16)
    assert looked_at.uncovered == left_out
