"""What a macro promises about failure: which errors are tried again, which end the task at once.

Pure: `judge` is told the error and the attempt and answers with a verdict; the worker matches it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heddle.errors import Code


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again up to `times` more, waiting `backoff` seconds before the first, twice that before the second, and so on."""

    times: int
    backoff: float


@dataclass(frozen=True, slots=True)
class Reject:
    """End the task: no retry would mend this."""


Failure = Retry | Reject
reject: Final = Reject()


def retry(times: int = 3, backoff: float = 1.0) -> Retry:
    """Declare that an error may pass and the task be tried again.

    Args:
        times: how often the task is tried again after its first attempt.
        backoff: seconds before the first retry; each further one waits twice as long.

    Raises:
        ValueError: `times` is below 1 or `backoff` below 0.
    """
    if times < 1 or backoff < 0:
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


Verdict = End | Again


def described(error: BaseException) -> str:
    """An error in words, such as "ValueError: no"; its class alone if it has no words of its own, or fails at finding them."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # an error's `__str__` may raise anything too
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def judge(error: BaseException, attempt: int, fails: Mapping[type[BaseException], Failure]) -> Verdict:
    """What follows from an error that a handler raised on attempt number `attempt` (the first is 1).

    The most specific declared class decides. An error that nobody declared is a bug in the macro: no retry.
    """
    declared = next((fails[kind] for kind in type(error).__mro__ if kind in fails), None)
    detail = described(error)
    match declared:
        case Retry(times, backoff) if attempt <= times:
            return Again(backoff * 2 ** (attempt - 1))
        case Retry(times):
            return End(Code.HANDLER_FAILED, f"{detail} (after {attempt} attempts)")
        case _:
            return End(Code.HANDLER_FAILED, detail)
