"""`heddle rules …`: check rules, and explain a decision."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli import rules_live
from heddle.cli.options import Macros, Output, OutputFormat, RulesFile, Server, macro_sources, rules_path, server_url, unicode_text
from heddle.cli.output import Exit, aside, console, counted, fail, failed, print_json, print_table, progress_told, run
from heddle.cli.roles import missing_rules, read_rules
from heddle.control import decisions
from heddle.errors import DecodeError, HeddleError, RulesError
from heddle.macros.loading import load
from heddle.messages import TaskMessage, decode, format_time, parse_time
from heddle.router.cases import Verdict, parse_cases, run_case
from heddle.router.decide import Dispatch, Refuse, Wait, explain
from heddle.router.rules import Rules, uncovered
from heddle.router.schema import rules_schema
from heddle.settings import load_settings
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Check rules, explain decisions, and change the rules of running routers.")
for live in (rules_live.reload, rules_live.push, rules_live.history, rules_live.rollback):
    app.command()(live)


@app.command("check")
def check(
    file: Annotated[Path | None, typer.Argument(help="Rules file. Default: configs/router_rules.yaml.", show_default=False)] = None,
    rules: RulesFile = None,
    macros: Macros = None,
    cases: Annotated[Path | None, typer.Option("--cases", help="A table of tasks and expected routes, YAML or JSON.")] = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Check a rules file: every problem at once, each macro that has no rule, and a table of cases if one is given."""
    path = rules_path(file or rules)
    try:
        read = read_rules(path)
    except RulesError as error:
        raise _unusable(error, path, output) from None
    verdicts: list[Verdict] = []
    if cases is not None:
        try:
            verdicts = [run_case(case, read, time.time()) for case in parse_cases(_text(cases), str(cases))]
        except RulesError as error:
            raise _unusable(error, cases, output) from None
    missing: list[str] = []
    if macros is not None or Path("workflows").is_dir():
        try:
            missing = uncovered(read, load(macro_sources(macros)).macros)
        except HeddleError as error:
            raise failed(error, output) from None
    wrong = [verdict for verdict in verdicts if not verdict.ok]
    if output is OutputFormat.JSON:
        answer: dict[str, object] = {
            "ok": not missing and not wrong,
            "file": str(path),
            "digest": read.digest,
            "problems": [],
            "macros_without_rule": missing,
            "notes": notes(read),
        }
        if cases is not None:
            answer["cases"] = {"file": str(cases), "total": len(verdicts), "failed": [_verdict(verdict) for verdict in wrong]}
        print_json(answer)
    else:
        console().print(
            f"{escape(str(path))}: good; {counted(len(read.tiers), 'tier')}, {counted(len(read.worker_types), 'worker type')}, "
            f"{counted(len(read.routes), 'route')}, digest {read.digest}"
        )
        for note in notes(read):
            aside().print(f"[yellow]note:[/] {escape(note)}")
        if cases is not None:
            _show_verdicts(wrong, len(verdicts), cases)
    for line in missing_rules(missing, path):
        aside().print(f"[yellow]missing:[/] {escape(line)}")
    if missing or wrong:
        raise typer.Exit(Exit.INCOMPLETE)


def _unusable(error: RulesError, path: Path, output: OutputFormat) -> typer.Exit:
    if output is OutputFormat.JSON:
        print_json({"ok": False, "file": str(path), "problems": [_problem(problem) for problem in error.problems]})
    return fail(str(error), Exit.INCOMPLETE)


def _text(file: Path) -> str:
    """The text of a file that was named on the command line.

    Raises:
        typer.BadParameter: it cannot be read.
    """
    try:
        return file.read_text()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"cannot read {file}: not UTF-8: {error}") from None


def _problem(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("line", "column", "path", "message")}


def _verdict(verdict: Verdict) -> dict[str, object]:
    case = verdict.case
    told = {"case": case.number, "line": case.line, "name": case.name}
    return told | {"expected": case.expected, "got": verdict.got, "rule": verdict.rule, "steps": verdict.steps}


def _show_verdicts(wrong: list[Verdict], total: int, file: Path) -> None:
    """The cases that came out otherwise, each with why."""
    out = console()
    out.print(
        f"{escape(str(file))}: {counted(total, 'case')}, {len(wrong)} failed"
        if wrong
        else f"{escape(str(file))}: {counted(total, 'case')}, all as expected"
    )
    if not wrong:
        return
    rows = [(one.case.line, one.case.name, one.case.expected, one.got, one.rule) for one in wrong]
    print_table(("line", "case", "expected", "got", "rule"), rows)
    for one in wrong:
        out.print(f"\n[bold]{escape(one.case.name)}[/] (line {one.case.line})")
        for step in one.steps:
            out.print(f"  {escape(step)}")


