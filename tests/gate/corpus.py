"""Session logs made from twenty known workflows, in two shapes, with all that real logs have besides: what a miner has to find again.

`chains`: each call uses the result of the one before; now and then a call that uses nothing stands among them.
`fans`: one call's result is used by several that do not depend on each other, and perhaps a last one puts those together.

The workflows share their tools: one method stands in many of them. In the sessions the workflows follow each other; calls that do not
depend on each other come in any order; calls that have nothing to do with anything come between; calls fail and are made again; one
session of ten is broken (it stops in the middle, or ends with an error); some sessions are nothing but looking around.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from tests.gate.tools import METHODS, NOISE, SORTS, Method, drawn, leaves

Shape = Literal["chains", "fans"]
Path = tuple[str | int, ...]

WORKFLOWS: Final = 20
BROKEN: Final = 0.10
"""Share of the sessions that are broken."""
WANDERING: Final = 0.10
"""Share of the sessions that follow no workflow."""
NOISY: Final = 0.12
"""How often something comes between two calls."""
FLAKY: Final = 0.02
"""How often a call fails and is made again."""
LINKED: Final = 0.15
"""How often a workflow is given something that the one before it in its session came upon."""
_VERBS: Final = ("Handle", "Prepare", "Check", "Update", "Report", "Clean up", "Announce", "Review")
_NOUNS: Final = ("the release", "the incident", "the customer", "the backlog", "the numbers", "the build", "the books", "the rollout")
_START: Final = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Constant:
    """The same in every run."""

    value: Any


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a run is given, by its name in the workflow."""

    name: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A value of an earlier step's result."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Text:
    """A text with values of earlier results in it."""

    parts: tuple[str | Flow, ...]


Argument = Constant | Parameter | Flow | Text


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a workflow."""

    method: Method
    arguments: Mapping[str, Argument]

    def needs(self) -> set[int]:
        """The steps whose results it uses."""
        return {flow.step for argument in self.arguments.values() for flow in flows_of(argument)}


def flows_of(argument: Argument) -> list[Flow]:
    """The results that an argument uses."""
    match argument:
        case Flow():
            return [argument]
        case Text(parts):
            return [part for part in parts if isinstance(part, Flow)]
        case _:
            return []


@dataclass(slots=True)
class Workflow:
    """Steps in their usual order, the sorts of the parameters, and how people ask for it."""

    steps: list[Step] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    goal: str = ""

    @property
    def methods(self) -> tuple[str, ...]:
        """What it calls, in its usual order."""
        return tuple(step.method.name for step in self.steps)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The truth, and the sessions, each a list of events as a session log has them."""

    workflows: tuple[Workflow, ...]
    sessions: tuple[tuple[dict[str, Any], ...], ...]

    def lines(self) -> Iterator[bytes]:
        """The log: the events of all sessions, one after the other."""
        for session in self.sessions:
            for event in session:
                yield json.dumps(event, ensure_ascii=False).encode()


def made(shape: Shape, seed: int, sessions: int = 400, most: int = 3) -> Corpus:
    """A corpus.

    Args:
        shape: of its workflows.
        seed: the same makes the same corpus.
        sessions: how many.
        most: workflows that a session may go through, one or more.
    """
    source = random.Random(f"{shape} {seed}")  # noqa: S311  # nothing here is secret
    workflows = _workflows(shape, source)
    weights = [1 / (1 + rank / 4) for rank in range(len(workflows))]  # some are common, some rare
    return Corpus(tuple(workflows), tuple(_session(workflows, weights, source, number, most) for number in range(sessions)))


# --- workflows


def _workflows(shape: Shape, source: random.Random) -> list[Workflow]:
    found: dict[tuple[str, ...], Workflow] = {}
    while len(found) < WORKFLOWS:
        workflow = _chain(source) if shape == "chains" else _fan(source)
        if workflow is not None:
            verb, noun = source.choice(_VERBS), source.choice(_NOUNS)
            workflow.goal = " ".join([f"{verb} {noun}", *(f"{name} {{{name}}}" for name in workflow.parameters)])
            found.setdefault(tuple(sorted(workflow.methods)), workflow)
    return list(found.values())


