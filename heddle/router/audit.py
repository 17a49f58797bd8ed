"""Records every routing decision, in batches, in the bounded stream HEDDLE_DECISIONS.

A message on `heddle.decisions.<replica>` is one batch: a JSON array of arrays. The first names the columns, `COLUMNS`, so that a
batch is read by names and columns can be added; each of the others is one decision, in the order in which they were taken:

- `task_id`, `parent_task_id`, `worker_type`, `priority`, `asked`: the task, and the tier it asked for;
- `tier`: the tier it was given, null if it never came to one; `kind`: `dispatch`, `wait` or `refuse`; `code`: of a refusal;
- `rule`, `line`: what gave the tier (`routes[2]`, `worker_types.<name>`, or `task` for the task's own wish) and where it stands;
- `left`: tokens in the tier's bucket afterwards, null for a tier without a limit and where no bucket was asked;
- `rules`: the digest of the rules, whose text HEDDLE_RULES keeps under `text.<digest>`;
- `at`: seconds since the epoch; `size`: bytes of the message;
- `more`: null, or what is not as usual: `generation`, `hops`, `expires_at`; `since`, since when the task had waited; of a wait
  `ready_at` and `give_up_at`; `metadata`, only those keys that some route looks at; `told`, what the store said when it and
  not the rules turned the task away.

Nothing else of a task is recorded, its payload least of all. Notes are lost only if the process dies within `FLUSH_EVERY`, or
if the store is away until more than `MOST_NOTES` wait; those are counted (`heddle_decisions_lost`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from math import isfinite
from typing import Any, Final, NamedTuple

import pydantic_core
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.connect import submit
from heddle.broker.periodic import every
from heddle.errors import BrokerError, Code
from heddle.envelope import Routable
from heddle.router.buckets import Bucket, full, refilled
from heddle.router.decide import Decision, Dispatch, Refuse, Wait
from heddle.router.rules import Rules
from heddle.telemetry.observer import Observer

COLUMNS: Final = (
    "task_id",
    "parent_task_id",
    "worker_type",
    "priority",
    "asked",
    "tier",
    "kind",
    "code",
    "rule",
    "line",
    "left",
    "rules",
    "at",
    "size",
    "more",
)
FLUSH_EVERY: Final = 0.25
"""Seconds between publishes."""
MOST_NOTES: Final = 100_000
"""Notes that may wait for the store."""
PART: Final = 64
"""Notes encoded at a time: a tenth of a millisecond, so that no task is held up."""
MESSAGE_NOTES: Final = 2048
MESSAGE_BYTES: Final = 512 * 1024
"""A batch is closed at either."""
LAST_FLUSH: Final = 2.0
"""Seconds that the last notes may take when the router stops."""

METADATA_CHARS: Final = 256
"""Of a longer text in metadata only the beginning is recorded."""
_LARGE: Final = 2**63
_HEADROOM: Final = 4096
_AT: Final = COLUMNS.index("at")
_HEAD: Final = b"[" + pydantic_core.to_json(COLUMNS)


class _Part(NamedTuple):
    """Encoded notes, or a whole message of them; `key` names it to the store, the same however often it is published."""

    body: bytes
    notes: int
    key: str


_Row = tuple[Any, ...]
"""A decision's columns."""


