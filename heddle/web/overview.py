"""The first page: what flows where, what waits, who is there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heddle import subjects
from heddle.control import deadletters
from heddle.control.deadletters import Stats
from heddle.control.fleet import Fleet, fleet
from heddle.control.flow import GOAL_RECORDS, Queue, Rates
from heddle.control.goals import GoalPage, goals_page
from heddle.web.diagram import curve, pictures
from heddle.web.pages import Desk, Page, View, show
from heddle.web.poller import HISTORY, Moment, Topic

LATEST: Final = 6
CURVE: Final = (180, 32)
"""Width and height of a curve."""


async def _fleet(client: Client) -> Fleet:
    return await fleet(client, time.time())


async def _latest(client: Client) -> GoalPage:
    return await goals_page(client, limit=LATEST)


async def _stats(client: Client) -> Stats:
    return await deadletters.stats(client, time.time())


FLEET: Final = Topic("fleet", _fleet)
LATEST_GOALS: Final = Topic("latest goals", _latest, frozenset({subjects.GOALS, GOAL_RECORDS, subjects.OUTCOMES}))
STATS: Final = Topic("stats", _stats, frozenset({subjects.DEAD}), rest=5.0)


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
    for key, name in (("goals", "goals in"), ("incoming", "tasks in"), ("routed", "routed"), ("ended", "outcomes"), ("dead", "dead letters")):
        values = [float(getattr(one, key)) for one in history]
        found.append(Measure(key, name, values[-1] if values else None, max(values, default=0.0), curve(values, *CURVE, HISTORY)))
    return found


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue with its rate and who serves it."""

    queue: Queue
    rate: float | None
    workers: int | None


def queue_lines(moment: Moment, fleet: Fleet | None) -> list[QueueLine]:
    """Every queue: those with tasks first."""
    taken = moment.rates.taken if moment.rates is not None else {}
    found = [
        QueueLine(
            queue,
            taken.get((queue.worker_type, queue.tier), 0.0) if moment.rates else None,
            None if fleet is None else sum(card.serves(queue.worker_type, queue.tier) for card in fleet.workers),
        )
        for queue in moment.flow.queues
    ]
    return sorted(found, key=lambda one: (-one.queue.waiting, -one.queue.taken, one.queue.worker_type, one.queue.tier))


def _view(moment: Moment) -> View:
    found = moment.of(FLEET)
    return {
        "pictures": pictures(moment.flow, moment.rates, found),
        "fleet": found,
        "measures": measures(moment.history),
        "curve": CURVE,
        "queues": queue_lines(moment, found),
        "goals": moment.of(LATEST_GOALS),
        "stats": moment.of(STATS),
    }


def routes(desk: Desk) -> list[Route]:
    """The overview."""

    async def overview(request: Request) -> Response:
        topics = (FLEET, LATEST_GOALS, STATS)
        return await show(desk, request, Page("overview", topics, ("flow", "curves", "queues", "latest", "letters"), _view))

    return [Route("/", overview)]
