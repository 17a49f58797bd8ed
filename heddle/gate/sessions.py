"""Session logs: what a model with tools did outside macros, one line for each event.

An event is a call of a tool, or the use of a model. It is one JSON object, in a JSONL file or as a message on
`heddle.sessions.<session>`. Whoever keeps a log makes a `SessionLog`, and writes `encode(event)` of what its methods return.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from pydantic_core import to_json, to_jsonable_python

from heddle.macros.failures import described
from heddle.messages import format_time, parse_time
from heddle.strict_json import refuse_deep

KEPT_BYTES: Final = 16 * 1024
"""Of a call's arguments, and of its result, so much JSON is kept whole; of longer ones the beginnings."""
_CUTS: Final = ((2000, 40), (200, 10), (40, 3))
"""Letters of a text and items of a list or object that are left, of what is too long; the first that makes it short enough."""


class Failed(msgspec.Struct, frozen=True):
    """How a call failed: the error's class, such as `ForgeBusy`, and its words."""

    type: str
    message: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="call"):
    """A call of a tool.

    Attributes:
        session: what the calls of one conversation have in common.
        tool: the tool, by the name of its type; with `method` what a fixture calls it.
        at: when it ended, RFC 3339 with an offset; None where nobody noted it.
        arguments: by the parameters' names, as JSON.
        result: as JSON; None also of a call that failed.
        cut: whether `arguments` or `result` are only beginnings.
        digest: the first 16 hex digits of the SHA-256 of the whole result's JSON.
        error: how it failed, if it did.
        goal: what the conversation was for, in a person's words.
        goal_id: the goal's id.
        novel: the category of novel goals that it came under.
        fallback: the macro that gave up and handed over to it.
    """

    session: str
    tool: str
    method: str
    at: str | None = None
    arguments: dict[str, Any] = {}
    result: Any = None
    cut: bool = False
    digest: str | None = None
    error: Failed | None = None
    goal: str | None = None
    goal_id: str | None = None
    novel: str | None = None
    fallback: str | None = None

    @property
    def name(self) -> str:
        """What is called, such as `Forge.latest`."""
        return f"{self.tool}.{self.method}"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="usage"):
    """One answer of a model; `cost` is in dollars."""

    session: str
    at: str | None = None
    model: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: float = 0.0


Event = Call | Usage

_decoder: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Call | Usage)


def encode(event: Event) -> bytes:
    """An event as one line of JSON, without the line's end."""
    return msgspec.json.encode(event)


def decode(line: bytes | str) -> Event:
    """An event from its line.

    Raises:
        ValueError: it is no event; it says why.
    """
    body = line.encode() if isinstance(line, str) else line
    refuse_deep(body)
    event = _decoder.decode(body)
    if event.at is not None:
        parse_time(event.at)
    return event


@dataclass(frozen=True, slots=True)
class SessionLog:
    """Makes the events of one session.

    Attributes:
        session: its name; what makes it unique is up to whoever keeps the log.
        goal: what it is for, in a person's words.
        goal_id: the goal's id.
        novel: the category of novel goals that it comes under.
        fallback: the macro that gave up and handed over to it.
    """

    session: str
    goal: str | None = None
    goal_id: str | None = None
    novel: str | None = None
    fallback: str | None = None

    def called(self, tool: str, method: str, arguments: Mapping[str, Any], result: Any, now: float) -> Call:
        """A call that gave a result; both are kept as JSON, and only their beginnings where they are too long.

        Raises:
            ValueError: the arguments or the result have no JSON form.
        """
        given, given_cut = _kept(dict(arguments))
        gave, gave_cut = _kept(result)
        digest = hashlib.sha256(to_json(result)).hexdigest()[:16]
        return self._call(tool, method, given, now, result=gave, cut=given_cut or gave_cut, digest=digest)

    def failed(self, tool: str, method: str, arguments: Mapping[str, Any], error: BaseException, now: float) -> Call:
        """A call that ended in an error.

        Raises:
            ValueError: the arguments have no JSON form.
        """
        given, cut = _kept(dict(arguments))
        name = type(error).__name__
        told = Failed(name, described(error).removeprefix(name).removeprefix(": "))
        return self._call(tool, method, given, now, cut=cut, error=told)

    def used(self, model: str, prompt_tokens: int, answer_tokens: int, cost: float, now: float) -> Usage:
        """An answer of the model that makes the calls; `cost` in dollars."""
        return Usage(
            session=self.session,
            at=format_time(now),
            model=model,
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            cost=cost,
        )

    def _call(self, tool: str, method: str, arguments: dict[str, Any], now: float, **more: Any) -> Call:
        return Call(
            session=self.session,
            tool=tool,
            method=method,
            at=format_time(now),
            arguments=arguments,
            goal=self.goal,
            goal_id=self.goal_id,
            novel=self.novel,
            fallback=self.fallback,
            **more,
        )


def _kept(value: Any) -> tuple[Any, bool]:
    """A value as JSON, and whether only its beginnings are left."""
    plain = to_jsonable_python(value)
    if len(to_json(plain)) <= KEPT_BYTES:
        return plain, False
    for letters, items in _CUTS:
        cut = _beginning(plain, letters, items)
        if len(to_json(cut)) <= KEPT_BYTES:
            return cut, True
    return ({} if isinstance(plain, dict) else None), True


def _beginning(value: Any, letters: int, items: int) -> Any:
    match value:
        case str():
            return value[:letters]
        case list():
            return [_beginning(item, letters, items) for item in value[:items]]
        case dict():
            return {key: _beginning(item, letters, items) for key, item in list(value.items())[:items]}
        case _:
            return value
