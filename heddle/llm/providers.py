"""The model that the settings choose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from heddle.errors import SettingsError
from heddle.llm.model import Model
from heddle.llm.ollama import ollama_model
from heddle.llm.openai import openai_model
from heddle.settings import Settings

OLLAMA: Final = "ollama"


@asynccontextmanager
async def model_of(settings: Settings, provider: str, named: str = "planner.provider") -> AsyncIterator[Model]:
    """The model of a provider: of the Ollama server, or one under `providers`.

    Args:
        settings: those in force.
        provider: `ollama`, or a name under `providers`.
        named: the setting that names it, for the message.

    Raises:
        SettingsError: there is none of that name, or it cannot be used as it is set.
    """
    if OLLAMA in settings.providers:
        raise SettingsError(f"providers.{OLLAMA}: that name stands for the server that OLLAMA_HOST names; choose another")
    if provider == OLLAMA:
        async with ollama_model(settings) as ollama:
            yield ollama
    elif provider in settings.providers:
        async with openai_model(settings, provider) as model:
            yield model
    else:
        known = ", ".join([OLLAMA, *sorted(settings.providers)])
        raise SettingsError(f"{named} is {provider!r}, and there is no provider of that name; there is {known}")
