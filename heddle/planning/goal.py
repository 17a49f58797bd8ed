"""A goal as the planner sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for.

    Attributes:
        instruction: free text.
        context: what they gave besides; `given("key")` fields are filled from it.
        now: when they asked, seconds since the epoch; what "two weeks ago" counts from.
    """

    instruction: str
    context: Mapping[str, Any]
    now: float
