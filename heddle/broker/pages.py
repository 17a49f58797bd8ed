"""Read a stream from its end: the newest messages first, by subject; and count messages without reading them.

The server reads forward only. But with every message that it gives it says how many more there are on matching subjects, and that
it knows without reading them; so a few questions find where the newest begin.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from heddle.broker.connect import Stored, js_api, last_of_each, status_of, stored_from
from heddle.errors import BrokerError, Refused

ALL: Final = ">"
"""Matches every subject; the server counts these without looking at the subjects."""
_SPARE: Final = 2
"""How many times more messages than wanted are read, rather than another question asked."""
_MOST_SUBJECTS: Final = 512
_SELECTIVE: Final = 8
"""Of so many messages one must match for the server's own picking to be faster than reading them all."""


async def bounds(client: Client, stream: str) -> tuple[int, int]:
    """The first sequence of a stream, and the one after its last; the same twice if it is empty, or not there.

    Raises:
        BrokerError: the stream does not answer.
    """
    try:
        state = (await js_api(client, f"STREAM.INFO.{stream}"))["state"]
    except Refused:
        return 1, 1
    end = int(state["last_seq"]) + 1
    return (int(state["first_seq"]), end) if state["messages"] else (end, end)


async def count_from(client: Client, stream: str, subject_filter: str, sequence: int = 1) -> int:
    """How many messages a stream has on matching subjects, from a sequence on.

    Raises:
        BrokerError: the stream does not answer.
    """
    return (await _first_and_rest(client, stream, {"seq": max(1, sequence), "next_by_subj": subject_filter}))[1]


async def count_since(client: Client, stream: str, subject_filter: str, at: float) -> int:
    """How many messages a stream has on matching subjects that were stored at `at` (seconds since the epoch) or later.

    Raises:
        BrokerError: the stream does not answer.
    """
    return (await _first_and_rest(client, stream, {"start_time": _moment(at), "next_by_subj": subject_filter}))[1]


async def first_since(client: Client, stream: str, at: float) -> int | None:
    """The sequence of the first message that was stored at `at` (seconds since the epoch) or later; None if there is none.

    Raises:
        BrokerError: the stream does not answer.
    """
    return (await _first_and_rest(client, stream, {"start_time": _moment(at), "next_by_subj": ALL}))[0]


async def newest_before(client: Client, stream: str, subject_filter: str, count: int, first: int, end: int) -> list[Stored]:
    """The newest messages on matching subjects with sequences from `first` to before `end`, newest first, `count` at most.

    For streams that keep one message per subject.

    Raises:
        BrokerError: the stream does not answer.
    """
    later = await count_from(client, stream, subject_filter, end)
    total = await count_from(client, stream, subject_filter, first) - later
    wanted = min(count, total)
    if wanted <= 0:
        return []
    if total + later <= min(_SPARE * count, _MOST_SUBJECTS):  # few, and perhaps far apart: the server knows where each of them is
        every = [one for one in await last_of_each(client, stream, subject_filter) if first <= one.sequence < end]
        return every[: -wanted - 1 : -1]
    too_few, enough, found = end, first, total  # sequences: the wanted begin somewhere in between
    width = (end - first) * wanted * 3 // (2 * total) + 1
    while found > _SPARE * wanted and too_few - enough > 1:
        start = max(enough + 1, min(too_few - 1, end - width))
        seen = await count_from(client, stream, subject_filter, start) - later
        if seen < wanted:
            too_few, width = start, width * 2
        else:
            enough, found, width = start, seen, max(1, (end - start) * wanted * 3 // (2 * seen))
    read = await all_between(client, stream, subject_filter, enough, end)
    return read[: -wanted - 1 : -1]


async def backwards(
    client: Client, stream: str, subject_filter: str, first: int, end: int, chunk: int
) -> AsyncIterator[tuple[int, int, list[Stored]]]:
    """All messages on matching subjects with sequences from `first` to before `end`, newest first, in parts.

    Before each part stands how many messages have been read, of how many that are to be read. Where many subjects match, the stream is read whole: for each message
    that the server picks by a pattern it looks through all subjects of a block, and that takes longer than reading ten others.

    Raises:
        BrokerError: the stream does not answer.
    """
    total = await count_from(client, stream, subject_filter, first) - await count_from(client, stream, subject_filter, end)
    done = 0
    if total * _SELECTIVE < end - first:
        while found := await newest_before(client, stream, subject_filter, chunk, first, end):
            end, done = found[-1].sequence, done + len(found)
            yield done, total, found
        return
    total = await count_from(client, stream, ALL, first) - await count_from(client, stream, ALL, end)
    while end > first:
        start = max(first, end - chunk)
        read = await all_between(client, stream, ALL, start, end)
        done += len(read)
        yield done, total, [one for one in reversed(read) if matches(one.subject, subject_filter)]
        end = start


def matches(subject: str, subject_filter: str) -> bool:
    """Does a subject match a filter, with `*` for a token, or `>` alone for all?"""
    if subject_filter == ALL:
        return True
    tokens, wanted = subject.split("."), subject_filter.split(".")
    return len(tokens) == len(wanted) and all(want in {"*", token} for want, token in zip(wanted, tokens, strict=True))


async def all_between(client: Client, stream: str, subject_filter: str, start: int, end: int, page: int = 1000) -> list[Stored]:
    """The messages on matching subjects with sequences from `start` to before `end`, oldest first; the server may give them in parts.

    Raises:
        BrokerError: the stream does not answer.
    """
    found: list[Stored] = []
    while start < end:
        got = await stored_from(client, stream, start, subject_filter, page)
        found += [one for one in got if one.sequence < end]
        if not got or got[-1].sequence >= end:
            break
        start = got[-1].sequence + 1
    return found


_LAST_MOMENT: Final = 9e9
"""Seconds since the epoch, in the year 2255: the server counts nanoseconds, and has none for a moment after 2262."""


def _moment(at: float) -> str:
    """A moment as the server reads it; one before the epoch, or after all that it can say, is the nearest that it can."""
    return datetime.fromtimestamp(min(max(at, 0.0), _LAST_MOMENT), UTC).isoformat().replace("+00:00", "Z")


async def _first_and_rest(client: Client, stream: str, request: dict[str, Any]) -> tuple[int | None, int]:
    """The sequence of the first message that a request finds, and how many it would find in all."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"batch": 1, **request}).encode(), reply=inbox)
        message = await subscription.next_msg(timeout=5)
    except (nats.errors.Error, TimeoutError) as error:
        raise BrokerError(f"cannot read {stream}: {type(error).__name__}") from None
    finally:
        await subscription.unsubscribe()
    headers = message.headers or {}
    match status_of(message):
        case None:
            return int(headers["Nats-Sequence"]), int(headers["Nats-Num-Pending"]) + 1
        case "404":
            return None, 0
        case "503":  # nobody listens: there is no such stream
            return None, 0
        case status:
            raise BrokerError(f"cannot read {stream}: {status} {headers.get('Description', '')}")
