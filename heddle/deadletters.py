"""Ends tasks and goals that cannot go on: the failed outcome first, then the letter that tells of it.

A letter is a pure function of outcome and original, so that whoever finds the outcome without its letter can write it.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import pydantic_core
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.connect import EXPECTED_LAST, NOT_LAST
from heddle.broker.outbox import Headers, Outbox
from heddle.broker.outcomes import first_outcome
from heddle.envelope import Routable
from heddle.errors import CODES, Code, Refused
from heddle.messages import (
    GOAL_WORKER_TYPE,
    DeadLetter,
    Message,
    TaskResult,
    decode,
    format_time,
    is_name,
    is_token,
    readable,
    readable_task_id,
    sendable,
)
from heddle.telemetry.observer import Observer

WHOLE_ORIGINAL: Final = 128 * 1024
"""Bytes up to which a letter carries its original whole."""
ENCODED_ORIGINAL: Final = 512 * 1024
"""Bytes that the original may take once it stands in the letter's JSON."""
CUT_ORIGINAL: Final = 4 * 1024
_DETAIL: Final = 2000
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How and where something could not go on.

    Attributes:
        subject: where its outcome belongs; None if no task or goal could be read from the message.
        letter_id: the letter's id.
        at: seconds since the epoch.
        by: role and replica.
        rules: digest of the rules in force; None outside the router.
        extra: further metadata of the result.
    """

    code: Code
    detail: str
    letter_id: str
    subject: str | None
    at: float
    by: str
    task_id: str | None = None
    worker_type: str | None = None
    parent_task_id: str | None = None
    generation: int = 0
    attempt: int = 1
    tier: str | None = None
    rules: str | None = None
    extra: dict[str, Any] | None = None
    output: Any = None


def end_of_unreadable(
    body: bytes, detail: str, *, source: tuple[str, int, int], at: float, by: str, rules: str | None, goal: bool
) -> Ending:
    """The ending of a message that does not decode; its outcome has a place if at least its id can be read.

    Args:
        body: the bytes as they came.
        detail: what is wrong with them.
        source: the stream, its creation in microseconds, and the message's sequence.
        at: seconds since the epoch.
        by: role and replica.
        rules: digest of the rules in force.
        goal: was it to be a goal?
    """
    parsed = readable(body)
    task_id = readable_task_id(parsed, "goal_id" if goal else "task_id")
    generation = parsed.get("generation")
    generation = generation if isinstance(generation, int) and not isinstance(generation, bool) and 0 <= generation <= 2**53 else 0
    attempt = parsed.get("attempt")
    parent = parsed.get("parent_task_id")
    parent = parent if not goal and is_token(parent) else None
    subject = letter_id = None
    if task_id is not None:
        subject = subjects.goal_outcome(task_id, generation) if goal else subjects.task_outcome(task_id, parent, generation)
        letter_id = (subjects.goal_letter if goal else subjects.task_letter)(task_id, generation)
    worker_type, tier = parsed.get("worker_type"), parsed.get("model_tier")
    return Ending(
        code=Code.INVALID_TASK_MESSAGE,
        detail=detail,
        letter_id=letter_id or subjects.source_letter(*source),
        subject=subject,
        at=at,
        by=by,
        task_id=task_id,
        worker_type=GOAL_WORKER_TYPE if goal else worker_type if is_name(worker_type) else None,
        parent_task_id=parent,
        generation=generation,
        attempt=attempt if isinstance(attempt, int) and not isinstance(attempt, bool) and attempt > 0 else 1,
        tier=tier if is_name(tier) else None,
        rules=rules,
    )


def end_of_task(
    task: Routable,
    task_id: str,
    code: Code,
    detail: str,
    *,
    at: float,
    by: str,
    tier: str,
    rules: str | None = None,
    extra: dict[str, Any] | None = None,
) -> Ending:
    """The ending of a task that was read.

    Args:
        task: the task.
        task_id: its id, its own or made from its place in the stream.
        code: why it ends.
        detail: the same in words.
        at: seconds since the epoch.
        by: role and replica.
        tier: where it was, or was to go.
        rules: digest of the rules in force; None outside the router.
        extra: further metadata of the result.
    """
    return Ending(
        code=code,
        detail=detail,
        letter_id=subjects.task_letter(task_id, task.generation),
        subject=subjects.task_outcome(task_id, task.parent_task_id, task.generation),
        at=at,
        by=by,
        task_id=task_id,
        worker_type=task.worker_type,
        parent_task_id=task.parent_task_id,
        generation=task.generation,
        attempt=task.attempt,
        tier=tier,
        rules=rules,
        extra=extra,
    )


_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


def traceparent_of(headers: Headers | None, original: bytes) -> str | None:
    """The W3C trace context of a message: its header, or what older clients put under `_trace_context`; None if there is none."""
    found: Any = next((value for key, value in (headers or {}).items() if key.lower() == "traceparent"), None)
    if found is None and b"_trace_context" in original:
        context = readable(original).get("_trace_context")
        found = context.get("traceparent") if isinstance(context, dict) else None
    return found if isinstance(found, str) and _TRACEPARENT.fullmatch(found) else None


def failed_result(ending: Ending, traceparent: str | None = None) -> TaskResult:
    """The failed outcome, which holds all that its letter needs besides the original."""
    return TaskResult(
        task_id=ending.task_id or "",
        worker_type=ending.worker_type or subjects.NO_TOKEN,
        status="failed",
        parent_task_id=ending.parent_task_id,
        output=ending.output,
        error=f"{ending.code.value}: {_short(ending.detail)}",
        completed_at=format_time(ending.at),
        metadata={
            **(ending.extra or {}),
            "dead_letter": {
                "code": ending.code.value,
                "at": format_time(ending.at),
                "by": ending.by,
                "rules": ending.rules,
                "attempt": ending.attempt,
                "tier": ending.tier,
                "generation": ending.generation,
                "id": ending.letter_id,
                **({"traceparent": traceparent} if traceparent else {}),
            },
        },
    )


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter ready to be stored; `whole` are the original's bytes if the letter had to cut them."""

    id: str
    code: str
    subject: str
    body: bytes
    whole: bytes | None


