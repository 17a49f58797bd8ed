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

import msgspec
from msgspec import Raw
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.connect import submit
from heddle.broker.periodic import every
from heddle.envelope import Routable
from heddle.errors import BrokerError
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
PART: Final = 16
"""Notes encoded at a time: they are still in the processor's cache, and no other task is held up."""
MOST_HEADS: Final = 8192
"""Beginnings of notes that are kept as JSON."""
MESSAGE_NOTES: Final = 2048
MESSAGE_BYTES: Final = 512 * 1024
"""A batch is closed at either."""
LAST_FLUSH: Final = 2.0
"""Seconds that the last notes may take when the router stops."""

METADATA_CHARS: Final = 256
"""Of a longer text in metadata only the beginning is recorded."""
_LARGE: Final = 2**63
_HEADROOM: Final = 4096
_json: Final = msgspec.json.Encoder().encode
_HEAD: Final = b"[" + _json(COLUMNS)


class _Part(NamedTuple):
    """Encoded notes, or a whole message of them; `key` names it to the store, the same however often it is published."""

    body: bytes
    notes: int
    key: str


_Row = tuple[str, str | None, Raw, float | None, str, float, int, dict[str, Any] | None]
"""A note by `COLUMNS`. What tasks of one kind that go one way have in common, from `worker_type` to `line`, is JSON already."""


class Audit:
    """The notes of one replica.

    Args:
        client: the connection.
        observer: is told of notes that are lost.
        replica: the replica's name, as it stands in the subject.
        rules: the rules in force.
    """

    def __init__(self, client: Client, observer: Observer, replica: str, rules: Rules) -> None:
        self._client = client
        self._observer = observer
        self._subject = subjects.decisions(replica)
        self._replica = replica
        self._rows: list[_Row] = []
        self._heads: dict[tuple[str, str, str, str, str], Raw] = {}
        self._parts: deque[_Part] = deque()
        self._encoded = 0
        self._sending: _Part | None = None
        self._number = 0
        self._lines: dict[str | None, int] = {}
        self._away = False
        self._loss_told = False
        self.follow(rules)

    @property
    def waiting(self) -> int:
        """Notes that are not stored yet."""
        return len(self._rows) + self._encoded + (self._sending.notes if self._sending else 0)

    def note(
        self,
        task_id: str,
        task: Routable,
        decision: Decision,
        now: float,
        size: int,
        since: float | None,
        left: float | None = None,
        told: str | None = None,
    ) -> None:
        """Note a decision under the rules that are followed; every 16th time the notes are encoded.

        Args:
            task_id: the task's id, made if it came without one.
            task: the task.
            decision: what is done with it.
            now: when, seconds since the epoch.
            size: bytes of the message.
            since: since when the task had waited, if it had.
            left: tokens in the tier's bucket, where the decision itself does not say.
            told: what the store said, where it and not the rules turned the task away.
        """
        if type(decision) is Dispatch:  # nearly all of them
            key = (decision.rule, task.worker_type, task.priority, task.model_tier, decision.tier)
            head = self._heads.get(key) or self._kept_head(key, task, decision)
            if decision.bucket is not None:  # it says itself what it left
                left = decision.bucket.level
        else:
            head = self._head(task, decision)
        more: dict[str, Any] | None = None
        if since is not None or told is not None or task.hops or task.generation or task.expires_at is not None:
            given = {"generation": task.generation, "hops": task.hops, "expires_at": task.expires_at, "since": since, "told": told}
            more = {name: value for name, value in given.items() if value}
        if self._keys and task.metadata and (seen := _seen(self._keys, task.metadata)):
            more = {**(more or {}), "metadata": seen}
        if type(decision) is Wait:
            until = {"ready_at": decision.ready_at if isfinite(decision.ready_at) else None, "give_up_at": decision.give_up_at}
            more = {**(more or {}), **until}
        self._rows.append((task_id, task.parent_task_id, head, left, self._digest, now, size, more))
        if len(self._rows) >= PART:
            self._encode()

    def follow(self, rules: Rules) -> None:
        """Other rules are in force from now on."""
        self._digest = rules.digest
        self._entries = rules.worker_types
        self._keys = rules.metadata_keys
        self._lines = {route.label: route.line for route in rules.routes}
        self._lines |= {entry.label: entry.line for entry in rules.worker_types.values()}
        self._heads.clear()

    def _kept_head(self, key: tuple[str, str, str, str, str], task: Routable, decision: Dispatch) -> Raw:
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        self._heads[key] = head = self._head(task, decision)
        return head

    def _head(self, task: Routable, decision: Decision) -> Raw:
        """The columns from `worker_type` to `line`: values with commas between them, which is what an encoder writes of a row's part."""
        rule = decision.rule
        line = self._lines.get(rule)
        if line is None and rule is not None and (entry := self._entries.get(task.worker_type)) is not None:
            line = entry.line  # the task's own wish, which its worker type allows
        match decision:
            case Dispatch():
                kind, code = "dispatch", None
            case Wait():
                kind, code = "wait", None
            case Refuse(code=code):
                kind = "refuse"
        return Raw(_json((task.worker_type, task.priority, task.model_tier, decision.tier, kind, code, rule, line))[1:-1])

    def _encode(self) -> None:
        """Turn the notes into bytes; of too many that wait for the store the oldest go."""
        rows = self._rows
        if not rows:
            return
        self._rows = []
        self._number += 1
        key = f"{self._replica}.{int(rows[0][5] * 1e6)}.{self._number}"
        try:
            body = b"," + _json(rows)[1:-1]
        except (ValueError, OverflowError) as error:  # not even then may a note stand in a task's way
            self._lost(len(rows), str(error))
            return
        if len(body) + _HEADROOM > self._client.max_payload:
            self._lost(len(rows), f"{len(body)} bytes are more than the server takes in one message")
            return
        self._parts.append(_Part(body, len(rows), key))
        self._encoded += len(rows)
        while self.waiting > MOST_NOTES and self._parts:
            oldest = self._parts.popleft()
            self._encoded -= oldest.notes
            self._lost(oldest.notes, f"the store was away; more than {MOST_NOTES} wait")

    def _lost(self, notes: int, reason: str) -> None:
        """Count them, and tell it once until the store takes notes again: a busy router would fill its log."""
        if not self._loss_told:
            self._loss_told = True
            self._observer.see(events.DECISIONS_LOST, "routing decisions are not recorded", reason=reason)
            notes -= 1
        self._observer.count(events.DECISIONS_LOST, times=notes)

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
            self._away = self._loss_told = False
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


def level_of(rules: Rules, name: str | None, buckets: Mapping[str, Bucket], now: float) -> float | None:
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
    match msgspec.json.decode(body):
        case [list() as columns, *rows] if all(isinstance(row, list) for row in rows):
            return [dict(zip(columns, row, strict=False)) for row in rows]
        case _:
            raise ValueError("no batch of decisions")
