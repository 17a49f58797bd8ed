"""How sequences failed: the errors that their calls ended in, and whether it helped to make a call again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from heddle.gate.mining import Mined, Run
from heddle.gate.patterns import Failure, PatternCall
from heddle.gate.reading import Session


def failed_calls(sessions: Sequence[Session]) -> list[tuple[int, int]]:
    """The calls that failed: of each the number of its session, and its own there."""
    return [(number, at) for number, session in enumerate(sessions) for at, call in enumerate(session.calls) if call.error is not None]


def failures_of(
    calls: tuple[PatternCall, ...], mined: Mined, sessions: Sequence[Session], failed: Sequence[tuple[int, int]]
) -> Iterator[Failure]:
    """The errors that calls of a pattern ended in: those that were made again, and those that ended a session."""
    names = [call.name for call in calls]
    made_again: Counter[tuple[int, str]] = Counter()
    ended: dict[tuple[int, str], list[Run]] = {}
    of_session: dict[int, list[Run]] = {}
    for run in mined.runs:
        of_session.setdefault(run.session, []).append(run)
    for number, at in failed:
        session = sessions[number]
        call = session.calls[at]
        if call.error is None or call.name not in names:
            continue
        key = (names.index(call.name), call.error.type)
        if any(_same_again(session, at, run) for run in of_session.get(number, ())):
            made_again[key] += 1
        elif at == len(session.calls) - 1 and (before := _before(session, at, names[: key[0]])) is not None:
            ended.setdefault(key, []).append(Run(number, (*before, at)))
    for key in sorted({*made_again, *ended}):
        runs = tuple(ended.get(key, ()))
        yield Failure(key[0], key[1], made_again[key] + len(runs), made_again[key], runs)


def _same_again(session: Session, at: int, run: Run) -> bool:
    """Is a failed call made again as one of a run?"""
    failed = session.calls[at]
    return any(
        later > at and session.calls[later].name == failed.name and session.calls[later].arguments == failed.arguments
        for later in run.calls
    )


def _before(session: Session, at: int, names: Sequence[str]) -> tuple[int, ...] | None:
    """The calls of these names that came last before a place; None if one is not there."""
    found: list[int] = []
    end = at
    for name in reversed(names):
        place = next((one for one in range(end - 1, -1, -1) if session.calls[one].name == name and not session.calls[one].error), None)
        if place is None:
            return None
        found.append(place)
        end = place
    return tuple(reversed(found))
