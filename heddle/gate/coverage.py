"""Which sequences a macro does already, as its fixtures show. Pure but for reading the fixtures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heddle.errors import DefinitionError
from heddle.gate.patterns import Constant, Pattern, PatternCall
from heddle.macros.fixtures import Fixture, fixture_files, fixture_folder, read_fixture
from heddle.macros.loading import Registry
from heddle.macros.marks import given_fields

_ANY: Final = -1
"""How often a method is called of which a fixture does not say it."""


@dataclass(frozen=True, slots=True)
class Cover:
    """What one fixture shows that a macro calls.

    Attributes:
        macro: its name.
        calls: the methods, such as `Forge.latest`, with what each call is given, as far as the fixture says.
        often: how often each is called; `_ANY` where the fixture does not say.
        required: the fields that the macro must be given.
    """

    macro: str
    calls: Mapping[str, Sequence[Mapping[str, Any]]]
    often: Mapping[str, int]
    required: frozenset[str] = frozenset()


def covers_of(registry: Registry) -> list[Cover]:
    """What the fixtures of all macros show; those of runs that fail, and those that cannot be read, show nothing."""
    covers = []
    for macro in registry.newest():
        required = frozenset(macro.schema.get("required", ())) - given_fields(macro.schema).keys()
        for path in fixture_files(fixture_folder(macro)):
            try:
                fixture = read_fixture(path)
            except DefinitionError:
                continue  # `macros check` tells of it
            if fixture.fails is None:
                covers.append(cover_of(macro.name, fixture, required))
    return covers


def cover_of(macro: str, fixture: Fixture, required: frozenset[str] = frozenset()) -> Cover:
    """What a fixture shows."""
    scripts = {f"{tool}.{method}": script for tool, methods in fixture.tools.items() for method, script in methods.items()}
    return Cover(
        macro,
        {name: [answer.given for answer in script.answers] for name, script in scripts.items()},
        {name: len(script.answers) if script.each else _ANY for name, script in scripts.items()},
        required,
    )


def covering(pattern: Pattern, covers: Iterable[Cover]) -> Cover | None:
    """What shows a macro that does what a pattern does: it calls the same, as often, and is given the pattern's constants."""
    often = Counter(call.name for call in pattern.calls)
    return next((cover for cover in covers if _same(often, cover) and all(_fits(call, cover) for call in pattern.calls)), None)


def _same(often: Counter[str], cover: Cover) -> bool:
    return often.keys() == cover.often.keys() and all(cover.often[name] in {_ANY, times} for name, times in often.items())


def _fits(call: PatternCall, cover: Cover) -> bool:
    constants = {name: template.value for name, template in call.arguments.items() if isinstance(template, Constant)}
    return any(all(given[name] == value for name, value in constants.items() if name in given) for given in cover.calls[call.name])
