"""What every role needs at its start: a connection, the streams, an observer, and the things it loads."""

from __future__ import annotations

import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from heddle.broker.connect import connected
from heddle.broker.streams import Streams, make_streams
from heddle.router.reading import parse_rules
from heddle.router.reload import read_text
from heddle.router.rules import Rules
from heddle.settings import Settings
from heddle.telemetry.metrics import metrics_server
from heddle.telemetry.observer import Observer, logger

_COLLECT_AFTER = 50_000
"""Objects made, and not freed, until the collector looks for cycles; Python's own 700 costs a busy role some percent."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a role stands on."""

    client: Client
    streams: Streams
    observer: Observer
    replica: str


@asynccontextmanager
async def ground(
    url: str, role: str, settings: Settings, *, log_level: str = "info", metrics_port: int | None = None, metrics_host: str = "127.0.0.1"
) -> AsyncIterator[Ground]:
    """Connect, make the streams, and serve the metrics if asked.

    Raises:
        NoServer, BrokerError, SettingsError: one of these did not work.
    """
    _spare_the_collector()
    observer = Observer(logger(role, log_level))
    with metrics_server(observer, metrics_port, metrics_host):
        async with connected(url, role, observer, subjects_checked=True) as client:
            yield Ground(client, await make_streams(client, settings.streams, observer), observer, replica_name())


def _spare_the_collector() -> None:
    """What was imported stays: it need not be looked through again; and messages come and go without cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def replica_name() -> str:
    """A name for this process: the host, the process id, and a few random letters, fit for a subject."""
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:40] or "host"
    return f"{host}-{os.getpid()}-{secrets.token_hex(2)}"


def read_rules(path: Path) -> Rules:
    """The rules in a file.

    Raises:
        RulesError: the file cannot be read, or its text cannot be used.
    """
    return parse_rules(read_text(path), str(path))


def missing_rules(missing: Sequence[str], path: Path) -> list[str]:
    """What to tell of macros that the rules do not know."""
    return [
        f"macro {name!r} has no rule: its tasks would end as unknown_tier. Add to worker_types in {path}:  {name}: {{}}" for name in missing
    ]
