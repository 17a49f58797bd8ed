"""What stands in for a tool: one that answers as a fixture says, and one that passes on to the real tool and writes down.

Both know a tool by its type alone: its methods, what they take, and what they promise to return.
"""

from __future__ import annotations

import inspect
import os
import sys
import typing
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from heddle.errors import DefinitionError
from heddle.macros.differences import NOTHING, Difference, difference
from heddle.macros.failures import described
from heddle.macros.fixtures import Answer, Fixture, Script
from heddle.macros.loading import AnyMacro
from heddle.macros.macro import explain_fields, with_called
from heddle.macros.tools import tool_name
from heddle.settings import Settings


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a tool, as its type declares it; what its signature returns is what comes when that is awaited."""

    name: str
    signature: inspect.Signature
    promised: TypeAdapter[Any]
    is_async: bool

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A call's arguments as JSON, by the parameters' names; those without a JSON form are left out.

        Raises:
            TypeError: the method cannot be called so.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        told = {name: _as_json(value) for name, value in bound.arguments.items()}
        return {name: value for name, value in told.items() if value is not _NO_JSON}

    def read(self, answer: Any) -> Any:
        """An answer, given as JSON or as it is, as the type that the method promises.

        Raises:
            DefinitionError: it is something else.
        """
        try:
            return self.promised.validate_python(answer)
        except ValidationError as error:
            raise DefinitionError(f"{self.name} answers something else than it promises: {explain_fields(error)}") from None

    def write(self, answer: Any) -> Any:
        """An answer as JSON values.

        Raises:
            DefinitionError: it has no JSON form, or is something else than the method promises.
        """
        try:
            return self.promised.dump_python(answer, mode="json", by_alias=True, warnings="error")
        except (PydanticSerializationError, ValueError) as error:
            raise DefinitionError(f"what {self.name} answered cannot be written as JSON: {described(error)}") from None


def method_of(tool: Any, name: str) -> Method:
    """A tool's method by its name.

    Raises:
        DefinitionError: the tool's type has no such method, or one whose answers no fixture can hold.
    """
    called = f"{tool_name(tool)}.{name}"
    function = getattr(tool, name, None)
    if name.startswith("__") or not callable(function):
        raise DefinitionError(f"{tool_name(tool)} has no method {name!r}; it has {', '.join(methods_of(tool)) or 'none'}")
    try:
        hints = typing.get_type_hints(function)
        signature = inspect.signature(function)
    except (AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise DefinitionError(f"{called}: its annotations cannot be read: {error}") from None
    if "return" not in hints:
        raise DefinitionError(f"{called} does not say what it returns: annotate it, so that its answers can be kept")
    promised, is_async = hints["return"], inspect.iscoroutinefunction(function)
    origin = typing.get_origin(promised) or promised
    if isinstance(origin, type) and issubclass(origin, AsyncIterable | Iterator):
        raise DefinitionError(f"{called} returns an iterator, which no fixture can hold: let it return a list")
    if isinstance(origin, type) and issubclass(origin, Awaitable):  # an ordinary `def` that returns what is to be awaited
        promised, is_async = (typing.get_args(promised) or (Any,))[-1], True
    if inspect.isfunction(inspect.getattr_static(typing.get_origin(tool) or tool, name)):  # it takes the tool itself first
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    try:
        return Method(called, signature.replace(return_annotation=promised), TypeAdapter(promised), is_async)
    except (PydanticSchemaGenerationError, PydanticUserError):
        raise DefinitionError(f"{called} returns {promised!r}, which has no JSON form: let it return a model, or plain values") from None


def methods_of(tool: Any) -> list[str]:
    """The names of a tool's public methods."""
    return [name for name in dir(tool) if not name.startswith("_") and callable(getattr(tool, name))]


class _NoJson:
    pass


_NO_JSON: Final = _NoJson()


def _as_json(value: Any) -> Any:
    try:
        told = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, RecursionError):
        return _NO_JSON
    return sorted(told, key=to_json) if isinstance(value, set | frozenset) else told


class StandIn:
    """An object with a tool's methods, each made by its name when it is asked for."""

    def __init__(self, method: Callable[[str], Callable[..., Any]]) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._method(name)


