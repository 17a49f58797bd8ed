"""Dead letters: the list with its filters, one letter, and what is done with one or with many."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from nats.aio.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from heddle import subjects
from heddle.control import deadletters, replay
from heddle.control.deadletters import Kept, Progress, Wanted
from heddle.control.replay import Done, Forecast
from heddle.errors import Code
from heddle.messages import is_token
from heddle.planning.offer import Offers
from heddle.web.goals import number
from heddle.web.jobs import Job, Jobs, Kind, Line
from heddle.web.overview import STATS
from heddle.web.pages import Desk, Form, Page, View, action, show
from heddle.web.poller import Moment, Topic
from heddle.web.search import Found, Searches

AGES: Final[Mapping[str, tuple[str, float]]] = {
    "1h": ("the last hour", 3600.0),
    "1d": ("the last day", 86_400.0),
    "7d": ("the last week", 7 * 86_400.0),
}
FIELDS: Final = ("code", "type", "tier", "goal", "age", "text")
_STREAMS: Final = frozenset({subjects.DEAD})
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
    removed: replay.Entry | None = None


def wanted_of(fields: Mapping[str, str], now: float) -> Wanted:
    """The letters that a query or a form asks for; an age counts from the full minute, so that many ask for the same."""
    given = {name: value for name in FIELDS if (value := fields.get(name, "").strip())}
    age = AGES.get(given.get("age", ""))
    since = None if age is None else now // 60 * 60 - age[1]
    return Wanted(
        code=given.get("code"),
        worker_type=given.get("type"),
        tier=given.get("tier"),
        since=_moment(fields.get("since"), since),
        until=_moment(fields.get("until")),
        goal_id=given.get("goal"),
        text=given.get("text"),
    )


def _moment(text: str | None, otherwise: float | None = None) -> float | None:
    """Seconds since the epoch, as a form carries them."""
    return float(text) if text and text.replace(".", "", 1).isdecimal() else otherwise


def problem_of(fields: Mapping[str, str]) -> str | None:
    """What is wrong with a query; nothing is read then."""
    if (code := fields.get("code", "")) and code not in list(Code):
        return f"There is no code {code!r}."
    for name in ("type", "tier", "goal"):
        if (value := fields.get(name, "").strip()) and value != subjects.NO_TOKEN and not is_token(value):
            return f"{value!r} cannot be a {'goal’s id' if name == 'goal' else name}."
    return None


def routes(desk: Desk, jobs: Jobs, searches: Searches) -> list[Route]:
    """The pages of dead letters, and what can be done with them."""

    async def listed(request: Request) -> Response:
        asked = {name: request.query_params.get(name, "").strip() for name in FIELDS}
        problem = problem_of(asked)
        wanted, before = wanted_of({} if problem else asked, desk.clock()), number(request.query_params.get("before"))

        async def read(client: Client) -> Found:
            if wanted.needs_reading:
                return await searches.look(client, wanted, before)
            return Found(0.0, page=await deadletters.page(client, wanted, before=before))

        topic = Topic(("dead", wanted, before), read, None if wanted.needs_reading else _STREAMS)
        query = urlencode({name: value for name, value in asked.items() if value})

        def view(moment: Moment) -> View:
            found = None if problem else moment.of(topic)
            return {"found": found, "asked": asked, "query": query, "before": before, "stats": moment.of(STATS), "filtered": bool(query), "ages": AGES}

        once = {"problem": problem, "running": [job for job in jobs.found.values() if job.state == "running"]}
        return await show(desk, request, Page("dead", (topic, STATS), ("count", "list"), view, once))

    async def one(request: Request) -> Response:
        letter_id = str(request.path_params["letter_id"])

        async def read(client: Client) -> Shown:
            return await _shown(client, letter_id, desk.shelf().offers, desk.clock())

        topic = Topic(("letter", letter_id), read, _STREAMS)

        def view(moment: Moment) -> View:
            return {"shown": moment.of(topic), "letter_id": letter_id}

        told = TOLD.get(request.query_params.get("told", ""))
        return await show(desk, request, Page("letter", (topic,), ("letter",), view, {"told": told}))

    async def replay_one(request: Request, _: Form) -> Response:
        letter_id = str(request.path_params["letter_id"])
        return await _one(letter_id, replay.replay(desk.client, [letter_id], by=desk.operator), "replayed")

    async def drop_one(request: Request, _: Form) -> Response:
        letter_id = str(request.path_params["letter_id"])
        return await _one(letter_id, replay.drop(desk.client, [letter_id], by=desk.operator), "dropped")

    async def many(_: Request, form: Form) -> Response:
        if problem := problem_of(form):
            raise HTTPException(400, problem)
        kind = _kind(form.get("do", ""))
        rate = _rate(form.get("rate", ""))
        now = desk.clock()
        wanted = wanted_of(form, now)
        if wanted.until is None:
            wanted = replace(wanted, until=now)
        job = jobs.start(kind, wanted, lambda progress: _work(desk, kind, wanted, rate, progress), rate)
        return RedirectResponse(f"/dead/jobs/{job.number}", 303)

    async def job_page(request: Request) -> Response:
        job = _job(jobs, request)

        async def read(_: Client) -> Job:
            return job

        topic = Topic(("job", job.number), read)

        def view(_: Moment) -> View:
            return {"job": job, "fields": _fields(job.wanted)}

        return await show(desk, request, Page("job", (topic,), ("progress", "letters"), view, {"job": job, "fields": _fields(job.wanted)}))

    async def stop(request: Request, _: Form) -> Response:
        job = _job(jobs, request)
        job.stopping = True
        return RedirectResponse(f"/dead/jobs/{job.number}", 303)

    async def trail(request: Request) -> Response:
        before = number(request.query_params.get("before"))

        async def read(client: Client) -> list[replay.Entry]:
            return await replay.history(client, before=before)

        topic = Topic(("trail", before), read, _STREAMS)

        def view(moment: Moment) -> View:
            return {"entries": moment.of(topic), "before": before}

        return await show(desk, request, Page("trail", (topic,), ("list",), view))

    return [
        Route("/dead", listed),
        Route("/dead/many", action(desk, many), methods=["POST"]),
        Route("/dead/trail", trail),
        Route("/dead/jobs/{number:int}", job_page),
        Route("/dead/jobs/{number:int}/stop", action(desk, stop), methods=["POST"]),
        Route("/dead/{letter_id}", one),
        Route("/dead/{letter_id}/replay", action(desk, replay_one), methods=["POST"]),
        Route("/dead/{letter_id}/drop", action(desk, drop_one), methods=["POST"]),
    ]


async def _shown(client: Client, letter_id: str, offers: Offers | None, now: float) -> Shown:
    kept = await deadletters.letter(client, letter_id)
    if kept is None:
        trail = await replay.history(client, limit=200)
        return Shown(None, removed=next((entry for entry in trail if entry.letter_id == letter_id), None))
    whole = await deadletters.original(client, kept.letter) if kept.letter.truncated else None
    async for forecast in replay.forecast(client, [letter_id], now=now, offers=offers):
        return Shown(kept, forecast, whole)
    return Shown(kept, None, whole)


async def _one(letter_id: str, steps: AsyncIterator[replay.Step], told: str) -> Response:
    async for step in steps:
        if not isinstance(step, Done):
            raise HTTPException(409, f"Not {told}: {step.why}")
    return RedirectResponse(f"/dead/{quote(letter_id, safe='')}?told={told}", 303)


async def _work(desk: Desk, kind: Kind, wanted: Wanted, rate: float | None, progress: Progress) -> AsyncIterator[Line]:
    """A job's lines."""
    if kind == "forecast":
        async for forecast in replay.forecast(desk.client, wanted, now=desk.clock(), offers=desk.shelf().offers):
            yield Line(forecast.kept.letter.id, forecast.ok, forecast.told)
        return
    if kind == "replay":
        steps = replay.replay(desk.client, wanted, by=desk.operator, rate=rate, progress=progress)
    else:
        steps = replay.drop(desk.client, wanted, by=desk.operator, progress=progress)
    async for step in steps:
        match step:
            case Done(letter=letter):
                yield Line(letter.id, ok=True, words="replayed" if kind == "replay" else "dropped")
            case replay.Undone(letter_id=letter_id, why=why):
                yield Line(letter_id, ok=False, words=why)


def _fields(wanted: Wanted) -> dict[str, Any]:
    """A choice as the fields of a form, so that what was looked at is what is replayed."""
    given = {
        "code": wanted.code,
        "type": wanted.worker_type,
        "tier": wanted.tier,
        "goal": wanted.goal_id,
        "text": wanted.text,
        "since": wanted.since,
        "until": wanted.until,
    }
    return {name: value for name, value in given.items() if value is not None}


def _kind(text: str) -> Kind:
    match text:
        case "forecast" | "replay" | "drop":
            return text
        case _:
            raise HTTPException(400, "Say what to do with the letters.")


def _rate(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e6:
        raise HTTPException(400, f"{text!r} is no rate: give letters per second, or leave it empty for no limit.")
    return rate


def _job(jobs: Jobs, request: Request) -> Job:
    job = jobs.found.get(request.path_params["number"])
    if job is None:
        raise HTTPException(404, "This is not known any more: only the last few are, and none from before the dashboard's last start.")
    return job
