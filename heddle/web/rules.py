"""Rules: the text in force, the replicas that follow it, and what it would do with a task."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heddle.control.rules import rules_in_force
from heddle.errors import DecodeError
from heddle.messages import TaskMessage, decode
from heddle.router.decide import Dispatch, Wait, explain
from heddle.router.rules import Rules
from heddle.web.pages import Desk, Form, Page, View, action, show
from heddle.web.poller import Moment, Topic
from heddle.web.topics import CREW

_LINE: Final = re.compile(r"\(line (\d+)\)")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an explanation, and the line of the rules that it names."""

    words: str
    line: int | None


@dataclass(frozen=True, slots=True)
class Explained:
    """What the rules would do with a task, or why it is none."""

    task: str
    verdict: str = ""
    tone: str = "bad"
    steps: tuple[Step, ...] = ()
    digest: str = ""
    problem: str | None = None


IN_FORCE: Final[Topic[list[Rules]]] = Topic("rules in force", rules_in_force, rest=2.0)


def example(in_force: list[Rules]) -> str:
    """A task to begin with: of the first type and tier that the rules know."""
    rules = in_force[0] if in_force else None
    worker_type = next(iter(rules.worker_types), None) if rules is not None else None
    tier = next(iter(rules.tiers), None) if rules is not None else None
    return json.dumps({"worker_type": worker_type or "repo_triage", "payload": {}, "model_tier": tier or "local"})


def explained(text: str, in_force: list[Rules], now: float) -> Explained:
    """A task as it was pasted, by the rules that most routers follow, with full buckets; pure."""
    if not in_force:
        return Explained(text, problem="No rules are in force: no router is announced. Start one: heddle run router")
    rules = in_force[0]
    body = text.strip().encode()
    try:
        task = decode(TaskMessage, body)
    except DecodeError as error:
        return Explained(text, problem=f"This is no task (invalid_task_message): {error}")
    decision, steps = explain(task, rules, {}, now, size=len(body))
    tone = {Dispatch: "ok", Wait: "warn"}.get(type(decision), "bad")
    verdict, *_ = [step.removeprefix("decision: ") for step in steps if step.startswith("decision: ")]
    return Explained(text, verdict, tone, tuple(_step(step) for step in steps), rules.digest)


def _step(words: str) -> Step:
    line = _LINE.search(words)
    return Step(words, int(line[1]) if line else None)


def routes(desk: Desk) -> list[Route]:
    """The page of rules; explaining a task changes nothing, but a task may be too long for an address."""

    def page(asked: Explained | None) -> Page:
        def view(moment: Moment) -> View:
            in_force = moment.of(IN_FORCE)
            return {"in_force": in_force, "crew": moment.of(CREW), "example": example(in_force or [])}

        lines = {step.line for step in asked.steps} if asked is not None else set()
        return Page("rules", (IN_FORCE, CREW), ("replicas",), view, {"asked": asked, "lines": lines}, address="/rules")

    async def rules(request: Request) -> Response:
        return await show(desk, request, page(None))

    async def explain_task(request: Request, form: Form) -> Response:
        moment = await desk.poller.look(IN_FORCE)
        return await show(desk, request, page(explained(form.get("task", ""), moment.of(IN_FORCE) or [], desk.clock())))

    return [Route("/rules", rules), Route("/rules/explain", action(desk, explain_task), methods=["POST"])]
