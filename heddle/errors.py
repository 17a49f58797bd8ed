"""Every error heddle raises, and every code a dead letter can carry.

HeddleError                     what a caller may catch; its text says what happened, where, and what to do
├── DecodeError                 bytes that are not a message of the wire contract; keeps the bytes
├── DefinitionError             a macro, provider or phrase that cannot be what it says it is
├── RulesError                  a rules file that cannot be used; carries every problem at once
├── SettingsError               a setting that cannot be used
├── ServerError                 the embedded server did not start
├── BrokerError                 NATS or JetStream did not do what was asked
│   ├── NoServer                nothing answers at the server's address
│   ├── StreamMismatch          a stream exists with settings that are not safe to change
│   └── Refused                 the server refused a publish (full stream, missing permission)
├── PlanError                   a goal for which no plan can be sent; carries the dead-letter code
│   └── ModelError              the model server did not give an answer
│       └── ModelUnavailable    it cannot be reached, or lacks the model
├── MacroFailure                raised by the executor when a task ends badly; carries the dead-letter code
├── TryAgain                    raised by the executor when a task is to be tried again; carries the delay
└── FallBack                    raised by the executor when a task is to go on as `novel` on the frontier tier
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HeddleError(Exception):
    """What a caller may catch."""


class DecodeError(HeddleError):
    """Bytes that are not a message of the wire contract.

    Attributes:
        body: the bytes as they came, so that nothing is lost by not understanding them.
    """

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body


class DefinitionError(HeddleError):
    """A macro, provider or phrase that cannot be what it says it is."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a text; `line` and `column` count from 1, `path` is dotted."""

    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.path}: {self.message}" if self.path else f"line {self.line}: {self.message}"


class RulesError(HeddleError):
    """A rules file that cannot be used; all its problems at once."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


class SettingsError(HeddleError):
    """A setting that cannot be used."""


class ServerError(HeddleError):
    """The embedded server did not start."""


class BrokerError(HeddleError):
    """NATS or JetStream did not do what was asked."""


class NoServer(BrokerError):
    """Nothing answers at the server's address."""


class StreamMismatch(BrokerError):
    """A stream exists with settings that are not safe to change."""


class Refused(BrokerError):
    """The server refused a publish.

    Attributes:
        code: JetStream's error code, e.g. 10077 for a stream or a subject at its cap; 0 if it gave none.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Code(StrEnum):
    """Why a task or a goal could not go on: the first word of every reason."""

    INVALID_TASK_MESSAGE = "invalid_task_message"
    UNKNOWN_TIER = "unknown_tier"
    RATE_LIMITED = "rate_limited"
    EXPIRED = "expired"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    BACKLOG_FULL = "backlog_full"
    NO_WORKER = "no_worker"
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_VERSION = "unknown_version"
    HANDLER_FAILED = "handler_failed"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    LOOP = "loop"
    NO_PLAN = "no_plan"
    UNSAFE_PLAN = "unsafe_plan"
    UNSUPPORTED_GOAL = "unsupported_goal"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means to the person who finds it."""

    cause: str
    remedy: str


