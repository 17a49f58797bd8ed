"""What a worker says of a task: its completed outcome, how its hops went, and how far it is. Written by hand, for it happens per task."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from heddle.envelope import Work
from heddle.macros.loading import AnyMacro
from heddle.messages import TaskResult, format_time


class Hops(NamedTuple):
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


def completed_result(task: Work, task_id: str, macro: AnyMacro, output: bytes, hops: Hops, done: float) -> bytes:
    """A completed TaskResult around an output that is JSON already.

    Args:
        task: the task.
        task_id: its id, its own or made from its place in the stream.
        macro: what ran.
        output: JSON.
        hops: how it got there.
        done: seconds since the epoch.
    """
    parent = b'"parent_task_id":%b,' % json.dumps(task.parent_task_id).encode() if task.parent_task_id else b""
    return (
        b'{"task_id":%b,"worker_type":"%b","status":"completed",%b"output":%b,"processing_time_ms":%.3f,"completed_at":"%b",'
        b'"metadata":{"tier":"%b",%b"hops":{"routed":%d,"waited":%d,"started":%d,"done":%d}}}'
    ) % (
        json.dumps(task_id).encode(),
        task.worker_type.encode(),
        parent,
        output,
        (done - hops.started) * 1000,
        _time(int(done * 1000)),
        task.model_tier.encode(),
        _version_told(macro.version, task.macro_version, macro.deprecated),
        hops.routed * 1000,
        hops.waited * 1000,
        hops.started * 1000,
        done * 1000,
    )


@lru_cache(maxsize=64)
def _time(milliseconds: int) -> bytes:
    return format_time(milliseconds / 1000).encode()


@lru_cache(maxsize=256)
def _version_told(version: int, asked: int | None, deprecated: str | None) -> bytes:
    """Members of a result's metadata, each with its comma."""
    told = {"macro_version": version, "upgraded_from": asked if asked not in {None, version} else None, "deprecated": deprecated}
    return "".join(f"{json.dumps(key)}:{json.dumps(value)}," for key, value in told.items() if value is not None).encode()


def progress_result(task: Work, task_id: str, text: str) -> bytes:
    """How far a task is, for whoever listens to its results just now; it is no outcome and nobody keeps it."""
    return TaskResult(
        task_id=task_id,
        worker_type=task.worker_type,
        status="processing",
        parent_task_id=task.parent_task_id,
        metadata={"progress": text, "tier": task.model_tier, "attempt": task.attempt},
    ).encode()
