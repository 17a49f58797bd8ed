"""Look at dead letters: page by page, by scanning, one by its id, and in numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from heddle.macros.loading import Registry
from heddle.messages import DeadLetter

Progress = Callable[[int, int], None]
"""Told how many letters have been read, of how many that there are to read."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters; a field that is None leaves them all in.

    Attributes:
        code, worker_type, tier: looked at by the server; "-" stands for a worker type or tier that is not known.
        since, until: when the letter was written, seconds since the epoch; `since` is included, `until` is not.
        goal_id: the goal itself, and its tasks.
        text: words anywhere in the letter: its reason, its original, its ids; case does not matter.
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
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter as it is kept; `sequence` is its place in the stream and the cursor to what is older."""

    sequence: int
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Page:
    """Letters, newest first; `older` is what to pass as `before` for the next page, None if there is nothing older."""

    letters: tuple[Kept, ...]
    older: int | None


async def page(
    client: Client, wanted: Wanted = Wanted(), *, before: int | None = None, limit: int = 50, progress: Progress | None = None
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
    raise NotImplementedError


def scan(client: Client, wanted: Wanted = Wanted(), *, progress: Progress | None = None) -> AsyncIterator[Kept]:
    """All wanted letters, newest first; those that come meanwhile are left out.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


async def letter(client: Client, letter_id: str) -> Kept | None:
    """The letter with this id, or None.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


async def original(client: Client, found: DeadLetter) -> bytes | None:
    """The whole message that a letter tells of, byte for byte; None if it was cut and its whole bytes are no longer kept.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Stats:
    """Dead letters in numbers.

    Attributes:
        total: letters kept.
        size: their bytes.
        oldest: when the oldest was written, seconds since the epoch; None if there is none.
        by_code, by_worker_type, by_tier: letters kept; "-" is where it is not known.
        by_age: letters kept, by ("1h", "1d", "7d", "older").
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


async def stats(client: Client, now: float) -> Stats:
    """Dead letters in numbers; the server counts.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


async def keep(client: Client, found: DeadLetter, registry: Registry, name: str | None = None) -> Path:
    """Write a letter down as a fixture of its macro: the input, and how it failed.

    Args:
        client: the connection.
        found: the letter.
        registry: the macros; the fixture goes beside the file that defines the letter's.
        name: of the file, without its ending; made of code and letter id unless given.

    Raises:
        DefinitionError: there is no such macro, the letter tells nothing of one, or the file is there already.
        BrokerError: the store does not answer.
    """
    raise NotImplementedError
