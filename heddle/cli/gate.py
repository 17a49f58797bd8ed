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
from typing import Annotated

import typer

from heddle.broker.connect import connected
from heddle.cli.gate_report import print_report, print_written, report_as_json
from heddle.cli.options import Macros, Output, OutputFormat, Server, macro_sources, server_url
from heddle.cli.output import Exit, fail, failed, print_json, run, seconds
from heddle.cli.proposals import tools_at_hand, write_proposals
from heddle.control.sessions import stored_logs
from heddle.errors import HeddleError
from heddle.gate.allowing import Allowance, read_allowances
from heddle.gate.coverage import covers_of
from heddle.gate.reading import Logs, read_logs, within
from heddle.gate.sarif import sarif_of
from heddle.gate.scanning import Report
from heddle.gate.scanning import scan as scan_logs
from heddle.macros.loading import Registry, load
from heddle.telemetry.observer import Observer

app = typer.Typer(no_args_is_help=True, help="Find what is done again and again outside macros, and propose macros for it.")

STREAM = "stream"
"""In the place of a path: the logs that the server keeps."""
ALLOW_LIST = Path("gate-allow.yaml")

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
    """Report sequences that keep coming back outside macros; exit 1 if there are more than --max-unencoded, or no line could be read."""
    with _no_garbage():
        report, allow_list = _scanned(paths, window, min_support, min_length, allow, macros, server, output)
    count = len(report.unencoded)
    good = count <= max_unencoded and not report.logs.unreadable
    if sarif is not None:
        _write(sarif, json.dumps(sarif_of(report, version("heddle-router"), str(allow_list) if allow_list else None), indent=2), output)
    if output is OutputFormat.JSON:
        print_json(report_as_json(report, good=good, max_unencoded=max_unencoded))
    else:
        print_report(report, good=good, max_unencoded=max_unencoded, paths=paths)
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
        print_written(written, report, write)
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
        files = sorted(one for one in path.rglob("*") if one.suffix in {".jsonl", ".json"} and one.is_file()) if path.is_dir() else [path]
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
        return read_allowances(path.read_bytes(), str(path))
    except OSError as error:
        raise fail(f"cannot read {path}: {error.strerror}", Exit.INCOMPLETE, output) from None
    except HeddleError as error:
        raise failed(error, output) from None


def _write(path: Path, text: str, output: OutputFormat) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise fail(f"cannot write {path}: {error.strerror}", Exit.INCOMPLETE, output) from None
