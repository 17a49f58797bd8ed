"""Reads logs of every known format into sessions: session logs, transcripts, goal records. Pure: the bytes come from elsewhere.

What a line is, it says itself: an event of a session log has `kind`, a transcript `messages` (or is one message, with `role`, of the
file's one conversation), a goal record `goal_id` and `tasks`. A file is JSONL, or one JSON value.

A tool, a method or an argument whose name Python code cannot have gets one here: the code that is made of logs holds names of theirs.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from heddle.gate.naming import code_name, type_name, unique
from heddle.gate.sessions import Call, Event, Usage, decode
from heddle.gate.transcripts import Transcript, read_transcript
from heddle.messages import parse_time
from heddle.strict_json import parse

_SESSION_KEYS: Final = ("session", "session_id", "conversation_id", "thread_id", "id")
"""What a transcript may call itself by, the first that is there."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file, or the stream, and a line (of one JSON value: its first); of a list there, which item."""

    file: str
    line: int
    item: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.item is None else f"{self.file}[{self.item}]:{self.line}"


@dataclass(slots=True)
class Session:
    """What was done in one conversation, in its order.

    Attributes:
        places: of the calls.
    """

    name: str
    calls: list[Call] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)

    def ended(self) -> float | None:
        """When its last event was, in seconds since the epoch, as far as the events say when they were."""
        last: list[Event] = [*self.calls[-1:], *self.usage[-1:]]
        times = [parse_time(event.at).timestamp() for event in last if event.at is not None]
        return max(times, default=None)


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task that a goal was planned to; `payload` is None where the record does not keep it."""

    macro: str
    payload: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class PlannedGoal:
    """A goal and what it was planned to, from its record."""

    goal_id: str
    instruction: str
    tasks: tuple[PlannedTask, ...]
    place: Place
    at: float | None = None


@dataclass(slots=True)
class Logs:
    """Everything that was read.

    Attributes:
        unknown: what could not be read, and why.
        untimed: sessions that do not say when they were; a window cannot leave them out.
    """

    sessions: dict[str, Session] = field(default_factory=dict)
    goals: list[PlannedGoal] = field(default_factory=list)
    unknown: list[tuple[Place, str]] = field(default_factory=list)
    untimed: int = 0

    @property
    def events(self) -> int:
        """How many events the sessions have."""
        return sum(len(session.calls) + len(session.usage) for session in self.sessions.values())

    @property
    def unreadable(self) -> bool:
        """Is there something, and none of it could be read?"""
        return bool(self.unknown) and not self.sessions and not self.goals

    def session(self, name: str) -> Session:
        """The session of that name, made if it is new."""
        if name not in self.sessions:
            self.sessions[name] = Session(name)
        return self.sessions[name]


def read_logs(files: Iterable[tuple[str, bytes]]) -> Logs:
    """All that is in some files, each given as its name and its bytes."""
    logs = Logs()
    for name, body in files:
        _read(name, body, logs)
    return logs


def read_lines(lines: Iterable[tuple[Place, bytes]]) -> Logs:
    """All that is in some lines, such as a stream's messages."""
    logs = Logs()
    for place, line in lines:
        _read_line(place, line, logs, [])
    return logs


def within(logs: Logs, since: float) -> Logs:
    """The same, without the sessions and goals that ended before `since`, seconds since the epoch."""
    ends = {name: session.ended() for name, session in logs.sessions.items()}
    kept = {name: session for name, session in logs.sessions.items() if (ended := ends[name]) is None or ended >= since}
    goals = [goal for goal in logs.goals if goal.at is None or goal.at >= since]
    return replace(logs, sessions=kept, goals=goals, untimed=sum(ended is None for ended in ends.values()))