def letter_of(outcome: TaskResult, original: bytes, traceback: str | None = None) -> Letter | None:
    """The letter that a failed outcome implies; None for an outcome that implies none."""
    told = outcome.metadata.get("dead_letter")
    if outcome.status != "failed" or not isinstance(told, dict):
        return None
    code = Code(told["code"])
    worker_type = None if outcome.worker_type in {subjects.NO_TOKEN, GOAL_WORKER_TYPE} else outcome.worker_type
    carried, encoding, whole = _carried(original)
    traceparent = told.get("traceparent")
    trace = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    letter = DeadLetter(
        reason=outcome.error or code.value,
        original_task=None,
        task_id=outcome.task_id or None,
        worker_type=worker_type,
        id=told["id"],
        kind="goal" if outcome.worker_type == GOAL_WORKER_TYPE else "task",
        code=code.value,
        at=told["at"],
        by=told["by"],
        rules=told["rules"],
        attempt=told["attempt"],
        generation=told["generation"],
        tier=told["tier"],
        parent_task_id=outcome.parent_task_id,
        remedy=CODES[code].remedy,
        encoding=encoding,
        truncated=whole is not None,
        size=len(original),
        sha256=hashlib.sha256(original).hexdigest(),
        traceback=traceback,
        trace_id=trace["trace_id"] if trace else None,
        traceparent=traceparent if trace else None,
    )
    head = letter.model_dump_json(exclude={"original_task"}, exclude_none=True).encode()
    body = head[:-1] + b',"original_task":' + carried + b"}"
    return Letter(letter.id, code.value, subjects.dead(code.value, worker_type, letter.tier, letter.id), body, whole)


def _carried(original: bytes) -> tuple[bytes, Literal["json", "text", "base64"], bytes | None]:
    """The original as JSON for a letter, what kind of JSON it is, and its whole bytes if they had to be cut."""
    if len(original) <= WHOLE_ORIGINAL:
        if _is_json(original):
            return original, "json", None
        text, encoding = _as_text(original, whole=True)
        encoded = json.dumps(text, ensure_ascii=False).encode()
        if len(encoded) <= ENCODED_ORIGINAL:
            return encoded, encoding, None
    text, encoding = _as_text(original[:CUT_ORIGINAL], whole=False)
    return json.dumps(text, ensure_ascii=False).encode(), encoding, original


def _is_json(body: bytes) -> bool:
    """Whether a letter with this JSON in it can still be decoded: read by the decoder's own parser, and not at its deepest."""
    try:
        match pydantic_core.from_json(b"[[%b]]" % body, allow_inf_nan=False):
            case [[_]]:  # one value, and not a text such as `1, 2` or `1], [2`
                return True
    except ValueError:
        pass
    return False


def _as_text(body: bytes, *, whole: bool) -> tuple[str, Literal["text", "base64"]]:
    """The bytes as a string, and which kind; the rest of a character that a cut went through is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(body, final=whole), "text"
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"


def _short(detail: str) -> str:
    clean = sendable(detail)
    return clean if len(clean) <= _DETAIL else f"{clean[:_DETAIL]} …"


async def end(
    client: Client,
    outbox: Outbox,
    observer: Observer,
    ending: Ending,
    original: bytes,
    headers: Headers | None = None,
    traceback: str | None = None,
) -> None:
    """End a task or goal: its failed outcome, then its dead letter. When this returns the source may be acked.

    An outcome that stands already is never changed: whatever it implies is made sure of instead.

    Args:
        client: the connection.
        outbox: publishes.
        observer: counts letters.
        ending: how it ends.
        original: the message as it came.
        headers: its headers, for the trace that it belongs to.
        traceback: stands in the letter alone, and only in one that whoever saw the error writes: whoever makes it again does not know it.

    Raises:
        OutcomesFull: there is no room; the source must not be acked.
        Refused, BrokerError: the broker did not take it; the source must not be acked.
    """
    result: Message = failed_result(ending, traceparent_of(headers, original))
    if ending.subject is not None:
        result = decode(TaskResult, await first_outcome(client, outbox, ending.subject, result.encode()))
    assert isinstance(result, TaskResult)  # noqa: S101  # for the type checker: both branches make one
    await make_sure_of_letter(outbox, observer, result, original, traceback)


async def make_sure_of_letter(
    outbox: Outbox, observer: Observer, outcome: TaskResult, original: bytes, traceback: str | None = None
) -> None:
    """Write the dead letter that an outcome implies, if it implies one and is not there; so every letter is counted and stored once."""
    letter = letter_of(outcome, original, traceback)
    if letter is None:
        return
    if letter.whole is not None:
        await outbox.publish(subjects.original(letter.id), letter.whole)
    try:
        await outbox.publish(letter.subject, letter.body, {"Nats-Msg-Id": letter.id, EXPECTED_LAST: "0"})
    except Refused as refused:
        if refused.code not in NOT_LAST:
            raise
    else:
        observer.count(events.DEAD_LETTERS, letter.code)
