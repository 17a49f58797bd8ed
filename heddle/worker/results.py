"""What a worker says of a task: its completed outcome, how its hops went, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from heddle.envelope import Work
from heddle.macros.loading import AnyMacro
from heddle.messages import TaskResult, format_time


class Hops(Struct, frozen=True):
    """When a task was routed (stored in HEDDLE_TASKS), taken and started; seconds since the epoch."""

    routed: float
    waited: float
    started: float

    def until(self, done: float) -> dict[str, int]:
        """In milliseconds since the epoch, with its end."""
        return {
            "routed": int(self.routed * 1000),
            "waited": int(self.waited * 1000),
            "started": int(self.started * 1000),
            "done": int(done * 1000),
        }


def completed_result(
    task: Work, task_id: str, macro: AnyMacro, output: bytes, hops: Hops, done: float, used: tuple[str, Mapping[str, Any]] | None = None
) -> bytes:
    """A completed TaskResult around an output that is JSON already.

    Args:
        task: the task.
        task_id: its id, its own or made from its place in the stream.
        macro: what ran.
        output: JSON.
        hops: how it got there.
        done: seconds since the epoch.
        used: the model that was used, and what it took.
    """
    asked = task.macro_version
    metadata = _Metadata(
        tier=task.model_tier,
        hops=_Hops(int(hops.routed * 1000), int(hops.waited * 1000), int(hops.started * 1000), int(done * 1000)),
        macro_version=macro.version,
        upgraded_from=asked if asked is not None and asked != macro.version else None,
        deprecated=macro.deprecated,
    )
    return _encode(
        _Completed(
            task_id=task_id,
            worker_type=task.worker_type,
            parent_task_id=task.parent_task_id,
            output=Raw(output),
            processing_time_ms=round((done - hops.started) * 1000, 3),
            completed_at=_time(int(done * 1000)),
            metadata=metadata,
            model_used=used[0] if used is not None else None,
            token_usage=dict(used[1]) if used is not None else None,
        )
    )


class _Hops(Struct):
    routed: int
    waited: int
    started: int
    done: int


class _Metadata(Struct, omit_defaults=True, kw_only=True):
    tier: str
    hops: _Hops
    macro_version: int
    upgraded_from: int | None = None
    deprecated: str | None = None


class _Completed(Struct, omit_defaults=True, kw_only=True, tag_field="status", tag="completed"):
    """A completed TaskResult, which happens per task and is written by msgspec."""

    task_id: str
    worker_type: str
    parent_task_id: str | None = None
    output: Raw
    processing_time_ms: float
    completed_at: str
    metadata: _Metadata
    model_used: str | None = None
    token_usage: dict[str, Any] | None = None


_encode: Final = msgspec.json.Encoder().encode


@lru_cache(maxsize=64)
def _time(milliseconds: int) -> str:
    return format_time(milliseconds / 1000)


def progress_result(task: Work, task_id: str, text: str) -> bytes:
    """How far a task is, for whoever listens to its results just now; it is no outcome and nobody keeps it."""
    return TaskResult(
        task_id=task_id,
        worker_type=task.worker_type,
        status="processing",
        parent_task_id=task.parent_task_id,
        metadata={"progress": text, "tier": task.model_tier, "attempt": task.attempt},
    ).encode()
