"""`heddle eval`: how well a model, or the phrases, plan; and whether a model may plan goals here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heddle.cli.eval_tables import print_report, print_verdict
from heddle.cli.options import MacrosOrCatalogue, Output, OutputFormat, Server, macro_sources, server_url
from heddle.cli.output import Exit, aside, fail, print_json, run
from heddle.cli.planners import read_offers
from heddle.control.admission import kept_results
from heddle.errors import DefinitionError, HeddleError, ModelUnavailable, NoServer
from heddle.evaluation.admission import Verdict
from heddle.evaluation.admitting import admit
from heddle.evaluation.bfcl import is_public, public_cases
from heddle.evaluation.cases import Case, cases_of, misfits, read_text
from heddle.evaluation.report import report
from heddle.evaluation.running import attempts
from heddle.evaluation.scoring import Finding
from heddle.llm.model import Facts, Model
from heddle.llm.ollama import ollama_model
from heddle.macros.versioned import Versioned
from heddle.planning.offer import Offers
from heddle.planning.plan import PHRASES
from heddle.settings import Settings, load_settings

DEFAULT_CASES = "eval_cases.yaml"


def evaluate(
    file: Annotated[
        Path | None, typer.Argument(metavar="CASES", help=f"The cases. Default: {DEFAULT_CASES} beside the macros.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Which model, or phrases. Default: that of the settings.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="ollama, or a name under `providers` in the settings.")] = None,
    macros: MacrosOrCatalogue = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many cases.")] = None,
    admission: Annotated[
        bool, typer.Option("--admit", help="Test whether the model may plan goals with these macros, and keep the result.")
    ] = False,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Score the planner: plan cases, and compare with what they expect; publishes nothing."""
    settings = _settings(model, provider)
    if admission:
        if file is not None or limit is not None or model == PHRASES:
            raise typer.BadParameter("--admit tests a model on the macros' own examples: without CASES, --limit and --model phrases")
        verdict, kept = run(_admit(settings, macro_sources(macros), server), output)
        _show_verdict(verdict, settings.planner.model, output, kept=kept)
        return
    if server is not None:
        raise typer.BadParameter("--server goes with --admit: cases are planned without one")
    work = _Work()
    try:
        run(_evaluate(work, file, macro_sources(macros), settings, limit, phrases=model == PHRASES), output)
    except typer.Exit as ended:  # Ctrl-C, or a mistake that is told already
        if not work.done or ended.exit_code != _INTERRUPTED:
            raise
        work.stopped, code = "interrupted", ended.exit_code
    else:
        code = Exit.INCOMPLETE if work.stopped else Exit.DONE
    threshold = settings.fallback.threshold
    if output is OutputFormat.JSON:
        print_json(report(work.done, work.planned_by, work.facts, threshold) | {"of": work.of, "stopped": work.stopped})
    else:
        print_report(work.done, work.planned_by, work.facts, threshold)
    if work.stopped:
        aside().print(f"[bold red]stopped[/] after {len(work.done)} of {work.of} cases: {escape(work.stopped)}")
    if code:
        raise typer.Exit(code)


_INTERRUPTED = 130


@dataclass(slots=True)
class _Work:
    """What is done so far, which Ctrl-C must not lose."""

    done: list[Finding] = field(default_factory=list)
    of: int = 0
    planned_by: str = PHRASES
    facts: Facts | None = None
    stopped: str | None = None


def _settings(model: str | None, provider: str | None) -> Settings:
    settings = load_settings()
    named = {"model": model} if model and model != PHRASES else {}
    return settings.model_copy(update={"planner": settings.planner.model_copy(update=named | ({"provider": provider} if provider else {}))})


async def _evaluate(work: _Work, file: Path | None, sources: list[str], settings: Settings, limit: int | None, *, phrases: bool) -> None:
    cases, offers = _read(file, sources)
    cases = cases[:limit]
    work.of = len(cases)
    async with AsyncExitStack() as stack:
        model = None if phrases else await stack.enter_async_context(_opened(settings))
        try:
            if model is not None:
                work.planned_by, work.facts = model.name, await model.facts()
            with _progress("planning", len(cases)) as progress:
                async for finding in attempts(cases, offers, model, settings):
                    work.done.append(finding)
                    progress(len(work.done), len(cases))
        except ModelUnavailable as error:
            told = f"{error}; to get the model: {error.remedy}"
            if not work.done:
                raise HeddleError(told) from None
            work.stopped = told


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Model]:
    async with ollama_model(settings) as model:
        yield model


def _read(file: Path | None, sources: list[str]) -> tuple[tuple[Case, ...], Offers]:
    """The cases, and the macros of those that bring none.

    Raises:
        DefinitionError: a file cannot be read, or the cases do not fit the macros.
    """
    path = file or _default_file(sources)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}") from None
    parsed = read_text(text, str(path))
    if is_public(parsed):
        return public_cases(parsed, str(path)), Versioned({})
    cases, offers = cases_of(parsed, str(path)), read_offers(sources)
    if wrong := [f"{path}: {told}" for case in cases for told in misfits(case, offers)]:
        raise DefinitionError("\n".join(wrong))
    return cases, offers


def _default_file(sources: list[str]) -> Path:
    found = [path for source in sources if (path := Path(source) / DEFAULT_CASES).is_file()]
    if not found:
        raise DefinitionError(f"no {DEFAULT_CASES} in {', '.join(sources)}: name a file of cases, or write one there")
    return found[0]


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    """A bar on a terminal's standard error, and nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    err = aside()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


# --- admission


async def _admit(settings: Settings, sources: list[str], server: str | None) -> tuple[Verdict, bool]:
    """The verdict, and whether its test's result is kept."""
    offers = read_offers(sources)
    async with AsyncExitStack() as stack:
        try:
            kept = await stack.enter_async_context(kept_results(server_url(server), settings))
        except NoServer:
            if server is not None:
                raise
            kept = None
        model = await stack.enter_async_context(_opened(settings))
        try:
            with _progress("admitting", 0) as progress:
                verdict = await admit(model, offers, settings, kept, progress, anew=True)
        except ModelUnavailable as error:
            raise HeddleError(f"{error}; to get the model: {error.remedy}") from None
        return verdict, kept is not None and verdict.results is not None and verdict.facts.digest is not None


def _show_verdict(verdict: Verdict, model: str, output: OutputFormat, *, kept: bool) -> None:
    if output is OutputFormat.JSON:
        print_json({"model": model, **to_jsonable_python(verdict), "kept": kept})
    else:
        print_verdict(verdict, model)
        if verdict.results is not None and not kept:
            aside().print("[dim]the result was not kept: no NATS server is named, or the model server tells no digest of the model[/]")
    if not verdict.admitted:
        raise fail("; ".join(verdict.problems), Exit.INCOMPLETE)
