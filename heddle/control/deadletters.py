"""Look at dead letters: page by page, by scanning, one by its id, and in numbers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from msgspec import Raw, Struct
from msgspec.json import Decoder
from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import Stored, js_api, last_on_subject, stored_from
from heddle.broker.pages import ALL, backwards, bounds, count_from, count_since, first_since, newest_before
from heddle.control.fleet import workers
from heddle.control.rules import rules_in_force
from heddle.errors import Code, DecodeError, Refused
from heddle.messages import DeadLetter, decode, format_time, parse_time

Progress = Callable[[int, int], None]
"""Told how many letters have been looked at, of how many that there are."""
_CHUNK: Final = 512
"""Letters read at a time by a scan."""
_SAMPLE: Final = 1000
"""Newest letters that are read for the names of their worker types and tiers."""
OTHERS: Final = "(others)"
"""In statistics: letters of worker types or tiers that neither the rules, nor workers, nor the newest thousand letters know."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters; a field that is None leaves them all in.

    Attributes:
        code, worker_type, tier: looked at by the server; "-" stands for a worker type or tier that is not known.
        since, until: when the letter was written, seconds since the epoch; `since` is included, `until` is not.
        goal_id: the goal itself, and its tasks.
        text: words anywhere in the letter's JSON: its reason, its original, its ids; case does not matter.
    """

    code: str | None = None
    worker_type: str | None = None
    tier: str | None = None
    since: float | None = None
    until: float | None = None
    goal_id: str | None = None
    text: str | None = None

    @property
    def needs_reading(self) -> bool:
        """Must letters be read to see whether they are wanted? If not, the server picks them."""
        return self.goal_id is not None or self.text is not None

    @property
    def subject(self) -> str:
        """What the server is asked for."""
        if self.code is self.worker_type is self.tier is None:
            return ALL
        return subjects.dead(self.code or "*", self.worker_type or "*", self.tier or "*", "*")

    def fits(self, kept: Kept) -> bool:
        """Is a letter that the server gave wanted by what it says?"""
        if self.goal_id is not None and kept.letter.goal_id != self.goal_id:
            return False
        if self.text is None:
            return True
        there, sought = kept.body.decode(errors="replace").casefold(), self.text.casefold()
        return sought in there or json.dumps(sought, ensure_ascii=False)[1:-1] in there  # as it stands there, or within a text


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter as it is kept; `sequence` is its place in the stream and the cursor to what is older, `body` its bytes."""

    sequence: int
    letter: DeadLetter
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Letters, newest first; `older` is what to pass as `before` for the next page, None if there is nothing older."""

    letters: tuple[Kept, ...]
    older: int | None


EVERY: Final = Wanted()
"""All letters."""


async def page(
    client: Client, wanted: Wanted = EVERY, *, before: int | None = None, limit: int = 50, progress: Progress | None = None
) -> Page:
    """A page of letters, newest first. With 10^6 letters kept the first page by code and type takes some tens of milliseconds.

    Args:
        client: the connection.
        wanted: which; goal and text are found by reading, newest first, until the page is full.
        before: the cursor that the page before gave.
        limit: letters per page.
        progress: told how far a reading is.

    Raises:
        BrokerError: the store does not answer.
    """
    if not wanted.needs_reading:
        first, end = await span(client, wanted)
        end = end if before is None else min(end, before)
        found = list(map(as_kept, await newest_before(client, subjects.DEAD, wanted.subject, limit + 1, first, end)))
    else:
        found = []
        async for kept in scan(client, wanted, before=before, progress=progress):
            found.append(kept)
            if len(found) > limit:
                break
    return Page(tuple(found[:limit]), found[limit - 1].sequence if len(found) > limit else None)


async def scan(
    client: Client, wanted: Wanted = EVERY, *, before: int | None = None, progress: Progress | None = None
) -> AsyncIterator[Kept]:
    """All wanted letters, newest first; those that come meanwhile are left out.

    Args:
        client: the connection.
        wanted: which.
        before: only what is older than this sequence.
        progress: told how far the reading is.

    Raises:
        BrokerError: the store does not answer.
    """
    first, end = await span(client, wanted)
    end = end if before is None else min(end, before)
    async for read, total, stored in backwards(client, subjects.DEAD, wanted.subject, first, end, _CHUNK):
        if progress is not None:
            progress(read, total)
        for kept in map(as_kept, stored):
            if wanted.fits(kept):
                yield kept


async def span(client: Client, wanted: Wanted) -> tuple[int, int]:
    """The first sequence that a wanted letter may have, and the one after the last.

    Raises:
        BrokerError: the store does not answer.
    """
    first, end = await bounds(client, subjects.DEAD)
    if wanted.since is not None:
        first = await first_since(client, subjects.DEAD, wanted.since) or end
    if wanted.until is not None:
        end = await first_since(client, subjects.DEAD, wanted.until) or end
    return first, end


async def letter(client: Client, letter_id: str) -> Kept | None:
    """The letter with this id, or None.

    Raises:
        BrokerError: the store does not answer.
    """
    if not subjects.is_letter_id(letter_id):
        return None
    found = await stored_from(client, subjects.DEAD, 1, subjects.dead("*", "*", "*", letter_id), 1)
    return as_kept(found[0]) if found else None


def as_kept(stored: Stored) -> Kept:
    """A letter out of the stream; its id is that of its subject, by which it is found.

    What is no letter (somebody wrote it by hand, or another version did) is one that says so, so that it can be seen and dropped.
    """
    letter_id = stored.subject.rpartition(".")[2]
    try:
        told = decode(DeadLetter, stored.body)
    except DecodeError as error:
        told = _no_letter(stored, str(error))
    if told.encoding != "json" and not isinstance(told.original_task, str):
        told = _no_letter(stored, "original_task: Input should be a valid string")
    return Kept(stored.sequence, told if told.id == letter_id else told.model_copy(update={"id": letter_id}), stored.body)


def _no_letter(stored: Stored, problem: str) -> DeadLetter:
    """Stands for what is kept as a letter and is none; its original are the bytes that are there."""
    *_, code, worker_type, tier, letter_id = stored.subject.split(".")
    try:
        carried, encoding = stored.body.decode(), "text"
    except UnicodeDecodeError:
        carried, encoding = base64.b64encode(stored.body).decode(), "base64"
    return DeadLetter(
        reason=f"{code}: what is kept here is no dead letter: {problem}",
        original_task=carried,
        encoding=encoding,  # type: ignore[arg-type]  # one of two literals
        id=letter_id,
        code=code,
        worker_type=None if worker_type == subjects.NO_TOKEN else worker_type,
        tier=None if tier == subjects.NO_TOKEN else tier,
        at=format_time(parse_time(stored.headers["Nats-Time-Stamp"]).timestamp()),
        by="somebody",
        remedy="See whether it can be read by another version of heddle; else drop it.",
    )


class _Carrying(Struct):
    original_task: Raw


_carried: Final = Decoder(_Carrying).decode


async def original(client: Client, kept: Kept) -> bytes | None:
    """The whole message that a letter tells of, byte for byte; None if it was cut and its whole bytes are no longer kept.

    Raises:
        BrokerError: the store does not answer.
    """
    told = kept.letter
    if told.truncated:
        return await last_on_subject(client, subjects.ORIGINALS, subjects.original(told.id))
    match told.encoding:
        case "json":
            return bytes(_carried(kept.body).original_task)
        case "text":
            return str(told.original_task).encode()
        case "base64":
            return base64.b64decode(told.original_task)


@dataclass(frozen=True, slots=True)
class Stats:
    """Dead letters in numbers.

    Attributes:
        total: letters kept.
        size: their bytes in the stream.
        oldest: when the oldest was written, seconds since the epoch; None if there is none.
        by_code, by_worker_type, by_tier: letters kept; "-" is where it is not known.
        by_age: letters kept, by "1h", "1d", "7d" and "older".
        per_hour: letters written in each of the last 24 hours that are still kept; the begin of the hour (seconds since the epoch),
            oldest first.
        removed: letters that somebody replayed or dropped, ever.
        gone: letters that went for age or room, ever.
    """

    total: int
    size: int
    oldest: float | None
    by_code: Mapping[str, int]
    by_worker_type: Mapping[str, int]
    by_tier: Mapping[str, int]
    by_age: Mapping[str, int]
    per_hour: tuple[tuple[float, int], ...]
    removed: int
    gone: int


_HOUR: Final = 3600.0
_AGES: Final = {"1h": _HOUR, "1d": 24 * _HOUR, "7d": 7 * 24 * _HOUR}
_HOURS: Final = 24


async def stats(client: Client, now: float) -> Stats:
    """Dead letters in numbers; the server counts, and no letter but the newest thousand is read.

    Args:
        client: the connection.
        now: seconds since the epoch.

    Raises:
        BrokerError: the store does not answer.
    """
    try:
        state = (await js_api(client, f"STREAM.INFO.{subjects.DEAD}"))["state"]
    except Refused:
        return Stats(0, 0, None, {}, {}, {}, dict.fromkeys([*_AGES, "older"], 0), (), 0, 0)
    total = int(state["messages"])
    _, audited = await bounds(client, subjects.AUDIT)
    types, tiers = await _names(client)
    since = {age: await count_since(client, subjects.DEAD, ALL, now - seconds) for age, seconds in _AGES.items()}
    begin = now // _HOUR * _HOUR
    hours = [begin - back * _HOUR for back in reversed(range(_HOURS))]
    counts = [await count_since(client, subjects.DEAD, ALL, hour) for hour in hours]
    return Stats(
        total=total,
        size=int(state["bytes"]),
        oldest=parse_time(state["first_ts"]).timestamp() if total else None,
        by_code=await by_code(client),
        by_worker_type=await _counted(client, total, {name: Wanted(worker_type=name) for name in types}),
        by_tier=await _counted(client, total, {name: Wanted(tier=name) for name in tiers}),
        by_age={"1h": since["1h"], "1d": since["1d"] - since["1h"], "7d": since["7d"] - since["1d"], "older": total - since["7d"]},
        per_hour=tuple(zip(hours, (one - later for one, later in zip(counts, [*counts[1:], 0], strict=True)), strict=True)),
        removed=audited - 1,
        gone=max(0, int(state["last_seq"]) - total - (audited - 1)),
    )


async def by_code(client: Client) -> dict[str, int]:
    """Letters kept, by code.

    Raises:
        BrokerError: the store does not answer.
    """
    counted = {code.value: await count_from(client, subjects.DEAD, Wanted(code=code.value).subject) for code in Code}
    return {code: count for code, count in counted.items() if count}


async def _counted(client: Client, total: int, by: Mapping[str, Wanted]) -> dict[str, int]:
    counted = {name: await count_from(client, subjects.DEAD, wanted.subject) for name, wanted in by.items()}
    counted[OTHERS] = total - sum(counted.values())
    return {name: count for name, count in counted.items() if count > 0}


async def _names(client: Client) -> tuple[list[str], list[str]]:
    """The worker types and tiers that there are: in the newest letters, in the rules, and of the workers."""
    first, end = await bounds(client, subjects.DEAD)
    letters = [one.subject.split(".")[3:5] for one in await newest_before(client, subjects.DEAD, ALL, _SAMPLE, first, end)]
    cards = await workers(client)
    rules = await rules_in_force(client)
    types = {name for name, _ in letters} | {name for card in cards for name in card.types}
    tiers = {name for _, name in letters} | {name for card in cards for name in card.tiers}
    for one in rules:
        types |= one.worker_types.keys()
        tiers |= one.tiers.keys()
    return sorted(types), sorted(tiers)
