"""Publishes into streams with an inbox of its own for PubAcks, and tells, per message, when the server has stored it.

It makes no Task and no Future per message, which is what makes it fast (nats-py's publish_async makes several).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from heddle import events
from heddle.errors import Refused
from heddle.telemetry.observer import Observer

Headers = dict[str, str]

REPEAT_AFTER: Final = 2.0
"""Seconds without a PubAck until a publish is sent again; below every ack_wait, so that we repeat before others do."""
SMALL: Final = 512 * 1024
"""Below it a body fits with whatever headers: a stream takes 64 KiB of them, and every server 1 MiB in all (see `connect`)."""
_UNLIMITED: Final = -1

Then = Callable[[Any, Refused | None], Awaitable[None] | None]
_Sent = tuple[Then, Any, str, bytes, Headers | None, float]
"""What to do then, with what; subject, body and headers, to publish it again; and when it was published last."""


class TooLarge(Refused):
    """Body and headers are more than the server takes in one message; it would cut the connection."""


class Outbox:
    """Publishes into streams and tells when each message is stored.

    Args:
        client: the connection.
        observer: is told of every publish that had to be repeated.
        clock: seconds, monotonic.
    """

    def __init__(self, client: Client, observer: Observer, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._observer = observer
        self._clock = clock
        self._inbox = client.new_inbox()
        self._cut = len(self._inbox) + 1
        self._waiting: dict[str, _Sent] = {}
        self._number = 0

    async def start(self) -> None:
        """Subscribe to the inbox of PubAcks."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_puback, pending_msgs_limit=_UNLIMITED, pending_bytes_limit=_UNLIMITED)

    @property
    def waiting(self) -> int:
        """Publishes without a PubAck so far."""
        return len(self._waiting)

    def send(self, subject: str, body: bytes, then: Then, context: Any, headers: Headers | None = None) -> Awaitable[None]:
        """Publish, once it is awaited; `await then(context, None)` once it is stored, `await then(context, refused)` if the server refuses.

        It is published again, with the same headers, until one of the two happens; so give it a `Nats-Msg-Id`, or a subject
        that takes one message only.
        """
        self._number += 1
        token = str(self._number)
        self._waiting[token] = (then, context, subject, body, headers, self._clock())
        if len(body) > SMALL or not self._client.is_connected:
            return self._send_with_care(token)
        return self._client.publish(subject, body, f"{self._inbox}.{token}", headers)  # while connected it does not raise

    async def _send_with_care(self, token: str) -> None:
        """Publish what may be too large, or has no connection just now: then it is repeated later."""
        then, context, subject, body, headers, _ = self._waiting[token]
        size = len(body) + _size_of(headers)
        if size > self._client.max_payload:
            del self._waiting[token]
            going = then(context, TooLarge(f"with its headers the message has {size} bytes; the server takes {self._client.max_payload}"))
            if going is not None:
                await going
            return
        with contextlib.suppress(nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError):
            await self._client.publish(subject, body, f"{self._inbox}.{token}", headers)

    async def publish(self, subject: str, body: bytes, headers: Headers | None = None) -> None:
        """Publish and wait until it is stored.

        Raises:
            Refused: the server said no.
        """
        done: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()

        async def then(_: None, refused: Refused | None) -> None:
            if not done.done():
                done.set_result(refused)

        await self.send(subject, body, then, None, headers)
        if (refused := await done) is not None:
            raise refused

    async def look_after(self) -> None:
        """Publish again what has waited too long for its PubAck; called about once a second."""
        if not self._client.is_connected:
            return
        now = self._clock()
        late = [(token, sent) for token, sent in self._waiting.items() if now - sent[-1] > REPEAT_AFTER]
        for token, (*what, _) in late:
            if token in self._waiting:
                self._waiting[token] = (*what, now)
                await self._send_with_care(token)
        if late:
            self._observer.see(events.PUBLISHES_REPEATED, "no PubAck came; publishing again", count=len(late), subject=late[0][1][2])

    async def _on_puback(self, message: Msg) -> None:
        token = message.subject[self._cut :]
        data = message.data
        if not data:  # nobody listens on that subject just now: the stream's leader is away; look_after repeats it
            return
        sent = self._waiting.pop(token, None)
        if sent is not None:  # else it is the PubAck of a publish that was repeated
            going = sent[0](sent[1], None if b'"error"' not in data else _refusal(data, sent[2]))
            if going is not None:
                await going


def _size_of(headers: Headers | None) -> int:
    """Bytes of the headers on the wire: a first line and an empty one, and a line each."""
    return 12 + sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) if headers else 0


def _refusal(data: bytes, subject: str) -> Refused | None:
    error = json.loads(data).get("error")
    return Refused(f"{subject}: {error.get('description', 'refused')}", error.get("err_code", 0)) if error else None
