"""Look at recorded routing decisions, and explain them by the rules that were in force then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pydantic_core
from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import Stored, js_api, last_on_subject, stored_from
from heddle.errors import Refused, RulesError
from heddle.messages import TaskMessage, format_time
from heddle.router.audit import batch_of
from heddle.router.buckets import Bucket
from heddle.router.decide import Dispatch, Refuse, Wait, explain
from heddle.router.reading import parse_rules
from heddle.router.rules import Rules

_PAGE = 32
_SKEW = 10.0
"""Seconds by which batches of different replicas may be out of order in the stream."""

Progress = Callable[[int, int], None]
"""Told how many batches have been read, of how many."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as it was recorded; its fields are the columns of `heddle.router.audit`."""

    replica: str
    task_id: str
    worker_type: str
    priority: str
    asked: str
    tier: str | None
    kind: str
    code: str | None
    rule: str | None
    line: int | None
    left: float | None
    rules: str
    at: float
    size: int
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def generation(self) -> int:
        """The task's generation: how often it was replayed."""
        return int(self.more.get("generation", 0))

    @property
    def waited(self) -> bool:
        """Had the task waited before?"""
        return "since" in self.more

    def in_words(self) -> str:
        """Where it went and by which rule."""
        by = f" by {self.rule} (line {self.line})" if self.rule else ""
        left = f", {self.left:.2f} tokens left" if self.left is not None else ""
        told = f"; {self.more['told']}" if "told" in self.more else ""
        match self.kind:
            case "dispatch":
                return f"dispatch to {self.tier!r}{by}{left}"
            case "wait":
                return f"wait for {self.tier!r}{by}, given up in {self.more['give_up_at'] - self.at:.3f} s{left}{told}"
            case _:
                return f"refuse, {self.code}{by}{left}{told}"

    def as_json(self) -> dict[str, Any]:
        """For `-o json`."""
        return {name: getattr(self, name) for name in self.__slots__} | {"at": format_time(self.at)}


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of decisions: for how long, how many bytes, and since when."""

    max_age: float
    max_bytes: int
    batches: int
    since: str | None


async def kept(client: Client) -> Kept | None:
    """What the stream of decisions keeps; None if there is no such stream.

    Raises:
        BrokerError: the store does not answer.
    """
    try:
        info = await js_api(client, f"STREAM.INFO.{subjects.DECISIONS}")
    except Refused:
        return None
    config, state = info["config"], info["state"]
    batches = int(state["messages"])
    return Kept(config["max_age"] / 1e9, int(config["max_bytes"]), batches, state["first_ts"] if batches else None)


async def decisions_of(client: Client, task_id: str, progress: Progress | None = None) -> list[Recorded]:
    """The newest decisions on a task, in the order of time: those of its newest generation, back to where it came in.

    The stream is read from its end; it has no index by task.

    Raises:
        BrokerError: the store does not answer.
    """
    try:
        state = (await js_api(client, f"STREAM.INFO.{subjects.DECISIONS}"))["state"]
    except Refused:
        return []
    first, end = int(state["first_seq"]), int(state["last_seq"]) + 1
    total = end - first
    sought = pydantic_core.to_json(task_id)
    found: list[Recorded] = []
    while end > first:
        start = max(first, end - _PAGE)
        page = await _page(client, start, end)
        for message in reversed(page):
            if sought in message.body:
                found += [one for one in _of_batch(message) if one.task_id == task_id]
        end = start
        if progress is not None:
            progress(total - (end - first), total)
        if page and _complete(found, _read(page[0])):
            break
    newest = max((one.generation for one in found), default=0)
    return sorted((one for one in found if one.generation == newest), key=lambda one: one.at)


async def _page(client: Client, start: int, end: int) -> list[Stored]:
    """The batches from `start` to before `end`; the server may give them in several answers."""
    page: list[Stored] = []
    while start < end:
        stored = [
            one for one in await stored_from(client, subjects.DECISIONS, start, "heddle.decisions.*", end - start) if one.sequence < end
        ]
        if not stored:
            break
        page += stored
        start = stored[-1].sequence + 1
    return page


def _of_batch(message: Stored) -> list[Recorded]:
    replica = message.subject.rsplit(".", 1)[-1]
    return [_recorded({"replica": replica} | row) for row in _read(message)]


def _read(message: Stored) -> list[dict[str, Any]]:
    """The decisions of a batch; none of one that nobody can read, which must not hide the others."""
    try:
        return batch_of(message.body)
    except ValueError:
        return []


def _recorded(row: dict[str, Any]) -> Recorded:
    """Columns that a newer heddle added are left aside."""
    known = {name: row.get(name) for name in Recorded.__slots__}
    return Recorded(**(known | {"more": row.get("more") or {}}))


def _complete(found: list[Recorded], oldest: list[dict[str, Any]]) -> bool:
    """Is the first decision of the newest generation found, and are we well before it?"""
    newest = max((one.generation for one in found), default=0)
    came_in = [one.at for one in found if one.generation == newest and not one.waited]
    return bool(came_in) and bool(oldest) and oldest[0]["at"] < min(came_in) - _SKEW


async def kept_rules(client: Client, digest: str) -> Rules | None:
    """The rules with this digest, from their kept text; None if it is not kept, or cannot be read by this heddle.

    Raises:
        BrokerError: the store does not answer.
    """
    text = await last_on_subject(client, f"KV_{subjects.RULES}", f"$KV.{subjects.RULES}.{subjects.rules_text(digest)}")
    try:
        return parse_rules(text.decode(), f"rules {digest}") if text else None
    except (RulesError, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class Explained:
    """A recorded decision with the steps that led to it; `note` says what keeps the steps from being the whole truth."""

    decision: Recorded
    steps: tuple[str, ...]
    note: str | None = None


async def explained(client: Client, task_id: str, progress: Progress | None = None) -> list[Explained]:
    """The newest decisions on a task, each explained from what was recorded and the kept rules alone.

    Raises:
        BrokerError: the store does not answer.
    """
    texts: dict[str, Rules | None] = {}
    answer = []
    for one in await decisions_of(client, task_id, progress):
        if one.rules not in texts:
            texts[one.rules] = await kept_rules(client, one.rules)
        answer.append(rebuilt(one, texts[one.rules]))
    return answer


def rebuilt(one: Recorded, rules: Rules | None) -> Explained:
    """A recorded decision, decided again with the rules of its digest; what was recorded has the last word."""
    last = f"decision: {one.in_words()}"
    if rules is None:
        return Explained(one, (last,), f"the text of rules {one.rules} is not kept, or not of this version")
    tier = rules.tiers.get(one.tier or "")
    buckets: dict[str, Bucket] = {}
    lines: dict[tuple[str, str], float] = {}
    if tier is not None and tier.rate is not None and one.left is not None:
        taken = 1.0 if one.kind == "dispatch" else 0.0
        buckets[tier.name] = Bucket(one.left + taken, one.at)
        if one.kind == "wait" and not one.waited and (ready_at := one.more.get("ready_at")) is not None:
            lines[tier.name, one.priority] = ready_at - 1.0 / tier.rate
    given = {
        "task_id": one.task_id,
        "worker_type": one.worker_type,
        "priority": one.priority,
        "model_tier": one.asked,
        "payload": {},
        "metadata": one.more.get("metadata", {}),
    } | {name: one.more[name] for name in ("generation", "hops", "expires_at") if name in one.more}
    task = TaskMessage(**given)
    again, steps = explain(task, rules, buckets, one.at, size=one.size, waiting_since=one.more.get("since"), lines=lines)
    match again:
        case Dispatch(tier=name):
            same = (one.kind, one.tier) == ("dispatch", name)
        case Wait(tier=name):
            same = (one.kind, one.tier) == ("wait", name)
        case Refuse(code=code, tier=name):
            same = (one.kind, one.code, one.tier) == ("refuse", code.value, name)
    if same and (one.kind != "wait" or tier is None or tier.scope == "replica"):
        return Explained(one, steps)
    told = "told" in one.more or (tier is not None and tier.scope == "cluster")
    note = None if told else f"decided again from what is recorded, the task would {steps[-1].removeprefix('decision: ')}"
    return Explained(one, (*steps[:-1], last), note)
