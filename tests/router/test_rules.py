"""Reading the rules: every problem at once, each with its place and the nearest word."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.errors import Problem, RulesError
from heddle.router.reading import parse_rules
from heddle.router.rules import Limits, Rules, uncovered
from heddle.units import parse_duration, parse_rate, parse_size

GOOD = """\
version: 1
tiers:
  local: {rate: 200/s, burst: 400, max_wait: 30s}
  standard: {rate: 300/min, burst: 20, max_wait: 2m}
  frontier: {rate: 30/min, burst: 3, max_wait: 0s, scope: cluster}
worker_types:
  repo_triage: {}
  release_notes: {tier: local}
routes:
  - when: {worker_type: "repo_*", priority: critical}
    tier: frontier
limits: {max_payload: 256KiB, max_hops: 8}
"""


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(RulesError) as caught:
        parse_rules(text)
    return caught.value.problems


def problem(text: str) -> Problem:
    (only,) = problems(text)
    return only


def tier(text: str) -> str:
    return f"version: 1\ntiers:\n  local: {{{text}}}\nworker_types: {{}}\n"


def rules(text: str) -> Rules:
    return parse_rules(text)


# --- values


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("200/s", 200), ("300/min", 5), ("30/h", 30 / 3600), ("0.5/s", 0.5), ("90 / min", 1.5), ("  1/s ", 1), ("1.5/h", 1.5 / 3600)],
)
def test_a_rate_is_a_number_per_second_minute_or_hour(text: str, per_second: float) -> None:
    assert parse_rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize(
    "text", ["", "0/s", "0.0/min", "-1/s", "5", "5/", "5/m", "5/sec", "5/d", "/s", "1e3/s", "1_0/s", "inf/s", "nan/s", ".5/s", "~"]
)
def test_what_is_no_rate_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a rate; write 200/s, 300/min or 30/h, above 0"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1h", 3600), ("0s", 0), ("1.5m", 90), (" 1 s ", 1), ("0.25h", 900)],
)
def test_a_duration_is_milliseconds_seconds_minutes_or_hours(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "-1s", "5min", "1d", "s", "1h30m", "1e3s", "inf", "~"])
def test_what_is_no_duration_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write 500ms, 30s, 2m or 1h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("262144", 262144), ("1B", 1), ("256KiB", 262144), ("1MiB", 1048576), ("2 MiB", 2097152), (" 7 ", 7)]
)
def test_a_size_is_bytes_kibibytes_or_mebibytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0KiB", "-1", "1.5MiB", "1KB", "1kb", "1GiB", "KiB", "~"])
def test_what_is_no_size_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write 256KiB, 1MiB or a number of bytes"):
        parse_size(text)


# --- what is read


def test_every_tier_is_read_with_its_numbers_and_its_line() -> None:
    read = rules(GOOD).tiers
    assert [(t.name, t.rate, t.burst, t.max_wait, t.scope, t.line) for t in read.values()] == [
        ("local", 200.0, 400, 30.0, "replica", 3),
        ("standard", 5.0, 20, 120.0, "replica", 4),
        ("frontier", 0.5, 3, 0.0, "cluster", 5),
    ]


def test_a_tier_without_numbers_has_no_limit_and_no_wait() -> None:
    read = rules(tier("")).tiers["local"]
    assert (read.rate, read.max_wait, read.scope) == (None, 0.0, "replica")


@pytest.mark.parametrize(("rate", "burst"), [("200/s", 200), ("300/min", 5), ("30/h", 1), ("2.5/s", 2)])
def test_a_burst_is_a_second_s_worth_unless_it_is_said(rate: str, burst: int) -> None:
    assert rules(tier(f"rate: {rate}")).tiers["local"].burst == burst


def test_what_a_priority_must_leave_follows_from_reserve_and_burst() -> None:
    assert dict(rules(GOOD).tiers["standard"].kept) == {"low": 9, "normal": 4, "high": 1, "critical": 0}


def test_a_reserve_changes_only_the_priorities_that_it_names() -> None:
    read = rules(tier("rate: 1/s, burst: 11, reserve: {normal: 1}")).tiers["local"]
    assert dict(read.kept) == {"low": 5, "normal": 10, "high": 1, "critical": 0}


def test_worker_types_are_read_with_their_override_and_line() -> None:
    assert [(w.name, w.tier, w.line) for w in rules(GOOD).worker_types.values()] == [
        ("repo_triage", None, 7),
        ("release_notes", "local", 8),
    ]


def test_a_worker_type_may_stand_without_braces() -> None:
    assert rules("version: 1\ntiers: {}\nworker_types:\n  a:\n").worker_types["a"].tier is None


def test_routes_are_read_in_order_with_their_lines() -> None:
    assert [(r.number, r.tier, r.line, r.worker_type, r.priority) for r in rules(GOOD).routes] == [
        (1, "frontier", 10, ("repo_*",), ("critical",))
    ]


def test_limits_have_defaults() -> None:
    assert rules("version: 1\ntiers: {}\nworker_types: {}").limits == Limits(max_payload=262144, max_hops=8)


def test_the_digest_names_the_exact_text() -> None:
    assert rules(GOOD).digest != rules(GOOD + "\n").digest
    assert rules(GOOD).digest == rules(GOOD).digest


def test_anchors_are_read_like_any_yaml() -> None:
    text = "version: 1\ntiers:\n  a: &same {rate: 1/s, burst: 5}\n  b: *same\nworker_types: {}\n"
    assert rules(text).tiers["b"].burst == 5


def test_json_is_yaml() -> None:
    assert (
        rules('{"version": 1, "tiers": {"local": {"rate": "1/s"}}, "worker_types": {"a": {"tier": "local"}}}').worker_types["a"].tier
        == "local"
    )


def test_worker_types_that_the_rules_do_not_know_are_named_in_order() -> None:
    assert uncovered(rules(GOOD), ["zeta", "repo_triage", "alpha", "zeta"]) == ["alpha", "zeta"]


# --- what is wrong


def test_every_problem_of_a_file_is_reported_at_once_in_its_order() -> None:
    text = """\
