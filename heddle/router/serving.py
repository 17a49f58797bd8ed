"""What a router stands on: its durables, and the rounds that go on beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.bursts import Bursts
from heddle.broker.cancellations import cancellations
from heddle.broker.intake import Intake, Source
from heddle.broker.outbox import Outbox
from heddle.broker.periodic import every
from heddle.broker.streams import Streams, make_consumer
from heddle.broker.upkeep import looked_after
from heddle.router.audit import Audit, recording
from heddle.router.ending import Ender
from heddle.router.expiry import EXPIRY_EVERY, Expiry
from heddle.router.foreign import FOREIGN_EVERY, ForeignListeners
from heddle.router.publishing import keep_text, publish_tiers
from heddle.router.router import Router
from heddle.router.rules import Rules
from heddle.router.shared_lines import GAPS_EVERY
from heddle.router.sweep import SWEEP_EVERY, Sweeper
from heddle.settings import RouterSettings
from heddle.telemetry.observer import Observer

_REPLICAS: Final = 16


@asynccontextmanager
async def routing(
    client: Client,
    streams: Streams,
    rules: Rules,
    settings: RouterSettings,
    observer: Observer,
    replica: str,
    *,
    audit_decisions: bool = True,
) -> AsyncIterator[Router]:
    """Route tasks for as long as the block runs; any number of replicas share the work."""
    outbox = Outbox(client, observer)
    await outbox.start()
    bursts = Bursts(client, outbox, observer, available=streams.bursts)
    await bursts.start()
    audit = Audit(client, observer, replica, rules) if audit_decisions else None
    router = Router(client, rules, observer, replica, outbox, bursts, audit=audit)
    router.intake = intake = Intake(client, settings.window, router.on_task, observer)

    def source(stream: str, durable: str, filter_subject: str) -> Source:
        async def make() -> None:
            await make_consumer(
                client,
                stream,
                durable,
                filter_subject=filter_subject,
                ack_wait=settings.ack_wait,
                max_ack_pending=_REPLICAS * settings.window,
            )

        return Source(stream, streams.created[stream], durable, make)

    await publish_tiers(client, rules)
    await keep_text(client, rules)
    async with cancellations(client) as known:
        router.cancelled = known.known
        await intake.add(source(subjects.DEFER, subjects.DUE_DURABLE, subjects.DUE))  # whoever waited comes before whoever is new
        await intake.add(source(subjects.INCOMING, subjects.ROUTER_DURABLE, subjects.TASKS_INCOMING))
        observer.see(events.ROLE_STARTED, "routing", role="router", replica=replica, rules=rules.digest)
        try:
            ender = Ender(client, outbox, observer, replica, lambda: router.rules.digest, router.clock)
            sweeper = Sweeper(client, outbox, observer, ender, known.known, router.clock)
            foreign = ForeignListeners(client, observer)
            expiry = Expiry(client, streams, ender, known.known, router.clock)
            async with (
                looked_after(intake, outbox, bursts),
                every(1.0, router.look_at_clock, at_once=True),
                every(SWEEP_EVERY, sweeper.round, at_once=True),
                every(GAPS_EVERY, router.shared_lines.close_gaps),
                every(FOREIGN_EVERY, foreign.look, at_once=True),
                every(EXPIRY_EVERY, expiry.round, at_once=True),
                recording(audit),
            ):
                yield router
                await router.drain(settings.ack_wait)
        finally:
            observer.see(events.ROLE_STOPPED, "stopped", role="router", replica=replica)
