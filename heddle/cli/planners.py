"""What can be planned: the macros at hand, or a catalogue of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heddle.errors import DefinitionError
from heddle.macros.catalogue import Catalogue, read_catalogue
from heddle.macros.loading import load
from heddle.planning.offer import Offers


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
