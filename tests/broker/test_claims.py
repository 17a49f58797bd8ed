"""Claims: who holds one, and who may take it away."""

from __future__ import annotations

from heddle import subjects
from heddle.broker.claims import claimed
from tests.support import on_ground


async def test_who_was_taken_for_dead_does_not_take_away_the_claim_of_the_next(nats_url: str) -> None:
    async with on_ground(nats_url) as ground:
        bucket = await ground.client.jetstream().key_value(subjects.CLAIMS)
        async with claimed(bucket, "g.0", "late"):
            await bucket.put("g.0", b"next")  # the claim of the first was over, and the next has it
        assert (await bucket.get("g.0")).value == b"next"
