"""The gate before the planner's model: it is tested on the macros once, and plans no goal before it has passed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final

from heddle import events
from heddle.broker.claims import ClaimedElsewhere
from heddle.errors import ModelUnavailable
from heddle.evaluation.admission import Verdict
from heddle.evaluation.admitting import Kept, admit
from heddle.llm.model import Model
from heddle.planning.offer import Offers
from heddle.settings import Settings
from heddle.telemetry.observer import Observer

REMEDY = "use another model, waive what it lacks with planner.admit, or do without the test: HEDDLE_PLANNER__ADMISSION=off"
_AGAIN: Final = 1.0
"""Seconds until a replica looks again whether another one has done with the test."""


@dataclass(slots=True, eq=False)
class Admission:
    """One model and whether it may plan.

    Attributes:
        turn: a block that one replica is in at a time, so that those that start together test the model once; ClaimedElsewhere to the others.
        told: how the test stands, such as `admitting 7/20`; None before it began.
        refused: set once the model has not passed.
    """

    model: Model
    offers: Offers
    settings: Settings
    kept: Kept
    observer: Observer
    turn: Callable[[], AbstractAsyncContextManager[None]]
    told: str | None = None
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    _verdict: Verdict | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def passed(self) -> tuple[str, ...]:
        """Wait until the model has passed its test; what is to be told with every goal that it plans.

        Raises:
            ModelUnavailable: the model server cannot be reached or lacks the model, or the model has not passed.
        """
        async with self._lock:
            if self._verdict is None:
                self._verdict = await self._tested()
                self.told = "admitted" if self._verdict.admitted else "not admitted"
                told = {"model": self.model.name, "problems": self._verdict.problems, "warnings": self._verdict.warnings}
                event = events.MODEL_ADMITTED if self._verdict.admitted else events.MODEL_REFUSED
                self.observer.see(event, f"the model is {self.told}", **told)
        if not self._verdict.admitted:
            self.refused.set()
            raise ModelUnavailable(f"{self.model.name} is not admitted: {'; '.join(self._verdict.problems)}", REMEDY)
        return self._verdict.warnings

    async def _tested(self) -> Verdict:
        while True:
            try:
                async with self.turn():
                    return await admit(self.model, self.offers, self.settings, self.kept, self._progress)
            except ClaimedElsewhere:
                self.told = "another replica tests it"
                await asyncio.sleep(_AGAIN)

    def _progress(self, done: int, of: int) -> None:
        self.told = f"admitting {done}/{of}"
        if done % 5 == 0:
            self.observer.see(events.MODEL_TESTED, f"admitting {done}/{of}", model=self.model.name)
