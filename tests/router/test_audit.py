"""Recorded decisions: on a real server, bounded, and enough to explain every one of them later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from heddle import events, subjects
from heddle.broker.connect import js_api, stored_from
from heddle.cli.main import app
from heddle.control.decisions import Recorded, decisions_of, explained, kept_rules, rebuilt
from heddle.errors import Code
from heddle.messages import PRIORITIES, TaskMessage
from heddle.router import audit as auditing
from heddle.router.audit import MESSAGE_NOTES, MOST_NOTES, NOTE, PART, WAY, Audit, batch_of, level_of, recording
from heddle.router.buckets import Bucket
from heddle.router.decide import Decision, Dispatch, Refuse, Wait, decide, explain
from heddle.router.publishing import keep_text
from heddle.router.reading import parse_rules
from heddle.router.serving import routing
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer
from tests.support import FAST, Ground, eventually, on_ground

RULES = """\
version: 1
tiers:
  local: {rate: 1/h, burst: 2, max_wait: 1h}
  standard: {}
  slow: {rate: 1/h, burst: 1, max_wait: 0s}
worker_types:
  echo: {}
  fixed: {tier: local}
  limited: {tier: slow}
routes:
  - when: {worker_type: "ec*", metadata: {team: pay*}}
    tier: local
  - when: {worker_type: echo, metadata: {vip: "*"}}
    tier: standard
