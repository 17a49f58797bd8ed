"""What would become of dead letters if they were replayed now; sends nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from heddle.control.deadletters import Kept
from heddle.control.fleet import WorkerCard, workers
from heddle.control.replay import Chosen, Undone, prepared, taken
from heddle.control.rules import rules_in_force
from heddle.errors import MacroFailure
from heddle.messages import Goal, TaskMessage
from heddle.planning.offer import Offers
from heddle.replays import Again, Never
from heddle.router.decide import Dispatch, Refuse, Wait, decide
from heddle.router.rules import Rules


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a letter if it were replayed now; `told` is one line, `ok` says whether it might complete."""

    letter_id: str
    kept: Kept | None
    ok: bool
    told: str


async def forecast(
    client: Client, chosen: Chosen, *, now: float, offers: Offers | None = None, patch: Mapping[str, Any] | None = None
) -> AsyncIterator[Forecast]:
    """What the rules in force and the macros there are would do with each letter (`heddle dead replay --dry-run`).

    Buckets are taken for full, and handlers for good: whether a task completes, only its run tells.

    Args:
        client: the connection.
        chosen: which.
        now: seconds since the epoch.
        offers: macros whose input schemas payloads are held against; without, only what workers announce is looked at.
        patch: as for `replay`.

    Raises:
        BrokerError: the store does not answer.
    """
    rules, cards = await rules_in_force(client), await workers(client)
    async for some in taken(client, chosen):
        for one in some:
            match one:
                case Kept():
                    again = await prepared(client, one, patch)
                    ok, told = _foretold(again, rules, cards, offers, now)
                    yield Forecast(one.letter.id, one, ok, told)
                case Undone(letter_id, why):
                    yield Forecast(letter_id, None, ok=False, told=why)


def _foretold(
    again: Again | Never, rules: Sequence[Rules], cards: Sequence[WorkerCard], offers: Offers | None, now: float
) -> tuple[bool, str]:
    match again:
        case Never(why):
            return False, f"not replayed: {why}"
        case Again(message=Goal() as goal):
            return True, f"planned again, as generation {goal.generation}"
        case Again(message=TaskMessage() as task, body=body):
            return _foretold_of_task(task, len(body), rules, cards, offers, now)
    raise AssertionError(again)


def _foretold_of_task(
    task: TaskMessage, size: int, rules: Sequence[Rules], cards: Sequence[WorkerCard], offers: Offers | None, now: float
) -> tuple[bool, str]:
    if not rules:
        return True, "no router is announced: it waits in heddle.tasks.incoming"
    decision = decide(task, rules[0], {}, now, size=size)
    match decision:
        case Refuse(code=code, detail=detail):
            return False, f"refused again by rules {rules[0].digest}: {code.value}: {detail}"
        case Dispatch(tier=tier, rule=rule) | Wait(tier=tier, rule=rule):
            way = f"to tier {tier} by {'its own wish' if rule == 'task' else rule}"
    version = f" {task.macro_version}" if task.macro_version is not None else ""
    if offers is not None and (offer := offers.find(task.worker_type, task.macro_version)) is not None:
        try:
            offer.read(task.payload)
        except MacroFailure as failure:
            return False, f"{way}; {failure.code.value}: {failure}"
        way = f"{way}; its payload fits {offer.name} {offer.version}"
    serving = [card for card in cards if card.serves(task.worker_type, tier)]
    if not serving:
        return True, f"{way}; no worker serves {task.worker_type} there yet: it waits in its queue"
    if task.macro_version is not None and not any(task.macro_version in card.types[task.worker_type] for card in serving):
        return False, f"{way}; unknown_version: no worker there reads {task.worker_type}{version}"
    return True, f"{way}; {len(serving)} {'worker serves' if len(serving) == 1 else 'workers serve'} {task.worker_type}{version}"
