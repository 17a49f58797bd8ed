"""What plans: the macros at hand or a catalogue of them, and a model server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from heddle.errors import DefinitionError
from heddle.llm.providers import model_of
from heddle.macros.catalogue import Catalogue, read_catalogue
from heddle.macros.loading import load
from heddle.planner import Planner, make_planner
from heddle.planning.offer import Offers
from heddle.settings import Settings


def read_offers(sources: Sequence[str]) -> Offers:
    """The macros that can be planned: those of a catalogue, without their code, if the one source is a file `x.json`; else live ones.

    Raises:
        DefinitionError: the catalogue or the macros cannot be read, or there is something beside the catalogue.
    """
    match [source for source in sources if source.endswith(".json")]:
        case []:
            return load(sources)
        case [catalogue] if len(sources) == 1:
            return read_catalogue_file(Path(catalogue))
        case catalogues:
            raise DefinitionError(f"{catalogues[0]} is a catalogue, which stands for all macros: name nothing beside it")


def read_catalogue_file(path: Path) -> Catalogue:
    """The catalogue in a file.

    Raises:
        DefinitionError: the file cannot be read, or is no catalogue.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{path}: cannot be read: {error}; write it: heddle macros compile -O {path}") from None
    return read_catalogue(text, str(path))


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
