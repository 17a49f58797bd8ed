"""The counters of `events` for Prometheus."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from itertools import accumulate
from threading import Thread
from typing import Final

from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from heddle.errors import SettingsError
from heddle.events import ALL_EVENTS, Event
from heddle.telemetry.observer import Observer

_NOTICES_ITS_END: Final = 0.05
"""Seconds until the server looks whether it was told to stop: so long may the end of a role take more."""


class _Counters(Collector):
    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def collect(self) -> Iterator[Metric]:
        counters = self._observer.counters
        for event in ALL_EVENTS:
            if event.buckets:
                yield self._histogram(event)
                continue
            family = CounterMetricFamily(event.name, event.help, labels=event.labels)
            for (counted, labels), count in counters.items():
                if counted == event:
                    family.add_metric(labels, count)
            if not event.labels and not family.samples:
                family.add_metric((), 0)
            yield family

    def _histogram(self, event: Event) -> Metric:
        *counts, total = self._observer.measured.get(event, [0.0] * (len(event.buckets) + 2))
        bounds = [*map(str, event.buckets), "+Inf"]
        return HistogramMetricFamily(event.name, event.help, list(zip(bounds, accumulate(counts), strict=True)), total)


class _ServerV6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextmanager
def metrics_server(observer: Observer, port: int | None, host: str = "127.0.0.1") -> Iterator[int | None]:
    """Serve the counters at `http://<host>:<port>/metrics`; yields the port, or None if none was asked for.

    Raises:
        SettingsError: the port is taken, or address and port cannot be.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(_Counters(observer))
    try:
        server = (_ServerV6 if ":" in host else ThreadingHTTPServer)((host, port), MetricsHandler.factory(registry))
    except (OSError, OverflowError, TypeError) as error:  # the latter two: a port beyond 65535, a host that cannot be a name
        told = getattr(error, "strerror", None) or error
        raise SettingsError(f"cannot serve metrics on {host}:{port}: {told}; choose another --metrics-port or --metrics-host") from None
    thread = Thread(target=server.serve_forever, args=(_NOTICES_ITS_END,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