version: 2
tiers:
  Local: {}
  standard: {rat: 5/s, burst: 0, max_wait: soon, scope: world, reserve: {low: 2, lowest: 0.1}}
worker_types:
  repo_triage: {tier: standrad}
  incoming: {}
routes:
  - when: {worker_type: "repo_trage", priority: urgent, tier: locale, colour: red}
    tier: frontir
  - tier: standard
limits: {max_payload: big, max_hops: 1.5}
extra: 1
"""
    assert [(p.line, p.column, p.path) for p in problems(text)] == [
        (1, 10, "version"),
        (3, 3, "tiers.Local"),
        (4, 14, "tiers.standard.rat"),
        (4, 31, "tiers.standard.burst"),
        (4, 31, "tiers.standard.burst"),
        (4, 44, "tiers.standard.max_wait"),
        (4, 57, "tiers.standard.scope"),
        (4, 79, "tiers.standard.reserve.low"),
        (4, 82, "tiers.standard.reserve.lowest"),
        (6, 23, "worker_types.repo_triage.tier"),
        (7, 3, "worker_types.incoming"),
        (9, 25, "routes[1].when.worker_type"),
        (9, 49, "routes[1].when.priority"),
        (9, 63, "routes[1].when.tier"),
        (9, 71, "routes[1].when.colour"),
        (10, 11, "routes[1].tier"),
        (11, 5, "routes[2].when"),
        (12, 23, "limits.max_payload"),
        (12, 38, "limits.max_hops"),
        (13, 1, "extra"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "path", "said"),
    [
        (GOOD.replace("rate: 200/s", "rat: 200/s").replace("burst: 400, ", ""), 3, 11, "tiers.local.rat", "did you mean 'rate'?"),
        (GOOD.replace("max_wait: 2m", "max_wiat: 2m"), 4, 40, "tiers.standard.max_wiat", "did you mean 'max_wait'?"),
        (GOOD.replace("tier: frontier\n", "tier: fronteer\n"), 11, 11, "routes[1].tier", "did you mean 'frontier'?"),
        (GOOD.replace("priority: critical", "priority: critcal"), 10, 45, "routes[1].when.priority", "did you mean 'critical'?"),
        (GOOD.replace("{tier: local}", "{tier: lokal}"), 8, 25, "worker_types.release_notes.tier", "did you mean 'local'?"),
        (GOOD.replace('"repo_*"', "repo_triag"), 10, 25, "routes[1].when.worker_type", "did you mean 'repo_triage'?"),
        (GOOD.replace("scope: cluster", "scope: clutser"), 5, 59, "tiers.frontier.scope", "did you mean 'cluster'?"),
        (GOOD.replace("limits:", "limit:"), 12, 1, "limit", "did you mean 'limits'?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest_one(text: str, line: int, column: int, path: str, said: str) -> None:
    found = problem(text)
    assert (found.line, found.column, found.path) == (line, column, path)
    assert said in found.message


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("tiers: {}\nworker_types: {}", "version", "is required"),
        ("version: 1\nworker_types: {}", "tiers", "is required"),
        ("version: 1\ntiers: {}", "worker_types", "is required"),
        ("version: 2\ntiers: {}\nworker_types: {}", "version", "reads version 1"),
        ("version: []\ntiers: {}\nworker_types: {}", "version", "single value"),
        ("version: 1\ntiers: []\nworker_types: {}", "tiers", "must be a mapping"),
        ("version: 1\ntiers: {}\nworker_types: [a]", "worker_types", "must be a mapping"),
        ("version: 1\ntiers: {}\nworker_types: {}\nroutes: {}", "routes", "must be a list"),
        (tier("rate: [1]"), "tiers.local.rate", "single value"),
        (tier("burst: 5"), "tiers.local.burst", "needs a `rate`"),
        (tier("rate: soon, burst: 5"), "tiers.local.rate", "'soon' is not a rate"),
        (tier("rate: 1/s, burst: 0"), "tiers.local.burst", "'0' is not a whole number"),
        (tier("rate: 1/s, burst: 2.5"), "tiers.local.burst", "'2.5' is not a whole number"),
        (tier("reserve: {low: 1.1}"), "tiers.local.reserve.low", "'1.1' is not a share between 0 and 1"),
        (tier("reserve: {low: nan}"), "tiers.local.reserve.low", "'nan' is not a share"),
        (tier("reserve: {critical: 0.1}"), "tiers.local.reserve.critical", "unknown key"),
        (tier("rate: 30/min, scope: cluster"), "tiers.local.scope", "`burst: 1` no window is ever open to low, normal, high, critical"),
        (tier("rate: 1000000000/s, burst: 4, scope: cluster"), "tiers.local.rate", "would be shorter than a microsecond: raise `burst`"),
        (tier("rate: 1/s, burst: 8, scope: cluster, reserve: {low: 1}"), "tiers.local.scope", "no window is ever open to low: raise"),
        ("version: 1\ntiers: {default: {}}\nworker_types: {}", "tiers.default", "reserved word"),
        ("version: 1\ntiers: {}\nworker_types: {orchestrator: {}}", "worker_types.orchestrator", "reserved word"),
        ("version: 1\ntiers: {}\nworker_types: {Upper: {}}", "worker_types.Upper", "lower-case"),
        ("version: 1\ntiers: {}\nworker_types: {a: {}, a: {}}", "worker_types.a", "stands twice; first on line 3"),
        ("version: 1\nversion: 1\ntiers: {}\nworker_types: {}", "version", "stands twice; first on line 1"),
        ("version: 1\ntiers: {}\nworker_types: {a: 5}", "worker_types.a", "must be a mapping"),
        ("version: 1\ntiers: {t: {}}\nworker_types: {}\nroutes: [{when: {}}]", "routes[1].tier", "is required"),
        (
            "version: 1\ntiers: {t: {}}\nworker_types: {}\nroutes: [{when: {metadata: {a: [1]}}, tier: t}]",
            "routes[1].when.metadata.a",
            "single",
        ),
        (
            "version: 1\ntiers: {t: {}}\nworker_types: {a: {}}\nroutes: [{when: {worker_type: b*}, tier: t}]",
            "routes[1].when.worker_type",
            "matches no",
        ),
    ],
)
def test_each_thing_that_is_wrong_has_its_path_and_says_why(text: str, path: str, said: str) -> None:
    found = problem(text)
    assert found.path == path
    assert said in found.message


def test_an_empty_file_says_what_it_needs() -> None:
    assert "it needs `version: 1`, `tiers:` and `worker_types:`" in problem("# nothing here\n").message


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("version: 1\ntiers: [", 2, 9), ("version: 1\n\t x: 1", 2, 1), ("a: b: c", 1, 5), ("version: 1\n---\nversion: 1", 2, 1)],
)
def test_what_is_no_yaml_is_told_with_its_line_and_column(text: str, line: int, column: int) -> None:
    found = problem(text)
    assert (found.line, found.column) == (line, column)
    assert found.message.startswith("not YAML: ")


def test_a_character_that_yaml_forbids_is_told_with_its_own_line() -> None:
    assert problem("version: 1\ntiers: {}\nworker_types: \x00{}\n").line == 3


def test_the_error_s_text_is_a_line_for_every_problem_with_the_source_s_name() -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules("version: 1\ntiers: {A: {}}\nworker_types: {B: {}}", "rules.yaml")
    assert [line.split(": ")[:3] for line in str(caught.value).splitlines()] == [
        ["rules.yaml", "line 2, column 9", "tiers.A"],
        ["rules.yaml", "line 3, column 16", "worker_types.B"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 600,
        "version: " + "[" * 600 + "]" * 600,
        "{a: " * 600,
        'version: "\\UFFFFFFFF"',
        'version: "\\ud800"',
        "version: \ud800",
        "version: &a [*a]",
        "? &a [*a]\n: 1",
        "%YAML 9.1\n---\nversion: 1",
        "!!python/object:os.system {}",
        tier("rate: " + "9" * 400 + "/s"),
        tier("rate: 0." + "0" * 322 + "5/h"),
        tier("rate: 1/s, burst: " + "9" * 400),
        tier("rate: 1/s, burst: " + "9" * 5000),
        "version: 1\ntiers: {}\nworker_types: {}\nlimits: {max_payload: " + "9" * 5000 + "}",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_a_text_made_to_break_the_reader_is_a_problem_like_any_other(text: str) -> None:
    assert problems(text)


WORDS = [
    "version",
    "tiers",
    "worker_types",
    "routes",
    "when",
    "tier",
    "rate",
    "burst",
    "reserve",
    "metadata",
    "limits",
    "1",
    "200/s",
    "local",
]
MARKS = [
    ": ",
    ":\n",
    "\n",
    "\n  ",
    "\n    - ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "? ",
    "!!str ",
    '"',
    "'",
    "# ",
    "|\n",
    "<<: ",
    "~",
    "%",
    "\t",
]
PIECES = st.sampled_from(WORDS + MARKS)


def outcome(text: str) -> Rules | tuple[Problem, ...]:
    try:
        return parse_rules(text)
    except RulesError as error:
        return error.problems


@given(st.text(max_size=60) | st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_text_is_rules_or_a_rules_error(text: str) -> None:
    assert outcome(text) != ()


@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=4) | PIECES)
@settings(max_examples=150, deadline=None)
def test_good_rules_with_any_slip_of_the_pen_are_rules_or_problems_within_the_text(at: int, cut: int, put: str) -> None:
    text = GOOD[:at] + put + GOOD[at + cut :]
    found = outcome(text)
    assert isinstance(found, Rules) or all(1 <= p.line <= text.count("\n") + 2 and p.column >= 1 for p in found)


def test_a_decision_is_the_same_under_every_hash_seed() -> None:
    script = (
        "import sys; from heddle.messages import TaskMessage, decode; from heddle.router.decide import explain;"
        "from heddle.router.reading import parse_rules; rules = parse_rules(sys.argv[1]);"
        'task = decode(TaskMessage, b\'{"worker_type":"repo_triage","payload":{},"metadata":{"b":1,"a":2}}\');'
        "print([explain(task, rules, {}, 5.0) for _ in range(2)])"
    )
    told = {
        subprocess.run([sys.executable, "-c", script, GOOD], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
