"""Send dead letters again, or drop them; whoever does it is written down first (docs/adr/020-replay.md).

The line in HEDDLE_AUDIT is what makes it happen once: the server takes one per letter, and whoever is second is told who was first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from nats.aio.client import Client
from pydantic import BaseModel, ConfigDict

from heddle import subjects
from heddle.broker.connect import EXPECTED_LAST, NO_MESSAGE, NOT_LAST, Stored, js_api, stored_from, submit
from heddle.broker.outcomes import stored_outcome
from heddle.broker.pages import ALL, bounds, count_from, newest_before
from heddle.control.deadletters import Kept, Progress, Wanted, as_kept, letter, original, span
from heddle.errors import Refused
from heddle.messages import DeadLetter, format_time, parse_time, read_kept
from heddle.replays import Again, Never, sent_again

Chosen: TypeAlias = Sequence[str] | Wanted
"""Letters by their ids, or every letter that is wanted: `Wanted()` for all. What comes after the begin is not chosen."""

STALE: Final = 30.0
"""Seconds after which a replay or drop that did not come to its end is taken up by whoever asks next."""
_AT_ONCE: Final = 64
"""Letters worked on at the same time."""
_PAGE: Final = 512
_STEPS: Final = 10
"""Times per second that letters are sent, at a rate."""
_PAUSE: Final = 0.5
"""Seconds of waiting for the rate after which the progress is told again."""
_REASON: Final = 300
"""Characters of a letter's reason in the audit trail."""


@dataclass(frozen=True, slots=True)
class Done:
    """A letter that was replayed or dropped; `generation` is that of the message that was sent again."""

    letter: DeadLetter
    generation: int | None


@dataclass(frozen=True, slots=True)
class Undone:
    """A letter that was not, and why: another operator was first, it would loop, its whole bytes are gone, there is no such letter."""

    letter_id: str
    why: str


Step: TypeAlias = Done | Undone


