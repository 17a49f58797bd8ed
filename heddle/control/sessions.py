"""Read session logs and the records of goals from the server, for the gate."""

from __future__ import annotations

import asyncio

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import js_api, stored_from
from heddle.errors import Refused
from heddle.gate.reading import Logs, Place, read_lines

_PAGE = 500
_TOGETHER = 32


async def stored_logs(client: Client) -> Logs:
    """All events that the stream keeps, and all goals whose records are kept; a place in them is the message's sequence.

    Raises:
        BrokerError: the store does not answer.
    """
    lines = [*await _events(client), *await _records(client)]
    return read_lines(lines)


async def _events(client: Client) -> list[tuple[Place, bytes]]:
    try:
        state = (await js_api(client, f"STREAM.INFO.{subjects.SESSIONS}"))["state"]
    except Refused:
        return []
    found: list[tuple[Place, bytes]] = []
    at, last = int(state["first_seq"]), int(state["last_seq"])
    while at <= last and (page := await stored_from(client, subjects.SESSIONS, at, "heddle.sessions.*", _PAGE)):
        found += [(Place(subjects.SESSIONS, one.sequence), one.body) for one in page]
        at = page[-1].sequence + 1
    return found


async def _records(client: Client) -> list[tuple[Place, bytes]]:
    """The goals' states, which have the payloads of their tasks."""
    try:
        bucket = await client.jetstream().key_value(subjects.GOAL_RECORDS)
        keys = [key for key in await bucket.keys() if subjects.is_goal_record(key)]
    except (nats.js.errors.NotFoundError, nats.js.errors.NoKeysError, nats.errors.Error, TimeoutError):
        return []
    found: list[tuple[Place, bytes]] = []
    for start in range(0, len(keys), _TOGETHER):
        entries = await asyncio.gather(*(bucket.get(key) for key in keys[start : start + _TOGETHER]), return_exceptions=True)
        found += [
            (Place(subjects.GOAL_RECORDS, entry.revision or 1), entry.value)
            for entry in entries
            if not isinstance(entry, BaseException) and entry.value
        ]
    return found
