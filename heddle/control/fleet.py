"""Who is there: routers and workers as they announce themselves; what waits for whom; the tiers and what is left in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nats.aio.client import Client

from heddle import subjects
from heddle.broker.announcements import announcements
from heddle.broker.connect import js_api, last_on_subject
from heddle.broker.pages import count_from
from heddle.control.rules import rules_in_force
from heddle.errors import BrokerError, Code, Refused
from heddle.messages import PRIORITIES


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker as it announced itself: versions by worker type, and the tiers it serves.

    Attributes:
        digests: of its macros' contracts, by "<worker type> <version>".
        unwell: tools that say they are not well, and why.
    """

    replica: str
    types: dict[str, list[int]]
    tiers: list[str]
    digests: dict[str, str] = field(default_factory=dict)
    unwell: dict[str, str] = field(default_factory=dict)

    def serves(self, worker_type: str, tier: str | None) -> bool:
        """Does it take tasks of that type and tier (any tier, if None)?"""
        return worker_type in self.types and (tier is None or tier in self.tiers)


@dataclass(frozen=True, slots=True)
class RouterCard:
    """A router as it announced itself.

    Attributes:
        digest: of the rules that it follows; more than one among all routers is a drift.
        source: its rules file, or `nats`.
        levels: tokens left, by tier.
    """

    replica: str
    digest: str
    source: str
    levels: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrchestratorCard:
    """An orchestrator as it announced itself.

    Attributes:
        model: the planner's; None if it plans by phrases alone.
        admission: how the model's test stands, such as `admitted`; None before it began, or if it is waived.
    """

    replica: str
    model: str | None
    admission: str | None


class Cards(NamedTuple):
    """Who announced itself within the last ten seconds, by their names."""

    routers: tuple[RouterCard, ...] = ()
    workers: tuple[WorkerCard, ...] = ()
    orchestrators: tuple[OrchestratorCard, ...] = ()


async def cards(client: Client) -> Cards:
    """Who announced itself within the last ten seconds."""
    try:
        found = sorted((await announcements(client)).items())
    except BrokerError:  # no role has run against this server yet
        return Cards()
    routers = [
        RouterCard(card["replica"], card["digest"], card["source"], card.get("levels", {}))
        for key, card in found
        if subjects.is_router_card(key)
    ]
    workers = [
        WorkerCard(card["replica"], card["types"], card["tiers"], card.get("digests", {}), card.get("unwell", {}))
        for key, card in found
        if subjects.is_worker_card(key)
    ]
    orchestrators = [
        OrchestratorCard(card["replica"], card.get("model"), card.get("admission"))
        for key, card in found
        if subjects.is_orchestrator_card(key)
    ]
    return Cards(tuple(routers), tuple(workers), tuple(orchestrators))


async def workers(client: Client) -> tuple[WorkerCard, ...]:
    """The workers that announced themselves within the last ten seconds."""
    return (await cards(client)).workers


async def backlog(client: Client) -> dict[tuple[str, str], int]:
    """Routed tasks that no worker has finished, by (worker type, tier).

    Raises:
        BrokerError: JetStream does not answer.
    """
    try:
        state = (await js_api(client, f"STREAM.INFO.{subjects.TASKS}", {"subjects_filter": ">"}))["state"]
    except Refused:
        return {}
    held = {tuple(subject.split(".")[2:]): count for subject, count in (state.get("subjects") or {}).items()}
    return {(parts[0], parts[1]): count for parts, count in held.items()}


async def held_back(client: Client, tiers: Iterable[str]) -> dict[tuple[str, str], int]:
    """Tasks of these tiers that wait for a token or for their next attempt, by (tier, priority); the server counts them.

    Raises:
        BrokerError: JetStream does not answer.
    """
    found: dict[tuple[str, str], int] = {}
    for tier in tiers:
        for priority in PRIORITIES:
            waiting = await count_from(client, subjects.DEFER, subjects.deferred(tier, priority, "*"))
            waiting += await count_from(client, subjects.DEFER, subjects.due(tier, priority))
            if waiting:
                found[tier, priority] = waiting
    return found


async def declared_tiers(client: Client) -> list[str]:
    """The tiers that the rules declare, as a router published them; none if no router ever did."""
    try:
        told = await last_on_subject(client, f"KV_{subjects.META}", f"$KV.{subjects.META}.{subjects.TIERS_KEY}")
    except BrokerError:  # no role has run against this server yet
        return []
    return (told or b"").decode(errors="replace").split()