async def replay(
    client: Client,
    chosen: Chosen,
    *,
    by: str,
    rate: float | None = None,
    patch: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[Step]:
    """Send letters again, oldest first: generation + 1, attempt 1, the original byte for byte otherwise; then remove them.

    A letter is replayed once, however many operators try; the others are told who was first. Leaving the iteration stops it.

    Args:
        client: the connection.
        chosen: which.
        by: who does it, for the audit trail: user@host.
        rate: letters per second; None for as fast as the store takes them.
        patch: an RFC 7386 merge patch of each message, such as {"expires_at": null}; ids and generations are not to be changed.
        progress: told how many of the chosen have been looked at.

    Raises:
        BrokerError: the store does not answer; what was begun is taken up by the next replay of these letters.
    """

    async def one(kept: Kept) -> Step:
        return await _replay(client, kept, by, patch)

    async for step in _each(client, chosen, one, rate, progress):
        yield step


async def drop(client: Client, chosen: Chosen, *, by: str, progress: Progress | None = None) -> AsyncIterator[Step]:
    """Remove letters without sending them again.

    Args:
        client: the connection.
        chosen: which.
        by: who does it, for the audit trail: user@host.
        progress: told how many of the chosen have been looked at.

    Raises:
        BrokerError: the store does not answer.
    """

    async def one(kept: Kept) -> Step:
        return await _drop(client, kept, by)

    async for step in _each(client, chosen, one, None, progress):
        yield step


async def _replay(client: Client, kept: Kept, by: str, patch: Mapping[str, Any] | None) -> Step:
    again = await prepared(client, kept, patch)
    if isinstance(again, Never):
        return Undone(kept.letter.id, again.why)
    if await stored_outcome(client, again.outcome) is not None:
        return await _ended_already(client, kept, again)
    if (told := await _claimed(client, kept, Entry.of("replay", kept.letter, by, again.generation))) is not None:
        return told
    trace = {"traceparent": kept.letter.traceparent} if kept.letter.traceparent else None
    await submit(client, again.subject, again.body, f"replay.{kept.letter.id}", trace)
    await _removed(client, kept)
    return Done(kept.letter, again.generation)


async def _ended_already(client: Client, kept: Kept, again: Again) -> Undone:
    """What would be sent has ended: by a replay that did not come to remove its letter, or by somebody's hand."""
    if (first := await _entry(client, kept.letter.id)) is None:
        told = f"generation {again.generation} of {again.task_id} has ended already: somebody sent it by hand; drop the letter"
        return Undone(kept.letter.id, told)
    await _removed(client, kept)
    return Undone(kept.letter.id, first[0].in_words())


async def prepared(client: Client, kept: Kept, patch: Mapping[str, Any] | None) -> Again | Never:
    """What a replay of this letter would send.

    Raises:
        BrokerError: the store does not answer.
    """
    whole = await original(client, kept)
    if whole is None:
        return Never("the message was longer than a letter carries, and its whole bytes are no longer kept: publish it anew")
    return sent_again(kept.letter, whole, patch, client.max_payload)


async def _drop(client: Client, kept: Kept, by: str) -> Step:
    if (claim := await _claimed(client, kept, Entry.of("drop", kept.letter, by, None))) is not None:
        return claim
    await _removed(client, kept)
    return Done(kept.letter, None)


async def _claimed(client: Client, kept: Kept, entry: Entry) -> Undone | None:
    """Write down who does it, unless somebody has; None if we may go on.

    Whoever was first and has not come to the end within `STALE` seconds is taken for dead.
    """
    subject = subjects.audit(kept.letter.id)
    if await _written(client, subject, entry, 0):
        return None
    first = await _entry(client, kept.letter.id)
    if first is None:
        return Undone(kept.letter.id, "somebody else is at it")
    if await _age(client, first[1]) > STALE and await _is_kept(client, kept) and await _written(client, subject, entry, first[1].sequence):
        return None
    return Undone(kept.letter.id, first[0].in_words())


async def _age(client: Client, line: Stored) -> float:
    """Seconds since a line was written, by the server's clock alone: two operators' clocks may differ."""
    now = (await js_api(client, f"STREAM.INFO.{subjects.AUDIT}"))["ts"]
    return (parse_time(now) - parse_time(line.headers["Nats-Time-Stamp"])).total_seconds()


async def _entry(client: Client, letter_id: str) -> tuple[Entry, Stored] | None:
    """Who replayed or dropped a letter, and that line as it is stored; None if nobody did."""
    found = await stored_from(client, subjects.AUDIT, 1, subjects.audit(letter_id), 1) if subjects.is_letter_id(letter_id) else []
    entry = as_entry(found[0]) if found else None
    return (entry, found[0]) if entry is not None else None


async def _written(client: Client, subject: str, entry: Entry, last: int) -> bool:
    """Write a line if the last one on that subject has this sequence, 0 for none; False if somebody was faster."""
    try:
        await submit(client, subject, entry.model_dump_json(exclude_none=True).encode(), headers={EXPECTED_LAST: str(last)})
    except Refused as refused:
        if refused.code in NOT_LAST:
            return False
        raise
    return True


async def _is_kept(client: Client, kept: Kept) -> bool:
    try:
        await js_api(client, f"STREAM.MSG.GET.{subjects.DEAD}", {"seq": kept.sequence})
    except Refused:
        return False
    return True


async def _removed(client: Client, kept: Kept) -> None:
    """Take a letter out of the stream, and its whole bytes; somebody may have done it already."""
    try:
        await js_api(client, f"STREAM.MSG.DELETE.{subjects.DEAD}", {"seq": kept.sequence, "no_erase": True})
    except Refused as refused:
        if refused.code not in {NO_MESSAGE, _DELETE_FAILED}:
            raise
    if kept.letter.truncated:
        await js_api(client, f"STREAM.PURGE.{subjects.ORIGINALS}", {"filter": subjects.original(kept.letter.id)})


_DELETE_FAILED: Final = 10057
"""JetStream's error code for a message that could not be deleted, because it is gone."""


async def _each(
    client: Client, chosen: Chosen, do: Callable[[Kept], Awaitable[Step]], rate: float | None, progress: Progress | None
) -> AsyncIterator[Step]:
    """Do it to every chosen letter, a few at a time, and not faster than the rate."""
    at_once = _AT_ONCE if rate is None else max(1, min(_AT_ONCE, int(rate / _STEPS)))
    total = await number_of(client, chosen) if progress is not None else 0
    started, looked_at, done = time.monotonic(), 0, 0
    async for some in taken(client, chosen, at_once):
        while rate is not None and (left := started + done / rate - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _PAUSE))
            if progress is not None:  # which may say that it is to stop
                progress(looked_at, max(total, looked_at))
        steps = await asyncio.gather(*(_step(do, one) for one in some if one is not None), return_exceptions=True)
        looked_at, done = looked_at + len(some), done + len(steps)
        for step in steps:
            if not isinstance(step, BaseException):
                yield step
        if (broken := next((step for step in steps if isinstance(step, BaseException)), None)) is not None:
            raise broken
        if progress is not None:
            progress(looked_at, max(total, looked_at))


