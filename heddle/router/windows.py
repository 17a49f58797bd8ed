"""A tier's rate shared by all replicas: time is cut into windows of a few tokens, and a counter per window says how many were taken.

A window's tokens may be taken once it is over, and until they are as old as the burst allows; so within any time T no more than
rate x T + burst are taken, whoever takes them. What a priority must leave for higher ones, it leaves by waiting longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

LONGEST: Final = 60.0
SHORTEST: Final = 1e-6
"""Seconds; times near 1.8e9 are 2.4e-7 s apart, and of shorter windows none would ever be met open."""
_PER_BURST: Final = 4


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a tier.

    Attributes:
        rate: tokens per second, of all replicas together.
        burst: tokens at most at once.
        quota: tokens per window.
    """

    rate: float
    burst: int
    quota: int

    @property
    def length(self) -> float:
        """Seconds of one window."""
        return self.quota / self.rate

    @property
    def all_but_the_oldest(self) -> int:
        """What to leave so that only the oldest window is open, whose tokens are about to be nobody's."""
        return max(0, self.burst - 2 * self.quota)

    def open(self, now: float, kept: int) -> range:
        """The windows whose tokens may be taken now by who must leave `kept`, the oldest first."""
        newest = math.floor((now - kept / self.rate) / self.length) - 1
        oldest = math.ceil(now / self.length - self.burst / self.quota)
        return range(oldest, newest + 1)

    def ever_open(self, kept: int) -> bool:
        """Whether any window is ever open to who must leave `kept`."""
        return kept + self.quota < self.burst

    def next_opening(self, now: float, kept: int) -> float:
        """When the next window opens to who must leave `kept`; seconds since the epoch."""
        held_back = kept / self.rate
        return (math.floor((now - held_back) / self.length) + 1) * self.length + held_back


def windows_of(rate: float, burst: int) -> Windows:
    """Windows for a tier: a few per burst, at least a token each, and none longer than a minute unless one token takes longer."""
    return Windows(rate, burst, max(1, min(burst // _PER_BURST, math.floor(LONGEST * rate))))
