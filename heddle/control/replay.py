"""Send dead letters again, or drop them; whoever does it is written down (docs/adr/020-replay.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from nats.aio.client import Client

from heddle.control.deadletters import Kept, Progress, Wanted
from heddle.messages import DeadLetter
from heddle.planning.offer import Offers

Chosen: TypeAlias = Sequence[str] | Wanted
"""Letters by their ids, or every letter that is wanted: `Wanted()` for all. What comes after the begin is not chosen."""


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


def replay(
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
    raise NotImplementedError


def drop(client: Client, chosen: Chosen, *, by: str, progress: Progress | None = None) -> AsyncIterator[Step]:
    """Remove letters without sending them again.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a letter if it were replayed now; `told` is one line."""

    kept: Kept
    ok: bool
    told: str


def forecast(
    client: Client, chosen: Chosen, *, now: float, offers: Offers | None = None, patch: Mapping[str, Any] | None = None
) -> AsyncIterator[Forecast]:
    """What the rules in force and the macros there are would do with each letter; sends nothing (`heddle dead replay --dry-run`).

    Args:
        client: the connection.
        chosen: which.
        now: seconds since the epoch.
        offers: macros whose input schemas payloads are held against; without, only what workers announce is looked at.
        patch: as for `replay`.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the audit trail; `at` is a wire time."""

    sequence: int
    action: Literal["replay", "drop"]
    letter_id: str
    by: str
    at: str
    code: str
    reason: str
    task_id: str | None
    goal_id: str | None
    worker_type: str | None
    generation: int | None


async def history(client: Client, *, before: int | None = None, limit: int = 50) -> list[Entry]:
    """Who replayed and dropped what, newest first; the sequence of the last is the cursor to what is older.

    Raises:
        BrokerError: the store does not answer.
    """
    raise NotImplementedError
