"""Circuit breakers as values: when a macro, or what it depends on, is left alone for a while. No clock inside.

The method is M. Nygard's ("Release It!", 2007): closed while all is well; open after enough failures within a window; after a
cool-down one task tries, and closes the circuit or opens it anew.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from heddle.macros.failures import Breaker


class Circuit(Struct, frozen=True):
    """What is known of one circuit; all times are in seconds since the epoch.

    Attributes:
        failed: when the last failures were, the oldest first; none older than the window counts.
        opened: since when it is open; None while it is closed.
        tried: when the last task was let through while it was open; None if none was.
    """

    failed: tuple[float, ...] = ()
    opened: float | None = None
    tried: float | None = None


CLOSED: Final = Circuit()


def admit(circuit: Circuit, breaker: Breaker, now: float) -> Circuit | None:
    """The circuit after one more task is let through; None if none may pass now.

    Of an open circuit one task passes after each cool-down: one that never reports back does not keep it shut for ever.
    """
    if circuit.opened is None:
        return circuit
    last = circuit.opened if circuit.tried is None else circuit.tried
    return Circuit(circuit.failed, circuit.opened, now) if now - last >= breaker.cool_down else None


def after_failure(circuit: Circuit, breaker: Breaker, now: float) -> Circuit:
    """The circuit after a failure: it opens when there were enough within the window, and opens anew if a trial failed."""
    failed = (*(at for at in circuit.failed if now - at < breaker.window), now)[-breaker.failures :]
    if circuit.opened is not None or len(failed) >= breaker.failures:
        return Circuit(failed, now)
    return Circuit(failed)


def after_success(circuit: Circuit) -> Circuit:
    """The circuit after a success: closed. Failures before it still count while they are young, unless it was open."""
    return circuit if circuit.opened is None else CLOSED
