"""Dead letters that are found by reading them: it takes a while, so it goes on beside the pages that wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from nats.aio.client import Client

from heddle.control import deadletters
from heddle.control.deadletters import Page, Wanted

PATIENCE: Final = 10.0
"""Seconds without a look after which a search gives up."""
MOST: Final = 8
"""Searches at the same time."""


class Abandoned(Exception):  # no error: nobody waits for it
    """Nobody looks at this search any more."""


@dataclass(slots=True, eq=False)
class Found:
    """How far a search is: letters read, of `total`; `page` once it is done."""

    looked: float
    read: int = 0
    total: int = 0
    page: Page | None = None
    problem: str | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Searches:
    """The searches that somebody looks at."""

    clock: Callable[[], float] = time.monotonic
    found: dict[Hashable, Found] = field(default_factory=dict)

    async def look(self, client: Client, wanted: Wanted, before: int | None) -> Found:
        """How far this search is; it is begun if nobody has, and done again once its answer was looked at for a while."""
        now = self.clock()
        for key in [key for key, one in self.found.items() if now - one.looked > PATIENCE]:
            self._drop(key)
        key = (wanted, before)
        if key not in self.found:
            while len(self.found) >= MOST:
                self._drop(min(self.found, key=lambda one: self.found[one].looked))
            found = self.found[key] = Found(now)
            found.task = asyncio.create_task(self._run(client, wanted, before, found), name="dashboard-search")
        found = self.found[key]
        found.looked = now
        return found

    async def _run(self, client: Client, wanted: Wanted, before: int | None, found: Found) -> None:
        def progress(read: int, total: int) -> None:
            found.read, found.total = read, total
            if self.clock() - found.looked > PATIENCE:
                raise Abandoned

        try:
            found.page = await deadletters.page(client, wanted, before=before, progress=progress)
        except Abandoned:
            return
        except Exception as error:  # noqa: BLE001  # whatever it is: the page says so
            found.problem = str(error) or type(error).__name__

    def _drop(self, key: Hashable) -> None:
        self.found.pop(key).looked = float("-inf")  # it notices at its next step

    def end(self) -> None:
        """End them all."""
        for key in list(self.found):
            self._drop(key)
