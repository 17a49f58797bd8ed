"""Counts events and logs them: the one place that a role tells what it sees."""

from __future__ import annotations

import bisect
import sys
from collections import defaultdict
from typing import Any, TextIO

import structlog

from heddle.events import Event


class Count:
    """How often one event was counted with the same labels."""

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times = 0


class Observer:
    """Counters by event and label values, and a structured log.

    Counting costs one look into a dictionary, because it happens on the hot path; the metrics endpoint reads the counters when
    it is asked.
    """

    def __init__(self, log: Any = None) -> None:
        self._counts: defaultdict[tuple[Event, tuple[str, ...]], Count] = defaultdict(Count)
        self.measured: dict[Event, list[float]] = {}
        self._log = log

    @property
    def counters(self) -> dict[tuple[Event, tuple[str, ...]], int]:
        """How often each event was counted, by its labels."""
        return {counted: count.times for counted, count in tuple(self._counts.items())}

    def counter(self, event: Event, *labels: str) -> Count:
        """The counter itself, for whoever counts so often that even the look into the dictionary is felt."""
        return self._counts[event, labels]

    def count(self, event: Event, *labels: str, times: int = 1) -> None:
        """Count an event; label values in the order of the event's labels."""
        self._counts[event, labels].times += times

    def measure(self, event: Event, value: float) -> None:
        """Put a value into its bucket of the event's histogram; the last item is the sum, the one before counts what is above all."""
        kept = self.measured.setdefault(event, [0.0] * (len(event.buckets) + 2))
        kept[bisect.bisect_left(event.buckets, value)] += 1
        kept[-1] += value

    def see(self, event: Event, message: str, /, **fields: Any) -> None:
        """Count an event and log it at its level; its labels are taken from the fields."""
        self.count(event, *(str(fields.get(label, "")) for label in event.labels))
        if self._log is not None and event.level is not None:
            self._log.log(_LEVELS[event.level], message, **fields)

    def total(self, event: Event) -> int:
        """How often an event was counted, over all its labels."""
        return sum(count.times for (counted, _), count in self._counts.items() if counted == event)


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
