"""Takes messages with overlapping pulls: asks the server for as many as there are free slots, and hands each to a callback.

Router, worker and orchestrator share it. It makes no Task and no Future per message, which is what makes it fast (nats-py's fetch makes
several).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from heddle import events, subjects
from heddle.broker.outbox import Headers
from heddle.errors import BrokerError
from heddle.telemetry.observer import Observer

PULL_EXPIRES: Final = 10.0
"""Seconds that an ask stands: the longest that a source added later may find every slot asked for by others."""
_SHORT_ASK: Final = 0.1
_REVIVE_DELAY: Final = 0.25
_UNLIMITED: Final = -1
_is_publishable: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
"""Whether nats-py publishes a header of this name; from others it takes any."""


class Delivery:
    """A message taken from a stream, and the address of its ack.

    Attributes:
        body, headers, subject: the message as it came.
        reply: where its ack goes; it says where the message is stored, too.
        source: which consumer it came from.
        since: since when the task in it waits for a token, seconds since the epoch; None if it does not. The router's note.
        held_since: since when it is held in memory meanwhile, by the event loop's clock; None if it never was. The router's note too.
    """

    __slots__ = ("body", "headers", "held_since", "reply", "since", "source", "subject")

    def __init__(self, message: Msg, source: Source) -> None:
        self.body: bytes = message.data
        self.headers: Headers | None = message.headers
        self.subject: str = message.subject
        self.reply: str = message.reply
        self.source = source
        self.since: float | None = None
        self.held_since: float | None = None

    @property
    def stream(self) -> str:
        """The stream that it is stored in."""
        return self.source.stream

    @property
    def delivered(self) -> int:
        """1 on its first delivery."""
        return int(self._told(0))

    @property
    def sequence(self) -> int:
        """Its number in the stream."""
        return int(self._told(1))

    @property
    def stored(self) -> float:
        """Seconds since the epoch at which the stream stored it."""
        return int(self._told(3)) / 1e9

    def told(self) -> tuple[int, float]:
        """`delivered` and `stored`, in one look."""
        parts = self.reply.split(".")
        first = 4 if len(parts) < 11 else 6
        return int(parts[first]), int(parts[first + 3]) / 1e9

    @property
    def origin(self) -> tuple[str, int, int]:
        """What ids are derived from: the stream, its creation in microseconds since the epoch, the sequence."""
        return self.source.stream, self.source.created, self.sequence

    def message_id(self, kind: str) -> str:
        """A `Nats-Msg-Id` derived from where the message is stored, so that a redelivery publishes under the same id."""
        parts = self.reply.split(".")
        return f"{self.source.ids}.{parts[5 if len(parts) < 11 else 7]}.{kind}"

    def _told(self, which: int) -> str:
        """A part of $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>[.<token>]."""
        parts = self.reply.split(".")
        return parts[which + (4 if len(parts) < 11 else 6)]


def passed_on(headers: Headers) -> Headers:
    """The headers that a relay passes on: a sender's, and not those of the server or of heddle, nor those that cannot be published."""
    if len(headers) == 1 and "Nats-Msg-Id" in headers:  # nearly all of them
        return {}
    return {key: value for key, value in headers.items() if not key.lower().startswith(("nats-", "heddle-")) and _is_publishable(key)}


OnDelivery = Callable[[Delivery], Awaitable[None] | None]
"""What to do with a message; what is to be awaited comes back, so that what needs no waiting costs no coroutine."""


@dataclass(slots=True, eq=False)
class Source:
    """A durable consumer that is pulled from.

    Attributes:
        created: when the stream was created, microseconds since the epoch.
        make: makes the consumer; called at the start and whenever the server says that it is gone.
        asked: messages asked for and not yet delivered.
        want: how many to ask for at once; doubles while asks are used up, halves when they expire.
    """

    stream: str
    created: int
    durable: str
    make: Callable[[], Awaitable[None]]
    ids: str = field(init=False)
    want: int = 1
    asked: int = 0
    expires: float = 0.0
    subscription: Subscription | None = None
    inbox: str = ""
    reviving: bool = False

    def __post_init__(self) -> None:
        self.ids = subjects.message_ids(self.stream, self.created)


