"""A table of tasks and the routes that they are to take, for CI: `heddle rules check --cases FILE`.

```yaml
- name: release notes stay here      # optional
  task: {worker_type: release_notes, model_tier: frontier}
  expect: local                      # a tier
- task: {worker_type: repo_traige}   # a payload is not needed here
  expect: {refuse: unknown_tier}     # or a dead-letter code
- task: {worker_type: repo_triage, expires_at: 2026-01-31T12:00:00Z}
  at: 2026-02-01T00:00:00Z           # optional, the time of the decision
  expect: {refuse: expired}
```

Buckets are full, so a table says where tasks go and not how fast. A task that is none of the wire contract is a mistake in the
table, unless `invalid_task_message` is what is expected.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from heddle.errors import Code, DecodeError, Problem, RulesError
from heddle.messages import TaskMessage, decode, is_name, parse_time
from heddle.router.decide import Dispatch, Refuse, Wait, explain
from heddle.router.rules import Rules

REFUSALS: Final = (Code.UNKNOWN_TIER, Code.INVALID_TASK_MESSAGE, Code.EXPIRED, Code.PAYLOAD_TOO_LARGE, Code.LOOP)
"""The codes that a full bucket leaves."""

_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Final = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for value, words in ((True, ("true", "True", "TRUE")), (False, ("false", "False", "FALSE"))) for word in words
}
_MOST_NESTED: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """A task and what is to become of it.

    Attributes:
        number: its place in the table, from 1.
        line: where it stands.
        body: the task as it would travel.
        tier, code: one of them is None; a tier is where it goes, a code how it is refused.
        at: the time of the decision, seconds since the epoch, if the table says one.
    """

    number: int
    line: int
    name: str
    body: bytes
    tier: str | None
    code: Code | None
    at: float | None

    @property
    def expected(self) -> str:
        """In words."""
        return self.tier if self.tier is not None else f"refuse: {self.code}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case; `steps` are the explanation."""

    case: Case
    ok: bool
    got: str
    rule: str | None
    steps: tuple[str, ...]


def run_case(case: Case, rules: Rules, now: float) -> Verdict:
    """Decide a case with full buckets, at its own time or now."""
    try:
        task = decode(TaskMessage, case.body)
    except DecodeError as error:
        return Verdict(case, case.code is Code.INVALID_TASK_MESSAGE, f"refuse: {Code.INVALID_TASK_MESSAGE}", None, (str(error),))
    decision, steps = explain(task, rules, {}, now if case.at is None else case.at, size=len(case.body))
    match decision:
        case Dispatch(tier=tier, rule=rule):
            return Verdict(case, case.tier == tier, tier, rule, steps)
        case Wait(tier=tier, rule=rule):
            return Verdict(case, ok=False, got=f"wait: {tier}", rule=rule, steps=steps)
        case Refuse(code=code, rule=refused_by):
            return Verdict(case, case.code is code, f"refuse: {code}", refused_by, steps)


def parse_cases(text: str, source: str = "cases") -> tuple[Case, ...]:
    """Read a table of cases, YAML or JSON.

    Args:
        text: the table.
        source: how to name it in errors, such as its path.

    Raises:
        RulesError: it cannot be used; every problem at once, each with its line.
    """
    problems: list[Problem] = []
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        cases = tuple(_cases(root, problems))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(part for part in (error.context, error.problem) if part)
        problems.append(Problem(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, "", f"not YAML: {told}"))
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        problems.append(Problem(1, 1, "", f"not YAML: {error}"))
    if problems:
        raise RulesError(source, tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))))
    return cases


def _cases(root: Node | None, problems: list[Problem]) -> Iterator[Case]:
    if not isinstance(root, SequenceNode) or not root.value:
        at = (1, 1) if root is None else _place(root)
        problems.append(Problem(*at, "", "must be a list of cases, each `- task: {worker_type: …}` and `expect: TIER`"))
        return
    for number, node in enumerate(root.value, 1):
        before = len(problems)
        case = _case(number, node, problems)
        if case is not None and len(problems) == before:
            yield case


