"""Which goals ask for what an earlier part of them gives."""

from __future__ import annotations

import pytest

from heddle.planning.chaining import chained


@pytest.mark.parametrize(
    "goal",
    [
        "triage acme/checkout, then email me its result",
        "profile data.csv and use the output of the first to draft notes",
        "draft notes for acme/web since v1, and write a summary based on that report",
        "check acme/web and send the results to bob@acme.com",
        "profile a.csv, profile b.csv and compare the results",
        "label the last 3 PRs in acme/web and then post the summary to #ops",
        "find the newest tag and draft release notes from its result",
        "run the check; if it fails, open an issue",
        "once it is done, notify #ops",
        "deploy acme/web and after that is finished restart the cache",
        "calculate the factor of 45 and 60 and then use that result with 90",
        "pipe the output into csv_profile",
        "profile x.csv and feed it into the triage",
        "summarise acme/web and email those notes to bob",
        "use the first one's output for the second",
        "take the output of step 1 and label it",
        "check acme/web and, depending on the result, draft notes",
        "translate the result into German and label acme/web",
        "check acme/web and email me the report",
        "USE THE OUTPUT OF THE FIRST",
    ],
)
def test_a_goal_whose_second_part_needs_the_first_s_result_is_noticed(goal: str) -> None:
    assert chained(goal)


@pytest.mark.parametrize(
    "goal",
    [
        "check acme/web and acme/api and show me the results",
        "triage acme/web and report the results",
        "label the last 3 PRs in acme/web and profile data/results.csv",
        "profile the results of the survey in data/survey.csv and label acme/web",
        "check acme/web, then check acme/api",
        "label acme/web, after that label acme/api",
        "draft release notes for acme/web since v1 and write release notes for acme/api since v2",
        "label the last 3 commits in acme/web and tag them using conventional commits, and profile x.csv",
        'email "use the output of the first" to bob@acme.com and label acme/web',
        "check the last 20 pull requests of acme/web and only propose labels, I will apply them myself, and profile x.csv",
        "what changed in acme/web between v1 and main? Write it up as release notes. Also profile x.csv",
        "if it helps, use conventional commits in acme/web and manual in acme/api",
        "when it comes to acme/web, use conventional; for acme/api use manual",
        "profile both tables a.csv and b.csv",
        "list the reports in docs/ and profile reports/a.csv",
        "profile the list of users in users.csv and the summary in summary.csv",
        "label the first 3 commits of acme/web and the last 2 of acme/api",
        "send the report report.pdf to bob@acme.com and profile x.csv",
        "tell me what you find in a.csv and b.csv",
        "post the numbers 1, 2 and 3 to #ops and profile x.csv",
        "add the labels in labels.csv to acme/web and profile x.csv",
    ],
)
def test_a_goal_of_independent_parts_is_none(goal: str) -> None:
    assert chained(goal) is None


def test_the_words_that_ask_for_it_are_told() -> None:
    assert chained("Triage acme/web, then email me its result.") == "email me its result"
