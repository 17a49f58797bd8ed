"""The JSON Schema of a rules file: what the router takes, an editor takes, and typical mistakes are seen by both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from heddle.cli.main import app
from heddle.errors import RulesError
from heddle.messages import PRIORITIES, is_name
from heddle.router.cases import value_of
from heddle.router.reading import parse_rules
from heddle.router.schema import rules_schema
from tests.router.test_rules import GOOD, PIECES

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = rules_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def accepted(text: str) -> bool:
    """Does the router take it?"""
    try:
        parse_rules(text)
    except RulesError:
        return False
    return True


def complaints(text: str) -> list[str]:
    """What an editor says, which reads values as YAML 1.2 does."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return [error.message for error in VALIDATOR.iter_errors(None if node is None else value_of(node))]


# --- what the router takes

ODD_NAMES = {"true", "false", "null"}
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: is_name(name) and name not in ODD_NAMES)
NUMBERS = st.sampled_from(["1", "5", "0.5", "200", "12.25", "007"])
RATES = st.builds("{}{}/{}{}".format, NUMBERS, st.sampled_from(["", " "]), st.sampled_from(["", " "]), st.sampled_from(["s", "min", "h"]))
DURATIONS = st.builds("{}{}".format, NUMBERS | st.just("0"), st.sampled_from(["ms", "s", "m", "h", " s"]))
SIZES = st.sampled_from(["1", "262144", "256KiB", "1 MiB", "7B", 262144, 1])
COUNTS = st.integers(1, 10**15 - 1) | st.integers(1, 10**15 - 1).map(str)
SHARES = st.floats(0, 1) | st.sampled_from(["0.5", "1e-1", ".5", "+1", "0", 0, 1, "1_0e-2", "-0"])
TIERS = st.fixed_dictionaries(
    {},
    optional={
        "max_wait": DURATIONS,
        "scope": st.sampled_from(["replica", "cluster"]),
        "reserve": st.dictionaries(st.sampled_from(["low", "normal", "high"]), SHARES),
    },
) | st.fixed_dictionaries({"rate": RATES}, optional={"burst": COUNTS, "max_wait": DURATIONS})


@st.composite
def rules_values(draw: st.DrawFn) -> dict[str, Any]:
    tiers = draw(st.dictionaries(NAMES, TIERS, min_size=1, max_size=4))
    types = draw(
        st.dictionaries(NAMES, st.fixed_dictionaries({}, optional={"tier": st.sampled_from(sorted(tiers))}), min_size=1, max_size=4)
    )
    globs = st.sampled_from([*sorted(types), "*", "[!A]*"])
    a_tier = st.sampled_from(sorted(tiers))
    scalars = st.text("abc*1", max_size=4) | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    when = st.fixed_dictionaries(
        {},
        optional={
            "worker_type": globs | st.lists(globs, max_size=3),
            "priority": st.sampled_from(PRIORITIES) | st.lists(st.sampled_from(PRIORITIES), max_size=3),
            "tier": a_tier | st.lists(a_tier, max_size=2),
            "metadata": st.dictionaries(st.text("abc.-", min_size=1, max_size=5), scalars, max_size=2),
        },
    )
    value: dict[str, Any] = {"version": draw(st.sampled_from([1, "1"])), "tiers": tiers, "worker_types": types}
    if draw(st.booleans()):
        value["routes"] = draw(st.lists(st.fixed_dictionaries({"when": when, "tier": a_tier}), max_size=3))
    if draw(st.booleans()):
        value["limits"] = draw(st.fixed_dictionaries({}, optional={"max_payload": SIZES, "max_hops": COUNTS}))
    return value


@given(rules_values(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_rules_of_every_shape_that_the_router_takes_the_schema_takes(value: dict[str, Any], as_json: bool) -> None:
    text = json.dumps(value) if as_json else yaml.safe_dump(value)
    parse_rules(text)
    assert complaints(text) == []


@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text(max_size=4) | PIECES)
@settings(max_examples=200, deadline=None)
def test_whatever_slip_of_the_pen_the_router_takes_the_schema_takes(at: int, cut: int, put: str) -> None:
    text = GOOD[:at] + put + GOOD[at + cut :]
    if accepted(text):
        assert complaints(text) == []


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        (ROOT / "configs/router_rules.yaml").read_text(),
        "version: 1\ntiers: {}\nworker_types: {}",
        "version: 1\ntiers:\nworker_types:\nroutes:\nlimits:\n",
        "version: '1'\ntiers: ''\nworker_types: {a: ''}",
        "version: 1\ntiers: {a: , b: {reserve: }}\nworker_types: {c: }",
        "version: 1\ntiers: {5: {}}\nworker_types: {7: {tier: 5}}\nroutes: [{when: {worker_type: 7, tier: [5]}, tier: 5}]",
        "version: 1\ntiers: {a: &a {rate: 1/s}, b: *a}\nworker_types: {}\n",
        "version: 1\ntiers: {t: {}}\nworker_types: {}\nroutes: [{when: , tier: t}, {when: {metadata: {a: yes, b: 1.5, c: , d: null}}, tier: t}]",
        "version: 1\ntiers: {t: {rate: ' 1 / s ', max_wait: 0s, reserve: {low: 1, high: 0}}}\nworker_types: {}\nlimits: {max_payload: ' 1 KiB '}",
    ],
)
def test_what_stands_in_a_table_of_good_rules_both_take(text: str) -> None:
    assert accepted(text)
    assert complaints(text) == []


