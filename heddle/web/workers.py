"""Workers and router replicas: who is alive, what they serve, by which digests; tiers; queues."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heddle.control.fleet import Fleet, WorkerCard
from heddle.web.overview import FLEET, queue_lines
from heddle.web.pages import Desk, Page, View, show
from heddle.web.poller import Moment


def disagreeing(workers: tuple[WorkerCard, ...]) -> frozenset[str]:
    """The macros, as "<worker type>.<version>", of which workers announce different digests."""
    seen: dict[str, set[str]] = {}
    for card in workers:
        for name, digest in card.digests.items():
            seen.setdefault(name, set()).add(digest)
    return frozenset(name for name, digests in seen.items() if len(digests) > 1)


def held_back(fleet: Fleet) -> Mapping[str, int]:
    """Tasks that wait in each tier, for a token or their next attempt."""
    return {tier.name: sum(tier.waiting.values()) for tier in fleet.tiers}


def routes(desk: Desk) -> list[Route]:
    """The page of workers."""

    def view(moment: Moment) -> View:
        found = moment.of(FLEET)
        return {
            "fleet": found,
            "queues": queue_lines(moment, found),
            "disagreeing": disagreeing(found.workers) if found else frozenset(),
            "held_back": held_back(found) if found else {},
        }

    async def workers(request: Request) -> Response:
        return await show(desk, request, Page("workers", (FLEET,), ("workers", "routers", "tiers", "queues"), view))

    return [Route("/workers", workers)]
