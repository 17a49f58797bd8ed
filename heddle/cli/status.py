"""`heddle status`: the system at a glance."""

from __future__ import annotations

import time

from heddle.broker.connect import connected
from heddle.cli.options import Output, OutputFormat, Server, server_url
from heddle.cli.output import console, print_json, print_table, run
from heddle.control.fleet import Status
from heddle.control.fleet import status as read_status
from heddle.telemetry.observer import Observer


def status(server: Server = None, output: Output = OutputFormat.TEXT) -> None:
    """Show who is there, what waits, and what died."""

    async def work() -> Status:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await read_status(client, time.time())

    now = run(work(), output)
    if output is OutputFormat.JSON:
        print_json(now.as_json())
        return
    out = console()
    out.print(f"server {now.server}: {now.goals_waiting} goals and {now.tasks_waiting} tasks incoming, {now.outcomes} outcomes kept")
    if now.workers:
        rows = [(card.replica, ", ".join(sorted(card.types)), ", ".join(card.tiers)) for card in now.workers]
        print_table(("worker", "types", "tiers"), rows, title="\nWorkers")
    else:
        out.print("no worker is announced; start one: [bold]heddle run worker[/]")
    if now.held_back:
        waiters = [(tier, priority, count) for (tier, priority), count in sorted(now.held_back.items())]
        print_table(("tier", "priority", "tasks"), waiters, title="\nWaiting for a token or the next attempt")
    if now.backlog:
        rows = [
            (name, tier, str(count) + ("  (no worker!)" if (name, tier) in now.unserved else ""))
            for (name, tier), count in sorted(now.backlog.items())
        ]
        print_table(("type", "tier", "tasks"), rows, title="\nBacklog")
    if now.dead:
        print_table(("code", "letters"), sorted(now.dead.items()), title="\nDead letters")
        out.print("[dim]see them: heddle dead list[/]")
