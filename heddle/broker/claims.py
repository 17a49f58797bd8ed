"""Claims in HEDDLE_CLAIMS: while one replica is at a goal, the others leave it alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue

from heddle.broker.periodic import every

_RENEW: Final = 8.0
"""Seconds between renewals of a claim, which lasts 30 s."""


class ClaimedElsewhere(Exception):  # no error: another replica is at it
    """Another replica is at it right now."""


@contextlib.asynccontextmanager
async def claimed(bucket: KeyValue, key: str, replica: str) -> AsyncIterator[None]:
    """Hold a claim for as long as the block runs, and keep it alive.

    Raises:
        ClaimedElsewhere: another replica holds it.
        nats.errors.Error: the bucket does not answer.
    """
    try:
        revision = await bucket.create(key, replica.encode())
    except nats.js.errors.KeyWrongLastSequenceError:
        raise ClaimedElsewhere(key) from None

    async def renew() -> None:
        nonlocal revision
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            revision = await bucket.update(key, replica.encode(), last=revision)

    try:
        async with every(_RENEW, renew):
            yield
    finally:
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await bucket.delete(key, last=revision)  # not the claim of a replica that took ours for dead
