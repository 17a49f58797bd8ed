"""Publishes many messages into one stream with few acknowledgements: NATS ADR-50, fast ingest (docs/adr/026-bursts.md).

A burst is what one turn of the event loop publishes while the stream is busy. Each of its messages is stored as it comes, as any other;
only PubAcks are fewer: one every `FLOW` messages and one at the end, each of which says that all before it are stored. Whatever
a burst does not acknowledge is published again by itself, with the same `Nats-Msg-Id`; so all that can go wrong with a burst costs time only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heddle import events
from heddle.broker.outbox import REPEAT_AFTER, SMALL, Headers, Outbox, Then
from heddle.telemetry.observer import Observer

BUSY: Final = 32
"""Publishes without a PubAck from which on bursts are worth their first and last message."""
FLOW: Final = 64
"""Messages per acknowledgement within a burst."""
REST: Final = 1.0
"""Seconds without bursts after one that was not stored in full: its stream is full, say, and every other would be repeated too."""
_UNLIMITED: Final = -1

_START, _APPEND, _END = 0, 1, 3
"""What a message is in its burst; the last is not stored."""
_Sent = tuple[Then, Any, str, bytes, Headers | None]
"""What to do when it is stored, with what; subject, body and headers."""


@dataclass(slots=True, eq=False)
class _Burst:
    """Messages that are acknowledged together.

    Attributes:
        reply: what their reply subjects begin with; the server reads the rest.
        begun: seconds, monotonic.
        sent: the messages in order; the first has number 1.
        done: with the first so many: they are stored, or left to the outbox.
    """

    reply: str
    begun: float
    sent: list[_Sent] = field(default_factory=list)
    done: int = 0

    def take(self, number: int) -> Iterator[_Sent]:
        """Those of the first `number` that nobody took yet; each is done with as it is taken, so that what goes wrong with one is its own."""
        end = min(number, len(self.sent))
        while (at := self.done) < end:
            self.done = at + 1
            yield self.sent[at]


class Bursts:
    """Publishes into one stream: in bursts while it is busy and the server takes them, through the outbox otherwise.

    Args:
        client: the connection.
        outbox: publishes what is not in a burst, and what a burst did not store.
        observer: is told of every burst that had to be repeated.
        available: does the stream take bursts (`allow_batched`)?
        clock: seconds, monotonic.
    """

    def __init__(
        self, client: Client, outbox: Outbox, observer: Observer, *, available: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._outbox = outbox
        self._observer = observer
        self._clock = clock
        self._available = available
        self._inbox = client.new_inbox()
        self._cut = len(self._inbox) + 1
        self._sender = self._inbox.rpartition(".")[2]
        self._open: dict[str, _Burst] = {}
        self._current: _Burst | None = None
        self._number = 0
        self._rests_until = 0.0
        self._ends: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Subscribe to the inbox of acknowledgements."""
        await self._client.subscribe(f"{self._inbox}.>", cb=self._on_reply, pending_msgs_limit=_UNLIMITED, pending_bytes_limit=_UNLIMITED)

    def send(self, subject: str, body: bytes, then: Then, context: Any, headers: Headers) -> Awaitable[None]:
        """Publish, once it is awaited; what comes of it is told as by `Outbox.send`. The headers need a `Nats-Msg-Id`."""
        if len(body) > SMALL or not self._client.is_connected:  # the outbox takes care of both
            return self._outbox.send(subject, body, then, context, headers)
        burst = self._current
        if burst is None:
            if not self._is_worth_it():
                return self._outbox.send(subject, body, then, context, headers)
            burst = self._begin()
        sent = burst.sent
        sent.append((then, context, subject, body, headers))
        number = len(sent)
        return self._client.publish(subject, body, f"{burst.reply}.{number}.{_APPEND if number > 1 else _START}.$FI", headers)

    def _is_worth_it(self) -> bool:
        return self._available and (bool(self._open) or self._outbox.waiting >= BUSY) and self._clock() >= self._rests_until

    def _begin(self) -> _Burst:
        self._number += 1
        name = f"{self._sender}-{self._number}"  # the server knows bursts by their names alone: no two senders may share one
        self._current = self._open[name] = burst = _Burst(f"{self._inbox}.{name}.{FLOW}.fail", self._clock())
        end = asyncio.create_task(self._end(burst))  # it runs when this turn of the loop is over
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)
        return burst

    async def _end(self, burst: _Burst) -> None:
        if self._current is burst:
            self._current = None
        with contextlib.suppress(nats.errors.Error):  # then it is repeated
            await self._client.publish(burst.sent[-1][2], b"", f"{burst.reply}.{len(burst.sent) + 1}.{_END}.$FI")

    async def _on_reply(self, message: Msg) -> None:
        """An acknowledgement, or word of something that went wrong, after which the rest of the burst is not stored."""
        name = message.subject[self._cut :].partition(".")[0]
        burst = self._open.get(name)
        if burst is None or not message.data:
            return
        match json.loads(message.data):
            case {"type": "ack", "seq": int(number)}:
                await self._are_stored(burst, number)
            case {"type": _}:
                pass  # what it is that went wrong; how far the burst was stored is told at its end
            case {"count": int(number)}:
                await self._are_stored(burst, number)
                await self._close(name, burst)
            case _:  # the server does not take the burst, or ended it
                await self._close(name, burst)

    async def _are_stored(self, burst: _Burst, number: int) -> None:
        for sent in burst.take(number):
            going = sent[0](sent[1], None)
            if going is not None:
                await going

    async def _close(self, name: str, burst: _Burst) -> None:
        """The burst is over; what it did not store is published by itself. If that raises, `look_after` goes on with the rest."""
        if self._current is burst:
            self._current = None
        if burst.done < len(burst.sent):
            self._rests_until = self._clock() + REST
        for then, context, subject, body, headers in burst.take(len(burst.sent)):
            await self._outbox.send(subject, body, then, context, headers)
        self._open.pop(name, None)

    async def look_after(self) -> None:
        """Publish again what has waited too long for its acknowledgement; called about once a second."""
        if not self._client.is_connected:
            return
        now = self._clock()
        for name, burst in list(self._open.items()):
            if now - burst.begun > REPEAT_AFTER and self._open.get(name) is burst:
                left = len(burst.sent) - burst.done
                told = "a burst was not acknowledged; publishing again"
                self._observer.see(events.PUBLISHES_REPEATED, told, count=left, subject=burst.sent[-1][2])
                await self._close(name, burst)