@dataclass(frozen=True, slots=True)
class Status:
    """The system at a glance.

    Attributes:
        goals_waiting, tasks_waiting: messages in the incoming streams.
        held_back: tasks that wait for a token or for their next attempt, by (tier, priority).
        backlog: routed tasks by (worker type, tier) that no worker has finished.
        dead: dead letters by code.
    """

    server: str
    goals_waiting: int
    tasks_waiting: int
    held_back: dict[tuple[str, str], int]
    backlog: dict[tuple[str, str], int]
    outcomes: int
    dead: dict[str, int]
    routers: tuple[RouterCard, ...]
    workers: tuple[WorkerCard, ...]

    @property
    def unserved(self) -> tuple[tuple[str, str], ...]:
        """The (worker type, tier) with a backlog that no worker serves."""
        return tuple(sorted(key for key in self.backlog if not any(card.serves(*key) for card in self.workers)))

    def as_json(self) -> dict[str, Any]:
        """For `-o json`."""
        return {
            "server": self.server,
            "goals_waiting": self.goals_waiting,
            "tasks_waiting": self.tasks_waiting,
            "held_back": [
                {"tier": tier, "priority": priority, "tasks": count} for (tier, priority), count in sorted(self.held_back.items())
            ],
            "backlog": [{"worker_type": name, "tier": tier, "tasks": count} for (name, tier), count in sorted(self.backlog.items())],
            "unserved": [{"worker_type": name, "tier": tier} for name, tier in self.unserved],
            "outcomes": self.outcomes,
            "dead": self.dead,
            "routers": [{"replica": card.replica, "rules": card.digest, "source": card.source} for card in self.routers],
            "workers": [
                {"replica": card.replica, "types": card.types, "tiers": card.tiers, "digests": card.digests, "unwell": card.unwell}
                for card in self.workers
            ],
        }


async def status(client: Client) -> Status:
    """Read the system's state from its streams; what it costs the server does not grow with what they hold.

    Raises:
        BrokerError: JetStream does not answer.
    """
    dead = {}
    if await _held(client, subjects.DEAD):
        dead = {code.value: await count_from(client, subjects.DEAD, subjects.dead(code.value, "*", "*", "*")) for code in Code}
    announced = await cards(client)
    return Status(
        server=client.connected_url.netloc if client.connected_url else "",
        goals_waiting=await _held(client, subjects.GOALS),
        tasks_waiting=await _held(client, subjects.INCOMING),
        held_back=await held_back(client, await declared_tiers(client)),
        backlog=await backlog(client),
        outcomes=await _held(client, subjects.OUTCOMES),
        dead={code: count for code, count in sorted(dead.items()) if count},
        routers=announced.routers,
        workers=announced.workers,
    )


async def _held(client: Client, stream: str) -> int:
    """How many messages a stream holds; one that is not there yet, none."""
    try:
        return int((await js_api(client, f"STREAM.INFO.{stream}"))["state"]["messages"])
    except Refused:
        return 0


# --- tiers


@dataclass(frozen=True, slots=True)
class TierCard:
    """A tier as the rules declare it, and its bucket as the routers saw it last.

    Attributes:
        rate: tokens per second; None for no limit.
        max_wait: seconds that a task may wait for a token.
        scope: `replica` or `cluster`.
        levels: tokens left, by router replica; none for a tier without a limit.
        waiting: tasks that wait for a token or their next attempt, by priority.
    """

    name: str
    rate: float | None
    burst: int
    max_wait: float
    scope: str
    levels: dict[str, float]
    waiting: dict[str, int]


async def tiers(client: Client) -> tuple[TierCard, ...]:
    """The tiers of the rules in force; none if no router is announced.

    Raises:
        BrokerError: JetStream does not answer.
    """
    routers = (await cards(client)).routers
    rules = next(iter(await rules_in_force(client)), None)
    if rules is None:
        return ()
    waiting = await held_back(client, rules.tiers)
    return tuple(
        TierCard(
            name=tier.name,
            rate=tier.rate,
            burst=tier.burst,
            max_wait=tier.max_wait,
            scope=tier.scope,
            levels={card.replica: card.levels[tier.name] for card in routers if tier.name in card.levels},
            waiting={priority: count for (name, priority), count in waiting.items() if name == tier.name},
        )
        for tier in rules.tiers.values()
    )


async def without_worker(client: Client) -> tuple[str, ...]:
    """The worker types of the rules in force that no announced worker serves on any tier.

    Raises:
        BrokerError: JetStream does not answer.
    """
    serving = await workers(client)
    types = {name for rules in await rules_in_force(client) for name in rules.worker_types}
    return tuple(sorted(name for name in types if not any(card.serves(name, None) for card in serving)))
