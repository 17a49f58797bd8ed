"""`heddle gate …`: find what is done again and again outside macros, and propose macros for it."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.broker.connect import connected
from heddle.cli.options import Macros, Output, OutputFormat, Server, macro_sources, server_url
from heddle.cli.output import Exit, aside, console, counted, fail, failed, print_json, print_table, run, seconds
from heddle.cli.proposals import Written, tools_at_hand, write_proposals
from heddle.control.sessions import stored_logs
from heddle.errors import HeddleError
from heddle.gate.allowing import Allowance, read_allowances
from heddle.gate.coverage import covers_of
from heddle.gate.patterns import Constant, Given, Parameter, Pattern, Result, Template, Text, leaves_of
from heddle.gate.reading import Logs, read_logs, within
from heddle.gate.sarif import sarif_of
from heddle.gate.scanning import Finding, Report
from heddle.gate.scanning import scan as scan_logs
from heddle.macros.loading import Registry, load
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Find what is done again and again outside macros, and propose macros for it.")

STREAM = "stream"
"""In the place of a path: the logs that the server keeps."""
ALLOW_LIST = Path("gate-allow.yaml")
_TOLD = 8
"""Unknown lines that are shown; `-o json` has all."""

Paths = Annotated[list[str], typer.Argument(metavar="PATH", help="Logs: files, folders of them, or `stream`.", show_default=False)]
Window = Annotated[str | None, typer.Option("--window", help="Only sessions of this last while, such as 24h. Default: all.")]
MinSupport = Annotated[int, typer.Option("--min-support", min=2, help="Sessions that must have a sequence.")]
MinLength = Annotated[int, typer.Option("--min-length", min=2, help="Calls that a sequence must have.")]
AllowList = Annotated[Path | None, typer.Option("--allow", help="Sequences that may stay. Default: gate-allow.yaml, if it is there.")]


@app.command("scan")
def scan(
    paths: Paths,
    window: Window = None,
    min_support: MinSupport = 3,
    min_length: MinLength = 2,
    max_unencoded: Annotated[int, typer.Option("--max-unencoded", min=0, help="Sequences without a macro that are let pass.")] = 0,
    allow: AllowList = None,
    sarif: Annotated[Path | None, typer.Option("--sarif", metavar="FILE", help="Write the report as SARIF 2.1.0 besides.")] = None,
    macros: Macros = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Report sequences that keep coming back outside macros; exit 1 if there are more than --max-unencoded."""
    with _no_garbage():
        report, allow_list = _scanned(paths, window, min_support, min_length, allow, macros, server, output)
    count = len(report.unencoded)
    good = count <= max_unencoded
    if sarif is not None:
        _write(sarif, json.dumps(sarif_of(report, version("heddle-router"), str(allow_list) if allow_list else None), indent=2), output)
    if output is OutputFormat.JSON:
        print_json(_as_json(report, good=good, max_unencoded=max_unencoded))
    else:
        _print(report, good=good, max_unencoded=max_unencoded, paths=paths)
    if not good:
        raise typer.Exit(Exit.INCOMPLETE)


