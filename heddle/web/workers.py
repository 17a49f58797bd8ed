"""Workers and replicas: who is alive, what they serve, by which digests and models; tiers; queues."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heddle.web.overview import queue_lines
from heddle.web.pages import Desk, Page, View, show
from heddle.web.poller import Moment
from heddle.web.topics import CREW, TIERS


def routes(desk: Desk) -> list[Route]:
    """The page of workers."""

    def view(moment: Moment) -> View:
        return {"crew": moment.of(CREW), "tiers": moment.of(TIERS), "queues": queue_lines(moment)}

    async def workers(request: Request) -> Response:
        return await show(desk, request, Page("workers", (CREW, TIERS), ("workers", "orchestrators", "routers", "tiers", "queues"), view))

    return [Route("/workers", workers)]
