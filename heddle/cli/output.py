"""How commands print: tables for people on standard output, JSON for pipes, errors on standard error."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from enum import IntEnum
from typing import Any, Final, TypeVar

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from heddle.cli.options import ListFormat, OutputFormat
from heddle.errors import DefinitionError, HeddleError, ModelUnavailable, NoServer, RulesError, SettingsError
from heddle.units import parse_duration

T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes of the command line."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    TIMED_OUT = 3
    NO_SERVER = 4


_TURNS: Final = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Characters that turn the direction of what follows, so that it reads as something else."""
_CONTROLS: Final = dict.fromkeys({*range(32), *range(127, 160), *_TURNS} - {ord("\n"), ord("\t")}, "\N{REPLACEMENT CHARACTER}")
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in {*range(127, 160), *_TURNS}}
"""The same in JSON, which escapes those below 32 itself."""


class _Shown(Console):
    """A console on which no text moves the cursor, or does anything else to a terminal: goals and logs are written by others."""

    def render_str(self, text: str, **more: Any) -> Text:
        return super().render_str(text.translate(_CONTROLS), **more)


def console() -> Console:
    """Standard output."""
    return _Shown(highlight=False, soft_wrap=not sys.stdout.isatty())


def aside() -> Console:
    """Standard error: progress and remarks, which are not the answer."""
    return _Shown(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: Any) -> None:
    """The answer as JSON."""
    sys.stdout.write(_json(value, 2 if sys.stdout.isatty() else None) + "\n")


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent).translate(_ESCAPED)


def print_list(values: Iterable[Any], output: ListFormat) -> None:
    """The answer as one JSON array, or as a line of JSON for each."""
    if output is ListFormat.JSONL:
        for value in values:
            print_line(value)
    else:
        print_json(list(values))


def print_line(value: Any) -> None:
    """One thing of many, as a line of JSON, at once."""
    sys.stdout.write(_json(value) + "\n")
    sys.stdout.flush()


_GAP: Final = 2
_WORD: Final = 44
"""Columns that a cell without blanks, such as an id, may take before it is folded."""
_LEAST: Final = 12
"""Columns that a text needs to be readable."""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """The answer as a table, below an empty line and its title if it has one; long cells wrap.

    An id that is cut is of no use: where there is no room for the words, each row is a block of lines.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    out = _Shown(highlight=False, width=None if sys.stdout.isatty() else 160)
    if title is not None:
        out.print(f"\n[italic]{escape(title)}[/]")  # of its own: a table folds its title into its width
    names = max(map(len, columns))
    table = Table(header_style="bold", box=None, pad_edge=False)
    needed = -_GAP
    for name, *column in zip(columns, *cells, strict=True):
        longest = max(map(cell_len, (name, *column)))
        whole = longest <= _WORD and not any(" " in cell for cell in column)
        needed += _GAP + (longest if whole else min(longest, _LEAST))
        table.add_column(name, no_wrap=whole, overflow="fold")
    if needed <= out.width:
        for row in cells:
            table.add_row(*map(escape, row))
        out.print(table)
        return
    for row in cells:
        for name, cell in zip(columns, row, strict=True):
            if cell:
                out.print(f"[bold]{escape(name):<{names}}[/] {escape(cell)}")
        out.print()


def fail(message: str, code: Exit, output: OutputFormat = OutputFormat.TEXT, **more: object) -> typer.Exit:
    """Say what went wrong: on standard error, and for pipes as JSON on standard output too. The result is to be raised."""
    if output is OutputFormat.JSON:
        print_json({"error": message, **more, "exit_code": int(code)})
    aside().print(f"[bold red]error:[/] {escape(message)}")
    return typer.Exit(code)


def counted(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def seconds(text: str, option: str) -> float:
    """An option's duration, such as 60s.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


def run(work: Coroutine[Any, Any, T], output: OutputFormat = OutputFormat.TEXT) -> T:
    """Run a command's work; a user's mistake becomes a message and an exit code, never a traceback."""
    try:
        return asyncio.run(work)
    except HeddleError as error:
        raise failed(error, output) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def failed(error: HeddleError, output: OutputFormat = OutputFormat.TEXT) -> typer.Exit:
    """The message and exit code that an error of ours stands for."""
    match error:
        case NoServer():
            code = Exit.NO_SERVER
        case SettingsError():
            code = Exit.USAGE
        case DefinitionError() | RulesError() | _:
            code = Exit.INCOMPLETE
    remedy = f"; to get the model: {error.remedy}" if isinstance(error, ModelUnavailable) else ""
    return fail(f"{error}{remedy}", code, output)


def progress_told(what: str) -> Callable[[int, int], None]:
    """Says on standard error how far something is, once a second, for as long as it takes."""
    told, last = time.monotonic(), 0

    def progress(done: int, total: int) -> None:
        nonlocal told, last
        if time.monotonic() - told > 1.0 and done != last:
            told, last = time.monotonic(), done
            aside().print(f"{what} {done:,} of {total:,} …")

    return progress


def confirmed(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone, unless told not to.

    Raises:
        typer.BadParameter: there is nobody to ask.
        typer.Exit: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{question} There is no terminal to ask; add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(Exit.INCOMPLETE)


async def until_stopped(*, once: bool = True) -> None:
    """Wait for Ctrl-C or SIGTERM.

    Args:
        once: whether a second one ends the process at once; a worker under supervision, which may be told by its supervisor and
            by whoever tells all processes, takes its time.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    for number in (signal.SIGINT, signal.SIGTERM) if once else ():
        loop.remove_signal_handler(number)  # a second Ctrl-C ends it at once
