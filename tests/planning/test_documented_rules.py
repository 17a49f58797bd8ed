"""What the reference says of grounding and coverage is so: its tables are run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from heddle.planning.goal import Asked
from heddle.planning.plan import PlannedCall
from heddle.planning.prompt import prefix_of
from heddle.planning.review import review
from tests.examples import EXAMPLES

ROOT: Final = Path(__file__).resolve().parents[2]
REFERENCE: Final = (ROOT / "docs" / "reference" / "planning.md").read_text(encoding="utf-8")
REQUIRED: Final = {"repo_triage": {"repository": "x"}, "csv_profile": {"path": "x"}}

GROUNDED: Final = re.findall(r"^\| (.+?) \| `(\w+)\.(\w+)` \| `(.+?)` \| (stated|not stated) \|$", REFERENCE, re.MULTILINE)
COVERED: Final = re.findall(r"^\| (.+?) \| `(\w+) (\{.+?\})` \| (?:`(.+?)` )?\|$", REFERENCE, re.MULTILINE)


@pytest.mark.parametrize(("goal", "macro", "field", "value", "verdict"), GROUNDED)
def test_a_value_is_stated_or_not_as_the_table_says(goal: str, macro: str, field: str, value: str, verdict: str) -> None:
    call = PlannedCall(macro, REQUIRED[macro] | {field: json.loads(value)})
    [found] = [value for value in review([call], EXAMPLES, Asked(goal, {}, 0.0), 16).values if value.field == field]
    assert ("not stated" if found.ground == "ungrounded" else "stated") == verdict


@pytest.mark.parametrize(("goal", "macro", "arguments", "left_out"), COVERED)
def test_a_literal_is_left_out_or_not_as_the_table_says(goal: str, macro: str, arguments: str, left_out: str) -> None:
    looked_at = review([PlannedCall(macro, json.loads(arguments))], EXAMPLES, Asked(goal, {}, 0.0), 16)
    assert looked_at.uncovered == ((left_out,) if left_out else ())
    assert bool(looked_at.problems) == bool(left_out)


def test_the_macro_that_the_reference_shows_stands_so_in_the_prompt() -> None:
    [shown] = re.findall(r"^```text\n(- repo_triage\(.+?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)
    assert shown in prefix_of(EXAMPLES).system


def test_both_tables_are_there() -> None:
    assert len(GROUNDED) >= 15
    assert len(COVERED) >= 8