def called_as(method: Method, answer: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> Callable[..., Any]:
    """A function that is called, and awaited, as the method is."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return answer(args, kwargs)

    async def call_and_wait(*args: Any, **kwargs: Any) -> Any:
        return answer(args, kwargs)

    return call_and_wait if method.is_async else call


class Played:
    """A fixture's tools for one run: they answer what it says, in the types that the real ones promise.

    Attributes:
        tools: by type; the settings are not among them.
    """

    def __init__(self, macro: AnyMacro, fixture: Fixture) -> None:
        """Make them.

        Raises:
            DefinitionError: the fixture scripts a tool or method that the macro's tools do not have.
        """
        self._macro, self._fixture = macro, fixture
        self._wrong: list[str] = []
        self._left = {
            (tool, name): list(range(len(script.answers)))
            for tool, methods in fixture.tools.items()
            for name, script in methods.items()
            if script.each
        }
        by_name = tools_by_name(macro)
        for name, methods in fixture.tools.items():
            if name not in by_name:
                place = fixture.place("tools", name)
                raise DefinitionError(f"{place}: {macro.name} has no tool {name}; it has {', '.join(by_name) or 'none'}")
            for method in methods:
                self._known(by_name[name], method)
        self.tools = {tool: StandIn(partial(self._play, tool)) for tool in by_name.values()}

    def wrong(self) -> str | None:
        """What was wrong with the calls that the macro made, or did not make; None if nothing."""
        if self._wrong:
            return self._wrong[0]
        for (tool, name), left in self._left.items():
            if left:
                place = self._fixture.place("tools", tool, name, "calls", left[0])
                return f"{place}: {self._macro.name} did not make call {left[0] + 1} of {tool}.{name}"
        return None

    def _play(self, tool: Any, name: str) -> Callable[..., Any]:
        """A method that answers."""
        with self._kept():
            script = self._fixture.tools.get(tool_name(tool), {}).get(name)
            method = self._known(tool, name)
            if script is None:
                place = self._fixture.place("tools")
                raise DefinitionError(f"{place}: {self._macro.name} calls {method.name}, which is not scripted there")

        def answer(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            arguments = method.arguments(args, kwargs)
            with self._kept():
                return self._answer(tool, name, method, script, arguments)

        return called_as(method, answer)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep what is wrong with a call: the macro may catch the error."""
        try:
            yield
        except DefinitionError as error:
            self._wrong.append(str(error))
            raise

    def _known(self, tool: Any, name: str) -> Method:
        try:
            return method_of(tool, name)
        except DefinitionError as error:
            raise DefinitionError(f"{self._fixture.place('tools', tool_name(tool), name)}: {error}") from None

    def _answer(self, tool: Any, name: str, method: Method, script: Script, arguments: Mapping[str, Any]) -> Any:
        at = self._next(tool, name, method, script, arguments) if script.each else 0
        said = script.answers[at]
        if said.raises is not None:
            raise self._error(said, tool)
        try:
            given = method.read(said.answer)
        except DefinitionError as error:
            way = ("calls", at, "answer") if script.each else ()
            raise DefinitionError(f"{self._fixture.place('tools', tool_name(tool), name, *way)}: {error}") from None
        return self._fixture.path.parent / given if isinstance(given, Path) else given  # an absolute path stays

    def _next(self, tool: Any, name: str, method: Method, script: Script, arguments: Mapping[str, Any]) -> int:
        """The first call not made yet that these arguments fit: calls made at once may come in any order."""
        left = self._left[tool_name(tool), name]
        way = ("tools", tool_name(tool), name, "calls")
        if not left:
            raise DefinitionError(f"{self._fixture.place(*way)}: {self._macro.name} calls {method.name} more often than is scripted there")
        unlike = {at: _unlike(script.answers[at], arguments) for at in left}
        fits = next((at for at, differs in unlike.items() if differs is None), None)
        if fits is None:
            first = unlike[left[0]]
            assert first is not None  # noqa: S101  # for the type checker: else it would fit
            place = self._fixture.place(*way, left[0], *first.way)
            raise DefinitionError(f"{place}: {self._macro.name} calls {method.name} otherwise: {first.told('scripted', 'called')}")
        left.remove(fits)
        return fits

    def _error(self, said: Answer, tool: Any) -> BaseException:
        kind = error_called(str(said.raises), self._macro, tool)
        place = self._fixture.place("tools", tool_name(tool))
        if kind is None:
            raise DefinitionError(
                f"{place}: no error is called {said.raises!r} in {self._macro.name} or its tools; of another module write MODULE.NAME"
            )
        try:
            return kind(said.message)
        except TypeError as error:
            raise DefinitionError(f"{place}: {said.raises} cannot be made of a message alone: {error}; give its others a default") from None


def _unlike(answer: Answer, arguments: Mapping[str, Any]) -> Difference | None:
    """How a call's arguments are not those that an answer is for."""
    found = (difference(value, arguments.get(name, NOTHING), ("given", name)) for name, value in answer.given.items())
    return next((differs for differs in found if differs), None)


class Recording:
    """A macro's real tools for one run, and what they answered.

    Attributes:
        tools: by type; the settings are not among them.
        trouble: why what was said cannot be kept, in the order of the calls.
    """

    def __init__(self, macro: AnyMacro, real: Mapping[Any, Any], folder: Path) -> None:
        """Stand between a macro and its tools.

        Args:
            macro: which.
            real: its tools, by type.
            folder: where the fixture is to be; a path that a tool answers is kept as it is seen from there.
        """
        self._macro, self._folder = macro, folder
        self._calls: list[tuple[str, str, Answer | None]] = []
        self.trouble: list[str] = []
        self.tools = {tool: StandIn(partial(self._listen, tool, real[tool])) for tool in tools_by_name(macro).values()}

    def answers(self) -> dict[str, dict[str, list[Answer]]]:
        """What each call answered, by tool and method, in the order in which the calls were made."""
        told: dict[str, dict[str, list[Answer]]] = {}
        for tool, name, answer in self._calls:
            if answer is not None:
                told.setdefault(tool, {}).setdefault(name, []).append(answer)
        return told

    def _listen(self, tool: Any, real: Any, name: str) -> Callable[..., Any]:
        try:
            method = method_of(tool, name)
        except DefinitionError as error:
            self.trouble.append(str(error))
            raise
        function = getattr(real, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._call(tool, name, method, args, kwargs) as returned:
                returned.append(function(*args, **kwargs))
            return returned[0]

        async def call_and_wait(*args: Any, **kwargs: Any) -> Any:
            with self._call(tool, name, method, args, kwargs) as returned:
                returned.append(await function(*args, **kwargs))
            return returned[0]

        return call_and_wait if method.is_async else call

    @contextmanager
    def _call(self, tool: Any, name: str, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[list[Any]]:
        """One call: its place is taken when it begins, and its answer written when it ends, before the macro can change it."""
        told, given, at = tool_name(tool), method.arguments(args, kwargs), len(self._calls)
        self._calls.append((told, name, None))
        returned: list[Any] = []
        try:
            yield returned
        except Exception as error:
            self._calls[at] = (told, name, Answer(given=given, raises=self._name_of(error, tool), message=str(error)))
            raise
        try:
            self._calls[at] = (told, name, Answer(given=given, answer=self._written(method, returned[0])))
        except DefinitionError as error:
            self.trouble.append(str(error))

    def _written(self, method: Method, answer: Any) -> Any:
        if isinstance(answer, Path):
            return os.path.relpath(answer, self._folder) if answer.is_absolute() else str(answer)
        return method.write(answer)

    def _name_of(self, error: Exception, tool: Any) -> str:
        kind = type(error)
        return kind.__name__ if error_called(kind.__name__, self._macro, tool) is kind else f"{kind.__module__}.{kind.__qualname__}"


def tools_by_name(macro: AnyMacro) -> dict[str, Any]:
    """The tools of a macro, and of those that it calls, by their types' names; without the settings, which are real everywhere."""
    return {tool_name(tool): tool for one in with_called([macro]) for tool in one.tools.values() if tool is not Settings}


def error_called(name: str, macro: AnyMacro, tool: Any) -> type[BaseException] | None:
    """An error by its class's name; or MODULE.NAME.

    Without a module it is one that the macro, or one that it calls, declares, or of the modules of its tool or theirs, or Python's.
    """
    module, _, last = name.rpartition(".")
    macros = with_called([macro])
    places = [module] if module else [getattr(tool, "__module__", ""), *(one.handler.__module__ for one in macros), "builtins"]
    declared = (error for one in macros for error in one.fails if error.__name__ == name)
    found = next(declared, None) or next((kind for place in places if (kind := getattr(sys.modules.get(place), last, None))), None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
