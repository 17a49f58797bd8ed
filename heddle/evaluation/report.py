"""What an evaluation tells, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from heddle.evaluation.calibration import Gate, bins, gate, suggested, sureness
from heddle.evaluation.scoring import Finding, Score, Share, Spread, by_tag
from heddle.llm.model import Facts
from heddle.planning.plan import PlannedCall


def report(findings: Sequence[Finding], planned_by: str, facts: Facts | None, threshold: float) -> dict[str, Any]:
    """Everything about some findings.

    Args:
        findings: of the cases that were planned.
        planned_by: the model's name, or `phrases`.
        facts: what is known of the model; None for phrases.
        threshold: the confidence that was demanded.
    """
    return {
        "planned_by": planned_by,
        "facts": None if facts is None else {field.name: getattr(facts, field.name) for field in fields(facts)},
        "scores": {tag: _score(score) for tag, score in by_tag(findings).items()},
        "confidence": _confidence(findings, threshold),
        "cases": [_case(finding) for finding in findings],
    }


def _score(score: Score) -> dict[str, Any]:
    return {field.name: _figure(getattr(score, field.name)) for field in fields(score)}


def _figure(value: Any) -> Any:
    match value:
        case Share(count=count, of=of):
            return {"count": count, "of": of, "rate": value.rate}
        case Spread():
            return value._asdict()
        case Mapping():
            return dict(sorted(value.items()))
        case _:
            return value


def _confidence(findings: Sequence[Finding], threshold: float) -> dict[str, Any] | None:
    """None if no plan has a confidence."""
    plans = sureness(findings)
    if not plans:
        return None
    better = suggested(plans)
    return {
        "now": _gate(gate(threshold, plans)),
        "suggested": None if better is None else _gate(better),
        "bins": [{"low": one.low, "high": one.high, "right": one.plans.count, "plans": one.plans.of} for one in bins(plans)],
    }


def _gate(one: Gate) -> dict[str, Any]:
    return {"threshold": one.threshold, "right_kept": _figure(one.kept), "wrong_held_back": _figure(one.held)}


def _case(finding: Finding) -> dict[str, Any]:
    case, plan = finding.attempt.case, finding.attempt.plan
    return {
        "case": case.name,
        "goal": case.goal,
        "tags": list(case.tags),
        "good": finding.good,
        "answered": finding.answered,
        "macros_right": finding.macros_right,
        "right": finding.right,
        "sent": finding.sent,
        "cause": finding.cause,
        "stated": _calls(plan.stated),
        "calls": _calls(plan.calls),
        "problem": None if plan.problem is None else f"{plan.problem[0].value}: {plan.problem[1]}",
        "answer": plan.answer,
        "confidence": plan.confidence,
        "seconds": finding.attempt.seconds,
        "usage": [asdict(usage) for usage in plan.usage],
    }


def _calls(calls: Sequence[PlannedCall]) -> list[dict[str, Any]]:
    return [{"macro": call.macro, "arguments": call.arguments} for call in calls]
