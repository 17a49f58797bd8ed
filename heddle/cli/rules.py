"""`heddle rules …`: check rules, and explain a decision."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from heddle.cli.options import Macros, Output, OutputFormat, RulesFile, macro_sources, rules_path
from heddle.cli.output import Exit, aside, console, counted, fail, failed, print_json
from heddle.cli.roles import missing_rules, read_rules
from heddle.errors import DecodeError, HeddleError, RulesError
from heddle.macros.loading import load
from heddle.messages import TaskMessage, decode, parse_time
from heddle.router.decide import Dispatch, Refuse, Wait, explain
from heddle.router.rules import Rules, uncovered

app = typer.Typer(no_args_is_help=True, help="Check rules, and explain decisions.")


@app.command("check")
def check(
    file: Annotated[Path | None, typer.Argument(help="Rules file. Default: configs/router_rules.yaml.", show_default=False)] = None,
    rules: RulesFile = None,
    macros: Macros = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Check a rules file: every problem at once, and each macro that has no rule."""
    path = rules_path(file or rules)
    try:
        read = read_rules(path)
    except RulesError as error:
        if output is OutputFormat.JSON:
            print_json({"ok": False, "file": str(path), "problems": [_problem(problem) for problem in error.problems]})
        raise fail(str(error), Exit.INCOMPLETE) from None
    missing: list[str] = []
    if macros is not None or Path("workflows").is_dir():
        try:
            missing = uncovered(read, load(macro_sources(macros)).macros)
        except HeddleError as error:
            raise failed(error, output) from None
    if output is OutputFormat.JSON:
        print_json(
            {
                "ok": not missing,
                "file": str(path),
                "digest": read.digest,
                "problems": [],
                "macros_without_rule": missing,
                "notes": notes(read),
            }
        )
    else:
        console().print(
            f"{escape(str(path))}: good; {counted(len(read.tiers), 'tier')}, {counted(len(read.worker_types), 'worker type')}, "
            f"{counted(len(read.routes), 'route')}, digest {read.digest}"
        )
        for note in notes(read):
            aside().print(f"[yellow]note:[/] {escape(note)}")
    for line in missing_rules(missing, path):
        aside().print(f"[yellow]missing:[/] {escape(line)}")
    if missing:
        raise typer.Exit(Exit.INCOMPLETE)


def _problem(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("line", "column", "path", "message")}


def notes(rules: Rules) -> list[str]:
    """What the rules ask for and this version does not do yet."""
    waiting = [tier.name for tier in rules.tiers.values() if tier.max_wait > 0]
    told = "is not yet honoured: a task without a token ends as rate_limited at once"
    return [f"max_wait of {', '.join(waiting)} {told}"] if waiting else []


@app.command("explain")
def explain_task(
    task: Annotated[Path, typer.Argument(metavar="TASK.json", help="A file with the task as JSON.", show_default=False)],
    rules: RulesFile = None,
    at: Annotated[str | None, typer.Option("--at", help="The time of the decision, RFC 3339. Default: now.")] = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Say where a task would go and why: every rule tried, the buckets, the decision. Publishes nothing."""
    try:
        body = task.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {task}: {error.strerror}") from None
    try:
        now = parse_time(at).timestamp() if at else time.time()
    except ValueError as error:
        raise typer.BadParameter(f"--at {at!r}: {error}; write 2026-01-31T12:00:00Z") from None
    try:
        decoded, read = decode(TaskMessage, body), read_rules(rules_path(rules))
    except DecodeError as error:
        raise fail(f"{task}: invalid_task_message: {error}", Exit.INCOMPLETE, output) from None
    except HeddleError as error:
        raise failed(error, output) from None
    decision, steps = explain(decoded, read, {}, now, size=len(body))
    if output is OutputFormat.JSON:
        print_json({"decision": _as_json(decision), "digest": read.digest, "steps": steps})
    else:
        for step in steps:
            console().print(escape(step))


def _as_json(decision: Dispatch | Wait | Refuse) -> dict[str, object]:
    match decision:
        case Dispatch(tier=tier, rule=rule):
            return {"kind": "dispatch", "tier": tier, "rule": rule}
        case Wait(tier=tier, rule=rule, ready_at=ready_at, give_up_at=give_up_at):
            return {"kind": "wait", "tier": tier, "rule": rule, "ready_at": ready_at, "give_up_at": give_up_at}
        case Refuse(code=code, detail=detail, tier=tier, rule=rule):
            return {"kind": "refuse", "code": code.value, "detail": detail, "tier": tier, "rule": rule}
