"""`heddle plan`: what the planner would do; publishes nothing."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.cli.goal import read_context
from heddle.cli.options import MacrosOrCatalogue, Output, OutputFormat, macro_sources
from heddle.cli.output import Exit, aside, console, fail, print_json, print_table, run
from heddle.cli.planners import planner_for, read_offers
from heddle.cli.pulling import Pull, ensure_model
from heddle.errors import ModelUnavailable
from heddle.planning.goal import Asked
from heddle.settings import load_settings


def plan(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The goal, in your own words.", show_default=False)],
    context: Annotated[list[str] | None, typer.Option("--context", help="key=value, for the planner; may be repeated.")] = None,
    macros: MacrosOrCatalogue = None,
    phrases: Annotated[str | None, typer.Option("--phrases", help="off, fallback or first. Default: fallback.")] = None,
    pull: Pull = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show what the planner would do with a goal; publishes nothing."""
    answer = run(_plan(text, read_context(context), macros, phrases, pull), output)
    if output is OutputFormat.JSON:
        print_json(answer)
    elif "error" not in answer:
        print_table(
            ("macro", "tier", "arguments"),
            [(c["macro"], c["tier"], json.dumps(c["arguments"], ensure_ascii=False)) for c in answer["tasks"]],
        )
        console().print(f"planned by [bold]{escape(answer['planned_by'])}[/], {answer['model_calls']} model calls; nothing was published")
        if answer["note"]:
            aside().print(f"[dim]{escape(answer['note'])}[/]")
    if "error" in answer:
        raise fail(answer["error"], Exit.INCOMPLETE)


async def _plan(text: str, context: dict[str, Any], macros: list[str] | None, phrases: str | None, pull: bool) -> dict[str, Any]:
    settings = load_settings()
    wanted = phrases or ("fallback" if settings.planner.phrases == "off" else settings.planner.phrases)
    if wanted not in {"off", "fallback", "first"}:
        raise typer.BadParameter(f"--phrases {wanted!r} is not one of off, fallback, first")
    settings = settings.model_copy(update={"planner": settings.planner.model_copy(update={"phrases": wanted})})
    await ensure_model(settings, pull=pull)
    async with planner_for(read_offers(macro_sources(macros)), settings) as planner:
        try:
            made = await planner.plan(Asked(text, context, time.time()))
        except ModelUnavailable as error:
            return {"error": f"{error.code.value}: {error}; to get the model: {error.remedy}", "answer": None}
        if made.problem is not None:
            code, detail = made.problem
            return {"error": f"{code.value}: {detail}", "answer": made.answer}
        tiers = {macro.name: macro.tier for macro in planner.offers.newest()}
        return {
            "planned_by": made.planned_by,
            "model_calls": made.model_calls,
            "note": made.note,
            "tasks": [{"macro": call.macro, "tier": tiers[call.macro], "arguments": call.arguments} for call in made.calls],
        }