def _chain(source: random.Random) -> Workflow | None:
    workflow = Workflow()
    _add(workflow, source.choice(list(METHODS.values())), source, ())
    for _ in range(source.choice((1, 2, 2, 3, 3, 4))):
        last = len(workflow.steps) - 1
        free = source.random() < 0.12
        using = () if free else (last,) if source.random() < 0.8 else tuple(range(len(workflow.steps)))
        method = _following(workflow, using, source)
        if method is None:
            return None
        _add(workflow, method, source, using)
    return workflow


def _fan(source: random.Random) -> Workflow | None:
    workflow = Workflow()
    _add(workflow, source.choice(list(METHODS.values())), source, ())
    for _ in range(source.choice((2, 2, 3, 3, 4))):
        method = _following(workflow, (0,), source)
        if method is None:
            return None
        _add(workflow, method, source, (0,))
    if source.random() < 0.4 and (last := _following(workflow, tuple(range(1, len(workflow.steps))), source)) is not None:
        _add(workflow, last, source, tuple(range(1, len(workflow.steps))))
    return workflow


def _following(workflow: Workflow, using: tuple[int, ...], source: random.Random) -> Method | None:
    """A method that can use something of these steps' results; any, if there are none."""
    used = {step.method.name for step in workflow.steps}
    there = {sort for step in using for _, sort in leaves(workflow.steps[step].method.gives)}
    able = [
        method
        for method in METHODS.values()
        if (not using or there & set(method.takes.values()) or (there and "text" in method.takes.values()))
        and (method.name not in used or source.random() < 0.05)
        and method.takes
    ]
    return source.choice(able) if able else None


def _add(workflow: Workflow, method: Method, source: random.Random, using: tuple[int, ...]) -> None:
    """A step with its arguments: at least one of them uses a result of the steps that it is to use."""
    arguments: dict[str, Argument] = {}
    here = [(step, path, sort) for step in using for path, sort in leaves(workflow.steps[step].method.gives)]
    able = [name for name, sort in method.takes.items() if sort == "text" or any(sort == one for *_, one in here)]
    one_at_least = source.choice(able) if here and able else None
    for name, sort in method.takes.items():
        fitting = [Flow(step, path) for step, path, one in here if one == sort]
        if name == one_at_least or (fitting and source.random() < 0.3):
            arguments[name] = _flow(sort, fitting, here, source)
        else:
            arguments[name] = _given(workflow, name, sort, source)
    workflow.steps.append(Step(method, arguments))


def _flow(sort: str, fitting: list[Flow], here: list[tuple[int, Path, str]], source: random.Random) -> Argument:
    if fitting and (sort != "text" or source.random() < 0.5):
        return source.choice(fitting)
    step, path, _ = source.choice(here)
    before, after = SORTS["text"](source).capitalize(), SORTS["text"](source)
    return Text((f"{before}: ", Flow(step, path), source.choice(("", f", {after}", f" ({after})"))))


def _given(workflow: Workflow, name: str, sort: str, source: random.Random) -> Argument:
    """A parameter, perhaps one that the workflow has already, or a constant."""
    alike = [parameter for parameter, one in workflow.parameters.items() if one == sort and sort not in {"text", "count"}]
    if alike and source.random() < 0.8:
        return Parameter(alike[0])
    if source.random() < 0.4:
        return Constant(SORTS[sort](source))
    parameter = name if name not in workflow.parameters else f"{name}_{len(workflow.parameters)}"
    workflow.parameters[parameter] = sort
    return Parameter(parameter)


# --- sessions


def _session(workflows: list[Workflow], weights: list[float], source: random.Random, number: int, most: int) -> tuple[dict[str, Any], ...]:
    name = f"s{number:05}"
    if source.random() < WANDERING:
        every = [*METHODS.values(), *NOISE.values()]
        around = [_wandering(source.choice(every), source) for _ in range(source.randint(3, 10))]
        return _events(name, "Look around and tell me what is odd", around, source)
    chosen = source.choices(workflows, weights, k=source.randint(1, most))
    calls: list[dict[str, Any]] = []
    goals: list[str] = []
    seen: dict[str, Any] = {}
    for workflow in chosen:
        given = _inputs(workflow, seen, source)
        goals.append(workflow.goal.format(**given))
        run = _run(workflow, given, source)
        for call in run:
            seen.update(_seen(call))
        calls += run
    if source.random() < BROKEN:
        calls = _broken(calls, source)
    return _events(name, "; ".join(goals), _with_noise(calls, source), source)