async def _step(do: Callable[[Kept], Awaitable[Step]], one: Kept | Step) -> Step:
    return await do(one) if isinstance(one, Kept) else one


async def number_of(client: Client, chosen: Chosen) -> int:
    """How many letters are chosen, or are to be read to see which are.

    Raises:
        BrokerError: the store does not answer.
    """
    if not isinstance(chosen, Wanted):
        return len(chosen)
    first, end = await span(client, chosen)
    return await count_from(client, subjects.DEAD, chosen.subject, first) - await count_from(client, subjects.DEAD, chosen.subject, end)


async def taken(client: Client, chosen: Chosen, at_once: int = _AT_ONCE) -> AsyncIterator[list[Kept | Step | None]]:
    """The chosen letters, oldest first, a few at a time; an id without a letter is `Undone`, a letter that was read in vain None.

    Raises:
        BrokerError: the store does not answer.
    """
    if not isinstance(chosen, Wanted):
        for at in range(0, len(chosen), at_once):
            yield list(await asyncio.gather(*(_by_id(client, letter_id) for letter_id in chosen[at : at + at_once])))
        return
    start, end = await span(client, chosen)
    while start < end:
        stored = [one for one in await stored_from(client, subjects.DEAD, start, chosen.subject, _PAGE) if one.sequence < end]
        if not stored:
            return
        start = stored[-1].sequence + 1
        letters = [as_kept(one) for one in stored]
        for at in range(0, len(letters), at_once):
            yield [kept if chosen.fits(kept) else None for kept in letters[at : at + at_once]]


async def _by_id(client: Client, letter_id: str) -> Kept | Step:
    if (kept := await letter(client, letter_id)) is not None:
        return kept
    first = await _entry(client, letter_id)
    return Undone(letter_id, first[0].in_words() if first else "there is no such letter; see `heddle dead list`")


# --- the audit trail


class Entry(BaseModel):
    """A line of the audit trail; `at` is a wire time, `generation` that of the message that was sent again."""

    model_config = ConfigDict(frozen=True)

    action: Literal["replay", "drop"]
    letter_id: str
    by: str
    at: str
    code: str
    reason: str
    task_id: str | None = None
    goal_id: str | None = None
    worker_type: str | None = None
    generation: int | None = None

    @staticmethod
    def of(action: Literal["replay", "drop"], told: DeadLetter, by: str, generation: int | None) -> Entry:
        """What is written down of a letter that is replayed or dropped now."""
        return Entry(
            action=action,
            letter_id=told.id,
            by=by,
            at=format_time(time.time()),
            code=told.code,
            reason=told.reason[:_REASON],
            task_id=told.task_id,
            goal_id=told.goal_id,
            worker_type=told.worker_type,
            generation=generation,
        )

    def in_words(self) -> str:
        """Who did it, and when."""
        return f"{self.by} {'replayed' if self.action == 'replay' else 'dropped'} it at {self.at}"


def as_entry(stored: Stored) -> Entry | None:
    """A line out of the stream; None for what is none, which somebody wrote by hand."""
    return read_kept(Entry, stored.body)


@dataclass(frozen=True, slots=True)
class Trail:
    """Lines of the audit trail, newest first; `older` is what to pass as `before` for the next, None if there is nothing older."""

    entries: tuple[Entry, ...]
    older: int | None


async def history(client: Client, *, before: int | None = None, limit: int = 50) -> Trail:
    """Who replayed and dropped what, newest first.

    Raises:
        BrokerError: the store does not answer.
    """
    first, end = await bounds(client, subjects.AUDIT)
    end = end if before is None else min(end, before)
    found = await newest_before(client, subjects.AUDIT, ALL, limit + 1, first, end)
    shown = found[:limit]
    return Trail(tuple(entry for entry in map(as_entry, shown) if entry is not None), shown[-1].sequence if len(found) > limit else None)
