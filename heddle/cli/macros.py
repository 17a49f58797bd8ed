"""`heddle macros …`: what there is to call."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from heddle.cli.catalogue import compile_macros, diff
from heddle.cli.macros_check import check, record
from heddle.cli.options import Macros, Output, OutputFormat, macro_sources
from heddle.cli.output import Exit, console, fail, failed, print_json, print_table
from heddle.errors import HeddleError
from heddle.macros.failures import Retry
from heddle.macros.loading import AnyMacro, Registry, load
from heddle.macros.marks import given_fields
from heddle.planning.signature import signature

app = typer.Typer(no_args_is_help=True, help="See, check, compile and compare macros.")
app.command()(check)
app.command()(record)
app.command("compile")(compile_macros)
app.command()(diff)


def _load(macros: list[str] | None, output: OutputFormat) -> Registry:
    try:
        return load(macro_sources(macros))
    except HeddleError as error:
        raise failed(error, output) from None


@app.command("list")
def list_macros(macros: Macros = None, output: Output = OutputFormat.TEXT) -> None:
    """List the macros."""
    registry = _load(macros, output)
    if output is OutputFormat.JSON:
        print_json([_card(macro) for versions in registry.macros.values() for macro in versions.values()])
        return
    rows = [
        (m.name, m.version, m.tier, m.effects, m.intent, str(m.where))
        for _, versions in sorted(registry.macros.items())
        for m in versions.values()
    ]
    print_table(("macro", "version", "tier", "effects", "intent", "defined at"), rows)
    console().print("[dim]see one: heddle macros show NAME[/]")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which macro.", show_default=False)],
    version: Annotated[int | None, typer.Option("--version", help="Which version. Default: the newest.")] = None,
    macros: Macros = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Show a macro: its effects, fields, schemas, failures, examples and phrases."""
    registry = _load(macros, output)
    macro = registry.find(name, version)
    if macro is None:
        raise fail(
            f"no macro {name!r}{f' version {version}' if version else ''}; there are {', '.join(sorted(registry.macros)) or 'none'}",
            Exit.INCOMPLETE,
            output,
        )
    if output is OutputFormat.JSON:
        print_json(_card(macro) | {"schema": macro.schema, "output_schema": macro.output_schema})
        return
    out = console()
    out.print(
        f"[bold]{escape(macro.name)}[/] version {macro.version}, tier {macro.tier}, timeout {macro.timeout:g} s, effects {macro.effects}, "
        f"{escape(str(macro.where))}"
    )
    out.print(escape(signature(macro)))
    for field, key in given_fields(macro.schema).items():
        out.print(f"  {escape(field)}: filled from the goal's context, by {escape(key)}")
    for field in sorted(macro.hidden):
        out.print(f"  {escape(field)}: only a person may set it")
    for error, failure in macro.fails.items():
        out.print(f"  {error.__name__}: {_failure(failure)}")
    for title, schema in (("input", macro.schema), ("output", macro.output_schema)):
        out.print(f"\n[bold]{title}[/]\n{escape(json.dumps(schema, indent=2))}")
    for title, lines in (
        ("examples", [f"{goal}  ->  {json.dumps(dict(given))}" for goal, given in macro.examples]),
        ("phrases", macro.phrases),
    ):
        if lines:
            out.print(f"\n[bold]{title}[/]")
            for line in lines:
                out.print(f"  {escape(line)}")


def _failure(failure: object) -> str:
    return f"retry, {failure.times} times from {failure.backoff:g} s on" if isinstance(failure, Retry) else "reject"


def _card(macro: AnyMacro) -> dict[str, Any]:
    return {
        "name": macro.name,
        "version": macro.version,
        "intent": macro.intent,
        "tier": macro.tier,
        "timeout": macro.timeout,
        "effects": macro.effects,
        "given": given_fields(macro.schema),
        "hidden": sorted(macro.hidden),
        "fails": {error.__name__: _failure(failure) for error, failure in macro.fails.items()},
        "examples": [[goal, dict(arguments)] for goal, arguments in macro.examples],
        "phrases": list(macro.phrases),
        "where": str(macro.where),
    }
