"""The streams on a real server: made idempotently, a difference handled as documented."""

from __future__ import annotations

from typing import Any

import pytest
from nats.aio.client import Client

from heddle import events, subjects
from heddle.broker.connect import connected, js_api
from heddle.broker.streams import SETTINGS_GENERATION, make_consumer, make_streams, stream_configs
from heddle.errors import Refused, StreamMismatch
from heddle.settings import StreamSettings
from heddle.telemetry.observer import Observer
from tests.support import on_ground


async def test_making_the_streams_twice_changes_nothing(nats_url: str) -> None:
    async with on_ground(nats_url) as first, on_ground(nats_url) as second:
        assert first.streams == second.streams


async def test_every_stream_and_bucket_of_the_design_is_there(nats_url: str) -> None:
    async with on_ground(nats_url) as ground:
        names = (await js_api(ground.client, "STREAM.NAMES"))["streams"]
    buckets = {
        f"KV_{name}" for name in (subjects.CLAIMS, subjects.GOAL_RECORDS, subjects.CANCEL, subjects.RULES, subjects.META, subjects.WORKERS)
    }
    streams = {subjects.GOALS, subjects.INCOMING, subjects.DEFER, subjects.TASKS, subjects.OUTCOMES, subjects.ORIGINALS, subjects.DEAD}
    assert streams | buckets <= set(names)


async def test_a_setting_that_is_safe_to_change_is_changed(nats_url: str) -> None:
    async with on_ground(nats_url), on_ground(nats_url, StreamSettings(outcomes_max_age=60)) as ground:
        config = (await js_api(ground.client, f"STREAM.INFO.{subjects.OUTCOMES}"))["config"]
    assert config["max_age"] == 60 * 10**9


async def test_a_setting_that_is_not_safe_to_change_stops_and_names_both_values(nats_url: str) -> None:
    async with connected(nats_url, "test", Observer()) as client:
        await js_api(
            client,
            f"STREAM.CREATE.{subjects.GOALS}",
            {"name": subjects.GOALS, "subjects": [subjects.GOALS_INCOMING], "retention": "limits"},
        )
        with pytest.raises(StreamMismatch, match=r"HEDDLE_GOALS.*retention is 'limits', heddle needs 'workqueue'"):
            await make_streams(client, StreamSettings(), Observer())


async def test_a_queue_made_by_hand_loses_nothing_by_age(nats_url: str) -> None:
    made = {"name": subjects.INCOMING, "subjects": [subjects.TASKS_INCOMING], "retention": "workqueue", "discard": "new", "max_age": 10**10}
    async with connected(nats_url, "test", Observer()) as client:
        await js_api(client, f"STREAM.CREATE.{subjects.INCOMING}", made)
        await make_streams(client, StreamSettings(), Observer())
        config = (await js_api(client, f"STREAM.INFO.{subjects.INCOMING}"))["config"]
    assert config["max_age"] == 0


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"name": subjects.GOALS, "subjects": [subjects.GOALS_INCOMING], "no_ack": True}, "no_ack is True, heddle needs False"),
        ({"name": "OTHER", "subjects": ["heddle.goals.>"]}, "another stream takes some of heddle.goals.incoming"),
    ],
)
async def test_a_stream_made_by_hand_that_is_in_the_way_is_told(nats_url: str, made: dict[str, Any], told: str) -> None:
    async with connected(nats_url, "test", Observer()) as client:
        await js_api(client, f"STREAM.CREATE.{made['name']}", made)
        with pytest.raises(StreamMismatch, match=told):
            await make_streams(client, StreamSettings(), Observer())


async def test_a_stream_for_which_there_is_no_room_is_told_with_what_it_takes(nats_url: str) -> None:
    async with connected(nats_url, "test", Observer()) as client:
        with pytest.raises(StreamMismatch, match=rf"it reserves {1 << 60} bytes: give JetStream more"):
            await make_streams(client, StreamSettings(dead_max_bytes=1 << 60), Observer())


async def test_in_a_cluster_whose_servers_may_be_older_there_are_no_bursts(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    async def clustered(client: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        asked.append(body or {})
        return {**await js_api(client, subject, body), "cluster": {"leader": "one"}}

    async with connected(nats_url, "test", Observer()) as client:
        assert (await make_streams(client, StreamSettings(), Observer())).bursts  # the server was alone
        monkeypatch.setattr("heddle.broker.streams.js_api", clustered)
        assert not (await make_streams(client, StreamSettings(), Observer())).bursts
        assert not (await js_api(client, f"STREAM.INFO.{subjects.TASKS}"))["config"].get("allow_batched")
        asked.clear()
        await make_streams(client, StreamSettings(), Observer())
    assert not any("allow_batched" in config for config in asked)  # an older one refuses even that it is off


async def test_a_stream_that_an_older_server_does_not_serve_is_told_with_what_to_do(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def older(client: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if subject == f"STREAM.INFO.{subjects.TASKS}":  # the words of 2.12.0
            raise Refused("stream is offline: unsupported - required API level: 4, current API level: 2", 10194)
        return await js_api(client, subject, body)

    async with connected(nats_url, "test", Observer()) as client:
        await make_streams(client, StreamSettings(backlog_per_subject=5), Observer())
        monkeypatch.setattr("heddle.broker.streams.js_api", older)
        with pytest.raises(StreamMismatch, match=r"HEDDLE_TASKS: stream is offline.*turn allow_batched off"):
            await make_streams(client, StreamSettings(), Observer())


async def test_an_older_process_runs_on_with_a_warning(nats_url: str) -> None:
    newer = next(config for config in stream_configs(StreamSettings(), (2, 15, 1)) if config["name"] == subjects.OUTCOMES)
    newer |= {"max_age": 5 * 10**9, "duplicate_window": 5 * 10**9, "metadata": {"heddle-generation": str(SETTINGS_GENERATION + 1)}}
    observer = Observer()
    async with connected(nats_url, "test", observer) as client:
        await js_api(client, f"STREAM.CREATE.{subjects.OUTCOMES}", newer)
        await make_streams(client, StreamSettings(), observer)
        config = (await js_api(client, f"STREAM.INFO.{subjects.OUTCOMES}"))["config"]
    assert config["max_age"] == 5 * 10**9
    assert observer.total(events.STREAM_DIFFERS) == 1


async def test_a_consumer_is_brought_up_to_date(nats_url: str) -> None:
    async with on_ground(nats_url) as ground:
        for ack_wait in (2.0, 3.0):
            await make_consumer(
                ground.client, subjects.TASKS, "a=local", filter_subject="heddle.tasks.a.local", ack_wait=ack_wait, max_ack_pending=10
            )
        config = (await js_api(ground.client, f"CONSUMER.INFO.{subjects.TASKS}.a=local"))["config"]
    assert config["ack_wait"] == 3 * 10**9
