"""The results of models' tests, in HEDDLE_META, so that a model is tested once for all replicas."""

from __future__ import annotations

from dataclasses import dataclass

import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import subjects


@dataclass(frozen=True, slots=True)
class Admissions:
    """Results by the keys that `subjects.admission` makes; made by `admissions`."""

    bucket: KeyValue

    async def read(self, key: str) -> bytes | None:
        """What is kept; None if nothing is.

        Raises:
            nats.errors.Error: the bucket does not answer.
        """
        try:
            return (await self.bucket.get(key)).value
        except nats.js.errors.KeyNotFoundError:
            return None

    async def write(self, key: str, value: bytes) -> None:
        """Keep a result.

        Raises:
            nats.errors.Error: the bucket does not answer.
        """
        await self.bucket.put(key, value)


async def admissions(client: Client) -> Admissions:
    """What is kept on a server whose streams are made.

    Raises:
        nats.errors.Error: there is no bucket, or it does not answer.
    """
    return Admissions(await client.jetstream().key_value(subjects.META))
