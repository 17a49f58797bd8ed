"""Macros: what there is to call, and what each promises."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heddle.web.crew import Crew
from heddle.web.goals import number
from heddle.web.pages import Desk, Page, View, show
from heddle.web.poller import Moment
from heddle.web.schemas import fields, kind_of
from heddle.web.shelf import Card, Shelf
from heddle.web.topics import CREW


def routes(desk: Desk) -> list[Route]:
    """The pages of macros."""

    async def listed(request: Request) -> Response:
        shelf = desk.shelf()

        def view(moment: Moment) -> View:
            return {"shelf": shelf, "served": _served(shelf, moment.of(CREW))}

        return await show(desk, request, Page("macros", (CREW,), (), view))

    async def one(request: Request) -> Response:
        name = str(request.path_params["name"])
        versions = desk.shelf().find(name)
        asked = number(request.query_params.get("version"))
        card = next((one for one in versions if asked in {None, one.contract.version}), None)
        if card is None:
            raise HTTPException(404, f"No macro {name!r}{f' version {asked}' if asked else ''} is known here.")
        return await show(desk, request, Page("macro", (), (), lambda _: {}, _told(card, versions)))

    return [Route("/macros", listed), Route("/macros/{name}", one)]


def _told(card: Card, versions: list[Card]) -> Mapping[str, Any]:
    contract = card.contract
    return {
        "card": card,
        "contract": contract,
        "versions": versions,
        "input": fields(contract.schema),
        "output": fields(contract.output_schema),
        "output_kind": kind_of(contract.output_schema),
        "examples": [(goal, dict(arguments), f"heddle goal {shlex.quote(goal)}") for goal, arguments in contract.examples],
    }


def _served(shelf: Shelf, crew: Crew | None) -> Mapping[str, tuple[int, bool]] | None:
    """By macro: how many workers serve it, and whether one of them has another contract than the one that is known here."""
    if crew is None:
        return None
    found = {}
    for card in shelf.cards:
        key = f"{card.contract.name} {card.contract.version}"
        serving = [worker for worker in crew.workers if card.contract.version in worker.types.get(card.contract.name, ())]
        differs = any(worker.digests.get(key, card.contract.digest) != card.contract.digest for worker in serving)
        found[key] = (len(serving), differs)
    return found
