"""What the planner needs of a macro: as much as its contract says, whether the code is here or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from heddle.macros.macro import Effects
from heddle.macros.schema import Schema
from heddle.macros.versioned import Versioned


class Offer(Protocol):
    """A macro that can be planned: a live one, or its contract from a catalogue."""

    @property
    def name(self) -> str:
        """The worker type."""

    @property
    def version(self) -> int:
        """Of its input's shape."""

    @property
    def intent(self) -> str:
        """What it does, in a line."""

    @property
    def tier(self) -> str:
        """Where planned tasks of it run."""

    @property
    def schema(self) -> Schema:
        """Of its input."""

    @property
    def planner_schema(self) -> Schema:
        """Of its input, without the fields that are not the planner's to fill, and with text for quantities."""

    @property
    def hidden(self) -> frozenset[str]:
        """The input fields that only a person may set."""

    @property
    def effects(self) -> Effects:
        """What a run of it changes, and how far its arguments must be stated."""

    @property
    def examples(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Goals and the arguments that they stand for."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """Sentence templates."""

    @property
    def where(self) -> object:
        """What `str` makes of it names the place, in errors."""

    def read(self, payload: dict[str, Any], /) -> object:
        """Check arguments.

        Raises:
            MacroFailure: they do not fit the input; it names every field at fault.
        """


Offers: TypeAlias = Versioned[Offer]
