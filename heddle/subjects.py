"""Every subject, stream, bucket and durable name of heddle, built and parsed in one place."""

from __future__ import annotations

import hashlib
import re
from typing import Final, Literal, NamedTuple

from heddle.messages import task_hash

GOALS_INCOMING: Final = "heddle.goals.incoming"
TASKS_INCOMING: Final = "heddle.tasks.incoming"
DEAD_LETTERS: Final = "heddle.tasks.dead_letter"
CONTROL_RELOAD: Final = "heddle.control.reload"

GOALS: Final = "HEDDLE_GOALS"
INCOMING: Final = "HEDDLE_INCOMING"
DEFER: Final = "HEDDLE_DEFER"
TASKS: Final = "HEDDLE_TASKS"
OUTCOMES: Final = "HEDDLE_OUTCOMES"
ORIGINALS: Final = "HEDDLE_ORIGINALS"
DEAD: Final = "HEDDLE_DEAD"
AUDIT: Final = "HEDDLE_AUDIT"
DECISIONS: Final = "HEDDLE_DECISIONS"
LEASES: Final = "HEDDLE_LEASES"
SESSIONS: Final = "HEDDLE_SESSIONS"

CLAIMS: Final = "HEDDLE_CLAIMS"
GOAL_RECORDS: Final = "HEDDLE_GOAL_RECORDS"
CANCEL: Final = "HEDDLE_CANCEL"
RULES: Final = "HEDDLE_RULES"
CRASHES: Final = "HEDDLE_CRASHES"
META: Final = "HEDDLE_META"
WORKERS: Final = "HEDDLE_WORKERS"
TIERS_KEY: Final = "tiers"
"""Where HEDDLE_META holds the names of the declared tiers, separated by blanks."""
FALLBACK_KEY: Final = "fallback"
"""Where HEDDLE_META says whether the rules have a worker type that tasks can fall back on: its name, or nothing."""
ADMISSIONS: Final = "admission"
"""What a key of HEDDLE_META begins with where the result of a model's test is kept."""
NOVEL: Final = "novel"
"""The worker type that tasks fall back on."""
FRONTIER: Final = "frontier"
"""The tier of models with tools; no worker serves it unless it is told to."""

RULES_KEY: Final = "rules"
"""Where HEDDLE_RULES holds the rules that `--rules nats` replicas follow; its history is theirs."""

ROUTER_DURABLE: Final = "heddle-router"
DUE_DURABLE: Final = "heddle-router-due"
DUE: Final = "heddle.due.>"
ORCHESTRATOR_DURABLE: Final = "heddle-orchestrator"
FOLLOWER_DURABLE: Final = "heddle-goal-follower"

PLANNED_TASK_OUTCOMES: Final = "heddle.outcomes.task.>"
NO_TOKEN: Final = "-"  # noqa: S105  # a subject's token
"""Stands in a subject where a worker type or tier is not known."""
LOOSE_PARENT: Final = "default"
"""Where results of tasks without a parent go."""


def routed(worker_type: str, tier: str) -> str:
    """Where a routed task waits for its worker."""
    return f"heddle.tasks.{worker_type}.{tier}"


def deferred(tier: str, priority: str, message: str) -> str:
    """The place of a waiting task; `message` names the message that it was made from, so that no two share a place."""
    return f"heddle.defer.{tier}.{priority}.{message}"


def due(tier: str, priority: str) -> str:
    """Where a waiting task comes up."""
    return f"heddle.due.{tier}.{priority}"


def due_of(place: str) -> str:
    """Where the task in a place `heddle.defer.<tier>.<priority>.<message>` comes up."""
    return ".".join(["heddle", "due", *place.split(".")[2:4]])


def tier_of_place(subject: str) -> str:
    """The tier that the task in a place, or one that comes up from it, waits for."""
    return subject.split(".")[2]


def admission(model: str, test: str) -> str:
    """Where HEDDLE_META keeps the result of a model's test.

    Args:
        model: the model's digest; any text.
        test: what the test depends on, as one word.
    """
    return f"{ADMISSIONS}.{hashlib.sha256(model.encode()).hexdigest()[:16]}.{test}"


def admission_turn(model: str) -> str:
    """The claim of the replica that tests a model just now."""
    return f"{ADMISSIONS}.{hashlib.sha256(model.encode()).hexdigest()[:16]}"


def lease(tier: str, rate: float, burst: int, window: int | Literal["*"]) -> str:
    """The counter of one window of a tier that replicas share, or of all of them; other numbers of the tier are other windows."""
    return f"heddle.lease.{tier}.{_numbers(f'{rate!r}/{burst}')}.{window}"


def line_end(tier: str, priority: str, rate: float) -> str:
    """Where HEDDLE_META keeps when the last comes up of those who wait for a tier that replicas share; another rate is another line."""
    return f"line.{tier}.{priority}.{_numbers(repr(rate))}"


def waiting_in(tier: str, priority: str) -> str:
    """Where HEDDLE_DEFER holds those who wait in one line."""
    return f"heddle.defer.{tier}.{priority}.>"


def _numbers(told: str) -> str:
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def rules_text(digest: str) -> str:
    """Where HEDDLE_RULES keeps a rules text that was ever active."""
    return f"text.{digest}"


def decisions(replica: str) -> str:
    """Where a router replica records its decisions."""
    return f"heddle.decisions.{replica}"


def session(name: str) -> str:
    """Where the events of a session are kept."""
    return f"heddle.sessions.{name}"


