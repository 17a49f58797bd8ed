"""Outcomes: a task or goal ends by its one message in HEDDLE_OUTCOMES, and the first one wins."""

from __future__ import annotations

from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import MAXIMUM_REACHED, last_on_subject
from heddle.broker.outbox import Outbox
from heddle.errors import Refused


class OutcomesFull(Refused):
    """The store of outcomes is at its cap: nothing may be acked until there is room."""


async def stored_outcome(client: Client, subject: str) -> bytes | None:
    """The outcome that a task or goal already has, if any.

    Raises:
        BrokerError: the store did not answer.
    """
    return await last_on_subject(client, subjects.OUTCOMES, subject)


async def first_outcome(client: Client, outbox: Outbox, subject: str, body: bytes) -> bytes:
    """Write an outcome unless there is one; the one that stands comes back.

    Raises:
        OutcomesFull: the store has no room and holds no outcome of this task.
        Refused: the server refused for another reason.
    """
    try:
        await outbox.publish(subject, body)
    except Refused as refused:
        return await winner(client, subject, refused)
    return body


async def winner(client: Client, subject: str, refused: Refused) -> bytes:
    """The outcome that stood in the way of ours.

    The error only says that the store refused: one subject's cap and the whole stream's have the same code.

    Raises:
        OutcomesFull: there is none, so the stream itself is full.
        Refused: the refusal had another cause.
    """
    if refused.code != MAXIMUM_REACHED:
        raise refused
    stands = await stored_outcome(client, subject)
    if stands is None:
        raise OutcomesFull(f"{subjects.OUTCOMES} is full: {refused}", refused.code)
    return stands
