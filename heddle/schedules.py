"""Places in HEDDLE_DEFER: how a task that waits for a token, or for its next attempt, is written down in the broker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

SINCE: Final = "Heddle-Waiting-Since"
PLACE: Final = "Heddle-Place"
PINNED: Final = "Heddle-Tier"
"""The tier of a task that is tried again: it took its token before its first attempt, and its rule stands."""

OVERDUE_AFTER: Final = 5.0
"""Seconds after its time at which a place is taken for left behind; schedules may be a few seconds late under load."""


def schedule_headers(target: str, fires_at: float, since: float, place: float) -> dict[str, str]:
    """The headers of a place: when it fires and where to, since when the task waits, and when its token is due."""
    moment = datetime.fromtimestamp(fires_at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"Nats-Schedule": f"@at {moment}", "Nats-Schedule-Target": target, SINCE: f"{since:.6f}", PLACE: f"{place:.6f}"}


def waiting_since(headers: Mapping[str, str] | None) -> float | None:
    """Since when a task that came up has waited; None if its headers do not say."""
    return _seconds(headers, SINCE)


def due_at(headers: Mapping[str, str] | None) -> float:
    """When the token of a task that came up is due; 0 if its headers do not say."""
    return _seconds(headers, PLACE) or 0.0


def _seconds(headers: Mapping[str, str] | None, name: str) -> float | None:
    try:
        return float((headers or {})[name])
    except (KeyError, ValueError):
        return None


def retry_headers(target: str, fires_at: float, tier: str) -> dict[str, str]:
    """The headers of a task that is tried again at `fires_at` (seconds since the epoch), on the same tier and without a second token."""
    return schedule_headers(target, fires_at, fires_at, fires_at) | {PINNED: tier}


def pinned_tier(headers: Mapping[str, str] | None) -> str | None:
    """The tier of a task that is tried again; None for one that waits for a token."""
    return (headers or {}).get(PINNED)
