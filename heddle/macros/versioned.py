"""What there is by name and version: macros with their code, or contracts without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Versioned(Generic[T_co]):
    """Things by name and version."""

    macros: Mapping[str, Mapping[int, T_co]]

    def newest(self) -> list[T_co]:
        """The newest version of every macro, by name."""
        return [versions[max(versions)] for _, versions in sorted(self.macros.items())]

    def find(self, name: str, version: int | None = None) -> T_co | None:
        """The macro of that name, of that version or the newest; None if there is none."""
        versions = self.macros.get(name, {})
        return versions.get(max(versions, default=0) if version is None else version)
