"""How `heddle gate` prints what it found and what it proposes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.markup import escape

from heddle.cli.output import aside, console, counted, print_table
from heddle.cli.proposals import Written
from heddle.gate.patterns import Parameter, Pattern
from heddle.gate.reading import Logs
from heddle.gate.scanning import Finding, Report
from heddle.gate.templates import Constant, Given, Result, Template, Text, leaves_of

TOLD: Final = 8
"""Unknown lines that are shown; `-o json` has all."""


def print_report(report: Report, *, good: bool, max_unencoded: int, paths: Sequence[str]) -> None:
    """A scan's report, for people."""
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
    if report.logs.unreadable:
        out.print("nothing of what is there could be read: are these logs, in UTF-8?")
    if report.unencoded:
        out.print(f"next: heddle gate suggest {escape(' '.join(paths))} --write DIR")


def _print_unknown(logs: Logs) -> None:
    err = aside()
    if logs.unknown:
        err.print(f"[yellow]{counted(len(logs.unknown), 'line')} could not be read:[/]")
        for place, why in logs.unknown[:TOLD]:
            err.print(f"  {escape(str(place))}: {escape(why)}")
        if len(logs.unknown) > TOLD:
            err.print(f"  and {len(logs.unknown) - TOLD} more; -o json has all")
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


def print_written(written: Sequence[Written], report: Report, write: Path | None) -> None:
    """The macros that were proposed, for people; their sources if nothing was written."""
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


def report_as_json(report: Report, *, good: bool, max_unencoded: int) -> dict[str, Any]:
    """A scan's report, for `-o json`."""
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
