"""What routers tell the broker of the rules in force: their text, and what workers need to know of them."""

from __future__ import annotations

import contextlib

from nats.aio.client import Client
from nats.js.errors import KeyWrongLastSequenceError

from heddle import subjects
from heddle.router.rules import Rules


async def keep_text(client: Client, rules: Rules) -> None:
    """Keep the text of rules that come into force under its digest, once, so that a decision can be explained later."""
    bucket = await client.jetstream().key_value(subjects.RULES)
    with contextlib.suppress(KeyWrongLastSequenceError):  # it is there already
        await bucket.create(subjects.rules_text(rules.digest), rules.text.encode())


async def publish_tiers(client: Client, rules: Rules) -> None:
    """Tell the workers which tiers there are, so that they make their durables, and whether tasks can fall back on `novel`."""
    meta = await client.jetstream().key_value(subjects.META)
    await meta.put(subjects.FALLBACK_KEY, subjects.NOVEL.encode() if subjects.NOVEL in rules.worker_types else b"")
    await meta.put(subjects.TIERS_KEY, " ".join(rules.tiers).encode())
