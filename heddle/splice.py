"""Writes what a relay resolved into a task's own bytes, without decoding and encoding the rest."""

from __future__ import annotations

import json
import re

from heddle.messages import Routable

_BACKSLASH = ord("\\")
"""A single byte is looked for faster than a word; where there is an escape, a key may be hidden in it."""
_TIER = re.compile(rb'"model_tier"(\s*:\s*)"[a-z0-9_-]*"')
_ATTEMPT = re.compile(rb'"attempt"(\s*:\s*)\d+')


def routed_body(body: bytes, task: Routable, task_id: str, tier: str) -> bytes:
    """The task's bytes with its id and the resolved tier in them; unchanged where both are there already.

    A value is replaced where its key stands once, and put in front where the key is missing. In every other case (a null, an
    escaped key, the same word elsewhere in the message) it is added at the end, for of a repeated key the last wins.
    """
    if task.task_id is None:
        body = _with(body, "task_id", task_id)
    if task.model_tier == tier and "model_tier" in task.model_fields_set:
        return body
    return _changed(body, task, "model_tier", tier, _TIER)


def with_task_id(body: bytes, task: Routable, task_id: str) -> bytes:
    """The task's bytes with its id in them, for one that came without."""
    return body if task.task_id is not None else _with(body, "task_id", task_id)


def with_attempt(body: bytes, task: Routable, attempt: int) -> bytes:
    """The task's bytes with this number of its attempt in them."""
    return _changed(body, task, "attempt", attempt, _ATTEMPT)


def _changed(body: bytes, task: Routable, key: str, value: str | int, pattern: re.Pattern[bytes]) -> bytes:
    """The value replaced where its key stands once, at the top; else put where the last one wins."""
    quoted = b'"%b"' % key.encode()
    at = body.find(quoted) if key in task.model_fields_set else -1
    alone = at >= 0 and _BACKSLASH not in body and body.find(quoted, at + 1) < 0
    if alone and (found := pattern.match(body, at)):
        return body[: found.start()] + quoted + found[1] + json.dumps(value).encode() + body[found.end() :]
    return _with(body, key, value)


def _with(body: bytes, key: str, value: str | int) -> bytes:
    pair = b'"%b":%b' % (key.encode(), json.dumps(value).encode())
    if b'"%b"' % key.encode() in body or b"\\u" in body:
        return body[: body.rindex(b"}")] + b"," + pair + b"}"
    start = body.index(b"{") + 1
    return body[:start] + pair + b"," + body[start:]
