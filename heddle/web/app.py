"""The application: every route, behind the guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from heddle.web import dead, goals, macros, many, overview, rules, workers
from heddle.web.guard import Guarded, cookie
from heddle.web.jobs import Jobs
from heddle.web.pages import HERE, Desk, Form, Page, action, form_token, show
from heddle.web.search import Searches

LONGEST_FORM = 1 << 20
"""Bytes; a task that is explained may be as long as the rules let one be."""


def application(desk: Desk, jobs: Jobs, searches: Searches) -> Starlette:
    """The dashboard as an ASGI application."""
    return Starlette(
        routes=[
            *overview.routes(desk),
            *goals.routes(desk),
            *many.routes(desk, jobs),
            *dead.routes(desk, jobs, searches),
            *rules.routes(desk),
            *workers.routes(desk),
            *macros.routes(desk),
            *_login(desk),
            Mount("/static", StaticFiles(directory=HERE / "static"), name="static"),
        ],
        middleware=[Middleware(Guarded, guard=desk.guard)],
        exception_handlers={HTTPException: _problem(desk)},
        max_body_size=LONGEST_FORM,
    )


def _problem(desk: Desk) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The handler that tells a person what is wrong."""

    async def handle(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else ""
        if "text/html" not in request.headers.get("accept", "") or not desk.guard.lets_in(request.scope["session"]):
            return PlainTextResponse(detail, status)  # a page tells of the system: not to a stranger
        words = "There is no such page." if status == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase else detail
        once = {"title": HTTPStatus(status).phrase, "words": words, "back": _came_from(request)}
        return await show(desk, request, Page("problem", (), (), lambda _: {}, once, status))

    return handle


def _came_from(request: Request) -> str:
    """The page of ours that led here; nothing if it was none."""
    try:
        referrer = urlsplit(request.headers.get("referer", ""))
    except ValueError:  # no browser says such a thing
        return ""
    return f"{referrer.path}?{referrer.query}" if referrer.path and referrer.netloc == request.headers.get("host") else ""


def _login(desk: Desk) -> list[Route]:
    """Saying the token, and leaving."""

    def page(request: Request, problem: str | None, status: int = 200) -> Response:
        template = desk.templates.get_template("login.html")
        return Response(template.render(problem=problem, form_token=form_token(desk, request)), status, media_type="text/html")

    async def form(request: Request) -> Response:
        return RedirectResponse("/", 303) if desk.guard.token is None else page(request, None)

    async def enter(request: Request, given: Form) -> Response:
        if not desk.guard.knows(given.get("token", "").strip()):
            return page(request, "That is not the token.", 403)
        return _with_session(desk, request, desk.guard.session(member=True), "/")

    async def leave(request: Request, _: Form) -> Response:
        return _with_session(desk, request, desk.guard.session(member=False), "/login")

    return [
        Route("/login", form),
        Route("/login", action(desk, enter), methods=["POST"]),
        Route("/logout", action(desk, leave), methods=["POST"]),
    ]


def _with_session(desk: Desk, request: Request, session: str, where: str) -> Response:
    answer = RedirectResponse(where, 303)
    answer.raw_headers.append((b"set-cookie", cookie(desk.guard, session, secure=request.url.scheme == "https").encode()))
    return answer
