"""`heddle status`: the system at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.options import Output, OutputFormat, Server, server_url
from heddle.cli.output import console, print_json, print_table, run
from heddle.control.fleet import Status, TierCard, tiers, without_worker
from heddle.control.fleet import status as read_status
from heddle.telemetry.observer import Observer


def status(server: Server = None, output: Output = OutputFormat.TEXT) -> None:
    """Show who is there, what waits, and what died."""

    async def work() -> tuple[Status, tuple[TierCard, ...], tuple[str, ...]]:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await read_status(client), await tiers(client), await without_worker(client)

    now, found, lacking = run(work(), output)
    if output is OutputFormat.JSON:
        print_json(now.as_json() | {"tiers": [_as_json(tier) for tier in found], "without_worker": list(lacking)})
        return
    out = console()
    out.print(f"server {now.server}: {now.goals_waiting} goals and {now.tasks_waiting} tasks incoming, {now.outcomes} outcomes kept")
    _print_roles(now)
    if lacking and now.workers:
        out.print(f"[dim]no worker serves {', '.join(lacking)}[/]")
    if found:
        print_table(("tier", "rate", "tokens left", "waiting"), [_tier_row(tier) for tier in found], title="Tiers")
    if now.backlog:
        rows = [
            (name, tier, str(count) + ("  (no worker!)" if (name, tier) in now.unserved else ""))
            for (name, tier), count in sorted(now.backlog.items())
        ]
        print_table(("type", "tier", "tasks"), rows, title="Backlog")
    if now.dead:
        print_table(("code", "letters"), sorted(now.dead.items()), title="Dead letters")
        out.print("[dim]see them: heddle dead list[/]")


def _print_roles(now: Status) -> None:
    if now.routers:
        rows = [(card.replica, card.digest, card.source) for card in now.routers]
        print_table(("router", "rules", "from"), rows, title="Routers")
        if len({card.digest for card in now.routers}) > 1:
            console().print("[yellow]they follow different rules[/]")
    else:
        console().print("no router is announced; start one: [bold]heddle run router[/]")
    if now.workers:
        rows = [(card.replica, ", ".join(sorted(card.types)), ", ".join(card.tiers)) for card in now.workers]
        print_table(("worker", "types", "tiers"), rows, title="Workers")
        for card in now.workers:
            for tool, why in card.unwell.items():
                console().print(f"[yellow]{card.replica}: {escape(tool)} is not well:[/] {escape(why)}")
    else:
        console().print("no worker is announced; start one: [bold]heddle run worker[/]")


def _tier_row(tier: TierCard) -> Sequence[object]:
    rate = "no limit" if tier.rate is None else f"{tier.rate:g}/s, burst {tier.burst}{' over all' if tier.scope == 'cluster' else ''}"
    left = ", ".join(f"{level:g}" for _, level in sorted(tier.levels.items()))
    return tier.name, rate, left, ", ".join(f"{count} {priority}" for priority, count in tier.waiting.items())


def _as_json(tier: TierCard) -> dict[str, object]:
    return {
        "name": tier.name,
        "rate": tier.rate,
        "burst": tier.burst,
        "max_wait": tier.max_wait,
        "scope": tier.scope,
        "levels": tier.levels,
        "waiting": tier.waiting,
    }
