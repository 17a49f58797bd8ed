"""heddle: one local model call turns a goal into typed tasks; everything after it is deterministic."""

from heddle.errors import HeddleError
from heddle.macros.failures import breaker, fallback, reject, retry
from heddle.macros.macro import Calls, Run, macro
from heddle.macros.marks import person_only
from heddle.macros.tools import provides
from heddle.macros.upgrades import upgrade
from heddle.settings import Settings

__all__ = [
    "Calls",
    "HeddleError",
    "Run",
    "Settings",
    "breaker",
    "fallback",
    "macro",
    "person_only",
    "provides",
    "reject",
    "retry",
    "upgrade",
]
