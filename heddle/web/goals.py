"""Goals: the list, and one with its timeline."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, get_args
from urllib.parse import urlencode

from nats.aio.client import Client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from heddle import subjects
from heddle.control.flow import GOAL_RECORDS
from heddle.control.goals import GoalPage, GoalShown, approve_goal, cancel_goal, goal_shown, goals_page
from heddle.goals import Standing
from heddle.messages import is_token
from heddle.web.pages import Desk, Form, Page, View, action, show
from heddle.web.poller import Moment, Topic
from heddle.web.timeline import timeline

STANDINGS: Final[tuple[Standing, ...]] = get_args(Standing)
_STREAMS: Final = frozenset({subjects.GOALS, GOAL_RECORDS})
_REST: Final = 2.0
"""Seconds between two readings of the list; goals that wait are read whole."""
TOLD: Final = {
    "approved": "Approved: its tasks are on their way.",
    "not-parked": "It does not wait for an approval any more.",
    "cancelled": "Cancelled: what has not ended yet ends as cancelled.",
    "had-ended": "There was nothing to cancel: it had ended.",
}


def routes(desk: Desk) -> list[Route]:
    """The pages of goals, and what can be done with one."""

    async def listed(request: Request) -> Response:
        standing = _standing(request.query_params.get("standing"))
        before = number(request.query_params.get("before"))

        async def read(client: Client) -> GoalPage:
            return await goals_page(client, standing, before=before)

        topic = Topic(("goals", standing, before), read, _STREAMS, _REST)
        query = {"standing": standing} if standing else {}

        def view(moment: Moment) -> View:
            return {"found": moment.of(topic), "standing": standing, "standings": STANDINGS, "before": before, "query": urlencode(query)}

        return await show(desk, request, Page("goals", (topic,), ("list",), view))

    async def one(request: Request) -> Response:
        goal_id = _goal_id(request)
        topic = Topic(("goal", goal_id), partial(goal_shown, goal_id=goal_id))

        def view(moment: Moment) -> View:
            goal = moment.of(topic)
            return {"goal": goal, "goal_id": goal_id, "timeline": timeline(goal, desk.clock()) if goal else None, "letters": _letters(goal)}

        told = TOLD.get(request.query_params.get("told", ""))
        return await show(desk, request, Page("goal", (topic,), ("head", "timeline", "tasks"), view, {"told": told, "goal_id": goal_id}))

    async def approve(request: Request, form: Form) -> Response:
        goal_id = _goal_id(request)
        parked = await approve_goal(desk.client, goal_id, desk.operator, number(form.get("generation")) or 0)
        return _back(goal_id, "approved" if parked is not None else "not-parked")

    async def cancel(request: Request, _: Form) -> Response:
        goal_id = _goal_id(request)
        cancelling = await cancel_goal(desk.client, goal_id, by=desk.operator)
        if cancelling is None:
            raise HTTPException(404, "Nothing is known of such a goal.")
        return _back(goal_id, "had-ended" if cancelling.ended is not None else "cancelled")

    return [
        Route("/goals", listed),
        Route("/goals/{goal_id}", one),
        Route("/goals/{goal_id}/approve", action(desk, approve), methods=["POST"]),
        Route("/goals/{goal_id}/cancel", action(desk, cancel), methods=["POST"]),
    ]


def _letters(goal: GoalShown | None) -> dict[str, str]:
    """The ids of the letters that a goal and its tasks still have, by the task's id."""
    return {} if goal is None else {kept.letter.task_id or "": kept.letter.id for kept in goal.letters}


def _standing(text: str | None) -> Standing | None:
    return next((one for one in STANDINGS if one == text), None)


def number(text: str | None) -> int | None:
    """A whole number from a query or a form; None if it is none."""
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


def _goal_id(request: Request) -> str:
    goal_id: Any = request.path_params["goal_id"]
    if not is_token(goal_id):
        raise HTTPException(404, "No goal can have such an id.")
    return str(goal_id)


def _back(goal_id: str, told: str) -> Response:
    return RedirectResponse(f"/goals/{goal_id}?told={told}", 303)
