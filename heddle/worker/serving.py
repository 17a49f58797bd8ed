"""What a worker stands on: which macros and tiers it serves, its durables, and its announcement to the others."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.kv import KeyValue

from heddle import events, subjects
from heddle.broker.cancellations import cancellations
from heddle.broker.intake import Delivery, Intake, Source
from heddle.broker.outbox import Outbox
from heddle.broker.periodic import every
from heddle.broker.streams import Streams, make_consumer
from heddle.broker.upkeep import looked_after
from heddle.errors import BrokerError, DefinitionError
from heddle.macros.catalogue import catalogue_of, contracts
from heddle.macros.loading import Registry
from heddle.settings import Settings
from heddle.telemetry.observer import Observer
from heddle.worker import pulse
from heddle.worker.crashes import Crashes
from heddle.worker.executor import tools_of
from heddle.worker.lanes import Lanes
from heddle.worker.tools import health
from heddle.worker.versions import Versions
from heddle.worker.vetting import vet
from heddle.worker.worker import Hand, Worker

UNTIL_RULES_ARE_KNOWN: Final = ("local", "standard")
ANNOUNCE_EVERY: Final = 3.0
HEALTH_EVERY: Final = 30.0
"""Seconds between questions to the tools whether they are well."""
OVERDUE_EVERY: Final = 0.25
_REPLICAS: Final = 16


def served_types(registry: Registry, types: Sequence[str] | None) -> list[str]:
    """The worker types to serve: those asked for, or all there are.

    Raises:
        DefinitionError: there is no macro for one that was asked for, or there is none at all.
    """
    names = sorted(registry.macros)
    if missing := sorted(set(types or ()) - set(names)):
        raise DefinitionError(f"no macro is called {', '.join(missing)}; there are {', '.join(names) or 'none'}")
    if not names:
        raise DefinitionError("there is no macro to serve: write one with @macro, or begin with `heddle init`")
    return names if types is None else [name for name in names if name in types]


@asynccontextmanager
async def working(
    client: Client,
    streams: Streams,
    registry: Registry,
    settings: Settings,
    observer: Observer,
    replica: str,
    *,
    types: Sequence[str] | None = None,
    tiers: Sequence[str] | None = None,
) -> AsyncIterator[Worker]:
    """Serve tasks for as long as the block runs.

    Args:
        client: the connection.
        streams: when they were created.
        registry: the macros.
        settings: all settings; tools may ask for them.
        observer: is told what happens.
        replica: this process's name.
        types: the worker types to serve; all macros' if None.
        tiers: the tiers to serve; every declared one but frontier if None.

    Raises:
        DefinitionError: there is nothing to serve: no macro, or none whose fixtures hold.
    """
    names = await _vetted(registry, served_types(registry, types), observer)
    bucket = await client.jetstream().key_value(subjects.WORKERS)
    async with AsyncExitStack() as stack:
        worker = await _made(stack, client, registry, settings, observer, replica, names, tiers)
        served = Served(worker, bucket, streams.created[subjects.TASKS], names, tiers, _digests(registry, names))
        await served.begin()
        observer.see(events.ROLE_STARTED, "working", role="worker", replica=replica, types=names, tiers=sorted(served.tiers))
        try:
            async with (
                looked_after(worker.intake, worker.outbox),
                every(settings.worker.ack_wait / 3, worker.heartbeat),
                every(ANNOUNCE_EVERY, served.announce, at_once=True),
                every(HEALTH_EVERY, served.ask_health),
                every(OVERDUE_EVERY, worker.look_for_overdue),
            ):
                yield worker
                await worker.intake.stop()
                await worker.intake.quiet(settings.worker.grace)
        finally:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await bucket.delete(replica)
            await worker.lanes.stop()
            for delivery in list(worker.held):
                await worker.intake.hand_back(delivery, 0)
            observer.see(events.ROLE_STOPPED, "stopped", role="worker", replica=replica)


async def _made(
    stack: AsyncExitStack,
    client: Client,
    registry: Registry,
    settings: Settings,
    observer: Observer,
    replica: str,
    names: Sequence[str],
    tiers: Sequence[str] | None,
) -> Worker:
    """A worker with all that it needs, which takes nothing yet; the stack ends what has to end with it."""
    outbox = Outbox(client, observer)
    await outbox.start()
    macros = [macro for name in names for macro in registry.macros[name].values()]
    tools = await stack.enter_async_context(tools_of(registry, settings, macros, tiers=tiers or ()))
    versions = Versions(registry, settings.worker.version_wait)
    crashes = Crashes(registry, await client.jetstream().key_value(subjects.CRASHES))
    worker = Worker(client, registry, tools, settings.worker, observer, replica, outbox, versions, crashes)
    worker.cancellations = await stack.enter_async_context(cancellations(client, worker.cancel))
    worker.lanes = Lanes(settings.worker.slots, worker.work)
    pulse.begin(settings.worker.ack_wait)  # from here on tasks run, and one may block the loop

    def on_delivery(delivery: Delivery) -> None:
        worker.held[delivery] = Hand(worker)
        worker.lanes.put(delivery)

    worker.intake = Intake(client, settings.worker.slots, on_delivery, observer)
    return worker


async def _vetted(registry: Registry, names: Sequence[str], observer: Observer) -> list[str]:
    """The names whose fixtures hold; the others are told, and not served."""
    served, problems = await vet(registry, names)
    for name, problem in zip([name for name in names if name not in served], problems, strict=True):
        observer.see(events.MACRO_WITHHELD, problem, worker_type=name)
    if not served:
        raise DefinitionError("no macro is left to serve: " + "; ".join(problems))
    return served


def _digests(registry: Registry, names: Sequence[str]) -> dict[str, str]:
    """What each macro promises, in twelve digits, by name and version; nothing if a catalogue cannot hold them."""
    try:
        return {f"{one.name} {one.version}": one.digest for one in contracts(catalogue_of(registry)) if one.name in names}
    except DefinitionError:
        return {}


@dataclass(slots=True, eq=False)
class Served:
    """What a worker serves and says of itself: it follows the rules as the router publishes them.

    Attributes:
        created: when HEDDLE_TASKS was, in microseconds since the epoch.
        asked: the tiers that the worker was started for; None for all that are declared but frontier.
        digests: what each macro promises, by name and version.
        tiers: those whose durables are made.
        unwell: tools that are not well, and why.
    """

    worker: Worker
    bucket: KeyValue
    created: int
    types: Sequence[str]
    asked: Sequence[str] | None
    digests: Mapping[str, str]
    tiers: set[str] = field(default_factory=set)
    unwell: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> None:
        """Say what will be served, and then begin to take it: whoever else may fail at our tasks can see us."""
        await self.ask_health()
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._put_card(await self._look())
        await self._refresh()

    async def announce(self) -> None:
        """Follow the rules, say what is served, and see what the others serve."""
        with contextlib.suppress(nats.errors.Error, BrokerError, TimeoutError):
            await self._refresh()
            await self._put_card(self.tiers)
            await self.worker.look_around()

    async def ask_health(self) -> None:
        """Ask the tools whether they are well."""
        self.unwell = {name: why for name, why in (await health(self.worker.tools)).items() if why}
        for name, why in self.unwell.items():
            self.worker.observer.see(events.TOOL_UNWELL, why, tool=name)

    async def _refresh(self) -> None:
        """Make the durables of tiers that came since; a tier that went keeps its queue, which may still hold tasks."""
        for tier in [tier for tier in await self._look() if tier not in self.tiers]:
            for worker_type in self.types:
                await self.worker.intake.add(self._source(worker_type, tier))
            self.tiers.add(tier)

    async def _look(self) -> Sequence[str]:
        """The tiers to serve, by what the rules say now; and whether tasks can fall back."""
        self.worker.falls_back = await self._told(subjects.FALLBACK_KEY) == subjects.NOVEL
        if self.asked is not None:
            return self.asked
        declared = (await self._told(subjects.TIERS_KEY)).split() or UNTIL_RULES_ARE_KNOWN
        return [tier for tier in declared if tier != subjects.FRONTIER]

    async def _told(self, key: str) -> str:
        """What the router wrote there of its rules; nothing, as long as none has."""
        meta = await self.worker.client.jetstream().key_value(subjects.META)
        try:
            return ((await meta.get(key)).value or b"").decode()
        except nats.js.errors.KeyNotFoundError:
            return ""

    async def _put_card(self, tiers: Iterable[str]) -> None:
        """Say who serves what; the bucket forgets who falls silent."""
        replica, readable = self.worker.replica, self.worker.registry.readable
        types = {name: readable(name) for name in self.types}
        told = {"replica": replica, "types": types, "tiers": sorted(tiers), "digests": self.digests, "unwell": self.unwell}
        await self.bucket.put(replica, json.dumps(told).encode())

    def _source(self, worker_type: str, tier: str) -> Source:
        durable, settings = subjects.worker_durable(worker_type, tier), self.worker.settings

        async def make() -> None:
            await make_consumer(
                self.worker.client,
                subjects.TASKS,
                durable,
                filter_subject=subjects.routed(worker_type, tier),
                ack_wait=settings.ack_wait,
                max_ack_pending=_REPLICAS * settings.slots,
            )

        return Source(subjects.TASKS, self.created, durable, make)
