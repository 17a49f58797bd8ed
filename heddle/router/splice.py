"""Writes what the router resolved into a task's own bytes, without decoding and encoding the rest."""

from __future__ import annotations

import json
import re

from heddle.messages import TaskMessage

_TIER = re.compile(rb'"model_tier"(\s*:\s*)"[a-z0-9_-]*"')


def routed_body(body: bytes, task: TaskMessage, task_id: str, tier: str) -> bytes:
    """The task's bytes with its id and the resolved tier in them; unchanged where both are there already.

    A value is replaced where its key stands once, and put in front where the key is missing. In every other case (a null, an
    escaped key, the same word elsewhere in the message) it is added at the end, for of a repeated key the last wins.
    """
    body = with_task_id(body, task, task_id)
    if task.model_tier == tier and b'"model_tier"' in body and "model_tier" in task.model_fields_set:
        return body
    alone = "model_tier" in task.model_fields_set and b"\\u" not in body and body.count(b'"model_tier"') == 1
    if alone and (found := _TIER.search(body)):
        return body[: found.start()] + b'"model_tier"%b"%b"' % (found[1], tier.encode()) + body[found.end() :]
    return _with(body, "model_tier", tier)


def with_task_id(body: bytes, task: TaskMessage, task_id: str) -> bytes:
    """The task's bytes with its id in them, for one that came without."""
    return body if task.task_id is not None else _with(body, "task_id", task_id)


def _with(body: bytes, key: str, value: str) -> bytes:
    pair = b'"%b":%b' % (key.encode(), json.dumps(value).encode())
    if b'"%b"' % key.encode() in body or b"\\u" in body:
        return body[: body.rindex(b"}")] + b"," + pair + b"}"
    start = body.index(b"{") + 1
    return body[:start] + pair + b"," + body[start:]
