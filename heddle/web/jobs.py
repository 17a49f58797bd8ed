"""Work on many dead letters that outlasts a request: a dry run, a replay, a drop. Pages follow it like anything else.

A job ends by a word and not by a cancellation, because the client library swallows a cancellation that meets it while it publishes
(docs/adr/012-loops-end-by-events.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from heddle.control.deadletters import Progress, Wanted

KEPT: Final = 20
"""Jobs that can still be looked at."""
SHOWN: Final = 200
"""Lines of a job that are kept to be shown."""
REASONS: Final = 50
"""Reasons that are told apart."""
_GRACE: Final = 1.0

Kind = Literal["forecast", "replay", "drop"]
State = Literal["running", "ended", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Line:
    """What came of one letter, or would."""

    letter_id: str
    ok: bool
    words: str


class Stopped(Exception):  # no error: somebody said so
    """The work was told to stop."""


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work.

    Attributes:
        began: seconds since the epoch.
        rate: letters per second that were asked for; None for no limit.
        looked_at: letters looked at, of `total`; None until that is known.
        good: letters that went well, or would.
        reasons: how often each reason was given that a letter did not.
        lines: the first that did not go well, else the first of all.
        told: why the job failed.
    """

    number: int
    kind: Kind
    wanted: Wanted
    began: float
    rate: float | None = None
    state: State = "running"
    looked_at: int = 0
    total: int | None = None
    good: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    lines: deque[Line] = field(default_factory=deque)
    told: str = ""
    ended: float | None = None
    stopping: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def bad(self) -> int:
        """Letters that did not go well."""
        return self.reasons.total()

    def take(self, line: Line) -> None:
        """One letter more; of too many lines one that went well makes room, if there is one."""
        self.good += line.ok
        if not line.ok:
            self.reasons[line.words if line.words in self.reasons or len(self.reasons) < REASONS else "for other reasons"] += 1
        if len(self.lines) < SHOWN:
            self.lines.append(line)
        elif not line.ok and (well := next((one for one in self.lines if one.ok), None)):
            self.lines.remove(well)
            self.lines.append(line)

    def progress(self, looked_at: int, total: int) -> None:
        """The work says how far it is.

        Raises:
            Stopped: it is to stop.
        """
        self.looked_at, self.total = looked_at, total
        if self.stopping:
            raise Stopped


Work = Callable[[Progress], AsyncIterator[Line]]
"""Begins a job's work; what is iterated is its lines."""


@dataclass(slots=True, eq=False)
class Jobs:
    """The jobs of this process, by their numbers."""

    clock: Callable[[], float]
    found: dict[int, Job] = field(default_factory=dict)
    _number: int = 0

    def start(self, kind: Kind, wanted: Wanted, work: Work, rate: float | None = None) -> Job:
        """Begin a job; those that ended long ago are forgotten."""
        self._number += 1
        job = Job(self._number, kind, wanted, self.clock(), rate)
        self.found[job.number] = job
        job.task = asyncio.create_task(self._run(job, work), name=f"dashboard-{kind}-{job.number}")
        while len(self.found) > KEPT and (over := next((one for one in self.found.values() if one.state != "running"), None)):
            del self.found[over.number]
        return job

    async def _run(self, job: Job, work: Work) -> None:
        lines = work(job.progress)
        try:
            async for line in lines:
                job.take(line)
                if job.stopping:
                    break
            job.state = "stopped" if job.stopping else "ended"
        except Stopped:
            job.state = "stopped"
        except Exception as error:  # noqa: BLE001  # whatever it is: the page says so
            job.state, job.told = "failed", str(error) or type(error).__name__
        finally:
            job.ended = self.clock()
            if isinstance(lines, AsyncGenerator):
                with contextlib.suppress(Exception):
                    await lines.aclose()

    async def end(self) -> None:
        """End them all; what they have done stays done."""
        tasks = [job.task for job in self.found.values() if job.task is not None and job.state == "running"]
        for job in self.found.values():
            job.stopping = True
        if tasks:
            await asyncio.wait(tasks, timeout=_GRACE)
        for task in tasks:
            task.cancel()
