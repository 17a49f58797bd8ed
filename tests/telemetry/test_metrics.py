"""Events to logs and metrics."""

from __future__ import annotations

import io
import json
import socket
import time
import urllib.request

import pytest

from heddle import events
from heddle.errors import SettingsError
from heddle.telemetry.metrics import metrics_server
from heddle.telemetry.observer import Observer, logger


def exposition(observer: Observer) -> list[str]:
    with metrics_server(observer, 0) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text: str = answer.read().decode()
    return text.splitlines()


def test_a_counter_is_served_with_its_labels() -> None:
    observer = Observer()
    observer.count(events.TASKS_ROUTED, "repo_triage", "local")
    observer.count(events.TASKS_ROUTED, "repo_triage", "local")
    assert 'heddle_tasks_routed_total{tier="local",worker_type="repo_triage"} 2.0' in exposition(observer)


def test_a_counter_without_labels_is_served_from_the_start() -> None:
    assert "heddle_publishes_repeated_total 0.0" in exposition(Observer())


def test_every_event_is_served_with_its_help() -> None:
    lines = exposition(Observer())
    names = {event: event.name if event.buckets else f"{event.name}_total" for event in events.ALL_EVENTS}
    assert [name for event, name in names.items() if f"# HELP {name} {event.help}" not in lines] == []


def test_a_measured_value_is_served_as_a_histogram() -> None:
    observer = Observer()
    for value in (0.05, 0.72, 0.73, 1.0):
        observer.measure(events.PLAN_CONFIDENCE, value)
    lines = exposition(observer)
    found = [line.removeprefix("heddle_plan_confidence_bucket") for line in lines if line.startswith("heddle_plan_confidence_bucket")]
    assert [line for line in found if '"0.1"' in line or '"0.72"' in line or '"0.8"' in line or "Inf" in line] == [
        '{le="0.1"} 1.0',
        '{le="0.72"} 2.0',
        '{le="0.8"} 3.0',
        '{le="+Inf"} 4.0',
    ]
    assert "heddle_plan_confidence_sum 2.5" in lines


def test_what_was_counted_after_the_server_started_is_served() -> None:
    observer = Observer()
    with metrics_server(observer, 0) as port:
        observer.count(events.RECONNECTED)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert b"heddle_reconnected_total 1.0" in answer.read()


def test_the_server_ends_at_once() -> None:
    def took() -> float:
        with metrics_server(Observer(), 0):
            began = time.perf_counter()
        return time.perf_counter() - began

    assert min(took() for _ in range(5)) < 0.4, "it waits for nothing: a machine that is busy does not take its time five times"


def test_a_server_may_listen_on_an_ipv6_address() -> None:
    with metrics_server(Observer(), 0, "::1") as port, urllib.request.urlopen(f"http://[::1]:{port}/metrics") as answer:
        assert answer.status == 200


def test_no_port_is_no_server() -> None:
    with metrics_server(Observer(), None) as port:
        assert port is None


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="choose another --metrics-port"),
        metrics_server(Observer(), taken.getsockname()[1]),
    ):
        pass


@pytest.mark.parametrize(("port", "host"), [(70_000, "127.0.0.1"), (0, "ü" * 80)])
def test_an_address_that_cannot_be_is_told_with_what_to_do(port: int, host: str) -> None:
    with pytest.raises(SettingsError, match="choose another --metrics-port or --metrics-host"), metrics_server(Observer(), port, host):
        pass


def test_the_port_is_free_again_after_an_error() -> None:
    ports: list[int] = []

    def serve_and_fail() -> None:
        with metrics_server(Observer(), 0) as port:
            ports.append(port or 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        serve_and_fail()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", ports[0]))


def test_events_have_names_of_their_own_that_prometheus_takes() -> None:
    names = [event.name for event in events.ALL_EVENTS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and name.startswith("heddle_") and not name.endswith("_total") for name in names)


def test_a_total_sums_over_all_labels() -> None:
    observer = Observer()
    observer.count(events.DEAD_LETTERS, "expired")
    observer.count(events.DEAD_LETTERS, "loop")
    assert observer.total(events.DEAD_LETTERS) == 2


def test_what_is_seen_is_counted_under_the_labels_among_its_fields() -> None:
    observer = Observer()
    observer.see(events.GOALS_PLANNED, "planned", planned_by="model-a", goal_id="g")
    assert observer.counters == {(events.GOALS_PLANNED, ("model-a",)): 1}


def seen(event: events.Event, message: str, level: str = "info", **fields: object) -> list[dict[str, object]]:
    stream = io.StringIO()
    Observer(logger("router", level, stream)).see(event, message, **fields)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_what_is_seen_is_logged_as_a_line_of_json_with_role_and_level() -> None:
    (line,) = seen(events.RULES_REFUSED, "not these", problems="line 3: é")
    assert line.pop("timestamp")
    assert line == {"message": "not these", "role": "router", "level": "error", "problems": "line 3: é"}


@pytest.mark.parametrize(("level", "logged"), [("info", 1), ("warning", 0), ("error", 0)])
def test_what_is_below_the_level_is_not_logged(level: str, logged: int) -> None:
    assert len(seen(events.GOALS_ENDED, "done", level)) == logged


def test_an_event_without_a_level_is_only_counted() -> None:
    assert seen(events.DEAD_LETTERS, "one more") == []
