"""What is done with many dead letters: a dry run, a replay, a drop, each with a page that follows it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

from nats.aio.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from heddle.control.deadletters import Progress, Wanted
from heddle.control.forecast import forecast
from heddle.control.replay import Done, Undone, drop, replay
from heddle.web.choice import fields_of, problem_of, wanted_of
from heddle.web.goals import number
from heddle.web.jobs import Job, Jobs, Kind, Line
from heddle.web.pages import Desk, Form, Page, View, action, show
from heddle.web.poller import Moment, Topic


def routes(desk: Desk, jobs: Jobs) -> list[Route]:
    """Beginning a job, its page, and stopping it."""

    async def begin(_: Request, form: Form) -> Response:
        if problem := problem_of(form):
            raise HTTPException(400, problem)
        kind = _kind(form.get("do", ""))
        rate = _rate(form.get("rate", ""))
        now = desk.clock()
        wanted = wanted_of(form, now)
        if wanted.until is None:
            wanted = dataclasses.replace(wanted, until=now)
        job = jobs.start(kind, wanted, lambda progress: _work(desk, kind, wanted, rate, progress), rate)
        return RedirectResponse(f"/dead/jobs/{job.number}", 303)

    async def job_page(request: Request) -> Response:
        job = _job(jobs, request)

        async def read(_: Client) -> Job:
            return job

        topic = Topic(("job", job.number), read)

        def view(_: Moment) -> View:
            return {"job": job, "fields": fields_of(job.wanted)}

        return await show(
            desk, request, Page("job", (topic,), ("progress", "letters"), view, {"job": job, "fields": fields_of(job.wanted)})
        )

    async def stop(request: Request, _: Form) -> Response:
        job = _job(jobs, request)
        job.stopping = True
        return RedirectResponse(f"/dead/jobs/{job.number}", 303)

    return [
        Route("/dead/many", action(desk, begin), methods=["POST"]),
        Route("/dead/jobs/{number}", job_page),
        Route("/dead/jobs/{number}/stop", action(desk, stop), methods=["POST"]),
    ]


async def _work(desk: Desk, kind: Kind, wanted: Wanted, rate: float | None, progress: Progress) -> AsyncIterator[Line]:
    """A job's lines."""
    if kind == "forecast":
        async for one in forecast(desk.client, wanted, now=desk.clock(), offers=desk.shelf().offers):
            yield Line(one.letter_id, one.ok, one.told)
        return
    if kind == "replay":
        steps = replay(desk.client, wanted, by=desk.operator, rate=rate, progress=progress)
    else:
        steps = drop(desk.client, wanted, by=desk.operator, progress=progress)
    async for step in steps:
        match step:
            case Done(letter=letter):
                yield Line(letter.id, ok=True, words="replayed" if kind == "replay" else "dropped")
            case Undone(letter_id=letter_id, why=why):
                yield Line(letter_id, ok=False, words=why)


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
    at = number(request.path_params["number"])
    job = None if at is None else jobs.found.get(at)
    if job is None:
        raise HTTPException(404, "This is not known any more: only the last few are, and none from before the dashboard's last start.")
    return job
