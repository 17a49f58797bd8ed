"""The streams, buckets and durable consumers of heddle, made idempotently."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.connect import STREAM_NAME_IN_USE, js_api
from heddle.errors import Refused, StreamMismatch
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer

SETTINGS_GENERATION: Final = 3
"""Raised whenever the settings below change: of two processes the newer updates the streams, the older runs on."""
_GENERATION_KEY: Final = "heddle-generation"
BURSTS_SINCE: Final = (2, 14, 0)
"""The first nats-server that takes bursts (`allow_batched`)."""
_CREATE_TRIES: Final = 10
_CREATE_PAUSE: Final = 0.1
_SECOND: Final = 10**9
_DAY: Final = 86_400 * _SECOND

_SAFE_TO_UPDATE: Final = frozenset(
    {
        "max_age",
        "max_msgs",
        "max_bytes",
        "max_msgs_per_subject",
        "duplicate_window",
        "num_replicas",
        "republish",
        "metadata",
        "description",
        "allow_direct",
        "allow_batched",
    }
)

Config = dict[str, Any]


def stream_configs(settings: StreamSettings, server: tuple[int, int, int]) -> list[Config]:
    """Every stream and bucket, as JetStream's API takes them; durations in nanoseconds.

    Args:
        settings: what can be set.
        server: the server's version.
    """
    common = {
        "no_ack": False,
        "allow_direct": True,
        "storage": "file",
        "num_replicas": settings.replicas,
        "metadata": {_GENERATION_KEY: str(SETTINGS_GENERATION)},
    }
    return [
        {**config, **common, **_duplicate_window(config)}
        for config in (*_queues(settings, server), *_logs(settings), _counters(), *_buckets())
    ]


def _queues(settings: StreamSettings, server: tuple[int, int, int]) -> list[Config]:
    """Streams of work: what they acknowledged they keep until it is done, whoever made them."""
    bursts: Config = {"allow_batched": True} if server >= BURSTS_SINCE else {}
    queue: Config = {"retention": "workqueue", "discard": "new", "max_age": 0}
    return [
        {**queue, "name": subjects.GOALS, "subjects": [subjects.GOALS_INCOMING]},
        {**queue, "name": subjects.INCOMING, "subjects": [subjects.TASKS_INCOMING]},
        {
            **queue,
            "name": subjects.DEFER,
            "subjects": ["heddle.defer.>", "heddle.due.>"],
            "discard": "old",
            "max_msgs": -1,  # it drops the oldest at a limit
            "max_bytes": -1,
            "allow_msg_schedules": True,
        },
        {
            **queue,
            "name": subjects.TASKS,
            "subjects": ["heddle.tasks.*.*"],
            "discard_new_per_subject": True,
            "max_msgs_per_subject": settings.backlog_per_subject,
            **bursts,
        },
    ]


def _logs(settings: StreamSettings) -> list[Config]:
    """Streams of what has been: the oldest goes, by age or room; of outcomes by age alone."""
    dead_age = int(settings.dead_max_age * _SECOND)
    return [
        {
            "name": subjects.OUTCOMES,
            "subjects": ["heddle.outcomes.*.*.*.*"],
            "max_msgs_per_subject": 1,
            "discard": "new",
            "discard_new_per_subject": True,
            "allow_msg_ttl": True,
            "max_age": int(settings.outcomes_max_age * _SECOND),
            "republish": {"src": "heddle.outcomes.*.*.*.*", "dest": "heddle.results.{{wildcard(2)}}"},
        },
        {
            "name": subjects.ORIGINALS,
            "subjects": ["heddle.original.*"],
            "max_msgs_per_subject": 1,
            "max_bytes": settings.dead_max_bytes,
            "discard": "old",
            "max_age": dead_age,
        },
        {
            "name": subjects.DEAD,
            "subjects": ["heddle.dead.*.*.*.*"],
            "max_msgs_per_subject": 1,
            "max_msgs": settings.dead_max_msgs,
            "max_bytes": settings.dead_max_bytes,
            "discard": "old",
            "max_age": dead_age,
            "republish": {"src": "heddle.dead.*.*.*.*", "dest": subjects.DEAD_LETTERS},
        },
        {
            "name": subjects.AUDIT,
            "subjects": ["heddle.audit.*"],
            "max_msgs_per_subject": 1,
            "max_bytes": settings.audit_max_bytes,
            "discard": "old",
            "max_age": int(settings.audit_max_age * _SECOND),
        },
        {
            "name": subjects.DECISIONS,
            "subjects": ["heddle.decisions.*"],
            "max_bytes": settings.decisions_max_bytes,
            "discard": "old",
            "max_age": int(settings.decisions_max_age * _SECOND),
        },
        {
            "name": subjects.SESSIONS,
            "subjects": ["heddle.sessions.*"],
            "max_bytes": settings.sessions_max_bytes,
            "discard": "old",
            "max_age": int(settings.sessions_max_age * _SECOND),
        },
    ]


def _counters() -> Config:
    """The stream of counters; those of windows that are long over go first."""
    return {
        "name": subjects.LEASES,
        "subjects": ["heddle.lease.*.*.*"],
        "allow_msg_counter": True,
        "max_msgs_per_subject": 1,
        "max_msgs": 100_000,
        "discard": "old",
    }


def _buckets() -> list[Config]:
    """The streams of key-value buckets."""
    return [
        _bucket(subjects.CLAIMS, max_age=30 * _SECOND),
        _bucket(subjects.GOAL_RECORDS, max_age=7 * _DAY),
        _bucket(subjects.CANCEL, max_age=_DAY),
        _bucket(subjects.CRASHES, max_age=_DAY),
        _bucket(subjects.RULES, history=64),
        _bucket(subjects.META),
        _bucket(subjects.WORKERS, max_age=10 * _SECOND),
    ]


def _duplicate_window(config: Config) -> Config:
    """The server's default of two minutes, which must not exceed what the stream keeps."""
    age = config.get("max_age", 0)
    return {"duplicate_window": min(age, 120 * _SECOND)} if age else {}


