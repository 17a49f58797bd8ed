"""Who is there: workers as they announce themselves, streams and their backlog."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client

from heddle import subjects
from heddle.broker.announcements import announcements
from heddle.broker.connect import js_api
from heddle.errors import BrokerError, Refused


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker as it announced itself: versions by worker type, and the tiers it serves.

    Attributes:
        digests: of its macros' contracts, by "<worker type>.<version>".
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


async def workers(client: Client) -> list[WorkerCard]:
    """The workers that announced themselves within the last ten seconds."""
    try:
        cards = await announcements(client)
    except BrokerError:  # no role has run against this server yet
        return []
    found = [WorkerCard(card["replica"], card["types"], card["tiers"]) for key, card in cards.items() if not subjects.is_router_card(key)]
    return sorted(found, key=lambda card: card.replica)


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
    workers: list[WorkerCard]

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
            "outcomes": self.outcomes,
            "dead": self.dead,
            "workers": [{"replica": card.replica, "types": card.types, "tiers": card.tiers} for card in self.workers],
        }


async def status(client: Client) -> Status:
    """Read the system's state from its streams.

    Raises:
        BrokerError: JetStream does not answer.
    """
    dead: Counter[str] = Counter()
    for subject, count in (await _subjects_of(client, subjects.DEAD)).items():
        dead[subject.split(".")[2]] += count
    return Status(
        server=client.connected_url.netloc if client.connected_url else "",
        goals_waiting=await _messages(client, subjects.GOALS),
        tasks_waiting=await _messages(client, subjects.INCOMING),
        held_back=await held_back(client),
        backlog=await backlog(client),
        outcomes=await _messages(client, subjects.OUTCOMES),
        dead=dict(sorted(dead.items())),
        workers=await workers(client),
    )


async def backlog(client: Client) -> dict[tuple[str, str], int]:
    """Routed tasks that no worker has finished, by (worker type, tier)."""
    held = await _subjects_of(client, subjects.TASKS)
    return {(parts[2], parts[3]): count for subject, count in held.items() if len(parts := subject.split(".")) == 4}


async def held_back(client: Client) -> dict[tuple[str, str], int]:
    """Tasks that wait for a token or for their next attempt, by (tier, priority)."""
    found: Counter[tuple[str, str]] = Counter()
    for subject, count in (await _subjects_of(client, subjects.DEFER)).items():
        _, _, tier, priority, *_ = subject.split(".")
        found[tier, priority] += count
    return dict(found)


async def _messages(client: Client, stream: str) -> int:
    try:
        info = await js_api(client, f"STREAM.INFO.{stream}")
    except Refused:
        return 0
    return int(info["state"]["messages"])


async def _subjects_of(client: Client, stream: str) -> dict[str, int]:
    """Messages per subject; the server gives them in pages."""
    found: dict[str, int] = {}
    while True:
        try:
            info = await js_api(client, f"STREAM.INFO.{stream}", {"subjects_filter": ">", "offset": len(found)})
        except Refused:
            return found
        page = info["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= int(info.get("total", 0)):
            return found


# --- the whole fleet


@dataclass(frozen=True, slots=True)
class TierCard:
    """A tier as the rules declare it, and its bucket as a router saw it last.

    Attributes:
        rate: tokens per second; None for no limit.
        scope: `replica` or `cluster`.
        levels: tokens left, by router replica.
        waiting: tasks that wait for a token or their next attempt, by priority.
    """

    name: str
    rate: float | None
    burst: int
    max_wait: float
    scope: str
    levels: dict[str, float]
    waiting: dict[str, int]


@dataclass(frozen=True, slots=True)
class RouterCard:
    """A router as it announced itself within the last ten seconds; `source` is its rules file, or `nats`."""

    replica: str
    digest: str
    source: str


@dataclass(frozen=True, slots=True)
class Flow:
    """How many messages each stream ever took; two of them, with the time between, are rates."""

    at: float
    goals: int
    tasks: int
    routed: int
    outcomes: int
    dead: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who is there, and what waits for whom.

    Attributes:
        rules: the digests that routers follow; more than one is a drift.
        unserved: (worker type, tier) with a backlog and no worker.
    """

    at: float
    rules: tuple[str, ...]
    tiers: tuple[TierCard, ...]
    routers: tuple[RouterCard, ...]
    workers: tuple[WorkerCard, ...]
    backlog: dict[tuple[str, str], int]
    unserved: tuple[tuple[str, str], ...]
    flow: Flow


async def fleet(client: Client, now: float) -> Fleet:
    """Who is there, and what waits for whom.

    Raises:
        BrokerError: JetStream does not answer.
    """
    raise NotImplementedError
