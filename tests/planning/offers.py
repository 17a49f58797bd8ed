"""Macros of which only the contract is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Offered:
    """A macro of which only the contract is there."""

    planner_schema: dict[str, Any]
    intent: str = "Do it."
    name: str = "act"
    version: int = 1
    tier: str = "local"
    hidden: frozenset[str] = frozenset()
    effects: Literal["reversible"] = "reversible"
    examples: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    phrases: tuple[str, ...] = ()
    where: str = "macros.json"

    @property
    def schema(self) -> dict[str, Any]:
        return self.planner_schema

    def read(self, payload: dict[str, Any], /) -> object:
        return payload
