"""Who announced itself: what is no card keeps nobody from reading the others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from heddle import subjects
from heddle.broker.announcements import announcements
from tests.support import Ground, on_ground


@pytest.fixture
async def ground(nats_url: str) -> AsyncIterator[Ground]:
    async with on_ground(nats_url) as ground:
        yield ground


@pytest.mark.parametrize(
    ("key", "card"),
    [
        ("hand", None),
        ("hand", []),
        ("hand", {}),
        ("hand", {"replica": 3, "types": {}, "tiers": []}),
        ("hand", {"replica": "w", "types": ["echo"], "tiers": ["local"]}),
        ("router.hand", {"replica": "r"}),
        ("router.hand", {"replica": "r", "digest": "d", "source": "s", "levels": {"local": "full"}}),
        ("orchestrator.hand", {"model": "m"}),
    ],
)
async def test_what_is_no_card_is_passed_over(ground: Ground, key: str, card: Any) -> None:
    bucket = await ground.client.jetstream().key_value(subjects.WORKERS)
    await bucket.put(key, json.dumps(card).encode())
    await bucket.put("text", b"not json")
    await bucket.put("w1", b'{"replica": "w1", "types": {"echo": [1]}, "tiers": ["local"], "of another version": true}')
    assert list(await announcements(ground.client)) == ["w1"]
