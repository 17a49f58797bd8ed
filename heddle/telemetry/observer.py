"""Counts events and logs them: the one place that a role tells what it sees."""

from __future__ import annotations

import bisect
import sys
from collections import Counter
from typing import Any, TextIO

import structlog

from heddle.events import Event


class Observer:
    """Counters by event and label values, and a structured log.

    Counting costs one dictionary update, because it happens on the hot path; the metrics endpoint reads the counters when
    it is asked.
    """

    def __init__(self, log: Any = None) -> None:
        self.counters: Counter[tuple[Event, tuple[str, ...]]] = Counter()
        self.measured: dict[Event, list[float]] = {}
        self._log = log

    def count(self, event: Event, *labels: str, times: int = 1) -> None:
        """Count an event; label values in the order of the event's labels."""
        self.counters[event, labels] += times

    def measure(self, event: Event, value: float) -> None:
        """Put a value into its bucket of the event's histogram; the last item is the sum, the one before counts what is above all."""
        kept = self.measured.setdefault(event, [0.0] * (len(event.buckets) + 2))
        kept[bisect.bisect_left(event.buckets, value)] += 1
        kept[-1] += value

    def see(self, event: Event, message: str, /, **fields: Any) -> None:
        """Count an event and log it at its level; its labels are taken from the fields."""
        self.counters[event, tuple(str(fields.get(label, "")) for label in event.labels)] += 1
        if self._log is not None and event.level is not None:
            self._log.log(_LEVELS[event.level], message, **fields)

    def total(self, event: Event) -> int:
        """How often an event was counted, over all its labels."""
        return sum(count for (counted, _), count in self.counters.items() if counted == event)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def logger(role: str, level: str = "info", stream: TextIO | None = None) -> Any:
    """A structlog logger for one role: readable on a terminal, JSON lines elsewhere, always on standard error."""
    target = stream or sys.stderr
    renderer: Any = structlog.dev.ConsoleRenderer(colors=True) if target.isatty() else structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.wrap_logger(
        structlog.PrintLogger(target),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.EventRenamer("message") if not target.isatty() else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        role=role,
    )


def _unchanged(_logger: Any, _method: str, event: Any) -> Any:
    return event
