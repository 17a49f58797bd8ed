"""Says which tasks wait for a worker that is not there, with the command that starts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nats.aio.client import Client
from rich.markup import escape

from heddle.cli.output import aside
from heddle.control.fleet import backlog, workers

NOTICE_AFTER: Final = 2.0
"""Seconds of following until we look whether anybody serves the type."""


async def say_if_unserved(client: Client, worker_types: Sequence[str]) -> None:
    """Look at who serves these types, and at the tiers in which their tasks wait."""
    cards = await workers(client)
    waiting = await backlog(client)
    for worker_type in dict.fromkeys(worker_types):
        tiers = [tier for name, tier in waiting if name == worker_type and not any(card.serves(name, tier) for card in cards)]
        if tiers or not any(card.serves(worker_type, None) for card in cards):
            where = f" on tier {', '.join(tiers)}" if tiers else ""
            flag = f" --tiers {','.join(tiers)}" if tiers else ""
            aside().print(
                f"[yellow]no worker serves {escape(worker_type)}{where} yet[/]; start one: "
                f"[bold]heddle run worker --types {escape(worker_type)}{flag}[/] (still waiting)"
            )
