"""The first page: what flows where, what waits, who is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heddle.control.flow import Queue, Rates
from heddle.web.diagram import curve, pictures
from heddle.web.pages import Desk, Page, View, show
from heddle.web.poller import HISTORY, Moment
from heddle.web.topics import BY_CODE, CREW, LATEST_GOALS

CURVE: Final = (180, 32)
"""Width and height of a curve."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure with its curve over the last minute."""

    key: str
    name: str
    now: float | None
    top: float
    points: str


def measures(history: tuple[Rates, ...]) -> list[Measure]:
    """What is shown as curves."""
    found = []
    for key, name in (
        ("goals", "goals in"),
        ("incoming", "tasks in"),
        ("routed", "routed"),
        ("ended", "outcomes"),
        ("dead", "dead letters"),
    ):
        values = [float(getattr(one, key)) for one in history]
        found.append(Measure(key, name, values[-1] if values else None, max(values, default=0.0), curve(values, *CURVE, HISTORY)))
    return found


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue with its rate and who serves it."""

    queue: Queue
    rate: float | None
    workers: int | None


def queue_lines(moment: Moment) -> list[QueueLine]:
    """Every queue: those with tasks first."""
    crew = moment.of(CREW)
    taken = moment.rates.taken if moment.rates is not None else {}
    found = [
        QueueLine(
            queue,
            taken.get((queue.worker_type, queue.tier), 0.0) if moment.rates else None,
            None if crew is None else crew.serving(queue.worker_type, queue.tier),
        )
        for queue in moment.flow.queues
    ]
    return sorted(found, key=lambda one: (-one.queue.waiting, -one.queue.taken, one.queue.worker_type, one.queue.tier))


def _view(moment: Moment) -> View:
    return {
        "pictures": pictures(moment.flow, moment.rates, moment.of(CREW)),
        "measures": measures(moment.history),
        "curve": CURVE,
        "queues": queue_lines(moment),
        "goals": moment.of(LATEST_GOALS),
        "codes_died": moment.of(BY_CODE),
    }


def routes(desk: Desk) -> list[Route]:
    """The overview."""

    async def overview(request: Request) -> Response:
        topics = (CREW, LATEST_GOALS, BY_CODE)
        return await show(desk, request, Page("overview", topics, ("flow", "curves", "queues", "latest", "letters"), _view))

    return [Route("/", overview)]
