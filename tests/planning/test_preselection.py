"""Which macros a goal is shown when not all fit the model's context."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.errors import Code, PlanError
from heddle.macros.versioned import Versioned
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.preselection import TEMPLATE_TOKENS, Index, Selection, choose, index_of, selected
from heddle.planning.prompt import prefix_of
from heddle.planning.tokens import most_tokens
from tests.planning.offers import Offered

EVERYTHING = 1_000_000


def offered(
    name: str, intent: str = "Do something.", phrases: tuple[str, ...] = (), examples: tuple[str, ...] = (), **fields: Any
) -> Offered:
    schema = {"type": "object", "properties": fields}
    return Offered(schema, intent, name, examples=tuple((goal, {}) for goal in examples), phrases=phrases)


MACROS = [
    offered("csv_profile", "Profile a CSV file: nulls, range and outliers of every column."),
    offered("release_notes", "Draft release notes from the commits between two tags.", examples=("Write up what changed since v1",)),
    offered("repo_triage", "Label the latest changes of a repository.", strategy={"enum": ["semantic", "manual"], "x-words": {"manual": ["by hand"]}}),
    offered("backup_restore", "Bring back a saved database.", phrases=("recover the {snapshot} snapshot",)),
    *(offered(f"filler_{number:02}", "Handle one more unrelated thing of the office.") for number in range(30)),
]  # fmt: skip


def index(*macros: Offered) -> Index:
    offers: Offers = Versioned({one.name: {1: one} for one in macros})
    return index_of(offers, prefix_of(offers))


ALL = index(*MACROS)


def asked(goal: str, **context: Any) -> Asked:
    return Asked(goal, context, 0.0)


def room_for(count: int, goal: str = "x") -> int:
    """The budget in which so many macros like the fillers fit beside a goal."""
    entry = next(one for one in ALL.prefix.entries if one.name == "filler_00")
    examples = 2 * sum(sorted((one.example_tokens for one in ALL.prefix.entries), reverse=True)[:3])
    question = most_tokens(ALL.prefix.question(goal, {}))
    return TEMPLATE_TOKENS + question + ALL.prefix.frame_tokens + examples + count * entry.tokens + entry.tokens // 2


def likeliest(goal: str) -> tuple[str, ...]:
    """The macros that are left for a goal when there is room for little more than one."""
    return selected(ALL, asked(goal), room_for(2, goal)).names


# --- when all fit


def test_all_macros_are_shown_where_they_fit_whatever_the_goal() -> None:
    for goal in ("profile x.csv", "make me a sandwich", ""):
        assert selected(ALL, asked(goal), EVERYTHING) == Selection(tuple(sorted(one.name for one in MACROS)), len(MACROS), fits=True)


def test_where_all_fit_the_prefix_is_the_same_object_and_nothing_is_told() -> None:
    prefix, selection = choose(ALL, asked("x"), EVERYTHING)
    assert prefix is ALL.prefix
    assert selection.note is None


def test_all_fit_exactly_up_to_the_budget() -> None:
    needed = ALL.prefix.tokens + TEMPLATE_TOKENS + most_tokens(ALL.prefix.question("x", {}))
    assert selected(ALL, asked("x"), needed).note is None
    assert selected(ALL, asked("x"), needed - 1).note is not None


# --- when they do not


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        ("profile data/orders.csv", "csv_profile"),
        ("Profiling of orders, please", "csv_profile"),
        ("which columns have OUTLIERS?", "csv_profile"),
        ("draft the notes for the next release", "release_notes"),
        ("write up v1 to v2", "release_notes"),
        ("label repositories", "repo_triage"),
        ("sort them by hand", "repo_triage"),
        ("go on with the semantic one", "repo_triage"),
        ("recover snapshot 12", "backup_restore"),
        ("RestoreTheBackup", "backup_restore"),
        ("restáure thé Database", "backup_restore"),
    ],
)
def test_the_macro_that_shares_words_with_the_goal_is_shown(goal: str, name: str) -> None:
    assert name in likeliest(goal)


def test_a_word_that_every_macro_has_weighs_less_than_one_that_few_have() -> None:
    common = [offered(f"a_{number}", "Label office things.") for number in range(20)]
    some = index(*common, offered("z", "Label invoices."))
    names = selected(some, asked("label the office invoices"), some.prefix.tokens).names
    assert "z" in names


def test_a_macro_s_name_weighs_more_than_a_word_elsewhere() -> None:
    macros = [offered(f"a_{number}", "Office.", examples=("invoices",)) for number in range(20)]
    some = index(*macros, offered("z_invoices"))
    assert "z_invoices" in selected(some, asked("invoices"), some.prefix.tokens).names


def test_of_equals_the_first_by_name_are_shown() -> None:
    fillers = [one.name for one in MACROS if one.name.startswith("filler")]
    shown = selected(ALL, asked("handle the office"), room_for(4, "handle the office")).names
    assert list(shown) == fillers[:4]


def test_a_goal_that_shares_no_word_is_shown_the_first_macros_by_name() -> None:
    assert selected(ALL, asked("xyzzy"), room_for(2, "xyzzy")).names[0] == "backup_restore"


def test_a_macro_too_long_to_fit_leaves_the_room_to_others() -> None:
    long = offered("csv_profile_long", "Profile a CSV file. " * 200)
    some = index(*MACROS, long)
    names = selected(some, asked("profile a csv file"), 1_000).names
    assert "csv_profile" in names
    assert "csv_profile_long" not in names


def test_the_choice_is_told_and_the_prompt_is_that_of_the_chosen() -> None:
    prefix, selection = choose(ALL, asked("profile x"), room_for(3, "profile x"))
    assert selection.note == f"{len(selection.names)} of 34 macros shown: more do not fit the model's context (planner.num_ctx)"
    assert tuple(one.name for one in prefix.entries) == selection.names == tuple(sorted(selection.names))
    assert prefix.system == ALL.prefix.only(selection.names).system
    branches = prefix.schema["properties"]["tasks"]["items"]["anyOf"]
    assert [branch["properties"]["macro"]["enum"] for branch in branches] == [[name] for name in (*selection.names, "unsupported")]


@given(st.text(max_size=40), st.integers(0, 3_000))
@settings(max_examples=60, deadline=None)
def test_what_is_shown_fits_or_the_goal_is_refused(goal: str, budget: int) -> None:
    if not selected(ALL, asked(goal), budget).fits:
        with pytest.raises(PlanError):
            choose(ALL, asked(goal), budget)
        return
    prompt = choose(ALL, asked(goal), budget)[0].prompt(goal, {})
    assert most_tokens(prompt.system) + most_tokens(prompt.user) + TEMPLATE_TOKENS <= budget


CHOICES = """
import json
from tests.planning.test_preselection import choices
print(json.dumps(choices()))
"""


def choices() -> list[list[str]]:
    goals = ["profile the csv and label it", "x", "office release snapshot"]
    return [list(selected(ALL, asked(goal), room_for(9, goal)).names) for goal in goals]


def test_every_process_chooses_alike() -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(root), "PYTHONHASHSEED": "1"}  # this process has another seed
    done = subprocess.run(
        [sys.executable, "-c", CHOICES], cwd=root, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == choices()
    assert choices()[0]


# --- a goal that does not fit


def test_a_goal_that_does_not_fit_is_no_plan_and_the_remedy_is_told() -> None:
    with pytest.raises(PlanError) as caught:
        choose(ALL, asked("x1" * 500), 900)
    assert caught.value.code is Code.NO_PLAN
    assert str(caught.value) == (
        "the goal does not fit the model's context beside a macro: it has about 1,069 tokens, and a prompt may have 900: "
        "say it in fewer words, or raise planner.num_ctx"
    )


def test_a_context_counts_like_the_goal() -> None:
    with pytest.raises(PlanError, match="does not fit"):
        choose(ALL, asked("x", **{f"key{number}": "7" * 100 for number in range(50)}), 2_000)


def test_without_any_macro_a_short_goal_fits() -> None:
    assert choose(index(), asked("x"), EVERYTHING)[1] == Selection((), 0, fits=True)
