"""What a macro promises about failure: which errors are tried again, which end the task at once, which hand it over.

Pure: `judge` is told the error and the attempt and answers with a verdict; the worker matches it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heddle.errors import Code
from heddle.messages import sendable


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again up to `times` more, waiting `backoff` seconds before the first, twice that before the second, and so on."""

    times: int
    backoff: float


@dataclass(frozen=True, slots=True)
class Reject:
    """End the task: no retry would mend this."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """Hand the task over to the frontier tier: it goes on there as `novel`."""


Failure = Retry | Reject | Fallback
reject: Final = Reject()
LONGEST_WAIT: Final = 3600.0
"""Seconds that a wait before a retry is at most."""
_MOST_DOUBLED: Final = 64
"""How often a wait is doubled at most: of a macro that tries thousands of times it would be no number any more."""
fallback: Final = Fallback()


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a macro, or whatever it depends on, is left alone for a while.

    Attributes:
        failures: so many failures within `window` seconds open the circuit.
        cool_down: seconds that it stays open; then one task tries.
        name: macros whose breakers have the same name share one circuit; None for one of the macro's own.
    """

    failures: int
    window: float
    cool_down: float
    name: str | None = None


def breaker(failures: int = 5, window: float = 60.0, cool_down: float = 30.0, *, name: str | None = None) -> Breaker:
    """Declare when a macro stops trying.

    Args:
        failures: how many failures within the window open the circuit.
        window: seconds.
        cool_down: seconds until one task may try again.
        name: of the dependency that fails, if macros share it.

    Raises:
        ValueError: `failures` is below 1, or a time is not above 0.
    """
    if failures < 1 or not window > 0 or not cool_down > 0:
        raise ValueError(f"breaker(failures={failures}, window={window}, cool_down={cool_down}): one failure or more, times above 0")
    return Breaker(failures, window, cool_down, name)


def retry(times: int = 3, backoff: float = 1.0) -> Retry:
    """Declare that an error may pass and the task be tried again.

    Args:
        times: how often the task is tried again after its first attempt.
        backoff: seconds before the first retry; each further one waits twice as long, up to an hour. A wait is made longer by up to
            half of it, by chance, and is never shorter than an error's own `retry_after` (seconds).

    Raises:
        ValueError: `times` is below 1 or `backoff` below 0.
    """
    if times < 1 or not backoff >= 0:  # not a number is neither
        raise ValueError(f"retry(times={times}, backoff={backoff}): times must be 1 or more, backoff 0 or more")
    return Retry(times, backoff)


@dataclass(frozen=True, slots=True)
class End:
    """The task ends with this dead-letter code."""

    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Again:
    """The task is tried again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class HandOver:
    """The task goes on as `novel` on the frontier tier."""

    detail: str


Verdict = End | Again | HandOver


def described(error: BaseException) -> str:
    """An error in words, such as "ValueError: no"; its class alone if it has no words of its own, or fails at finding them.

    Half a letter, as names of files may have it, is a question mark: it could be sent nowhere.
    """
    try:
        text = sendable(str(error))
    except Exception:  # noqa: BLE001  # an error's `__str__` may raise anything too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def declared_as(error: BaseException, fails: Mapping[type[BaseException], Failure]) -> Failure | None:
    """What the most specific declared class of an error means; None for an error that nobody declared."""
    return next((fails[kind] for kind in type(error).__mro__ if kind in fails), None)


def judge(error: BaseException, attempt: int, fails: Mapping[type[BaseException], Failure], jitter: float = 0.0) -> Verdict:
    """What follows from an error that a handler raised on attempt number `attempt` (the first is 1).

    The most specific declared class decides. An error that nobody declared is a bug in the macro: no retry.

    Args:
        error: what was raised. If it has a `retry_after`, seconds, no retry comes before that.
        attempt: its number.
        fails: what is declared.
        jitter: 0 to 1: by how much of half its length a wait is made longer, so that tasks that failed together do not come back
            together.
    """
    detail = described(error)
    match declared_as(error, fails):
        case Retry(times, backoff) if attempt <= times:
            asked = getattr(error, "retry_after", None)
            wait = min(backoff * 2.0 ** min(attempt - 1, _MOST_DOUBLED), LONGEST_WAIT) * (1 + jitter / 2)
            return Again(max(wait, asked) if isinstance(asked, int | float) and asked <= LONGEST_WAIT else wait)
        case Retry(times):
            return End(Code.HANDLER_FAILED, f"{detail} (after {attempt} attempts)")
        case Fallback():
            return HandOver(detail)
        case _:
            return End(Code.HANDLER_FAILED, detail)


def jitter_of(task_id: str, attempt: int) -> float:
    """A number from 0 to 1 that differs from task to task and attempt to attempt, and is always the same for one of them."""
    return int.from_bytes(hashlib.sha256(f"{task_id}.{attempt}".encode(errors="replace")).digest()[:4]) / 2**32
