"""`@upgrade`: how the input of an older version of a macro becomes that of the next.

A task that names an older version runs that version's own handler, if there still is one. If there is none, its payload is read
as the input of its version and upgraded step by step to the next version that has a handler, which runs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from heddle.errors import Code, DefinitionError, MacroFailure
from heddle.macros.failures import described
from heddle.macros.macro import Macro, explain_fields
from heddle.macros.signatures import Where, hints_of, where_of

Old = TypeVar("Old", bound=BaseModel)
New = TypeVar("New", bound=BaseModel)


@dataclass(frozen=True)
class Upgrade(Generic[Old, New]):
    """One step, from the input of version `to - 1` to that of version `to`. Made by `@upgrade`; calling it calls the function."""

    macro: str
    to: int
    function: Callable[[Old], New]
    old: type[Old]
    new: type[New]
    where: Where

    def __call__(self, old: Old) -> New:
        """Call the function as it is."""
        return self.function(old)


AnyUpgrade = Upgrade[Any, Any]


def upgrade(macro: Macro[..., Any] | str, *, to: int) -> Callable[[Callable[[Old], New]], Upgrade[Old, New]]:
    """Make an upgrade of a function `def up(old: TriageV1) -> TriageV2`.

    Args:
        macro: the macro, in any version, or its name.
        to: the version whose input the function returns; its parameter is the input of the version before.

    Raises:
        DefinitionError: the function cannot be an upgrade; it says why, and where it stands.
    """
    name = macro.name if isinstance(macro, Macro) else macro

    def define(function: Callable[[Old], New]) -> Upgrade[Old, New]:
        where = where_of(function)
        if not isinstance(name, str):
            raise DefinitionError(f"{where}: @upgrade takes a macro or its name first, not {name!r}")
        if to < 2:
            raise DefinitionError(f"{where}: an upgrade of {name} to version {to} has nothing to begin with: versions begin at 1")
        old, new = _read_signature(function, where)
        return Upgrade(name, to, function, old, new, where)

    return define


def _read_signature(function: Callable[..., Any], where: Where) -> tuple[type[Any], type[Any]]:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{where}: an upgrade is an ordinary `def`: it turns one value into another")
    hints = hints_of(function, where)
    parameters = list(inspect.signature(function).parameters.values())
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    kinds = [hints.get(parameters[0].name), hints.get("return")] if len(parameters) == 1 and parameters[0].kind in positional else []
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds):
        raise DefinitionError(f"{where}: an upgrade takes one input model and returns the next: `def up(old: RequestV1) -> RequestV2`")
    old, new = kinds
    return old, new  # type: ignore[return-value]  # both are classes: looked at above


Macros = Mapping[str, Mapping[int, Macro[..., Any]]]
Upgrades = Mapping[str, Mapping[int, AnyUpgrade]]


def collect_upgrades(found: Iterable[AnyUpgrade], macros: Macros) -> Upgrades:
    """Upgrades by macro and by the version that they begin with; the same one met twice counts once.

    Raises:
        DefinitionError: a step is there twice, some steps reach no handler, or the models of two do not fit.
    """
    steps: dict[str, dict[int, AnyUpgrade]] = {}
    for one in found:
        known = steps.setdefault(one.macro, {}).setdefault(one.to - 1, one)
        if known is not one:
            raise DefinitionError(f"two upgrades of {one.macro} make version {one.to} of {one.to - 1}: {known.where} and {one.where}")
    for name, of_name in steps.items():
        _check_chain(name, of_name, macros.get(name, {}))
    return steps


def _check_chain(name: str, steps: Mapping[int, AnyUpgrade], macros: Mapping[int, Macro[..., Any]]) -> None:
    last = steps[max(steps)]
    if not macros:
        raise DefinitionError(f"{last.where}: an upgrade of {name!r}, and no macro is called that")
    newest = macros[max(macros)]
    if last.to > newest.version:
        raise DefinitionError(
            f"{last.where}: an upgrade of {name} makes version {last.to}, and the newest is version {newest.version}: {newest.where}"
        )
    for version, step in sorted(steps.items()):
        if step.to not in macros and step.to not in steps:
            raise DefinitionError(
                f"{step.where}: an upgrade of {name} makes version {step.to}, which has no handler and no upgrade: "
                f"add `@upgrade({name}, to={step.to + 1})`, or a handler of version {step.to}"
            )
        _check_fit(step, macros.get(version) or steps.get(version - 1), macros.get(step.to))


def _check_fit(step: AnyUpgrade, before: Macro[..., Any] | AnyUpgrade | None, after: Macro[..., Any] | None) -> None:
    """What a step takes is what there is before it, and what it makes is what its version's handler takes."""
    there = before.input if isinstance(before, Macro) else before.new if before else step.old
    for version, said, verb, wanted, other in (
        (step.to - 1, step.old, "takes", there, before),
        (step.to, step.new, "makes", after.input if after else step.new, after),
    ):
        if said is not wanted and other is not None:
            raise DefinitionError(
                f"{step.where}: the upgrade of {step.macro} {verb} a {said.__name__} as version {version}, "
                f"which is a {wanted.__name__}: {other.where}"
            )


@dataclass(frozen=True, slots=True)
class Route:
    """How a task of some version is run: the macro that runs it, and the upgrades that its payload takes on the way, in order."""

    macro: Macro[..., Any]
    steps: tuple[AnyUpgrade, ...] = ()

    def read(self, payload: bytes) -> BaseModel:
        """The payload as the macro's input, upgraded if need be.

        Args:
            payload: a JSON object, of the version that the task names.

        Raises:
            MacroFailure: `invalid_payload`: it does not fit that version's input, or an upgrade raised an error or made something else.
        """
        return _upgraded(payload, self.steps) if self.steps else self.macro.read_json(payload)


def route_of(version: int, macros: Mapping[int, Macro[..., Any]], steps: Mapping[int, AnyUpgrade]) -> Route | None:
    """The route of a version: to its own handler, or up to the next version that has one; None if it cannot be read."""
    taken: list[AnyUpgrade] = []
    while version not in macros:
        if version not in steps:
            return None
        taken.append(steps[version])
        version += 1
    return Route(macros[version], tuple(taken))


def _upgraded(payload: bytes, steps: Sequence[AnyUpgrade]) -> BaseModel:
    first = steps[0]
    try:
        value: Any = first.old.model_validate_json(payload, strict=True, extra="forbid")
    except Exception as error:  # noqa: BLE001  # a validator of the model's own may raise anything
        raise MacroFailure(Code.INVALID_PAYLOAD, f"as version {first.to - 1}: {_told(error)}") from None
    for step in steps:
        said = f"the upgrade from version {step.to - 1} to {step.to}"
        try:
            value = step(value)
        except Exception as error:  # whatever it is: this payload cannot be upgraded
            raise MacroFailure(Code.INVALID_PAYLOAD, f"{said}: {_told(error)}") from error
        if not isinstance(value, step.new):
            raise MacroFailure(Code.INVALID_PAYLOAD, f"{said} made a {type(value).__name__}, not a {step.new.__name__}")
    upgraded: BaseModel = value
    return upgraded


def _told(error: Exception) -> str:
    return explain_fields(error) if isinstance(error, ValidationError) else described(error)
