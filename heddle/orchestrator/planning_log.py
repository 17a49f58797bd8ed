"""What is told of planning: counters as it happens, and every few minutes a line in the log that sums them up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from heddle import events
from heddle.planning.drift import Drift, drift_of
from heddle.planning.plan import Plan
from heddle.telemetry.observer import Observer


@dataclass(slots=True)
class PlanningLog:
    """Plans since the last summary.

    Attributes:
        drift_too: whether argument drift is counted (telemetry.capture_argument_drift).
    """

    observer: Observer
    drift_too: bool
    _ended: Counter[str] = field(default_factory=Counter)
    _fallbacks: Counter[str] = field(default_factory=Counter)
    _drift: Counter[Drift] = field(default_factory=Counter)
    _confidence: list[float] = field(default_factory=list)

    def tell(self, plan: Plan) -> None:
        """Count a plan, whether it can be sent or not."""
        self._ended[plan.problem[0].value if plan.problem else "planned"] += 1
        for usage in plan.usage:
            self.observer.count(events.MODEL_CALLS, usage.model)
        if plan.fallback is not None:
            self._fallbacks[plan.fallback] += 1
            self.observer.count(events.PLANNER_FALLBACKS, plan.fallback)
        if plan.confidence is not None:
            self._confidence.append(plan.confidence)
            self.observer.measure(events.PLAN_CONFIDENCE, plan.confidence)
        if self.drift_too and plan.review is not None:
            for drift, count in drift_of(plan.review).items():
                self._drift[drift] += count
                self.observer.count(events.ARGUMENT_DRIFT, *drift, times=count)

    async def sum_up(self) -> None:
        """Write the summary and begin anew; nothing where nothing was planned."""
        if not self._ended:
            return
        self.observer.see(
            events.PLANNING_SUMMED_UP,
            "goals planned since the last summary",
            plans=dict(self._ended),
            fallbacks=dict(self._fallbacks),
            confidence_median=round(median(self._confidence), 3) if self._confidence else None,
            confidence_least=round(min(self._confidence), 3) if self._confidence else None,
            drift=[{**drift._asdict(), "times": times} for drift, times in sorted(self._drift.items())],
        )
        for kept in (self._ended, self._fallbacks, self._drift, self._confidence):
            kept.clear()