_KEYS: Final = ("task", "expect", "name", "at")
T = TypeVar("T")


def _case(number: int, node: Node, problems: list[Problem]) -> Case | None:
    path = f"cases[{number}]"
    if not isinstance(node, MappingNode):
        problems.append(Problem(*_place(node), path, "must be a mapping with `task` and `expect`"))
        return None
    parts = _parts(node, path, problems)

    def read(name: str, how: Callable[[Any], T], otherwise: T) -> T:
        if name not in parts:
            return otherwise
        try:
            return how(value_of(parts[name]))
        except (ValueError, OverflowError, DecodeError) as error:
            problems.append(Problem(*_place(parts[name]), f"{path}.{name}", str(error)))
            return otherwise

    nothing: tuple[str | None, Code | None] = (None, None)
    tier, code = read("expect", _expectation, nothing)
    return Case(
        number=number,
        line=_place(node)[0],
        name=read("name", str, "") or f"case {number}",
        body=read("task", lambda task: _body(task, valid=code is not Code.INVALID_TASK_MESSAGE), b""),
        tier=tier,
        code=code,
        at=read("at", _time, None),
    )


def _parts(node: MappingNode, path: str, problems: list[Problem]) -> dict[str, Node]:
    parts: dict[str, Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name not in _KEYS:
            told = f"unknown key{_nearest(name, _KEYS)}; known are {', '.join(_KEYS)}"
            problems.append(Problem(*_place(key), f"{path}.{name}", told))
        elif name in parts:
            problems.append(Problem(*_place(key), f"{path}.{name}", "stands twice"))
        else:
            parts[name] = value
    problems += [Problem(*_place(node), f"{path}.{name}", "is required") for name in ("task", "expect") if name not in parts]
    return parts


def _time(value: Any) -> float:
    try:
        return parse_time(str(value)).timestamp()
    except ValueError as error:
        raise ValueError(f"{error}; write 2026-01-31T12:00:00Z") from None


def _expectation(value: Any) -> tuple[str | None, Code | None]:
    match value:
        case str() | int() | float() if is_name(str(value)):
            return str(value), None
        case {"refuse": str() as code, **more} if not more:
            if code not in REFUSALS:
                possible = ", ".join(REFUSALS)
                full = "; buckets are full here" if code == Code.RATE_LIMITED else _nearest(code, [one.value for one in REFUSALS])
                raise ValueError(f"{code!r} is no code that a table can expect{full}; there are {possible}")
            return None, Code(code)
        case _:
            raise ValueError("must be a tier, or {refuse: CODE}")


def _body(task: Any, *, valid: bool) -> bytes:
    """The task as it would travel.

    Raises:
        ValueError, DecodeError: it is none, though it should be.
    """
    if valid and isinstance(task, dict):
        task = {"payload": {}} | task
        for name in task:
            if (
                not name.startswith("_")
                and name not in TaskMessage.model_fields
                and (near := _nearest(name, TaskMessage.model_fields, 0.85))
            ):
                raise ValueError(f"unknown key {name!r}{near}")
    body = json.dumps(task, ensure_ascii=False, separators=(",", ":")).encode()
    if valid:
        decode(TaskMessage, body)
    return body


def value_of(node: Node, depth: int = 0) -> Any:
    """What a node stands for in JSON's types, read as YAML 1.2 does: no times, and `yes` is a text.

    Raises:
        ValueError: it holds itself, or is nested too deeply.
    """
    if depth > _MOST_NESTED:
        raise ValueError("is nested too deeply")
    match node:
        case MappingNode():
            return {str(key.value): value_of(value, depth + 1) for key, value in node.value}
        case SequenceNode():
            return [value_of(item, depth + 1) for item in node.value]
        case ScalarNode(style=None):
            return _plain(str(node.value))
        case _:
            return str(node.value)


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""
