"""What a function says of itself: where it stands, its annotations, and the signature that a macro must have."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from heddle.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Where:
    """Where a definition stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def where_of(function: Callable[..., Any]) -> Where:
    """Where a function stands.

    Raises:
        DefinitionError: it is not a function.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        raise DefinitionError(f"{function!r} is not a function")
    file = Path(code.co_filename)
    return Where(str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file), code.co_firstlineno)


def hints_of(function: Callable[..., Any], where: Where) -> dict[str, Any]:
    """A function's annotations.

    Raises:
        DefinitionError: one of them names what is not there.
    """
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise DefinitionError(f"{where}: {error}; annotations are read when the macro is defined: import the name at the top") from None


def read_signature(function: Callable[..., Any], where: Where, name: str) -> tuple[type[BaseModel], Any, dict[str, Any]]:
    """The input model, the output's annotation, and what is injected: types by parameter."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{where}: {name} yields: a macro is an `async def` or a `def` that returns its output")
    hints = hints_of(function, where)
    parameters = list(inspect.signature(function).parameters.values())
    model = hints.get(parameters[0].name) if parameters else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise DefinitionError(f"{where}: {name}'s first parameter must be annotated with a pydantic model: it is the input")
    if parameters[0].kind not in {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        raise DefinitionError(f"{where}: {name}'s first parameter is the input: it must be an ordinary one, without a * before it")
    if "return" not in hints or hints["return"] is type(None):
        raise DefinitionError(f"{where}: {name} needs a return annotation: it is the output")
    for parameter in parameters[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.name not in hints:
            raise DefinitionError(f"{where}: {name}: {parameter.name!r} must be keyword-only and annotated: tools are injected by type")
    return model, hints["return"], {parameter.name: hints[parameter.name] for parameter in parameters[1:]}


def first_line(function: Callable[..., Any]) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(function) or "").strip().split("\n", 1)[0]