def _inputs(workflow: Workflow, seen: Mapping[str, Any], source: random.Random) -> dict[str, Any]:
    """What a run is given; now and then something that the session came upon before."""
    linked = source.random() < LINKED
    return {name: seen[sort] if linked and sort in seen else SORTS[sort](source) for name, sort in workflow.parameters.items()}


def _seen(call: dict[str, Any]) -> dict[str, Any]:
    """The first value of each sort in a call's result."""
    there = leaves(METHODS[call["name"]].gives)
    return {sort: at(call["result"], path) for path, sort in reversed(there)}


def at(result: Any, path: Path) -> Any:
    """What stands at a path of a result."""
    for step in path:
        result = result[step]
    return result


def _run(workflow: Workflow, given: Mapping[str, Any], source: random.Random) -> list[dict[str, Any]]:
    """The calls of one run, in one of the orders that they can have."""
    results: dict[int, Any] = {}
    calls = []
    for number in _order(workflow, source):
        step = workflow.steps[number]
        arguments = {name: _value(argument, given, results) for name, argument in step.arguments.items()}
        results[number] = drawn(step.method.gives, source, arguments)
        calls.append({"name": step.method.name, "arguments": arguments, "result": results[number]})
    return calls


def _order(workflow: Workflow, source: random.Random) -> list[int]:
    """The usual order of the steps, or in half of the runs any that their needs allow."""
    order = list(range(len(workflow.steps)))
    if source.random() < 0.5:
        return order
    left, done = set(order), list[int]()
    while left:
        ready = sorted(number for number in left if workflow.steps[number].needs() <= set(done))
        done.append(source.choice(ready))
        left.remove(done[-1])
    return done


def _value(argument: Argument, given: Mapping[str, Any], results: Mapping[int, Any]) -> Any:
    match argument:
        case Constant(value):
            return value
        case Parameter(name):
            return given[name]
        case Flow(step, path):
            return at(results[step], path)
        case Text(parts):
            return "".join(part if isinstance(part, str) else str(at(results[part.step], part.path)) for part in parts)


def _broken(calls: list[dict[str, Any]], source: random.Random) -> list[dict[str, Any]]:
    """A session that stops in the middle, or whose last call fails."""
    if len(calls) < 2:
        return calls
    kept = calls[: source.randint(1, len(calls) - 1)]
    if source.random() < 0.5:
        kept[-1] = {**kept[-1], "result": None, "error": {"type": "ToolFailed", "message": "the server said no"}}
    return kept


def _wandering(method: Method, source: random.Random) -> dict[str, Any]:
    arguments = {name: SORTS[sort](source) for name, sort in method.takes.items()}
    return {"name": method.name, "arguments": arguments, "result": drawn(method.gives, source, arguments)}


def _with_noise(calls: list[dict[str, Any]], source: random.Random) -> list[dict[str, Any]]:
    """The calls with others between them, and with some that fail first and are made again."""
    noisy = []
    for call in calls:
        if source.random() < NOISY:
            among = NOISE if source.random() < 0.75 else METHODS
            noisy.append(_wandering(source.choice(list(among.values())), source))
        if source.random() < FLAKY:
            noisy.append({**call, "result": None, "error": {"type": "Busy", "message": "try again"}})
        noisy.append(call)
    return noisy


def _events(session: str, goal: str, calls: list[dict[str, Any]], source: random.Random) -> tuple[dict[str, Any], ...]:
    began = _START + timedelta(seconds=source.randint(0, 14 * 86_400))
    events = []
    for number, call in enumerate(calls):
        tool, _, method = call["name"].partition(".")
        told = json.dumps(call["result"], sort_keys=True).encode()
        events.append(
            {
                "kind": "call",
                "session": session,
                "at": (began + timedelta(seconds=3 * number)).isoformat(),
                "tool": tool,
                "method": method,
                "arguments": call["arguments"],
                "result": call["result"],
                "digest": hashlib.sha256(told).hexdigest()[:16],
                "goal": goal,
                **({"error": call["error"]} if "error" in call else {}),
            }
        )
    return tuple(events)