def _read(name: str, body: bytes, logs: Logs) -> None:
    """One file."""
    body = body.removeprefix(BOM_UTF8)
    lines = body.splitlines()
    if lines and not _is_json(lines[0]) and body.lstrip()[:1] in {b"[", b"{"}:
        try:
            whole = parse(body)
        except ValueError as error:
            if not any(map(_is_json, lines[1:])):
                logs.unknown.append((Place(name, 1), f"not JSON: {error}"))
                return
        else:
            _read_value(Place(name, 1), whole, logs)
            return
    messages: list[tuple[Place, Any]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            _read_line(Place(name, number), line, logs, messages)
    if messages:  # the lines are one conversation's messages
        _add_transcript(read_transcript([message for _, message in messages], name), [place for place, _ in messages], logs)


def _is_json(line: bytes) -> bool:
    """Is a line one JSON list or object by itself?"""
    if line.strip()[-1:] not in {b"]", b"}"}:
        return False
    try:
        return isinstance(parse(line), dict | list)
    except ValueError:
        return False


def _read_line(place: Place, line: bytes, logs: Logs, messages: list[tuple[Place, Any]]) -> None:
    """One line; what is a message of a conversation is put there."""
    try:
        event = decode(line)
    except ValueError as error:
        why = str(error)
    else:
        _add(event, place, logs)
        return
    try:
        value = parse(line)
    except ValueError as error:
        logs.unknown.append((place, f"not JSON: {error}"))
        return
    match value:
        case {"kind": "call" | "usage"}:
            logs.unknown.append((place, why))
        case {"role": str()}:
            messages.append((place, value))
        case _:
            _read_value(place, value, logs)


def _read_value(place: Place, value: Any, logs: Logs) -> None:
    """A JSON value that is no event: a transcript, a goal record, or a list of them."""
    match value:
        case {"messages": list(messages)}:
            session = next((str(value[key]) for key in _SESSION_KEYS if value.get(key)), str(place))
            _add_transcript(read_transcript(messages, session, value), [place] * len(messages), logs)
        case [{"role": _}, *_]:
            _add_transcript(read_transcript(value, str(place)), [place] * len(value), logs)
        case {"goal_id": str(), "tasks": list()}:
            logs.goals.append(_planned_goal(place, value))
        case [{}, *_]:
            for number, item in enumerate(value, 1):
                _read_value(replace(place, item=number), item, logs)
        case _:
            logs.unknown.append((place, "no event, no transcript and no goal record"))


def _add_transcript(read: Transcript, places: list[Place], logs: Logs) -> None:
    for number, event in read.events:
        _add(event, places[number], logs)
    logs.unknown += [(places[number], f"message {number + 1}: {why}") for number, why in read.problems]


def _add(event: Event, place: Place, logs: Logs) -> None:
    session = logs.session(event.session)
    if isinstance(event, Usage):
        session.usage.append(event)
    else:
        session.calls.append(_named(event))
        session.places.append(place)


def _named(call: Call) -> Call:
    """A call by names that code can have: the same call where all of its names are such."""
    tool, method = type_name(call.tool), code_name(call.method)
    names = [code_name(name) for name in call.arguments]
    if tool == call.tool and method == call.method and names == [*call.arguments]:
        return call
    arguments: dict[str, Any] = {}
    for name, value in zip(names, call.arguments.values(), strict=True):
        arguments[unique(name, arguments)] = value
    return msgspec.structs.replace(call, tool=tool, method=method, arguments=arguments)


def _planned_goal(place: Place, record: Mapping[str, Any]) -> PlannedGoal:
    moment = record.get("planned")
    return PlannedGoal(
        goal_id=record["goal_id"],
        instruction=str(record.get("instruction") or ""),
        tasks=tuple(_planned_tasks(record["tasks"])),
        place=place,
        at=float(moment) if isinstance(moment, int | float) else None,
    )


def _planned_tasks(tasks: Iterable[Any]) -> Iterator[PlannedTask]:
    for task in tasks:
        match task:
            case {"worker_type": str(macro)}:
                payload = task.get("payload")
                yield PlannedTask(macro, payload if isinstance(payload, dict) else None)
