"""What the router decides: every code, every condition, every number, without a server, a clock or a model."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from heddle.errors import Code
from heddle.messages import PRIORITIES, TaskMessage, decode, format_time
from heddle.router.buckets import Bucket
from heddle.router.decide import Decision, Dispatch, Refuse, Wait, decide, explain
from heddle.router.reading import parse_rules
from heddle.router.rules import Rules

NOW = 1_800_000_000.0
BASE = """\
version: 1
tiers:
  local: {rate: 10/s, burst: 11, max_wait: 30s}
  standard: {rate: 4/s, burst: 20, max_wait: 2m}
  frontier: {rate: 30/min, burst: 3, max_wait: 0s, scope: cluster}
  free: {}
worker_types:
  repo_triage: {}
  release_notes: {tier: local}
  repo_scan: {}
limits: {max_payload: 1KiB, max_hops: 3}
"""


@functools.lru_cache
def rules(routes: str = "") -> Rules:
    return parse_rules(BASE + routes)


def task(**fields: Any) -> TaskMessage:
    return decode(TaskMessage, json.dumps({"worker_type": "repo_triage", "payload": {}, "model_tier": "local", **fields}).encode())


def empty(at: float = NOW) -> dict[str, Bucket]:
    return {name: Bucket(0.0, at) for name in ("local", "standard", "frontier")}


def code_of(decision: Decision) -> Code | None:
    return decision.code if isinstance(decision, Refuse) else None


def tier_of(decision: Decision) -> str | None:
    return decision.tier


def spend(priority: str, tier: str, at: float = NOW, buckets: dict[str, Bucket] | None = None, text: str = BASE) -> int:
    """How many tasks of a priority a tier takes at one moment."""
    parsed, left = rules() if text == BASE else parse_rules(text), {} if buckets is None else buckets
    for count in itertools.count():
        match decide(task(model_tier=tier, priority=priority), parsed, left, at):
            case Dispatch(bucket=Bucket() as bucket):
                left[tier] = bucket
            case _:
                return count
    raise AssertionError


# --- the codes


@pytest.mark.parametrize(("hops", "refused"), [(0, False), (3, False), (4, True), (2**53, True)])
def test_a_task_ends_as_loop_once_it_has_more_hops_than_max_hops(hops: int, refused: bool) -> None:
    assert code_of(decide(task(hops=hops), rules(), {}, NOW)) == (Code.LOOP if refused else None)


@pytest.mark.parametrize(("size", "refused"), [(0, False), (1024, False), (1025, True), (10**9, True)])
def test_a_task_ends_as_payload_too_large_above_max_payload(size: int, refused: bool) -> None:
    assert code_of(decide(task(), rules(), {}, NOW, size=size)) == (Code.PAYLOAD_TOO_LARGE if refused else None)


def test_payload_too_large_names_both_sizes() -> None:
    decision = decide(task(), rules(), {}, NOW, size=1025)
    assert decision == Refuse(Code.PAYLOAD_TOO_LARGE, "the message has 1025 bytes; limits.max_payload is 1024")


@pytest.mark.parametrize(("expires", "refused"), [(NOW - 1, True), (NOW, True), (NOW + 0.001, False), (NOW + 3600, False)])
def test_a_task_ends_as_expired_from_its_expires_at_on(expires: float, refused: bool) -> None:
    assert code_of(decide(task(expires_at=format_time(expires)), rules(), {}, NOW)) == (Code.EXPIRED if refused else None)


@pytest.mark.parametrize(
    ("expires_at", "refused"),
    [
        ("2027-01-15T08:00:00Z", True),
        ("2027-01-15T08:00:01Z", False),
        ("2027-01-15T09:00:00+01:00", True),
        ("2027-01-15T09:00:01+01:00", False),
        ("2027-01-15T07:30:00-00:30", True),
        ("2027-01-15t08:00:00.5z", False),
    ],
)
def test_expires_at_is_read_with_its_offset(expires_at: str, refused: bool) -> None:
    assert (code_of(decide(task(expires_at=expires_at), rules(), {}, NOW)) is Code.EXPIRED) is refused


@pytest.mark.parametrize(
    "routes",
    [
        "",
        "routes: [{when: {}, tier: local}]",
        "routes: [{when: {worker_type: '*'}, tier: free}]",
        "routes: [{when: {priority: critical}, tier: free}]",
    ],
)
def test_an_unknown_worker_type_is_unknown_tier_whatever_the_routes_say(routes: str) -> None:
    decision = decide(task(worker_type="stranger", priority="critical"), rules(routes), {}, NOW)
    assert code_of(decision) is Code.UNKNOWN_TIER


def test_an_unknown_worker_type_is_told_with_the_line_to_add() -> None:
    decision = decide(task(worker_type="stranger"), rules(), {}, NOW)
    assert isinstance(decision, Refuse)
    assert decision.detail == "the rules have no worker type 'stranger'; add `stranger: {}` under worker_types"


def test_an_undeclared_tier_is_unknown_tier_and_the_declared_ones_are_named() -> None:
    decision = decide(task(model_tier="cloud"), rules(), {}, NOW)
    assert decision == Refuse(
        Code.UNKNOWN_TIER, "the rules declare no tier 'cloud'; they have local, standard, frontier, free", rule="task"
    )


def test_an_undeclared_tier_does_no_harm_where_the_rules_override_it() -> None:
    assert tier_of(decide(task(worker_type="release_notes", model_tier="cloud"), rules(), {}, NOW)) == "local"


def test_an_undeclared_tier_does_no_harm_where_a_route_catches_the_task() -> None:
    routed = decide(task(model_tier="cloud"), rules("routes: [{when: {worker_type: repo_triage}, tier: free}]"), {}, NOW)
    assert tier_of(routed) == "free"


def test_without_a_token_and_with_max_wait_0_a_task_is_rate_limited_at_once() -> None:
    decision = decide(task(model_tier="frontier"), rules(), empty(), NOW)
    assert decision == Refuse(
        Code.RATE_LIMITED, "no token in tier 'frontier': 0.00 of 3 left; rate 0.5/s, max_wait 0 s", "frontier", "task"
    )


def test_a_rate_limited_task_is_told_what_was_kept_for_higher_priorities() -> None:
    decision = decide(task(model_tier="frontier", priority="low"), rules(), {"frontier": Bucket(1.5, NOW)}, NOW)
    assert isinstance(decision, Refuse)
    assert decision.detail == (
        "no token in tier 'frontier': 1.50 of 3 left, 1 of them kept for higher priorities; rate 0.5/s, max_wait 0 s"
    )


FAULTS: tuple[tuple[Code, dict[str, Any], int], ...] = (
    (Code.LOOP, {"hops": 4}, 0),
    (Code.PAYLOAD_TOO_LARGE, {}, 2000),
    (Code.EXPIRED, {"expires_at": format_time(NOW - 1)}, 0),
    (Code.UNKNOWN_TIER, {"worker_type": "stranger"}, 0),
    (Code.UNKNOWN_TIER, {"model_tier": "cloud"}, 0),
    (Code.RATE_LIMITED, {"model_tier": "frontier"}, 0),
)


@pytest.mark.parametrize("wrong", range(1, 2 ** len(FAULTS)))
def test_of_several_faults_the_first_in_order_decides(wrong: int) -> None:
    present = [fault for number, fault in enumerate(FAULTS) if wrong >> number & 1]
    fields = {key: value for _, more, _ in reversed(present) for key, value in more.items()}
    decision = decide(task(**fields), rules(), empty(), NOW, size=max(size for _, _, size in present))
    assert code_of(decision) is present[0][0]


# --- the tier


@pytest.mark.parametrize("asked", ["local", "standard", "frontier", "free"])
def test_a_task_goes_to_the_tier_that_it_names(asked: str) -> None:
    assert tier_of(decide(task(model_tier=asked), rules(), {}, NOW)) == asked


def test_a_task_that_names_no_tier_goes_to_standard() -> None:
    named_none = decode(TaskMessage, b'{"worker_type":"repo_triage","payload":{}}')
    assert tier_of(decide(named_none, rules(), {}, NOW)) == "standard"


@pytest.mark.parametrize("asked", ["local", "standard", "frontier", "free"])
def test_an_override_beats_the_tier_that_the_task_names(asked: str) -> None:
    assert decide(task(worker_type="release_notes", model_tier=asked), rules(), {}, NOW) == Dispatch(
        "local", "worker_types.release_notes", Bucket(10.0, NOW)
    )


def test_a_route_beats_an_override() -> None:
    routed = decide(task(worker_type="release_notes"), rules("routes: [{when: {worker_type: release_notes}, tier: free}]"), {}, NOW)
    assert routed == Dispatch("free", "routes[1]", None)


def test_the_first_route_that_fits_wins() -> None:
    routes = """\
