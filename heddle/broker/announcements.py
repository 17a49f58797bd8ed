"""Who announced itself in HEDDLE_WORKERS within the last ten seconds: workers, and routers beside them."""

from __future__ import annotations

import json
from typing import Any

from nats.aio.client import Client

from heddle import subjects
from heddle.broker.connect import stored_from

_MOST = 1000


async def announcements(client: Client) -> dict[str, dict[str, Any]]:
    """Every card in the bucket, by its key; what is no JSON object is passed over.

    The bucket's stream is read in one request: a card that is renewed meanwhile moves to the end and is met there, while a look
    through the bucket's keys can miss it.

    Raises:
        BrokerError: the bucket does not answer.
    """
    prefix = f"$KV.{subjects.WORKERS}."
    found = await stored_from(client, f"KV_{subjects.WORKERS}", 1, f"{prefix}>", _MOST)
    cards = {one.subject.removeprefix(prefix): _card(one.body) for one in found if "KV-Operation" not in one.headers}
    return {key: card for key, card in cards.items() if card is not None}


def _card(body: bytes) -> dict[str, Any] | None:
    try:
        card = json.loads(body)
    except ValueError:
        return None
    return card if isinstance(card, dict) else None
