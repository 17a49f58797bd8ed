"""A page: what it looks at, its template, and the parts of it that live."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nats.aio.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from heddle.errors import CODES, BrokerError
from heddle.web import words
from heddle.web.guard import Guard
from heddle.web.poller import Moment, Poller, Topic
from heddle.web.shelf import Shelf

HERE: Final = Path(__file__).parent
COMMON: Final = ("nav", "server")
"""Parts that every page has."""
STILL_HERE: Final = 15.0
"""Seconds of silence after which a stream says that it is there, so that proxies keep it open."""
_RENDERED: Final = 64

View: TypeAlias = Mapping[str, Any]
Form: TypeAlias = Mapping[str, str]
Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Action: TypeAlias = Callable[[Request, Form], Awaitable[Response]]
"""What a form does."""


@functools.cache
def environment() -> Environment:
    """The templates; what they are given is escaped, always."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    for name in (
        "plain",
        "pretty",
        "brief",
        "count",
        "short",
        "rate",
        "lasted",
        "seconds",
        "size",
        "counted",
        "moment",
        "reason",
        "breakable",
        "marked",
    ):
        made.filters[name] = getattr(words, name)
    made.globals["codes"] = {code.value: meaning for code, meaning in CODES.items()}
    return made


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages stand on.

    Attributes:
        client: the connection.
        poller: reads for all pages.
        guard: who may do what.
        shelf: gives the macros that are known here.
        server: the NATS server's address, without what one logs in with.
        operator: who changes things here, for the records: user@host.
        clock: seconds since the epoch.
    """

    client: Client
    poller: Poller
    guard: Guard
    shelf: Callable[[], Shelf]
    server: str
    operator: str
    clock: Callable[[], float] = time.time
    templates: Environment = field(default_factory=environment)
    rendered: dict[Hashable, tuple[int, Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        name: its template is `<name>.html`, the templates of its live parts are `<name>/<part>.html`.
        topics: what it looks at.
        parts: those that change while one looks.
        view: from a moment to what the templates are given.
        once: what only the whole page is given, since it belongs to one request.
        status: of the answer.
        address: where its changes are asked for; its own unless given.
    """

    name: str
    topics: tuple[Topic[Any], ...]
    parts: tuple[str, ...]
    view: Callable[[Moment], View]
    once: View = field(default_factory=dict)
    status: int = 200
    address: str | None = None


async def show(desk: Desk, request: Request, page: Page) -> Response:
    """The page, or the stream of what changes in it: a browser asks for that under the same address."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return StreamingResponse(_updates(desk, page), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    moment = await desk.poller.look(*page.topics)
    parts = _parts(desk, page, moment)
    context = {
        **_given(desk, page, moment),
        **page.once,
        "live": lambda name: Markup('<div id="{}" class="part">{}</div>').format(name, Markup(parts[name])),  # noqa: S704  # a template of ours made it
        "page": page.name,
        "follows": page.status == HTTPStatus.OK,
        "address": page.address or f"{request.url.path}?{request.url.query}",
        "form_token": form_token(desk, request),
        "logged_in": desk.guard.token is not None,
    }
    return HTMLResponse(desk.templates.get_template(f"{page.name}.html").render(context), page.status)


def _given(desk: Desk, page: Page, moment: Moment) -> dict[str, Any]:
    return {"moment": moment, "flow": moment.flow, "server": desk.server, "now": desk.clock(), "page": page.name, **page.view(moment)}


def _parts(desk: Desk, page: Page, moment: Moment) -> Mapping[str, str]:
    """The live parts of a page, rendered once for all who look at the same."""
    key = (page.name, tuple(topic.key for topic in page.topics))
    number, parts = desk.rendered.get(key, (None, {}))
    if number != moment.number:
        given = _given(desk, page, moment)
        names = {name: f"common/{name}.html" for name in COMMON} | {name: f"{page.name}/{name}.html" for name in page.parts}
        parts = {name: desk.templates.get_template(path).render(given) for name, path in names.items()}
        desk.rendered.pop(key, None)
        desk.rendered[key] = moment.number, parts
        while len(desk.rendered) > _RENDERED:
            del desk.rendered[next(iter(desk.rendered))]
    return parts


async def _updates(desk: Desk, page: Page) -> AsyncIterator[str]:
    """Server-sent events, each an object of the parts that have changed."""
    yield "retry: 1000\n\n"
    sent: dict[str, str] = {}
    told = time.monotonic()
    moment = await desk.poller.look(*page.topics)
    moments = desk.poller.follow(*page.topics)
    try:
        while True:
            changed = {name: html for name, html in _parts(desk, page, moment).items() if sent.get(name) != html}
            sent |= changed
            if changed:
                yield f"data: {json.dumps(changed, ensure_ascii=False)}\n\n"
            elif time.monotonic() - told > STILL_HERE:
                yield ": still here\n\n"
            if changed or time.monotonic() - told > STILL_HERE:
                told = time.monotonic()
            moment = await anext(moments)
    except StopAsyncIteration:
        return
    finally:
        await moments.aclose()


def form_token(desk: Desk, request: Request) -> str:
    """What the forms of this request's session carry."""
    return desk.guard.form_token(request.scope["session"])


def action(desk: Desk, act: Action) -> Handler:
    """A handler for a form: what it carries is read and its token checked before anything is done."""

    async def handle(request: Request) -> Response:
        try:
            fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100)
        except ValueError:
            raise HTTPException(400, "No form of ours has so many fields.") from None
        form = {name: values[-1] for name, values in fields.items()}
        if not desk.guard.is_form_token(form.pop("form_token", ""), request.scope["session"]):
            raise HTTPException(403, "This page is older than the dashboard, or its cookie is gone. Load it again and repeat what you did.")
        try:
            return await act(request, form)
        except BrokerError as error:
            raise HTTPException(503, f"The NATS server did not do it: {error}. Nothing else was changed; try again.") from None
        finally:
            desk.poller.renew()

    return handle
