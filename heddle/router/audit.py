"""Records every routing decision, in batches, in the bounded stream HEDDLE_DECISIONS.

A message on `heddle.decisions.<replica>` is one batch, a JSON object. What many decisions have in common stands in it once:

- `rules`: the digest of the rules, whose text HEDDLE_RULES keeps under `text.<digest>`;
- `ways`: arrays by the names in `way`. `worker_type`, `priority`, `asked`: the task, and the tier it asked for; `tier`: the tier
  it was given, null if it never came to one; `kind`: `dispatch`, `wait` or `refuse`; `code`: of a refusal; `rule`, `line`: what
  gave the tier (`routes[2]`, `worker_types.<name>`, or `task` for the task's own wish) and where it stands;
- `notes`: the decisions in the order in which they were taken, arrays by the names in `note`. `way`: the number of its way, from
  0; `task_id`; `left`: tokens in the tier's bucket afterwards, null for a tier without a limit and where no
  bucket was asked; `at`: seconds since the epoch; `size`: bytes of the message; `more`: missing, or what is not as usual:
  `generation`, `hops`, `expires_at`; `since`, since when the task had waited; of a wait `ready_at` and `give_up_at`; `metadata`,
  only those keys that some route looks at; `told`, what the store said when it and not the rules turned the task away.

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
from msgspec import Struct
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

WAY: Final = ("worker_type", "priority", "asked", "tier", "kind", "code", "rule", "line")
NOTE: Final = ("way", "task_id", "left", "at", "size", "more")
FLUSH_EVERY: Final = 0.25
"""Seconds between publishes."""
MOST_NOTES: Final = 100_000
"""Notes that may wait for the store."""
PART: Final = 64
"""Notes encoded at a time: they are still in the processor's cache, and no other task is held up."""
MESSAGE_NOTES: Final = 2048
MESSAGE_BYTES: Final = 256 * 1024
"""A batch is closed at either; by bytes also at half of what the server takes in one message."""
LAST_FLUSH: Final = 2.0
"""Seconds that the last notes may take when the router stops."""

METADATA_CHARS: Final = 256
"""Of a longer text in metadata only the beginning is recorded."""
_LARGE: Final = 2**63
_HEADROOM: Final = 4096
_json: Final = msgspec.json.Encoder().encode
_NAMES: Final = b'"way":' + _json(WAY) + b',"note":' + _json(NOTE)

_Went = tuple[str | None, str, str, str, str | None]
"""Rule, worker type, priority, tier asked for and given."""
_Key = _Went | tuple[_Went, str, str | None]
"""What a way is told by: of a dispatch that alone, of the others their kind and code too."""
_Row = tuple[int, str, float | None, float, int] | tuple[int, str, float | None, float, int, dict[str, Any]]
"""A note by `NOTE`."""


class _Batch(NamedTuple):
    """A message; `key` names it to the store, the same however often it is published."""

    body: bytes
    notes: int
    key: str