def _bucket(name: str, *, max_age: int = 0, history: int = 1) -> Config:
    """A key-value bucket as the stream it is (NATS ADR-8)."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "max_msgs_per_subject": history,
        "max_age": max_age,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }


@dataclass(frozen=True, slots=True)
class Streams:
    """What a role must know of the streams.

    Attributes:
        created: when each was created, in microseconds since the epoch, for derived ids.
        bursts: does HEDDLE_TASKS take bursts?
    """

    created: Mapping[str, int]
    bursts: bool


async def make_streams(client: Client, settings: StreamSettings, observer: Observer) -> Streams:
    """Make every stream and bucket, or bring those that exist up to date.

    Raises:
        StreamMismatch: one exists with a setting that is not safe to change; both values are named.
        BrokerError: JetStream is not there or refused.
    """
    created, alone, bursts, version = {}, True, False, client.connected_server_version
    for config in stream_configs(settings, (version.major, version.minor, version.patch)):
        if not alone and "allow_batched" in config:
            # One of the cluster's servers may be too old for it still, and would refuse the stream or take it out of service.
            config["allow_batched"] = False
        try:
            answer = await _create_or_reconcile(client, config, observer)
        except Refused as refused:
            raise StreamMismatch(f"cannot make the stream {config['name']}: {refused}{_remedy(refused.code, config)}") from None
        created[config["name"]] = _microseconds(answer["created"])
        alone = alone and "cluster" not in answer
        bursts = bursts or answer["config"].get("allow_batched") is True
    return Streams(created, bursts)


def _remedy(code: int, config: Config) -> str:
    """What to do about a stream that the server does not make, where there is more to say than it does."""
    match code:
        case 10047:  # not enough storage
            return f"; it reserves {config.get('max_bytes', 0)} bytes: give JetStream more (max_file_store), or lower streams.*_max_bytes"
        case 10065:  # another stream's subjects
            return f"; another stream takes some of {', '.join(config['subjects'])}: `nats stream ls --subject='heddle.>'` shows it"
        case 10194:  # offline
            return "; a newer nats-server set it up: start that one again, and stay with it or turn allow_batched off before you leave it"
        case _:
            return ""


async def _create_or_reconcile(client: Client, config: Config, observer: Observer) -> dict[str, Any]:
    try:
        return await _create(client, config)
    except Refused as refused:
        if refused.code != STREAM_NAME_IN_USE:
            raise
    return await _reconcile(client, config, observer)


async def _create(client: Client, config: Config) -> dict[str, Any]:
    """Make a stream; a server that is still removing the files of one of the same name is given a moment.

    What is off is left out: a server refuses a setting that it does not know even so.
    """
    config = {key: value for key, value in config.items() if value is not False}
    for _ in range(_CREATE_TRIES - 1):
        try:
            return await js_api(client, f"STREAM.CREATE.{config['name']}", config)
        except Refused as refused:
            if "creating store" not in str(refused):
                raise
            await asyncio.sleep(_CREATE_PAUSE)
    return await js_api(client, f"STREAM.CREATE.{config['name']}", config)


async def _reconcile(client: Client, wanted: Config, observer: Observer) -> dict[str, Any]:
    name = wanted["name"]
    info = await js_api(client, f"STREAM.INFO.{name}")
    found: Config = info["config"]
    different = differences(wanted, found)
    if not different:
        return info
    generation = found.get("metadata", {}).get(_GENERATION_KEY, "0")
    if generation.isdecimal() and int(generation) > SETTINGS_GENERATION:
        observer.see(
            events.STREAM_DIFFERS, "a newer heddle made this stream; running on with its settings", stream=name, settings=different
        )
        return info
    if unsafe := {key: values for key, values in different.items() if key not in _SAFE_TO_UPDATE}:
        told = "; ".join(f"{key} is {there!r}, heddle needs {want!r}" for key, (want, there) in unsafe.items())
        raise StreamMismatch(
            f"the stream {name} exists and cannot be changed safely: {told}. Move its messages away and delete it, then start again"
        )
    updated = {key: value for key, value in found.items() if key != "created"} | {key: wanted[key] for key in different}
    return await js_api(client, f"STREAM.UPDATE.{name}", updated)


def differences(wanted: Config, found: Config) -> dict[str, tuple[Any, Any]]:
    """The settings we care about that differ, as (wanted, found); keys that the server adds of its own do not count."""

    def same(key: str, want: Any) -> bool:
        there = found.get(key)
        if key == "metadata":
            return bool(want.items() <= (there or {}).items())
        return bool(want == there or (not want and not there))

    return {key: (want, found.get(key)) for key, want in wanted.items() if not same(key, want)}


async def make_consumer(client: Client, stream: str, durable: str, *, filter_subject: str, ack_wait: float, max_ack_pending: int) -> None:
    """Make a durable pull consumer, or bring its timing up to date.

    Args:
        client: the connection.
        stream: the stream it reads.
        durable: its name; all who pull from it share the work.
        filter_subject: what it delivers.
        ack_wait: seconds until an unacknowledged message is delivered again.
        max_ack_pending: messages that all who pull may hold together.

    Raises:
        BrokerError: JetStream refused.
    """
    config = {
        "durable_name": durable,
        "filter_subject": filter_subject,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "ack_wait": int(ack_wait * _SECOND),
        "max_ack_pending": max_ack_pending,
        "max_deliver": -1,
        "max_waiting": 512,
    }
    await js_api(client, f"CONSUMER.CREATE.{stream}.{durable}.{filter_subject}", {"stream_name": stream, "config": config})


def _microseconds(created: str) -> int:
    moment = datetime.fromisoformat(created)
    return int(moment.timestamp()) * 10**6 + moment.microsecond
