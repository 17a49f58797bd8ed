"""The counters of `events` for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from heddle.errors import SettingsError
from heddle.events import ALL_EVENTS
from heddle.telemetry.observer import Observer


class _Counters(Collector):
    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def collect(self) -> Iterator[Metric]:
        counters = dict(self._observer.counters)
        for event in ALL_EVENTS:
            family = CounterMetricFamily(event.name, event.help, labels=event.labels)
            for (counted, labels), count in counters.items():
                if counted == event:
                    family.add_metric(labels, count)
            if not event.labels and not family.samples:
                family.add_metric((), 0)
            yield family


@contextmanager
def metrics_server(observer: Observer, port: int | None, host: str = "127.0.0.1") -> Iterator[int | None]:
    """Serve the counters at `http://<host>:<port>/metrics`; yields the port, or None if none was asked for.

    Raises:
        SettingsError: the port is taken.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(_Counters(observer))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise SettingsError(f"cannot serve metrics on {host}:{port}: {error.strerror}; choose another --metrics-port") from None
    try:
        yield server.server_port
    finally:
        _close(server.shutdown)
        server.server_close()
        thread.join()


def _close(shutdown: Callable[[], None]) -> None:
    shutdown()