def notes(_rules: Rules) -> list[str]:
    """What the rules ask for and this version does not do yet: nothing."""
    return []


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a rules file, for editors.

    Use it with a first line such as: # yaml-language-server: $schema=router_rules.schema.json
    """
    typer.echo(json.dumps(rules_schema(), indent=2))


@app.command("explain")
def explain_task(
    file: Annotated[
        Path | None, typer.Argument(metavar="TASK.json", help="A file with the task as JSON: where would it go?", show_default=False)
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID", callback=unicode_text, help="A task that was routed: where did it go?")
    ] = None,
    rules: RulesFile = None,
    at: Annotated[str | None, typer.Option("--at", help="The time of the decision, RFC 3339. Default: now.")] = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Say where a task would go, or went, and why: every rule tried, the buckets, the decision. Publishes nothing.

    With a file: by the rules here, with full buckets. With --task: what the routers recorded, by the rules of that time.
    """
    match file, task:
        case Path(), None:
            if server is not None:
                raise typer.BadParameter("--server goes with --task; a file is explained here")
            _explain_file(file, rules, at, output)
        case None, str():
            if rules is not None or at is not None:
                raise typer.BadParameter(
                    "--rules and --at go with a file; --task is explained by the rules and the time that were recorded"
                )
            _explain_recorded(task, server, output)
        case _:
            raise typer.BadParameter("name a file with a task, or --task with the id of one that was routed, and not both")


def _explain_file(file: Path, rules: Path | None, at: str | None, output: OutputFormat) -> None:
    try:
        body = file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from None
    try:
        now = parse_time(at).timestamp() if at else time.time()
    except ValueError as error:
        raise typer.BadParameter(f"--at {at!r}: {error}; write 2026-01-31T12:00:00Z") from None
    try:
        decoded, read = decode(TaskMessage, body), read_rules(rules_path(rules))
    except DecodeError as error:
        raise fail(f"{file}: invalid_task_message: {error}", Exit.INCOMPLETE, output) from None
    except HeddleError as error:
        raise failed(error, output) from None
    decision, steps = explain(decoded, read, {}, now, size=len(body))
    if output is OutputFormat.JSON:
        print_json({"decision": _as_json(decision), "digest": read.digest, "steps": steps})
    else:
        for step in steps:
            console().print(escape(step))


def _explain_recorded(task_id: str, server: str | None, output: OutputFormat) -> None:
    async def work() -> tuple[list[decisions.Explained], decisions.Kept | None]:
        async with connected(server_url(server), "cli", Observer()) as client:
            return await decisions.explained(
                client, task_id, progress_told("read batches of decisions, the newest first:")
            ), await decisions.kept(client)

    found, kept = run(work(), output)
    if not found:
        raise fail(f"no decision on a task {task_id!r} is recorded. {_recording(kept)}", Exit.INCOMPLETE, output)
    if output is OutputFormat.JSON:
        told = [one.decision.as_json() | {"steps": one.steps, "note": one.note} for one in found]
        print_json({"task_id": task_id, "decisions": told})
        return
    out = console()
    for one in found:
        recorded = one.decision
        out.print(f"[bold]{format_time(recorded.at)}[/]  router {escape(recorded.replica)}: {escape(recorded.in_words())}")
        for step in one.steps:
            out.print(f"  {escape(step)}")
        if one.note is not None:
            out.print(f"  [yellow]note:[/] {escape(one.note)}")


def _recording(kept: decisions.Kept | None) -> str:
    """Whether decisions are recorded, and for how long they are kept."""
    setting = "telemetry.log_routing_decisions"
    if load_settings().telemetry.log_routing_decisions:
        switch = f"Recording is on in the settings here ({setting}); a router may have others"
    else:
        switch = f"Recording is off in the settings here: set {setting} (HEDDLE_TELEMETRY__LOG_ROUTING_DECISIONS=true) and start the router again"
    if kept is None:
        return f"{switch}. The server has no stream of decisions: no router of this version has run there."
    age = f"{kept.max_age / 86_400:g} days" if kept.max_age >= 86_400 else f"{kept.max_age:g} s"
    since = f"the oldest there is of {kept.since}" if kept.since else "there are none yet"
    limits = f"Decisions are kept for {age} and up to {kept.max_bytes / 2**20:g} MiB; {since}"
    return f"{switch}. {limits}. A message that is no task is not recorded: its reason is in its dead letter (heddle dead list)."


def _as_json(decision: Dispatch | Wait | Refuse) -> dict[str, object]:
    match decision:
        case Dispatch(tier=tier, rule=rule):
            return {"kind": "dispatch", "tier": tier, "rule": rule}
        case Wait(tier=tier, rule=rule, ready_at=ready_at, give_up_at=give_up_at):
            return {"kind": "wait", "tier": tier, "rule": rule, "ready_at": ready_at, "give_up_at": give_up_at}
        case Refuse(code=code, detail=detail, tier=tier, rule=rule):
            return {"kind": "refuse", "code": code.value, "detail": detail, "tier": tier, "rule": rule}
