"""`@macro`: an ordinary function with a contract.

The decorator registers nothing: it leaves a value that a test can call and that `loading` collects.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, ParamSpec, Protocol, TypeVar, get_args, overload

from msgspec import Struct
from pydantic import BaseModel, TypeAdapter, ValidationError

from heddle.errors import Code, DefinitionError, MacroFailure
from heddle.macros.failures import Breaker, Failure, described
from heddle.macros.marks import check_marks, person_only_fields, planner_schema
from heddle.macros.schema import Schema, compile_schema
from heddle.macros.signatures import Where, first_line, read_signature, where_of
from heddle.messages import is_name

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
"""What calling a function gives: of an `async def`, something to await."""

Pool = Literal["thread", "process"]
"""Where a handler that is no coroutine function runs."""

Effects = Literal["none", "reversible", "irreversible"]
"""What a run changes: nothing (`none`), something that can be put back, or something that cannot: that one waits for a person's approval."""

DEFAULT_TIMEOUT = 60.0
DEFAULT_TIER = "standard"


class Run(Struct, frozen=True):
    """What a handler may know of the task it works on.

    Attributes:
        task_id: the idempotency key: the same on every attempt and redelivery.
        attempt: 1 for the first.
        deadline: seconds since the epoch; the handler is cancelled then.
        report: tell how far the work is, for logs and for whoever follows the task.
        goal_id: the goal that the task was planned for, if it was.
        used: tell which model was used and what it took, for the task's result; only a frontier worker has a model.
    """

    task_id: str
    attempt: int
    deadline: float
    report: Callable[[str], None] = lambda _: None
    used: Callable[[str, Mapping[str, Any]], None] = lambda *_: None
    goal_id: str | None = None


class Calls(Protocol):
    """How a handler calls other macros: `report = await calls(repo_triage, {"repository": "."})`.

    Only macros that `@macro(calls=[…])` names can be called. The input is validated and so is the output; a called macro gets its
    own tools, and has its own timeout or what is left of the caller's, whichever is less.

    Raises:
        DefinitionError: the macro is not among those that the caller declares.
        MacroFailure: the input or the output breaks the called macro's schema.
        TimeoutError: the called macro had not finished after its own timeout.
        BaseException: whatever the called macro's handler raised, as it was raised.
    """

    @overload
    async def __call__(self, macro: Macro[..., Awaitable[R]], given: BaseModel | Mapping[str, Any], /) -> R: ...
    @overload
    async def __call__(self, macro: Macro[..., R], given: BaseModel | Mapping[str, Any], /) -> R: ...


@dataclass(frozen=True)
class Macro(Generic[P, R_co]):
    """A compiled macro: a handler, its schemas, and what it promises. Made by `@macro`; calling it calls the handler."""

    name: str
    version: int
    intent: str
    handler: Callable[P, R_co]
    input: type[BaseModel]
    output: TypeAdapter[Any]
    schema: Schema
    output_schema: Schema
    tools: Mapping[str, Any]
    run_parameter: str | None
    fails: Mapping[type[BaseException], Failure]
    timeout: float
    tier: str
    examples: tuple[tuple[str, Mapping[str, Any]], ...]
    phrases: tuple[str, ...]
    where: Where
    hidden: frozenset[str] = field(default=frozenset())
    deprecated: str | None = None
    breaker: Breaker | None = None
    pool: Pool | None = None
    calls: tuple[Macro[..., Any], ...] = ()
    calls_parameter: str | None = None
    effects: Effects = "reversible"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the handler as the function it is."""
        return self.handler(*args, **kwargs)

    @cached_property
    def planner_schema(self) -> Schema:
        """The input schema without the fields that are not the planner's to fill, and with text for quantities."""
        return planner_schema(self.schema, self.hidden)

    def read(self, payload: dict[str, Any]) -> BaseModel:
        """The payload as the macro's input model; JSON's own types, nothing coerced, no unknown key.

        Raises:
            MacroFailure: `invalid_payload`, naming every field at fault.
        """
        try:
            written = _TO_JSON(payload)
        except Exception as error:  # noqa: BLE001  # what has no JSON form, or is nested too deep
            raise MacroFailure(Code.INVALID_PAYLOAD, described(error)) from None
        return self.read_json(written)

    def read_json(self, payload: bytes) -> BaseModel:
        """The same of a payload as it stands in a message.

        Raises:
            MacroFailure: `invalid_payload`, naming every field at fault.
        """
        try:
            model: BaseModel = self.input.__pydantic_validator__.validate_json(payload, strict=True, extra="forbid")
        except Exception as error:  # noqa: BLE001  # a validator of the macro's own may raise anything
            raise MacroFailure(Code.INVALID_PAYLOAD, _explain(error)) from None
        return model

    def write(self, output: Any) -> bytes:
        """The handler's output as JSON, checked against its annotation.

        Raises:
            MacroFailure: `handler_failed`: the handler returned something else than it promised.
        """
        try:
            validator = self.output.validator
            written: bytes = self.output.serializer.to_json(validator.validate_python(output, strict=True), warnings=False)
            validator.validate_json(written, **AS_WRITTEN)  # a model may have been changed since it was made
        except Exception as error:  # noqa: BLE001  # a validator or serializer of the macro's own may raise anything
            raise MacroFailure(Code.HANDLER_FAILED, f"the output breaks the macro's own schema: {_explain(error)}") from None
        return written


