"""`heddle macros check`, which shows offline that macros are what they say, and `heddle macros record`, which writes a fixture."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic_core import to_jsonable_python
from rich.markup import escape

from heddle.cli.options import Macros, Output, OutputFormat, macro_sources
from heddle.cli.output import Exit, console, counted, fail, failed, print_json, print_table, run
from heddle.cli.task import read_payload
from heddle.errors import Code, DefinitionError, HeddleError, MacroFailure
from heddle.macros.decoders import decoder_findings
from heddle.macros.fixtures import Failing, fixture_folder, fixture_text, read_fixture, shown
from heddle.macros.loading import AnyMacro, Registry, load
from heddle.macros.macro import Run
from heddle.macros.marks import given_fields
from heddle.macros.quantities import converted
from heddle.macros.standins import Recording, tools_by_name
from heddle.macros.validation import problems, validator_of
from heddle.planning.phrases import compile_phrases
from heddle.settings import load_settings
from heddle.worker.tools import run_tools, tools_of
from heddle.worker.vetting import Ended, Replayed, replay, replay_all, run_once

# --- check


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is wrong, or to be warned of; `where` is `file:line`."""

    level: Literal["error", "warning"]
    macro: str
    where: str
    message: str


def check(
    macros: Macros = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at warnings too.")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Check macros offline: fixtures, examples, phrases, and what model servers make of their schemas."""
    try:
        registry = load(macro_sources(macros))
    except HeddleError as error:
        raise failed(error, output) from None
    if not registry.macros:
        raise fail(f"no macros in {', '.join(macro_sources(macros))}; make a project with `heddle init`", Exit.INCOMPLETE, output)
    names = sorted(registry.macros)
    replayed = run(_replay(registry, names), output)
    found = [one for name in names for one in (*_definition(registry, name), *_fixtures(registry, name, replayed[name]))]
    errors, warnings = (sum(one.level == level for one in found) for level in ("error", "warning"))
    good = not errors and not (strict and warnings)
    held = sum(one.wrong is None for of_name in replayed.values() for one in of_name)
    summary = (
        f"{counted(len(names), 'macro')}, {counted(held, 'fixture')} held; {counted(errors, 'error')}, {counted(warnings, 'warning')}"
        f"{', which --strict does not let pass' if strict and warnings else ''}"
    )
    if output is OutputFormat.JSON:
        print_json(_as_json(registry, replayed, found, good=good, summary=summary))
    else:
        _print(registry, replayed, found, good=good, summary=summary)
    if not good:
        raise typer.Exit(Exit.INCOMPLETE)


async def _replay(registry: Registry, names: list[str]) -> dict[str, list[Replayed]]:
    return dict(zip(names, await asyncio.gather(*(replay_all(registry, name) for name in names)), strict=True))


def _definition(registry: Registry, name: str) -> Iterator[Found]:
    """What is wrong with a macro's examples and phrases, in all its versions."""
    for macro in registry.macros[name].values():
        where = str(macro.where)
        for goal, arguments in macro.examples:
            if told := _unplannable(macro, dict(arguments)):
                yield Found("error", name, where, f"its example {goal!r} {told}")
        for phrase in macro.phrases:
            try:
                compile_phrases([replace(macro, phrases=(phrase,))])
            except DefinitionError as error:
                yield Found("error", name, where, str(error).removeprefix(f"{where}: {name}: "))


def _unplannable(macro: AnyMacro, arguments: dict[str, Any]) -> str | None:
    """Why a planner could not answer with these arguments: it states what the goal says, in words where code converts them."""
    if private := sorted(arguments.keys() & macro.hidden):
        return f"sets {', '.join(private)}, which only a person may set"
    given = given_fields(macro.schema).keys()
    if filled := sorted(arguments.keys() & given):
        return f"sets {', '.join(filled)}, which is filled from the goal's context"
    told = problems(validator_of(macro.planner_schema, now=0.0), to_jsonable_python(arguments))
    try:
        if not (told or given):  # what will be given is not known here
            macro.read(converted(arguments, macro.schema, 0.0))
    except MacroFailure as failure:
        told = str(failure)
    return f"has arguments that do not fit its input: {told}" if told else None


def _fixtures(registry: Registry, name: str, replayed: list[Replayed]) -> Iterator[Found]:
    """What is wrong with a macro's fixtures, and what none of them shows."""
    newest = registry.macros[name][max(registry.macros[name])]
    where, folder = str(newest.where), shown(fixture_folder(newest))
    if not replayed:
        yield Found("error", name, where, f"it has no fixture in {folder}; write one: {_record_line(newest)}")
        return
    for one in replayed:
        if one.wrong is not None:
            place, message = _placed(one.wrong, one.file)
            yield Found("error", name, place, message)
    fixtures = [one.fixture for one in replayed if one.fixture is not None]
    shown_errors = {fixture.fails.error for fixture in fixtures if fixture.fails}
    for error in newest.fails:
        if error.__name__ not in shown_errors:
            told = f"no fixture shows {error.__name__}; write one in {folder}, with `fails: {{error: {error.__name__}}}`"
            yield Found("warning", name, where, told)
    for version in registry.readable(name):
        if version != newest.version and version not in {fixture.version for fixture in fixtures}:
            yield Found(
                "warning", name, where, f"no fixture shows how version {version} is read; write one in {folder}, with `version: {version}`"
            )


_PLACED = re.compile(r"(?P<where>.+?\.yaml(:\d+)?): (?P<message>.*)", re.DOTALL)


def _placed(text: str, file: str) -> tuple[str, str]:
    """A message that begins with its place, as place and message."""
    found = _PLACED.fullmatch(text)
    return (found["where"], found["message"]) if found else (f"{file}:1", text)


def _record_line(macro: AnyMacro) -> str:
    payload = dict(macro.examples[0][1]) if macro.examples else {}
    return f"heddle macros record {macro.name} --payload '{json.dumps(payload, ensure_ascii=False)}'"


def _unheeded(registry: Registry) -> list[dict[str, str]]:
    """What the decoders of model servers do not take from the schemas that steer them."""
    return [{"macro": macro.name, **found._asdict()} for macro in registry.newest() for found in decoder_findings(macro.planner_schema)]


def _as_json(registry: Registry, replayed: dict[str, list[Replayed]], found: list[Found], *, good: bool, summary: str) -> dict[str, Any]:
    return {
        "ok": good,
        "summary": summary,
        "macros": [
            {
                "name": name,
                "versions": registry.readable(name),
                "fixtures": [{"file": one.file, "ok": one.wrong is None, "problem": one.wrong} for one in of_name],
            }
            for name, of_name in replayed.items()
        ],
        "problems": [{"level": one.level, "macro": one.macro, "where": one.where, "message": one.message} for one in found],
        "decoders": _unheeded(registry),
    }


def _print(registry: Registry, replayed: dict[str, list[Replayed]], found: list[Found], *, good: bool, summary: str) -> None:
    rows = []
    for macro in registry.newest():
        held = sum(one.wrong is None for one in replayed[macro.name])
        versions = ", ".join(map(str, registry.readable(macro.name)))
        rows.append((macro.name, versions, f"{held} of {len(replayed[macro.name])} hold", len(macro.examples), len(macro.phrases)))
    print_table(("macro", "versions", "fixtures", "examples", "phrases"), rows)
    out = console()
    if unheeded := _unheeded(registry):
        out.print()
        print_table(
            ("model server", "macro", "field", "keyword", "its decoder"),
            [(one["server"], one["macro"], one["path"], one["keyword"], _EFFECTS[one["effect"]]) for one in unheeded],
        )
    if found:
        out.print()
    for one in found:
        colour = "red" if one.level == "error" else "yellow"
        out.print(f"[{colour}]{one.level}:[/] {escape(one.where)}: {escape(one.macro)}: {escape(one.message)}")
    out.print(f"\n{'[green]good[/]' if good else '[red]not good[/]'}: {escape(summary)}")


_EFFECTS = {"ignored": "ignores it; the answer is checked afterwards", "rejected": "rejects the schema: no plan"}

# --- record


def record(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which macro.", show_default=False)],
    payload: Annotated[str, typer.Option("--payload", "-p", help="The input as JSON; @FILE reads a file.")] = "{}",
    fixture: Annotated[str, typer.Option("--name", help="What to call the fixture.")] = "recorded",
    macros: Macros = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a fixture of that name.")] = False,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Run a macro with its real tools, and keep what went in and came out as a fixture."""
    given = read_payload(payload)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fixture):
        raise typer.BadParameter(f"--name {fixture!r} cannot be a file's name: letters, digits, _, - and .")
    try:
        registry = load(macro_sources(macros))
    except HeddleError as error:
        raise failed(error, output) from None
    macro = registry.find(name)
    if macro is None:
        raise fail(f"no macro {name!r}; there are {', '.join(sorted(registry.macros)) or 'none'}", Exit.INCOMPLETE, output)
    path = fixture_folder(macro) / f"{fixture.removesuffix('.yaml')}.yaml"
    if path.exists() and not force:
        raise fail(f"{shown(path)} is there already; give another --name, or --force to write over it", Exit.INCOMPLETE, output)
    kept = run(_record(registry, macro, given, path), output)
    wrong = run(_replayed(macro, path), output)
    if output is OutputFormat.JSON:
        print_json({"file": shown(path), **kept, "holds": wrong is None, "problem": wrong})
    else:
        out = console()
        out.print(f"wrote [bold]{escape(shown(path))}[/]: {escape(kept['ended'])}, {counted(kept['calls'], 'call')} of tools")
        if wrong is None:
            out.print("replayed twice, it holds. Read it before you commit it: it keeps what the tools answered")
            out.print("next: heddle macros check")
    if wrong is not None:
        raise fail(
            f"the fixture does not hold when it is replayed: {wrong}\nchange the macro or the file, then: heddle macros check",
            Exit.INCOMPLETE,
        )


async def _record(registry: Registry, macro: AnyMacro, given: dict[str, Any], path: Path) -> dict[str, Any]:
    """Run a macro on its real tools and write the fixture; what to tell of it."""
    async with tools_of(registry, load_settings(), [macro], tiers=[macro.tier]) as served, AsyncExitStack() as stack:
        about = Run(task_id="recorded", attempt=1, deadline=time.time() + macro.timeout)
        real = await run_tools(tools_by_name(macro).values(), served, about, stack)
        recording = Recording(macro, real, path.parent)
        ended = await run_once(macro, given, {**served, **recording.tools})
    if recording.trouble:
        raise DefinitionError(f"{macro.where}: {macro.name} cannot be recorded: {recording.trouble[0]}. Nothing was written")
    answers = recording.answers()
    text = fixture_text(macro.version, given, answers, output=ended.output, fails=_failing(macro, ended))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DefinitionError(f"cannot write {shown(path)}: {error.strerror}") from None
    told = f"it fails with {type(ended.error).__name__}" if ended.failure else "it gives an output"
    return {"ended": told, "calls": sum(len(calls) for methods in answers.values() for calls in methods.values())}


def _failing(macro: AnyMacro, ended: Ended) -> Failing | None:
    """How a run failed, as a fixture says it; None if it did not.

    Raises:
        DefinitionError: it failed as no macro promises to.
    """
    if ended.failure is None:
        return None
    declared = next((kind.__name__ for kind in type(ended.error).__mro__ if kind in macro.fails), None)
    if declared is not None:
        return Failing(error=declared)
    if isinstance(ended.failure, MacroFailure) and ended.failure.code is not Code.HANDLER_FAILED:
        raise DefinitionError(f"{ended.told()}. Nothing was written")
    raise DefinitionError(
        f"{macro.where}: {macro.name} fails with what it does not declare under `fails=`, which is a bug: {ended.told()}. Nothing was written"
    )


async def _replayed(macro: AnyMacro, path: Path) -> str | None:
    return await replay(macro, read_fixture(path))
