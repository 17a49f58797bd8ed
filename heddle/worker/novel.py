"""The task that a fallback makes: the same task, to go on as `novel` on the frontier tier.

It keeps its id, its goal and its generation: so it still has one outcome, and whoever waits for it waits on.
"""

from __future__ import annotations

import json
from typing import Any, Final

from heddle import subjects
from heddle.macros.loading import AnyMacro
from heddle.messages import TaskMessage, format_time

FALLBACK_OF: Final = "fallback_of"
"""Under `metadata`: the id of the task that fell back. A task that has it does not fall back again."""


def fell_back(task: TaskMessage) -> bool:
    """Is this task a fallback already?"""
    return FALLBACK_OF in task.metadata


def novel_task(task: TaskMessage, task_id: str, macro: AnyMacro, reason: str, now: float) -> TaskMessage:
    """The task for a frontier worker.

    Args:
        task: the one that falls back.
        task_id: its id, its own or made from its place in the stream.
        macro: which macro gave up.
        reason: why, in words.
        now: seconds since the epoch.
    """
    what = json.dumps(task.payload, ensure_ascii=False)
    payload: dict[str, Any] = {
        "instruction": f"{macro.intent or macro.name}\nInput: {what}",
        "context": {"macro": macro.name, "version": macro.version, "input": task.payload},
        "history": [{"macro": macro.name, "attempt": task.attempt, "error": reason, "at": format_time(now)}],
    }
    told = {FALLBACK_OF: task_id, "fallback": {"worker_type": macro.name, "macro_version": macro.version, "reason": reason}}
    return task.model_copy(
        update={
            "task_id": task_id,
            "worker_type": subjects.NOVEL,
            "model_tier": subjects.FRONTIER,
            "payload": payload,
            "metadata": {**task.metadata, **told},
            "macro_version": None,
            "attempt": 1,
            "hops": task.hops + 1,
        }
    )
