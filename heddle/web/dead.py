"""Dead letters: the list with its filters, one letter, and who replayed and dropped what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from nats.aio.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from heddle import subjects
from heddle.control import deadletters, replay
from heddle.control.deadletters import Kept
from heddle.control.forecast import Forecast, forecast
from heddle.control.replay import Done, Entry, Trail
from heddle.planning.offer import Offers
from heddle.web.choice import AGES, FIELDS, problem_of, wanted_of
from heddle.web.goals import number
from heddle.web.jobs import Jobs
from heddle.web.pages import Action, Desk, Form, Handler, Page, View, action, show
from heddle.web.poller import Moment, Topic
from heddle.web.search import Found, Searches
from heddle.web.topics import STATS

_STREAMS: Final = frozenset({subjects.DEAD})
_TRAIL: Final = 200
"""Lines of the audit trail in which a letter that is gone is looked for."""
TOLD: Final = {
    "replayed": "Replayed: it is on its way again, under the next generation.",
    "dropped": "Dropped.",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A letter on its page: what would become of it, its whole original's first bytes, and who removed it if it is gone."""

    kept: Kept | None
    forecast: Forecast | None = None
    original: bytes | None = None
    removed: Entry | None = None


def routes(desk: Desk, jobs: Jobs, searches: Searches) -> list[Route]:
    """The pages of dead letters, and what can be done with one."""
    return [
        Route("/dead", _listed(desk, jobs, searches)),
        Route("/dead/trail", _trail(desk)),
        Route("/dead/{letter_id}", _letter(desk)),
        Route("/dead/{letter_id}/replay", action(desk, _replaying(desk)), methods=["POST"]),
        Route("/dead/{letter_id}/drop", action(desk, _dropping(desk)), methods=["POST"]),
    ]


def _listed(desk: Desk, jobs: Jobs, searches: Searches) -> Handler:
    async def listed(request: Request) -> Response:
        asked = {name: request.query_params.get(name, "").strip() for name in FIELDS}
        problem = problem_of(asked)
        wanted, before = wanted_of({} if problem else asked, desk.clock()), number(request.query_params.get("before"))

        async def read(client: Client) -> Found:
            if wanted.needs_reading:
                return await searches.look(client, wanted, before)
            return Found(0.0, page=await deadletters.page(client, wanted, before=before))

        query = urlencode({name: value for name, value in asked.items() if value})
        topic = Topic(("dead", wanted, before, query), read, None if wanted.needs_reading else _STREAMS)

        def view(moment: Moment) -> View:
            found = None if problem else moment.of(topic)
            return {
                "found": found,
                "asked": asked,
                "query": query,
                "before": before,
                "stats": moment.of(STATS),
                "filtered": bool(query),
                "ages": AGES,
            }

        once = {"problem": problem, "running": [job for job in jobs.found.values() if job.state == "running"]}
        return await show(desk, request, Page("dead", (topic, STATS), ("count", "list"), view, once))

    return listed


def _letter(desk: Desk) -> Handler:
    async def letter(request: Request) -> Response:
        letter_id = str(request.path_params["letter_id"])

        async def read(client: Client) -> Shown:
            return await _shown(client, letter_id, desk.shelf().offers, desk.clock())

        topic = Topic(("letter", letter_id), read, _STREAMS)

        def view(moment: Moment) -> View:
            return {"shown": moment.of(topic), "letter_id": letter_id}

        told = TOLD.get(request.query_params.get("told", ""))
        return await show(desk, request, Page("letter", (topic,), ("letter",), view, {"told": told}))

    return letter


def _trail(desk: Desk) -> Handler:
    async def trail(request: Request) -> Response:
        before = number(request.query_params.get("before"))

        async def read(client: Client) -> Trail:
            return await replay.history(client, before=before)

        topic = Topic(("trail", before), read, _STREAMS)

        def view(moment: Moment) -> View:
            return {"trail": moment.of(topic), "before": before}

        return await show(desk, request, Page("trail", (topic,), ("list",), view))

    return trail


def _replaying(desk: Desk) -> Action:
    async def replay_it(request: Request, _: Form) -> Response:
        letter_id = str(request.path_params["letter_id"])
        return await _one(letter_id, replay.replay(desk.client, [letter_id], by=desk.operator), "replayed")

    return replay_it


def _dropping(desk: Desk) -> Action:
    async def drop_it(request: Request, _: Form) -> Response:
        letter_id = str(request.path_params["letter_id"])
        return await _one(letter_id, replay.drop(desk.client, [letter_id], by=desk.operator), "dropped")

    return drop_it


async def _shown(client: Client, letter_id: str, offers: Offers | None, now: float) -> Shown:
    kept = await deadletters.letter(client, letter_id)
    if kept is None:
        trail = await replay.history(client, limit=_TRAIL)
        return Shown(None, removed=next((entry for entry in trail.entries if entry.letter_id == letter_id), None))
    whole = await deadletters.original(client, kept) if kept.letter.truncated else None
    foretold = [one async for one in forecast(client, [letter_id], now=now, offers=offers)]
    return Shown(kept, foretold[0] if foretold else None, whole)


async def _one(letter_id: str, steps: AsyncIterator[replay.Step], told: str) -> Response:
    async for step in steps:
        if not isinstance(step, Done):
            raise HTTPException(409, f"Not {told}: {step.why}")
    return RedirectResponse(f"/dead/{quote(letter_id, safe='')}?told={told}", 303)
