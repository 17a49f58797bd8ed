"""The macros that the dashboard knows: live ones with their fixtures, or the contracts of a catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from heddle.errors import DefinitionError
from heddle.macros.catalogue import Contract, catalogue_of, contracts
from heddle.macros.failures import Failure, Fallback, Reject, Retry
from heddle.macros.fixtures import Fixture, fixture_folder, read_fixtures
from heddle.macros.loading import AnyMacro, Registry
from heddle.planning.offer import Offers


@dataclass(frozen=True, slots=True)
class Card:
    """One version of a macro.

    Attributes:
        fails: what each declared error means; empty where only the contract is known.
        fixtures: None where only the contract is known.
        problem: why the fixtures cannot be read.
    """

    contract: Contract
    fails: Mapping[str, str] = field(default_factory=dict)
    fixtures: tuple[Fixture, ...] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """All of them.

    Attributes:
        cards: by name and version.
        offers: the same, to hold payloads against; None if there are none.
        source: where they come from.
        problem: why there are none.
    """

    cards: tuple[Card, ...] = ()
    offers: Offers | None = None
    source: str = ""
    problem: str | None = None

    def find(self, name: str) -> list[Card]:
        """The versions of a macro, the newest first."""
        return sorted((card for card in self.cards if card.contract.name == name), key=lambda card: -card.contract.version)


def shelf_of(offers: Offers, source: str) -> Shelf:
    """The macros of a registry, or of a catalogue."""
    if not isinstance(offers, Registry):
        found = (one for _, versions in sorted(offers.macros.items()) for _, one in sorted(versions.items()))
        return Shelf(tuple(Card(one) for one in found if isinstance(one, Contract)), offers, source)
    try:
        catalogue = catalogue_of(offers)
    except DefinitionError as error:
        return Shelf(offers=offers, source=source, problem=str(error))
    return Shelf(tuple(_card(one, offers.find(one.name, one.version)) for one in contracts(catalogue)), offers, source)


def _card(contract: Contract, macro: AnyMacro | None) -> Card:
    if macro is None:
        return Card(contract)
    fails = {error.__name__: _in_words(failure) for error, failure in macro.fails.items()}
    try:
        fixtures = tuple(one for one in read_fixtures(fixture_folder(macro)) if one.version in {None, macro.version})
    except (DefinitionError, OSError) as error:
        return Card(contract, fails, (), str(error))
    return Card(contract, fails, fixtures)


def _in_words(failure: Failure) -> str:
    match failure:
        case Retry(times=times, backoff=backoff):
            return f"tried again, {times} times from {backoff:g} s on"
        case Reject():
            return "ends the task"
        case Fallback():
            return "handed over to the frontier tier"
