"""Tables of tasks and expected routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from heddle.cli.main import app
from heddle.errors import Problem, RulesError
from heddle.router.cases import Verdict, parse_cases, run_case
from heddle.router.reading import parse_rules

RULES = """\
version: 1
tiers:
  local: {rate: 1/h, burst: 1}
  standard: {}
worker_types:
  echo: {}
  fixed: {tier: local}
  "5": {}
routes:
  - when: {worker_type: echo, metadata: {team: pay*}}
    tier: local
limits: {max_payload: 1KiB}
"""
GOOD = """\
- name: the override holds
  task: {worker_type: fixed, model_tier: standard}
  expect: local
- task: {worker_type: echo}
  expect: standard
- task: {worker_type: echo, metadata: {team: payments}}
  expect: local
- task: {worker_type: nobody}
  expect: {refuse: unknown_tier}
- task: {worker_type: "5", payload: {text: yes}}
  expect: standard
"""


def verdicts(table: str, now: float = 0.0) -> list[Verdict]:
    return [run_case(case, parse_rules(RULES), now) for case in parse_cases(table)]


def problems(table: str) -> tuple[Problem, ...]:
    with pytest.raises(RulesError) as caught:
        parse_cases(table, "cases.yaml")
    return caught.value.problems


def case(task: str, expect: str, more: str = "") -> str:
    return f"- task: {task}\n  expect: {expect}\n{more}"


def test_every_case_of_a_table_that_agrees_with_the_rules_passes() -> None:
    assert [verdict.ok for verdict in verdicts(GOOD)] == [True] * 5


def test_json_is_a_table_too() -> None:
    table = [{"task": {"worker_type": "fixed"}, "expect": "local"}, {"task": {"worker_type": "x"}, "expect": {"refuse": "unknown_tier"}}]
    assert all(verdict.ok for verdict in verdicts(json.dumps(table)))


def test_each_case_is_decided_by_itself_with_a_full_bucket() -> None:
    assert all(verdict.ok for verdict in verdicts(case("{worker_type: fixed}", "local") * 3))


def test_a_case_that_comes_out_otherwise_says_what_came_and_why() -> None:
    (verdict,) = verdicts("# a remark\n" + case("{worker_type: echo, metadata: {team: payments}}", "standard"))
    assert (verdict.ok, verdict.case.expected, verdict.got, verdict.rule, verdict.case.line) == (False, "standard", "local", "routes[1]", 2)
    assert "routes[1] (line 10): yes, tier 'local'" in verdict.steps


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("{worker_type: nobody}", "unknown_tier"),
        ("{worker_type: echo, model_tier: nowhere}", "unknown_tier"),
        ("{worker_type: echo, hops: 9}", "loop"),
        (f"{{worker_type: echo, payload: {{a: {'x' * 1024}}}}}", "payload_too_large"),
        ("{worker_type: echo, expires_at: 1970-01-01T00:00:00Z}", "expired"),
        ("{worker_type: Echo}", "invalid_task_message"),
        ("{worker_type: echo, payload: 5}", "invalid_task_message"),
        ("5", "invalid_task_message"),
    ],
)
def test_a_refusal_is_expected_by_its_code(task: str, code: str) -> None:
    (expected,) = verdicts(case(task, f"{{refuse: {code}}}"))
    assert expected.ok
    (other,) = verdicts(case(task, f"{{refuse: {'loop' if code != 'loop' else 'expired'}}}")) if "invalid" not in code else (expected,)
    assert other.ok == ("invalid" in code)


def test_a_case_has_its_own_time_or_that_of_the_run() -> None:
    task = "{worker_type: echo, expires_at: 2026-01-31T12:00:00Z}"
    before, after = "  at: 2026-01-31T11:59:59Z\n", "  at: '2026-01-31T13:00:00+01:00'\n"
    assert [one.got for one in verdicts(case(task, "standard", before) + case(task, "standard", after))] == ["standard", "refuse: expired"]
    assert [verdicts(case(task, "standard"), now)[0].ok for now in (0.0, 2e9)] == [True, False]


def test_every_malformed_case_is_reported_at_once_with_its_line() -> None:
    table = """\
