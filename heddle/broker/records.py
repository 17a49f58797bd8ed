"""What is kept of goals, in HEDDLE_GOAL_RECORDS: their states, and the model calls that were begun for them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import nats.js.errors
from nats.js.kv import KeyValue

from heddle import subjects
from heddle.goals import GoalState


@dataclass(frozen=True, slots=True)
class GoalRecords:
    """The bucket; every method raises `nats.errors.Error` if it does not answer."""

    bucket: KeyValue

    async def state(self, key: str) -> GoalState | None:
        """The state of a goal; None if it has none yet."""
        try:
            entry = await self.bucket.get(key)
        except nats.js.errors.KeyNotFoundError:
            return None
        return GoalState.model_validate_json(entry.value or b"")

    async def store(self, state: GoalState) -> None:
        """Keep the state of a goal that its claim's holder works on."""
        await self.bucket.put(state.key, state.encode())

    async def keep(self, state: GoalState, record: dict[str, Any]) -> None:
        """Keep the record of a goal that has ended; another replica may have done it, and have amended it since."""
        with contextlib.suppress(nats.js.errors.KeyWrongLastSequenceError):
            try:
                entry = await self.bucket.get(state.key)
            except nats.js.errors.KeyNotFoundError:
                await self.bucket.create(state.key, state.model_copy(update={"record": record}).encode())
                return
            there = GoalState.model_validate_json(entry.value or b"")
            if there.record is None:
                await self.bucket.update(state.key, there.model_copy(update={"record": record}).encode(), last=entry.revision)

    async def calls_begun(self, key: str) -> int:
        """How many model calls were begun for a goal, by processes that died in them: all others left a plan, or took them back."""
        try:
            entry = await self.bucket.get(subjects.model_calls(key))
        except nats.js.errors.KeyNotFoundError:
            return 0
        return int(entry.value or b"0")

    async def count_calls(self, key: str, begun: int) -> None:
        """Say how many model calls were begun."""
        await self.bucket.put(subjects.model_calls(key), str(begun).encode())
