"""Transcripts of conversations with an OpenAI-style API, read as session logs. Pure.

A transcript is a list of messages, or an object with such a list under `messages`. An assistant's message has `tool_calls`; the
answer to each is a message of the role `tool` with its `tool_call_id`. The goal is what the user said last before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from heddle.gate.sessions import Call, Event, Failed, Usage
from heddle.strict_json import parse

NO_TOOL: Final = "Tools"
"""The tool of a function whose name names none."""
_SEPARATOR: Final = re.compile(r"__|[./:]")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_ERROR: Final = re.compile(r"(?:(?P<type>[A-Za-z_][\w.]*(?:Error|Exception|Failed))|[Ee]rror|ERROR)(?:: |\b)(?P<message>.*)", re.DOTALL)
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


@dataclass(slots=True)
class Transcript:
    """What a transcript says.

    Attributes:
        events: in their order, each with the number of the message that it comes from, from 0.
        problems: what could not be read, with the number of its message.
    """

    session: str
    events: list[tuple[int, Event]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Asked:
    """A call that waits for its answer."""

    message: int
    name: str
    arguments: dict[str, Any]
    goal: str | None


def read_transcript(messages: Sequence[Any], session: str, about: Mapping[str, Any] | None = None) -> Transcript:
    """The calls and the usage of a conversation.

    Args:
        messages: as the API takes and gives them.
        session: what to call it.
        about: the object around the messages; its `usage` and `model` count for the whole.
    """
    read = Transcript(session)
    waiting: dict[str, _Asked] = {}
    goal: str | None = None
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(role := message.get("role"), str) or role not in _ROLES:
            read.problems.append((number, "no message: it has no role that is known"))
            continue
        match role:
            case "user":
                goal = text_of(message.get("content")) or goal
            case "assistant":
                waiting.update(_asked(message, number, goal, read))
            case "tool" | "function":
                _answer(message, number, waiting, read)
        if (usage := _usage(message, session)) is not None:
            read.events.append((number, usage))
    for asked in waiting.values():
        read.problems.append((asked.message, f"the call of {asked.name} has no answer"))
    if about and (usage := _usage(about, session)) is not None:
        read.events.append((len(messages) - 1, usage))
    return read


def text_of(content: Any) -> str:
    """A message's text: the content itself, or that of its text parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))


def _asked(message: Mapping[str, Any], number: int, goal: str | None, read: Transcript) -> Iterator[tuple[str, _Asked]]:
    """The calls that an assistant's message asks for."""
    asked = message.get("tool_calls") or []
    calls = asked if isinstance(asked, list) else [asked]
    old = [{"function": message["function_call"]}] if message.get("function_call") else []
    for call in [*calls, *old]:
        match call:
            case {"function": {"name": str(name), **rest}}:
                arguments = _arguments(rest.get("arguments"))
                if arguments is None:
                    read.problems.append((number, f"the arguments of {name} are no JSON object"))
                else:
                    yield str(call.get("id") or f"by name: {name}"), _Asked(number, name, arguments, goal)
            case _:
                read.problems.append((number, "a tool call without a function's name"))


def _arguments(given: Any) -> dict[str, Any] | None:
    if given is None or given == "":
        return {}
    try:
        parsed = parse(given) if isinstance(given, str) else given
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _answer(message: Mapping[str, Any], number: int, waiting: dict[str, _Asked], read: Transcript) -> None:
    """The call that a tool's message answers."""
    asked = waiting.pop(str(message.get("tool_call_id") or f"by name: {message.get('name')}"), None)
    if asked is None:
        read.problems.append((number, "an answer to a call that nobody made"))
        return
    tool, method = tool_and_method(asked.name)
    result = _result(message.get("content"))
    error = _error(result)
    call = Call(
        session=read.session,
        tool=tool,
        method=method,
        at=_time(message),
        arguments=asked.arguments,
        result=None if error else result,
        error=error,
        goal=asked.goal,
    )
    read.events.append((number, call))


def tool_and_method(name: str) -> tuple[str, str]:
    """A function's name as a tool and its method: `Forge__latest`, `forge.latest` and `mcp__forge__latest` name both, `latest` no tool."""
    parts = [part for part in _SEPARATOR.split(name) if part]
    return (parts[-2], parts[-1]) if len(parts) > 1 else (NO_TOOL, name)


def _result(content: Any) -> Any:
    """A tool's answer: the JSON that its text is, or the text."""
    text = text_of(content)
    if text.lstrip()[:1] in {"{", "["} or text.strip() in {"null", "true", "false"}:
        try:
            return parse(text)
        except ValueError:
            return text
    return text


def _error(result: Any) -> Failed | None:
    """The error that a tool's answer is: an object with `error`, or a text that begins with it."""
    match result:
        case {"error": str(told)} if told:
            return Failed("ToolFailed", told)
        case {"error": {"message": str(told), **rest}}:
            kind = rest.get("type") or rest.get("code")
            return Failed(kind if isinstance(kind, str) and _NAME.fullmatch(kind) else "ToolFailed", told)
        case str() if found := _ERROR.match(result):
            return Failed((found["type"] or "ToolFailed").rpartition(".")[2], found["message"].strip())
        case _:
            return None


def _usage(told: Mapping[str, Any], session: str) -> Usage | None:
    match told.get("usage"):
        case {"prompt_tokens": int(prompt), "completion_tokens": int(answer), **rest}:
            cost = rest.get("cost")
            return Usage(
                session=session,
                at=_time(told),
                model=str(told.get("model") or ""),
                prompt_tokens=prompt,
                answer_tokens=answer,
                cost=float(cost) if isinstance(cost, int | float) else 0.0,
            )
        case _:
            return None


def _time(told: Mapping[str, Any]) -> str | None:
    """When, if the message says so: seconds since the epoch, or RFC 3339."""
    for key in ("created_at", "created", "timestamp", "at"):
        match told.get(key):
            case bool():
                continue
            case int(seconds) | float(seconds) if 0 < seconds < 1e11:  # beyond, it counts something else
                return datetime.fromtimestamp(seconds, UTC).isoformat()
            case str(text):
                try:
                    moment = datetime.fromisoformat(text)
                except ValueError:
                    continue
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    return None
