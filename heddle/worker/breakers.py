"""The circuit breakers of one worker: which tasks may try, and what their ends mean to the next ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from heddle import events
from heddle.errors import Code, FallBack, MacroFailure, TryAgain
from heddle.macros.failures import Reject, declared_as
from heddle.macros.loading import AnyMacro
from heddle.telemetry.observer import Observer
from heddle.worker.circuits import CLOSED, Circuit, admit, after_failure, after_success


@dataclass(slots=True, eq=False)
class Breakers:
    """Circuits by name; macros without a breaker have none."""

    observer: Observer
    _circuits: dict[str, Circuit] = field(default_factory=dict)

    def let_through(self, macro: AnyMacro, attempt: int, now: float) -> None:
        """See whether a task may try; retries of those that tried before may.

        Raises:
            FallBack: the circuit is open.
        """
        if macro.breaker is None:
            return
        name = _circuit(macro)
        admitted = admit(self._circuits.get(name, CLOSED), macro.breaker, now)
        if admitted is not None:
            self._circuits[name] = admitted
        elif attempt == 1:
            raise FallBack(f"circuit {name!r} is open after {macro.breaker.failures} failures within {macro.breaker.window:g} s; not tried")

    def succeeded(self, macro: AnyMacro, now: float) -> None:
        """A task completed."""
        if macro.breaker is not None:
            self._turn(macro, after_success(self._circuits.get(_circuit(macro), CLOSED)), now)

    def failed(self, macro: AnyMacro, verdict: MacroFailure | TryAgain | FallBack, now: float) -> None:
        """Count what the macro's dependency may be to blame for: not a rejected input, and not a circuit that was open anyway."""
        cause = verdict.__cause__
        rejected = cause is not None and isinstance(declared_as(cause, macro.fails), Reject)
        blamed = verdict.code in {Code.HANDLER_FAILED, Code.TIMED_OUT} if isinstance(verdict, MacroFailure) else cause is not None
        if macro.breaker is not None and blamed and not rejected:
            self._turn(macro, after_failure(self._circuits.get(_circuit(macro), CLOSED), macro.breaker, now), now)

    def _turn(self, macro: AnyMacro, circuit: Circuit, now: float) -> None:
        name = _circuit(macro)
        if circuit.opened == now and self._circuits.get(name, CLOSED).opened is None:
            self.observer.see(
                events.CIRCUITS_OPENED, "a circuit opened; new tasks take the fallback untried", circuit=name, macro=macro.name
            )
        self._circuits[name] = circuit


def _circuit(macro: AnyMacro) -> str:
    """The name of a macro's circuit: that of the dependency it shares with others, or its own."""
    return (macro.breaker.name if macro.breaker is not None else None) or macro.name
