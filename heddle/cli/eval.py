"""`heddle eval`: how well a model, or the phrases, plan; and whether a model may plan goals here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from pydantic_core import to_jsonable_python
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heddle.cli.eval_tables import print_report, print_verdict
from heddle.cli.options import MacrosOrCatalogue, Output, OutputFormat, Server, macro_sources, server_url
from heddle.cli.output import Exit, aside, fail, failed, print_json, run
from heddle.cli.planners import read_offers
from heddle.cli.pulling import Pull, ensure_model
from heddle.control.admission import kept_results
from heddle.errors import DefinitionError, HeddleError, ModelUnavailable, NoServer
from heddle.evaluation.admission import Verdict
from heddle.evaluation.admitting import admit, facts_of
from heddle.evaluation.bfcl import is_public, public_cases
from heddle.evaluation.cases import Case, cases_of, misfits, read_text
from heddle.evaluation.report import report
from heddle.evaluation.running import attempts
from heddle.evaluation.scoring import Finding
from heddle.llm.model import Facts, Model
from heddle.llm.providers import OLLAMA, model_of
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
    pull: Pull = False,
    server: Server = None,
    output: Output = OutputFormat.TEXT,
) -> None:
    """Score the planner: plan cases, and compare with what they expect; publishes nothing."""
    phrases = model == PHRASES
    if admission and (file is not None or limit is not None or phrases):
        raise typer.BadParameter("--admit tests a model on the macros' own examples: without CASES, --limit and --model phrases")
    if server is not None and not admission:
        raise typer.BadParameter("--server goes with --admit: cases are planned without one")
    try:
        settings = _settings(None if phrases else model, provider)
    except HeddleError as error:
        raise failed(error, output) from None
    sources = macro_sources(macros)
    if admission:
        _show_verdict(run(_admit(settings, sources, server, pull=pull), output), output)
    else:
        _show_figures(_Work(), file, sources, settings, limit, output, phrases=phrases, pull=pull)


def _show_figures(
    work: _Work,
    file: Path | None,
    sources: list[str],
    settings: Settings,
    limit: int | None,
    output: OutputFormat,
    *,
    phrases: bool,
    pull: bool,
) -> None:
    code: int = Exit.DONE
    try:
        run(_evaluate(work, file, sources, settings, limit, phrases=phrases, pull=pull), output)
    except typer.Exit as ended:
        if not work.done:  # a mistake, which is told already, or Ctrl-C before there is anything to show
            raise
        work.stopped, code = "interrupted", ended.exit_code
    threshold = settings.fallback.threshold
    if output is OutputFormat.JSON:
        print_json(report(work.done, work.planned_by, work.facts, threshold) | {"of": work.of, "stopped": work.stopped})
    else:
        print_report(work.done, work.planned_by, work.facts, threshold)
    if work.stopped:
        aside().print(f"[bold red]stopped[/] after {len(work.done)} of {work.of} cases: {escape(work.stopped)}")
        raise typer.Exit(code or Exit.INCOMPLETE)


@dataclass(slots=True)
class _Work:
    """What is done so far, which Ctrl-C must not lose."""

    done: list[Finding] = field(default_factory=list)
    of: int = 0
    planned_by: str = PHRASES
    facts: Facts | None = None
    stopped: str | None = None


def _settings(model: str | None, provider: str | None) -> Settings:
    """The settings in force, with another model or provider for the planner."""
    settings = load_settings()
    planner = settings.planner.model_copy(update={"provider": provider or settings.planner.provider})
    providers = dict(settings.providers)
    if model and planner.provider == OLLAMA:
        planner = planner.model_copy(update={"model": model})
    elif model and planner.provider in providers:
        providers[planner.provider] = providers[planner.provider].model_copy(update={"model": model})
    return settings.model_copy(update={"planner": planner, "providers": providers})


async def _evaluate(
    work: _Work, file: Path | None, sources: list[str], settings: Settings, limit: int | None, *, phrases: bool, pull: bool
) -> None:
    cases, offers = _read(file, sources)
    cases = cases[:limit]
    work.of = len(cases)
    if phrases:
        await _plan_all(work, cases, offers, None, settings)
        return
    await ensure_model(settings, pull=pull)
    async with model_of(settings, settings.planner.provider) as model:
        try:
            work.planned_by, work.facts = model.name, await facts_of(model)
            await _plan_all(work, cases, offers, model, settings)
        except ModelUnavailable as error:
            told = f"{error}; to get the model: {error.remedy}"
            if not work.done:
                raise HeddleError(told) from None
            work.stopped = told
        except HeddleError as error:
            if not work.done:
                raise
            work.stopped = str(error)


async def _plan_all(work: _Work, cases: Sequence[Case], offers: Offers, model: Model | None, settings: Settings) -> None:
    with _progress("planning", len(cases)) as progress:
        async for finding in attempts(cases, offers, model, settings):
            work.done.append(finding)
            progress(len(work.done), len(cases))


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


class _Admission(NamedTuple):
    """A model's name, what was found of it, and whether that is kept for the orchestrators."""

    model: str
    verdict: Verdict
    kept: bool


async def _admit(settings: Settings, sources: list[str], server: str | None, *, pull: bool) -> _Admission:
    offers = read_offers(sources)
    try:
        url = server_url(server)
    except NoServer:
        url = None
    await ensure_model(settings, pull=pull)
    async with AsyncExitStack() as stack:
        kept = None if url is None else await stack.enter_async_context(kept_results(url, settings))
        model = await stack.enter_async_context(model_of(settings, settings.planner.provider))
        try:
            with _progress("admitting", 0) as progress:
                verdict = await admit(model, offers, settings, kept, progress, anew=True)
        except ModelUnavailable as error:
            raise HeddleError(f"{error}; to get the model: {error.remedy}") from None
        return _Admission(model.name, verdict, kept is not None and verdict.results is not None and verdict.facts.digest is not None)


def _show_verdict(found: _Admission, output: OutputFormat) -> None:
    verdict = found.verdict
    if output is OutputFormat.JSON:
        print_json({"model": found.model, **to_jsonable_python(verdict), "kept": found.kept})
    else:
        print_verdict(verdict, found.model)
        if verdict.results is not None and not found.kept:
            aside().print("[dim]the result was not kept: no NATS server is named, or the model server tells no digest of the model[/]")
    if not verdict.admitted:
        raise fail("; ".join(verdict.problems), Exit.INCOMPLETE)
