"""The router's rules as values: tiers, worker types, ordered routes, limits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, Literal

Scope = Literal["replica", "cluster"]

DEFAULT_RESERVE: Final[Mapping[str, float]] = MappingProxyType({"low": 0.5, "normal": 0.25, "high": 0.1})
DEFAULT_MAX_PAYLOAD: Final = 256 * 1024
DEFAULT_MAX_HOPS: Final = 8
_REMEMBERED: Final = 8192


@dataclass(frozen=True, slots=True)
class Tier:
    """Where tasks run, and how fast they may get there.

    Attributes:
        rate: tokens per second; None for no limit.
        burst: tokens at most.
        max_wait: seconds a task may wait for a token before it is dead-lettered as `rate_limited`.
        kept: per priority, the tokens that a task of that priority must leave in the bucket.
    """

    name: str
    rate: float | None
    burst: int
    max_wait: float
    scope: Scope
    kept: Mapping[str, int]
    line: int

    def same_numbers(self, other: Tier) -> bool:
        """Does a bucket of this tier keep its level under the other?"""
        return (self.rate, self.burst, self.scope) == (other.rate, other.burst, other.scope)


@dataclass(frozen=True, slots=True)
class WorkerType:
    """A worker type that may be routed; `tier` overrides the tier that a task names."""

    name: str
    tier: str | None
    line: int
    label: str = field(init=False, compare=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"worker_types.{self.name}")


@dataclass(frozen=True, slots=True)
class Route:
    """An ordered rule; every condition must hold. Globs as in fnmatch; a metadata value of "*" only asks for the key."""

    number: int
    tier: str
    line: int
    worker_type: tuple[str, ...] = ()
    priority: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    label: str = field(init=False, compare=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"routes[{self.number}]")

    def fits(self, worker_type: str, priority: str, asked: str) -> bool:
        """Do the conditions hold that do not look into metadata?"""
        return (
            (not self.priority or priority in self.priority)
            and (not self.asked or asked in self.asked)
            and (not self.worker_type or any(fnmatchcase(worker_type, glob) for glob in self.worker_type))
        )

    def fits_metadata(self, metadata: Mapping[str, Any]) -> bool:
        """Do the conditions on metadata hold?"""
        return all(key in metadata and (glob == "*" or fnmatchcase(_as_text(metadata[key]), glob)) for key, glob in self.metadata)


@dataclass(frozen=True, slots=True)
class Limits:
    """What no task may exceed: bytes of the whole body, and passes through `heddle.tasks.incoming`."""

    max_payload: int = DEFAULT_MAX_PAYLOAD
    max_hops: int = DEFAULT_MAX_HOPS


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules; `digest` names the exact text they were read from."""

    tiers: Mapping[str, Tier]
    worker_types: Mapping[str, WorkerType]
    routes: tuple[Route, ...]
    limits: Limits
    digest: str
    text: str = field(default="", compare=False, repr=False)
    metadata_keys: tuple[str, ...] = field(init=False, compare=False, default=())
    _chosen: dict[tuple[str | None, ...], Route | None] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata_keys", tuple(dict.fromkeys(key for route in self.routes for key, _ in route.metadata)))

    def route(self, worker_type: str, priority: str, asked: str, metadata: Mapping[str, Any]) -> Route | None:
        """The first route that fits; None if none does.

        What was chosen is remembered by everything that it depends on, so that two hundred routes cost what five do.
        """
        if not self.metadata_keys:
            key: tuple[str | None, ...] = (worker_type, priority, asked)
        else:
            key = (
                worker_type,
                priority,
                asked,
                *[_as_text(metadata[name]) if name in metadata else None for name in self.metadata_keys],
            )
        chosen = self._chosen.get(key, self)
        if chosen is self:
            fitting = (route for route in self.routes if route.fits(worker_type, priority, asked) and route.fits_metadata(metadata))
            chosen = next(fitting, None)
            if len(self._chosen) >= _REMEMBERED:
                self._chosen.clear()
            self._chosen[key] = chosen
        return chosen  # type: ignore[return-value]  # `self` stands for "not remembered" only


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            return ""


def digest_of(text: str) -> str:
    """The name of a rules text: the first 12 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def uncovered(rules: Rules, worker_types: Iterable[str]) -> list[str]:
    """The worker types that the rules do not know: their tasks would end as `unknown_tier`."""
    return sorted(name for name in set(worker_types) if name not in rules.worker_types)
