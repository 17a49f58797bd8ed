"""The tools of macros as functions that a model can call: a method each, its arguments checked, its answer as JSON."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import to_json

from heddle.errors import DefinitionError
from heddle.macros.failures import described
from heddle.macros.macro import explain_fields
from heddle.macros.schema import compile_schema
from heddle.macros.standins import Method, method_of, methods_of
from heddle.macros.tools import tool_name
from heddle.messages import sendable
from heddle.strict_json import parse

MOST_SHOWN: Final = 16_000
"""Characters of a result that the model is shown."""


@dataclass(frozen=True, slots=True)
class ToolFunction:
    """A method of a tool that a model may call.

    Attributes:
        name: `<tool>_<method>`, as the model calls it.
        tool, method: the same apart, as the session log has them: `Forge`, `latest`.
        description: its docstring.
        parameters: a JSON Schema of its arguments.
    """

    name: str
    tool: str
    method: str
    description: str
    parameters: dict[str, Any]
    arguments: type[BaseModel]
    call: Callable[..., Any]
    kept: Method

    def as_openai(self) -> dict[str, Any]:
        """As the OpenAI API wants it under `tools`."""
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": self.parameters}}


class Misfit(Exception):
    """The arguments of a call do not fit."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a call of a tool came to: its answer as JSON values, or what was raised."""

    value: Any = None
    raised: Exception | None = None

    @property
    def error(self) -> str | None:
        """What was raised, in words."""
        return None if self.raised is None else described(self.raised)

    @property
    def shown(self) -> str:
        """The text that the model is shown."""
        text = json.dumps({"error": self.error} if self.error is not None else self.value, ensure_ascii=False, default=str)
        return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} … ({len(text):,} characters; ask for less)"


def named(kind: Any) -> str:
    """What settings call a tool: its type's name, in lower case."""
    return tool_name(kind).casefold()


def toolbox_of(tools: Mapping[Any, Any], allowed: Collection[str]) -> dict[str, ToolFunction]:
    """The functions of some tools, by name.

    Args:
        tools: instances by type.
        allowed: `forge` for all methods of `Forge`, `forge.latest` for one; case does not count.

    Raises:
        DefinitionError: something allowed is not there; it names what is.
    """
    found: dict[str, ToolFunction] = {}
    left = {word.casefold() for word in allowed}
    for kind, instance in tools.items():
        whole = named(kind)
        for method in methods_of(kind):
            if method == "healthy":  # the worker's question, not the model's
                continue
            one = f"{whole}.{method}".casefold()
            if whole in left or one in left:
                function = _function(kind, method, instance)
                found[function.name] = function
        left -= {whole, *(f"{whole}.{method}".casefold() for method in methods_of(kind))}
    if left:
        there = ", ".join(sorted(map(named, tools))) or "none"
        raise DefinitionError(f"novel: there is no tool {', '.join(sorted(left))}; there are: {there}")
    return found


def _function(kind: Any, name: str, instance: Any) -> ToolFunction:
    method = method_of(kind, name)
    called = f"{tool_name(kind)}.{name}"
    hints = typing.get_type_hints(getattr(kind, name), include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in method.signature.parameters.values():
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            raise DefinitionError(f"{called} takes *{parameter.name}, which no model can be told of: name its parameters")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    try:
        arguments = create_model(f"{tool_name(kind)}_{name}", __config__=ConfigDict(extra="forbid"), **fields)
        schema = compile_schema(arguments, called)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise DefinitionError(f"{called} cannot be described to a model: {described(error)}") from None
    parameters = {key: value for key, value in schema.items() if key not in {"$schema", "title"}}
    description = inspect.getdoc(getattr(kind, name)) or ""
    return ToolFunction(
        f"{tool_name(kind).lower()}_{name}", tool_name(kind), name, description, parameters, arguments, getattr(instance, name), method
    )


async def use(function: ToolFunction, given: str) -> tuple[dict[str, Any], Result]:
    """Call a tool as the model asks: the arguments as JSON values, and what came of it. An error of the tool is the model's to read."""
    try:
        arguments = function.arguments.model_validate_json(given or "{}")
    except ValidationError as error:
        return _raw(given), Result(raised=Misfit(explain_fields(error)))
    told = arguments.model_dump(mode="json")
    try:
        answer = function.call(**{name: getattr(arguments, name) for name in type(arguments).model_fields})
        if isinstance(answer, Awaitable):
            answer = await answer
        value = function.kept.write(answer)
        to_json(value)  # a text with half a letter, as names of files may have it, has no JSON form
        return told, Result(value)
    except Exception as error:  # noqa: BLE001  # whatever a tool raises, the model may try something else
        return told, Result(raised=error)


def _raw(given: str) -> dict[str, Any]:
    """Arguments that fit nothing, for the log."""
    try:
        parsed = parse(given)
    except ValueError:
        parsed = sendable(given)
    return parsed if isinstance(parsed, dict) else {"": parsed}
