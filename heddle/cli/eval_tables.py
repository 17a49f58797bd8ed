"""What `heddle eval` found, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.markup import escape

from heddle.cli.output import console, counted, print_table
from heddle.evaluation.admission import Verdict
from heddle.evaluation.calibration import Gate, gate, suggested, sureness
from heddle.evaluation.scoring import ALL, Finding, Score, Share, Spread, by_tag
from heddle.llm.model import Facts
from heddle.planning.plan import PHRASES

_WRONG_SHOWN: Final = 20
_GOAL_SHOWN: Final = 70


def print_report(findings: Sequence[Finding], planned_by: str, facts: Facts | None, threshold: float) -> None:
    """Figures by tag, what the checks refused, what it took, how far confidence can be trusted, and the cases that went wrong.

    Args:
        findings: of the cases that were planned; some.
        planned_by: the model's name, or `phrases`.
        facts: what is known of the model; None for phrases.
        threshold: the confidence that was demanded.
    """
    out = console()
    scores = by_tag(findings)
    whole = scores[ALL]
    out.print(f"planned by [bold]{escape(planned_by)}[/]{_facts(facts)}\n")
    print_table(
        ("cases", "", "macros", "arguments", "refused", "tasks found", "sent right", "sent nothing", "sent wrong"),
        [_row(tag, one) for tag, one in scores.items()],
    )
    out.print(
        f"\nthe planner itself refused {whole.falsely_refused.count} of {whole.falsely_refused.of} goals that macros can do, and "
        f"{counted(whole.unreadable.count, 'answer')} could not be read"
    )
    out.print(f"the checks refused {_refused('right plan', whole.right_refused)}; {_refused('wrong plan', whole.wrong_refused)}")
    if whole.shown.of:
        out.print(f"the macros do not all fit the model's context: {_share(whole.shown)} expected tasks had theirs in the prompt")
    if whole.seconds is not None:
        out.print(f"a goal took {_spread(whole.seconds, 's')}")
    if whole.prompt_tokens is not None and whole.answer_tokens is not None:
        out.print(f"tokens of a prompt: {_spread(whole.prompt_tokens)}; of an answer: {_spread(whole.answer_tokens)}")
    if planned_by != PHRASES:
        _print_confidence(findings, threshold)
    _print_wrong(findings)


def _row(tag: str, one: Score) -> tuple[object, ...]:
    shares = (one.macros, one.arguments, one.refused, one.whole_tasks, one.sent_right, one.sent_nothing)
    return (tag, one.cases, *map(_share, shares), one.sent_wrong.count)


def _share(one: Share) -> str:
    return f"{one.count} of {one.of}" if one.of else "-"


def _refused(what: str, by_cause: Mapping[str, int]) -> str:
    causes = ", ".join(f"{cause} {count}" for cause, count in sorted(by_cause.items()))
    return f"{counted(sum(by_cause.values()), what)}{f' ({causes})' if causes else ''}"


def _spread(one: Spread, unit: str = "") -> str:
    digits, blank = (3, " ") if unit else (0, "")
    p50, p90, most = (f"{value:.{digits}f}{blank}{unit}" for value in one)
    return f"median {p50}, p90 {p90}, max {most}"


def _facts(facts: Facts | None) -> str:
    if facts is None:
        return ""
    parameters = "" if facts.parameters is None else f", {facts.parameters / 1e9:.3g} billion parameters"
    return f"{parameters}{'' if facts.bits is None else f', {facts.bits:.3g} bits'}"


def _print_confidence(findings: Sequence[Finding], threshold: float) -> None:
    out = console()
    plans = sureness(findings)
    if not plans:
        if any(one.answered == "calls" for one in findings):
            out.print("the model server gives no log-probabilities: nobody knows how sure the model was, and no threshold applies")
        return
    out.print(f"confidence: {_gate(gate(threshold, plans))}, the threshold in force")
    better = suggested(plans)
    if better is None:
        out.print("too few right or wrong plans to suggest another, or none that would be better")
    else:
        out.print(f"suggested:  {_gate(better)}; to set it: HEDDLE_FALLBACK__THRESHOLD={better.threshold:.3f}")


def _gate(one: Gate) -> str:
    return f"{one.threshold:.3f} keeps {_share(one.kept)} right plans and holds back {_share(one.held)} wrong ones"


def _print_wrong(findings: Sequence[Finding]) -> None:
    wrong = [one for one in findings if not one.good]
    if not wrong:
        return
    console().print()
    print_table(
        ("case", "goal", "what came of it"),
        [(one.attempt.case.name, _short(one.attempt.case.goal), _short(_came(one), 2 * _GOAL_SHOWN)) for one in wrong[:_WRONG_SHOWN]],
    )
    if len(wrong) > _WRONG_SHOWN:
        console().print(f"[dim]and {len(wrong) - _WRONG_SHOWN} more: -o json has all of them[/]")


def _came(one: Finding) -> str:
    plan = one.attempt.plan
    if plan.problem is not None:
        return f"{plan.problem[0].value}: {plan.problem[1]}"
    return "; ".join(f"{call.macro} {call.arguments}" for call in plan.calls)


def _short(text: str, most: int = _GOAL_SHOWN) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def print_verdict(verdict: Verdict, model: str) -> None:
    """Whether a model may plan goals, and what its test came to."""
    out = console()
    out.print(f"[bold]{escape(model)}[/]{_facts(verdict.facts)} is {'[green]admitted[/]' if verdict.admitted else '[red]not admitted[/]'}")
    if (tested := verdict.results) is not None:
        out.print(f"  {_share(tested.examples)} examples became exactly their calls")
        out.print(f"  {_share(tested.nothing_sent)} goals whose macro was taken away ended without a task")
        out.print(f"  {_share(tested.refused)} of these the model itself refused")
        for failure in tested.failures:
            out.print(f"  [dim]{escape(failure)}[/]")
    for warning in verdict.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning)}")
