"""Work that is done again and again beside other work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable


@contextlib.asynccontextmanager
async def every(seconds: float, work: Callable[[], Awaitable[None]], *, at_once: bool = False) -> AsyncIterator[None]:
    """Do `work` every so often, for as long as the block runs.

    It ends by an event and not by a cancellation, because nats-py swallows a CancelledError that meets it while it flushes
    (`Client._flush_pending`, 2.16), and the loop would go on for ever.

    Args:
        seconds: from the end of one round to the begin of the next.
        work: one round; if it raises, asyncio logs that, and the next round comes all the same.
        at_once: begin with a round, not with a pause.
    """
    over = asyncio.Event()

    async def a_round() -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # whatever it is, a role does not silently do without these rounds from then on
            asyncio.get_running_loop().call_exception_handler({"message": f"a round of {work!r} failed", "exception": error})

    async def rounds() -> None:
        if at_once:
            await a_round()
        while not await _within(seconds, over):
            await a_round()

    task = asyncio.create_task(rounds())
    try:
        yield
    finally:
        over.set()
        await asyncio.wait({task}, timeout=1.0)
        task.cancel()
        await asyncio.wait({task})


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Was the event set within that time?"""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