class Intake:
    """Pulls from several durables with one number of slots: what is asked for and what is held never exceed it.

    Args:
        client: the connection.
        slots: messages held at the same time.
        on_delivery: called for each message, in order per source; it must lead to `release`.
        observer: is told when a consumer has to be made again.
        clock: seconds, monotonic.
    """

    def __init__(
        self, client: Client, slots: int, on_delivery: OnDelivery, observer: Observer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._slots = slots
        self._on_delivery = on_delivery
        self._observer = observer
        self._clock = clock
        self._sources: list[Source] = []
        self._hungry: deque[Source] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._reconnects = client.stats["reconnects"]
        self._quiet = asyncio.Event()
        self.held = 0

    async def add(self, source: Source) -> None:
        """Make the source's consumer and begin to pull from it."""
        await source.make()
        source.inbox = self._client.new_inbox()

        async def on_message(message: Msg) -> None:
            if not message.reply:
                await self._status(source, message)
                return
            self.held += 1
            asked = source.asked
            if asked:
                source.asked = asked = asked - 1
            if asked <= source.want >> 1 and (asked == 0 or source not in self._hungry):
                await self._used_up(source)
            try:
                going = self._on_delivery(Delivery(message, source))
                if going is not None:
                    await going
            except Exception as error:  # noqa: BLE001  # whatever it is, the role stays up and the message comes again
                self._observer.see(events.UNEXPECTED, "could not take a message; it comes again", role=source.durable, error=repr(error))
                await self.release()

        source.subscription = await self._client.subscribe(
            source.inbox, cb=on_message, pending_msgs_limit=_UNLIMITED, pending_bytes_limit=_UNLIMITED
        )
        self._sources.append(source)
        self._hungry.append(source)
        await self._serve()

    async def remove(self, source: Source) -> None:
        """Stop pulling from a source; what it already delivered stays held."""
        self._sources.remove(source)
        if source in self._hungry:
            self._hungry.remove(source)
        if source.subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await source.subscription.unsubscribe()

    async def stop(self) -> None:
        """Ask for nothing more. What is held can still be acked and released."""
        self._stopped = True
        for source in list(self._sources):
            await self.remove(source)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def ack(self, delivery: Delivery) -> Awaitable[None]:
        """Tell the server that the message is done with, and free its slot."""
        if self._hungry or self.held == 1 or not self._client.is_connected:
            return self._ack_and_release(delivery)
        self.held -= 1
        return self._client.publish(delivery.reply)  # while connected it does not raise

    async def _ack_and_release(self, delivery: Delivery) -> None:
        await self._tell(delivery, b"")
        await self.release()

    async def hand_back(self, delivery: Delivery, delay: float) -> None:
        """Ask the server to deliver the message again after `delay` seconds, and free its slot."""
        await self._tell(delivery, b'-NAK {"delay": %d}' % int(delay * 1e9))
        await self.release()

    async def heartbeat(self, delivery: Delivery) -> None:
        """Tell the server that the message is being worked on: its ack_wait starts anew."""
        await self._tell(delivery, b"+WPI")

    async def _tell(self, delivery: Delivery, what: bytes) -> None:
        try:
            await self._client.publish(delivery.reply, what)
        except nats.errors.Error:
            return  # a lost word means a redelivery, which every role can bear

    async def release(self) -> None:
        """Free the slot of a message without an ack: the server delivers it again after ack_wait."""
        self.held -= 1
        if self.held == 0:
            self._quiet.set()
        if self._hungry:
            await self._serve()

    async def quiet(self, grace: float) -> None:
        """Wait until nothing is held, for `grace` seconds at most."""
        while self.held > 0:
            self._quiet.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._quiet.wait()
            except TimeoutError:
                return

    async def look_after(self) -> None:
        """Notice asks that the server lost, or forgot in a reconnection; called about once a second."""
        now = self._clock()
        reconnected = self._client.stats["reconnects"] != self._reconnects
        self._reconnects = self._client.stats["reconnects"]
        for source in self._sources:
            if reconnected or (source.asked and now > source.expires + 2):
                source.asked = 0
                self._feel_hungry(source)
        await self._serve()

    async def _used_up(self, source: Source) -> None:
        """Half of what was asked for is there: ask for more, and for twice as much the next time."""
        source.want = min(self._slots if len(self._sources) == 1 else max(1, self._slots // 2), source.want * 2)
        self._feel_hungry(source)
        await self._serve()

    async def _status(self, source: Source, message: Msg) -> None:
        headers = message.headers or {}
        status, told = headers.get("Status", ""), headers.get("Description", "")
        left = headers.get("Nats-Pending-Messages", "")
        source.asked = max(0, source.asked - int(left)) if left.isdecimal() else 0
        match status:
            case "408":  # the ask expired
                source.want = max(1, source.want // 2) if len(self._sources) > 1 else source.want
                self._feel_hungry(source)
                await self._serve()
            case "404":  # nothing there for an ask that does not wait
                self._feel_hungry(source)
                await self._serve()
            case _:  # the consumer is gone, has a new leader, or nobody answers
                self._revive(source, f"{status} {told}".strip())

    def _revive(self, source: Source, reason: str) -> None:
        if source.reviving or self._stopped:
            return
        source.reviving = True

        async def again() -> None:
            told = ""
            while not self._stopped:
                await asyncio.sleep(_REVIVE_DELAY)
                try:
                    await source.make()
                    break
                except (BrokerError, nats.errors.Error) as error:
                    if str(error) != told:
                        told = str(error)
                        message = "pulls were interrupted, and the consumer cannot be made again; trying on"
                        self._observer.see(events.BROKER_TROUBLE, message, consumer=source.durable, reason=reason, error=told)
            self._observer.see(events.BROKER_TROUBLE, "pulls were interrupted; pulling again", consumer=source.durable, reason=reason)
            source.reviving = False
            source.asked = 0
            self._feel_hungry(source)
            await self._serve()

        task = asyncio.create_task(again())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _feel_hungry(self, source: Source) -> None:
        if source not in self._hungry and not source.reviving:
            self._hungry.append(source)

    async def _serve(self) -> None:
        """Ask for the hungry, in turn, as far as there are free slots.

        However busy a source is, a slot is spared for every other one that has no ask out. A source with an ask out asks again
        only when that is worth a request.
        """
        for _ in range(len(self._hungry)):
            if self._stopped:
                return
            source = self._hungry.popleft()
            missing = source.want - source.asked
            if missing <= 0:
                continue
            others = sum(other.asked for other in self._sources) - source.asked
            idle = sum(1 for other in self._sources if other.asked == 0 and other is not source)
            spared = min(idle, self._slots // 2)  # with more sources than slots they take turns
            most = self._slots - others - spared
            room = most - self.held - source.asked
            if room >= (1 if source.asked == 0 else max(1, min(missing, most // 2))):
                await self._ask(source, min(room, missing))
            else:
                self._hungry.append(source)

    async def _ask(self, source: Source, batch: int) -> None:
        # More sources than slots take turns: short asks, so that a slot is not held by a source with nothing to do.
        expires = PULL_EXPIRES if len(self._sources) <= self._slots else _SHORT_ASK
        source.asked += batch
        source.expires = self._clock() + expires
        request = b'{"batch": %d, "expires": %d}' % (batch, int(expires * 1e9))
        with contextlib.suppress(nats.errors.Error):  # disconnected: look_after asks anew
            await self._client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{source.stream}.{source.durable}", request, reply=source.inbox)
