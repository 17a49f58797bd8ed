"""What looks after what takes and publishes: once a second they put right what was lost on the way."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import nats.errors

from heddle.broker.bursts import Bursts
from heddle.broker.intake import Intake
from heddle.broker.outbox import Outbox
from heddle.broker.periodic import every


@contextlib.asynccontextmanager
async def looked_after(*parts: Intake | Outbox | Bursts) -> AsyncIterator[None]:
    """Call `look_after` of the parts once a second, for as long as the block runs."""

    async def look() -> None:
        for part in parts:
            with contextlib.suppress(nats.errors.Error):
                await part.look_after()

    async with every(1.0, look):
        yield
