"""Who announced itself in HEDDLE_WORKERS within the last ten seconds: workers, and routers beside them."""

from __future__ import annotations

import json
from typing import Any, Final, NotRequired

from nats.aio.client import Client
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from heddle import subjects
from heddle.broker.connect import stored_from

_MOST = 1000


class _Router(TypedDict):
    replica: str
    digest: str
    source: str
    levels: NotRequired[dict[str, float]]


class _Worker(TypedDict):
    replica: str
    types: dict[str, list[int]]
    tiers: list[str]
    digests: NotRequired[dict[str, str]]
    unwell: NotRequired[dict[str, str]]


class _Orchestrator(TypedDict):
    replica: str
    model: NotRequired[str | None]
    admission: NotRequired[str | None]


_ROUTER: Final = TypeAdapter(_Router)
_WORKER: Final = TypeAdapter(_Worker)
_ORCHESTRATOR: Final = TypeAdapter(_Orchestrator)


async def announcements(client: Client) -> dict[str, dict[str, Any]]:
    """Every card in the bucket, by its key; what is none, or of another version that says it otherwise, is passed over.

    The bucket's stream is read in one request: a card that is renewed meanwhile moves to the end and is met there, while a look
    through the bucket's keys can miss it.

    Raises:
        BrokerError: the bucket does not answer.
    """
    prefix = f"$KV.{subjects.WORKERS}."
    found = await stored_from(client, f"KV_{subjects.WORKERS}", 1, f"{prefix}>", _MOST)
    cards = {one.subject.removeprefix(prefix): one.body for one in found if one.is_entry}
    return {key: json.loads(body) for key, body in cards.items() if _is_card(key, body)}


def _is_card(key: str, body: bytes) -> bool:
    kind: TypeAdapter[Any] = _ROUTER if subjects.is_router_card(key) else _WORKER if subjects.is_worker_card(key) else _ORCHESTRATOR
    try:
        kind.validate_json(body, strict=True)
    except ValidationError:
        return False
    return True