CODES: dict[Code, Meaning] = {
    Code.INVALID_TASK_MESSAGE: Meaning(
        "The message is not a task or goal of the wire contract: not a JSON object, a required field missing, or a value of the wrong type.",
        "Correct the sender: the reason names the field. Then publish the message anew, or replay the letter with `--patch`.",
    ),
    Code.UNKNOWN_TIER: Meaning(
        "The rules have no entry for this worker type, or the tier asked for is not declared.",
        "Add the worker type under `worker_types:`, or the tier under `tiers:`, reload the rules, and replay the letter.",
    ),
    Code.RATE_LIMITED: Meaning(
        "The tier's token bucket had no token for the task within the tier's `max_wait`.",
        "Send slower, raise the tier's `rate`, `burst` or `max_wait`, then replay the letter.",
    ),
    Code.EXPIRED: Meaning(
        "The task's `expires_at` had passed before a worker could start it, or nobody approved the goal in time.",
        "Replay with a later `expires_at`, or none: heddle dead replay ID --patch '{\"expires_at\": null}'. Add workers if tasks expire "
        "while they queue. A goal: replay it, and approve it with `heddle goals approve ID` in time.",
    ),
    Code.PAYLOAD_TOO_LARGE: Meaning(
        "The message's body is larger than `limits.max_payload` of the rules.",
        "Send a reference (a path, a URL) in place of the data; or raise `limits.max_payload`, reload the rules, and replay the letter.",
    ),
    Code.BACKLOG_FULL: Meaning(
        "The queue of this worker type and tier stayed at its cap for longer than the tier's `max_wait`.",
        "Add workers for the type and tier, then replay the letter.",
    ),
    Code.NO_WORKER: Meaning(
        "The task expired in its queue and no worker is announced for its type and tier.",
        "Start one: heddle run worker --types TYPE --tiers TIER. Then replay the letter.",
    ),
    Code.INVALID_PAYLOAD: Meaning(
        "The payload does not fit the macro's input schema.",
        "Compare the payload with `heddle macros show TYPE`; correct the sender, then replay the letter with a `--patch` of its payload. "
        "If the macro is wrong: correct and deploy it, then replay the letter.",
    ),
    Code.UNKNOWN_VERSION: Meaning(
        "No worker knows the `macro_version` that the task names.",
        "Deploy a worker that serves that version, then replay the letter; "
        "or replay it for the newest: heddle dead replay ID --patch '{\"macro_version\": null}'.",
    ),
    Code.HANDLER_FAILED: Meaning(
        "The macro's handler raised an error that another try would not mend, its retries are spent, or its output broke its own schema.",
        "Read the reason; correct the input or the macro, deploy it, and replay the letter. If it says that there is no rule for `novel`: "
        "add `novel: {tier: frontier}` under `worker_types:` and start a frontier worker, so that tasks can fall back on it.",
    ),
    Code.TIMED_OUT: Meaning(
        "The handler had not finished by its deadline.",
        "Raise the macro's `timeout`, give it less to do, or look at what it waits for; then replay the letter.",
    ),
    Code.CRASHED: Meaning(
        "The task took its process down: one of the process pool, or three times the one that it had to itself.",
        "Reproduce it with the payload of this letter, correct the macro, deploy it, and replay the letter.",
    ),
    Code.CANCELLED: Meaning("Somebody cancelled the task or its goal.", "Nothing to do; replay the letter if it was a mistake."),
    Code.LOOP: Meaning(
        "The task came through the router more often than `limits.max_hops` allows, or was replayed too often.",
        "Look for a macro or a script that publishes what it receives, or replays whatever comes back. When that is mended: "
        "heddle dead replay ID --patch '{\"hops\": 0}'. A goal is submitted anew.",
    ),
    Code.NO_PLAN: Meaning(
        "The planner gave no plan: its answer was not valid, or no model and no phrase could be used.",
        "Try `heddle plan TEXT` to see every check; reword the goal, or use another model, and replay the letter.",
    ),
    Code.UNSAFE_PLAN: Meaning(
        "The plan holds values that the goal does not state, or leaves out words that it does.",
        "Reword the goal so that every value is stated once, or submit the task yourself with `heddle task`.",
    ),
    Code.UNSUPPORTED_GOAL: Meaning(
        "No macro does what the goal asks for.",
        "See what there is with `heddle macros list`; reword the goal, or write a macro for it.",
    ),
}


class PlanError(HeddleError):
    """A goal for which no plan can be sent.

    Attributes:
        code: the dead-letter code the goal ends with.
        answer: what the planner answered, if it answered.
    """

    def __init__(self, code: Code, detail: str, answer: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.answer = answer


class ModelError(PlanError):
    """The model server did not give an answer that can be read."""

    def __init__(self, detail: str, answer: str | None = None) -> None:
        super().__init__(Code.NO_PLAN, detail, answer)


class ModelUnavailable(ModelError):
    """The model server cannot be reached, or lacks the model.

    Attributes:
        remedy: the line to type to get the model.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


class MacroFailure(HeddleError):
    """A task that ended badly: the executor raises it, the worker matches it once.

    Attributes:
        code: the dead-letter code the task ends with.
    """

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class TryAgain(HeddleError):
    """A task whose handler raised an error that its macro declares to pass.

    Attributes:
        delay: seconds until the next attempt.
    """

    def __init__(self, delay: float, detail: str) -> None:
        super().__init__(detail)
        self.delay = delay


class FallBack(HeddleError):
    """A task whose macro hands it over to the frontier tier, because of an error that it declares so or of an open circuit."""