routes:
- {when: {priority: critical}, tier: frontier}
- {when: {worker_type: "repo_*"}, tier: standard}
- {when: {worker_type: repo_triage}, tier: free}
"""
    assert decide(task(), rules(routes), {}, NOW) == Dispatch("standard", "routes[2]", Bucket(19.0, NOW))


def test_routes_after_one_without_conditions_are_never_reached() -> None:
    routes = "routes: [{when: {}, tier: free}, {when: {worker_type: repo_triage}, tier: local}]"
    assert decide(task(), rules(routes), {}, NOW) == Dispatch("free", "routes[1]", None)


def test_where_no_route_fits_the_worker_type_decides() -> None:
    routed = decide(task(worker_type="release_notes"), rules("routes: [{when: {priority: critical}, tier: free}]"), {}, NOW)
    assert routed == Dispatch("local", "worker_types.release_notes", Bucket(10.0, NOW))


CONDITIONS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("worker_type: repo_triage", {}, True),
    ("worker_type: repo_scan", {}, False),
    ("worker_type: 'repo_*'", {}, True),
    ("worker_type: '*_triage'", {}, True),
    ("worker_type: 'repo_?riage'", {}, True),
    ("worker_type: 'repo_[st]*'", {}, True),
    ("worker_type: 'repo_[!t]*'", {}, False),
    ("worker_type: [repo_scan, repo_triage]", {}, True),
    ("worker_type: [repo_scan, 'release_*']", {}, False),
    ("priority: critical", {"priority": "critical"}, True),
    ("priority: critical", {"priority": "high"}, False),
    ("priority: normal", {}, True),
    ("priority: [low, high]", {"priority": "low"}, True),
    ("priority: [low, high]", {"priority": "normal"}, False),
    ("tier: local", {}, True),
    ("tier: local", {"model_tier": "standard"}, False),
    ("tier: [standard, frontier]", {"model_tier": "frontier"}, True),
    ("tier: [standard, frontier]", {"model_tier": "local"}, False),
    ("metadata: {team: core}", {"metadata": {"team": "core"}}, True),
    ("metadata: {team: core}", {"metadata": {"team": "Core"}}, False),
    ("metadata: {team: core}", {"metadata": {"teams": "core"}}, False),
    ("metadata: {team: core}", {}, False),
    ("metadata: {team: 'c*'}", {"metadata": {"team": "core"}}, True),
    ("metadata: {team: 'c*'}", {"metadata": {"team": "score"}}, False),
    ("metadata: {team: '*'}", {"metadata": {"team": None}}, True),
    ("metadata: {team: '*'}", {"metadata": {"team": [1, 2]}}, True),
    ("metadata: {team: '*'}", {"metadata": {}}, False),
    ("metadata: {n: '3'}", {"metadata": {"n": 3}}, True),
    ("metadata: {n: 3}", {"metadata": {"n": "3"}}, True),
    ("metadata: {n: 'true'}", {"metadata": {"n": True}}, True),
    ("metadata: {n: 'true'}", {"metadata": {"n": False}}, False),
    ("metadata: {n: '1'}", {"metadata": {"n": True}}, False),
    ("metadata: {n: '1.5'}", {"metadata": {"n": 1.5}}, True),
    ("metadata: {n: 'a*'}", {"metadata": {"n": {"a": 1}}}, False),
    ("metadata: {a: x, b: y}", {"metadata": {"a": "x", "b": "y"}}, True),
    ("metadata: {a: x, b: y}", {"metadata": {"a": "x", "b": "z"}}, False),
    ("worker_type: 'repo_*', priority: high", {"priority": "high"}, True),
    ("worker_type: 'repo_*', priority: high", {"priority": "low"}, False),
    ("priority: high, tier: local, metadata: {a: x}", {"priority": "high", "metadata": {"a": "x"}}, True),
    ("priority: high, tier: local, metadata: {a: x}", {"priority": "high", "metadata": {"a": "y"}}, False),
    ("priority: high, tier: frontier, metadata: {a: x}", {"priority": "high", "metadata": {"a": "x"}}, False),
)


@pytest.mark.parametrize(("when", "fields", "fits"), CONDITIONS)
def test_a_route_is_taken_when_all_its_conditions_hold(when: str, fields: dict[str, Any], fits: bool) -> None:
    decision = decide(task(**fields), rules(f"routes: [{{when: {{{when}}}, tier: free}}]"), {}, NOW)
    assert (decision == Dispatch("free", "routes[1]", None)) is fits


@pytest.mark.parametrize(("when", "fields", "fits"), CONDITIONS)
def test_the_explanation_agrees_with_the_decision_on_every_route(when: str, fields: dict[str, Any], fits: bool) -> None:
    _, steps = explain(task(**fields), rules(f"routes: [{{when: {{{when}}}, tier: free}}]"), {}, NOW)
    assert any(step.startswith("routes[1] (line 12): yes") for step in steps) is fits


def test_remembered_routes_still_look_at_the_metadata_of_every_task() -> None:
    parsed = rules("routes: [{when: {metadata: {a: x}}, tier: free}, {when: {metadata: {a: y}}, tier: standard}]")
    tiers = [tier_of(decide(task(metadata={"a": value}), parsed, {}, NOW)) for value in "xyzx"]
    assert tiers == ["free", "standard", "local", "free"]


# --- the tokens


@pytest.mark.parametrize(
    ("tier", "priority", "granted"),
    [
        ("local", "low", 11 - 5),
        ("local", "normal", 11 - 2),
        ("local", "high", 11 - 1),
        ("local", "critical", 11),
        ("standard", "low", 20 - 9),
        ("standard", "normal", 20 - 4),
        ("standard", "high", 20 - 1),
        ("standard", "critical", 20),
        ("frontier", "low", 3 - 1),
        ("frontier", "normal", 3),
        ("frontier", "high", 3),
        ("frontier", "critical", 3),
    ],
)
def test_a_full_bucket_grants_its_burst_less_what_is_reserved(tier: str, priority: str, granted: int) -> None:
    assert spend(priority, tier) == granted


@pytest.mark.parametrize("priority", PRIORITIES)
def test_a_burst_of_1_serves_every_priority(priority: str) -> None:
    assert spend(priority, "local", text=BASE.replace("burst: 11", "burst: 1")) == 1


@pytest.mark.parametrize(("reserve", "granted"), [("{low: 1}", 1), ("{low: 0}", 11), ("{low: 0.05}", 11), ("{low: 0.1}", 10), ("{}", 6)])
def test_a_tier_may_say_its_own_reserve(reserve: str, granted: int) -> None:
    assert spend("low", "local", text=BASE.replace("burst: 11", f"burst: 11, reserve: {reserve}")) == granted


def test_lower_priorities_leave_what_is_reserved_to_higher_ones() -> None:
    buckets: dict[str, Bucket] = {}
    assert [spend(priority, "local", buckets=buckets) for priority in PRIORITIES] == [6, 3, 1, 1]


def test_a_tier_without_a_rate_never_runs_out() -> None:
    assert {decide(task(model_tier="free", priority=priority), rules(), {}, NOW) for priority in PRIORITIES} == {
        Dispatch("free", "task", None)
    }


def test_tiers_have_a_bucket_each() -> None:
    assert decide(task(model_tier="standard"), rules(), {"local": Bucket(0.0, NOW)}, NOW) == Dispatch("standard", "task", Bucket(19.0, NOW))


def test_a_missing_bucket_is_full() -> None:
    assert decide(task(), rules(), {}, NOW) == decide(task(), rules(), {"local": Bucket(11.0, NOW)}, NOW)


@pytest.mark.parametrize(("elapsed", "granted"), [(0, 0), (0.125, 1), (0.25, 2), (1, 10), (1.125, 11), (2, 11), (10**6, 11)])
def test_an_empty_bucket_fills_at_its_rate_up_to_its_burst(elapsed: float, granted: int) -> None:
    assert spend("critical", "local", at=NOW + elapsed, buckets=empty()) == granted


def test_a_clock_that_runs_backwards_gives_and_takes_nothing() -> None:
    decision = decide(task(), rules(), {"local": Bucket(7.0, NOW)}, NOW - 1000)
    assert decision == Dispatch("local", "task", Bucket(6.0, NOW))


@pytest.mark.parametrize(("priority", "seconds"), [("critical", 0.1), ("high", 0.2), ("normal", 0.3), ("low", 0.6)])
def test_a_task_waits_until_the_token_above_its_reserve_is_due(priority: str, seconds: float) -> None:
    decision = decide(task(priority=priority), rules(), empty(), NOW)
    assert decision == Wait("local", "task", ready_at=NOW + seconds, since=NOW, give_up_at=NOW + 30)


def test_a_half_full_bucket_is_half_the_wait() -> None:
    decision = decide(task(priority="critical"), rules(), {"local": Bucket(0.5, NOW)}, NOW)
    assert decision == Wait("local", "task", ready_at=NOW + 0.05, since=NOW, give_up_at=NOW + 30)


def test_a_wait_names_the_rule_that_chose_the_tier() -> None:
    decision = decide(task(worker_type="release_notes"), rules(), empty(), NOW)
    assert isinstance(decision, Wait)
    assert decision.rule == "worker_types.release_notes"


@pytest.mark.parametrize(
    ("waited", "expected"),
    [
        (None, Wait("local", "task", ready_at=NOW + 0.3, since=NOW, give_up_at=NOW + 30)),
        (0.0, Wait("local", "task", ready_at=NOW + 0.3, since=NOW, give_up_at=NOW + 30)),
        (10.0, Wait("local", "task", ready_at=NOW + 0.3, since=NOW - 10, give_up_at=NOW + 20)),
        (29.5, Wait("local", "task", ready_at=NOW + 0.3, since=NOW - 29.5, give_up_at=NOW + 0.5)),
    ],
)
def test_max_wait_counts_from_when_the_task_began_to_wait(waited: float | None, expected: Wait) -> None:
    assert decide(task(), rules(), empty(), NOW, waiting_since=None if waited is None else NOW - waited) == expected


@pytest.mark.parametrize("waited", [30.0, 31.5, 3600.0])
def test_a_task_that_waited_its_max_wait_is_rate_limited(waited: float) -> None:
    decision = decide(task(), rules(), empty(), NOW, waiting_since=NOW - waited)
    assert decision == Refuse(
        Code.RATE_LIMITED,
        f"no token in tier 'local' after waiting {waited:.1f} s: 0.00 of 11 left, 2 of them kept for higher priorities; "
        "rate 10/s, max_wait 30 s",
        "local",
        "task",
    )


def test_a_task_that_waited_too_long_still_goes_where_a_token_is_left() -> None:
    assert decide(task(), rules(), {}, NOW, waiting_since=NOW - 3600) == Dispatch("local", "task", Bucket(10.0, NOW))


def test_expired_comes_before_a_token() -> None:
    assert code_of(decide(task(expires_at=format_time(NOW)), rules(), {}, NOW, waiting_since=NOW - 1)) is Code.EXPIRED


# --- the line of those who wait


@pytest.mark.parametrize(
    ("lines", "level", "expected"),
    [
        ({("local", "normal"): NOW + 5}, 7.0, Wait("local", "task", ready_at=NOW + 5.1, since=NOW, give_up_at=NOW + 30)),
        ({("local", "normal"): NOW + 5}, 0.0, Wait("local", "task", ready_at=NOW + 5.1, since=NOW, give_up_at=NOW + 30)),
        ({("local", "normal"): NOW + 0.1}, 0.0, Wait("local", "task", ready_at=NOW + 0.3, since=NOW, give_up_at=NOW + 30)),
        ({("local", "normal"): NOW + 5}, 11.0, Dispatch("local", "task", Bucket(10.0, NOW))),
        ({("local", "normal"): NOW}, 7.0, Dispatch("local", "task", Bucket(6.0, NOW))),
        ({("local", "low"): NOW + 5, ("standard", "normal"): NOW + 5}, 7.0, Dispatch("local", "task", Bucket(6.0, NOW))),
        ({}, 7.0, Dispatch("local", "task", Bucket(6.0, NOW))),
    ],
    ids=["a token left", "none left", "a short line", "a full bucket", "a line that is over", "other lines", "no line"],
)
def test_a_new_task_stands_behind_those_of_its_tier_and_priority_unless_the_bucket_is_full(
    lines: dict[tuple[str, str], float], level: float, expected: Decision
) -> None:
    assert decide(task(), rules(), {"local": Bucket(level, NOW)}, NOW, lines=lines) == expected


def test_a_task_that_comes_up_stands_behind_nobody() -> None:
    decision = decide(task(), rules(), {"local": Bucket(7.0, NOW)}, NOW, waiting_since=NOW - 1, lines={("local", "normal"): NOW + 5})
    assert decision == Dispatch("local", "task", Bucket(6.0, NOW))


def test_with_max_wait_0_nobody_stands_in_line() -> None:
    decision = decide(task(model_tier="frontier"), rules(), {"frontier": Bucket(1.0, NOW)}, NOW, lines={})
    assert decision == Dispatch("frontier", "task", Bucket(0.0, NOW))


@pytest.mark.parametrize("priority", PRIORITIES)
@pytest.mark.parametrize("tier", ["local", "standard"])
def test_a_task_that_comes_exactly_when_its_token_is_due_finds_it(tier: str, priority: str) -> None:
    first = decide(task(model_tier=tier, priority=priority), rules(), empty(), NOW)
    assert isinstance(first, Wait)
    again = decide(task(model_tier=tier, priority=priority), rules(), empty(), first.ready_at, waiting_since=first.since)
    assert isinstance(again, Dispatch)


# --- pure


EVERY_TASK = [
    task(worker_type=worker_type, model_tier=tier, priority=priority, hops=hops, metadata=metadata, **more)
    for worker_type, tier, priority, hops, metadata, more in itertools.product(
        ("repo_triage", "release_notes", "stranger"),
        ("local", "frontier", "free", "cloud"),
        PRIORITIES,
        (0, 9),
        ({}, {"team": "core"}),
        ({}, {"expires_at": format_time(NOW - 1)}),
    )
]
ROUTES = """\
routes:
- {when: {worker_type: "repo_*", priority: critical, metadata: {team: core}}, tier: frontier}
- {when: {priority: [high, low], tier: local}, tier: standard}
"""


@pytest.mark.parametrize("levels", [{}, empty()])
def test_the_same_inputs_give_the_same_decision_and_explanation_byte_for_byte(levels: Mapping[str, Bucket]) -> None:
    fresh, used = parse_rules(BASE + ROUTES), parse_rules(BASE + ROUTES)
    backwards = dict(list(levels.items())[::-1])
    for one in EVERY_TASK:  # the rules remember candidates: a second pass must say what the first said
        explain(one, used, levels, NOW)
    assert [repr(explain(one, fresh, levels, NOW)) for one in EVERY_TASK] == [
        repr(explain(one, used, backwards, NOW)) for one in EVERY_TASK
    ]


@pytest.mark.parametrize("levels", [{}, empty()])
def test_the_explanation_carries_the_very_decision(levels: Mapping[str, Bucket]) -> None:
    parsed = rules(ROUTES)
    assert [explain(one, parsed, levels, NOW)[0] for one in EVERY_TASK] == [decide(one, parsed, levels, NOW) for one in EVERY_TASK]


def test_the_explanation_s_only_yes_is_the_rule_of_the_decision() -> None:
    parsed = rules(ROUTES)
    for one in EVERY_TASK:
        decision, steps = explain(one, parsed, {}, NOW)
        if isinstance(decision, Dispatch):
            told = [step.split(" ", 1)[0] for step in steps if ": yes" in step] or ["no route"]
            assert told == [decision.rule if decision.rule.startswith("routes") else "no route"]


def test_deciding_changes_neither_buckets_nor_task() -> None:
    levels = MappingProxyType({"local": Bucket(5.0, NOW)})
    before = task()
    decide(before, rules(), levels, NOW + 1)
    assert (dict(levels), before) == ({"local": Bucket(5.0, NOW)}, task())


def test_an_explanation_names_every_step_with_its_line() -> None:
    one = task(metadata={"team": "web"}, expires_at="2027-01-15T09:00:00Z")
    digest = rules(ROUTES).digest
    assert explain(one, rules(ROUTES), {"local": Bucket(5.5, NOW - 0.25)}, NOW, size=100)[1] == (
        f"rules {digest}; worker type 'repo_triage', priority normal, asks for tier 'local'",
        "limits: 100 of 1024 bytes, 0 of 3 hops",
        "expires_at 2027-01-15T09:00:00Z",
        "routes[1] (line 13): no, priority is not critical, metadata.team is not core",
        "routes[2] (line 14): no, priority is not high or low",
        "worker_types.repo_triage (line 8): no override, the task's own tier 'local'",
        "tiers.local (line 3): 8.00 of 11 tokens, 2 kept from normal",
        "decision: dispatch to 'local', 7.00 tokens left",
    )


def test_an_explanation_stops_at_the_route_that_is_taken() -> None:
    assert explain(task(priority="high"), rules(ROUTES), {}, NOW)[1][2:] == (
        "routes[1] (line 13): no, priority is not critical, metadata.team is not core",
        "routes[2] (line 14): yes, tier 'standard'",
        "tiers.standard (line 4): 20.00 of 20 tokens, 1 kept from high",
        "decision: dispatch to 'standard', 19.00 tokens left",
    )


def test_an_explanation_names_an_override_with_its_line() -> None:
    assert "worker_types.release_notes (line 9): tier 'local'" in explain(task(worker_type="release_notes"), rules(), {}, NOW)[1]


def test_an_explanation_names_a_tier_without_a_limit() -> None:
    assert explain(task(model_tier="free"), rules(), {}, NOW)[1][-2:] == ("tiers.free (line 6): no limit", "decision: dispatch to 'free'")


def test_an_explanation_of_a_wait_says_when_a_token_is_due_and_when_it_is_given_up() -> None:
    steps = explain(task(), rules(), empty(), NOW, waiting_since=NOW - 10)[1]
    assert steps[-1] == "decision: wait for 'local'; a token is due in 0.300 s, given up in 20.000 s"


def test_an_explanation_of_an_unknown_worker_type_says_that_it_is_not_there() -> None:
    steps = explain(task(worker_type="stranger"), rules(ROUTES), {}, NOW)[1]
    assert steps[2:] == (
        "worker_types: 'stranger' is not there",
        "decision: refuse, unknown_tier: the rules have no worker type 'stranger'; add `stranger: {}` under worker_types",
    )


def test_an_explanation_of_a_refusal_shows_the_bucket_that_was_empty() -> None:
    steps = explain(task(model_tier="frontier"), rules(), empty(), NOW)[1]
    assert steps[-2] == "tiers.frontier (line 5): 0.00 of 3 tokens, 0 kept from normal"
