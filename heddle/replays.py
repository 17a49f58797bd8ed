"""What is sent when a dead letter is replayed: the original with its generation raised, its attempt cleared and one more hop. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from heddle import subjects
from heddle.errors import Code, DecodeError
from heddle.messages import DeadLetter, Goal, Message, TaskMessage, decode, readable
from heddle.splice import with_number, with_text

_HEADROOM: Final = 4096
"""Bytes that the headers of a message may take."""


@dataclass(frozen=True, slots=True)
class Again:
    """A message to be sent again.

    Attributes:
        subject: where to.
        outcome: where its outcome will be.
        message: the same as `body`, read.
        task_id: the task's id, or the goal's.
    """

    body: bytes
    subject: str
    outcome: str
    message: TaskMessage | Goal
    task_id: str

    @property
    def generation(self) -> int:
        """The new one."""
        return self.message.generation


@dataclass(frozen=True, slots=True)
class Never:
    """A letter that cannot be replayed, and what to do instead."""

    why: str


def sent_again(letter: DeadLetter, original: bytes, patch: Mapping[str, Any] | None, max_payload: int) -> Again | Never:
    """What a replay of a letter sends.

    Args:
        letter: which.
        original: the whole message that it tells of.
        patch: an RFC 7386 merge patch of that message. Its ids stay as they are; generation and attempt are counted, not given.
        max_payload: bytes that the server takes in one message.
    """
    if (looping := _would_loop(letter, patch)) is not None:
        return looping
    try:
        body = original if patch is None else _patched(letter, original, patch)
        message = _read(letter, body)
    except (ValueError, DecodeError) as error:
        return Never(f"{error}; correct it with --patch, or publish the message anew")
    generation = max(letter.generation, message.generation) + 1
    body = with_number(body, "generation", generation, there=_has(message, "generation"))
    match message:
        case TaskMessage():
            task_id = message.task_id or letter.task_id or letter.id
            body = body if message.task_id is not None else with_text(body, "task_id", task_id)
            body = with_number(body, "hops", message.hops + 1, there=_has(message, "hops"))
            body = body if message.attempt == 1 else with_number(body, "attempt", 1, there=True)
            subject, outcome = subjects.TASKS_INCOMING, subjects.task_outcome(task_id, message.parent_task_id, generation)
        case Goal():
            task_id = message.goal_id or letter.task_id or letter.id
            body = body if message.goal_id is not None else with_text(body, "goal_id", task_id)
            subject, outcome = subjects.GOALS_INCOMING, subjects.goal_outcome(task_id, generation)
    if len(body) + _HEADROOM > max_payload:
        return Never(
            f"with its new generation it has {len(body)} bytes, and the server takes {max_payload}: publish a reference to the data"
        )
    try:
        return Again(body, subject, outcome, _read(letter, body), task_id)
    except DecodeError as error:  # its generation or its hops would be more than the contract allows
        return Never(f"{error}: it was sent again as often as a message can be; publish it anew under another id")


def _would_loop(letter: DeadLetter, patch: Mapping[str, Any] | None) -> Never | None:
    """A letter that ended as a loop is not sent round once more by whoever replays all that comes back."""
    if letter.code != Code.LOOP:
        return None
    if letter.kind == "goal":
        return Never("it was replayed as often as orchestrator.max_replays allows; submit it anew with `heddle goal`")
    if "hops" in (patch or {}):
        return None
    return Never("it came back too often; when that is mended, replay it with --patch '{\"hops\": 0}'")


def _read(letter: DeadLetter, body: bytes) -> TaskMessage | Goal:
    return decode(Goal, body) if letter.kind == "goal" else decode(TaskMessage, body)


def _has(message: Message, key: str) -> bool:
    return key in message.model_fields_set


def _patched(letter: DeadLetter, original: bytes, patch: Mapping[str, Any]) -> bytes:
    """The original with a merge patch.

    Raises:
        ValueError: it cannot be patched, or not so.
    """
    known = {"goal_id" if letter.kind == "goal" else "task_id": letter.task_id, "parent_task_id": letter.parent_task_id}
    if kept := sorted(key for key, value in known.items() if value is not None and key in patch):
        raise ValueError(f"a replay keeps the ids of its message, and {', '.join(kept)} is to be patched")
    parsed = readable(original)
    if not parsed:
        raise ValueError("only a JSON object can be patched, and the message is none")
    merged: dict[str, Any] = merge_patched(parsed, patch)
    return json.dumps({key: value for key, value in merged.items() if key not in {"generation", "attempt"}}).encode()


def merge_patched(target: Any, patch: Any) -> Any:
    """A JSON value with a merge patch (RFC 7386): objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patched(merged.get(key), value)
    return merged
