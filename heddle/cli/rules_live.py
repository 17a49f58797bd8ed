"""`heddle rules reload · push · history · rollback`: the rules that run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from nats.aio.client import Client

from heddle.broker.connect import connected
from heddle.cli.options import Output, OutputFormat, Server, server_url
from heddle.cli.output import Exit, aside, console, counted, fail, print_json, print_table, run
from heddle.control import rules as control
from heddle.router.reload import FROM_NATS, read_text
from heddle.telemetry.observer import Observer


def reload(server: Server = None, output: Output = OutputFormat.TEXT) -> None:
    """Make every router read its own source again; exits 1 if one refuses or they differ."""

    async def work() -> list[control.Answer]:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await control.reload(client)

    _show(run(work(), output), output)


def _show(answers: list[control.Answer], output: OutputFormat) -> None:
    digests = {answer.digest for answer in answers}
    agreed = all(answer.ok for answer in answers) and len(digests) == 1
    if output is OutputFormat.JSON:
        rows = [{"replica": a.replica, "ok": a.ok, "digest": a.digest, "source": a.source, "problems": a.problems} for a in answers]
        print_json({"ok": agreed, "replicas": rows})
    elif answers:
        print_table(
            ("replica", "source", "ok", "digest", "problems"),
            [(a.replica, a.source, "yes" if a.ok else "NO", a.digest, "\n".join(a.problems)) for a in answers],
        )
    if not answers:
        raise fail("no router answers; start one: heddle run router", Exit.INCOMPLETE)
    if not agreed:
        told = "a replica refused its rules; the good ones stay in force" if len(digests) == 1 else "the replicas follow different rules"
        raise fail(told, Exit.INCOMPLETE)


def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rules file.", show_default=False)],
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Put rules into the bucket that `--rules nats` routers follow."""

    async def work() -> tuple[control.Revision, list[control.Answer]]:
        text = read_text(file)
        async with connected(server_url(server), "cli", Observer()) as client:
            return await _and_followers(client, await control.push(client, text, str(file)))

    _pushed(*run(work(), output), output)


async def _and_followers(client: Client, revision: control.Revision) -> tuple[control.Revision, list[control.Answer]]:
    return revision, [answer for answer in await control.reload(client) if answer.source == FROM_NATS]


def _pushed(revision: control.Revision, followers: list[control.Answer], output: OutputFormat) -> None:
    on_it = sum(answer.ok and answer.digest == revision.digest for answer in followers)
    if output is OutputFormat.JSON:
        print_json({"revision": revision.revision, "digest": revision.digest, "followers": len(followers), "following": on_it})
    else:
        console().print(
            f"pushed revision {revision.revision}, digest {revision.digest}; {on_it} of {counted(len(followers), 'replica')} follow it"
        )
        if not followers:
            aside().print("[yellow]note:[/] no running router follows the bucket; start one: heddle run router --rules nats")
    if on_it < len(followers):
        raise fail("not every replica took the rules; see `heddle rules reload`", Exit.INCOMPLETE)


def history(server: Server = None, output: Output = OutputFormat.TEXT) -> None:
    """List the rules that were pushed, newest first."""

    async def work() -> list[control.Revision]:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await control.history(client)

    revisions = run(work(), output)
    if output is OutputFormat.JSON:
        print_json([{"revision": r.revision, "at": r.at, "digest": r.digest, "text": r.text} for r in revisions])
    elif revisions:
        print_table(("revision", "at", "digest", "lines"), [(r.revision, r.at, r.digest, len(r.text.splitlines())) for r in revisions])
        console().print("[dim]go back: heddle rules rollback REVISION; see a text: heddle rules history -o json[/]")
    else:
        console().print("no rules were pushed yet; push some: heddle rules push configs/router_rules.yaml")


def rollback(
    revision: Annotated[
        int | None, typer.Argument(metavar="REVISION", help="Which. Default: the last that differs.", show_default=False)
    ] = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Push an older text again."""

    async def work() -> tuple[control.Revision, list[control.Answer]]:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await _and_followers(client, await control.rollback(client, revision))

    _pushed(*run(work(), output), output)
