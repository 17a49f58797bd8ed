"""Planners with the model servers that the settings choose."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from heddle.llm.providers import model_of
from heddle.planner import Planner, make_planner
from heddle.planning.goal import Asked
from heddle.planning.offer import Offers
from heddle.planning.plan import Plan
from heddle.settings import Settings, load_settings


async def plan(text: str, registry: Offers, *, context: Mapping[str, Any] | None = None, settings: Settings | None = None) -> Plan:
    """What the planner would do with a goal, and every check; publishes nothing.

    Args:
        text: the goal.
        registry: the macros, from `heddle.macros.loading.load` or a catalogue.
        context: what is given besides.
        settings: which model plans, and how; those of the file and the environment unless given.

    Returns:
        The plan with its review and its confidence; its `problem` says why it would not be sent, if it would not.

    Raises:
        ModelUnavailable: there is no model to ask, and phrases are not to stand in for it.
        SettingsError: a setting cannot be used.
        DefinitionError: a phrase of a macro cannot be used.
    """
    async with planner_for(registry, settings or load_settings()) as planner:
        return await planner.plan(Asked(text, dict(context or {}), time.time()))


@asynccontextmanager
async def planner_for(offers: Offers, settings: Settings) -> AsyncIterator[Planner]:
    """A planner with the model that the settings choose, and the one that they fall back on.

    Raises:
        DefinitionError: a phrase of a macro cannot be used.
        SettingsError: the settings name no model server that there is, or forbid it.
    """
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(model_of(settings, settings.planner.provider))
        second = None
        if settings.fallback.enabled:
            second = await stack.enter_async_context(model_of(settings, settings.fallback.provider or "", "fallback.provider"))
        yield make_planner(offers, model, settings, second=second)
