"""Decides seeded task/rules pairs and prints one digest over every decision and explanation: `python -m tests.prove.decisions PAIRS`."""

from __future__ import annotations

import hashlib
import json
import random
import sys

from heddle.messages import PRIORITIES, TaskMessage, decode
from heddle.router.buckets import Bucket
from heddle.router.decide import explain
from heddle.router.reading import parse_rules
from heddle.router.rules import Rules

TIERS = ("local", "standard", "frontier", "batch")
TYPES = tuple(f"type_{number}" for number in range(12))
PER_RULES = 1000


def rules_text(chance: random.Random) -> str:
    """A rules file of random size, with every kind of entry."""
    tiers = chance.sample(TIERS, chance.randint(1, 4))
    lines = ["version: 1", "tiers:"]
    for tier in tiers:
        numbers = f"rate: {chance.randint(1, 300)}/{chance.choice(['s', 'min', 'h'])}, burst: {chance.randint(2, 50)}, max_wait: {chance.randint(0, 90)}s"
        lines.append(f"  {tier}: {{{chance.choice(['', numbers, numbers + ', scope: cluster'])}}}")
    lines.append("worker_types:")
    for name in chance.sample(TYPES, chance.randint(1, 12)):
        override = chance.choice(["", f"tier: {chance.choice(tiers)}"])
        lines.append(f"  {name}: {{{override}}}")
    lines.append("routes:")
    for _ in range(chance.randint(0, 6)):
        conditions = chance.sample(
            ["worker_type: 'type_*'", "priority: [high, critical]", "metadata: {team: 'a*'}", f"tier: {tiers[0]}"], 2
        )
        lines.append(f"  - {{when: {{{', '.join(conditions)}}}, tier: {chance.choice(tiers)}}}")
    lines.append(f"limits: {{max_payload: {chance.randint(50, 5000)}, max_hops: {chance.randint(1, 8)}}}")
    return "\n".join(lines)


def task_body(chance: random.Random) -> bytes:
    """A task that may or may not find its way."""
    body = {
        "task_id": f"t{chance.random()}",
        "worker_type": chance.choice(TYPES),
        "payload": {"x": "y" * chance.randint(0, 400)},
        "model_tier": chance.choice(TIERS),
        "priority": chance.choice(PRIORITIES),
        "metadata": chance.choice([{}, {"team": "alpha"}, {"team": "beta", "n": 5}]),
        "hops": chance.randint(0, 9),
    }
    if chance.random() < 0.2:
        body["expires_at"] = chance.choice(["2026-01-01T00:00:00Z", "2030-01-01T00:00:00+02:00"])
    return json.dumps(body).encode()


def digest(pairs: int) -> str:
    """One digest over the decisions and explanations of that many pairs."""
    chance = random.Random(20260101)  # noqa: S311  # a seed, so that every process makes the same pairs
    told = hashlib.sha256()
    rules: Rules | None = None
    for number in range(pairs):
        if rules is None or number % PER_RULES == 0:
            rules = parse_rules(rules_text(chance))
        now = 1_767_000_000.0 + chance.random() * 1e7
        buckets = {tier: Bucket(chance.random() * 5, now - chance.random()) for tier in rules.tiers if chance.random() < 0.7}
        body = task_body(chance)
        since = now - chance.random() * 100 if chance.random() < 0.3 else None
        decision, steps = explain(decode(TaskMessage, body), rules, buckets, now, size=len(body), waiting_since=since)
        told.update(repr(decision).encode())
        told.update("\n".join(steps).encode())
    return told.hexdigest()


if __name__ == "__main__":
    print(digest(int(sys.argv[1])))  # noqa: T201
