"""Which version of a macro a task is for, and who else may know one that this worker does not.

During a rolling deploy workers of different ages take from one queue. What a worker cannot serve it leaves to one that can, for as
long as such a one is announced, and a while longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from heddle import subjects
from heddle.envelope import Work
from heddle.errors import Code, MacroFailure
from heddle.macros.loading import AnyMacro, Registry
from heddle.macros.upgrades import Route

BACK_DELAY: Final = 1.0
"""Seconds until a task that was handed back comes up again."""


class HandedBack(Exception):  # no error: another worker is to have it
    """This task is for another worker.

    Attributes:
        delay: seconds until it comes up again.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.delay = BACK_DELAY


@dataclass(slots=True, eq=False)
class Versions:
    """What this worker can read, and what it saw others announce.

    Attributes:
        wait: seconds that a version may be unknown to all until its tasks end.
        seen: when a (worker type, version) was last seen announced by another worker, seconds since the epoch.
        missing: since when one has been asked for in vain.
    """

    registry: Registry
    wait: float
    seen: dict[tuple[str, int], float] = field(default_factory=dict)
    missing: dict[tuple[str, int], float] = field(default_factory=dict)
    _routes: dict[tuple[str, int | None], Route] = field(default_factory=dict)

    def read(self, task: Work, now: float) -> tuple[AnyMacro, BaseModel]:
        """The macro for a task, and its input.

        Raises:
            MacroFailure: `unknown_version`, or `invalid_payload`.
            HandedBack: another worker may know the version.
        """
        route = self.route(task, now)
        payload = bytes(task.payload)
        return route.macro, route.read(payload) if route.steps else route.macro.read_json(payload)

    def route(self, task: Work, now: float) -> Route:
        """How a task is run; its input is not looked at.

        Raises:
            MacroFailure: `unknown_version`.
            HandedBack: another worker may know the version.
        """
        asked = task.worker_type, task.macro_version
        route = self._routes.get(asked) or self.registry.route(*asked)
        if route is None:
            raise self._unknown(task, now)
        self._routes[asked] = route
        return route

    def leave_to_newer(self, task: Work, now: float) -> None:
        """See whether a task whose input does not fit is for a version that another worker has: it names none, so it is of the newest.

        Raises:
            HandedBack: it may be.
        """
        if task.macro_version is None and self._newer_elsewhere(task.worker_type, now):
            raise HandedBack("its input is not of this worker's newest version, and another worker has a newer one")

    def _unknown(self, task: Work, now: float) -> MacroFailure | HandedBack:
        name, version = task.worker_type, task.macro_version or 0
        since = max(self.missing.setdefault((name, version), now), self.seen.get((name, version), 0.0))
        known = ", ".join(map(str, self.registry.readable(name))) or "no version of it"
        told = f"{name} version {version} is asked for; this worker reads {known}"
        if now - since < self.wait:
            return HandedBack(told)
        return MacroFailure(Code.UNKNOWN_VERSION, f"{told}, and no live worker has announced it for {self.wait:g} s")

    def _newer_elsewhere(self, name: str, now: float) -> bool:
        newest = max(self.registry.readable(name), default=0)
        return any(other == name and version > newest and now - at < self.wait for (other, version), at in self.seen.items())

    def notice(self, cards: Mapping[str, Mapping[str, Any]], now: float, ours: Callable[[str], bool]) -> None:
        """Take in what workers announce just now; `ours` says of a card's key that it is this worker's."""
        for key, card in cards.items():
            if not ours(key) and subjects.is_worker_card(key):
                for name, versions in card.get("types", {}).items():
                    for version in versions:
                        self.seen[name, version] = now
                        self.missing.pop((name, version), None)
