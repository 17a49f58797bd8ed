"""Serves the dashboard in the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvicorn
from nats.aio.client import Client

from heddle.errors import SettingsError
from heddle.settings import DashboardSettings
from heddle.web.app import application
from heddle.web.guard import Guard, is_loopback
from heddle.web.jobs import Jobs
from heddle.web.pages import Desk
from heddle.web.poller import polling
from heddle.web.search import Searches
from heddle.web.shelf import Shelf

_GRACE: Final = 2
"""Seconds that answers get to be finished at the end."""


class _Server(uvicorn.Server):
    """Leaves the signals to whoever runs the loop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def check(settings: DashboardSettings) -> None:
    """See whether the dashboard may be served so.

    Raises:
        SettingsError: others would reach it, and it has no token.
    """
    if not is_loopback(settings.host) and settings.token is None:
        raise SettingsError(
            f"the dashboard on {settings.host} would be open to everyone who reaches this machine: give it a token of 16 characters or more "
            "(HEDDLE_DASHBOARD__TOKEN or --token), such as that of `openssl rand -hex 16`; or leave it on 127.0.0.1 and reach it through "
            f"`ssh -L {settings.port}:127.0.0.1:{settings.port} THIS-MACHINE`"
        )


@asynccontextmanager
async def dashboard(
    client: Client, settings: DashboardSettings, shelf: Callable[[], Shelf], operator: str, *, any_port: bool = False
) -> AsyncIterator[str]:
    """Serve the dashboard for as long as the block runs; yields its address.

    Args:
        client: the connection.
        settings: where it listens, and whom it lets in.
        shelf: gives the macros that are known here.
        operator: who changes things here, for the records: user@host.
        any_port: take any free port if the one of the settings is taken.

    Raises:
        SettingsError: it would be open to others without a token, or its port is taken.
    """
    check(settings)
    listener = _listen(settings.host, settings.port, any_port=any_port)
    port = int(listener.getsockname()[1])
    token = None if settings.token is None else settings.token.get_secret_value()
    names = {settings.host, socket.gethostname(), *settings.names}
    guard = Guard(frozenset(name.lower() for name in names), token, cookie=f"heddle-{port}")
    jobs, searches = Jobs(time.time), Searches()
    async with polling(client) as poller:
        desk = Desk(client, poller, guard, shelf, _address(client), operator)
        config = uvicorn.Config(
            application(desk, jobs, searches),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="dashboard")
        try:
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            yield f"http://{host}:{port}/"
        finally:
            poller.end()
            searches.end()
            await jobs.end()
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving


def _address(client: Client) -> str:
    """Where the client is connected, without what it logs in with."""
    url = client.connected_url
    return "" if url is None else f"{url.hostname}:{url.port}" if url.port else str(url.hostname)


def _listen(host: str, port: int, *, any_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if any_port and port:
            return _listen(host, 0, any_port=False)
        raise SettingsError(
            f"the dashboard cannot listen on {host}:{port}: {error.strerror}; choose another --port (HEDDLE_DASHBOARD__PORT). "
            "`heddle up` serves one too: it says where"
        ) from None
