"""Look at dead letters."""

from __future__ import annotations

from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import js_api, stored_from
from heddle.errors import Refused
from heddle.messages import DeadLetter, decode

_PAGE = 256


async def newest_letters(
    client: Client, limit: int | None = 50, *, code: str = "*", worker_type: str = "*", tier: str = "*"
) -> list[DeadLetter]:
    """The newest dead letters, newest first.

    Args:
        client: the connection.
        limit: how many; None for all.
        code: only this code; "*" for any, and likewise the others.
        worker_type: only this worker type; "-" where it is not known.
        tier: only this tier; "-" where it is not known.

    Raises:
        BrokerError: the store does not answer.
    """
    wanted = f"heddle.dead.{code}.{worker_type}.{tier}.*"
    try:
        state = (await js_api(client, f"STREAM.INFO.{subjects.DEAD}"))["state"]
    except Refused:
        return []
    first, end = int(state["first_seq"]), int(state["last_seq"]) + 1
    found: list[DeadLetter] = []
    page = _PAGE
    while end > first and (limit is None or len(found) < limit):
        start = max(first, end - page)
        stored = [message for message in await stored_from(client, subjects.DEAD, start, wanted, end - start) if message.sequence < end]
        while stored and stored[-1].sequence < end - 1 and len(stored) >= _BATCH_LIMIT:
            more = await stored_from(client, subjects.DEAD, stored[-1].sequence + 1, wanted, end - start)
            stored += [message for message in more if message.sequence < end]
            if not more:
                break
        found += [decode(DeadLetter, message.body) for message in reversed(stored)]
        end, page = start, page * 2
    return found if limit is None else found[:limit]


_BATCH_LIMIT = 1024
"""The most messages that the server gives for one batched get."""


async def letter(client: Client, letter_id: str) -> DeadLetter | None:
    """The letter with this id, or None.

    Raises:
        BrokerError: the store does not answer.
    """
    found = await stored_from(client, subjects.DEAD, 1, f"heddle.dead.*.*.*.{letter_id}", 1)
    return decode(DeadLetter, found[0].body) if found else None