class _Open:
    """The batch that is being written. A note's way is a number in it, so a note never leaves it.

    Attributes:
        ways: the number of each way, by what it is told by.
        told: the ways, JSON already.
        rows: the last notes, no JSON yet.
        parts: the notes before them, JSON already.
        notes: how many are in the parts.
        size: bytes of what is JSON already.
        begun: when its first decision was taken.
    """

    __slots__ = ("begun", "notes", "parts", "rows", "size", "told", "ways")

    def __init__(self) -> None:
        self.ways: dict[_Key, int] = {}
        self.told: list[bytes] = []
        self.rows: list[_Row] = []
        self.parts: list[bytes] = []
        self.notes = self.size = 0
        self.begun = 0.0


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
        self._open = _Open()
        self._closed: deque[_Batch] = deque()
        self._closed_notes = 0
        self._sending: _Batch | None = None
        self._number = 0
        self._away = False
        self._loss_told = False
        self._take(rules)

    @property
    def waiting(self) -> int:
        """Notes that are not stored yet."""
        return len(self._open.rows) + self._open.notes + self._closed_notes + (self._sending.notes if self._sending else 0)

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
        """Note a decision under the rules that are followed; every 64th time the notes are encoded.

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
        batch = self._open
        went = (decision.rule, task.worker_type, task.priority, task.model_tier, decision.tier)
        if type(decision) is Dispatch:  # nearly all of them
            way = batch.ways.get(went)
            if way is None:
                way = self._new_way(went, went, "dispatch", None)
            if decision.bucket is not None:  # it says itself what it left
                left = decision.bucket.level
        else:
            kind, code = ("wait", None) if type(decision) is Wait else ("refuse", decision.code.value if type(decision) is Refuse else None)
            way = batch.ways.get((went, kind, code))
            if way is None:
                way = self._new_way((went, kind, code), went, kind, code)
        more: dict[str, Any] | None = None
        if since is not None or told is not None or task.hops or task.generation or task.expires_at is not None:
            given = {"generation": task.generation, "hops": task.hops, "expires_at": task.expires_at, "since": since, "told": told}
            more = {name: value for name, value in given.items() if value}
        if self._keys and task.metadata and (seen := _seen(self._keys, task.metadata)):
            more = {**(more or {}), "metadata": seen}
        if type(decision) is Wait:
            until = {"ready_at": decision.ready_at if isfinite(decision.ready_at) else None, "give_up_at": decision.give_up_at}
            more = {**(more or {}), **until}
        batch.rows.append((way, task_id, left, now, size) if more is None else (way, task_id, left, now, size, more))
        if len(batch.rows) >= PART:
            self._encode()

    def follow(self, rules: Rules) -> None:
        """Other rules are in force from now on."""
        self._close()
        self._take(rules)

    def _take(self, rules: Rules) -> None:
        self._digest = rules.digest
        self._entries = rules.worker_types
        self._keys = rules.metadata_keys
        self._lines: dict[str | None, int] = {route.label: route.line for route in rules.routes}
        self._lines |= {entry.label: entry.line for entry in rules.worker_types.values()}

    def _new_way(self, key: _Key, went: _Went, kind: str, code: str | None) -> int:
        rule, worker_type, priority, asked, tier = went
        line = self._lines.get(rule)
        if line is None and rule is not None and (entry := self._entries.get(worker_type)) is not None:
            line = entry.line  # the task's own wish, which its worker type allows
        row, batch = _json((worker_type, priority, asked, tier, kind, code, rule, line)), self._open
        batch.ways[key] = number = len(batch.told)
        batch.told.append(row)
        batch.size += len(row) + 1
        return number

    def _encode(self) -> None:
        """Turn the last notes into bytes; a batch that is full of them is closed, and of too many that wait for the store the oldest go."""
        batch = self._open
        self._write(batch)
        if batch.notes >= MESSAGE_NOTES or batch.size >= min(MESSAGE_BYTES, self._most() // 2):
            self._close()
        while self.waiting > MOST_NOTES and self._closed:
            oldest = self._closed.popleft()
            self._closed_notes -= oldest.notes
            self._lost(oldest.notes, f"the store was away; more than {MOST_NOTES} wait")

    def _most(self) -> int:
        return self._client.max_payload - _HEADROOM

    def _write(self, batch: _Open) -> None:
        rows, batch.rows = batch.rows, []
        if not rows:
            return
        try:
            part = _json(rows)[1:-1]
        except (ValueError, OverflowError) as error:  # not even then may a note stand in a task's way
            self._lost(len(rows), str(error))
            return
        if batch.size + len(part) > self._most():
            self._lost(len(rows), f"{batch.size + len(part)} bytes are more than the server takes in one message")
            return
        batch.begun = batch.begun or rows[0][3]
        batch.parts.append(part)
        batch.notes += len(rows)
        batch.size += len(part) + 1

    def _close(self) -> None:
        """Close the batch, if there is anything in it, and begin another."""
        batch, self._open = self._open, _Open()
        self._write(batch)
        if not batch.notes:
            return
        self._number += 1
        body = b'{"rules":%b,%b,"ways":[%b],"notes":[%b]}' % (_json(self._digest), _NAMES, b",".join(batch.told), b",".join(batch.parts))
        self._closed.append(_Batch(body, batch.notes, f"{self._replica}.{int(batch.begun * 1e6)}.{self._number}"))
        self._closed_notes += batch.notes

    def _lost(self, notes: int, reason: str) -> None:
        """Count them, and tell it once until the store takes notes again: a busy router would fill its log."""
        if not self._loss_told:
            self._loss_told = True
            self._observer.see(events.DECISIONS_LOST, "routing decisions are not recorded", reason=reason)
            notes -= 1
        self._observer.count(events.DECISIONS_LOST, times=notes)

    async def flush(self) -> None:
        """Publish what waits, as far as the store takes it; the rest waits for the next time."""
        last = self._open
        while self._client.is_connected:
            if self._sending is None and not self._closed and self._open is last:
                self._close()  # not before: while the store is away, one batch grows
            if (batch := self._next()) is None:
                return
            try:
                await submit(self._client, self._subject, batch.body, batch.key)
            except BrokerError as error:
                if not self._away:
                    self._observer.see(events.BROKER_TROUBLE, "routing decisions wait to be recorded", role="router", error=str(error))
                self._away = True
                return
            self._away = self._loss_told = False
            self._sending = None

    def _next(self) -> _Batch | None:
        """The batch to publish: the one that was not stored the last time, else the oldest that waits."""
        if self._sending is None and self._closed:
            self._sending = self._closed.popleft()
            self._closed_notes -= self._sending.notes
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


class _Told(Struct):
    """A batch as it is read; names that are not known are no hindrance."""

    rules: str
    way: list[str]
    ways: list[list[Any]]
    note: list[str]
    notes: list[list[Any]]


_read: Final = msgspec.json.Decoder(_Told).decode


def batch_of(body: bytes) -> list[dict[str, Any]]:
    """The decisions of a batch, each by the names in it.

    Raises:
        ValueError: it is no batch.
    """
    told = _read(body)
    ways = [dict(zip(told.way, way, strict=False)) for way in told.ways]
    found = []
    for row in told.notes:
        note = dict(zip(told.note, row, strict=False))
        try:
            found.append({**ways[note.pop("way")], **note, "rules": told.rules})
        except (LookupError, TypeError):
            raise ValueError("no batch of decisions: a note names no way") from None
    return found
