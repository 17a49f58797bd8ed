"""Where `heddle eval --admit` keeps its results, so that the orchestrators find them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from heddle.broker.admissions import Admissions, admissions
from heddle.broker.connect import connected
from heddle.broker.streams import make_streams
from heddle.settings import Settings
from heddle.telemetry.observer import Observer


@asynccontextmanager
async def kept_results(url: str, settings: Settings) -> AsyncIterator[Admissions]:
    """The results on a server, for as long as the block runs.

    Raises:
        NoServer: nothing answers there.
        BrokerError: the server does not do what is asked.
    """
    observer = Observer()
    async with connected(url, "cli", observer) as client:
        await make_streams(client, settings.streams, observer)
        yield await admissions(client)