def router_card(replica: str) -> str:
    """Where a router replica announces itself in HEDDLE_WORKERS, beside the workers."""
    return f"router.{replica}"


def is_router_card(key: str) -> bool:
    """Is this key of HEDDLE_WORKERS a router's?"""
    return key.startswith("router.")


def orchestrator_card(replica: str) -> str:
    """Where an orchestrator replica announces itself in HEDDLE_WORKERS, beside the workers."""
    return f"orchestrator.{replica}"


def is_orchestrator_card(key: str) -> bool:
    """Is this key of HEDDLE_WORKERS an orchestrator's?"""
    return key.startswith("orchestrator.")


def is_worker_card(key: str) -> bool:
    """Is this key of HEDDLE_WORKERS a worker's?"""
    return not is_router_card(key) and not is_orchestrator_card(key)


def worker_durable(worker_type: str, tier: str) -> str:
    """The durable consumer that all workers of one type and tier share; no name can contain its separator."""
    return f"{worker_type}={tier}"


def results(parent_task_id: str | None) -> str:
    """Where the outcomes of a parent's tasks are republished for core subscribers."""
    return f"heddle.results.{parent_task_id or LOOSE_PARENT}"


def task_outcome(task_id: str, parent_task_id: str | None, generation: int) -> str:
    """The one place of a task's outcome."""
    parent = f"task.{parent_task_id}" if parent_task_id else f"loose.{LOOSE_PARENT}"
    return f"heddle.outcomes.{parent}.{task_hash(task_id)}.{generation}"


def goal_outcome(goal_id: str, generation: int) -> str:
    """The one place of a goal's outcome."""
    return f"heddle.outcomes.goal.{goal_id}.final.{generation}"


def cancelled_task(task_hash: str, generation: int) -> str:
    """Under which key HEDDLE_CANCEL holds that a task was cancelled."""
    return f"task.{task_hash}.{generation}"


def cancelled_goal(goal_id: str, generation: int) -> str:
    """Under which key HEDDLE_CANCEL holds that a goal was cancelled."""
    return f"goal.{goal_id}.{generation}"


def goal_record(goal_id: str, generation: int) -> str:
    """Under which key HEDDLE_GOAL_RECORDS holds a goal's state; the only keys of two tokens there."""
    return f"{goal_id}.{generation}"


def is_goal_record(key: str) -> bool:
    """Is this key of HEDDLE_GOAL_RECORDS a goal's state?"""
    goal_id, _, generation = key.rpartition(".")
    return generation.isdecimal() and bool(goal_id) and "." not in goal_id


def parked(record: str) -> str:
    """Under which key HEDDLE_GOAL_RECORDS holds that the goal with this record waits for its approval."""
    return f"parked.{record}"


def model_calls(record: str) -> str:
    """Under which key HEDDLE_GOAL_RECORDS counts the model calls that were begun for the goal with this record."""
    return f"calls.{record}"


def crashes(task_id: str, generation: int) -> str:
    """Under which key HEDDLE_CRASHES counts the processes that a task took down while it ran alone."""
    return f"{task_hash(task_id)}.{generation}"


class TaskOutcomeParts(NamedTuple):
    """What the subject of a planned task's outcome says."""

    goal_id: str
    task: str
    generation: int


def parse_task_outcome(subject: str) -> TaskOutcomeParts:
    """Take `heddle.outcomes.task.<goal_id>.<t>.<generation>` apart.

    Raises:
        ValueError: it is not such a subject.
    """
    match subject.split("."):
        case ["heddle", "outcomes", "task", goal_id, task, generation] if generation.isdecimal():
            return TaskOutcomeParts(goal_id, task, int(generation))
        case _:
            raise ValueError(f"{subject!r} is not the subject of a planned task's outcome")


def dead(code: str, worker_type: str | None, tier: str | None, letter_id: str) -> str:
    """Where a dead letter is kept."""
    return f"heddle.dead.{code}.{worker_type or NO_TOKEN}.{tier or NO_TOKEN}.{letter_id}"


def audit(letter_id: str) -> str:
    """The one place where it is written down who replayed or dropped a letter."""
    return f"heddle.audit.{letter_id}"


_LETTER_ID: Final = re.compile(r"[A-Za-z0-9_=-]{1,200}")


def is_letter_id(text: str) -> bool:
    """Can this be a letter's id, as a part of a subject?"""
    return _LETTER_ID.fullmatch(text) is not None


def original(letter_id: str) -> str:
    """Where the whole bytes of a cut original are kept."""
    return f"heddle.original.{letter_id}"


def task_letter(task_id: str, generation: int) -> str:
    """The id of the letter that tells of a task's failed outcome."""
    return f"{task_hash(task_id)}-{generation}"


def goal_letter(goal_id: str, generation: int) -> str:
    """The id of the letter that tells of a goal's failed outcome; another than that of a task of the same name."""
    return task_letter(f"goal {goal_id}", generation)


def source_letter(stream: str, created: int, sequence: int) -> str:
    """The id of the letter of a message that no task can be read from."""
    return f"{stream}-{created}-{sequence}"


def message_ids(stream: str, created: int) -> str:
    """What every id that is derived from a message of this stream begins with."""
    return f"{stream}.{created}"


def message_id(stream: str, created: int, sequence: int, kind: str, number: int | None = None) -> str:
    """A `Nats-Msg-Id` derived from the source, so that a redelivery publishes under the same id."""
    return f"{stream}.{created}.{sequence}.{kind}" if number is None else f"{stream}.{created}.{sequence}.{kind}.{number}"
