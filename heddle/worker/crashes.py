"""Tasks that may take their process down: they run alone, and the deaths that are surely theirs are counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue

from heddle import subjects
from heddle.envelope import Work
from heddle.errors import BrokerError
from heddle.macros.loading import AnyMacro, Registry
from heddle.worker.alone import run_alone

_AT_ONCE = 2
"""Tasks that run alone at the same time: each costs a process and its imports."""


@dataclass(slots=True, eq=False)
class Crashes:
    """Runs tasks alone, and counts deaths by task and generation in HEDDLE_CRASHES, whichever worker saw them."""

    MOST: ClassVar[int] = 3
    """Deaths after which a task ends as `crashed`."""

    registry: Registry
    bucket: KeyValue
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def run(
        self,
        task: Work,
        task_id: str,
        macro: AnyMacro,
        silence: float,
        *,
        report: Callable[[str], None],
        used: Callable[[str, Mapping[str, Any]], None],
        on_bug: Callable[[str], None],
    ) -> bytes:
        """The output of a task that runs in a process of its own; raises as `run_alone`."""
        async with self._room:
            return await run_alone(
                self.registry.sources,
                macro.name,
                task.macro_version,
                bytes(task.payload),
                task_id=task_id,
                goal_id=task.parent_task_id,
                attempt=task.attempt,
                timeout=macro.timeout,
                silence=silence,
                report=report,
                used=used,
                on_bug=on_bug,
                tiers=[task.model_tier],
            )

    async def count(self, task_id: str, generation: int) -> int:
        """Count one more death; how many there were now.

        Raises:
            BrokerError: the bucket does not answer.
        """
        key = subjects.crashes(task_id, generation)
        try:
            try:
                before = int((await self.bucket.get(key)).value or b"0")
            except nats.js.errors.KeyNotFoundError:
                before = 0
            await self.bucket.put(key, str(before + 1).encode())
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerError(f"cannot count a crash of {task_id}: {error}") from None
        return before + 1
