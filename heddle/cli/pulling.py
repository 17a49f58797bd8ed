"""The offer to pull a model that the Ollama server lacks, before a command needs it."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import aclosing
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from heddle.cli.output import aside
from heddle.errors import ModelError, ModelUnavailable
from heddle.llm.ollama import OllamaModel, ollama_model
from heddle.llm.providers import OLLAMA
from heddle.settings import Settings

Pull = Annotated[bool, typer.Option("--pull", help="Pull the model without asking, if the Ollama server lacks it.")]


async def ensure_model(settings: Settings, *, pull: bool) -> None:
    """See to it that the planner's Ollama server has its model: pull it if told to, else ask on a terminal, else say how.

    A server that does not answer, or that is no Ollama server, is left for the planner to tell of. With phrases first, a goal may need no
    model, and nothing is looked for.

    Raises:
        ModelError: `pull`, and the model could not be pulled.
        SettingsError: OLLAMA_HOST is not an address, or `egress: none` forbids the server or the pull.
    """
    if settings.planner.provider != OLLAMA or (settings.planner.phrases == "first" and not pull):
        return
    async with ollama_model(settings) as model:
        try:
            if await model.is_there():
                return
        except ModelError:
            if pull:
                raise
            return
        if not pull and not _wanted(model, settings):
            aside().print(
                f"{escape(model.host)} has no model {escape(model.name)}; to get it: {escape(model.remedy)}, or start with --pull"
            )
            return
        await _pull(model)


def _wanted(model: OllamaModel, settings: Settings) -> bool:
    """The answer of whoever sits at the terminal, if somebody does and the pull is allowed."""
    if settings.egress == "none" or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio's waits for the loop, and the loop for the answer
    try:
        return typer.confirm(f"{model.host} has no model {model.name}; pull {model.name} now?", err=True)
    finally:
        signal.signal(signal.SIGINT, handler)


async def _pull(model: OllamaModel) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=aside()) as bar:
            task = bar.add_task(f"pulling {model.name}", total=None)
            async with aclosing(model.pull()) as steps:
                async for step in steps:
                    told = model.name if step.status.startswith("pulling") else f"{model.name}: {step.status}"
                    bar.update(task, description=f"pulling {escape(told)}", completed=step.completed, total=step.total or None)
    except asyncio.CancelledError:
        aside().print(f"stopped; {escape(model.host)} keeps what it has got, and the next pull goes on from there")
        raise
    except ModelUnavailable as error:
        raise ModelUnavailable(f"cannot pull {model.name}: {error}", error.remedy) from None
    aside().print(f"pulled {escape(model.name)}")
