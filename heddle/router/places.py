"""Places of tasks that wait for a token: when they come up. How a place is written down in the broker is in `schedules`.

A waiting task is a schedule in HEDDLE_DEFER. Per tier and priority there is a line: each task that joins it comes up one token
later than the one before, so that a hundred thousand of them come up one by one and not all at once. A task whose token is
near is held in memory instead, because schedules tick every 250 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from heddle.router.decide import Wait
from heddle.router.rules import Rules

NEAR: Final = 0.5
"""Seconds up to which a wait is held in memory."""
MOST_NEAR: Final = 256
"""Tasks that are held in memory at the same time."""
LEAD: Final = 0.3
"""Seconds that a schedule is set before its token is due: a tick and a little more."""

Key = tuple[str, str]


@dataclass(slots=True)
class Lines:
    """The lines of one replica; forgotten at a restart, when whoever comes up just tries its luck.

    Attributes:
        last: per (tier, priority), when the last who joined the line comes up, seconds since the epoch.
        near: the same for those who came up, found no token, and are held until the next.
    """

    last: dict[Key, float] = field(default_factory=dict)
    near: dict[Key, float] = field(default_factory=dict)

    def join(self, wait: Wait, priority: str, rate: float, now: float, *, came_up: bool, room: bool) -> float:
        """When the task comes up, in seconds since the epoch; never later than it gives up.

        Args:
            wait: the decision.
            priority: the task's.
            rate: the tier's tokens per second.
            now: seconds since the epoch.
            came_up: did it wait already, and found no token when it came up?
            room: is there room in memory?
        """
        key = wait.tier, priority
        at = wait.ready_at
        if came_up:
            at = max(at, self.near.get(key, 0.0) + 1.0 / rate)
            if room and at - now < NEAR:
                self.near[key] = at
                return min(at, wait.give_up_at)
            at = max(at, self.last.get(key, 0.0) + 1.0 / rate)
        if at < wait.give_up_at:
            self.last[key] = at
        return min(at, wait.give_up_at)

    def move(self, seconds: float) -> None:
        """The clock was set by so much."""
        for lines in (self.last, self.near):
            for key in lines:
                lines[key] += seconds

    def keep_only(self, rules: Rules, changed: frozenset[str]) -> None:
        """After a reload: forget the lines of tiers that are gone or whose numbers changed."""
        for lines in (self.last, self.near):
            for key in [key for key in lines if key[0] not in rules.tiers or key[0] in changed]:
                del lines[key]