class Audit:
    """The notes of one replica.

    Args:
        client: the connection.
        observer: is told of notes that are lost.
        replica: the replica's name, as it stands in the subject.
    """

    def __init__(self, client: Client, observer: Observer, replica: str) -> None:
        self._client = client
        self._observer = observer
        self._subject = subjects.decisions(replica)
        self._replica = replica
        self._notes: list[_Row] = []
        self._parts: deque[_Part] = deque()
        self._encoded = 0
        self._sending: _Part | None = None
        self._number = 0
        self._rules: Rules | None = None
        self._digest = ""
        self._keys: tuple[str, ...] = ()
        self._lines: dict[str | None, int] = {}
        self._away = False

    @property
    def waiting(self) -> int:
        """Notes that are not stored yet."""
        return len(self._notes) + self._encoded + (self._sending.notes if self._sending else 0)

    def note(
        self,
        task_id: str,
        task: Routable,
        decision: Decision,
        now: float,
        rules: Rules,
        buckets: Mapping[str, Bucket],
        size: int,
        since: float | None,
        told: str | None = None,
    ) -> None:
        """Note a decision; every 64th time the notes are encoded.

        Args:
            task_id: the task's id, made if it came without one.
            task: the task.
            decision: what is done with it.
            now: when, seconds since the epoch.
            rules: the rules in force.
            buckets: the buckets that were decided with.
            size: bytes of the message.
            since: since when the task had waited, if it had.
            told: what the store said, where it and not the rules turned the task away.
        """
        if rules is not self._rules:
            self._follow(rules)
        rule = decision.rule
        line = self._lines.get(rule)
        if line is None and rule is not None and (entry := rules.worker_types.get(task.worker_type)) is not None:
            line = entry.line  # the task's own wish, which its worker type allows
        more: dict[str, Any] | None = None
        if since is not None or told is not None or task.hops or task.generation or task.expires_at is not None:
            given = {"generation": task.generation, "hops": task.hops, "expires_at": task.expires_at, "since": since, "told": told}
            more = {name: value for name, value in given.items() if value}
        if self._keys and task.metadata and (seen := _seen(self._keys, task.metadata)):
            more = {**more, "metadata": seen} if more else {"metadata": seen}
        kind, code = "dispatch", None
        if type(decision) is Dispatch:
            left = None if decision.bucket is None else decision.bucket.level
        else:
            kind, code, more = _not_dispatched(decision, more)
            left = _left(rules, decision.tier, buckets, now)
        self._notes.append(
            (
                task_id,
                task.parent_task_id,
                task.worker_type,
                task.priority,
                task.model_tier,
                decision.tier,
                kind,
                code,
                rule,
                line,
                left,
                self._digest,
                now,
                size,
                more,
            )
        )
        if len(self._notes) >= PART:
            self._encode()

    def _follow(self, rules: Rules) -> None:
        """Other rules are in force: what waits was decided by the ones before."""
        self._encode()
        self._rules, self._digest = rules, rules.digest
        self._keys = tuple(dict.fromkeys(key for route in rules.routes for key, _ in route.metadata))
        self._lines = {route.label: route.line for route in rules.routes}
        self._lines |= {entry.label: entry.line for entry in rules.worker_types.values()}

    def _encode(self) -> None:
        """Turn the notes into bytes; of too many that wait for the store the oldest go."""
        notes = self._notes
        if not notes:
            return
        self._notes = []
        self._number += 1
        key = f"{self._replica}.{int(notes[0][_AT] * 1e6)}.{self._number}"
        try:
            body = b"," + pydantic_core.to_json(notes)[1:-1]
        except (ValueError, UnicodeError) as error:  # not even then may a note stand in a task's way
            self._lost(len(notes), str(error))
            return
        if len(body) + _HEADROOM > self._client.max_payload:
            self._lost(len(notes), f"{len(body)} bytes are more than the server takes in one message")
            return
        self._parts.append(_Part(body, len(notes), key))
        self._encoded += len(notes)
        while self.waiting > MOST_NOTES and self._parts:
            oldest = self._parts.popleft()
            self._encoded -= oldest.notes
            self._lost(oldest.notes, f"the store was away; more than {MOST_NOTES} wait")

    def _lost(self, notes: int, reason: str) -> None:
        self._observer.see(events.DECISIONS_LOST, "routing decisions are not recorded", decisions=notes, reason=reason)
        for _ in range(notes - 1):
            self._observer.count(events.DECISIONS_LOST)

    async def flush(self) -> None:
        """Publish what waits, as far as the store takes it; the rest waits for the next time."""
        self._encode()
        while self._client.is_connected and (batch := self._next()) is not None:
            try:
                await submit(self._client, self._subject, batch.body, batch.key)
            except BrokerError as error:
                if not self._away:
                    self._observer.see(events.BROKER_TROUBLE, "routing decisions wait to be recorded", role="router", error=str(error))
                self._away = True
                return
            self._away = False
            self._sending = None

    def _next(self) -> _Part | None:
        """The batch to publish: the one that was not stored the last time, else one of the parts that wait."""
        if self._sending is None and self._parts:
            taken: list[_Part] = []
            notes = size = 0
            most = min(MESSAGE_BYTES, self._client.max_payload - _HEADROOM)
            while self._parts and (
                not taken or (notes + self._parts[0].notes <= MESSAGE_NOTES and size + len(self._parts[0].body) <= most)
            ):
                part = self._parts.popleft()
                taken.append(part)
                notes, size = notes + part.notes, size + len(part.body)
            self._encoded -= notes
            self._sending = _Part(b"".join([_HEAD, *(part.body for part in taken), b"]"]), notes, taken[0].key)
        return self._sending


def _seen(keys: tuple[str, ...], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Of a task's metadata what the routes look at: conditions see texts, numbers and booleans, and whether a key is there."""
    seen: dict[str, Any] = {}
    for key in keys:
        if key in metadata:
            value = metadata[key]
            if type(value) is str:
                seen[key] = value if len(value) <= METADATA_CHARS else f"{value[:METADATA_CHARS]}…"
            else:
                seen[key] = value if isinstance(value, int | float) and -_LARGE < value < _LARGE else None
    return seen


def _not_dispatched(decision: Decision, more: dict[str, Any] | None) -> tuple[str, Code | None, dict[str, Any] | None]:
    """Kind, code, and what else is to be told of a decision that is no dispatch."""
    match decision:
        case Wait(ready_at=ready_at, give_up_at=give_up_at):
            return "wait", None, {**(more or {}), "ready_at": ready_at if isfinite(ready_at) else None, "give_up_at": give_up_at}
        case Refuse(code=code):
            return "refuse", code, more
        case Dispatch():
            return "dispatch", None, more


def _left(rules: Rules, name: str | None, buckets: Mapping[str, Bucket], now: float) -> float | None:
    """The level of a bucket from which nothing was taken."""
    tier = rules.tiers.get(name or "")
    if tier is None or tier.rate is None:
        return None
    return refilled(buckets.get(tier.name) or full(tier.burst, now), tier.rate, tier.burst, now).level


@asynccontextmanager
async def recording(audit: Audit | None) -> AsyncIterator[None]:
    """Publish the notes for as long as the block runs, and what is left at its end."""
    if audit is None:
        yield
        return
    async with every(FLUSH_EVERY, audit.flush):
        yield
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST_FLUSH):
            await audit.flush()


def batch_of(body: bytes) -> list[dict[str, Any]]:
    """The decisions of a batch, each by its columns' names.

    Raises:
        ValueError: it is no batch.
    """
    match pydantic_core.from_json(body):
        case [list() as columns, *rows] if all(isinstance(row, list) for row in rows):
            return [dict(zip(columns, row, strict=False)) for row in rows]
        case _:
            raise ValueError("no batch of decisions")
