"""The time by which replicas share a rate: the machine's, but it is not set back.

By a clock that was set back, the windows of now are windows whose tokens were taken, and the end of the line is far ahead: a busy tier
would stop until the old time comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CLOCK_SET: Final = 1.0
"""Seconds by which a clock must move beyond the time that went by, to have been set."""


@dataclass(slots=True, eq=False)
class SharedClock:
    """Seconds since the epoch, as they would be had the clock not been set back.

    Attributes:
        clock: the machine's.
        ahead: seconds by which this one is ahead of it, since it was set back.
    """

    clock: Callable[[], float]
    ahead: float = 0.0
    _offset: float | None = None

    def __call__(self) -> float:
        """What time it is."""
        now = self.clock()
        offset = now - time.monotonic()
        if self._offset is not None and abs(moved := offset - self._offset) > CLOCK_SET:
            self.ahead = max(0.0, self.ahead - moved)
        self._offset = offset
        return now + self.ahead