# --- what is wrong


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("tiers:", "tier:"),
        ("rate: 200/s", "rat: 200/s"),
        ("rate: 200/s", "rate: 200"),
        ("rate: 200/s", "rate: 200/m"),
        ("rate: 200/s", "rate: 0/s"),
        ("rate: 200/s", "rate: 0.0 / s"),
        ("rate: 200/s", "rate: -1/s"),
        ("rate: 200/s", "rate: [1/s]"),
        ("rate: 200/s, ", ""),
        ("burst: 400", "burst: 0"),
        ("burst: 400", "burst: 1.5"),
        ("burst: 400", "burst: many"),
        ("burst: 400", "burst: '0'"),
        ("burst: 400", "burst: true"),
        ("max_wait: 30s", "max_wait: 30"),
        ("max_wait: 30s", "max_wait: 30sec"),
        ("max_wait: 30s", "max_wait: 5min"),
        ("scope: cluster", "scope: fleet"),
        ("scope: cluster", "reserve: {low: 1.1}"),
        ("scope: cluster", "reserve: {low: -0.1}"),
        ("scope: cluster", "reserve: {low: half}"),
        ("scope: cluster", "reserve: {low: 50%}"),
        ("scope: cluster", "reserve: {critical: 0}"),
        ("scope: cluster", "reserve: 0.5"),
        ("  standard:", "  Standard:"),
        ("  standard:", "  default:"),
        ("repo_triage: {}", "repo triage: {}"),
        ("repo_triage: {}", "orchestrator: {}"),
        ("repo_triage: {}", "repo_triage: local"),
        ("repo_triage: {}", "repo_triage: {teir: local}"),
        ("{tier: local}", "{tier: Local}"),
        ("priority: critical", "priority: urgent"),
        ("priority: critical", "priority: [critical, urgent]"),
        ("priority: critical", "prio: critical"),
        ("priority: critical", "metadata: {a: [1]}"),
        ("priority: critical", "metadata: a"),
        ("  - when:", "  - if:"),
        ("    tier: frontier\n", ""),
        ("max_payload: 256KiB", "max_payload: 256KB"),
        ("max_payload: 256KiB", "max_payload: 0"),
        ("max_payload: 256KiB", "max_payload: 0MiB"),
        ("max_payload: 256KiB", "max_payload: 1.5MiB"),
        ("max_hops: 8", "max_hops: 0"),
        ("max_hops: 8", "max_hops: 8.5"),
        ("limits: {", "limits: [{"),
        ("limits:", "limit:"),
    ],
)
def test_a_typical_mistake_is_refused_by_both(old: str, new: str) -> None:
    text = GOOD.replace(old, new, 1)
    text = f"{text.rstrip()}]\n" if new.endswith("[{") else text
    assert text != GOOD
    assert not accepted(text)
    assert complaints(text)


@pytest.mark.parametrize("text", ["", "[]", "5", "''", "version: 1", "null"])
def test_what_is_no_mapping_is_refused_by_both(text: str) -> None:
    assert not accepted(text)
    assert complaints(text)


# --- the schema itself


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def keys(schema: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every key that a rules file may have, with its schema."""
    found: list[tuple[str, Any]] = []
    for name, value in schema.get("properties", {}).items():
        found += [(f"{path}.{name}", value), *keys(value, f"{path}.{name}")]
    for name, value in schema.get("$defs", {}).items():
        found += keys(value, name)
    return found


def test_every_key_is_described() -> None:
    assert len(keys(SCHEMA)) > 20
    assert not [path for path, schema in keys(SCHEMA) if not schema.get("description", "").endswith(".")]


def test_the_command_prints_it_and_the_file_beside_the_example_is_the_same() -> None:
    done = CliRunner().invoke(app, ["rules", "schema"])
    assert json.loads(done.stdout) == SCHEMA
    assert (ROOT / "configs/router_rules.schema.json").read_text() == done.stdout
    assert (ROOT / "configs/router_rules.yaml").read_text().startswith("# yaml-language-server: $schema=router_rules.schema.json\n")