_TO_JSON = TypeAdapter(dict[str, Any]).dump_json
AS_WRITTEN: Final[Mapping[str, Any]] = {"strict": True, "extra": "ignore", "by_name": True, "by_alias": True}
"""Written are names, not aliases, and computed fields besides."""


def _explain(error: Exception) -> str:
    return explain_fields(error) if isinstance(error, ValidationError) else described(error)


def explain_fields(error: ValidationError) -> str:
    """A validation error in one line: every field at fault and why."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the value'}: {problem['msg']}" for problem in error.errors(include_url=False)[:8]
    )


@overload
def macro(handler: Callable[P, R], /) -> Macro[P, R]: ...
@overload
def macro(
    *,
    name: str | None = None,
    version: int = 1,
    fails: Mapping[type[BaseException], Failure] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    tier: str = DEFAULT_TIER,
    examples: Sequence[tuple[str, Mapping[str, Any]]] = (),
    phrases: Sequence[str] = (),
    deprecated: str | None = None,
    breaker: Breaker | None = None,
    pool: Pool = "thread",
    calls: Sequence[Macro[..., Any]] = (),
    effects: Effects = "reversible",
) -> Callable[[Callable[P, R]], Macro[P, R]]: ...
def macro(
    handler: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    fails: Mapping[type[BaseException], Failure] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    tier: str = DEFAULT_TIER,
    examples: Sequence[tuple[str, Mapping[str, Any]]] = (),
    phrases: Sequence[str] = (),
    deprecated: str | None = None,
    breaker: Breaker | None = None,
    pool: Pool = "thread",
    calls: Sequence[Macro[..., Any]] = (),
    effects: Effects = "reversible",
) -> Macro[P, R] | Callable[[Callable[P, R]], Macro[P, R]]:
    """Make a macro of a function: an `async def`, or an ordinary `def` that runs outside the loop.

    The first parameter is the input, a pydantic model; keyword-only parameters are tools, injected by type, `run` and `calls`; the
    return annotation is the output; the docstring's first line is the intent that the planner reads.

    Args:
        handler: the function, when the decorator is used bare.
        name: the worker type; the function's name if left out.
        version: of the input's shape; a task without `macro_version` takes the newest.
        fails: what each declared error means: `retry(times, backoff)`, `reject` or `fallback`. Any other error is a bug: no retry.
        timeout: seconds a run may take.
        tier: where planned tasks of this macro run.
        examples: goals and the arguments they stand for; the planner learns from them.
        phrases: sentence templates (hassil) for planning without a model; a slot is an input field.
        deprecated: until when this version is served, such as "until 2027-03"; told in the log and in results.
        breaker: `breaker(failures, window, cool_down)`: when to stop trying for a while; tasks then take the fallback untried.
        pool: where a handler that is an ordinary `def` runs: in a thread, or in a process of its own.
        calls: the macros that this one calls, by a parameter of type `Calls`.
        effects: what a run changes: `none` (looks only), `reversible`, or `irreversible` (a planned task of it waits for an approval).

    Raises:
        DefinitionError: the function cannot be a macro; it says why, and where it stands.
    """

    def define(function: Callable[P, R]) -> Macro[P, R]:
        where = where_of(function)
        macro_name = name or function.__name__
        _check_promises(where, macro_name, version, timeout, tier, effects, deprecated)
        _check_failures(where, macro_name, fails or {}, breaker)
        _check_goals(where, macro_name, examples, phrases)
        input_model, output, injected = read_signature(function, where, macro_name)
        pool_of_it = _check_pool(function, where, macro_name, pool, injected)
        _check_calls(where, macro_name, calls, injected)
        schema = compile_schema(input_model, f"{where}: {macro_name}'s input")
        check_marks(schema, f"{where}: {macro_name}'s input")
        return Macro(
            name=macro_name,
            version=version,
            intent=first_line(function),
            handler=function,
            input=input_model,
            schema=schema,
            output_schema=compile_schema(output, f"{where}: {macro_name}'s output", "serialization"),
            output=TypeAdapter(output),
            tools=MappingProxyType({name: kind for name, kind in injected.items() if kind not in {Run, Calls}}),
            run_parameter=_parameter(injected, Run),
            fails=MappingProxyType(dict(fails or {})),
            timeout=timeout,
            tier=tier,
            examples=tuple(examples),
            phrases=tuple(phrases),
            where=where,
            hidden=person_only_fields(input_model),
            deprecated=deprecated,
            breaker=breaker,
            pool=pool_of_it,
            calls=tuple(calls),
            calls_parameter=_parameter(injected, Calls),
            effects=effects,
        )

    return define if handler is None else define(handler)


def _check_promises(where: Where, name: str, version: int, timeout: float, tier: str, effects: str, deprecated: str | None) -> None:
    words = "lower-case letters, digits, - and _, at most 63, and no reserved word"
    if not is_name(name):
        raise DefinitionError(f"{where}: {name!r} cannot be a macro's name: {words}")
    if type(version) is not int:  # neither is True
        raise DefinitionError(f"{where}: {name}: version={version!r} is no whole number")
    if version < 1:
        raise DefinitionError(f"{where}: {name}: version {version} is below 1")
    if type(timeout) not in {int, float}:
        raise DefinitionError(f"{where}: {name}: timeout={timeout!r} is no number of seconds")
    if not timeout > 0:  # not a number is neither
        raise DefinitionError(f"{where}: {name}: a timeout of {timeout} s leaves no time to run")
    if not is_name(tier):
        raise DefinitionError(f"{where}: {name}: {tier!r} cannot be a tier: {words}")
    if effects not in get_args(Effects):
        raise DefinitionError(f"{where}: {name}: effects={effects!r} is none of {', '.join(get_args(Effects))}")
    if deprecated is not None and not isinstance(deprecated, str):
        raise DefinitionError(f'{where}: {name}: deprecated={deprecated!r}: say until when, such as "until 2027-03"')


def _check_failures(where: Where, name: str, fails: Mapping[Any, Any], breaker: Any) -> None:
    """What is looked at when a task has failed, and would then be no help."""
    for error, meaning in fails.items():
        if not (isinstance(error, type) and issubclass(error, BaseException)):
            raise DefinitionError(f"{where}: {name}: fails={{{error!r}: …}} has to name a class of errors, each for itself")
        if not isinstance(meaning, Failure):
            told = f"fails={{{error.__name__}: {meaning!r}}}"
            raise DefinitionError(f"{where}: {name}: {told} has to say retry(times, backoff), reject or fallback")
    if not isinstance(breaker, Breaker | None):
        raise DefinitionError(f"{where}: {name}: breaker={breaker!r} has to say breaker(failures, window, cool_down)")


def _check_goals(where: Where, name: str, examples: Any, phrases: Any) -> None:
    if not isinstance(phrases, list | tuple) or not all(isinstance(phrase, str) for phrase in phrases):
        raise DefinitionError(f"{where}: {name}: phrases={phrases!r} has to be a list of texts")
    if not isinstance(examples, list | tuple) or not all(map(_is_example, examples)):
        raise DefinitionError(f'{where}: {name}: examples has to be a list of pairs, a goal and its arguments: [("say hello", {{…}})]')


def _is_example(example: Any) -> bool:
    match example:
        case (str(), arguments) if isinstance(arguments, Mapping):
            return True
        case _:
            return False


def _check_pool(function: Callable[..., Any], where: Where, name: str, pool: Pool, injected: Mapping[str, Any]) -> Pool | None:
    """Where the function runs; None for the loop."""
    if pool not in get_args(Pool):
        raise DefinitionError(f"{where}: {name}: pool={pool!r} is none of {', '.join(get_args(Pool))}")
    if inspect.iscoroutinefunction(inspect.unwrap(function)) != inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{where}: {name} is decorated with something that hides whether it is async: put @macro next to the function"
        )
    if inspect.iscoroutinefunction(function):
        if pool == "process":
            raise DefinitionError(f"{where}: {name} is an `async def`, which runs in the loop: pool='process' is for an ordinary `def`")
        return None
    if pool == "process" and injected:
        told = ", ".join(injected)
        raise DefinitionError(f"{where}: {name} asks for {told}: a process gets the input and nothing else; use pool='thread'")
    if Calls in injected.values():
        raise DefinitionError(f"{where}: {name} must be an `async def`: calls of other macros are awaited")
    return pool


def _check_calls(where: Where, name: str, calls: Sequence[Macro[..., Any]], injected: Mapping[str, Any]) -> None:
    for called in calls:
        if not isinstance(called, Macro):
            raise DefinitionError(f"{where}: {name}: calls=[…] takes macros themselves, not {called!r}; import it at the top")
    if calls and Calls not in injected.values():
        raise DefinitionError(f"{where}: {name} calls {calls[0].name} by a parameter of type Calls: add `*, calls: Calls`")
    if not calls and Calls in injected.values():
        raise DefinitionError(f"{where}: {name} does not say which macros it calls: add @macro(calls=[…])")


def _parameter(injected: Mapping[str, Any], kind: Any) -> str | None:
    return next((name for name, asked in injected.items() if asked is kind), None)


def with_called(macros: Iterable[Macro[..., Any]]) -> list[Macro[..., Any]]:
    """Some macros and all that they call, directly or not, each once.

    A macro names macros that are there already, so no circle can come about.
    """
    found: dict[int, Macro[..., Any]] = {}
    left = list(macros)
    while left:
        one = left.pop(0)
        if id(one) not in found:
            found[id(one)] = one
            left.extend(one.calls)
    return list(found.values())
