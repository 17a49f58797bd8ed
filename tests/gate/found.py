"""What the gate finds, as the scorer takes it, and session logs written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heddle.gate.generalise import generalise
from heddle.gate.mining import mine
from heddle.gate.patterns import Pattern
from heddle.gate.reading import Session, read_logs
from heddle.gate.sessions import Call, Event, SessionLog, encode
from heddle.gate.templates import Given, Result, Template, leaves_of
from tests.gate.corpus import Corpus
from tests.gate.score import Found, Kind, Score, score


def kind_of(template: Template) -> Kind:
    """What sort of thing an argument is."""
    leaves = list(leaves_of(template))
    if any(isinstance(leaf, Result) for leaf in leaves):
        return "flow"
    return "parameter" if any(isinstance(leaf, Given) for leaf in leaves) else "constant"


def found(pattern: Pattern) -> Found:
    """A pattern, for the scorer."""
    arguments = tuple({name: kind_of(template) for name, template in call.arguments.items()} for call in pattern.calls)
    return Found(tuple(call.name for call in pattern.calls), arguments, pattern.support)


def scored(corpus: Corpus) -> Score:
    """How much of a corpus the gate finds."""
    sessions = list(read_logs([("corpus.jsonl", b"\n".join(corpus.lines()))]).sessions.values())
    return score(corpus.workflows, [found(generalise(one, sessions)) for one in mine(sessions, 3)])


def calls(session: str, *made: tuple[str, dict[str, Any], Any], goal: str | None = None, **about: Any) -> list[Call]:
    """The events of a session, from calls such as `("Forge.latest", {"count": 3}, [...])`; a result that is an error is raised."""
    log = SessionLog(session, goal=goal, **about)
    events = []
    for at, (name, arguments, result) in enumerate(made):
        tool, _, method = name.partition(".")
        if isinstance(result, Exception):
            events.append(log.failed(tool, method, arguments, result, 1_770_000_000 + at))
        else:
            events.append(log.called(tool, method, arguments, result, 1_770_000_000 + at))
    return events


def lines(events: Sequence[Event]) -> bytes:
    """Events as a JSONL file."""
    return b"".join(encode(event) + b"\n" for event in events)


def sessions_of(*of_sessions: Sequence[Event]) -> list[Session]:
    """Sessions as they are read."""
    return list(read_logs([("log.jsonl", b"".join(map(lines, of_sessions)))]).sessions.values())