"""


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


async def submit(ground: Ground, **task: Any) -> None:
    await ground.publish(subjects.TASKS_INCOMING, {"payload": {"secret": "hunter2"}} | task)


async def batches(ground: Ground) -> list[list[dict[str, Any]]]:
    stored = await stored_from(ground.client, subjects.DECISIONS, 1, "heddle.decisions.*", 1000)
    return [batch_of(one.body) for one in stored]


async def recorded(ground: Ground, count: int) -> list[dict[str, Any]]:
    """The recorded decisions, once there are `count` of them."""

    async def look() -> list[dict[str, Any]]:
        return [row for batch in await batches(ground) for row in batch]

    return await eventually(look, lambda rows: len(rows) >= count)


def a_task(**more: Any) -> TaskMessage:
    return TaskMessage(**{"task_id": "t", "worker_type": "echo", "payload": {}} | more)


def noted(audit: Audit, number: int = 1) -> None:
    task, decision = a_task(), Dispatch("standard", "task", None)
    for one in range(number):
        audit.note(f"t{one}", task, decision, 1000.0 + one, 10, None)


def away() -> Any:
    """A client without a server."""
    return SimpleNamespace(is_connected=False, max_payload=1 << 20)


# --- what is recorded


async def test_every_decision_is_recorded_with_its_rule_line_level_digest_and_time(ground: Ground) -> None:
    async with ground.router(RULES, replica="r7") as router:
        await submit(ground, task_id="a", worker_type="fixed", parent_task_id="g1", priority="critical", model_tier="standard")
        await submit(ground, task_id="b", worker_type="echo")
        await submit(ground, task_id="c", worker_type="nobody")
        await submit(ground, task_id="d", worker_type="limited")
        await submit(ground, task_id="e", worker_type="limited")
        rows = await recorded(ground, 5)
        now = router.clock()
    (stored, *_) = await stored_from(ground.client, subjects.DECISIONS, 1, "heddle.decisions.*", 1)
    assert stored.subject == "heddle.decisions.r7"
    seen = ("task_id", "worker_type", "priority", "asked", "tier", "kind", "code", "rule", "line")
    assert [tuple(row[name] for name in seen) for row in rows] == [
        ("a", "fixed", "critical", "standard", "local", "dispatch", None, "worker_types.fixed", 8),
        ("b", "echo", "normal", "standard", "standard", "dispatch", None, "task", 7),
        ("c", "nobody", "normal", "standard", None, "refuse", "unknown_tier", None, None),
        ("d", "limited", "normal", "standard", "slow", "dispatch", None, "worker_types.limited", 9),
        ("e", "limited", "normal", "standard", "slow", "refuse", "rate_limited", "worker_types.limited", 9),
    ]
    assert [row["left"] for row in rows] == [1.0, None, None, 0.0, pytest.approx(0.0, abs=0.1)]
    assert {row["rules"] for row in rows} == {parse_rules(RULES).digest}
    assert all(now - 30 < row["at"] <= now for row in rows)


async def test_a_wait_and_what_came_of_it_are_recorded_in_turn(ground: Ground) -> None:
    async with ground.router(RULES.replace("1/h, burst: 2, max_wait: 1h", "2/s, burst: 1, max_wait: 1h")):
        for one in ("a", "b"):
            await submit(ground, task_id=one, worker_type="fixed", priority="critical")
        rows = await recorded(ground, 3)
    first, *others = [row for row in rows if row["task_id"] == "b"]
    assert (first["kind"], others[-1]["kind"]) == ("wait", "dispatch")
    assert (first["more"]["give_up_at"], others[-1]["more"]["since"]) == (first["at"] + 3600, first["at"])


async def test_of_a_task_s_own_content_only_the_metadata_that_a_route_looks_at_is_recorded(ground: Ground) -> None:
    metadata = {"team": "payments", "vip": [1], "token": "hunter2", "other": 5}
    async with ground.router(RULES):
        await submit(ground, task_id="a", worker_type="echo", metadata=metadata, _note="hunter2", request_id="hunter2")
        (row,) = await recorded(ground, 1)
    (stored,) = await stored_from(ground.client, subjects.DECISIONS, 1, "heddle.decisions.*", 10)
    assert row["more"]["metadata"] == {"team": "payments", "vip": None}
    assert b"hunter2" not in stored.body


async def test_a_queue_that_is_full_is_recorded_with_what_the_store_said(ground: Ground) -> None:
    config = (await js_api(ground.client, f"STREAM.INFO.{subjects.TASKS}"))["config"]
    await js_api(ground.client, f"STREAM.UPDATE.{subjects.TASKS}", config | {"max_msgs_per_subject": 1})
    async with ground.router(RULES):
        for one in ("a", "b"):
            await submit(ground, task_id=one, worker_type="echo")
        await ground.letters()
    (*_, told) = await explained(ground.client, "b")
    assert (told.decision.kind, told.decision.code, told.note) == ("refuse", "backlog_full", None)
    assert "maximum messages per subject" in told.steps[-1]


async def test_a_router_that_is_told_not_to_record_does_not(ground: Ground) -> None:
    off = routing(ground.client, ground.streams, parse_rules(RULES), FAST.router, ground.observer, "r1", audit_decisions=False)
    async with off as router:
        await submit(ground, task_id="a", worker_type="echo")
        await ground.empty(subjects.INCOMING)
        assert router.audit is None
    assert await batches(ground) == []


async def test_what_was_noted_last_is_recorded_when_the_router_stops(ground: Ground) -> None:
    async with ground.router(RULES):
        await submit(ground, task_id="a", worker_type="echo")
        await ground.empty(subjects.INCOMING)
    assert [row["task_id"] for batch in await batches(ground) for row in batch] == ["a"]


async def test_a_replica_of_the_same_name_is_not_taken_for_the_one_before(ground: Ground) -> None:
    for one in ("a", "b"):
        async with ground.router(RULES, replica="r1"):
            await submit(ground, task_id=one, worker_type="echo")
            await ground.empty(subjects.INCOMING)
    assert [row["task_id"] for row in await recorded(ground, 2)] == ["a", "b"]


async def test_decisions_under_new_rules_carry_their_digest_and_lines(ground: Ground) -> None:
    new = "# one line more\n" + RULES
    async with ground.router(RULES) as router:
        await submit(ground, task_id="a", worker_type="fixed")
        await ground.empty(subjects.INCOMING)
        router.use(parse_rules(new))
        await submit(ground, task_id="b", worker_type="fixed")
        rows = await recorded(ground, 2)
    assert [(row["rules"], row["line"]) for row in rows] == [(parse_rules(RULES).digest, 8), (parse_rules(new).digest, 9)]


# --- batches and their bounds


async def test_many_notes_become_few_messages_in_order(ground: Ground) -> None:
    audit = Audit(ground.client, ground.observer, "r1", parse_rules(RULES))
    noted(audit, 3 * MESSAGE_NOTES + 5)
    assert audit.waiting == 3 * MESSAGE_NOTES + 5
    await audit.flush()
    found = await batches(ground)
    assert [len(batch) for batch in found] == [MESSAGE_NOTES] * 3 + [5]
    assert [row["task_id"] for batch in found for row in batch] == [f"t{one}" for one in range(3 * MESSAGE_NOTES + 5)]
    assert audit.waiting == 0


async def test_what_is_noted_while_others_are_published_keeps_its_way(ground: Ground) -> None:
    audit = Audit(ground.client, ground.observer, "r1", parse_rules(RULES))
    noted(audit, MESSAGE_NOTES + 5)
    flushing = asyncio.create_task(audit.flush())
    await asyncio.sleep(0)  # the first batch is on its way, the second is not closed yet
    audit.note("late", a_task(worker_type="fixed"), Dispatch("local", "worker_types.fixed", Bucket(1.0, 5.0)), 5000.0, 10, None)
    await flushing
    await audit.flush()
    (late,) = [row for batch in await batches(ground) for row in batch if row["task_id"] == "late"]
    assert (late["worker_type"], late["tier"], late["line"]) == ("fixed", "local", 8)


async def test_the_stream_is_bounded_and_lets_the_oldest_go(ground: Ground, nats_url: str) -> None:
    async with on_ground(nats_url, StreamSettings(decisions_max_bytes=1 << 20, decisions_max_age=60)) as bounded:
        config = (await js_api(bounded.client, f"STREAM.INFO.{subjects.DECISIONS}"))["config"]
        audit = Audit(bounded.client, bounded.observer, "r1", parse_rules(RULES))
        noted(audit, 40_000)
        await audit.flush()
        rows = await recorded(bounded, 1)
    assert (config["max_bytes"], config["max_age"], config["discard"], config["allow_direct"]) == (1 << 20, 60 * 10**9, "old", True)
    assert rows[0]["task_id"] != "t0"
    assert rows[-1]["task_id"] == "t39999"


async def test_notes_wait_for_a_store_that_is_away_and_each_is_stored_once(ground: Ground) -> None:
    await js_api(ground.client, f"STREAM.DELETE.{subjects.DECISIONS}")
    audit = Audit(ground.client, ground.observer, "r1", parse_rules(RULES))
    noted(audit, 3)
    for _ in range(3):
        await audit.flush()
    assert (audit.waiting, ground.observer.total(events.BROKER_TROUBLE)) == (3, 1)
    noted(audit, 2)
    await js_api(
        ground.client,
        f"STREAM.CREATE.{subjects.DECISIONS}",
        {"name": subjects.DECISIONS, "subjects": ["heddle.decisions.*"], "allow_direct": True},
    )
    await audit.flush()
    assert [len(batch) for batch in await batches(ground)] == [3, 2]


def test_when_too_many_wait_the_oldest_go_and_are_counted_and_told_once() -> None:
    told: list[str] = []
    observer = Observer(SimpleNamespace(log=lambda _level, message, **_: told.append(message)))
    audit = Audit(away(), observer, "r1", parse_rules(RULES))
    noted(audit, MOST_NOTES + 10 * PART)
    assert MOST_NOTES - MESSAGE_NOTES <= audit.waiting <= MOST_NOTES
    assert observer.total(events.DECISIONS_LOST) == MOST_NOTES + 10 * PART - audit.waiting
    assert told == ["routing decisions are not recorded"]


def test_without_a_server_notes_wait_and_nothing_is_raised() -> None:
    audit = Audit(away(), Observer(), "r1", parse_rules(RULES))
    noted(audit)
    asyncio.run(audit.flush())
    assert audit.waiting == 1


def test_notes_that_fit_no_message_are_counted_as_lost() -> None:
    client, observer = away(), Observer()
    client.max_payload = 4500
    audit = Audit(client, observer, "r1", parse_rules(RULES))
    noted(audit, PART)
    assert (audit.waiting, observer.total(events.DECISIONS_LOST)) == (0, PART)


def test_the_longest_notes_there_can_be_fit_the_server_s_default() -> None:
    observer = Observer()
    audit = Audit(away(), observer, "r1", parse_rules(RULES))
    long = {"team": "\x01" * 300_000, "vip": 10**4000}
    for _ in range(PART):
        audit.note("\x01" * 256, a_task(metadata=long), Dispatch("standard", "task", None), 1.0, 10, None)
    assert (audit.waiting, observer.total(events.DECISIONS_LOST)) == (PART, 0)


async def test_recording_does_nothing_without_an_audit() -> None:
    async with recording(None):
        pass


def a_batch(**other: Any) -> bytes:
    way, note = dict.fromkeys(WAY) | {"new": 5}, dict.fromkeys(NOTE) | {"way": 0, "task_id": "t", "newer": 6}
    told = {"rules": "d", "way": list(way), "ways": [list(way.values())], "note": list(note), "notes": [list(note.values())], "newest": 7}
    return json.dumps(told | other).encode()


def test_a_batch_names_its_columns_and_names_that_are_not_known_are_no_hindrance() -> None:
    (row,) = batch_of(a_batch())
    assert (row["task_id"], row["rules"], row["kind"]) == ("t", "d", None)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"no", b'{"rules": "d"}', a_batch(ways=[]), a_batch(notes=[[None, "t"]]), a_batch(notes=[[]]), a_batch(notes=5)],
)
def test_what_is_no_batch_is_no_batch(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        batch_of(body)


def test_what_decisions_have_in_common_stands_in_their_batch_once() -> None:
    audit = Audit(away(), Observer(), "r1", parse_rules(RULES))
    noted(audit, 200)
    audit._close()
    batch = audit._next()
    assert batch is not None
    assert len(batch.body) < 200 * 40
    assert {(row["worker_type"], row["kind"], row["line"]) for row in batch_of(batch.body)} == {("echo", "dispatch", 7)}


# --- explaining


async def test_a_routed_task_is_explained_from_the_stream_and_the_kept_text_alone(ground: Ground) -> None:
    async with ground.router(RULES) as router:
        for one in ("a", "b"):
            await submit(ground, task_id=one, worker_type="echo", metadata={"team": "payments"}, priority="critical")
        rows = await recorded(ground, 2)
        router.use(parse_rules("version: 1\ntiers: {}\nworker_types: {}"))
    (told,) = await explained(ground.client, "b")
    digest = parse_rules(RULES).digest
    assert told.note is None
    assert told.steps == (
        f"rules {digest}; worker type 'echo', priority critical, asks for tier 'standard'",
        f"limits: {rows[1]['size']} of 262144 bytes, 0 of 8 hops",
        "routes[1] (line 11): yes, tier 'local'",
        "tiers.local (line 3): 1.00 of 2 tokens, 0 kept from critical",
        "decision: dispatch to 'local', 0.00 tokens left",
    )


async def test_the_newest_generation_s_decisions_come_in_the_order_of_time(ground: Ground) -> None:
    audit = Audit(ground.client, ground.observer, "r1", parse_rules(RULES))
    rules = parse_rules(RULES)
    await keep_text(ground.client, rules)
    fixed, replayed = a_task(worker_type="fixed"), a_task(worker_type="fixed", generation=1)
    wait, go = Wait("local", "worker_types.fixed", 2100.0, 2000.0, 5600.0), Dispatch("local", "worker_types.fixed", Bucket(0.0, 2100.0))
    audit.note("t", fixed, go, 1000.0, 10, None)
    audit.note("t", replayed, wait, 2000.0, 10, None, 0.5)
    audit.note("t", replayed, go, 2100.0, 10, 2000.0)
    await audit.flush()
    found = await decisions_of(ground.client, "t")
    assert [(one.at, one.kind, one.generation) for one in found] == [(2000.0, "wait", 1), (2100.0, "dispatch", 1)]


async def test_a_task_is_found_however_far_back_its_decision_is(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MESSAGE_NOTES", PART)
    audit = Audit(ground.client, ground.observer, "r1", parse_rules(RULES))
    read: list[tuple[int, int]] = []
    noted(audit, 100 * PART)
    await audit.flush()
    assert [one.at for one in await decisions_of(ground.client, "t3", lambda *at: read.append(at))] == [1003.0]
    assert (read[0], read[-1]) == ((32, 100), (100, 100))
    read.clear()
    assert await decisions_of(ground.client, f"t{100 * PART - 1}", lambda *at: read.append(at))
    assert read == [(32, 100)]
    assert await decisions_of(ground.client, "nobody") == []


async def test_a_batch_that_nobody_can_read_hides_no_other(ground: Ground) -> None:
    audit = Audit(ground.client, ground.observer, "r1", parse_rules(RULES))
    await ground.client.jetstream().publish("heddle.decisions.r1", b"[]")
    noted(audit, 3)
    await audit.flush()
    await ground.client.jetstream().publish("heddle.decisions.r1", b'"t1"')
    assert [one.at for one in await decisions_of(ground.client, "t1")] == [1001.0]


async def test_a_text_is_kept_once_and_read_by_its_digest(ground: Ground) -> None:
    rules = parse_rules(RULES)
    for _ in range(2):
        await keep_text(ground.client, rules)
    assert await kept_rules(ground.client, rules.digest) == rules
    assert await kept_rules(ground.client, "0" * 12) is None
    held = await stored_from(ground.client, f"KV_{subjects.RULES}", 1, f"$KV.{subjects.RULES}.{subjects.rules_text(rules.digest)}", 10)
    assert len(held) == 1


TASKS = st.builds(
    a_task,
    worker_type=st.sampled_from(["echo", "fixed", "limited", "nobody"]),
    model_tier=st.sampled_from(["local", "standard", "slow", "nowhere"]),
    priority=st.sampled_from(PRIORITIES),
    metadata=st.dictionaries(st.sampled_from(["team", "vip", "x"]), st.sampled_from(["payments", "search", True, 5, 1.5, None, ["a"]])),
    hops=st.sampled_from([0, 1, 9]),
    generation=st.integers(0, 2),
    expires_at=st.none() | st.sampled_from(["1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]),
)
WAITS = "version: 1\ntiers:\n  local: {rate: 3/min, burst: 7, max_wait: 90s}\n  standard: {rate: 7/s, burst: 3, max_wait: 1s}\n  slow: {rate: 1/h}\n"
SHARED = WAITS.replace("max_wait: 90s", "max_wait: 90s, scope: cluster") + RULES[RULES.index("worker_types:") :]
TEXTS = (RULES, WAITS + RULES[RULES.index("worker_types:") :])


@given(TASKS, st.sampled_from(TEXTS), st.floats(0, 10), st.floats(0, 100), st.none() | st.floats(0, 200), st.floats(-50, 200))
@settings(max_examples=150, deadline=None)
def test_what_is_rebuilt_is_what_was_explained_at_the_time(
    task: TaskMessage, text: str, level: float, since: float, waited: float | None, line: float
) -> None:
    """The explanation from the record is, byte for byte, the one that the router would have given."""
    rules, now = parse_rules(text), 1_790_000_000.0
    buckets = {name: Bucket(min(level, tier.burst), now - since) for name, tier in rules.tiers.items() if tier.rate}
    given: dict[str, Any] = {
        "size": 123,
        "waiting_since": None if waited is None else now - waited,
        "lines": {(name, task.priority): now + line for name in rules.tiers},
    }
    decision, steps = explain(task, rules, buckets, now, **given)
    audit = Audit(away(), Observer(), "r1", rules)
    audit.note("t", task, decision, now, 123, given["waiting_since"], level_of(rules, decision.tier, buckets, now))
    again = rebuilt(last_of(audit), rules)
    assert (again.note, again.steps) == (None, steps)


def last_of(audit: Audit) -> Recorded:
    """The last note, by way of its bytes."""
    audit._close()
    batch = audit._next()
    assert batch is not None
    row = batch_of(batch.body)[-1]
    return Recorded(**{"replica": "r1"} | row | {"more": row.get("more") or {}})


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (Wait("local", "worker_types.fixed", float("inf"), 1000.0, 1090.0), "decision: wait for 'local' by worker_types.fixed"),
        (Dispatch("local", "worker_types.fixed", Bucket(2.0, float("inf"))), "decision: dispatch to 'local', 2.00 tokens left"),
        (Refuse(Code.RATE_LIMITED, "no token", "local", "worker_types.fixed"), "decision: refuse, rate_limited by worker_types.fixed"),
    ],
)
def test_of_a_shared_tier_what_was_recorded_has_the_last_word(decision: Decision, said: str) -> None:
    rules = parse_rules(SHARED)
    audit = Audit(away(), Observer(), "r1", rules)
    buckets = {"local": Bucket(0.0, float("inf"))}
    audit.note("t", a_task(worker_type="fixed"), decision, 1000.0, 10, None, level_of(rules, "local", buckets, 1000.0))
    again = rebuilt(last_of(audit), rules)
    assert again.note is None
    assert again.steps[-1].startswith(said)


def test_without_the_rules_text_what_was_recorded_is_told() -> None:
    rules = parse_rules(RULES)
    audit = Audit(away(), Observer(), "r1", parse_rules(RULES))
    task = a_task()
    audit.note("t", task, decide(task, rules, {}, 5.0), 5.0, 10, None)
    again = rebuilt(last_of(audit), None)
    assert again.steps == ("decision: dispatch to 'standard' by task (line 7)",)
    assert rules.digest in cast("str", again.note)


def test_a_record_that_the_rules_do_not_bear_out_says_so() -> None:
    rules = parse_rules(RULES)
    audit = Audit(away(), Observer(), "r1", parse_rules(RULES))
    audit.note("t", a_task(), Dispatch("local", "routes[1]", Bucket(1.0, 5.0)), 5.0, 10, None)
    again = rebuilt(last_of(audit), rules)
    assert again.steps[-1] == "decision: dispatch to 'local' by routes[1] (line 11), 1.00 tokens left"
    assert again.note == "decided again from what is recorded, the task would dispatch to 'standard'"


# --- the command


def heddle(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["rules", "explain", *arguments])
    return done.exit_code, done.stdout, done.stderr


async def test_the_command_tells_each_decision_with_its_time_replica_and_steps(ground: Ground, nats_url: str) -> None:
    async with ground.router(RULES, replica="r7"):
        await submit(ground, task_id="a task", worker_type="fixed")
        await recorded(ground, 1)
    code, told, _ = await asyncio.to_thread(heddle, "--task", "a task", "--server", nats_url)
    assert (code, "router r7: dispatch to 'local' by worker_types.fixed (line 8)" in told) == (0, True)
    assert "  routes[1] (line 11): no, worker_type is not ec*, metadata.team is not pay*" in told.splitlines()
    code, told, _ = await asyncio.to_thread(heddle, "--task", "a task", "--server", nats_url, "-o", "json")
    (decision,) = json.loads(told)["decisions"]
    assert (decision["tier"], decision["line"], decision["left"], decision["note"]) == ("local", 8, 1.0, None)
    assert decision["steps"][-1] == "decision: dispatch to 'local', 1.00 tokens left"


async def test_when_nothing_is_recorded_the_command_says_whether_it_would_be_and_for_how_long(
    ground: Ground, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, said = await asyncio.to_thread(heddle, "--task", "x", "--server", nats_url)
    assert (code, "Recording is on" in said, "7 days" in said, "256 MiB" in said) == (1, True, True, True)
    monkeypatch.setenv("HEDDLE_TELEMETRY__LOG_ROUTING_DECISIONS", "false")
    assert "Recording is off" in (await asyncio.to_thread(heddle, "--task", "x", "--server", nats_url))[2]
    await js_api(ground.client, f"STREAM.DELETE.{subjects.DECISIONS}")
    assert "no stream of decisions" in (await asyncio.to_thread(heddle, "--task", "x", "--server", nats_url))[2]


@pytest.mark.parametrize("arguments", [(), ("task.json", "--task", "x"), ("task.json", "--server", "x"), ("--task", "x", "--at", "x")])
def test_the_command_takes_a_file_or_a_task_and_not_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert heddle(*arguments)[0] == 2
