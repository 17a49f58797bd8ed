"""heddle: one local model call turns a goal into typed tasks; everything after it is deterministic."""

from typing import TYPE_CHECKING, Any

from heddle.errors import HeddleError
from heddle.macros.failures import breaker, fallback, reject, retry
from heddle.macros.macro import Calls, Run, macro
from heddle.macros.marks import person_only
from heddle.macros.tools import provides
from heddle.macros.upgrades import upgrade
from heddle.settings import Settings

if TYPE_CHECKING:
    from heddle.planners import plan


def __getattr__(name: str) -> Any:
    """`plan` is imported when it is asked for: a worker imports this package, and must not have a model in its memory."""
    if name == "plan":
        from heddle.planners import plan as found  # noqa: PLC0415  # see above

        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Calls",
    "HeddleError",
    "Run",
    "Settings",
    "breaker",
    "fallback",
    "macro",
    "person_only",
    "plan",
    "provides",
    "reject",
    "retry",
    "upgrade",
]
