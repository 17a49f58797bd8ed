"""Who is there, as routers and workers announce themselves."""

from __future__ import annotations

from dataclasses import dataclass

from heddle.control.fleet import OrchestratorCard, RouterCard, WorkerCard


@dataclass(frozen=True, slots=True)
class Crew:
    """Who announced itself."""

    routers: tuple[RouterCard, ...]
    workers: tuple[WorkerCard, ...]
    orchestrators: tuple[OrchestratorCard, ...] = ()

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the rules that the routers follow; more than one is a drift."""
        return tuple(sorted({card.digest for card in self.routers}))

    def serving(self, worker_type: str, tier: str) -> int:
        """How many workers take tasks of that type and tier."""
        return sum(card.serves(worker_type, tier) for card in self.workers)

    @property
    def disagreeing(self) -> frozenset[str]:
        """The macros, as "<worker type> <version>", of which workers announce different contracts."""
        seen: dict[str, set[str]] = {}
        for card in self.workers:
            for name, digest in card.digests.items():
                seen.setdefault(name, set()).add(digest)
        return frozenset(name for name, digests in seen.items() if len(digests) > 1)