@app.command("suggest")
def suggest(
    paths: Paths,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="DIR", help="Write macros and fixtures there, beside the tools that they use.")
    ] = None,
    window: Window = None,
    min_support: MinSupport = 3,
    min_length: MinLength = 2,
    allow: AllowList = None,
    macros: Macros = None,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Propose a macro for each sequence that has none, with fixtures from the runs."""
    with _no_garbage():
        report, _ = _scanned(paths, window, min_support, min_length, allow, macros, server, output)
    registry = _registry(macros, output)
    try:
        written = run(write_proposals(report, registry, write), output)
    except OSError as error:
        raise fail(f"cannot write {error.filename}: {error.strerror}", Exit.INCOMPLETE, output) from None
    if output is OutputFormat.JSON:
        print_json({"macros": [one.as_json() for one in written], "tools": sorted(tools_at_hand(registry))})
    else:
        _print_written(written, report, write)
    if any(one.problem for one in written):
        raise typer.Exit(Exit.INCOMPLETE)


# --- reading


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Look for none: nearly all that a scan makes lives to its end, and looking takes a fifth of its time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor among what was made, ever after
        gc.enable()


def _scanned(
    paths: Sequence[str],
    window: str | None,
    min_support: int,
    min_length: int,
    allow: Path | None,
    macros: list[str] | None,
    server: str | None,
    output: OutputFormat,
) -> tuple[Report, Path | None]:
    now = time.time()
    logs = _logs(paths, server, output)
    if window is not None:
        logs = within(logs, now - seconds(window, "--window"))
    allow_list = allow or (ALLOW_LIST if ALLOW_LIST.is_file() else None)
    registry = _registry(macros, output)
    parents = [[called.name for called in macro.calls] for macro in registry.newest() if macro.calls]
    report = scan_logs(
        logs,
        covers_of(registry),
        parents,
        _allowances(allow_list, output),
        datetime.fromtimestamp(now, UTC).date(),
        min_support=min_support,
        min_length=min_length,
    )
    return report, allow_list


def _logs(paths: Sequence[str], server: str | None, output: OutputFormat) -> Logs:
    if STREAM in paths:
        if len(paths) > 1:
            raise typer.BadParameter(f"`{STREAM}` stands alone: scan files in another call")

        async def work() -> Logs:
            async with connected(server_url(server), "cli", Observer()) as client:
                return await stored_logs(client)

        return run(work(), output)
    return read_logs(_files(paths, output))


def _files(paths: Sequence[str], output: OutputFormat) -> Iterator[tuple[str, bytes]]:
    """The files that paths name, and in folders every .jsonl and .json, each with its bytes."""
    for path in map(Path, paths):
        files = sorted(file for file in path.rglob("*") if file.suffix in {".jsonl", ".json"}) if path.is_dir() else [path]
        if path.is_dir() and not files:
            raise fail(f"no .jsonl or .json files in {path}", Exit.INCOMPLETE, output)
        for file in files:
            try:
                yield str(file), file.read_bytes()
            except OSError as error:
                raise fail(
                    f"cannot read {file}: {error.strerror}; name logs, folders of them, or `{STREAM}`", Exit.INCOMPLETE, output
                ) from None


def _registry(macros: list[str] | None, output: OutputFormat) -> Registry:
    try:
        return load(macro_sources(macros))
    except HeddleError as error:
        raise failed(error, output) from None


def _allowances(path: Path | None, output: OutputFormat) -> list[Allowance]:
    if path is None:
        return []
    try:
        return read_allowances(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise fail(f"cannot read {path}: {error.strerror}", Exit.INCOMPLETE, output) from None
    except HeddleError as error:
        raise failed(error, output) from None


def _write(path: Path, text: str, output: OutputFormat) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"cannot write {path}: {error.strerror}", Exit.INCOMPLETE, output) from None


# --- printing


def _print(report: Report, *, good: bool, max_unencoded: int, paths: Sequence[str]) -> None:
    out = console()
    if report.findings:
        rows = [
            (finding.pattern.name, finding.pattern.support, len(finding.pattern.parameters), _status(finding), finding.place)
            for finding in sorted(report.findings, key=lambda one: (one.status != "unencoded", -one.pattern.support))
        ]
        print_table(("sequence", "sessions", "parameters", "status", "first seen"), rows)
    for together in report.together:
        macros = ", ".join(together.macros)
        out.print(f"{counted(len(together.goals), 'goal')} planned {escape(macros)} together: make a parent macro that calls them")
    for saving in report.savings:
        out.print(escape(_saved(saving.as_json())))
        if saving.advice:
            out.print(f"[bold]{escape(saving.advice)}[/]")
    for one in report.expired:
        out.print(f"[yellow]expired on {one.expires}:[/] {escape(one.pattern)} ({escape(one.reason)}); it counts again")
    for one in report.unused:
        out.print(f"[dim]not needed in the allow-list: {escape(one.pattern)}[/]")
    _print_unknown(report.logs)
    looked = f"{counted(len(report.sessions), 'session')}, {counted(report.logs.events, 'event')}"
    told = f"{counted(len(report.unencoded), 'sequence')} without a macro, {max_unencoded} let pass; {looked}"
    out.print(f"{'[green]good[/]' if good else '[red]not good[/]'}: {escape(told)}")
    if report.unencoded:
        out.print(f"next: heddle gate suggest {escape(' '.join(paths))} --write DIR")


def _print_unknown(logs: Logs) -> None:
    err = aside()
    if logs.unknown:
        err.print(f"[yellow]{counted(len(logs.unknown), 'line')} could not be read:[/]")
        for place, why in logs.unknown[:_TOLD]:
            err.print(f"  {escape(str(place))}: {escape(why)}")
        if len(logs.unknown) > _TOLD:
            err.print(f"  and {len(logs.unknown) - _TOLD} more; -o json has all")
    if logs.untimed:
        err.print(f"[dim]{counted(logs.untimed, 'session')} without times: --window keeps them[/]")


def _status(finding: Finding) -> str:
    match finding.status:
        case "covered":
            return f"macro {finding.macro}"
        case "allowed" if finding.allowance is not None:
            return f"allowed until {finding.allowance.expires}: {finding.allowance.reason}"
        case _:
            return "no macro"


def _saved(saving: dict[str, Any]) -> str:
    kind = {"novel": f"novel.{saving['name']}", "fallback": f"the fallback of {saving['name']}"}.get(saving["kind"], "other sessions")
    return (
        f"{kind}: {saving['whole']} of {counted(saving['sessions'], 'session')} would not have been needed "
        f"({counted(saving['calls'], 'call')}, {saving['tokens']} tokens, ${saving['cost']:.2f}), {saving['part']} in part"
    )


def _print_written(written: Sequence[Written], report: Report, write: Path | None) -> None:
    out = console()
    if not written:
        out.print("nothing to propose: every sequence has its macro, or is allowed")
    for one in written:
        if write is None:
            out.print(f"[bold]# {escape(one.name)}.py[/], {counted(one.fixtures, 'fixture')} with --write")
            out.print(escape(one.source), soft_wrap=True)
        elif one.problem is None:
            told = f"{counted(one.fixtures, 'fixture')} held; {counted(len(one.decisions), 'line')} to decide"
            out.print(f"wrote [bold]{escape(str(one.file))}[/]: {escape(one.pattern)}, {told}")
        else:
            out.print(f"[red]{escape(one.name)}[/]: {escape(one.problem)}")
    for together in report.together:
        out.print(f"make a parent macro by hand of {escape(', '.join(together.macros))}: docs/how-to/compose-macros.md")
    if write is not None and any(one.problem is None for one in written):
        out.print(
            f"next: read them, decide what says `# decide:`, add their names to the rules, then: heddle macros check --macros {write}"
        )


def _as_json(report: Report, *, good: bool, max_unencoded: int) -> dict[str, Any]:
    return {
        "ok": good,
        "unencoded": len(report.unencoded),
        "max_unencoded": max_unencoded,
        "sessions": len(report.sessions),
        "events": report.logs.events,
        "sequences": [_finding_as_json(finding) for finding in report.findings],
        "planned_together": [{"macros": list(one.macros), "goals": [goal.goal_id for goal in one.goals]} for one in report.together],
        "savings": [one.as_json() for one in report.savings],
        "expired": [
            {"pattern": one.pattern, "reason": one.reason, "expires": str(one.expires), "line": one.line} for one in report.expired
        ],
        "unused": [one.pattern for one in report.unused],
        "unknown": [{"where": str(place), "problem": why} for place, why in report.logs.unknown],
    }


def _finding_as_json(finding: Finding) -> dict[str, Any]:
    pattern = finding.pattern
    return {
        "pattern": pattern.name,
        "status": finding.status,
        "sessions": pattern.support,
        "runs": len(finding.mined.runs),
        "macro": finding.macro,
        "allowed": {"reason": finding.allowance.reason, "expires": str(finding.allowance.expires)} if finding.allowance else None,
        "first_seen": str(finding.place),
        "goals": list(finding.goals[:10]),
        "parameters": [_parameter_as_json(parameter) for parameter in pattern.parameters],
        "calls": [
            {"call": call.name, "arguments": {name: _template_as_json(template, pattern) for name, template in call.arguments.items()}}
            for call in pattern.calls
        ],
        "failures": [
            {"call": pattern.calls[one.call].name, "error": one.type, "times": one.times, "passed": one.passed} for one in pattern.failures
        ],
    }


def _parameter_as_json(parameter: Parameter) -> dict[str, Any]:
    return {"name": parameter.name, "kind": str(parameter.kind), "stated": round(parameter.stated, 2), "seen": list(parameter.seen[:5])}


def _template_as_json(template: Template, pattern: Pattern) -> dict[str, Any]:
    match template:
        case Constant(value):
            return {"constant": value}
        case Given(name):
            return {"parameter": name}
        case Result(call, way):
            return {"result_of": pattern.calls[call].name, "call": call, "way": list(way)}
        case Text(parts):
            return {"text": [part if isinstance(part, str) else _template_as_json(part, pattern) for part in parts]}
        case _:
            return {"made_of": [_template_as_json(leaf, pattern) for leaf in leaves_of(template)]}
