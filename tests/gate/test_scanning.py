"""The scan: what counts, what does not, what was saved, and the report as SARIF."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from heddle.errors import DefinitionError
from heddle.gate.allowing import Allowance, read_allowances
from heddle.gate.coverage import Cover, cover_of
from heddle.gate.reading import Place, PlannedGoal, PlannedTask, read_logs
from heddle.gate.sarif import sarif_of
from heddle.gate.scanning import Report, scan
from heddle.gate.sessions import SessionLog
from heddle.gate.together import planned_together
from heddle.macros.fixtures import read_fixture
from tests.gate.found import calls, lines
from tests.gate.test_patterns import annotate, latest

TODAY = date(2026, 5, 1)
FIXTURE = """\
input: {repository: acme/web, count: 1}
tools:
  Forge:
    latest: {calls: [{given: {repository: acme/web, count: 1}, answer: []}]}
    annotate: {calls: [{given: {note: NOTE}, answer: null}]}
output: {}
"""


def cover(folder: Path, note: str = "reviewed", text: str = FIXTURE) -> Cover:
    (folder / "one.yaml").write_text(text.replace("NOTE", note))
    return cover_of("note_newest", read_fixture(folder / "one.yaml"))


def scanned(covers: list[Cover] | None = None, allowances: list[Allowance] | None = None, more: bytes = b"", **about: Any) -> Report:
    body = b"".join(lines(calls(f"s{n}", latest(n), annotate(n), **about)) for n in range(4))
    return scan(read_logs([("log.jsonl", body + more)]), covers or [], [], allowances or [], TODAY)


def statuses(report: Report) -> list[str]:
    return [finding.status for finding in report.findings]


def test_a_sequence_without_a_macro_counts() -> None:
    report = scanned()
    assert (statuses(report), str(report.findings[0].place), len(report.unencoded)) == (["unencoded"], "log.jsonl:1", 1)


def test_a_sequence_that_a_fixture_shows_is_covered_by_its_macro(tmp_path: Path) -> None:
    (finding,) = scanned([cover(tmp_path)]).findings
    assert (finding.status, finding.macro) == ("covered", "note_newest")


def test_a_macro_with_another_constant_does_something_else(tmp_path: Path) -> None:
    assert statuses(scanned([cover(tmp_path, note="rejected")])) == ["unencoded"]


def test_a_macro_that_calls_more_does_something_else(tmp_path: Path) -> None:
    more = FIXTURE.replace("output", "    between: {calls: [{answer: []}]}\noutput")
    assert statuses(scanned([cover(tmp_path, text=more)])) == ["unencoded"]


def test_a_method_whose_calls_a_fixture_does_not_count_may_come_any_number_of_times(tmp_path: Path) -> None:
    text = "input: {}\ntools: {Forge: {latest: [], annotate: null}}\noutput: {}\n"
    assert statuses(scanned([cover(tmp_path, text=text)])) == ["covered"]


def allowances(text: str) -> list[Allowance]:
    return read_allowances(text, "gate-allow.yaml")


def entry(pattern: str = "Forge.annotate > Forge.latest", expires: str = "2026-05-01") -> str:
    return f"- pattern: {pattern}\n  reason: moves in May\n  expires: {expires}\n"


def test_what_the_allow_list_has_does_not_count_in_whatever_order() -> None:
    assert statuses(scanned(allowances=allowances(entry()))) == ["allowed"]


def test_an_expired_entry_is_told_and_counts_again() -> None:
    report = scanned(allowances=allowances(entry(expires="2026-04-30")))
    assert (statuses(report), [one.pattern for one in report.expired]) == (["unencoded"], ["Forge.annotate > Forge.latest"])


def test_an_entry_that_nothing_needs_is_told() -> None:
    assert [one.line for one in scanned(allowances=allowances(entry() + entry("A.b > A.c"))).unused] == [4]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pattern: x", "a list of entries is expected"),
        ("- pattern: A.b > A.c\n  reason: because", r"gate-allow\.yaml:1: an entry has"),
        ("- pattern: A.b > A.c\n  reason: ' '\n  expires: 2026-01-01", "an entry has"),
        ("\n- pattern: A.b\n  reason: because\n  expires: 2026-01-01", r"gate-allow\.yaml:2: pattern 'A\.b' is no sequence"),
        ("- [", "not YAML"),
        ("- pattern: A.b > A.c\n  reason: because\n  reason: so\n  expires: 2026-01-01", "'reason' stands twice, first on line 2"),
        ("- pattern: A.b > A.c\n  reason: because\n  expires: 2026-02-31", "not YAML: day is out of range"),
        ("- pattern: A.b > A.c\n  reason: because\n  expires: 2026-02-21 10:00:00", "an entry has"),
    ],
)
def test_an_allow_list_with_a_mistake_is_refused_with_its_line(text: str, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        allowances(text)


def usage(session: str) -> bytes:
    return lines([SessionLog(session).used("frontier", 1000, 100, 0.25, 1_770_000_009)])


def test_savings_are_the_sessions_of_which_nothing_is_left(tmp_path: Path) -> None:
    more = b"".join(usage(f"s{n}") for n in range(4)) + lines(calls("s3", ("Clock.now", {}, "noon"), novel="notes"))
    (saving,) = scanned([cover(tmp_path)], more=more, novel="notes").savings
    assert (saving.whole, saving.part, saving.calls, saving.tokens, saving.cost) == (3, 1, 6, 3300, 0.75)
    assert saving.advice is None


def test_a_category_of_which_no_session_is_left_is_to_be_removed(tmp_path: Path) -> None:
    (saving,) = scanned([cover(tmp_path)], novel="notes").savings
    assert saving.advice == "remove the category `novel.notes` from the settings: note_newest does what its goals ask for"


def test_so_is_the_fallback_of_a_macro(tmp_path: Path) -> None:
    (saving,) = scanned([cover(tmp_path)], fallback="old_macro").savings
    assert saving.advice == "remove `fallback` from the failures of old_macro: note_newest does what was done instead"


def test_a_session_that_ended_in_a_failure_is_the_macro_s_too(tmp_path: Path) -> None:
    failed = lines(calls("bad", latest(0), (*annotate(0)[:2], LookupError("no such change")), novel="notes"))
    (saving,) = scanned([cover(tmp_path)], more=failed, novel="notes").savings
    assert (saving.whole, saving.sessions) == (5, 5)


def test_a_category_stays_as_long_as_its_goals_do_not_say_what_the_macro_must_be_given(tmp_path: Path) -> None:
    needs_more = replace(cover(tmp_path), required=frozenset({"repository", "count"}))
    (saving,) = scanned([needs_more], novel="notes", goal="review the newest of acme/web, acme/billing, acme/docs and acme/infra").savings
    assert saving.advice == "keep the category `novel.notes` for now: its goals do not say note_newest.count"


def goal(number: int, *macros: str) -> PlannedGoal:
    return PlannedGoal(f"g{number}", "do it", tuple(PlannedTask(macro, None) for macro in macros), Place("goals.jsonl", number))


def test_macros_that_goals_keep_planning_together_are_told_once() -> None:
    goals = [goal(number, "triage", "notes", "notes") for number in range(1, 4)] + [goal(9, "triage", "profile")]
    (together,) = planned_together(goals, [], 3)
    assert (together.macros, len(together.goals)) == (("notes", "triage"), 3)


def test_a_goal_that_was_written_down_three_times_is_one_goal() -> None:
    assert not planned_together([goal(1, "triage", "notes")] * 3, [], 3)


def test_those_that_a_parent_calls_already_are_not() -> None:
    assert not planned_together([goal(number, "triage", "notes") for number in range(3)], [["notes", "triage"]], 3)


REQUIRED: dict[str, Any] = {  # what SARIF 2.1.0 requires of the objects that are written (sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.49)
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"rules": {"type": "array", "items": {"type": "object", "required": ["id"]}}},
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "properties": {
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {"type": "object", "required": ["text"]},
                                "ruleIndex": {"type": "integer", "minimum": -1},
                                "locations": {
                                    "items": {
                                        "properties": {
                                            "physicalLocation": {
                                                "required": ["artifactLocation"],
                                                "properties": {
                                                    "artifactLocation": {"required": ["uri"]},
                                                    "region": {"properties": {"startLine": {"type": "integer", "minimum": 1}}},
                                                },
                                            }
                                        }
                                    }
                                },
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_the_sarif_has_what_the_standard_requires_and_a_result_for_everything_that_is_open() -> None:
    report = scanned(allowances=allowances(entry(expires="2026-04-30")), more=b"hello\n")
    sarif = json.loads(json.dumps(sarif_of(report, "1.0", "gate-allow.yaml")))
    jsonschema.validate(sarif, REQUIRED)
    (run,) = sarif["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [result["ruleId"] for result in run["results"]] == ["unencoded-sequence", "expired-allowance", "unknown-line"]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])


def test_the_sarif_names_the_file_that_a_transcript_is_in() -> None:
    found = scan(read_logs([("some logs.json", b'[{"a": 1}]')]), [], [], [], TODAY)
    (result,) = sarif_of(found, "1.0", None)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "some%20logs.json"


def test_a_sequence_keeps_its_fingerprint_where_it_moves() -> None:
    first, second = (
        scanned(),
        scan(
            read_logs([("other.jsonl", b"\n" + b"".join(lines(calls(f"s{n}", latest(n), annotate(n))) for n in range(3)))]),
            [],
            [],
            [],
            TODAY,
        ),
    )
    one, other = (sarif_of(report, "1.0", None)["runs"][0]["results"][0] for report in (first, second))
    assert one["partialFingerprints"] == other["partialFingerprints"]
    assert one["locations"] != other["locations"]
