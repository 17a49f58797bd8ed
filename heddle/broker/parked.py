"""Goals that wait for a person's approval: an entry for each in HEDDLE_GOAL_RECORDS, under `parked.<goal_id>.<generation>`."""

from __future__ import annotations

import base64
import contextlib

import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue
from pydantic import BaseModel, ConfigDict

from heddle import subjects
from heddle.broker.connect import stored_from
from heddle.messages import read_kept

_PAGE: int = 1000


class Parked(BaseModel):
    """A goal that waits, and what it needs to go on or to end.

    Attributes:
        until: when it stops waiting, seconds since the epoch.
        body: the goal's message, base64; its dead letter needs it.
        by: who approved it; None while nobody has.
        at: when they did, seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    goal_id: str
    generation: int
    instruction: str
    macros: tuple[str, ...]
    until: float
    body: str
    by: str | None = None
    at: float | None = None

    @property
    def key(self) -> str:
        """The key of the goal's own record."""
        return f"{self.goal_id}.{self.generation}"

    @property
    def original(self) -> bytes:
        """The goal's message as it came."""
        return base64.b64decode(self.body)

    def encode(self) -> bytes:
        """The entry's value."""
        return self.model_dump_json(exclude_none=True).encode()


async def park(records: KeyValue, goal: Parked) -> None:
    """Make sure that there is an entry; one that is there stands."""
    with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
        await records.create(subjects.parked(goal.key), goal.encode())


async def parked_goals(client: Client) -> list[Parked]:
    """Every goal that waits, or was just approved, the oldest first; an entry that is none is passed over.

    Raises:
        BrokerError: the bucket does not answer.
    """
    found: list[Parked] = []
    at = 1
    stream, subject = f"KV_{subjects.GOAL_RECORDS}", f"$KV.{subjects.GOAL_RECORDS}.{subjects.parked('*.*')}"
    while page := await stored_from(client, stream, at, subject, _PAGE):
        entries = [read_kept(Parked, one.body) for one in page if one.is_entry]
        found += [goal for goal in entries if goal is not None]
        at = page[-1].sequence + 1
    return found


async def approve(client: Client, key: str, by: str, at: float) -> Parked | None:
    """Say that a goal may go on; None if it does not wait (any more), or its entry is none. Who approves it first stays the one who did.

    Raises:
        nats.errors.Error: the bucket does not answer.
    """
    records = await client.jetstream().key_value(subjects.GOAL_RECORDS)
    while True:
        try:
            entry = await records.get(subjects.parked(key))
        except nats.js.errors.KeyNotFoundError:
            return None
        goal = read_kept(Parked, entry.value or b"")
        if goal is None or goal.by is not None:
            return goal
        approved = goal.model_copy(update={"by": by, "at": at})
        with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
            await records.update(subjects.parked(key), approved.encode(), last=entry.revision)
            return approved


async def unpark(records: KeyValue, key: str) -> None:
    """The goal has gone on, or has ended."""
    await records.purge(subjects.parked(key))
