"""Writes what a relay resolved, or a replay counts, into a message's own bytes, without decoding and encoding the rest."""

from __future__ import annotations

import functools
import json
import re

from heddle.envelope import Routable

_BACKSLASH = ord("\\")
"""A single byte is looked for faster than a word; where there is an escape, a key may be hidden in it."""
_TIER = re.compile(rb'(\s*:\s*)"[a-z0-9_-]*"')
_NUMBER = re.compile(rb"(\s*:\s*)\d+")


def routed_body(body: bytes, task: Routable, task_id: str, tier: str) -> bytes:
    """The task's bytes with its id and the resolved tier in them; unchanged where both are there already.

    A value is replaced where its key stands once, and put in front where the key is missing. In every other case (a null, an
    escaped key, the same word elsewhere in the message) it is added at the end, for of a repeated key the last wins.
    """
    if task.task_id is None:
        body = _with(body, "task_id", task_id)
    if not task.names_tier:
        return _with(body, "model_tier", tier)
    if task.model_tier == tier:
        return body
    return _changed(body, "model_tier", tier, _TIER)


def with_task_id(body: bytes, task: Routable, task_id: str) -> bytes:
    """The task's bytes with its id in them, for one that came without."""
    return body if task.task_id is not None else _with(body, "task_id", task_id)


def with_attempt(body: bytes, attempt: int) -> bytes:
    """The task's bytes with this number of its attempt in them; of a task that was tried again the number stands there already."""
    return _changed(body, "attempt", attempt, _NUMBER) if attempt > 2 else _with(body, "attempt", attempt)


def with_number(body: bytes, key: str, number: int, *, there: bool) -> bytes:
    """A message's bytes with this number under this key; `there` says whether it has that key, with a number, at the top."""
    return _changed(body, key, number, _NUMBER) if there else _with(body, key, number)


def with_text(body: bytes, key: str, text: str) -> bytes:
    """A message's bytes with this text under a key that it does not have, or has as null."""
    return _with(body, key, text)


def _changed(body: bytes, key: str, value: str | int, pattern: re.Pattern[bytes]) -> bytes:
    """The value replaced where its key, which the message has at the top, stands once; else put where the last one wins."""
    quoted, _, written = _pair(key, value)
    parts = body.split(quoted)
    if len(parts) == 2 and _BACKSLASH not in body and (found := pattern.match(parts[1])):
        return b"".join((parts[0], quoted, found[1], written, parts[1][found.end() :]))
    return _with(body, key, value)


def _with(body: bytes, key: str, value: str | int) -> bytes:
    quoted, pair, _ = _pair(key, value)
    if quoted in body or b"\\u" in body:
        return body[: body.rindex(b"}")] + b"," + pair + b"}"
    start = body.index(b"{") + 1
    return body[:start] + pair + b"," + body[start:]


@functools.lru_cache(maxsize=256)
def _pair(key: str, value: str | int) -> tuple[bytes, bytes, bytes]:
    """The quoted key, key and value as JSON, and the value alone."""
    quoted, written = json.dumps(key).encode(), json.dumps(value).encode()
    return quoted, quoted + b":" + written, written
