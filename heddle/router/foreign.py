"""Notices others who listen on `heddle.tasks.incoming`: a router of another make would dispatch every task a second time."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from heddle import events, subjects
from heddle.telemetry.observer import Observer

FOREIGN_EVERY: Final = 15.0


@dataclass(slots=True, eq=False)
class ForeignListeners:
    """Asks the server, now and then, who subscribes to the incoming tasks; says so once per connection.

    The server that we are connected to answers, for our own account.
    """

    client: Client
    observer: Observer
    told: set[int] = field(default_factory=set)

    async def look(self) -> None:
        """Ask once."""
        for connection in await _listeners(self.client):
            if connection["cid"] not in self.told:
                self.told.add(connection["cid"])
                self.observer.see(
                    events.FOREIGN_LISTENER,
                    "another client subscribes to heddle.tasks.incoming; if it routes tasks too, each is dispatched twice: end one of the two",
                    client=connection.get("name") or "(no name)",
                    language=connection.get("lang"),
                    address=f"{connection.get('ip')}:{connection.get('port')}",
                )


async def _listeners(client: Client) -> list[dict[str, Any]]:
    request = json.dumps({"subscriptions": True, "filter_subject": subjects.TASKS_INCOMING}).encode()
    with contextlib.suppress(nats.errors.Error, TimeoutError, ValueError):
        answer = json.loads((await client.request("$SYS.REQ.ACCOUNT.PING.CONNZ", request, timeout=2)).data)
        connections: list[dict[str, Any]] = answer.get("data", {}).get("connections") or []
        return [one for one in connections if subjects.TASKS_INCOMING in (one.get("subscriptions_list") or ())]
    return []
