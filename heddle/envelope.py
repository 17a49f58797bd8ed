"""The lean decoders: what router and worker read of a task, from the same bytes that `messages.decode` accepts, in a third of the time.

What is plainly good is read by msgspec, which skips what is only passed on; `messages.decode` has the last word on
everything else. Where the two parsers differ (bytes that are no UTF-8, depth, very long numbers: found by trying each kind of
malformed JSON in each place, tests/test_envelope.py), the bytes are looked at first.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated, Any, Final

import msgspec
import pydantic_core
from msgspec import Meta, Raw, Struct

from heddle.messages import DEFAULT_TIER, PLAIN_TIME, TASK_ID_BYTES, TOKEN_PATTERN, Priority, TaskMessage, decode, is_name

_DEEP: Final = 190
"""More openings than this may be deeper than the full decoder goes."""
_LONG_NUMBER: Final = b"0" * 4000
"""The full decoder refuses integers of more than 4,300 digits."""
_LONG: Final = len(_LONG_NUMBER)
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_COUNT: Final = 2**53

_Count = Annotated[int, Meta(ge=0, le=_COUNT)]
_Ordinal = Annotated[int, Meta(ge=1, le=_COUNT)]


UNNAMED_TIER: Final = "".join(DEFAULT_TIER)
"""The tier of a message that names none: DEFAULT_TIER, but an object of its own, by which it is told from the one that a message names."""


class Envelope(Struct, gc=False):
    """What the router reads of a task, made by `decode_envelope`: a TaskMessage without what the router only passes on."""

    worker_type: str
    task_id: Annotated[str, Meta(max_length=TASK_ID_BYTES // 4)] | None = None
    parent_task_id: str | None = None
    model_tier: str = UNNAMED_TIER
    priority: Priority = "normal"
    metadata: dict[str, Any] = {}
    expires_at: str | None = None
    attempt: _Ordinal = 1
    generation: _Count = 0
    hops: _Count = 0

    @property
    def names_tier(self) -> bool:
        """Does the message itself name the tier?"""
        return self.model_tier is not UNNAMED_TIER


class _Object(Struct):
    """An object of which nothing is read."""


class _Routed(Envelope, gc=False, kw_only=True):
    """A TaskMessage's other fields, none of them less strict than there; they are checked and let go."""

    payload: _Object
    created_at: str | None = None
    request_id: str | None = None
    macro_version: _Ordinal | None = None


class Work(Envelope, gc=False, kw_only=True):
    """What a worker reads of a task, made by `decode_work`; `payload` is the JSON of an object, as it stood in the message."""

    payload: Raw
    created_at: str | None = None
    request_id: str | None = None
    macro_version: _Ordinal | None = None


Routable = Envelope | TaskMessage
"""What the router decides about."""

_read: Final = msgspec.json.Decoder(_Routed).decode
_read_work: Final = msgspec.json.Decoder(Work).decode
_is_name: Final = functools.lru_cache(maxsize=8192)(is_name)
_is_token: Final = re.compile(TOKEN_PATTERN).fullmatch
_plain_time: Final = re.compile(PLAIN_TIME).fullmatch
_OBJECT: Final = ord("{")


def decode_envelope(body: bytes) -> Envelope:
    """Read what the router needs of a task: the same bytes are accepted as by `decode(TaskMessage, body)`.

    Raises:
        DecodeError: the bytes are no TaskMessage; it names every field at fault and keeps the bytes.
    """
    try:
        task = _read(body)
        if _is_plain(task, body):
            return task
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        pass
    return Envelope(*_fully_decoded(body)[1])


def decode_work(body: bytes) -> Work:
    """Read what a worker needs of a task: the same bytes are accepted as by `decode(TaskMessage, body)`.

    Raises:
        DecodeError: the bytes are no TaskMessage; it names every field at fault and keeps the bytes.
    """
    try:
        work = _read_work(body)
        if bytes(work.payload)[0] == _OBJECT and _is_plain(work, body):
            return work
    except (ValueError, RecursionError):
        pass
    task, fields = _fully_decoded(body)
    payload = Raw(pydantic_core.to_json(task.payload, inf_nan_mode="constants"))
    return Work(*fields, payload=payload, created_at=task.created_at, request_id=task.request_id, macro_version=task.macro_version)


def _is_plain(task: _Routed | Work, body: bytes) -> bool:
    """Would `messages.decode` take it too? False says only that it has to be asked."""
    return (
        _is_name(task.worker_type)
        and (task.model_tier is UNNAMED_TIER or _is_name(task.model_tier))
        and (task.parent_task_id is None or _is_token(task.parent_task_id) is not None)
        and (task.created_at is None or _plain_time(task.created_at) is not None)
        and (task.expires_at is None or _plain_time(task.expires_at) is not None)
        and len(body) - len(body.replace(b"{", b"").replace(b"[", b"")) < _DEEP  # two `count`s take twice as long
        and (body.isascii() or bool(body.decode()))
        and (len(body) < _LONG or _LONG_NUMBER not in body.translate(_DIGITS))
    )


def _fully_decoded(body: bytes) -> tuple[TaskMessage, tuple[Any, ...]]:
    """The task, and the fields of an Envelope in their order."""
    task = decode(TaskMessage, body)
    fields = (
        task.worker_type,
        task.task_id,
        task.parent_task_id,
        task.model_tier if task.names_tier else UNNAMED_TIER,
        task.priority,
        task.metadata,
        task.expires_at,
        task.attempt,
        task.generation,
        task.hops,
    )
    return task, fields
