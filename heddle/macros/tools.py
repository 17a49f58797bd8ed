"""`@provides`: what makes the tools that macros ask for, how long a tool lives, and how it tells that it is well."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, overload

from heddle.errors import DefinitionError
from heddle.macros.macro import Run
from heddle.macros.signatures import Where, hints_of, where_of

Lifetime = Literal["worker", "task"]
"""How long a tool lives: as long as its worker, or as long as one run of a macro."""

Make = Callable[..., AsyncIterator[Any]]


class Healthy(Protocol):
    """What a tool may offer so that its worker can tell whether it is well; it is found by its name, no base class is needed."""

    async def healthy(self) -> None:
        """Return if all is well; it may ask its server, within a few seconds.

        Raises:
            Exception: it is not; the error's words are told.
        """
        ...


class AllTools(Protocol):
    """Whatever the providers make, for a handler that learns only from its task what it needs; a tool like any other.

    A tool that lives as long as its worker is made when it is first asked for.
    """

    def kinds(self) -> Sequence[Any]:
        """The types of all tools but models."""
        ...

    def of_macro(self, name: str) -> Sequence[Any]:
        """The types of the tools of a macro, and of those that it calls; none if there is no such macro."""
        ...

    def made(self, kinds: Collection[Any], run: Run) -> AbstractAsyncContextManager[Mapping[Any, Any]]:
        """Tools by type, for one run; what is made for the run alone is cleaned up after the block.

        Raises:
            DefinitionError: one of them cannot be made.
        """
        ...


@dataclass(frozen=True)
class Provider:
    """Makes a tool and cleans it up after. Made by `@provides`."""

    tool: Any
    make: Make
    needs: Mapping[str, Any]
    where: Where
    per: Lifetime = "worker"

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Call the function as it is."""
        return self.make(*args, **kwargs)


@overload
def provides(make: Make, /) -> Provider: ...
@overload
def provides(*, per: Lifetime = "worker") -> Callable[[Make], Provider]: ...
def provides(make: Make | None = None, /, *, per: Lifetime = "worker") -> Provider | Callable[[Make], Provider]:
    """Make a provider of an async generator function: `async def forge(settings: Settings) -> AsyncIterator[Forge]`.

    What it yields is injected wherever a macro (or another provider) has a parameter of that type; what follows the yield
    is the clean-up.

    Args:
        make: the function, when the decorator is used bare.
        per: "worker": made when the worker starts, cleaned up when it stops; "task": made before each run of a macro that needs
            it, cleaned up after it, however it ends.

    Raises:
        DefinitionError: the function's annotations do not say what it provides or needs.
    """

    def define(function: Make) -> Provider:
        where = where_of(function)
        hints = hints_of(function, where)
        name = getattr(function, "__name__", repr(function))
        returned = hints.pop("return", None)
        if not inspect.isasyncgenfunction(function) or not typing.get_args(returned):
            raise DefinitionError(f"{where}: {name} must be an `async def` with one `yield`, annotated `-> AsyncIterator[Tool]`")
        if per not in typing.get_args(Lifetime):
            raise DefinitionError(f"{where}: {name}: per={per!r} is no lifetime: a tool lives per='worker' or per='task'")
        return Provider(tool=typing.get_args(returned)[0], make=function, needs=MappingProxyType(hints), where=where, per=per)

    return define if make is None else define(make)


def check_lifetimes(providers: Mapping[Any, Provider]) -> None:
    """A tool may need only what lives as long as itself.

    Raises:
        DefinitionError: one that lives as long as its worker needs one that is made for a task; it names both.
    """
    for provider in providers.values():
        for need in provider.needs.values():
            other = providers.get(need)
            if other is not None and other.per == "task" and provider.per == "worker":
                raise DefinitionError(
                    f"{provider.where}: {tool_name(provider.tool)} lives as long as its worker and needs {tool_name(need)}, which is made "
                    f"for each task ({other.where}): make both @provides(per='task'), or neither"
                )


def tool_name(tool: Any) -> str:
    """What a tool is called: its type's name."""
    return getattr(tool, "__name__", repr(tool))


MODEL_PACKAGES: Final = ("heddle.llm", "ollama")
"""Whatever comes from these calls a model."""


def is_model(kind: Any) -> bool:
    """Whether a type is a model, or holds one: it, a base class of it or a type argument of it comes from a package that calls models."""
    bases = kind.__mro__ if isinstance(kind, type) else (kind,)
    modules = (getattr(base, "__module__", "") for base in bases)
    return any(f"{module}.".startswith(f"{package}.") for module in modules for package in MODEL_PACKAGES) or any(
        map(is_model, typing.get_args(kind))
    )


def needed(tools: Iterator[Any], providers: Mapping[Any, Provider]) -> dict[Any, None]:
    """Tools and all that their providers need, directly or not, in the order in which they were met."""
    found: dict[Any, None] = {}
    left = list(tools)
    while left:
        tool = left.pop(0)
        if tool not in found:
            found[tool] = None
            left.extend(providers[tool].needs.values() if tool in providers else ())
    return found
