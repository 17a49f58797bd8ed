"""Everything that can be observed, as one table: counters for the metrics, levels for the log.

A counter's name and labels follow Prometheus' conventions. An event without a level is only counted: it happens per task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One thing that can be observed; each is itself alone, so that counting one hashes no text.

    One with `buckets` is measured and not counted: a histogram with these upper bounds.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    level: Level | None = None
    buckets: tuple[float, ...] = ()


TASKS_ROUTED = Event("heddle_tasks_routed", "Tasks dispatched to a worker type and tier.", ("worker_type", "tier"))
TASKS_DEFERRED = Event("heddle_tasks_deferred", "Times that a task was given a place to wait for a token.", ("tier", "priority"))
PLACES_SWEPT = Event("heddle_places_swept", "Waiting tasks that were overdue and let up by hand.", (), "warning")
TASKS_ENDED_BY_ROUTER = Event("heddle_tasks_refused", "Tasks that the router ended with a dead letter.", ("code",))
TASKS_COMPLETED = Event("heddle_tasks_completed", "Tasks that a worker completed.", ("worker_type", "tier"))
TASKS_FAILED = Event("heddle_tasks_failed", "Tasks that a worker ended with a dead letter.", ("worker_type", "code"))
TASKS_REDELIVERED = Event("heddle_tasks_redelivered", "Deliveries to a worker beyond a task's first.", ("worker_type",))
TASKS_RETRIED = Event("heddle_tasks_retried", "Attempts that ended in an error declared to pass.", ("worker_type",), "info")
OUTCOMES_ALREADY_STORED = Event("heddle_outcomes_already_stored", "Outcomes that were refused because the task already had one.", ("role",))
DEAD_LETTERS = Event("heddle_dead_letters", "Dead letters written.", ("code",))
GOALS_PLANNED = Event("heddle_goals_planned", "Goals that became a plan.", ("planned_by",), "info")
GOALS_ENDED = Event("heddle_goals_ended", "Goals that ended, by their record's status.", ("status",), "info")
GOALS_AMENDED = Event("heddle_goals_amended", "Records of ended goals that a replayed task's outcome changed.", ("status",), "info")
GOALS_APPROVED = Event("heddle_goals_approved", "Goals with irreversible macros that a person approved.", (), "info")
MODEL_CALLS = Event("heddle_model_calls", "Calls of a model that gave an answer.", ("model",))
MODEL_TESTED = Event("heddle_model_tests", "Lines of progress while the planner's model was tested.", (), "info")
MODEL_ADMITTED = Event("heddle_models_admitted", "Times that the planner's model had passed its test.", (), "info")
MODEL_REFUSED = Event("heddle_models_refused", "Times that the planner's model had not passed its test.", (), "error")
PLANNER_FALLBACKS = Event("heddle_planner_fallbacks", "Goals that a second model was asked to plan, by cause.", ("cause",))
PLAN_CONFIDENCE = Event(
    "heddle_plan_confidence",
    "Confidence of the planner's model in the macros it named.",
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.72, 0.8, 0.9, 0.95, 0.99, 1.0),
)
ARGUMENT_DRIFT = Event(
    "heddle_argument_drift", "Values of plans that were converted, defaulted, ungrounded or left out.", ("macro", "field", "kind")
)
PLANNING_SUMMED_UP = Event("heddle_planning_summaries", "Summaries of the planner's decisions and drift in the log.", (), "info")
MODEL_AWAITED = Event("heddle_model_awaited", "Goals handed back because the model server did not answer.", (), "warning")
PUBLISHES_REPEATED = Event("heddle_publishes_repeated", "Publishes sent again because no PubAck came.", (), "warning")
MESSAGES_DROPPED = Event("heddle_messages_dropped", "Messages that the client library dropped at a full subscription.", (), "error")
DISCONNECTED = Event("heddle_disconnected", "Connections to the server lost.", (), "warning")
RECONNECTED = Event("heddle_reconnected", "Connections to the server made again.", (), "info")
BROKER_TROUBLE = Event("heddle_broker_trouble", "Errors that the client library or the server reported.", (), "warning")
STREAM_DIFFERS = Event("heddle_stream_differs", "Streams of a newer settings generation than this process knows.", ("stream",), "warning")
CLOCK_SET = Event("heddle_clock_set", "Times that a router found its clock set by more than a second.", (), "warning")
ROLE_STARTED = Event("heddle_role_started", "Roles started in this process.", ("role",), "info")
ROLE_STOPPED = Event("heddle_role_stopped", "Roles stopped in this process.", ("role",), "info")
RULES_LOADED = Event("heddle_rules_loaded", "Rules taken into use.", (), "info")
RULES_REFUSED = Event("heddle_rules_refused", "Rules texts that were refused; the good ones stay in force.", (), "error")
RULES_DRIFT = Event("heddle_rules_drift", "Times that router replicas were found on different rules.", (), "error")
LEASES_DEGRADED = Event(
    "heddle_leases_degraded", "Times that a shared rate could not be counted and a replica went on with its share.", ("tier",), "error"
)
DECISIONS_LOST = Event("heddle_decisions_lost", "Routing decisions that were not recorded: the store was away for too long.", (), "warning")
FOREIGN_LISTENER = Event("heddle_foreign_listeners", "Other clients found subscribed to the incoming tasks.", (), "warning")
MACROS_LOADED = Event("heddle_macros_loaded", "Registries taken into use.", (), "info")
MACROS_REFUSED = Event("heddle_macros_refused", "Registries that could not be loaded; the good one stays in use.", (), "error")
MACRO_WITHHELD = Event(
    "heddle_macros_withheld", "Macros that a worker does not serve because a fixture of theirs does not hold.", ("worker_type",), "error"
)
PROGRESS = Event("heddle_progress_reports", "Progress that handlers reported.", ("worker_type",), "debug")
MACRO_CALLED = Event("heddle_macro_calls", "Calls of a macro by another that ended.", ("worker_type",), "debug")
WORKER_DIED = Event("heddle_worker_deaths", "Worker processes that died or were killed by their supervisor.", ("code",), "error")
TASKS_HANDED_BACK = Event(
    "heddle_tasks_handed_back", "Tasks of a version that this worker cannot serve, left to others.", ("worker_type",), "info"
)
TASKS_FELL_BACK = Event("heddle_tasks_fell_back", "Tasks handed over to the frontier tier.", ("worker_type",), "warning")
TASKS_DEPRECATED = Event("heddle_tasks_deprecated", "Tasks served by a deprecated version.", ("worker_type", "version"))
DEPRECATED_IN_USE = Event("heddle_deprecated_versions", "Deprecated versions that tasks still ask for.", ("worker_type",), "warning")
CIRCUITS_OPENED = Event("heddle_circuits_opened", "Circuit breakers that opened.", ("circuit",), "warning")
TASKS_OVERDUE = Event(
    "heddle_tasks_overdue", "Handlers that went on after their cancellation, and were left to themselves.", ("worker_type",), "error"
)
TASKS_ALONE = Event(
    "heddle_tasks_alone", "Runs of tasks in a process of their own, from the third delivery on.", ("worker_type",), "warning"
)
TOOL_UNWELL = Event("heddle_tools_unwell", "Times that a tool said, when it was asked, that it is not well.", ("tool",), "warning")
TASKS_DIED = Event("heddle_tasks_died", "Runs that took down the process that they had to themselves.", ("worker_type",), "error")
HANDLER_BUG = Event("heddle_handler_bugs", "Errors of handlers that no macro declared.", ("worker_type",), "error")
UNEXPECTED = Event("heddle_unexpected_errors", "Errors of our own making; the message comes back after ack_wait.", ("role",), "error")

ALL_EVENTS: tuple[Event, ...] = tuple(value for value in globals().copy().values() if isinstance(value, Event))
