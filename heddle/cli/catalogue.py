"""`heddle macros compile`, which writes the catalogue, and `heddle macros diff`, which says what a change means to callers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from heddle.cli.options import Macros, Output, OutputFormat, macro_sources
from heddle.cli.output import Exit, aside, console, counted, fail, failed, print_json, print_table
from heddle.cli.planners import read_catalogue_file
from heddle.errors import HeddleError
from heddle.macros.catalogue import catalogue_of, contracts, write_catalogue
from heddle.macros.compatibility import compare
from heddle.macros.loading import load


def compile_macros(
    file: Annotated[Path | None, typer.Option("--out", "-O", metavar="FILE", help="Where to write it. Default: standard output.")] = None,
    macros: Macros = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Write the catalogue: every macro's contract with its digest, from which an orchestrator runs without the code."""
    try:
        catalogue = catalogue_of(load(macro_sources(macros)))
    except HeddleError as error:
        raise failed(error, output) from None
    if not catalogue.macros:
        raise fail(f"no macros in {', '.join(macro_sources(macros))}; make a project with `heddle init`", Exit.INCOMPLETE, output)
    if file is None:
        sys.stdout.write(write_catalogue(catalogue))
        return
    try:
        file.write_text(write_catalogue(catalogue), encoding="utf-8")
    except OSError as error:
        raise fail(f"cannot write {file}: {error}", Exit.INCOMPLETE, output) from None
    written = [{"macro": one.name, "version": one.version, "digest": one.digest} for one in contracts(catalogue)]
    if output is OutputFormat.JSON:
        print_json({"file": str(file), "macros": written})
        return
    print_table(("macro", "version", "digest"), [tuple(one.values()) for one in written])
    aside().print(f"[dim]wrote {escape(str(file))}; plan from it: heddle run orchestrator --macros {escape(str(file))}[/]")


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="The catalogue as it was.", show_default=False)],
    new: Annotated[
        Path | None, typer.Argument(metavar="[NEW.json]", help="As it is. Default: the macros at hand.", show_default=False)
    ] = None,
    macros: Macros = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Compare a catalogue with another, or with the macros at hand: what would break those who call them."""
    if new is not None and macros:
        raise typer.BadParameter("--macros goes without NEW.json: what is to be compared with OLD.json?")
    try:
        before = read_catalogue_file(old)
        after = read_catalogue_file(new) if new else catalogue_of(load(macro_sources(macros)))
    except HeddleError as error:
        raise failed(error, output) from None
    changes = compare(before, after)
    breaking = [change for change in changes if change.kind == "breaking"]
    if output is OutputFormat.JSON:
        print_json({"ok": not breaking, "changes": [change._asdict() for change in changes]})
    elif changes:
        print_table(
            ("macro", "version", "kind", "where", "change"), [(one.macro, one.version, one.kind, one.path, one.what) for one in changes]
        )
    else:
        console().print("no changes")
    if breaking:
        names = ", ".join(dict.fromkeys(f"{one.macro} version {one.version}" for one in breaking))
        aside().print(
            f"[bold red]{counted(len(breaking), 'breaking change')}[/] of {escape(names)}: "
            "leave that version as it was, and give the new shape a new version"
        )
        raise typer.Exit(Exit.INCOMPLETE)
