"""Token buckets as values: refill by elapsed time, no clock inside.

The method is the classic token bucket (J. Turner, "New directions in communications", 1986): a bucket holds at most `burst`
tokens and gains `rate` of them per second; a task takes one.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

_EARLY: Final = 1e-6
"""Seconds by which a token may be taken before it is there. Times near 1.8e9 are 2.4e-7 s apart and travel in microseconds, and a
task that comes exactly when its token is due must find it. What is taken early is owed: over any time a bucket grants at most
burst + rate x (elapsed + _EARLY) tokens."""


class Bucket(Struct, frozen=True, gc=False):
    """How many tokens there were, and when: `at` is in seconds since the epoch."""

    level: float
    at: float


NO_TOKENS: Final = Bucket(0.0, float("inf"))
"""The local bucket of a tier that replicas share: it never refills by itself, each lease puts its token in."""


def full(burst: int, now: float) -> Bucket:
    """A bucket that has rested long enough."""
    return Bucket(float(burst), now)


def refilled(bucket: Bucket, rate: float, burst: int, now: float) -> Bucket:
    """The bucket at `now`. A clock that runs backwards adds nothing and takes nothing away."""
    if now <= bucket.at:
        return bucket
    return Bucket(min(float(burst), bucket.level + (now - bucket.at) * rate), now)


def take(bucket: Bucket, rate: float, burst: int, kept: int, now: float) -> Bucket | None:
    """The bucket less one token, or None if that would leave fewer than `kept`, the part reserved for higher priorities."""
    level, at = bucket.level, bucket.at
    if now > at:
        level += (now - at) * rate
        if level > burst:
            level = float(burst)
        at = now
    return Bucket(level - 1.0, at) if level >= kept + 1 - rate * _EARLY else None


def ready_at(bucket: Bucket, rate: float, kept: int) -> float:
    """When `take` will next succeed if nobody else takes, in seconds since the epoch."""
    return bucket.at + max(0.0, kept + 1 - bucket.level) / rate


def kept_back(share: float, burst: int) -> int:
    """How many tokens a priority with this reserve must leave: floor(share x (burst - 1))."""
    return int(share * (burst - 1))
