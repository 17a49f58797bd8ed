"""`heddle plan`: what the planner would do; publishes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.cli.goal import read_context
from heddle.cli.options import MacrosOrCatalogue, Output, OutputFormat, macro_sources, unicode_text
from heddle.cli.output import Exit, aside, console, counted, fail, print_json, print_table, run
from heddle.cli.planners import read_offers
from heddle.cli.pulling import Pull, ensure_model
from heddle.errors import ModelUnavailable
from heddle.planners import planner_for
from heddle.planning.goal import Asked
from heddle.planning.plan import Plan
from heddle.settings import load_settings
from heddle.subjects import FRONTIER


def plan(
    text: Annotated[str, typer.Argument(metavar="TEXT", callback=unicode_text, help="The goal, in your own words.", show_default=False)],
    context: Annotated[list[str] | None, typer.Option("--context", help="key=value, for the planner; may be repeated.")] = None,
    macros: MacrosOrCatalogue = None,
    phrases: Annotated[str | None, typer.Option("--phrases", help="off, fallback or first. Default: fallback.")] = None,
    pull: Pull = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show what the planner would do with a goal, and every check; publishes nothing."""
    made, tiers = run(_plan(text, read_context(context), macros, phrases, pull), output)
    if output is OutputFormat.JSON:
        print_json(_as_json(made, tiers))
    else:
        _show(made, tiers)
    if made.problem is not None:
        raise fail(f"{made.problem[0].value}: {made.problem[1]}", Exit.INCOMPLETE)


def _show(made: Plan, tiers: Mapping[str, str]) -> None:
    if made.calls:
        rows = [(call.macro, tiers.get(call.macro, FRONTIER), _short(call.arguments)) for call in made.calls]
        print_table(("macro", "tier", "arguments"), rows)
    if made.review is not None and made.review.values:
        found = [
            (f"{one.macro}.{one.field}", "" if one.stated is None else _short(one.stated), _short(one.value), one.ground)
            for one in made.review.values
        ]
        print_table(("value", "stated", "sent", "stands in"), found)
    if made.review is not None and made.review.defaulted:
        left = ", ".join(f"{macro}.{field}" for macro, field in made.review.defaulted)
        console().print(f"[dim]left to the macro's default: {escape(left)}[/]")
    if made.problem is None:
        sure = "" if made.confidence is None else f", confidence {made.confidence:.2f}"
        told = f"planned by [bold]{escape(made.planned_by)}[/], {counted(made.model_calls, 'model call')}{sure}"
        console().print(f"{told}; nothing was published")
    for line in (made.note, *made.warnings):
        if line:
            aside().print(f"[dim]{escape(line)}[/]")
    if made.problem is not None and made.answer:
        aside().print(f"[dim]the model answered: {escape(made.answer)}[/]")


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_json(made: Plan, tiers: Mapping[str, str]) -> dict[str, Any]:
    checks = None if made.review is None else {name: value for name, value in asdict(made.review).items() if name != "calls"}
    told = {
        "planned_by": made.planned_by,
        "model_calls": made.model_calls,
        "confidence": made.confidence,
        "note": made.note,
        "warnings": list(made.warnings),
        "usage": [asdict(usage) for usage in made.usage],
        "tasks": [{"macro": call.macro, "tier": tiers.get(call.macro, FRONTIER), "arguments": call.arguments} for call in made.calls],
        "checks": checks,
        "answer": made.answer,
    }
    return told if made.problem is None else told | {"error": f"{made.problem[0].value}: {made.problem[1]}"}


async def _plan(
    text: str, context: dict[str, Any], macros: list[str] | None, phrases: str | None, pull: bool
) -> tuple[Plan, dict[str, str]]:
    settings = load_settings()
    wanted = phrases or ("fallback" if settings.planner.phrases == "off" else settings.planner.phrases)
    if wanted not in {"off", "fallback", "first"}:
        raise typer.BadParameter(f"--phrases {wanted!r} is not one of off, fallback, first")
    settings = settings.model_copy(update={"planner": settings.planner.model_copy(update={"phrases": wanted})})
    await ensure_model(settings, pull=pull)
    async with planner_for(read_offers(macro_sources(macros)), settings) as planner:
        tiers = {macro.name: macro.tier for macro in planner.offers.newest()}
        try:
            return await planner.plan(Asked(text, context, time.time())), tiers
        except ModelUnavailable as error:
            told = f"{error}; to get the model: {error.remedy}"
            return Plan(settings.planner.model, 0).unsent(error.code, told), tiers