- task: {worker_type: fixed, model_teir: local}
  expect: local
- tsk: {}
  expect: {refuse: unknwn_tier}
- task: {worker_type: echo, priority: urgent}
  expect: [a]
  at: noon
- 5
- task: {worker_type: echo}
  task: {worker_type: echo}
  expect: {refuse: rate_limited}
"""
    found = problems(table)
    assert [(p.line, p.path) for p in found] == [
        (1, "cases[1].task"),
        (3, "cases[2].tsk"),
        (3, "cases[2].task"),
        (4, "cases[2].expect"),
        (5, "cases[3].task"),
        (6, "cases[3].expect"),
        (7, "cases[3].at"),
        (8, "cases[4]"),
        (10, "cases[5].task"),
        (11, "cases[5].expect"),
    ]
    told = "\n".join(p.message for p in found)
    for words in ("did you mean 'model_tier'?", "did you mean 'task'?", "did you mean 'unknown_tier'?", "write 2026-01-31", "full here"):
        assert words in told


@pytest.mark.parametrize(
    "table",
    [
        "",
        "{}",
        "[]",
        "a: b: c",
        "- [",
        "- task: &a {payload: *a}\n  expect: local",
        "- task: " + "[" * 200 + "]" * 200 + "\n  expect: {refuse: invalid_task_message}",
        "- task: {worker_type: echo, payload: {a: 1e999}}\n  expect: local",
        '- task: {worker_type: echo, payload: {a: "\\ud800"}}\n  expect: local',
        "- task: {worker_type: echo}\n  expect: Standard",
        "- task: {worker_type: echo}\n  expect: local\n  at: 9999-99-99",
        "\x00",
    ],
)
def test_a_table_that_cannot_be_used_is_a_problem_and_no_traceback(table: str) -> None:
    assert problems(table)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "wrong.yaml").write_text(GOOD.replace("expect: standard", "expect: local", 1))
    (tmp_path / "bad.yaml").write_text("- task: {worker_type: echo}\n")
    return tmp_path


def check(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["rules", "check", "rules.yaml", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.usefixtures("folder")
def test_check_with_cases_exits_0_when_all_are_as_expected_and_1_with_a_table_of_those_that_are_not() -> None:
    assert check("--cases", "good.yaml")[0] == 0
    code, told, _ = check("--cases", "wrong.yaml")
    assert (code, "5 cases, 1 failed" in told, "decision: dispatch to 'standard'" in told, "the override" in told) == (1, True, True, False)


@pytest.mark.usefixtures("folder")
def test_check_with_cases_speaks_json() -> None:
    code, told, _ = check("--cases", "wrong.yaml", "-o", "json")
    answer: dict[str, Any] = json.loads(told)
    (failed,) = answer["cases"]["failed"]
    assert (code, answer["ok"], answer["cases"]["total"]) == (1, False, 5)
    assert (failed["line"], failed["expected"], failed["got"]) == (4, "local", "standard")
    assert json.loads(check("--cases", "good.yaml", "-o", "json")[1])["cases"]["failed"] == []


@pytest.mark.usefixtures("folder")
def test_check_tells_a_malformed_table_with_its_line() -> None:
    code, told, said = check("--cases", "bad.yaml", "-o", "json")
    assert (code, json.loads(told)["problems"][0]["path"], "bad.yaml: line 1" in said) == (1, "cases[1].expect", True)
    assert check("--cases", "missing.yaml")[0] == 2


@pytest.mark.usefixtures("folder")
def test_check_has_no_reservation_about_waiting() -> None:
    Path("rules.yaml").write_text(RULES.replace("burst: 1}", "burst: 1, max_wait: 30s}"))
    assert "note" not in check()[2]
