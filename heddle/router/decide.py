"""The decision: one pure function from a task, the rules, the buckets and the time to where the task goes.

No model, no I/O, no clock, no randomness: the same inputs give the same decision and the same explanation, byte for byte, on
every machine (docs/adr/002-deterministic-router.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from heddle.envelope import Routable
from heddle.errors import Code
from heddle.messages import parse_time
from heddle.router.buckets import NO_TOKENS, Bucket, full, ready_at, refilled, take
from heddle.router.rules import Route, Rules, Tier, WorkerType


class Dispatch(Struct, frozen=True, gc=False):
    """The task goes to `tier`; `bucket` is what is left there (None for a tier without a limit)."""

    tier: str
    rule: str
    bucket: Bucket | None


class Wait(Struct, frozen=True, gc=False):
    """The task has no token yet; one may be there at `ready_at`. It waits since `since`, and until `give_up_at` at most.

    All three are seconds since the epoch.
    """

    tier: str
    rule: str
    ready_at: float
    since: float
    give_up_at: float


class Refuse(Struct, frozen=True, gc=False):
    """The task ends here, with a reasoned dead letter."""

    code: Code
    detail: str
    tier: str | None = None
    rule: str | None = None


NO_LINES: Final[Mapping[tuple[str, str], float]] = MappingProxyType({})

Decision = Dispatch | Wait | Refuse


def decide(
    task: Routable,
    rules: Rules,
    buckets: Mapping[str, Bucket],
    now: float,
    *,
    size: int = 0,
    waiting_since: float | None = None,
    lines: Mapping[tuple[str, str], float] = NO_LINES,
) -> Decision:
    """Where a task goes.

    Args:
        task: the decoded message.
        rules: the rules in force.
        buckets: the tiers' buckets; one that is missing is full.
        now: seconds since the epoch.
        size: bytes of the whole message.
        waiting_since: when the task began to wait for a token, seconds since the epoch; None if it never did.
        lines: per (tier, priority), when the last of those who wait comes up; whoever is new stands behind them.
    """
    limits = rules.limits
    if task.hops > limits.max_hops:
        return Refuse(Code.LOOP, f"came through heddle.tasks.incoming {task.hops} times; limits.max_hops is {limits.max_hops}")
    if size > limits.max_payload:
        return Refuse(Code.PAYLOAD_TOO_LARGE, f"the message has {size} bytes; limits.max_payload is {limits.max_payload}")
    if task.expires_at is not None and parse_time(task.expires_at).timestamp() <= now:
        return Refuse(Code.EXPIRED, f"expires_at {task.expires_at} had passed before the task was routed")
    entry = rules.worker_types.get(task.worker_type)
    if entry is None:
        return Refuse(
            Code.UNKNOWN_TIER, f"the rules have no worker type {task.worker_type!r}; add `{task.worker_type}: {{}}` under worker_types"
        )
    name, rule = resolve(task, rules, entry)
    tier = rules.tiers.get(name)
    if tier is None:
        return Refuse(Code.UNKNOWN_TIER, f"the rules declare no tier {name!r}; they have {', '.join(rules.tiers)}", rule=rule)
    if tier.rate is None:
        return Dispatch(name, rule, None)
    bucket = buckets.get(name) or full(tier.burst, now)
    kept = tier.kept[task.priority] if bucket.at != NO_TOKENS.at else 0  # who leased a token has left others theirs already
    last = lines.get((name, task.priority), 0.0) if waiting_since is None and lines else 0.0
    if last <= now or refilled(bucket, tier.rate, tier.burst, now).level >= tier.burst:  # what runs over is nobody's
        left = take(bucket, tier.rate, tier.burst, kept, now)
        if left is not None:
            return Dispatch(name, rule, left)
    since = now if waiting_since is None else waiting_since
    return _without_token(tier, rule, refilled(bucket, tier.rate, tier.burst, now), kept, since, now, last)


def resolve(task: Routable, rules: Rules, entry: WorkerType) -> tuple[str, str]:
    """The tier's name and the rule that gave it: the first route that fits, else the type's own tier, else the one asked for."""
    if rules.routes and (route := rules.route(task.worker_type, task.priority, task.model_tier, task.metadata)) is not None:
        return route.tier, route.label
    if entry.tier is not None:
        return entry.tier, entry.label
    return task.model_tier, "task"


def _without_token(tier: Tier, rule: str, bucket: Bucket, kept: int, since: float, now: float, last: float) -> Decision:
    rate = tier.rate or 1.0
    give_up_at = since + tier.max_wait
    if now >= give_up_at:
        waited = f" after waiting {now - since:.1f} s" if now > since else ""
        kept_for = f", {kept} of them kept for higher priorities" if kept else ""
        return Refuse(
            Code.RATE_LIMITED,
            f"no token in tier {tier.name!r}{waited}: {bucket.level:.2f} of {tier.burst} left{kept_for}; "
            f"rate {rate:g}/s, max_wait {tier.max_wait:g} s",
            tier.name,
            rule,
        )
    behind = last + 1.0 / rate if last > now else 0.0
    return Wait(tier.name, rule, max(ready_at(bucket, rate, kept), behind), since, give_up_at)


def explain(
    task: Routable,
    rules: Rules,
    buckets: Mapping[str, Bucket],
    now: float,
    *,
    size: int = 0,
    waiting_since: float | None = None,
    lines: Mapping[tuple[str, str], float] = NO_LINES,
) -> tuple[Decision, tuple[str, ...]]:
    """The decision, and every step to it in words."""
    decision = decide(task, rules, buckets, now, size=size, waiting_since=waiting_since, lines=lines)
    return decision, tuple(_steps(task, rules, buckets, now, size, decision))


def _steps(task: Routable, rules: Rules, buckets: Mapping[str, Bucket], now: float, size: int, decision: Decision) -> Iterator[str]:
    yield f"rules {rules.digest}; worker type {task.worker_type!r}, priority {task.priority}, asks for tier {task.model_tier!r}"
    yield f"limits: {size} of {rules.limits.max_payload} bytes, {task.hops} of {rules.limits.max_hops} hops"
    if task.expires_at is not None:
        yield f"expires_at {task.expires_at}"
    entry = rules.worker_types.get(task.worker_type)
    if entry is None:
        yield f"worker_types: {task.worker_type!r} is not there"
    else:
        yield from _routes_in_words(task, rules, entry)
    match decision:
        case Dispatch(tier=tier, bucket=left):
            yield _bucket_in_words(rules.tiers[tier], buckets, task.priority, now)
            yield f"decision: dispatch to {tier!r}" + ("" if left is None else f", {left.level:.2f} tokens left")
        case Wait(tier=tier, ready_at=at, give_up_at=until):
            yield _bucket_in_words(rules.tiers[tier], buckets, task.priority, now)
            yield f"decision: wait for {tier!r}; a token is due in {at - now:.3f} s, given up in {until - now:.3f} s"
        case Refuse(code=code, detail=detail, tier=tier):
            if tier is not None:
                yield _bucket_in_words(rules.tiers[tier], buckets, task.priority, now)
            yield f"decision: refuse, {code.value}: {detail}"


def _routes_in_words(task: Routable, rules: Rules, entry: WorkerType) -> Iterator[str]:
    for route in rules.routes:
        missed = list(_misses(route, task))
        label = f"routes[{route.number}] (line {route.line})"
        yield f"{label}: no, {', '.join(missed)}" if missed else f"{label}: yes, tier {route.tier!r}"
        if not missed:
            return
    label = f"worker_types.{entry.name} (line {entry.line})"
    yield f"{label}: tier {entry.tier!r}" if entry.tier else f"{label}: no override, the task's own tier {task.model_tier!r}"


def _misses(route: Route, task: Routable) -> Iterator[str]:
    """The conditions of a route that do not hold, each tried by itself with the very code that decides."""
    for condition, alone in (
        ("worker_type", Route(route.number, route.tier, route.line, worker_type=route.worker_type)),
        ("priority", Route(route.number, route.tier, route.line, priority=route.priority)),
        ("tier", Route(route.number, route.tier, route.line, asked=route.asked)),
    ):
        if not alone.fits(task.worker_type, task.priority, task.model_tier):
            wanted = {"worker_type": route.worker_type, "priority": route.priority, "tier": route.asked}[condition]
            yield f"{condition} is not {' or '.join(wanted)}"
    for key, glob in route.metadata:
        if not Route(route.number, route.tier, route.line, metadata=((key, glob),)).fits_metadata(task.metadata):
            yield f"metadata.{key} is not {glob}"


def _bucket_in_words(tier: Tier, buckets: Mapping[str, Bucket], priority: str, now: float) -> str:
    if tier.rate is None:
        return f"tiers.{tier.name} (line {tier.line}): no limit"
    bucket = refilled(buckets.get(tier.name) or full(tier.burst, now), tier.rate, tier.burst, now)
    return f"tiers.{tier.name} (line {tier.line}): {bucket.level:.2f} of {tier.burst} tokens, {tier.kept[priority]} kept from {priority}"
